"""A run's end: who waits for it, what it gives, and how it is told by those who write it down."""

import asyncio
import contextlib
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from cerebelum_nb.capture.kept import Codes
from cerebelum_nb.context import Context
from cerebelum_nb.errors import ExecutionError, Leftover, ResultLost
from cerebelum_nb.model.events import AnyEvent, TaskResumed
from cerebelum_nb.model.lines import Prints
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import SUCCEEDED
from cerebelum_nb.model.typed import listed
from cerebelum_nb.rules.once import Ran
from cerebelum_nb.rules.placement import Wishes
from cerebelum_nb.rules.undoing import is_done, is_on_request, no_return
from cerebelum_nb.runtime.answers import ExecutionResult, Outputs, iso, leftovers, undone, why_not
from cerebelum_nb.runtime.approvals import Approvals
from cerebelum_nb.runtime.host import Host
from cerebelum_nb.runtime.job import Before
from cerebelum_nb.runtime.looks import Looks
from cerebelum_nb.runtime.scheduler import UNDO_GRACE_S, Scheduler
from cerebelum_nb.runtime.watchers import FRAME_S
from cerebelum_nb.store.journal import About
from cerebelum_nb.store.values import Results

_log = logging.getLogger(__name__)
GRACE_S: Final = 0.25  # how long a cancelled run waits for its steps to stop by themselves


class Awaited(Looks):
    """A run that somebody may wait for.

    Attributes:
        id: Its name in the journal.
        workflow: The workflow's name.
        root: The run that it goes on from, through any number of resumes; its own id for none.
        moved: Step name to executor: what a person moved, by click or by `move`.
    """

    def __init__(  # noqa: PLR0913  put together in one place, the session
        self,
        run_id: str,
        number: int,
        plan: Plan,
        wishes: Wishes,
        host: Host,
        *,
        scheduler: Scheduler,
        results: Results,
        definition: Any,
        approvals: Approvals,
        tracebacks: dict[int, TracebackType | None] | None = None,
        about: Callable[[], About] | None = None,
        root: str = "",
        parent: Any = None,
    ) -> None:
        self._done = threading.Event()
        super().__init__(number, plan, scheduler, parent, host.loop, self._done.is_set, lambda: host.prices)
        self.id, self.workflow, self.root = run_id, plan.workflow, root or run_id
        self.wishes, self.definition, self.results = wishes, definition, results
        self.tracebacks = tracebacks if tracebacks is not None else {}
        self.pauses: Mapping[str, Sequence[Before]] = {}
        self.without_inputs = ""
        self._holds: dict[object, str] = {}  # who holds it, and why
        self.ran_before: Mapping[str, Ran] = {}  # steps that never run twice and had begun before it
        self.on_end: list[Callable[[Any], None]] = []
        self.codes: Codes | None = None  # how functions were sent in it; None for one of an earlier kernel
        self.keys: Mapping[str, str] = {}  # steps that have an idempotency key of another run than `root`
        self._host, self._approvals, self._about = host, approvals, about
        self._waiters: list[Callable[[], None]] = []
        self._echoed, self._prints = 0, Prints()
        self.moved = dict(wishes.person)
        self._lock = threading.Lock()

    # -- waiting

    @property
    def done(self) -> bool:
        """It has ended and its last event is on disk."""
        return self._done.is_set()

    def wait(self, timeout: float | None = None, *, echo: bool = True) -> bool:
        """Block until it has ended; False when `timeout` seconds passed first. An interrupt cancels the run.

        Args:
            echo: Write what steps print to this thread's standard output meanwhile.

        Raises:
            PlanError: Called by an async step: it would hold up the very loop it waits for.
        """
        try:
            with self._host.waiting():
                return self._wait(timeout, echo=echo)
        except KeyboardInterrupt:
            self.interrupt()
            raise

    def _wait(self, timeout: float | None, *, echo: bool) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self._done.is_set():
            left = FRAME_S if until is None else min(FRAME_S, until - time.monotonic())
            if left <= 0:
                return False
            self._done.wait(left)
            if echo:
                self.echo()
        if echo:
            self.echo()
            self._tell_displayed()
        return True

    def echo(self) -> None:
        """Write what steps printed, and nobody has echoed yet, to this thread's standard output: ``step | line``."""
        with self._lock:
            done, speaking = self._done.is_set(), set(self._speaking)  # first: what is over by now has said all
            self._echoed, new = self.printed(self._echoed)
            told = [(stream, self._prints.take(step, stream, text)) for step, stream, text in new]
            for step in self._prints.begun():
                if done or step not in speaking:
                    told += self._prints.end(step)
        for stream, text in told:
            (sys.stdout if stream == "stdout" else sys.stderr).write(text)

    def _tell_displayed(self) -> None:
        """Say once where to look for what a stream of text cannot show."""
        with self._lock:
            names, self._displaying = list(self._displaying), {}
        if names and not self.is_recalled:
            how = f"runs[{self.number}].displayed({names[0]!r})"
            where = f"click a step's bar, or show it in a cell: {how}"
            print(f"{listed(names)} displayed more than text: {where}")  # noqa: T201  as `echo`

    def result(self, timeout: float | None = None) -> ExecutionResult:
        """Block until it has ended and return its result. An interrupt cancels the run.

        Raises:
            ExecutionError: A step failed.
            RunCancelled: The run was cancelled.
            CompensationFailed: One of these, and not all that its steps did could be undone.
            TimeoutError: `timeout` seconds passed; the run goes on.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"run {self.number} of {self.workflow} still runs after {timeout} s; it goes on")
        return self._result()

    def __await__(self) -> Generator[Any, None, ExecutionResult]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> ExecutionResult:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # that loop has closed: nobody waits there any more
                loop.call_soon_threadsafe(ended.set)

        self._when_done(wake)
        try:
            while not self._done.is_set():
                # A sleeping selector does not hear an interrupt of a notebook's cell: look up ten times a second.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FRAME_S):
                        await ended.wait()
                self.echo()
        except asyncio.CancelledError:
            self.interrupt()
            raise
        self._tell_displayed()
        return self._result()

    def _when_done(self, call: Callable[[], None]) -> None:
        with self._lock:
            if not self._done.is_set():
                self._waiters.append(call)
                return
        call()

    def _result(self) -> ExecutionResult:
        failure = self.error()
        if failure is not None:
            raise failure
        state, answer = self.state, self.scheduler.answer()
        undid = is_on_request(state)
        return ExecutionResult(
            execution_id=self.id,
            status="compensated" if undid else "completed",
            output=None if undid else self.scheduler.envelopes.get(answer) or {"ok": self._value(answer)},
            error=None,
            started_at=iso(state.started_at),
            completed_at=iso(state.ended_at),
            outputs=self.outputs,
            run=self,
        )

    @property
    def outputs(self) -> dict[str, Any]:
        """Results so far, by step name; a nested workflow's under its own name too.

        One that is not there any more, since it was too large to be kept, is left out; asked for by name it raises
        `ResultLost`, which says which line makes it again.
        """
        phase, ways = self.state.phase, self.plan.ways
        ended = [(n, t) for n, t in self.plan.results() if phase[t] == SUCCEEDED and t not in ways]
        found = {n: self.results[t] for n, t in ended if self.results.has(t)}
        return (
            found
            if len(found) == len(ended)
            else Outputs(found, {n: self._why_lost(t) for n, t in ended if n not in found})
        )

    def _value(self, task: int) -> Any:
        if not self.results.has(task):
            raise ResultLost(self._why_lost(task))
        return self.results[task]

    def _why_lost(self, task: int) -> str:
        name = self.plan.names[task]
        again = f"runs[{self.number}].rerun({name!r}) makes it again"
        return (
            f"the result of {name!r} of run {self.number} is not there any more: {self.results.why_lost(task)}; {again}"
        )

    @property
    def lost(self) -> frozenset[int]:
        """Tasks that succeeded and whose results are not there any more."""
        return frozenset(
            t
            for t, phase in enumerate(self.state.phase[: self.plan.steps])
            if phase == SUCCEEDED and not self.results.has(t)
        )

    def error(self) -> ExecutionError | None:
        """Why it did not succeed; None while it runs and when it did."""
        called = f"run {self.number} of {self.workflow}"
        if self._crashed is not None:
            failure = ExecutionError(f"{called} ended: {self._crashed}", error=str(self._crashed))
        elif not self._done.is_set() or self.state.status == "succeeded":
            return None
        else:
            before = self.parent.error() if self.parent is not None and is_on_request(self.state) else None
            found = why_not(self.state, called, self.tracebacks, self._key, before, f"runs[{self.number}]")
            if found is None:
                return None
            failure = found
            self._note_not_undone(failure)
        failure.run = self
        return failure

    def _note_not_undone(self, failure: ExecutionError) -> None:
        """Say why something that could have been undone was not even tried."""
        state, plan = self.state, self.plan
        stands = self.scheduler.stands.done
        names = [state.names[task] for task in state.undo.values() if is_done(state, task) or task in stands]
        if not names or state.compensating:
            return
        if before := no_return(plan, state):
            failure.add_note(f"nothing is undone: {before}, its point of no return, has completed")
            return
        again = f"runs[{self.number}].compensate() does it"
        if not plan.undone_if:
            failure.add_note(f"not undone, as on_failure='stop' says: {', '.join(names)}; {again}")
        elif state.status in ("cancelled", "failed") and not self.is_recalled:
            failure.add_note(f"not undone, since that was stopped: {', '.join(names)}; {again}")

    def _key(self, step: str) -> str:
        root = self.keys.get(step, self.root)
        return Context(None, self.id, self.workflow, step, root=root).idempotency_key

    @property
    def undone(self) -> tuple[str, ...]:
        """Steps whose effect has been undone, in that order."""
        return self.scheduler.read(undone)

    @property
    def leftovers(self) -> tuple[Leftover, ...]:
        """What was to be undone and is not, each with its step, idempotency key and error: a human must act."""
        return self.scheduler.read(lambda state: leftovers(state, self._key))

    @property
    def undoes_only(self) -> bool:
        """It runs no step: it undoes what an earlier run did."""
        return bool(self.scheduler.undo_now)

    def cancel(self, *, undo: bool = True) -> None:
        """Stop it: what has not begun is cancelled at once, what runs is asked to stop and given a moment.

        It ends as cancelled, though what runs should complete in that moment. Then what its steps did is undone, as far
        as they say how. A further cancel stops that: no step is waited for any more, and nothing further is undone.

        Args:
            undo: Undo it.
        """
        if self._done.is_set():
            return
        if undo and self.scheduler.is_halted():
            self.scheduler.cancel(undo=False)
            self.scheduler.abandon(undoing=bool(self.state.compensating))
            return
        undoing = bool(self.state.compensating)
        waits = undo and self.plan.undo and self.plan.undone_if and not undoing
        abandon = functools.partial(self.scheduler.abandon, undoing=undoing)
        self._host.later(UNDO_GRACE_S if waits else GRACE_S, abandon)
        self.scheduler.cancel(undo=undo)

    def interrupt(self) -> None:
        """What the interrupt key does: cancel it, unless it is being undone already, which goes on."""
        if not self.scheduler.is_undoing():
            self.cancel()

    # -- called by the pump

    def keep(self, batch: Sequence[AnyEvent], *, lasting: bool) -> None:
        """Put the results that these events tell of on disk, at the start the inputs too.

        Args:
            lasting: Return only when a power cut leaves them there.
        """
        answers = {
            e.task: said for e in batch if type(e) is TaskResumed and (said := self._approvals.said(e.task, e.attempt))
        }
        self.results.keep(batch, self.plan, answers, lasting=lasting)

    def tidy(self) -> None:
        """What need not be on disk before everybody knows that it has ended."""
        self.results.keep_codes(self.state.seq, self.plan)

    def about(self) -> About | None:
        """What is known about it beside its events."""
        return self._about() if self._about is not None else None

    def held(self, why: str, by: object = None) -> None:
        """Nothing new of it begins, with words for people; or, without words, it goes on, if nobody else holds it.

        Args:
            by: One of its attempts; None for the journal.
        """
        with self._lock:
            was_held = bool(self._holds)
            if why:
                self._holds[by] = why
            else:
                self._holds.pop(by, None)
            self.note = next(iter(self._holds.values()), "")
            is_held = bool(self._holds)
            if is_held:  # in the lock: two may say opposite things at once, and the last counts
                self.scheduler.hold()
            elif was_held:
                self.scheduler.release()
        if by is not None and is_held is not was_held:
            _log.warning("run %s %s", self.number, f"is {why}" if is_held else "goes on: there is room again")

    def recall(self, events: Sequence[AnyEvent], pauses: Mapping[str, Sequence[Before]], without_inputs: str) -> None:
        """It is from the journal: it has ended, these are its events, and so far had its steps slept and waited.

        Args:
            without_inputs: Why its inputs are not known; empty where they are.
        """
        self.pauses, self.without_inputs, self.is_recalled = pauses, without_inputs, True
        self.deliver(events)
        self._done.set()

    def finished(self) -> None:
        """The last event is on disk: let everybody know."""
        for call in self.on_end:
            call(self)
        with self._lock:
            self._done.set()
            waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()
        self._watchers.end()

    def crash(self, why: BaseException) -> None:
        """End it from outside: its events cannot be kept, or the scheduler has a bug."""
        if self._crashed is None and not self._done.is_set():
            self._crashed, self.note = why, ""
            self.scheduler.cancel(undo=False)
            self.finished()
