"""What can happen in a run: one frozen struct for each kind of event.

Only the scheduler makes these. They are what the journal stores and what every view is folded from.
A task is named by its place in ``run.started``'s ``names``; names are put back at the edges.
Positional and without garbage-collector tracking: 80 ns to make one.
"""

from typing import Any, Final, Literal

import msgspec

OutcomeKind = Literal["ok", "error", "timeout", "cancelled", "lost"]
TaskStatus = Literal["succeeded", "failed", "skipped", "cancelled"]
RunStatus = Literal["succeeded", "failed", "cancelled", "compensated", "compensation_failed"]
Stream = Literal["stdout", "stderr", "notice"]
PauseKind = Literal["sleep", "approval", "retry"]
PROCESSES: Final = "processes"  # outside the kernel's process, and yet local: its work is this machine's own


class Placement(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a task runs, and which rule said so."""

    executor: str  # the executor's own name: local, core
    lane: str  # whose queue it waits in: local (async), threads (sync), core
    label: str  # as people say it: local, distributed
    remote: bool  # its bytes leave the kernel's process
    rule: str  # person, strategy, decorator, map-default, workflow, session, fallback
    reason: str  # the same as a sentence


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An exception as text, so that it can cross a boundary. May hold user data."""

    type: str
    message: str
    traceback: str = ""
    kinds: tuple[str, ...] = ()  # its class and those it inherits from, with their modules


class Event(msgspec.Struct, frozen=True, tag_field="type", array_like=True, gc=False):
    """What all events have: no gaps in ``seq``; ``at`` in UTC seconds, never going back."""

    seq: int
    at: float


class Group(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A nested workflow: its tasks stand side by side in the plan, from `first` up to but not including `stop`."""

    name: str  # as its steps' names begin: "outer/inner"
    first: int
    stop: int


class RunStarted(Event, frozen=True, tag="run.started", array_like=True, gc=False):
    """Announces every task, what it needs and where it is placed."""

    run: str
    workflow: str
    names: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]
    places: tuple[Placement, ...]  # the distinct placements
    place: tuple[int, ...]  # task -> index in `places`
    parent: str = ""  # the run whose results are reused
    groups: tuple[Group, ...] = ()  # outer before inner
    decisions: tuple[int, ...] = ()  # tasks that choose a way
    undo: tuple[int, ...] = ()  # what the last tasks undo, one for each: they run only when the run is undone
    undone_if: bool = True  # it is undone when it fails or is cancelled


class AttemptSubmitted(Event, frozen=True, tag="attempt.submitted", array_like=True, gc=False):
    """A task was handed to an executor that says later when it begins."""

    task: int
    attempt: int


class AttemptStarted(Event, frozen=True, tag="attempt.started", array_like=True, gc=False):
    """Somebody's code begins to run."""

    task: int
    attempt: int
    worker: str


class AttemptOutput(Event, frozen=True, tag="attempt.output", array_like=True, gc=False):
    """Chatter: a piece of what the step printed, or a notice about it; or what it displayed, as text."""

    task: int
    attempt: int
    stream: Stream
    text: str
    shown: int = 0  # the number of what it displayed, which is in the run's files; -1: what was shown is taken back


class AttemptFinished(Event, frozen=True, tag="attempt.finished", array_like=True, gc=False):
    """How an attempt ended. Its durations are measured where they pass; 0 or None where nobody measured."""

    task: int
    attempt: int
    outcome: OutcomeKind
    error: ErrorInfo | None = None
    run_s: float = 0.0
    transfer_s: tuple[float, float] | None = None  # its way there, and the result's way back


class AttemptProgress(Event, frozen=True, tag="attempt.progress", array_like=True, gc=False):
    """Chatter: how far a step says it is."""

    task: int
    attempt: int
    done: float  # 0 to 1
    text: str


class TaskPaused(Event, frozen=True, tag="task.paused", array_like=True, gc=False):
    """A running step sleeps, or waits for somebody's answer; it holds no place meanwhile."""

    task: int
    attempt: int
    kind: PauseKind
    until: float  # UTC seconds: when it goes on by itself, or gives up; 0 for never
    text: str  # what it waits for


class TaskResumed(Event, frozen=True, tag="task.resumed", array_like=True, gc=False):
    """A paused step goes on."""

    task: int
    attempt: int


class TaskRetrying(Event, frozen=True, tag="task.retrying", array_like=True, gc=False):
    """An attempt failed, and another one follows; at once, or when the task is resumed."""

    task: int
    attempt: int  # the one that failed
    until: float  # UTC seconds
    text: str  # which attempt comes next, and why


class RouteTaken(Event, frozen=True, tag="route.taken", array_like=True, gc=False):
    """A decision chose one of its ways; the steps of the others are skipped."""

    task: int  # the decision
    way: str  # as it is written in the workflow
    again: tuple[int, ...] = ()  # a way back: tasks that go back to waiting, in plan order


class TaskMoved(Event, frozen=True, tag="task.moved", array_like=True, gc=False):
    """A task got another placement; it and what depends on it go back to waiting."""

    task: int
    placement: Placement
    again: tuple[int, ...]  # tasks that had begun or ended and will run again, in plan order


class TaskLookedUp(Event, frozen=True, tag="task.looked_up", array_like=True, gc=False):
    """Chatter: whether an attempt found its result in the cache."""

    task: int
    attempt: int
    hit: bool
    text: str  # where it comes from, or which part of the key is another one


class TaskFinished(Event, frozen=True, tag="task.finished", array_like=True, gc=False):
    """A task has its end: by an attempt, from an earlier run's result, or by a rule."""

    task: int
    status: TaskStatus
    source: Literal["attempt", "reused", "cache", "rule", "route"] = "attempt"  # route: skipped; what follows goes on
    reason: str = ""


class RunCompensating(Event, frozen=True, tag="run.compensating", array_like=True, gc=False):
    """The run has failed or was cancelled, and what its steps did is undone: these tasks run now."""

    why: str
    tasks: tuple[int, ...]  # of those that undo
    needs: tuple[tuple[int, ...], ...]  # which of them each one follows, however that ends
    places: tuple[Placement, ...]


class RunFinished(Event, frozen=True, tag="run.finished", array_like=True, gc=False):
    """The last event of a run."""

    status: RunStatus


AnyEvent = (
    RunStarted
    | AttemptSubmitted
    | AttemptStarted
    | AttemptOutput
    | AttemptFinished
    | AttemptProgress
    | TaskPaused
    | TaskResumed
    | TaskRetrying
    | RouteTaken
    | TaskMoved
    | TaskLookedUp
    | TaskFinished
    | RunCompensating
    | RunFinished
)

encode_lines = msgspec.json.Encoder().encode_lines
decode_lines: "Any" = msgspec.json.Decoder(AnyEvent).decode_lines
