"""The one writer: decides what runs next and writes what happened. Synchronous, no I/O, no loop.

Every public method is one short grip of one lock. Nobody owns the scheduler: whoever ends an attempt calls `turn`,
which settles that attempt, and leaves with the next ticket of its lane. So a chain of local steps never changes
threads, and "one writer" is one lock, not one thread. User code never runs under the lock.

A ticket is the frozen event that began the attempt: a late or superseded result is known by its number.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    RouteTaken,
    RunCompensating,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskRetrying,
)
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import (
    CANCELLED,
    FAILED,
    READY,
    RUNNING,
    SUBMITTED,
    SUCCEEDED,
    WAITING,
)
from cerebelum_nb.model.workflow import Way
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.elsewhere import TIMEOUTS, Reach
from cerebelum_nb.rules.quiet import collector_at_rest
from cerebelum_nb.rules.retrying import pause_s
from cerebelum_nb.rules.returned import LOOK_AT, looked_at
from cerebelum_nb.rules.undoing import NOTHING_STANDS, WAS_CANCELLED, Stands, no_return, to_undo
from cerebelum_nb.rules.ways import passed_by, too_often
from cerebelum_nb.runtime.following import Following, Ticket
from cerebelum_nb.runtime.moving import INLINE, STOPPED_LOOK_S, Later
from cerebelum_nb.runtime.steering import Poke, call_all

NOT_ASKED: Final = "not needed for what was asked"
MISSING: Final = object()  # the value of a task that a route passed by
WORTH_S: Final = 0.05  # the end of a step that took longer is written at once: nobody wants to wait for it again
UNDO_GRACE_S: Final = 5.0  # how long a run that is to be undone waits for its steps to stop


class Scheduler(Following):
    """One run's decisions and its log."""

    def __init__(  # noqa: PLR0913  put together in one place, the engine
        self,
        plan: Plan,
        *,
        poke: Mapping[str, Poke],
        stop: Callable[[str, int, int], object],
        urgent: Poke,
        later: Later = lambda _seconds, _call: None,
        reach: Reach | None = None,
    ) -> None:
        """Prepare; nothing is written before `start`.

        Args:
            poke: Lane -> tell it that work waits. Called from any thread, must return at once.
            stop: Called with lane, task and attempt when a running attempt is no longer wanted.
            urgent: Called when the run has ended, or a step that took long, to hurry the log along.
            later: Called with seconds and what to call after them: for timeouts, and pauses between attempts.
            reach: What may be asked of the places where tasks go; None for nothing.
        """
        super().__init__(plan, stop, later, reach)
        self.envelopes: dict[int, Any] = {}  # results that came as an envelope, as they came
        self._poke, self._urgent = poke, urgent
        self._coming: defaultdict[str, bool] = defaultdict(bool)  # lane -> somebody was poked and has not taken yet
        self.undo_now, self.stands = "", NOTHING_STANDS
        self.in_doubt: frozenset[int] = frozenset()  # tasks that are undone though nobody knows what they did
        self._ways = plan.ways
        self._careful = plan.careful

    def start(  # noqa: PLR0913  what a run may begin with, all by keyword
        self,
        run: str,
        *,
        parent: str = "",
        reused: Mapping[int, tuple[Any, str]] | None = None,
        stands: Stands = NOTHING_STANDS,
        known: Mapping[int, Any] | None = None,
        undo_now: str = "",
    ) -> None:
        """Announce every task, end those that need not run, and call the lanes.

        Args:
            reused: Task -> value of an earlier run, and where it comes from as a sentence.
            stands: What is undone with this run, since it goes on from the one that did it.
            known: Further results of that run, for what undoes its steps.
            undo_now: Run no step, only undo what stands; why, as a sentence.
        """
        self.undo_now, self.stands = undo_now, stands
        self._last.update(known or {})
        plan = self.plan
        with self._lock:
            now = self.now()
            said = plan.names, plan.needs, plan.places, plan.place, parent, plan.groups, tuple(plan.ways)
            with collector_at_rest():
                self._write(RunStarted(0, now, run, plan.workflow, *said, plan.undo, plan.undone_if))
            for task, (value, why) in sorted((reused or {}).items()):
                self.values[task] = value
                self._write(TaskFinished(self.state.seq + 1, now, task, "succeeded", "reused", why))
                if task in plan.ways and not undo_now:
                    self._take(task, plan.ways[task][value], now)
            for task in sorted(plan.left_out - self.state.passed):
                self._write(TaskFinished(self.state.seq + 1, now, task, "skipped", "rule", NOT_ASKED))
            if undo_now:
                for task in range(plan.steps):
                    if self.state.phase[task] in (WAITING, READY):
                        self.values[task] = MISSING
                        self._write(TaskFinished(self.state.seq + 1, now, task, "skipped", "rule", undo_now))
            if self._watched:
                self._look_soon()
            pokes = self._after()
        call_all(pokes)

    def turn(
        self, lane: str, ticket: Ticket | None = None, value: Any = None, outcome: Outcome | None = None
    ) -> Ticket | None:
        """An attempt ended (or, without a ticket, a poked taker arrived): write it, leave with the lane's next, if any.

        Args:
            lane: Whose queue to take from; "" takes nothing.
            value: The step's result, where there is no `outcome`.
            outcome: How it ended, where there is more to say than a value.
        """
        with self._lock:
            state, now = self.state, time.perf_counter() + self._wall  # stamped under the lock: `at` follows `seq`
            if ticket is None:
                self._coming[lane] = False
            else:
                self._settle(ticket.task, ticket.attempt, value, outcome, now)
                if outcome is None and now - ticket.at > WORTH_S:
                    self._outside.append(self._urgent)
            queue, ticket = state.ready.get(lane), None
            if self._fallbacks and queue and not self.held:
                self._divert(queue, lane, now)
            if queue and not self.held:
                task = queue[0]
                number = state.attempt[task] + 1
                if lane in INLINE:
                    ticket = AttemptStarted(state.seq + 1, now, task, number, "kernel")
                else:  # whoever runs it says when it has begun
                    ticket = AttemptSubmitted(state.seq + 1, now, task, number)
                self._write(ticket)
                if self._options and lane in INLINE and task in self._options:
                    self._set_timer(task, number)
            pokes = self._after()
        if pokes:
            call_all(pokes)
        return ticket

    def began(self, task: int, attempt: int, worker: str) -> None:
        """A submitted attempt's code begins to run."""
        with self._lock:
            self._begins(task, attempt, worker, self.now())
            pokes = self._after()
        call_all(pokes)

    def had_begun(self, task: int, attempt: int) -> None:
        """A submitted attempt that was stopped had begun, as is found out now. Does nothing where that was told."""
        with self._lock:
            if self.state.phase[task] == SUBMITTED and self.state.attempt[task] == attempt:
                self._write(AttemptStarted(self.state.seq + 1, self.now(), task, attempt, ""))
            pokes = self._after()
        call_all(pokes)

    def _begins(self, task: int, attempt: int, worker: str, now: float) -> None:
        if self.state.phase[task] == SUBMITTED and self.state.attempt[task] == attempt:
            self._write(AttemptStarted(self.state.seq + 1, now, task, attempt, worker))
            if task in self._options:
                self._set_timer(task, attempt)
        else:
            self.late += 1

    def _set_timer(self, task: int, number: int) -> None:
        """An attempt begins: see that it ends in time."""
        limit = self._options[task].timeout
        if limit is not None:
            expire = functools.partial(self._expire, task, number, limit)
            self._outside.append(functools.partial(self._later, limit, expire))

    def _expire(self, task: int, number: int, limit: float) -> None:
        """An attempt has used its time up."""
        with self._lock:
            if not self._alive(task, number):
                return
            self._outside.append(functools.partial(self._stop, self.state.places[task].lane, task, number))
            error = ErrorInfo("StepTimeout", f"it took longer than its timeout of {limit:g} s", "", TIMEOUTS)
            self._settle(task, number, None, Outcome("timeout", error=error, run_s=limit), self.now())
            pokes = self._after()
        call_all(pokes)

    def hurry(self, seq: int, call: Callable[[bool], object]) -> None:
        """Write the log down at once, and tell somebody when an event of it is there to stay; see `when_on_disk`."""
        self.when_on_disk(seq, call)
        self._urgent()

    def may_begin(self, task: int, attempt: int) -> bool:
        """An attempt that was taken, and whose code has not begun, is still wanted."""
        with self._lock:
            return not self._halted and self._alive(task, attempt)

    def is_cancelled(self) -> bool:
        """Somebody has cancelled the run."""
        return self._cancelled

    def hold(self) -> None:
        """Begin nothing until `release`; what runs goes on."""
        with self._lock:
            self.held = True
            self.state.dirty.add(0)  # so that views look
            recalls = list(self.ahead)
        call_all(recalls)

    def release(self) -> None:
        """Go on."""
        with self._lock:
            self.held = False
            self.state.dirty.add(0)
            pokes = self._after()
        call_all(pokes)

    def _make_last(self) -> None:
        """What has been written is to be on disk at once. Called without the lock: after it, as the pump needs it."""
        self.must_last = True
        self._urgent()

    def has_last(self, task: int) -> bool:
        """The task has completed, be it that it was sent back since."""
        return self.state.phase[task] == SUCCEEDED or task in self._last

    def last(self, task: int) -> Any:
        """The result of its last completion."""
        return self.values[task] if self.state.phase[task] == SUCCEEDED else self._last[task]

    def answer(self) -> int:
        """The task whose result is the run's: the last one, or the last that a route did not pass by."""
        with self._lock:
            phase, last = self.state.phase, self.plan.answer
            while last > 0 and (phase[last] != SUCCEEDED or last in self.plan.ways):
                last -= 1
            return last

    def _settle(  # noqa: C901, PLR0912  all that becomes of one attempt
        self, task: int, number: int, value: Any, outcome: Outcome | None, now: float
    ) -> None:
        state = self.state
        if not SUBMITTED <= state.phase[task] <= RUNNING or state.attempt[task] != number:
            self.late += 1
            return
        if self._careful and task in self._careful:
            self._outside.append(self._make_last)
        if outcome is None or outcome.kind == "ok":
            run_s, transfer_s, error = 0.0, None, None
            if outcome is not None:
                value, run_s, transfer_s = outcome.value, outcome.run_s, outcome.transfer_s
                if run_s > WORTH_S:
                    self._outside.append(self._urgent)
            if type(value) in LOOK_AT:
                value, error = self._looked_at(task, number, value, now)
            ways = self._ways.get(task) if self._ways else None
            if ways is not None and error is None:
                error = too_often(self.plan, state, task, ways[value])
            if error is None:
                self.values[task] = value
                self._write(AttemptFinished(state.seq + 1, now, task, number, "ok", None, run_s, transfer_s))
                source: Any = "attempt" if outcome is None else outcome.source
                self._write(TaskFinished(state.seq + 1, now, task, "succeeded", source))
                if ways is not None:
                    self._take(task, ways[value], now)
                return
            outcome = Outcome("error", error=error, run_s=run_s)
        if outcome.kind == "lost":
            if outcome.delivered and state.phase[task] == SUBMITTED:  # for all that anybody knows it had begun
                self._write(AttemptStarted(state.seq + 1, now, task, number, ""))
            outcome = self._judged(task, outcome)
        times = outcome.run_s, outcome.transfer_s
        self._write(AttemptFinished(state.seq + 1, now, task, number, outcome.kind, outcome.error, *times))
        if task in self._options and not self._halted and self._goes_on(task, number, outcome, now):
            return
        status: Any = "cancelled" if outcome.kind == "cancelled" else "failed"
        self._write(TaskFinished(state.seq + 1, now, task, status))
        if not state.compensating:
            self._end_of_the_way(task, now)

    def _end_of_the_way(self, task: int, now: float) -> None:
        """A step has failed for good: what needs it cannot run; and where the run is undone, nothing else goes on."""
        self._skip_below(task, now)
        if self._undoes and not self._halted and not no_return(self.plan, self.state, self.stands.done):
            self._outside += self._stop_others(task, now)
            self._outside.append(functools.partial(self._later, UNDO_GRACE_S, self.abandon))

    def _try_again(self, task: int, number: int, outcome: Outcome, now: float) -> bool:
        options, tried = self._options[task], self.state.retried.get(task, 0)
        wait = pause_s(options, tried, outcome)
        if wait is None:
            return False
        if self._side_by_side(task, outcome):
            wait = max(wait, STOPPED_LOOK_S)
        why = outcome.error.type if outcome.error is not None else outcome.kind
        text = f"attempt {tried + 2} of {options.retries + 1} after {why}"
        self._write(TaskRetrying(self.state.seq + 1, now, task, number, now + wait, text))
        if wait:
            self._outside.append(functools.partial(self._later, wait, functools.partial(self.retry, task, number)))
        return True

    def _looked_at(self, task: int, number: int, value: Any, now: float) -> tuple[Any, ErrorInfo | None]:
        found = looked_at(self.plan.names[task], value)
        if found.error is None and found.value is not value:
            self.envelopes[task] = value
        if found.notice:
            self._write(AttemptOutput(self.state.seq + 1, now, task, number, "notice", found.notice))
        return found.value, found.error

    def _take(self, task: int, way: Way, now: float) -> None:
        """A decision has chosen: what it does not take is passed by, or an earlier part runs again."""
        name = self.plan.names[task]
        if way.back_to and not self._halted:
            again = self._again(*way.back_to)
            self._outside += [*self.ahead, *self._end_running(again, f"stopped because {name!r} went back", now)]
            self._set_aside(again)
            self._write(RouteTaken(self.state.seq + 1, now, task, way.label, again))
            return
        self._write(RouteTaken(self.state.seq + 1, now, task, way.label))
        for other, why in passed_by(self.plan, self.state, task, way):
            self.values[other] = MISSING
            self._write(TaskFinished(self.state.seq + 1, now, other, "skipped", "route", why))

    def _after(self) -> list[Poke] | None:
        state = self.state
        if not state.unfinished and state.status == "running" and not self._begins_to_undo():
            self._write(RunFinished(state.seq + 1, self.now(), self._final_status()))
            self._outside.append(self._urgent)
        pokes: list[Poke] | None = None
        if self._outside:
            pokes, self._outside = self._outside, []
        for lane, queue in state.ready.items():
            if queue and not self._coming[lane] and not self.held:
                self._coming[lane] = True
                pokes = [*(pokes or ()), self._poke[lane]]
        return pokes

    def _begins_to_undo(self) -> bool:
        """All steps have ended, not well: what they did is undone, as far as they say how."""
        state = self.state
        if not self._undoes or state.compensating or not (self.undo_now or self._final_status() != "succeeded"):
            return False
        found = to_undo(self.plan, state, self.stands)
        if not found.tasks:
            return False
        undone = [state.undo[task] for task in found.tasks]
        if self._undo_waits(undone):
            return True
        stuck = [(undo, why) for undo, task in zip(found.tasks, undone, strict=True) if (why := self._still_runs(task))]
        for task, value in self._last.items():
            if state.phase[task] != SUCCEEDED:
                self.values[task] = value
        for task in found.in_doubt:
            self.values[task] = None
        self.in_doubt = found.in_doubt
        failed = next((self.plan.names[t] for t, phase in enumerate(state.phase) if phase == FAILED), "")
        why = self.undo_now or (f"{failed} failed" if failed and not self._cancelled else WAS_CANCELLED)
        self._write(RunCompensating(state.seq + 1, self.now(), why, found.tasks, found.needs, found.places))
        for task, why in stuck:
            self._write(TaskFinished(state.seq + 1, self.now(), task, "failed", "rule", why))
        self._halted = False
        return bool(state.unfinished)

    def _final_status(self) -> Any:
        phase = self.state.phase
        if self.state.compensating:
            undone = all(phase[task] == SUCCEEDED for task in self.state.compensating)
            return "compensated" if undone else "compensation_failed"
        if self._cut_short:
            return "cancelled"
        if FAILED in phase or CANCELLED in phase:
            return "failed"
        return "succeeded"
