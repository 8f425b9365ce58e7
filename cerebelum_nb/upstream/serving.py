"""The server: where it listens, who may reach it, and which connections there are."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import psutil

from cerebelum_nb.errors import ExecutorError

PORT: Final = 9090  # what clients of the SDK try when they are told nothing
TAKES_NBYTES: Final = 64 << 20
SWEEP_S: Final = 0.5
_ALIVE_MS: Final = 20_000


def check_host(host: str, *, force: bool) -> str:
    """Who can reach a server on this host, as a warning; empty where only this machine can.

    Raises:
        ExecutorError: Others could, and nobody has said that they may.
    """
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return ""
    if host == "localhost":
        return ""
    open_to = (
        f"the SDK's protocol has no passwords and no encryption: whoever reaches {host} can run workflows, take "
        "their steps and read their data"
    )
    if not force:
        raise ExecutorError(f"{open_to}. Listen on 127.0.0.1, or say --force where the network is yours alone.")
    return f"warning: {open_to}"


async def serve_upstream(  # noqa: PLR0913  what a person may say, all but the place by keyword
    host: str = "127.0.0.1",
    port: int = PORT,
    *,
    force: bool = False,
    lease_s: float = 3600.0,
    say: Callable[[str], None] | None = None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve programs that are written for the SDK, until cancelled. Executions live in memory, and end with it.

    Args:
        port: 0 for any that is free.
        force: Others than this machine may reach it.
        lease_s: A worker that holds a step and is not heard of for so long has lost it.
        say: Called with what a person who looks on should know, a line each; by default it goes to stderr.
        ready: Called with the port when connections are taken.

    Raises:
        ExecutorError: There is no protobuf, the port is taken, or others could reach it and may not.
    """
    say = say or _say
    if warning := check_host(host, force=force):
        say(warning)
    from cerebelum_nb.upstream.schema import schema  # noqa: PLC0415  see below

    schema()  # before gRPC is loaded: without protobuf there is nothing to serve
    import grpc.aio  # noqa: PLC0415  heavy; only when something is served

    from cerebelum_nb.upstream.dispatch import Dispatcher  # noqa: PLC0415  as above
    from cerebelum_nb.upstream.service import Service  # noqa: PLC0415  as above

    dispatcher = Dispatcher(say, lease_s)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(tuple(Service(dispatcher).handlers()))
    at = f"[{host}]" if ":" in host else host
    try:
        bound = server.add_insecure_port(f"{at}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise ExecutorError(f"port {port} of {host!r} cannot be opened: {_why_not(host, port)}")
    await server.start()
    say(f'Cerebelum\'s own protocol on {at}:{bound}; programs of its SDK say core_url="{at}:{bound}"')
    if ready is not None:
        ready(bound)
    try:
        await _sweep(dispatcher)
    finally:
        if dispatcher.open:
            say(f"executions that had not ended: {dispatcher.open}. They were in memory, and are gone")
        await server.stop(None)


def _why_not(host: str, port: int) -> str:
    """Why nobody can listen there: gRPC does not tell, the system does."""
    try:
        for family, kind, proto, _, at in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, proto) as tried:
                tried.bind(at)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return "something else has it. Choose another port"
        return str(exc.strerror or exc)
    return "the system does not say why"


async def _sweep(dispatcher: Any) -> None:
    """Look who is still there while anybody holds a step, and who is not while steps wait."""
    while True:
        await asyncio.sleep(SWEEP_S)
        dispatcher.tell_who_waits()
        if dispatcher.busy:
            dispatcher.sweep(await asyncio.to_thread(connected))


class Peers:
    """The other ends of this process's connections; `in` takes them as gRPC names them."""

    def __init__(self, ends: set[tuple[str, int]]) -> None:
        self._ends = ends

    def __contains__(self, peer: object) -> bool:
        """Whether a peer is connected; one whose name says nothing counts as if."""
        end = _end(str(peer))
        return end is None or end in self._ends


def connected() -> Peers | None:
    """Who is connected to this process; None where the system does not say.

    gRPC tells of a connection that closes only where a call is open, and a worker that runs a step has none.
    """
    process = psutil.Process()
    try:
        found = (getattr(process, "net_connections", None) or process.connections)(kind="tcp")
    except (psutil.Error, OSError):
        return None
    return Peers({(_plain(c.raddr[0]), c.raddr[1]) for c in found if c.raddr and c.status == psutil.CONN_ESTABLISHED})


def _end(peer: str) -> tuple[str, int] | None:
    """``ipv4:127.0.0.1:54321`` or ``ipv6:%5B::1%5D:54321``, in two."""
    family, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if family not in {"ipv4", "ipv6"} or not port.isdecimal():
        return None
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> str:
    """An address without the ways in which an IPv4 one is written as an IPv6 one."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return str(mapped or address)
    return host


def _say(line: str) -> None:
    sys.stderr.write(f"{line}{os.linesep}")
    sys.stderr.flush()


_OPTIONS: Final = [
    ("grpc.max_send_message_length", TAKES_NBYTES),
    ("grpc.max_receive_message_length", TAKES_NBYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", _ALIVE_MS),  # a machine that is gone without a word
    ("grpc.keepalive_timeout_ms", _ALIVE_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
