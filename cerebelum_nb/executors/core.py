"""The executor `core`: attempts run in worker processes on this machine, over gRPC through the embedded Core."""

import asyncio
import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from cerebelum_nb.codec import LARGE_NBYTES
from cerebelum_nb.errors import CaptureError, ExecutorError, WireError
from cerebelum_nb.executors.core_process import CoreProcess, in_thread
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.protocols import NOTHING_SENT, Answer, Attempt, Listener, Outcome, Sent, Signals
from cerebelum_nb.rules.elsewhere import add_one
from cerebelum_nb.wire.frames import Drain, Look, Resize, Seats
from cerebelum_nb.wire.pieces import LIMIT_NBYTES

TWICE_S = 60.0  # an attempt that waits while two Cores end within this time is not sent to a third

if TYPE_CHECKING:  # it loads gRPC, which must not happen before Core has been started
    from cerebelum_nb.executors.core_link import Link
    from cerebelum_nb.executors.distrust import Distrust
    from cerebelum_nb.executors.large import LargeValues
    from cerebelum_nb.executors.reading import TakeBack
    from cerebelum_nb.wire.storage import Storage


class CoreExecutor:
    """Runs attempts through an embedded Core, which starts on first use and ends with this process.

    Args:
        slots: Worker processes.
        name: What strategies call it: ``core``, or the name of a pool.
        run_dir: Where Core's private directory is made; by default the user's runtime or temporary directory.
        silent_s: A Core that is not heard of for so long is ended, with its workers.
        worker_silent_s: A worker that neither answers nor does anything for so long is ended.
        pool: What else is said of its workers, where they have a name of their own.
        served: URL and pass of a Core that somebody serves; None for one of our own.
        large_nbytes: A larger value is in memory that our own workers share, if they are trusted.
        limit_nbytes: Of a value that goes there or comes from there otherwise.
        relieve: Called where there is no room for a large value: somebody may hold what can be had elsewhere.
        values_url: Storage that workers of a served Core reach too, for large values; empty for none.
    """

    crosses_boundary = True
    takes_large = True  # arguments may be `codec.Large`

    def __init__(  # noqa: PLR0913  all by keyword
        self,
        *,
        slots: int = 2,
        run_dir: Path | None = None,
        name: str = "core",
        silent_s: float = 20.0,
        worker_silent_s: float = 60.0,
        pool: Pool | None = None,
        served: tuple[str, Path] | None = None,
        large_nbytes: int = LARGE_NBYTES,
        limit_nbytes: int = LIMIT_NBYTES,
        relieve: Callable[[], object] = bool,
        values_url: str = "",
    ) -> None:
        if slots < (pool is None):  # a pool may get its workers later
            raise ExecutorError(f"how many workers there are is a whole number from 1, not slots={slots!r}")
        self.pool, self.served = pool, served
        self.name = name
        self.capacity = _capacity(slots)
        self.slots, self.env = slots, dict(pool.env) if pool is not None else {}
        self._sent = 0  # attempts, to Cores that have ended
        self._told: set[str] = set()  # runs that know that nobody is here
        self._run_dir = run_dir
        self._silent_s, self._worker_silent_s = silent_s, worker_silent_s
        self._large_nbytes, self._limit_nbytes, self._relieve = large_nbytes, limit_nbytes, relieve
        self._values_url = values_url
        self._storage: Storage | None = None
        self._died_at = 0.0  # when Core last ended against our wish
        self._saw: dict[tuple[str, int, int], float] = {}  # attempts that no worker had got, and which end they saw
        self._given_up: set[tuple[str, int, int]] = set()  # those that have seen two in short order
        self._taken_back: set[tuple[str, int, int]] = set()
        self._link: Link | None = None
        self._last_words = ""
        self._starting: asyncio.Task[Link] | None = None

    @property
    def sent(self) -> int:
        """How many attempts were sent to a Core."""
        return self._sent + (self._link.sent if self._link is not None else 0)

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
        ended in short order while it waited.
        """
        key = (attempt.run, attempt.task, attempt.number)
        try:
            while key not in self._given_up:
                link = self._link if self._link is not None and self._link.alive else await self._started()
                if not self.slots and self.served is None and attempt.run not in self._told:
                    self._told.add(attempt.run)
                    label = self.pool.name if self.pool is not None else self.name
                    text = f"no worker in pool {label!r} (0 registered), so it waits. {add_one(label)}\n"
                    signals.output("notice", text)
                if key in self._taken_back:
                    return Outcome("lost", error=ErrorInfo("NoWorker", "no worker took it"), delivered=False)
                outcome = await link.run(attempt, signals)
                if not self._goes_on(attempt, signals, outcome):
                    return outcome
            return Outcome("lost", error=ErrorInfo("CoreLost", _twice(attempt)), delivered=False)
        except ExecutorError as exc:
            return Outcome("error", error=ErrorInfo("ExecutorError", str(exc)), delivered=False)
        except (CaptureError, WireError) as exc:
            return Outcome("error", error=ErrorInfo(type(exc).__name__, str(exc)))
        finally:
            self._taken_back.discard(key)
            self._given_up.discard(key)
            self._saw.pop(key, None)

    def follow(self, attempts: Sequence[Attempt], heard: Sequence[Listener], then: Callable[[], object]) -> Sent:
        """Send attempts before what they follow has ended, so that the same worker goes on with them at once.

        Args:
            attempts: Each follows the one before it.
            heard: For each: told what happens, and how it has ended; not `delivered` where it did not begin.
            then: Called when those that were sent are on their way; the others must wait for their turn.
        """
        link = self.link
        return link.follow(attempts, heard, then) if link is not None else NOTHING_SENT

    def launch(self, attempt: Attempt, signals: Signals, ended: Callable[[Outcome | None], None]) -> "TakeBack | None":
        """Send an attempt that nobody awaits; see `Link.launch`.

        Args:
            ended: Told how it has ended; None where no worker had got it and `run` is to send it to another Core.

        Returns:
            What stops it; None where it was not sent, and `run` is to do it.
        """
        if (link := self.link) is None:
            return None
        nobody = not self.slots and self.served is None
        if nobody or (self._taken_back and (attempt.run, attempt.task, attempt.number) in self._taken_back):
            return None  # `run` says so
        try:
            return link.launch(attempt, signals, functools.partial(self._ended, attempt, signals, ended))
        except (CaptureError, WireError):
            return None  # `run` will say so

    def _ended(
        self, attempt: Attempt, signals: Signals, ended: Callable[[Outcome | None], None], outcome: Outcome
    ) -> None:
        if self._taken_back:
            self._taken_back.discard((attempt.run, attempt.task, attempt.number))
        ended(None if self._goes_on(attempt, signals, outcome) else outcome)

    def _goes_on(self, attempt: Attempt, signals: Signals, outcome: Outcome) -> bool:
        """Whether an attempt has ended with its Core only, and goes to the next one."""
        if outcome.error is None or outcome.error.type != "CoreLost" or outcome.delivered:
            return False
        key = (attempt.run, attempt.task, attempt.number)
        before, self._saw[key] = self._saw.get(key), self._died_at
        if before and 0 < self._died_at - before < TWICE_S:  # what others have seen says nothing of this one
            self._given_up.add(key)
        else:
            signals.output("notice", f"{outcome.error.message} It is sent to a new one.\n")
        return True

    def withdraw(self, run: str, task: int, number: int) -> None:
        """Take an attempt back if no worker has it yet: `run` then returns an outcome that was not delivered."""
        self._taken_back.add((run, task, number))
        if self._link is not None and self._link.alive:
            self._link.withdraw(run, task, number)

    def _died(self) -> None:
        self._died_at = monotonic()

    def gone(self, run: str, task: int, number: int) -> "asyncio.Future[Outcome | None]":
        """Done when the code of an attempt that was just cancelled no longer runs: how it ended, if it has said so."""
        left = self.link.left(run, task, number) if self.link is not None else None
        if left is None:
            left = asyncio.get_running_loop().create_future()
            left.set_result(None)
        return left

    async def answer(self, run: str, task: int, number: int, answer: Answer) -> None:
        """Tell a waiting attempt what somebody said; see `protocols.Executor.answer`.

        Raises:
            WireError: The value cannot be sent to a worker.
        """
        if self._link is not None and self._link.alive:
            self._link.answer(run, task, number, answer)

    @property
    def link(self) -> "Link | None":
        """The connection to a Core that runs, if one does."""
        return self._link if self._link is not None and self._link.alive else None

    @property
    def shared(self) -> "LargeValues | None":
        """The values in memory that a Core which runs shares with its workers."""
        return self.link.large if self.link is not None else None

    @property
    def words(self) -> str:
        """The end of what Core and its workers have said; of the last Core, where none runs."""
        return self._link.process.log_tail() if self._link is not None else self._last_words

    async def resize(self, slots: int, env: Mapping[str, str] | None = None) -> None:
        """Have so many workers from now on. Those that are too many, or have another environment, end after their step.

        Args:
            env: What they have in their environment beside ours; None for what they have.
        """
        self.slots, self.env = slots, dict(self.env if env is None else env)
        self.capacity = _capacity(slots)
        self._told.clear()
        if (link := self.link) is not None:
            link.tell(Resize(slots, self.env))

    async def drain(self, slot: int, *, again: bool) -> None:
        """Let one worker end after its step. Does nothing where there is no such worker.

        Args:
            again: Another one takes its place; else there is one less.
        """
        if (link := self.link) is not None and slot in link.workers:
            self.slots = self.slots if again else max(0, self.slots - 1)
            link.tell(Drain(slot, again))

    async def seats(self, wait_s: float = 1.5) -> Seats | None:
        """Who does what, as Core says it; None where no Core runs or it does not answer."""
        if (link := self.link) is None:
            return None
        answer: asyncio.Future[Seats] = asyncio.get_running_loop().create_future()
        link.asked.append(answer)
        link.tell(Look())
        await asyncio.wait([answer], timeout=wait_s)
        return answer.result() if answer.done() else None

    async def give_up(self) -> None:
        """End a Core that does not answer. What no worker had begun there goes to the next one."""
        if (link := self.link) is not None:
            self._died_at = 0.0  # nobody has seen it end by itself
            await link.give_up()

    async def close(self, *, at_once: bool = False) -> None:
        """Stop the steps, the workers and Core. May be called twice.

        Args:
            at_once: Core is known not to answer: do not wait for it.
        """
        if self._starting is not None:
            await asyncio.wait([self._starting])
        self._sent = self.sent
        link, self._link = self._link, None
        if link is not None:
            await link.close(ErrorInfo("ExecutorClosed", "its workers were ended while the step ran"), at_once=at_once)
            self._last_words = link.process.last_words

    async def _started(self) -> "Link":
        if self._link is not None and self._link.alive:
            return self._link
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="cerebelum core start")
        return await asyncio.shield(self._starting)  # one caller's cancel must not stop the others

    async def _start(self) -> "Link":
        try:
            slots, env = self.slots, self.env
            if self.served is not None:
                return await self._join(*self.served)
            process = CoreProcess(  # before gRPC is loaded here: both take a while
                *(slots, self._run_dir, env),
                large_nbytes=self._large(),
                limit_nbytes=self._limit_nbytes,
                worker_silent_s=self._worker_silent_s,
                pool=self.pool.name if self.pool is not None else self.name,
            )
            try:
                module, _ = await asyncio.gather(
                    in_thread(_load_link),
                    in_thread(process.wait_ready),
                )
            except BaseException:
                await in_thread(process.stop)
                raise
            with _without_fork_handlers():
                self._sent = self.sent
                self._link = link = module.Link(process, self._silent_s, self._died, self._distrust())
            if link.large is not None:
                link.large.others = self._relieve
            if (slots, env) != (self.slots, self.env):  # somebody has changed them meanwhile
                await self.resize(self.slots, self.env)
            return link  # type: ignore[no-any-return]  # a module imported by name
        finally:
            self._starting = None

    def _large(self) -> int | None:
        """From where on values are in memory that workers can change; None where these are not trusted."""
        return self._large_nbytes if self.pool is None or self.pool.trust == "trusted" else None

    def _distrust(self) -> "Distrust | None":
        """What looks at the words of workers that are not trusted."""
        if self.pool is None or self.pool.trust == "trusted":
            return None
        from cerebelum_nb.executors.distrust import Distrust  # noqa: PLC0415  rarely needed

        return Distrust(self.name)

    async def _join(self, url: str, path: Path) -> "Link":
        """Be one of the kernels of a Core that is served."""
        from cerebelum_nb.executors.core_served import ServedCore  # noqa: PLC0415  who has one of its own needs it not

        pool = self.pool.name if self.pool is not None else self.name
        process = ServedCore(url, path, pool, self._limit_nbytes, self._worker_silent_s)
        module = await in_thread(_load_link)
        if self._values_url and self._storage is None:
            self._storage = await in_thread(_storage, self._values_url)
        process.storage = self._storage
        with _without_fork_handlers():
            await in_thread(process.wait_ready)
            self._sent = self.sent
            self._link = link = module.Link(process, self._silent_s, self._died, self._distrust())
            process.notices(link.notice)
        return link  # type: ignore[no-any-return]  # as above


def _capacity(slots: int) -> int:
    """Attempts of one run that are sent at once; more wait in the run's own queue."""
    return max(256, 4 * slots)


def _storage(url: str) -> "Storage":
    """A folder of our own there.

    Raises:
        ExecutorError: It cannot be used.
    """
    from cerebelum_nb.wire.storage import Storage, new_folder  # noqa: PLC0415  only for who has such storage

    try:
        return Storage(new_folder(url), owns=True)
    except WireError as exc:
        raise ExecutorError(str(exc)) from None


def _twice(attempt: Attempt) -> str:
    how = f"Core ended twice within {TWICE_S:.0f} s while step {attempt.step!r} waited for a worker"
    return f"{how}, so it was not sent to a third one."


def _load_link() -> Any:
    from cerebelum_nb.wire.channel import loading  # noqa: PLC0415  few need it

    with _without_fork_handlers(), loading():
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
