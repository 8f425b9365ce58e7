"""The fold: what is known about a run after its events so far.

Two rules. `apply` is the only place where a `RunState` changes. It knows nothing of executors, clocks or people:
a journal read tomorrow folds to the same state as the live one.

    waiting -> ready -> (submitted ->) running -> ended -> succeeded | failed | cancelled
       └────────┴─────────────────────────────────────> succeeded (reused) | skipped | cancelled
    task.moved and a route back take tasks and whatever depended on them back to waiting.
    What a route passes by is skipped, and what follows it goes on as if it had succeeded.
    Tasks that undo others wait outside of all this until run.compensating names them.
"""

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Final

from cerebelum_nb.errors import InternalError
from cerebelum_nb.model.attempts import PastAttempt, Pause
from cerebelum_nb.model.events import (
    PROCESSES,
    AnyEvent,
    AttemptFinished,
    AttemptOutput,
    AttemptProgress,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    Group,
    OutcomeKind,
    Placement,
    RouteTaken,
    RunCompensating,
    RunStarted,
    TaskFinished,
    TaskLookedUp,
    TaskMoved,
    TaskPaused,
    TaskResumed,
    TaskRetrying,
)

WAITING, READY, SUBMITTED, RUNNING, ENDED, SUCCEEDED, FAILED, SKIPPED, CANCELLED = range(9)
PHASES: Final = (
    "waiting",
    "ready",
    "submitted",
    "running",
    "ended",
    "succeeded",
    "failed",
    "skipped",
    "cancelled",
)
FINAL: Final = {
    "succeeded": SUCCEEDED,
    "failed": FAILED,
    "skipped": SKIPPED,
    "cancelled": CANCELLED,
}
OUTPUT_TAIL: Final = 64 * 1024  # characters kept of what one task printed
SHOWN: Final = "shown "  # in place of a stream, before attempt and number: what a step displayed


class RunState:
    """Arrays by task number, so that 100,000 tasks stay small and `apply` stays quick."""

    def __init__(self) -> None:
        self.seq, self.status = -1, "new"
        self.run = self.workflow = self.parent = ""
        self.started_at = self.ended_at = 0.0
        self.unfinished = 0
        self.spent_s = [0.0, 0.0]  # all attempts together: local ones, and others
        self.spent_in: dict[str, float] = {}  # and these by executor
        self.names: tuple[str, ...] = ()
        self.needs: tuple[tuple[int, ...], ...] = ()
        self.phase = bytearray()
        self.attempt = array("H")  # no 65,536th attempt
        self.submitted = self.started = self.ended = self.run_s = array("d")
        self.unmet: list[int] = []
        self.children: list[list[int]] = []
        self.places: list[Placement] = []
        self.ready: dict[str, deque[int]] = {}  # lane -> what waits to be taken, first come first
        self.errors: dict[int, ErrorInfo] = {}
        self.output: dict[int, deque[tuple[str, str]]] = {}  # task -> (stream or what was shown, text), the tail of it
        self._output_size: dict[int, int] = {}
        self.prints: dict[int, int] = {}  # task -> how many pieces of output there were
        self.past: dict[int, tuple[PastAttempt, ...]] = {}
        self.reasons: dict[int, str] = {}  # why a rule ended a task
        self.reused: set[int] = set()
        self.looked_up: dict[int, tuple[bool, str]] = {}  # found in the cache, and what there is to say about it
        self.undo: dict[int, int] = {}  # tasks that undo -> what they undo
        self.compensating: tuple[int, ...] = ()  # those of them that run
        self.undone: set[int] = set()  # tasks whose effect has been undone
        self.why_undone = ""
        self.groups: tuple[Group, ...] = ()
        self.decisions: frozenset[int] = frozenset()
        self.passed: set[int] = set()  # tasks that a route passes by: skipped, and no hindrance to what follows
        self.loops: dict[int, int] = {}  # decision -> how often it went back
        self.retried: dict[int, int] = {}  # task -> how often it was tried again
        self.paused: dict[int, Pause] = {}
        self.rested_s: dict[int, float] = {}  # running tasks -> how long they were paused so far
        self.progress: dict[int, tuple[float, str]] = {}
        self.workers: dict[int, str] = {}  # only those outside the kernel
        self.transfer_s: dict[int, tuple[float, float]] = {}  # there and back; only what went somewhere
        self.dirty: set[int] = set()  # for the view; not part of what is compared
        self._queue: list[deque[int]] = []  # task -> the queue of its lane
        self._outcome: dict[int, OutcomeKind] = {}  # only those that are not ok

    def apply(self, e: AnyEvent) -> None:
        """Take one event in.

        Raises:
            InternalError: The event leaves a gap or says what cannot be; nothing has changed then.
        """
        if e.seq != self.seq + 1:
            raise InternalError(f"event {e.seq} after {self.seq}")
        kind = type(e)
        if kind is AttemptSubmitted:
            self._leave_queue(e.task, e.attempt, SUBMITTED)  # type: ignore[union-attr]
            self.submitted[e.task] = e.at  # type: ignore[union-attr]
        elif kind is AttemptStarted:
            self._attempt_started(e)  # type: ignore[arg-type]
        elif kind is AttemptFinished:
            self._attempt_finished(e)  # type: ignore[arg-type]
        elif kind is TaskFinished:
            self._task_finished(e)  # type: ignore[arg-type]
        elif kind is AttemptOutput:
            self._output(e)  # type: ignore[arg-type]
        elif kind is RunStarted:
            self._run_started(e)  # type: ignore[arg-type]
        else:
            self._apply_rare(e)
        self.seq = e.seq

    def _apply_rare(self, e: AnyEvent) -> None:
        match e:
            case AttemptProgress():
                self.progress[e.task] = (e.done, e.text)
                self.dirty.add(e.task)
            case TaskPaused():
                self.paused[e.task] = Pause(e.kind, e.at, e.until, e.text)
                self.dirty.add(e.task)
            case TaskResumed():
                self._resumed(e)
            case TaskRetrying():
                self._retrying(e)
            case RouteTaken():
                self._route_taken(e)
            case TaskMoved():
                self._task_moved(e)
            case TaskLookedUp():
                self.looked_up[e.task] = (e.hit, e.text)
                self.dirty.add(e.task)
            case RunCompensating():
                self._compensating(e)
            case _:
                self._run_finished(e)

    def _leave_queue(self, task: int, attempt: int, phase: int) -> None:
        queue = self._queue[task]
        if self.phase[task] != READY:
            raise InternalError(f"task {task} left its queue while {PHASES[self.phase[task]]}")
        if queue[0] == task:
            queue.popleft()
        elif queue[-1] == task:  # it follows what has just ended
            queue.pop()
        else:  # it has waited too long, and those before it may wait longer
            queue.remove(task)
        self.phase[task], self.attempt[task] = phase, attempt
        self.dirty.add(task)

    def _attempt_started(self, e: AttemptStarted) -> None:
        if self.phase[e.task] == SUBMITTED:
            self.phase[e.task] = RUNNING
            self.workers[e.task] = e.worker
            self.dirty.add(e.task)
        else:  # a local step: whoever takes it runs it, nothing was submitted anywhere
            self._leave_queue(e.task, e.attempt, RUNNING)
        self.started[e.task] = e.at

    def _attempt_finished(self, e: AttemptFinished) -> None:
        task = e.task
        if not SUBMITTED <= self.phase[task] <= RUNNING or self.attempt[task] != e.attempt:
            raise InternalError(f"attempt {e.attempt} of task {task} ended while not running")
        self.phase[task], self.ended[task], self.run_s[task] = ENDED, e.at, e.run_s
        if self.paused:
            self._rest_ends(task, e.at)
        if e.transfer_s is not None:
            self.transfer_s[task] = e.transfer_s
        place = self.places[task]
        away = place.remote and place.executor != PROCESSES
        spent = e.run_s or e.at - (self.started[task] or e.at)  # a queue is no work
        if self.rested_s:
            spent -= self.rested_s.pop(task, 0.0)
        self.spent_s[away] += spent
        if away:
            self.spent_in[place.executor] = self.spent_in.get(place.executor, 0.0) + spent
        if e.outcome != "ok":
            self._outcome[task] = e.outcome
            if e.error is not None:
                self.errors[task] = e.error

    def _resumed(self, e: TaskResumed) -> None:
        if self.phase[e.task] == WAITING:  # before another attempt
            del self.paused[e.task]
            self._make_ready(e.task)
        else:
            self._rest_ends(e.task, e.at)
        self.dirty.add(e.task)

    def _retrying(self, e: TaskRetrying) -> None:
        if self.phase[e.task] != ENDED:
            raise InternalError(f"task {e.task} is to be tried again while {PHASES[self.phase[e.task]]}")
        self._put_attempt_aside(e.task)
        self.retried[e.task] = self.retried.get(e.task, 0) + 1
        if e.until > e.at:
            self.paused[e.task] = Pause("retry", e.at, e.until, e.text)
        else:
            self._make_ready(e.task)
        self.dirty.add(e.task)

    def _rest_ends(self, task: int, at: float) -> None:
        pause = self.paused.pop(task, None)
        if pause is not None:
            self.rested_s[task] = self.rested_s.get(task, 0.0) + at - pause.since

    def _task_finished(self, e: TaskFinished) -> None:
        task, phase, before = e.task, FINAL[e.status], self.phase[e.task]
        if before != ENDED:
            self._ends_without_attempt(e, before)
        self.phase[task] = phase
        self.dirty.add(task)
        self.unfinished -= 1
        if e.source == "route":
            self.passed.add(task)
        if self.compensating and phase == SUCCEEDED:
            self.undone.add(self.undo[task])
            self.dirty.add(self.undo[task])
        if phase == SUCCEEDED or e.source == "route" or task in self.undo:  # an undo that fails hinders no other
            for child in self.children[task]:
                self.unmet[child] -= 1
                if not self.unmet[child] and self.phase[child] == WAITING:
                    self._make_ready(child)

    def _ends_without_attempt(self, e: TaskFinished, before: int) -> None:
        if before == READY:
            self._queue[e.task].remove(e.task)
        elif before != WAITING:
            raise InternalError(f"task {e.task} finished while {PHASES[before]}")
        self.paused.pop(e.task, None)  # a pause before another attempt
        if e.reason:
            self.reasons[e.task] = e.reason
        if e.source == "reused":
            self.reused.add(e.task)

    def _compensating(self, e: RunCompensating) -> None:
        if self.unfinished or self.compensating:
            raise InternalError(f"the run is to be undone with {self.unfinished} tasks unfinished")
        self.compensating, self.why_undone, self.unfinished = e.tasks, e.why, len(e.tasks)
        needs = list(self.needs)
        for task, before, place in zip(e.tasks, e.needs, e.places, strict=True):
            needs[task], self.places[task], self.unmet[task] = before, place, len(before)
            self._queue[task] = self.ready.setdefault(place.lane, deque())
            for need in before:
                self.children[need].append(task)
        self.needs = tuple(needs)
        for task in e.tasks:
            self.dirty.add(task)
            if not self.unmet[task]:
                self._make_ready(task)

    def _make_ready(self, task: int) -> None:
        self.phase[task] = READY
        self._queue[task].append(task)

    def _output(self, e: AttemptOutput) -> None:
        tail = self.output.setdefault(e.task, deque())
        if e.shown < 0:
            tail.clear()
            self._output_size.pop(e.task, None)
        text = e.text[-OUTPUT_TAIL:]
        tail.append((f"{SHOWN}{e.attempt}.{e.shown}" if e.shown > 0 else e.stream, text))
        kept = self._output_size.get(e.task, 0) + len(text)
        while kept > OUTPUT_TAIL and len(tail) > 1:
            kept -= len(tail.popleft()[1])
        self._output_size[e.task] = kept
        self.prints[e.task] = self.prints.get(e.task, 0) + 1
        self.dirty.add(e.task)

    def _route_taken(self, e: RouteTaken) -> None:
        self.reasons[e.task] = f"took {e.way}"
        self.dirty.add(e.task)
        if e.again:
            self.loops[e.task] = self.loops.get(e.task, 0) + 1
            for task in e.again:
                self._back_to_waiting(task)
            self._wait_again(e.again)

    def _task_moved(self, e: TaskMoved) -> None:
        if self.phase[e.task] == READY:
            self._queue[e.task].remove(e.task)
            self.phase[e.task] = WAITING
        self.paused.pop(e.task, None)
        for task in e.again:
            self._back_to_waiting(task)
        self.places[e.task] = e.placement
        self._queue[e.task] = self.ready.setdefault(e.placement.lane, deque())
        self._wait_again({e.task, *e.again})

    def _wait_again(self, tasks: Iterable[int]) -> None:
        for task in sorted(tasks):
            self.unmet[task] = sum(not self.is_met(need) for need in self.needs[task])
            if not self.unmet[task] and self.phase[task] == WAITING:
                self._make_ready(task)
            self.dirty.add(task)

    def _back_to_waiting(self, task: int) -> None:
        phase = self.phase[task]
        if phase in (SUBMITTED, RUNNING):
            raise InternalError(f"task {task} moved back while its attempt was alive")
        if phase == SUCCEEDED or task in self.passed:
            for child in self.children[task]:
                self.unmet[child] += 1
                if self.phase[child] == READY:
                    self._queue[child].remove(child)
                    self.phase[child] = WAITING
                    self.dirty.add(child)
        if phase not in (WAITING, READY, ENDED):
            self.unfinished += 1
        self.retried.pop(task, None)
        if phase in (ENDED, SUCCEEDED, FAILED, CANCELLED) and self.attempt[task]:
            self._put_attempt_aside(task)
        for known in (self.reasons, self.progress, self.looked_up, self.paused):
            known.pop(task, None)
        self.reused.discard(task)
        self.passed.discard(task)
        self.phase[task] = WAITING

    def _put_attempt_aside(self, task: int) -> None:
        """The task waits again; how its last attempt went is remembered."""
        place = self.places[task]
        attempt = PastAttempt(
            self.attempt[task],
            place.label,
            place.remote,
            self.started[task],
            self.ended[task],
            self._outcome.pop(task, "ok"),
            self.submitted[task],
            self.run_s[task],
            self.transfer_s.pop(task, None),
        )
        self.past[task] = (*self.past.get(task, ()), attempt)
        for known in (self.errors, self.workers):
            known.pop(task, None)
        self.phase[task] = WAITING
        self.submitted[task] = self.started[task] = self.ended[task] = self.run_s[task] = 0.0

    def _run_started(self, e: RunStarted) -> None:
        n = len(e.names)
        self.run, self.workflow, self.parent, self.started_at = e.run, e.workflow, e.parent, e.at
        self.status, self.unfinished = "running", n - len(e.undo)
        self.undo = dict(zip(range(n - len(e.undo), n), e.undo, strict=True))
        self.names, self.needs = e.names, e.needs
        self.groups, self.decisions = e.groups, frozenset(e.decisions)
        self.phase, self.attempt = bytearray(n), array("H", bytes(2 * n))
        self.submitted, self.started = array("d", bytes(8 * n)), array("d", bytes(8 * n))
        self.ended, self.run_s = array("d", bytes(8 * n)), array("d", bytes(8 * n))
        self.unmet = [len(needs) for needs in e.needs]
        self.children = [[] for _ in range(n)]
        self.places = [e.places[i] for i in e.place]
        for place in e.places:
            self.ready.setdefault(place.lane, deque())
        self._queue = [self.ready[place.lane] for place in self.places]
        for task, needs in enumerate(e.needs):
            for need in needs:
                self.children[need].append(task)
            if not needs and task not in self.undo:
                self._make_ready(task)

    def _run_finished(self, e: AnyEvent) -> None:
        if self.unfinished:
            raise InternalError(f"the run ended with {self.unfinished} tasks unfinished")
        self.status, self.ended_at = e.status, e.at  # type: ignore[union-attr]

    def is_met(self, need: int) -> bool:
        """What waits for a task may go on."""
        return self.phase[need] == SUCCEEDED or need in self.passed

    def outcome_of(self, task: int) -> OutcomeKind:
        """How the last ended attempt of a task ended."""
        return self._outcome.get(task, "ok")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunState):
            return NotImplemented
        return {**vars(self), "dirty": None} == {**vars(other), "dirty": None}

    __hash__ = None  # type: ignore[assignment]
