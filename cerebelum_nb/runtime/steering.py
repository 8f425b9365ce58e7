"""What is done to a live run from outside its steps: cancelled, given up, a task moved; and what that skips."""

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.events import AttemptFinished, ErrorInfo, Placement, TaskFinished, TaskMoved
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import (
    CANCELLED,
    ENDED,
    FAILED,
    READY,
    RUNNING,
    SKIPPED,
    SUBMITTED,
    SUCCEEDED,
    WAITING,
)
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.once import Ran, has_begun, refusal
from cerebelum_nb.runtime.log import Log

Poke = Callable[[], object]
SLICE: Final = 2000  # tasks ended in one grip, so that others get the lock in between


class Steering(Log):
    """A log whose run can be stopped and changed."""

    def __init__(self, plan: Plan, stop: Callable[[str, int, int], object]) -> None:
        super().__init__()
        self.plan = plan
        self.values: list[Any] = [None] * len(plan.names)
        self._stop = stop
        self._cancelled = False
        self._cut_short = False  # it was cancelled before its steps had ended: then that is how it ends
        self.ahead: set[Poke] = set()  # each takes back attempts that were sent before their turn
        self._halted = False  # no attempt is followed by another
        self._undoes = bool(plan.undo) and plan.undone_if
        self.ran_before: Mapping[int, Ran] = {}  # tasks that never run twice and had begun in an earlier run
        self._last: dict[int, Any] = {}  # results of tasks that were sent back, where something may be undone

    @abstractmethod
    def _after(self) -> list[Poke] | None:
        """What follows from what was just written; what is returned is called without the lock."""

    @abstractmethod
    def _still_runs(self, task: int) -> str:
        """What still runs of a step that was stopped, as words; empty where nothing does, as far as is known."""

    @abstractmethod
    def _settle(self, task: int, number: int, value: Any, outcome: Outcome | None, now: float) -> None:
        """An attempt has ended."""

    def cancel(self, why: str = "the run was cancelled", *, undo: bool = True) -> None:
        """End what has not begun, and ask what runs to stop; `abandon` ends those that do not.

        The run ends as cancelled though all that runs should complete. While the run is undone, this ends that.

        Args:
            undo: Undo what its steps did, as far as they say how.
        """
        with self._lock:
            self._cancelled = self._halted = True
            self._cut_short = self._cut_short or bool(self.state.unfinished)
            self._undoes = self._undoes and undo
            tasks: Sequence[int] = self.state.compensating or range(self.plan.steps)
        for i in range(0, len(tasks), SLICE):
            with self._lock:
                now = self.now()
                for task in tasks[i : i + SLICE]:
                    if self.state.phase[task] in (WAITING, READY):
                        self._write(TaskFinished(self.state.seq + 1, now, task, "cancelled", "rule", why))
                pokes = self._after()
            call_all(pokes)
        # Not what has begun to undo them. The last ones first: none begins where an earlier one stops.
        for running in reversed(self._running(tasks)):
            self._stop(*running)

    def abandon(self, why: str = "", *, undoing: bool = False) -> list[str]:
        """End as cancelled whatever still runs after `cancel`; its late result is dropped. Returns those steps.

        Args:
            why: What is told of each; that it did not stop, if empty.
            undoing: What undoes steps, and not the steps.
        """
        first, last = (self.plan.steps, len(self.plan.names)) if undoing else (0, self.plan.steps)
        with self._lock:
            now, names = self.now(), []
            for task in range(first, last):
                if SUBMITTED <= self.state.phase[task] <= RUNNING:
                    names.append(self.plan.names[task])
                    self._settle(
                        task,
                        self.state.attempt[task],
                        None,
                        Outcome("cancelled", error=ErrorInfo("Cancelled", why or self._not_stopped(task))),
                        now,
                    )
                elif self.state.phase[task] == ENDED:  # a log that was cut off there: nobody has its result
                    self._write(TaskFinished(self.state.seq + 1, now, task, "cancelled", "rule", why))
            pokes = self._after()
        call_all(pokes)
        return names

    def _not_stopped(self, task: int) -> str:
        still = self._still_runs(task)
        more = f": {still}, until it ends or the kernel is restarted" if still else ""
        return f"it did not stop when asked{more}; whatever it still does is ignored"

    def preview(self, task: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What a move would do now: tasks that would run (again), and running ones whose work would be lost."""
        with self._lock:
            again = self._again(task)
            running = tuple(t for t in again if SUBMITTED <= self.state.phase[t] <= RUNNING)
            below = self.plan.below(task) - self.plan.left_out
            return tuple(sorted({task, *below})), running

    def refused(self, *tasks: int) -> str:
        """Why tasks must not be moved: a step that has begun would run again, and never runs twice; empty where not."""
        with self._lock:
            return self._refused(self._again(*tasks))

    def _refused(self, tasks: Iterable[int]) -> str:
        def known(task: int) -> Ran | None:
            return has_begun(self.state, task) or self.ran_before.get(task)

        return refusal(self.plan, tasks, known, force=False, verb="move") if self.plan.careful else ""

    def move(self, task: int, placement: Placement, *, force: bool = False) -> bool:
        """Give a task another placement; what has begun of it and below it runs again. False once the run has ended.

        Args:
            force: Also what never runs twice.

        Raises:
            PlanError: A step that has begun never runs twice; says which.
        """
        with self._lock:
            state = self.state
            if state.status != "running" or self._halted or state.compensating or task in self.plan.left_out:
                return False
            again, now = self._again(task), self.now()
            if not force and (why := self._refused(again)):
                raise PlanError(why)
            why = f"stopped because {self.plan.names[task]!r} was moved"
            stops = [*self.ahead, *self._end_running(again, why, now)]
            self._set_aside(again)
            self._write(TaskMoved(state.seq + 1, now, task, placement, again))
            for other in again:
                if state.phase[other] == WAITING:
                    self._skip_if_blocked(other, now)
            pokes = self._after()
        call_all(stops)
        call_all(pokes)
        return True

    def is_halted(self) -> bool:
        """Nothing new begins: somebody cancelled the run, or what undoes it; or its steps stop, to be undone."""
        return self._halted

    def is_undoing(self) -> bool:
        """Its steps are stopped to be undone, or are undone just now."""
        with self._lock:
            state = self.state
            stopping = self._halted and self._undoes and not state.compensating
            return state.status == "running" and (stopping or (bool(state.compensating) and not self._halted))

    def stopping(self) -> tuple[str, ...]:
        """Steps that are waited for, so that the run can be undone then."""
        with self._lock:
            if not self._halted or not self._undoes or self.state.compensating:
                return ()
            names, phase = self.plan.names, self.state.phase
            return tuple(names[task] for task in range(self.plan.steps) if SUBMITTED <= phase[task] <= RUNNING)

    def _running(self, tasks: Iterable[int]) -> list[tuple[str, int, int]]:
        with self._lock:
            state = self.state
            return [
                (state.places[t].lane, t, state.attempt[t]) for t in tasks if SUBMITTED <= state.phase[t] <= RUNNING
            ]

    def _set_aside(self, tasks: Iterable[int]) -> None:
        """Tasks go back to waiting: their results count no more, but for what undoes what they did."""
        if self.plan.undo:
            self._last.update((t, self.values[t]) for t in tasks if self.state.phase[t] == SUCCEEDED)
        for task in tasks:
            self.values[task] = None

    def _again(self, *tasks: int) -> tuple[int, ...]:
        """Tasks that are sent back: those named and all below them, as far as they have begun or ended.

        Also those below that wait for another attempt: what they need has to be there again first.
        """
        phase, touched = self.state.phase, {*tasks, *self.plan.below(*tasks)} - self.plan.left_out
        failed = self.state.paused.keys() - set(tasks)
        return tuple(sorted(t for t in touched if phase[t] not in (WAITING, READY) or t in failed))

    def _end_running(self, tasks: Iterable[int], why: str, now: float) -> list[Poke]:
        """End the live attempts among tasks; what is returned stops them, and is called without the lock."""
        state, stops = self.state, list[Poke]()
        for task in tasks:
            if SUBMITTED <= state.phase[task] <= RUNNING:
                number = state.attempt[task]
                stops.append(functools.partial(self._stop, state.places[task].lane, task, number))
                self._write(AttemptFinished(state.seq + 1, now, task, number, "cancelled", ErrorInfo("Moved", why)))
        return stops

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

    def _stop_others(self, task: int, now: float) -> list[Poke]:
        """A step has failed and the run is to be undone: nothing else of it goes on. What is returned stops it."""
        state, why = self.state, f"{self.plan.names[task]} failed, and the run is undone"
        self._halted = True
        for other in range(self.plan.steps):
            if state.phase[other] in (WAITING, READY):
                self._write(TaskFinished(state.seq + 1, now, other, "cancelled", "rule", why))
        return list(self.ahead) + [
            functools.partial(self._stop, state.places[t].lane, t, state.attempt[t])
            for t, phase in enumerate(state.phase)
            if SUBMITTED <= phase <= RUNNING
        ]


def call_all(pokes: Iterable[Poke] | None) -> None:
    """Call what was put off until the lock was free."""
    for poke in pokes or ():
        poke()
