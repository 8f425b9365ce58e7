"""The executor `core`: attempts run in worker processes on this machine, over gRPC through the embedded Core."""

import asyncio
import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cerebelum_nb.errors import CaptureError, ExecutorError, WireError
from cerebelum_nb.executors.core_process import CoreProcess, in_thread
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Answer, Attempt, Outcome, Signals

if TYPE_CHECKING:  # it loads gRPC, which must not happen before Core has been started
    from cerebelum_nb.executors.core_link import Link


class CoreExecutor:
    """Runs attempts through an embedded Core, which starts on first use and ends with this process.

    Args:
        slots: Worker processes.
        name: What strategies call it: ``core``, or the name of a pool.
        run_dir: Where Core's private directory is made; by default the user's runtime or temporary directory.
    """

    crosses_boundary = True

    def __init__(self, *, slots: int = 2, run_dir: Path | None = None, name: str = "core") -> None:
        if slots < 1:
            raise ExecutorError(f"the core executor needs at least one worker, not slots={slots!r}")
        self.capacity = max(64, 4 * slots)
        self.name = name
        self._slots = slots
        self._run_dir = run_dir
        self._link: Link | None = None
        self._starting: asyncio.Task[Link] | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of Core and its workers; empty when nothing runs."""
        link = self._link
        return (link.process.pid, *link.workers.values()) if link is not None and link.alive else ()

    async def start(self) -> None:
        """Start Core if it does not run. Any number of callers share one start.

        Raises:
            ExecutorError: Core did not start; says why.
        """
        await self._started()

    async def run(self, attempt: Attempt, signals: Signals) -> Outcome:
        """Run one attempt in a worker process; see `protocols.Executor.run`."""
        try:
            link = self._link if self._link is not None and self._link.alive else await self._started()
            return await link.run(attempt, signals)
        except (CaptureError, WireError, ExecutorError) as exc:
            return Outcome("error", error=ErrorInfo(type(exc).__name__, str(exc)))

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
                self._link = link = module.Link(process)
            return link  # type: ignore[no-any-return]  # a module imported by name
        finally:
            self._starting = None


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
