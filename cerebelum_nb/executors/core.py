"""The executor `core`: attempts run in worker processes on this machine, over gRPC through the embedded Core."""

import asyncio
import contextlib
import importlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from cerebelum_nb.errors import CaptureError, ExecutorError, WireError
from cerebelum_nb.executors.core_process import CoreProcess, in_thread
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Answer, Attempt, Outcome, Signals

TWICE_S = 60.0  # a second Core that ends within this time is followed by a third only when somebody asks

if TYPE_CHECKING:  # it loads gRPC, which must not happen before Core has been started
    from cerebelum_nb.executors.core_link import Link


class CoreExecutor:
    """Runs attempts through an embedded Core, which starts on first use and ends with this process.

    Args:
        slots: Worker processes.
        name: What strategies call it: ``core``, or the name of a pool.
        run_dir: Where Core's private directory is made; by default the user's runtime or temporary directory.
        silent_s: A Core that is not heard of for so long is ended, with its workers.
    """

    crosses_boundary = True

    def __init__(
        self, *, slots: int = 2, run_dir: Path | None = None, name: str = "core", silent_s: float = 20.0
    ) -> None:
        if slots < 1:
            raise ExecutorError(f"the core executor needs at least one worker, not slots={slots!r}")
        self.capacity = max(64, 4 * slots)
        self.name = name
        self._slots = slots
        self._run_dir = run_dir
        self._silent_s = silent_s
        self._deaths: deque[float] = deque(maxlen=2)  # when Core ended against our wish
        self._given_up: set[str] = set()  # runs that have seen two of them in short order
        self._taken_back: set[tuple[str, int, int]] = set()
        self._link: Link | None = None
        self._starting: asyncio.Task[Link] | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of Core and its workers; empty when nothing runs."""
        link = self._link
        return (link.process.pid, *link.workers.values()) if link is not None and link.alive else ()

    @property
    def workers(self) -> int:
        """How many worker processes there are."""
        return len(self._link.workers) if self._link is not None and self._link.alive else 0

    async def start(self) -> None:
        """Start Core if it does not run. Any number of callers share one start.

        Raises:
            ExecutorError: Core did not start; says why.
        """
        await self._started()

    async def run(self, attempt: Attempt, signals: Signals) -> Outcome:
        """Run one attempt in a worker process; see `protocols.Executor.run`.

        Where Core ends and no worker had got the attempt, it goes to the next Core by itself; but not when two have
        ended in short order.
        """
        key = (attempt.run, attempt.task, attempt.number)
        try:
            while attempt.run not in self._given_up:
                link = self._link if self._link is not None and self._link.alive else await self._started()
                if key in self._taken_back:
                    return Outcome("lost", error=ErrorInfo("NoWorker", "no worker took it"), delivered=False)
                outcome = await link.run(attempt, signals)
                if outcome.error is None or outcome.error.type != "CoreLost":
                    return outcome
                if self._has_died_twice():
                    self._given_up.add(attempt.run)
                if outcome.delivered:
                    return outcome
                if attempt.run not in self._given_up:
                    signals.output("notice", f"{outcome.error.message} It is sent to a new one.\n")
            return Outcome("lost", error=ErrorInfo("CoreLost", _twice(attempt)), delivered=False)
        except ExecutorError as exc:
            return Outcome("error", error=ErrorInfo("ExecutorError", str(exc)), delivered=False)
        except (CaptureError, WireError) as exc:
            return Outcome("error", error=ErrorInfo(type(exc).__name__, str(exc)))
        finally:
            self._taken_back.discard(key)

    def withdraw(self, run: str, task: int, number: int) -> None:
        """Take an attempt back if no worker has it yet: `run` then returns an outcome that was not delivered."""
        self._taken_back.add((run, task, number))
        if self._link is not None and self._link.alive:
            self._link.withdraw(run, task, number)

    def _has_died_twice(self) -> bool:
        return len(self._deaths) == 2 and self._deaths[1] - self._deaths[0] < TWICE_S

    def _died(self) -> None:
        self._deaths.append(monotonic())

    async def gone(self, run: str, task: int, number: int) -> Outcome | None:
        """Return when the code of an attempt that was cancelled no longer runs: how it ended, if it has said so."""
        return await self._link.gone(run, task, number) if self._link is not None and self._link.alive else None

    async def answer(self, run: str, task: int, number: int, answer: Answer) -> None:
        """Tell a waiting attempt what somebody said; see `protocols.Executor.answer`.

        Raises:
            WireError: The value cannot be sent to a worker.
        """
        if self._link is not None and self._link.alive:
            self._link.answer(run, task, number, answer)

    async def close(self) -> None:
        """Stop the steps, the workers and Core. May be called twice."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        link, self._link = self._link, None
        if link is not None:
            await link.close(ErrorInfo("ExecutorClosed", "the core executor was closed while the step ran"))

    async def _started(self) -> "Link":
        if self._link is not None and self._link.alive:
            return self._link
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="cerebelum core start")
        return await asyncio.shield(self._starting)  # one caller's cancel must not stop the others

    async def _start(self) -> "Link":
        try:
            process = CoreProcess(self._slots, self._run_dir)  # before gRPC is loaded here: both take a while
            try:
                module, _ = await asyncio.gather(
                    in_thread(_load_link),
                    in_thread(process.wait_ready),
                )
            except BaseException:
                await in_thread(process.stop)
                raise
            with _without_fork_handlers():
                self._link = link = module.Link(process, self._silent_s, self._died)
            return link  # type: ignore[no-any-return]  # a module imported by name
        finally:
            self._starting = None


def _twice(attempt: Attempt) -> str:
    return f"Core ended twice within {TWICE_S:.0f} s, so step {attempt.step!r} was not sent to a third one."


def _load_link() -> Any:
    with _without_fork_handlers():
        return importlib.import_module("cerebelum_nb.executors.core_link")


@contextlib.contextmanager
def _without_fork_handlers() -> Iterator[None]:
    """Let gRPC start without its fork handlers.

    With them, a third of the children of a plain `multiprocessing` pool in the same notebook died at the fork. A
    forked child must not use our connection, and does not: its session is its own.
    """
    name = "GRPC_ENABLE_FORK_SUPPORT"
    if name in os.environ:
        yield  # the person's own choice
        return
    os.environ[name] = "0"
    try:
        yield
    finally:
        os.environ.pop(name, None)
