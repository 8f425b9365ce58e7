"""A Core that somebody serves on the network: TLS and a token, kernels and agents, one process until it is stopped."""

import asyncio
import contextlib
import io
import json
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import grpc
import grpc.aio
import msgspec
import psutil

from cerebelum_nb.capture import environment
from cerebelum_nb.core.agents import Agent
from cerebelum_nb.core.guests import Visitor
from cerebelum_nb.core.held import Settings
from cerebelum_nb.core.passes import Grant, Passes
from cerebelum_nb.core.shared import Here, SharedService, Untracked, Workers
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.errors import WireError
from cerebelum_nb.model.typed import counted
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.certificates import DAYS, issue
from cerebelum_nb.wire.credentials import SCHEME, TLS_SERVER_OPTIONS, url_of
from cerebelum_nb.wire.frames import AnyFrame, Welcome, frames_of
from cerebelum_nb.wire.ledger import NBYTES, Ledger
from cerebelum_nb.wire.relay import WELCOME, Bye, Greeting, Reception

GRACE_S: Final = 30.0
GREETING_S: Final = 10.0
GREETING_NBYTES: Final = 1 << 20
MOST_SILENT_S: Final = 3_600.0
_DISTRIBUTED: Final = "distributed"
EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  what it means, not what we do

Say = Callable[[str], object]
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Served:
    """One served Core.

    Args:
        grants: The passes that it gives.
        pool: Whose steps its own workers run; empty for every pool's.
        slots: Its own workers; 0 for none.
        days: How long the certificates are good.
        grace_s: Kernels, and workers on other hosts, have so long to come back when their connection is lost.
    """

    def __init__(
        self,
        grants: Sequence[Grant],
        pool: str,
        slots: int,
        days: float = DAYS,
        grace_s: float = GRACE_S,
    ) -> None:
        self._grace_s = grace_s
        self._issued = issue(days)
        self._passes = Passes(grants, self._issued)
        self._nursery = Nursery()
        self._environment = environment.here()
        self._workers = Workers()
        self._agents: dict[tuple[str, str], Agent] = {}  # by pool and name
        self._visitors: dict[str, Visitor] = {}
        self.url = ""
        self.stopped = asyncio.Event()
        if slots:
            self._workers.add(Here(socket.gethostname(), slots, self._nursery, _as_people_say(pool)))
        self._server: Any = None

    async def listen(self, host: str, port: int) -> None:
        """Take kernels and agents there, and write their passes.

        Args:
            port: 0 for any that is free.

        Raises:
            WireError: The address cannot be used, or a pass is another Core's or cannot be written.
        """
        self._passes.claim()  # before we listen: one may be the pass of who was here before us
        self._server = server = grpc.aio.server(options=TLS_SERVER_OPTIONS)
        handlers = {
            channel.METHOD: grpc.stream_stream_rpc_method_handler(self._kernel),
            channel.JOIN: grpc.stream_stream_rpc_method_handler(self._agent),
            channel.HELLO: grpc.unary_unary_rpc_method_handler(self._hello),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(channel.SERVICE, handlers),))
        _see_free(host, port)
        leaf = self._issued.server
        credentials = grpc.ssl_server_credentials(
            [(leaf.key.encode(), leaf.certificate.encode())], self._issued.authority.encode(), require_client_auth=True
        )
        address = f"[{host}]" if ":" in host else host or "[::]"
        try:
            bound = server.add_secure_port(f"{address}:{port}", credentials)
        except RuntimeError:
            bound = 0
        if not bound:
            raise WireError(f"Core cannot listen at {url_of(host, port)}: check the host's name, or take another port")
        self.url = url_of(_names()[0] if host in EVERYWHERE else host, bound)
        self._passes.write(self.url)
        await server.start()

    async def __aenter__(self) -> Self:
        """Use it with `async with`: it leaves nothing behind."""
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End it with its workers; its passes, which open nothing any more, go too."""
        self._passes.release()
        for visitor in list(self._visitors.values()):
            visitor.line.send((Bye(),))
        if self._server is not None:
            await self._server.stop(0.2)
        await asyncio.to_thread(self._nursery.end)

    # who comes -----------------------------------------------------------------------------------------------------

    async def _grant(self, context: Context, *roles: str) -> Grant:
        """Who calls; before anything of it is read."""
        given = dict(context.invocation_metadata() or ()).get(channel.TOKEN, "")
        said = given.encode() if isinstance(given, str) else bytes(given)
        found = self._passes.of(said)
        if found is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong or missing token")
            raise AssertionError  # abort has raised
        if found.role not in roles:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "this pass is for workers only: a kernel needs the kernels' pass"
            )
        return found

    async def _hello(self, request: bytes, context: Context) -> bytes:
        """A kernel asks whether it may come, and whom it meets."""
        await self._grant(context, "kernel")
        greeting = await _greeting(request, context)
        reception = self._reception(greeting)
        if not reception.refused:
            reception = msgspec.structs.replace(reception, environment=msgspec.to_builtins(self._environment))
        return msgspec.msgpack.encode(reception)

    def _reception(self, greeting: Greeting) -> Reception:
        ours = self._environment.packages["cerebelum-nb"]
        if greeting.version != ours:
            return Reception(
                f"Core {self.url} has cerebelum_nb {ours}, and who calls has {greeting.version}: "
                "install the same version on both sides"
            )
        return Reception(grace_s=self._grace_s)

    async def _kernel(self, _requests: Any, context: Context) -> None:
        """Serve a kernel for one connection; the others do not notice."""
        await self._grant(context, "kernel")
        await context.send_initial_metadata(WELCOME)
        greeting = await _first(context)
        reception = self._reception(greeting)
        if not reception.refused and not 16 <= len(greeting.agent) <= 64:
            reception = Reception("a kernel has a name")
        visitor = self._visitors.get(greeting.agent)
        if reception.refused or (visitor is None and greeting.got >= 0):  # it was here, and was given up
            await context.write(msgspec.msgpack.encode(msgspec.structs.replace(reception, got=-1)))
            return
        got = visitor.line.got if visitor is not None else 0
        await context.write(msgspec.msgpack.encode(msgspec.structs.replace(reception, got=got)))
        if visitor is None:  # not before: who hung up meanwhile has left nothing here
            visitor = self._visitors.get(greeting.agent) or self._new_visitor(greeting)
        try:
            await visitor.serve(context, max(0, greeting.got))
        except WireError as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))

    def _new_visitor(self, greeting: Greeting) -> Visitor:
        service: SharedService | None = None

        def hear(message: bytes) -> None:
            nonlocal service
            frames = frames_of(message)
            if service is None:
                service = self._service(frames.pop(0) if frames else None, greeting.pool)
                service.speak(visitor.line.carry)
                self._workers.enter(service)
            service.take(frames)

        def left() -> None:
            self._visitors.pop(greeting.agent, None)
            if service is not None:
                service.end()

        visitor = self._visitors[greeting.agent] = Visitor(self._grace_s, hear, left)
        return visitor

    def _service(self, first: AnyFrame | None, pool: str) -> SharedService:
        """What serves a kernel.

        Raises:
            WireError: Its first word is not what it should be.
        """
        if not isinstance(first, Welcome):
            raise WireError("a kernel's first word is its key")
        settings = Settings(
            token=secrets.token_hex(),  # nobody's: it was let in already
            key=first.key,
            place=first.place,
            log=Path(os.devnull),
            nursery=Untracked(),
            handed=Ledger(bytearray(NBYTES)),
            limit_nbytes=first.limit_nbytes,
            silent_s=first.silent_s if 0.1 <= first.silent_s <= MOST_SILENT_S else MOST_SILENT_S,
        )
        return SharedService(settings, self._workers, self.url, _as_people_say(pool) or _DISTRIBUTED)

    async def _agent(self, _requests: Any, context: Context) -> None:
        """Serve an agent for one connection."""
        grant = await self._grant(context, "kernel", "worker")
        await context.send_initial_metadata(WELCOME)
        greeting = await _first(context)
        reception = self._agents_reception(greeting, grant.pool)
        if reception.refused:
            await context.write(msgspec.msgpack.encode(reception))
            return
        known = _as_people_say(greeting.pool), greeting.agent  # a pass of another pool does not lead to it
        agent = self._agents.get(known)
        if agent is None and greeting.got >= 0:  # it was here, and was given up
            await context.write(msgspec.msgpack.encode(msgspec.structs.replace(reception, got=-1)))
            return
        got = agent.line.got if agent is not None else 0
        await context.write(msgspec.msgpack.encode(msgspec.structs.replace(reception, got=got)))
        if agent is None:  # as for kernels
            agent = self._agents.get(known) or self._new_agent(greeting)
        self._workers.changed()  # it is here, maybe again: somebody may wait for that
        try:
            await agent.serve(context, max(0, greeting.got))
        except WireError as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))

    def _agents_reception(self, greeting: Greeting, only: str) -> Reception:
        reception = self._reception(greeting)
        if reception.refused:
            return reception
        if only and _as_people_say(greeting.pool) != only:
            wanted = f"pool {greeting.pool!r:.80}" if greeting.pool else "every pool"
            return Reception(f"this pass is for workers of pool {only!r}, not of {wanted}: --pool {only}")
        try:
            theirs = msgspec.convert(greeting.environment, environment.Environment)
        except msgspec.ValidationError as exc:
            return Reception(f"the environment cannot be read: {exc}")
        if not 1 <= greeting.slots <= 256 or not 16 <= len(greeting.agent) <= 64:
            return Reception("`cerebelum worker` has 1 to 256 workers, and a name")
        found = environment.differences(self._environment, theirs)
        if wrong := [d for d in found if d.matters]:
            said = "; ".join(f"{d.what} {d.theirs}, Core has {d.ours}" for d in wrong)
            table = "\n".join(environment.as_table(found, ours="Core"))
            return Reception(
                f"Core {self.url} does not take workers of host {greeting.host!r:.80}: it has {said}. Install the "
                f"same there. All differences, * for those that matter:\n{table}"
            )
        return reception

    def _new_agent(self, greeting: Greeting) -> Agent:
        name, pool = greeting.host[:80], _as_people_say(greeting.pool)

        def lost(agent: Agent) -> None:
            self._agents.pop((pool, greeting.agent), None)
            self._workers.remove(agent)

        agent = self._agents[pool, greeting.agent] = Agent(name, greeting.slots, self._grace_s, lost, pool)
        self._workers.add(agent)
        return agent


def _as_people_say(pool: str) -> str:
    """One name for one pool: `core` is what the executor of `distributed` is called inside."""
    return _DISTRIBUTED if pool == "core" else pool[:200]


def _names() -> list[str]:
    """What this host may be called by others: its names, then its addresses."""
    named = [name for name in (socket.getfqdn(), socket.gethostname()) if not name.endswith(".arpa")]
    addresses = [a.address for each in psutil.net_if_addrs().values() for a in each if a.family == socket.AF_INET]
    found = [name for name in (*named, *addresses) if not name.startswith(("localhost", "127."))]
    return list(dict.fromkeys(found)) or ["localhost"]


async def _first(context: Context) -> Greeting:
    """The greeting that a stream begins with."""
    try:
        async with asyncio.timeout(GREETING_S):
            message = await context.read()
    except TimeoutError:
        message = b""
    return await _greeting(b"" if message is grpc.aio.EOF else message, context)


async def _greeting(message: bytes, context: Context) -> Greeting:
    try:
        if len(message) > GREETING_NBYTES:
            raise ValueError("too long")  # noqa: TRY301  told as what cannot be read is
        return msgspec.msgpack.decode(message, type=Greeting)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        text = f"a greeting cannot be read ({exc}): use one version everywhere"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        raise AssertionError from exc  # abort has raised


def _see_free(host: str, port: int) -> None:
    """Say what is wrong with an address: gRPC would say only that it did not work."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, proto, _, address in found[:1]:
            with socket.socket(family, kind, proto) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
    except OSError as exc:
        raise WireError(f"Core cannot listen at {url_of(host, port)}: {exc.strerror or exc}") from None


def _told(url: str, host: str, grants: Sequence[Grant], pool: str, slots: int) -> Iterator[str]:
    """What a person has to know to use it."""
    kernels, *workers = [grant.path.absolute() for grant in grants]
    whose = f"pool {_as_people_say(pool)!r}" if pool else "every pool"
    yield f"Core listens at {url} with {counted(slots, 'worker')} of its own for {whose}"
    if host in EVERYWHERE:
        yield f"others may call this host {', '.join(_names())}: the certificate is good for each of them"
    who = [f", workers {f'of pool {grant.pool} ' * bool(grant.pool)}{grant.path.absolute()}" for grant in grants[1:]]
    yield f"kernels use the pass {kernels}{''.join(who)}"
    yield "for a kernel, in [tool.cerebelum] of its pyproject.toml, or as core and pass in a pool's table:"
    yield f"  core_url = {json.dumps(url)}"
    yield f"  core_pass = {json.dumps(str(kernels), ensure_ascii=False)}"
    yield "for more workers, here or where a copy of the pass is (--pool NAME: only for the steps of that pool):"
    path = shlex.quote(str(workers[0] if workers else kernels))
    yield f"  cerebelum worker --core {url.removeprefix(SCHEME)} --pass {path} --slots 2"


def serve(  # noqa: PLR0913, PLR0917  what can be said on the command line
    address: tuple[str, int],
    grants: Sequence[Grant],
    pool: str,
    slots: int,
    days: float,
    grace_s: float,
    say: Say,
) -> None:
    """Serve a Core until SIGTERM or SIGINT.

    Args:
        address: Host and port.
        grants: The passes that it gives, the kernels' first.
        say: Gets a line for whatever a person may want to know.

    Raises:
        WireError: It cannot listen, or the extra `tls` is missing.
    """

    async def main() -> None:
        async with Served(grants, pool, slots, days, grace_s) as served:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, served.stopped.set)
            await served.listen(*address)
            for line in _told(served.url, address[0], grants, pool, slots):
                say(line)
            sys.stdout.flush()
            await served.stopped.wait()

    runner = asyncio.Runner()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            runner.run(main())
    finally:
        with contextlib.redirect_stderr(io.StringIO()):  # gRPC prints a traceback for each connection that ends so
            runner.close()
