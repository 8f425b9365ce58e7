"""`local`: steps in this process. Async ones on the steps loop, sync ones in a small pool of threads.

A lane runs steps end to end: it takes a ticket, runs it, hands in the result and leaves with the next. A spare lane
is on its way whenever work is left, so a step that waits does not hold up the others. User code never runs on the
control loop; a step that blocks the steps loop is named, and a cancelled run leaves it behind with its loop.
"""

import asyncio
import contextlib
import contextvars
import itertools
import linecache
import logging
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, Final

from cerebelum_nb.attempt import describe, enter, enter_capture, leave_capture
from cerebelum_nb.errors import PlanError
from cerebelum_nb.executors.threads import Threads
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.runtime.careful import NOT_BEGUN, not_to_begin, not_to_begin_here
from cerebelum_nb.runtime.following import Ticket
from cerebelum_nb.runtime.job import Job, looked_up

SLICE_S: Final = 0.005  # a lane hands over after this long, so that timers of other steps stay alive
BLOCKED_S: Final = 0.25  # a step that holds the steps loop this long is named
THREADS: Final = 8
_log = logging.getLogger(__name__)


@types.coroutine
def _rest(ctx: contextvars.Context, coro: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that has suspended once, always inside its own context."""
    while True:
        try:
            try:
                sent = yield waiting
            except BaseException as exc:  # noqa: BLE001  it belongs to the step: a cancel, mostly
                waiting = ctx.run(coro.throw, exc)
            else:
                waiting = ctx.run(coro.send, sent)
        except StopIteration as stop:
            return stop.value


class _Loop:
    """A thread with an event loop on which steps run. `holding` is the step that has the thread just now."""

    def __init__(self, number: int) -> None:
        self.loop = asyncio.new_event_loop()
        self._closing = False
        self.holding: tuple[Job, Ticket, float] | None = None
        self.coro: Coroutine[Any, Any, Any] | None = None  # of the last step that had the thread
        self.named: Ticket | None = None  # the blocking step that has been named already
        self.thread = threading.Thread(target=self._main, name=f"cerebelum-steps-{number}", daemon=True)
        self.thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._closing:  # a step may stop its loop, or raise what asyncio lets through
            try:
                self.loop.run_forever()
            except BaseException:  # noqa: BLE001  other steps need this thread; the step's own end is written elsewhere
                _log.exception("a step got out of its lane")

    def stop(self) -> None:
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)


class LocalExecutor:
    """Runs steps in the kernel's own process."""

    name = "local"
    crosses_boundary = False

    def __init__(self) -> None:
        self._number = itertools.count(1)
        self._loop: _Loop | None = None
        self._old: list[_Loop] = []
        self._threads = Threads(THREADS)
        self._waiting: dict[tuple[str, int, int], asyncio.Task[Any]] = {}  # the lane suspended in an attempt
        self._in_thread: set[tuple[str, int, int]] = set()
        self._stopped: set[tuple[str, int, int]] = set()  # attempts that we cancelled; a step may cancel itself too
        self._given_up: set[tuple[str, int, int]] = set()  # of those in threads: another thread is allowed instead
        self._left: dict[tuple[str, int, int], tuple[str, str]] = {}  # attempts that outlive their run -> line, step
        self._lanes: set[asyncio.Task[None]] = set()

    def serve(self, job: Job) -> dict[str, Callable[[], object]]:
        """Take a run's local lanes on; returns how to tell them that work waits. Undone by `leave`."""
        enter_capture()
        if self._loop is None or self._is_blocked(self._loop):
            if self._loop is not None:
                self._old.append(self._loop)
            self._loop = _Loop(next(self._number))
        here = self._loop
        return {
            "local": lambda: here.loop.call_soon_threadsafe(self._open, here, job),
            "threads": lambda: self._threads.submit(lambda: self._guarded_thread_lane(job)),
        }

    def leave(self, job: Job) -> None:
        """The run has ended; what is still stuck in its steps is left behind."""
        leave_capture()
        at_work = self._at_work()
        still = [key for key in at_work if key[0] == job.run]
        for key in still:
            if key in self._in_thread:
                self._give_up(key)
        self._left = {key: mine for key, mine in self._left.items() if key in at_work}
        self._left |= {key: (job.root, job.plan.names[key[1]]) for key in still}
        for old in [o for o in self._old if o.holding is None]:
            self._old.remove(old)
            old.stop()

    def stop(self, job: Job, task: int, attempt: int) -> None:
        """Cancel a waiting async step. A sync one cannot be stopped: its result is dropped and its thread replaced."""
        key = (job.run, task, attempt)
        if key in self._in_thread:
            self._give_up(key)
            return
        for here in (self._loop, *self._old):
            if here is not None:
                here.loop.call_soon_threadsafe(self._cancel, key)

    def still_runs(self, job: Job, task: int, attempts: int) -> str:
        """What still runs of a step though it was stopped; see `elsewhere.Reach`. From any thread."""
        mine = job.root, job.plan.names[task]
        keys = [(job.run, task, number) for number in range(1, attempts + 1)]
        keys += [key for key, line in list(self._left.items()) if line == mine]
        if any(key in self._in_thread for key in keys):
            return "its thread still runs here"
        holding = [here.holding for here in (self._loop, *self._old) if here is not None]
        held = [(by[0].root, by[0].plan.names[by[1].task]) for by in holding if by is not None]
        return "it still runs here" if mine in held or any(key in self._waiting for key in keys) else ""

    @property
    def left_behind(self) -> list[tuple[str, str]]:
        """Steps that go on though their run has ended, each with its run."""
        at_work = self._at_work()
        return [(key[0], step) for key, (_, step) in list(self._left.items()) if key in at_work]

    def _at_work(self) -> set[tuple[str, int, int]]:
        held = [by for here in (self._loop, *self._old) if here is not None and (by := here.holding) is not None]
        at_work = {*list(self._in_thread), *list(self._waiting)}
        return at_work | {(job.run, ticket.task, ticket.attempt) for job, ticket, _ in held}

    def _give_up(self, key: tuple[str, int, int]) -> None:
        if key not in self._given_up:
            self._given_up.add(key)
            self._threads.allow(1)

    def _cancel(self, key: tuple[str, int, int]) -> None:
        lane = self._waiting.get(key)
        if lane is not None:
            self._stopped.add(key)
            lane.cancel()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait for a run: a sync step that waits lends its thread's place to the steps it waits for.

        Raises:
            PlanError: An async step waits so; the loop it holds is the one that would run what it waits for.
        """
        if any(here is not None and here.thread is threading.current_thread() for here in (self._loop, *self._old)):
            raise PlanError(
                "an async step waits for a run with .wait() or .result(), which stops the loop that steps run on: "
                "write `await run`, or make the step a plain def"
            )
        if not self._threads.is_mine():
            yield
            return
        self._threads.allow(1)
        try:
            yield
        finally:
            self._threads.allow(-1)

    def watch(self) -> None:
        """Name a step that holds the steps loop. Called often, on the control loop."""
        here = self._loop
        if here is None or here.holding is None:
            return
        job, ticket, since = here.holding
        if here.named is ticket or time.perf_counter() - since < BLOCKED_S:
            return
        here.named = ticket
        at = _where(here.coro)
        step = job.plan.names[ticket.task]
        job.scheduler.printed(
            ticket.task,
            ticket.attempt,
            "notice",
            f"step {step!r} blocks the other async local steps{at}\n"
            "Write it as a plain def (it gets a thread), await instead of blocking, or run it distributed.\n",
        )

    @staticmethod
    def _is_blocked(here: _Loop) -> bool:
        holding = here.holding
        return holding is not None and time.perf_counter() - holding[2] > BLOCKED_S

    def close(self) -> None:
        """Let the threads go; steps that still run are left behind."""
        self._threads.close()
        for here in (self._loop, *self._old):
            if here is not None:
                here.stop()
        self._loop, self._old = None, []

    def _open(self, here: _Loop, job: Job) -> None:
        lane = here.loop.create_task(self._lane(here, job))
        self._lanes.add(lane)
        lane.add_done_callback(lambda ended: self._lane_ended(ended, job))

    def _lane_ended(self, lane: asyncio.Task[None], job: Job) -> None:
        self._lanes.discard(lane)
        if not lane.cancelled() and (bug := lane.exception()) is not None:
            job.crash(bug)

    async def _lane(self, here: _Loop, job: Job) -> None:  # noqa: C901, PLR0912, PLR0915  the hot path, in one piece
        turn, clock = job.scheduler.turn, time.perf_counter
        me, until = asyncio.current_task(), clock() + SLICE_S
        assert me is not None
        cache, cached, careful = job.cache, job.plan.cached, job.plan.careful
        ticket = turn("local")
        while ticket is not None:
            value, outcome = None, None
            if cached and cache is not None and ticket.task in cached:
                outcome = cache.at_once(ticket) or await self._looked_up(job, ticket, me)
                if outcome is not None:
                    if clock() > until or me.cancelling():
                        turn("", ticket, outcome=outcome)
                        return
                    ticket = turn("local", ticket, outcome=outcome)
                    continue
            if careful and ticket.task in careful:
                outcome = await self._not_to_begin(job, ticket, me)
                if outcome is not None:
                    turn("", ticket, outcome=outcome)
                    return
            ctx = contextvars.copy_context()
            here.holding = (job, ticket, clock())
            try:
                ctx.run(enter, job.here(ticket))
                function, args, kwargs = job.call(ticket.task, ticket.attempt)
                here.coro = coro = function(*args, **kwargs)
                try:
                    waiting = ctx.run(coro.send, None)
                except StopIteration as stop:
                    value = stop.value
                else:
                    here.holding = None
                    key = (job.run, ticket.task, ticket.attempt)
                    self._waiting[key] = me
                    try:
                        value = await _rest(ctx, self._noting(here, job, ticket, coro), waiting)
                    finally:
                        del self._waiting[key]
            except asyncio.CancelledError as exc:
                key = (job.run, ticket.task, ticket.attempt)
                outcome = _cancelled() if key in self._stopped else Outcome("error", error=describe(exc))
                self._stopped.discard(key)
            except BaseException as exc:  # noqa: BLE001  SystemExit of a step is the step's failure, not ours
                outcome = job.failure(ticket, exc)
            here.holding = None
            if cached and cache is not None and outcome is None:
                cache.made(ticket, value)
            job.flush(ticket)
            if clock() > until or me.cancelling():  # used up or marked: a fresh lane goes on
                turn("", ticket, value, outcome)
                return
            ticket = turn("local", ticket, value, outcome)

    async def _looked_up(self, job: Job, ticket: Ticket, me: asyncio.Task[Any]) -> Outcome | None:
        """What the cache has, read in a thread: other steps need this loop."""
        assert job.cache is not None
        key = (job.run, ticket.task, ticket.attempt)
        self._waiting[key] = me
        try:
            return await looked_up(asyncio.get_running_loop(), job.cache, ticket)
        except asyncio.CancelledError:
            self._stopped.discard(key)
            return _cancelled()
        finally:
            del self._waiting[key]

    async def _not_to_begin(self, job: Job, ticket: Ticket, me: asyncio.Task[Any]) -> Outcome | None:
        """Wait until the attempt is known of on disk: other steps have this loop meanwhile."""
        key = (job.run, ticket.task, ticket.attempt)
        self._waiting[key] = me
        try:
            return await not_to_begin(job.scheduler, ticket)
        except asyncio.CancelledError:
            self._stopped.discard(key)
            return NOT_BEGUN
        finally:
            del self._waiting[key]

    @staticmethod
    def _noting(here: _Loop, job: Job, ticket: Ticket, coro: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """The same coroutine, telling the watch when it has the thread."""
        return _Noted(here, job, ticket, coro)  # type: ignore[return-value]

    def _guarded_thread_lane(self, job: Job) -> None:
        try:
            self._thread_lane(job)
        except BaseException as bug:  # noqa: BLE001  ours, not the step's: the run ends with it instead of hanging
            job.crash(bug)

    def _thread_lane(self, job: Job) -> None:
        turn, cache, cached, careful = job.scheduler.turn, job.cache, job.plan.cached, job.plan.careful
        ticket = turn("threads")
        while ticket is not None:
            value, outcome = None, None
            key = (job.run, ticket.task, ticket.attempt)
            self._in_thread.add(key)
            looks = cached and cache is not None and ticket.task in cached
            if looks and cache is not None:
                outcome = cache.at_once(ticket) or cache.look(ticket)
                if outcome is None and key in self._given_up:
                    outcome = _cancelled()
            if outcome is None and careful and ticket.task in careful:
                outcome = not_to_begin_here(job.scheduler, ticket)
            if outcome is None:
                ctx = contextvars.copy_context()
                try:
                    ctx.run(enter, job.here(ticket))
                    function, args, kwargs = job.call(ticket.task, ticket.attempt)
                    value = ctx.run(function, *args, **kwargs)
                except BaseException as exc:  # noqa: BLE001  SystemExit of a step is the step's failure, not ours
                    outcome = job.failure(ticket, exc)
                if looks and cache is not None and outcome is None:
                    cache.made(ticket, value)
            job.flush(ticket)
            self._in_thread.discard(key)
            if key in self._given_up:  # it did end: its own thread is enough again
                self._given_up.discard(key)
                self._threads.allow(-1)
            ticket = turn("threads", ticket, value, outcome)


class _Noted:
    """A coroutine that says when it runs; only for the rest of a step that has suspended once."""

    __slots__ = ("_coro", "_here", "_job", "_ticket")

    def __init__(self, here: _Loop, job: Job, ticket: Ticket, coro: Coroutine[Any, Any, Any]) -> None:
        self._here, self._job, self._ticket, self._coro = here, job, ticket, coro

    def send(self, value: Any) -> Any:
        self._here.holding, self._here.coro = (self._job, self._ticket, time.perf_counter()), self._coro
        try:
            return self._coro.send(value)
        finally:
            self._here.holding = None

    def throw(self, exc: BaseException) -> Any:
        self._here.holding, self._here.coro = (self._job, self._ticket, time.perf_counter()), self._coro
        try:
            return self._coro.throw(exc)
        finally:
            self._here.holding = None


def _where(coro: Any) -> str:
    """The line of its own code that a step is at, in words.

    Not by `sys._current_frames`: up to Python 3.12.3 it stops the whole process for ever when a garbage collection
    begins in it while another thread starts or ends.
    """
    frame = getattr(coro, "cr_frame", None)
    if frame is None:  # it has just ended
        return ""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f" at line {frame.f_lineno} of {frame.f_code.co_name}: {line}"


def _cancelled() -> Outcome:
    return Outcome("cancelled", error=ErrorInfo("Cancelled", "stopped while it waited"))
