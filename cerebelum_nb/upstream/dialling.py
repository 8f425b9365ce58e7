"""The way to a Core of Cerebelum's makers: plain or with TLS, and in words why it is none.

A Core that asks who comes wants a certificate of ours too; the folder with them has the names that its makers use.
"""

import os
import re
import ssl
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from cerebelum_nb.errors import ExecutorError

PLAIN, TLS = "grpc://", "grpcs://"
AUTHORITY, CERTIFICATE, KEY = "ca.crt", "client.crt", "client.key"
OPTIONS: Final = [("grpc.enable_http_proxy", 0)]
_PREAMBLE: Final = re.compile(r"^failed to connect to all addresses; last error: [A-Z]+: (?=\S)")
_GONE: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def dial(url: str, credentials: str) -> Any:
    """A channel for asyncio; nothing has been said on it yet.

    Args:
        url: ``grpc://host:port``, or ``grpcs://`` with TLS.
        credentials: See `Pool.credentials`.

    Raises:
        ExecutorError: A file of `credentials` is not there, or cannot be read.
    """
    target = url.partition("://")[2]
    if not url.startswith(TLS):
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    return grpc.aio.secure_channel(target, _trusted(credentials), options=OPTIONS)


def _trusted(credentials: str) -> Any:
    if not credentials:
        return grpc.ssl_channel_credentials(_of_this_system())
    path = Path(credentials).expanduser()
    if not path.is_dir():
        return grpc.ssl_channel_credentials(_read(path))
    authority = path / AUTHORITY
    roots = _read(authority) if authority.exists() else _of_this_system()
    mine = path / CERTIFICATE, path / KEY
    if not any(file.exists() for file in mine):
        return grpc.ssl_channel_credentials(roots)
    chain, key = map(_read, mine)
    return grpc.ssl_channel_credentials(roots, key, chain)


def _of_this_system() -> bytes | None:
    """Whom this system trusts; None for those that gRPC brings along."""
    file = ssl.get_default_verify_paths().cafile
    return None if file is None else _read(Path(file))


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as exc:
        why = os.strerror(exc.errno or 0)
        raise ExecutorError(f"the certificates for a Core cannot be read: {str(path)!r}: {why}") from None
    if b"-----BEGIN " not in data:
        raise ExecutorError(f"{str(path)!r} is no certificate or key: such a file has PEM in it, -----BEGIN ...")
    return data


def told(url: str, exc: Any) -> ExecutorError:
    """Why a call failed, in one line."""
    code, details = exc.code(), _PREAMBLE.sub("", " ".join(str(exc.details()).split()))
    if code not in _GONE:
        return ExecutorError(f"Core {url} refuses: {code.name}: {details[:200]}")
    for scheme, needle, says in _SAYS:
        if url.startswith(scheme) and needle in details:
            return ExecutorError(says.format(url=url, plain=url.replace(TLS, PLAIN), tls=url.replace(PLAIN, TLS)))
    return ExecutorError(f"there is no Core at {url}, or it does not answer ({details[:200]})")


_FILES: Final = f"{AUTHORITY}, {CERTIFICATE} and {KEY}"
_STRANGER: Final = f"""\
the certificate of Core {{url}} is signed by somebody who is not trusted here: give theirs as `pass` of its pool, a \
file or a folder with {_FILES}"""
_ASKS: Final = f"""\
Core {{url}} hangs up. If it wants to see a certificate, give a folder with {_FILES} as `pass` of its pool"""
_MISFIT: Final = f"the certificates for Core {{url}} are of no use: see that {KEY} is for {CERTIFICATE}"
_SAYS: Final = (  # scheme, what gRPC says, what that means
    (TLS, "certificate has expired", "the certificate of Core {url} has expired: it needs a new one there"),
    (TLS, "CERTIFICATE_VERIFY_FAILED", _STRANGER),
    (TLS, "Hostname Verification", "the certificate of Core {url} is for another host: use the name that is in it"),
    (TLS, "WRONG_VERSION_NUMBER", "what listens at {url} has no TLS: write {plain} if it is that Core"),
    (TLS, "security handshaker", _MISFIT),
    (TLS, "Socket closed", _ASKS),
    (PLAIN, "Socket closed", "Core {url} hangs up. If it has TLS, write {tls}"),
)
