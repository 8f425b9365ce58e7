"""Steps through a Core of Cerebelum's makers: it says when each may begin, and workers of ours beside it run them.

Its limits are that Core's. It knows no pools, no priorities and no cancel, hands any task to whoever polls, and carries
neither functions nor inputs. So the workers are this kernel's own, on this machine, and what a step needs and gives
goes to them by the road of the embedded Core, sealed as always: Core sees names only, and keeps them for as long as it
lives. Somebody else's task that comes to us fails there, and one of ours that goes to somebody else is asked for again:
such a Core is best left to one kernel. A kernel that is killed while it polls may cost it one task for five minutes. To
have workers on other machines, serve a Core of ours: `cerebelum core serve`.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.executors.core import CoreExecutor, _without_fork_handlers
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.model.pools import upstream_at
from cerebelum_nb.protocols import NOTHING_SENT, Attempt, Outcome, Sent, Signals

if TYPE_CHECKING:  # it loads gRPC, which must not happen before our own Core has been started
    from cerebelum_nb.upstream.gate import Gate

KNOCK_S: Final = 3.0


class UpstreamExecutor(CoreExecutor):
    """Asks a Core of Cerebelum's makers before each attempt, which then runs on a worker process of ours.

    Args:
        url: ``grpc://host:port``, or ``grpcs://`` with TLS.
        credentials: For TLS; see `Pool.credentials`.
    """

    def __init__(self, *, url: str, credentials: str = "", **ours: Any) -> None:
        super().__init__(**ours)
        self.url, self._credentials = url, credentials
        self._gate: Gate | None = None
        self._opening: asyncio.Task[Gate] | None = None
        self._admitting: dict[tuple[str, int, int], asyncio.Task[Any]] = {}

    async def start(self) -> None:
        """Start the workers, and see that Core is there. Any number of callers share one start.

        Raises:
            ExecutorError: One of them is not; says why.
        """
        await super().start()
        await self._opened()

    async def run(self, attempt: Attempt, signals: Signals) -> Outcome:
        """Run one attempt when Core lets it begin; see `protocols.Executor.run`."""
        key = (attempt.run, attempt.task, attempt.number)
        admitting = self._admitting[key] = asyncio.ensure_future(self._admit(attempt.step))
        try:
            await asyncio.wait([admitting])
        except asyncio.CancelledError:
            admitting.cancel()
            admitting.add_done_callback(_give_back)
            raise
        finally:
            del self._admitting[key]
        if admitting.cancelled():
            return Outcome("lost", error=ErrorInfo("NoWorker", "no worker took it"), delivered=False)
        if isinstance(error := admitting.exception(), ExecutorError):
            return Outcome("error", error=ErrorInfo("ExecutorError", str(error)), delivered=False)
        gate, ticket = admitting.result()
        ok = False
        try:
            outcome = await super().run(attempt, signals)
            ok = outcome.kind == "ok"
            return outcome
        finally:
            gate.over(ticket, ok=ok)

    def follow(self, _attempts: Any, _heard: Any, _then: Any) -> Sent:
        """Nothing is sent before its turn: Core says when it begins."""
        return NOTHING_SENT

    def launch(self, attempt: Attempt, signals: Signals, ended: Any) -> None:
        """Nothing is sent at once, for the same reason."""

    def withdraw(self, run: str, task: int, number: int) -> None:
        """Take an attempt back if no worker has it yet; see `CoreExecutor.withdraw`."""
        admitting = self._admitting.get((run, task, number))
        if admitting is None or not admitting.cancel():
            super().withdraw(run, task, number)

    async def close(self, *, at_once: bool = False) -> None:
        """Stop the steps and the workers, and leave Core. May be called twice.

        Args:
            at_once: See `CoreExecutor.close`.
        """
        for admitting in list(self._admitting.values()):
            admitting.cancel()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
        gate, self._gate = self._gate, None
        await super().close(at_once=at_once)
        if gate is not None:
            await gate.close()

    async def _admit(self, step: str) -> Any:
        gate = await self._opened()
        return gate, await gate.admit(step)

    async def _opened(self) -> "Gate":
        if self._gate is not None:
            return self._gate
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="cerebelum upstream open")
        return await asyncio.shield(self._opening)

    async def _open(self) -> "Gate":
        try:
            with _without_fork_handlers():
                from cerebelum_nb.upstream.gate import Gate  # noqa: PLC0415  see above

                gate = Gate(self.url, self.name, self._credentials)
            try:
                await gate.open()
            except BaseException:
                await gate.close()
                raise
            self._gate = gate
            return gate
        finally:
            self._opening = None


def unreachable(url: str) -> str:
    """Why nobody answers there; empty where somebody does, whoever that is. May take seconds."""
    host, port = upstream_at(url, "core")
    try:
        socket.create_connection((host, int(port)), KNOCK_S).close()
    except OSError as exc:
        return f"there is no Core at {url}: {exc.strerror or exc}"
    return ""


def _give_back(admitted: "asyncio.Task[Any]") -> None:
    """A step was stopped in the moment when Core let it begin."""
    if not admitted.cancelled() and admitted.exception() is None:
        gate, ticket = admitted.result()
        gate.over(ticket, ok=False)
