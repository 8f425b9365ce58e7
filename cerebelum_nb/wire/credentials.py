"""The pass of a Core that somebody serves: where it is, its certificates, and the token. One file, for its owner only.

A few lines of ``name: value``, then PEM: the holder's certificate and its key, then the authority that signed Core's
certificate. OpenSSL reads such a file as it is.
"""

import contextlib
import os
import re
import ssl
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.channel import OPTIONS

SERVER_NAME: Final = "core.cerebelum"  # in Core's certificate; its authority signs nothing else, so no host is in it
SCHEME: Final = "tls://"
LAST_PORT: Final = 65_535
# Between hosts a connection may be cut without a word, so it is asked whether it is there.
TLS_SERVER_OPTIONS: Final = [
    *(option for option in OPTIONS if option[0] != "grpc.http2.bdp_probe"),  # bandwidth is worth measuring here
    ("grpc.http2.lookahead_bytes", 4 << 20),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]
_FIRST: Final = "# cerebelum pass: whoever can read this file can run code on the workers of this Core."
_LIMIT_NBYTES: Final = 1 << 16
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----\n.*?-----END \1-----\n?", re.DOTALL)

Role = Literal["kernel", "worker"]


class Pass(msgspec.Struct, frozen=True):
    """What lets its holder in.

    Attributes:
        core: URL of the Core.
        role: ``kernel`` may have steps run and add workers; ``worker`` may only add workers.
        token: Said with every call.
        certificate: The holder's, as PEM.
        key: The certificate's, as PEM.
        authority: Whoever has a certificate of this one is the Core, as PEM.
        pool: Workers join for the steps of this pool only; empty for any.
    """

    core: str
    role: Role
    token: str
    certificate: str
    key: str
    authority: str
    pool: str = ""

    def __repr__(self) -> str:
        """Nothing of it that opens a door."""
        return f"Pass({self.core!r}, {self.role!r})"


def host_and_port(url: str) -> tuple[str, int]:
    """Where a Core is: from ``tls://host:port`` or ``host:port``; an IPv6 address stands in brackets.

    Raises:
        WireError: It is no such address.
    """
    host, colon, port = url.removeprefix(SCHEME).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or "/" in host or "@" in host or not port.isdecimal():
        raise WireError(f"{url!r} is not the address of a Core: write it as {SCHEME}host:port")
    if int(port) > LAST_PORT:
        raise WireError(f"{url!r} is not the address of a Core: ports end at {LAST_PORT}")
    return host, int(port)


def url_of(host: str, port: int) -> str:
    """The address of a Core as people write it."""
    return f"{SCHEME}[{host}]:{port}" if ":" in host else f"{SCHEME}{host}:{port}"


def read_pass(path: Path) -> Pass:
    """The pass in a file.

    Raises:
        WireError: The file is not there, is open to others, or holds no pass.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LIMIT_NBYTES).decode("ascii", "replace")
    except OSError as exc:
        raise WireError(
            f"the pass {str(path)!r} cannot be read ({exc.strerror}): `cerebelum core serve` writes it; "
            "copy it here, and keep it to yourself"
        ) from None
    if not stat.S_ISREG(mode):
        raise WireError(f"the pass {str(path)!r} is not a file")
    if mode & 0o077:
        raise WireError(
            f"the pass {str(path)!r} is open to other users (mode {stat.S_IMODE(mode):03o}), so it is not used: "
            f"chmod 600 {path}"
        )
    said = dict(re.findall(r"^(core|role|token|pool): (\S+)$", text, re.MULTILINE))
    blocks = [(found[1], found[0].rstrip("\n") + "\n") for found in _PEM.finditer(text)]
    kinds = [kind for kind, _ in blocks]
    if set(said) - {"pool"} != {"core", "role", "token"} or kinds != ["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE"]:
        raise WireError(f"{str(path)!r} is not a pass, or not all of it: copy it again from where Core is served")
    if said["role"] not in get_args(Role):
        raise WireError(f"{str(path)!r} is a pass for {said['role']!r}, which this version does not know")
    host_and_port(said["core"])
    certificate, key, authority = (block for _, block in blocks)
    return Pass(said["core"], said["role"], said["token"], certificate, key, authority, said.get("pool", ""))


def write_pass(path: Path, given: Pass, before: Callable[[int], object] | None = None) -> None:
    """Put a pass into a file of ours alone; one that was there is replaced.

    Args:
        before: Called with the file's descriptor before it gets its name.

    Raises:
        WireError: The file cannot be written.
    """
    head = f"{_FIRST}\ncore: {given.core}\nrole: {given.role}\ntoken: {given.token}\n"
    head += f"pool: {given.pool}\n" if given.pool else ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 600
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(head + given.certificate + given.key + given.authority)
                if before is not None:
                    before(file.fileno())
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise WireError(f"the pass cannot be written to {str(path)!r}: {exc.strerror}") from None


def remove_pass(path: Path, given: Pass) -> None:
    """Remove a pass that opens nothing any more, if it is still that one."""
    with contextlib.suppress(OSError, WireError):
        if read_pass(path) == given:
            path.unlink()


def tls_context(path: Path, given: Pass) -> ssl.SSLContext:
    """For a look at the other end before gRPC, which would not say what is wrong.

    Raises:
        WireError: The certificates in the pass are damaged.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=given.authority)
        context.load_cert_chain(path)
    except (ssl.SSLError, OSError, ValueError) as exc:
        raise WireError(f"the certificates in {str(path)!r} cannot be read ({exc}): copy the pass again") from None
    return context


def secure_channel(url: str, given: Pass, *, blocking: bool = False) -> Any:
    """A gRPC channel to that Core; for asyncio, or for calls that block."""
    import grpc.aio  # noqa: PLC0415  not before Core has been started

    host, port = host_and_port(url)
    pem = (text.encode() for text in (given.authority, given.key, given.certificate))
    options = [*TLS_SERVER_OPTIONS, ("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.enable_retries", 0)]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    module = grpc if blocking else grpc.aio
    return module.secure_channel(target, grpc.ssl_channel_credentials(*pem), options)
