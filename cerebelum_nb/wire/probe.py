"""Look who answers before gRPC does: it knows one word, UNAVAILABLE, for all that can be wrong."""

import contextlib
import socket
import ssl
from pathlib import Path
from time import monotonic
from typing import Final

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.credentials import SERVER_NAME, Pass, host_and_port, tls_context, url_of

DEADLINE_S: Final = 3.0
_EXPIRED, _NOT_YET = 10, 9  # OpenSSL's numbers
_ASK_S: Final = 0.5


def probe(url: str, path: Path, given: Pass, deadline_s: float = DEADLINE_S) -> None:
    """See that the Core of this pass is there and lets its holder in, as far as TLS goes. Blocks.

    Args:
        url: Where to look; the pass may name another address of the same Core.

    Raises:
        WireError: It is not; says in one line who is there instead, and what to do.
    """
    host, port = host_and_port(url)
    url, until = url_of(host, port), monotonic() + deadline_s
    context = tls_context(path, given)
    with _connected(url, host, port, deadline_s) as sock:
        sock.settimeout(max(0.1, until - monotonic()))
        try:
            with context.wrap_socket(sock, server_hostname=SERVER_NAME) as tls:
                _see_client_refused(tls, url)
        except ssl.SSLCertVerificationError as exc:
            raise WireError(_about_certificate(exc, url, path)) from None
        except TimeoutError:
            raise WireError(_silent(url, host, port)) from None
        except (ssl.SSLError, OSError) as exc:
            raise WireError(_no_tls(url, host, port, exc)) from None


def _connected(url: str, host: str, port: int, deadline_s: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), deadline_s)
    except socket.gaierror:
        raise WireError(f"there is no host {host!r}, so Core {url} cannot be reached: check the name") from None
    except ConnectionRefusedError:
        raise WireError(
            f"nothing listens at {url}: is Core served there (`cerebelum core serve --listen {host}:{port}`)?"
        ) from None
    except TimeoutError:
        raise WireError(f"Core {url} cannot be reached: no answer within {deadline_s:.0f} s; a firewall?") from None
    except OSError as exc:
        raise WireError(f"Core {url} cannot be reached: {exc.strerror or exc}") from None


def _see_client_refused(tls: ssl.SSLSocket, url: str) -> None:
    """In TLS 1.3 the other end says only after the handshake that it does not want our certificate."""
    tls.settimeout(_ASK_S)
    if tls.selected_alpn_protocol() != "h2":
        raise WireError(f"what answers at {url} is not a Core, though its certificate is right: check the port")
    try:
        if not tls.recv(64):
            raise WireError(f"Core {url} hung up: it does not take the certificate in the pass; copy the pass again")
    except TimeoutError:
        return  # it waits for us to speak
    except ssl.SSLError as exc:
        why = (exc.reason or "").lower().replace("_", " ")
        raise WireError(
            f"Core {url} does not take the certificate in the pass ({why}): copy the pass again from where it is served"
        ) from None


def _about_certificate(exc: ssl.SSLCertVerificationError, url: str, path: Path) -> str:
    if exc.verify_code == _EXPIRED:
        return f"the certificate of Core {url} has expired: serve it again, and copy its new pass here"
    if exc.verify_code == _NOT_YET:
        return f"the certificate of Core {url} is not valid yet: compare the clocks of both hosts"
    return (
        f"who answers at {url} is not the Core of the pass {str(path)!r} ({exc.verify_message}): it was served again "
        "since, or it is somebody else; copy its pass again"
    )


def _no_tls(url: str, host: str, port: int, exc: OSError) -> str:
    said = _plain_answer(host, port)
    if said.startswith(b"HTTP/"):
        return f"an HTTP server answers at {url}, not a Core: check the port"
    if said:
        return f"who answers at {url} does not speak TLS, so it is not a Core that was served by hand: check the port"
    why = exc.reason if isinstance(exc, ssl.SSLError) and exc.reason else exc.strerror or type(exc).__name__
    return f"who answers at {url} is not a Core: no TLS connection could be made ({why}); check the port"


def _silent(url: str, host: str, port: int) -> str:
    said = _plain_answer(host, port)
    if said.startswith(b"HTTP/"):
        return f"an HTTP server answers at {url}, not a Core: check the port"
    return f"somebody listens at {url} and says nothing: a Core that is stopped, or no Core; check the port"


def _plain_answer(host: str, port: int) -> bytes:
    """What is said to somebody who asks without TLS."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _ASK_S) as sock:
        sock.settimeout(_ASK_S)
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return sock.recv(64)
    return b""
