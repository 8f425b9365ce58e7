"""A Core that somebody serves on the network: TLS and a token, kernels and agents, one process until it is stopped."""

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import grpc
import grpc.aio
import msgspec

from cerebelum_nb.capture import environment
from cerebelum_nb.core.agents import Agent
from cerebelum_nb.core.service import Settings
from cerebelum_nb.core.shared import Here, Pool, SharedService, Untracked
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.certificates import DAYS, Issued, issue
from cerebelum_nb.wire.credentials import TLS_SERVER_OPTIONS, Pass, remove_pass, url_of, write_pass
from cerebelum_nb.wire.frames import Welcome, frames_of
from cerebelum_nb.wire.ledger import NBYTES, Ledger
from cerebelum_nb.wire.relay import Greeting, Reception

GRACE_S: Final = 30.0
GREETING_S: Final = 10.0
GREETING_NBYTES: Final = 1 << 20
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  what it means, not what we do

Say = Callable[[str], object]
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

logger = logging.getLogger(__name__)


class Served:
    """One served Core.

    Args:
        passes: Where the passes go: the kernels', and the workers' or None.
        pool: What its own workers are called.
        slots: Its own workers; 0 for none.
        days: How long the certificates are good.
        grace_s: Workers on other hosts have so long to come back when their connection is lost.
    """

    def __init__(
        self,
        passes: tuple[Path, Path | None],
        pool: str,
        slots: int,
        days: float = DAYS,
        grace_s: float = GRACE_S,
    ) -> None:
        self._grace_s = grace_s
        self._tokens = {"kernel": secrets.token_urlsafe(32), "worker": secrets.token_urlsafe(32)}
        self._issued: Issued = issue(days)
        self._paths, self._written = passes, list[tuple[Path, Pass]]()
        self._nursery = Nursery()
        self._environment = environment.here()
        self._pools: dict[str, Pool] = {}
        self._agents: dict[str, Agent] = {}
        self.url = ""
        self.stopped = asyncio.Event()
        if slots:
            self.pool(pool).add(Here(socket.gethostname(), slots, self._nursery))
        self._server: Any = None

    def pool(self, name: str) -> Pool:
        """The workers of a name, also when none has come yet."""
        if name not in self._pools:
            self._pools[name] = Pool(name)
        return self._pools[name]

    async def listen(self, host: str, port: int) -> None:
        """Take kernels and agents there, and write their passes.

        Args:
            port: 0 for any that is free.

        Raises:
            WireError: The address cannot be used, or a pass cannot be written.
        """
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
        self.url = url_of(socket.getfqdn() if host in _EVERYWHERE else host, bound)
        self._write_passes()
        await server.start()

    def _write_passes(self) -> None:
        kernels, workers = self._paths
        for path, role, leaf in ((kernels, "kernel", self._issued.kernel), (workers, "worker", self._issued.worker)):
            if path is not None:
                token, authority = self._tokens[role], self._issued.authority
                given = Pass(self.url, role, token, leaf.certificate, leaf.key, authority)  # type: ignore[arg-type]
                write_pass(path, given)
                self._written.append((path, given))

    async def __aenter__(self) -> Self:
        """Use it with `async with`: it leaves nothing behind."""
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End it with its workers; its passes, which open nothing any more, go too."""
        for path, given in self._written:
            remove_pass(path, given)
        if self._server is not None:
            await self._server.stop(0.2)
        await asyncio.to_thread(self._nursery.end)

    # who comes -----------------------------------------------------------------------------------------------------

    async def _role(self, context: Context, *roles: str) -> str:
        """Who calls; before anything of it is read."""
        given = dict(context.invocation_metadata() or ()).get(channel.TOKEN, "")
        said = given.encode() if isinstance(given, str) else bytes(given)
        found = [role for role, token in self._tokens.items() if hmac.compare_digest(said, token.encode())]
        if not found:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong or missing token")
        if found[0] not in roles:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "this pass is for workers only: a kernel needs the kernels' pass"
            )
        return found[0]

    async def _hello(self, request: bytes, context: Context) -> bytes:
        """A kernel asks whether it may come, and whom it meets."""
        await self._role(context, "kernel")
        greeting = await _greeting(request, context)
        return msgspec.msgpack.encode(self._reception(greeting))

    def _reception(self, greeting: Greeting) -> Reception:
        ours = self._environment.packages["cerebelum-nb"]
        if greeting.version != ours:
            return Reception(
                f"Core {self.url} has cerebelum_nb {ours}, and who calls has {greeting.version}: "
                "install the same version on both sides"
            )
        return Reception(environment=msgspec.to_builtins(self._environment), grace_s=self._grace_s)

    async def _kernel(self, _requests: Any, context: Context) -> None:
        """Serve a kernel until it leaves; the others do not notice."""
        await self._role(context, "kernel")
        name = dict(context.invocation_metadata() or ()).get(channel.POOL, "core")
        try:
            async with asyncio.timeout(GREETING_S):
                message = await context.read()
            first, *more = [] if message is grpc.aio.EOF else frames_of(message)
        except (TimeoutError, WireError, ValueError):
            first, more = None, []
        if not isinstance(first, Welcome):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a kernel's first word is its key")
            return
        settings = Settings(
            token=self._tokens["kernel"],
            key=first.key,
            place=first.place,
            log=Path(os.devnull),
            nursery=Untracked(),
            handed=Ledger(bytearray(NBYTES)),
        )
        pool = self.pool(str(name)[:200])
        service = SharedService(settings, pool, self.url)
        pool.enter(service)
        try:
            service.take(more)
            await service.dispatch(None, context)
        except WireError as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
        finally:
            service.end()

    async def _agent(self, _requests: Any, context: Context) -> None:
        """Serve an agent for one connection."""
        await self._role(context, "kernel", "worker")
        async with asyncio.timeout(GREETING_S):
            message = await context.read()
        greeting = await _greeting(b"" if message is grpc.aio.EOF else message, context)
        reception = self._agents_reception(greeting)
        if reception.refused:
            await context.write(msgspec.msgpack.encode(reception))
            return
        agent = self._agents.get(greeting.agent)
        if agent is None and greeting.got >= 0:  # it was here, and was given up
            await context.write(msgspec.msgpack.encode(msgspec.structs.replace(reception, got=-1)))
            return
        if agent is None:
            agent = self._new_agent(greeting)
        await context.write(msgspec.msgpack.encode(msgspec.structs.replace(reception, got=agent.line.got)))
        try:
            await agent.serve(context, max(0, greeting.got))
        except WireError as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))

    def _agents_reception(self, greeting: Greeting) -> Reception:
        reception = self._reception(greeting)
        if reception.refused:
            return reception
        try:
            theirs = msgspec.convert(greeting.environment, environment.Environment)
        except msgspec.ValidationError as exc:
            return Reception(f"the environment cannot be read: {exc}")
        if not 1 <= greeting.slots <= 256 or not 16 <= len(greeting.agent) <= 64:
            return Reception("an agent has 1 to 256 workers, and a name")
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
        pool, name = self.pool(greeting.pool[:200]), greeting.host[:80]

        def lost(agent: Agent) -> None:
            self._agents.pop(greeting.agent, None)
            pool.remove(agent)

        agent = self._agents[greeting.agent] = Agent(name, greeting.slots, self._grace_s, lost)
        pool.add(agent)
        return agent


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


def serve(  # noqa: PLR0913, PLR0917  what can be said on the command line
    address: tuple[str, int],
    passes: tuple[Path, Path | None],
    pool: str,
    slots: int,
    days: float,
    grace_s: float,
    say: Say,
) -> None:
    """Serve a Core until SIGTERM or SIGINT.

    Args:
        address: Host and port.
        say: Gets a line for whatever a person may want to know.

    Raises:
        WireError: It cannot listen, or the extra `tls` is missing.
    """

    async def main() -> None:
        async with Served(passes, pool, slots, days, grace_s) as served:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, served.stopped.set)
            await served.listen(*address)
            say(f"Core listens at {served.url} with {slots} workers of its own for pool {pool!r}")
            say(f"kernels use the pass {passes[0]}" + (f", workers {passes[1]}" if passes[1] else ""))
            sys.stdout.flush()
            await served.stopped.wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
