"""The one writer: decides what runs next and writes what happened. Synchronous, no I/O, no loop.

Every public method is one short grip of one lock. Nobody owns the scheduler: whoever ends an attempt calls `turn`,
which settles that attempt, and leaves with the next ticket of its lane. So a chain of local steps never changes
threads, and "one writer" is one lock, not one thread. User code never runs under the lock.

A ticket is the frozen event that began the attempt: a late or superseded result is known by its number.
"""

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    Placement,
    RouteTaken,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskMoved,
    TaskResumed,
    TaskRetrying,
)
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import (
    CANCELLED,
    FAILED,
    READY,
    RUNNING,
    SKIPPED,
    SUBMITTED,
    SUCCEEDED,
    WAITING,
)
from cerebelum_nb.model.workflow import Way
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.runtime.log import Log
from cerebelum_nb.runtime.quiet import collector_at_rest
from cerebelum_nb.runtime.retrying import pause_s
from cerebelum_nb.runtime.returned import LOOK_AT, looked_at
from cerebelum_nb.runtime.ways import passed_by, too_often

T = TypeVar("T")
Ticket = AttemptSubmitted | AttemptStarted
Poke = Callable[[], object]
Later = Callable[[float, Callable[[], object]], object]
NOT_ASKED: Final = "not needed for what was asked"
MISSING: Final = object()  # the value of a task that a route passed by
INLINE: Final = frozenset({"local", "threads"})  # lanes whose taker runs the step at once, in this process
TIMEOUTS: Final = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception")  # as `retry_on` may name it
SLICE: Final = 2000  # tasks ended in one grip, so that others get the lock in between


class Scheduler(Log):
    """One run's decisions and its log."""

    def __init__(
        self,
        plan: Plan,
        *,
        poke: Mapping[str, Poke],
        stop: Callable[[str, int, int], object],
        urgent: Poke,
        later: Later = lambda _seconds, _call: None,
    ) -> None:
        """Prepare; nothing is written before `start`.

        Args:
            poke: Lane -> tell it that work waits. Called from any thread, must return at once.
            stop: Called with lane, task and attempt when a running attempt is no longer wanted.
            urgent: Called when the run has ended, to hurry the log along.
            later: Called with seconds and what to call after them: for timeouts, and pauses between attempts.
        """
        super().__init__()
        self.plan = plan
        self.values: list[Any] = [None] * len(plan.names)
        self.envelopes: dict[int, Any] = {}  # results that came as an envelope, as they came
        self._poke, self._stop, self._urgent, self._later = poke, stop, urgent, later
        self._coming = dict.fromkeys(poke, False)  # lane -> somebody was poked and has not taken yet
        self._cancelled = False
        self._ways = plan.ways
        self._options = plan.options
        self._outside: list[Poke] = []  # to be called without the lock: stops of ended attempts, timers

    def start(self, run: str, *, parent: str = "", reused: Mapping[int, tuple[Any, str]] | None = None) -> None:
        """Announce every task, end those that need not run, and call the lanes.

        Args:
            reused: Task -> value of an earlier run, and where it comes from as a sentence.
        """
        plan = self.plan
        with self._lock:
            now = self.now()
            said = plan.names, plan.needs, plan.places, plan.place, parent, plan.groups, tuple(plan.ways)
            with collector_at_rest():
                self._write(RunStarted(0, now, run, plan.workflow, *said))
            for task, (value, why) in sorted((reused or {}).items()):
                self.values[task] = value
                self._write(TaskFinished(self.state.seq + 1, now, task, "succeeded", "reused", why))
                if task in plan.ways:
                    self._take(task, plan.ways[task][value], now)
            for task in sorted(plan.left_out - self.state.passed):
                self._write(TaskFinished(self.state.seq + 1, now, task, "skipped", "rule", NOT_ASKED))
            pokes = self._after()
        _call(pokes)

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
            queue, ticket = state.ready.get(lane), None
            if queue:
                task = queue[0]
                number = state.attempt[task] + 1
                if lane in INLINE:
                    ticket = AttemptStarted(state.seq + 1, now, task, number, "kernel")
                else:  # whoever runs it says when it has begun
                    ticket = AttemptSubmitted(state.seq + 1, now, task, number)
                self._write(ticket)
                if self._options and task in self._options:
                    self._set_timers(task, number, inline=lane in INLINE)
            pokes = self._after()
        if pokes:
            _call(pokes)
        return ticket

    def began(self, task: int, attempt: int, worker: str) -> None:
        """A submitted attempt's code begins to run."""
        with self._lock:
            if self.state.phase[task] == SUBMITTED and self.state.attempt[task] == attempt:
                self._write(AttemptStarted(self.state.seq + 1, self.now(), task, attempt, worker))
                if task in self._options:
                    self._set_timers(task, attempt, inline=True)
            else:
                self.late += 1
            pokes = self._after()
        _call(pokes)

    def _set_timers(self, task: int, number: int, *, inline: bool) -> None:
        """An attempt begins, or (not `inline`) waits for a worker: see that it ends in time."""
        options = self._options[task]
        limit = options.timeout if inline else options.queue_timeout
        if limit is not None:
            expire = functools.partial(self._expire, task, number, limit, inline)
            self._outside.append(functools.partial(self._later, limit, expire))

    def _expire(self, task: int, number: int, limit: float, began: bool) -> None:  # noqa: FBT001  called by a timer
        """An attempt has used its time up."""
        with self._lock:
            if not self._alive(task, number) or (not began and self.state.phase[task] != SUBMITTED):
                return
            place = self.state.places[task]
            text = f"it took longer than its timeout of {limit:g} s"
            if not began:
                text = f"no worker of {place.label!r} took it within its queue_timeout of {limit:g} s"
            self._outside.append(functools.partial(self._stop, place.lane, task, number))
            error = ErrorInfo("StepTimeout", text, "", TIMEOUTS)
            self._settle(task, number, None, Outcome("timeout", error=error, run_s=limit if began else 0.0), self.now())
            pokes = self._after()
        _call(pokes)

    def retry(self, task: int, failed: int) -> None:
        """The pause after a failed attempt is over."""
        with self._lock:
            state = self.state
            if state.phase[task] != WAITING or task not in state.paused or state.attempt[task] != failed:
                return  # it was cancelled, or moved
            self._write(TaskResumed(state.seq + 1, self.now(), task, failed))
            pokes = self._after()
        _call(pokes)

    def answer(self) -> int:
        """The task whose result is the run's: the last one, or the last that a route did not pass by."""
        with self._lock:
            phase, last = self.state.phase, self.plan.answer
            while last > 0 and (phase[last] != SUCCEEDED or last in self.plan.ways):
                last -= 1
            return last

    def cancel(self, why: str = "the run was cancelled") -> None:
        """End what has not begun, and ask what runs to stop; `abandon` ends those that do not."""
        self._cancelled = True
        task, n = 0, len(self.plan.names)
        while task < n:
            with self._lock:
                now = self.now()
                for task in range(task, min(n, task + SLICE)):  # noqa: B020  goes on where the last grip ended
                    if self.state.phase[task] in (WAITING, READY):
                        self._write(TaskFinished(self.state.seq + 1, now, task, "cancelled", "rule", why))
                task += 1
                pokes = self._after()
            _call(pokes)
        for running in self._running():
            self._stop(*running)

    def abandon(self, why: str = "it did not stop when asked; whatever it still does is ignored") -> list[str]:
        """End as cancelled whatever still runs after `cancel`; its late result is dropped. Returns those steps."""
        with self._lock:
            now, names = self.now(), []
            for task, phase in enumerate(self.state.phase):
                if SUBMITTED <= phase <= RUNNING:
                    names.append(self.plan.names[task])
                    self._settle(
                        task,
                        self.state.attempt[task],
                        None,
                        Outcome("cancelled", error=ErrorInfo("Cancelled", why)),
                        now,
                    )
            pokes = self._after()
        _call(pokes)
        return names

    def preview(self, task: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What a move would do now: tasks that would run (again), and running ones whose work would be lost."""
        with self._lock:
            again = self._again(task)
            running = tuple(t for t in again if SUBMITTED <= self.state.phase[t] <= RUNNING)
            below = self.plan.below(task) - self.plan.left_out
            return tuple(sorted({task, *below})), running

    def move(self, task: int, placement: Placement) -> bool:
        """Give a task another placement; what has begun of it and below it runs again. False once the run has ended."""
        with self._lock:
            state = self.state
            if state.status != "running" or self._cancelled or task in self.plan.left_out:
                return False
            again, now = self._again(task), self.now()
            stops = self._end_running(again, f"stopped because {self.plan.names[task]!r} was moved", now)
            self._write(TaskMoved(state.seq + 1, now, task, placement, again))
            for other in again:
                self.values[other] = None
            for other in again:
                if state.phase[other] == WAITING:
                    self._skip_if_blocked(other, now)
            pokes = self._after()
        _call(stops)
        _call(pokes)
        return True

    def is_cancelled(self) -> bool:
        """Somebody asked to cancel."""
        return self._cancelled

    def _running(self) -> list[tuple[str, int, int]]:
        with self._lock:
            state = self.state
            return [
                (state.places[t].lane, t, state.attempt[t])
                for t, phase in enumerate(state.phase)
                if SUBMITTED <= phase <= RUNNING
            ]

    def _again(self, *tasks: int) -> tuple[int, ...]:
        """Tasks that are sent back: those named and all below them, as far as they have begun or ended."""
        phase, touched = self.state.phase, {*tasks, *self.plan.below(*tasks)} - self.plan.left_out
        return tuple(sorted(t for t in touched if phase[t] not in (WAITING, READY)))

    def _end_running(self, tasks: Iterable[int], why: str, now: float) -> list[Poke]:
        """End the live attempts among tasks; what is returned stops them, and is called without the lock."""
        state, stops = self.state, list[Poke]()
        for task in tasks:
            if SUBMITTED <= state.phase[task] <= RUNNING:
                number = state.attempt[task]
                stops.append(functools.partial(self._stop, state.places[task].lane, task, number))
                self._write(AttemptFinished(state.seq + 1, now, task, number, "cancelled", ErrorInfo("Moved", why)))
        return stops

    def _settle(self, task: int, number: int, value: Any, outcome: Outcome | None, now: float) -> None:
        state = self.state
        if not SUBMITTED <= state.phase[task] <= RUNNING or state.attempt[task] != number:
            self.late += 1
            return
        if outcome is None or outcome.kind == "ok":
            run_s, error = 0.0, None
            if outcome is not None:
                value, run_s = outcome.value, outcome.run_s
            if type(value) in LOOK_AT:
                value, error = self._looked_at(task, number, value, now)
            ways = self._ways.get(task) if self._ways else None
            if ways is not None and error is None:
                error = too_often(self.plan, state, task, ways[value])
            if error is None:
                self.values[task] = value
                self._write(AttemptFinished(state.seq + 1, now, task, number, "ok", None, run_s))
                self._write(TaskFinished(state.seq + 1, now, task, "succeeded"))
                if ways is not None:
                    self._take(task, ways[value], now)
                return
            outcome = Outcome("error", error=error, run_s=run_s)
        self._write(AttemptFinished(state.seq + 1, now, task, number, outcome.kind, outcome.error, outcome.run_s))
        if task in self._options and not self._cancelled and self._try_again(task, number, outcome, now):
            return
        status: Any = "cancelled" if outcome.kind == "cancelled" else "failed"
        self._write(TaskFinished(state.seq + 1, now, task, status))
        self._skip_below(task, now)

    def _try_again(self, task: int, number: int, outcome: Outcome, now: float) -> bool:
        options, tried = self._options[task], self.state.retried.get(task, 0)
        wait = pause_s(options, tried, outcome)
        if wait is None:
            return False
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
        if way.back_to:
            again = self._again(*way.back_to)
            self._outside += self._end_running(again, f"stopped because {name!r} went back", now)
            for other in again:
                self.values[other] = None
            self._write(RouteTaken(self.state.seq + 1, now, task, way.label, again))
            return
        self._write(RouteTaken(self.state.seq + 1, now, task, way.label))
        for other, why in passed_by(self.plan, self.state, task, way):
            self.values[other] = MISSING
            self._write(TaskFinished(self.state.seq + 1, now, other, "skipped", "route", why))

    def _skip_below(self, task: int, now: float) -> None:
        """What can no longer run is said at once."""
        state, why = self.state, f"{self.plan.names[task]} did not succeed"
        lost, todo = set[int](), list(state.children[task])
        while todo:
            child = todo.pop()
            if state.phase[child] == WAITING and child not in lost:
                lost.add(child)
                todo += state.children[child]
        for child in sorted(lost):  # in timeline order, as people read it
            self._write(TaskFinished(state.seq + 1, now, child, "skipped", "rule", why))

    def _skip_if_blocked(self, task: int, now: float) -> None:
        for need in self.plan.needs[task]:
            if self.state.phase[need] in (FAILED, SKIPPED, CANCELLED) and need not in self.state.passed:
                why = f"{self.plan.names[need]} did not succeed"
                self._write(TaskFinished(self.state.seq + 1, now, task, "skipped", "rule", why))
                self._skip_below(task, now)
                return

    def _after(self) -> list[Poke] | None:
        state = self.state
        if not state.unfinished and state.status == "running":
            self._write(RunFinished(state.seq + 1, self.now(), self._final_status()))
            self._outside.append(self._urgent)
        pokes: list[Poke] | None = None
        if self._outside:
            pokes, self._outside = self._outside, []
        for lane, queue in state.ready.items():
            if queue and not self._coming[lane]:
                self._coming[lane] = True
                pokes = [*(pokes or ()), self._poke[lane]]
        return pokes

    def _final_status(self) -> Any:
        if self._cancelled and (CANCELLED in self.state.phase or FAILED in self.state.phase):
            return "cancelled"
        if FAILED in self.state.phase or CANCELLED in self.state.phase:
            return "failed"
        return "succeeded"


def _call(pokes: Iterable[Poke] | None) -> None:
    for poke in pokes or ():
        poke()
