"""One execution of a blueprint: what each of its steps does, and what comes next. No I/O; outputs stay Structs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cerebelum_nb.upstream.blueprints import Blueprint

Phase = Literal["waiting", "queued", "running", "sleeping", "asking", "completed", "failed"]
State = Literal["running", "sleeping", "asking", "completed", "failed"]


class Error(NamedTuple):
    """Why a step failed."""

    kind: str
    message: str
    stacktrace: str = ""


class Asked(NamedTuple):
    """What a worker says of a step that is to sleep, or that asks; see `Pause`."""

    phase: Literal["sleeping", "asking"]
    what: str
    data: Any
    ms: int


class Pause(NamedTuple):
    """A step that sleeps or asks.

    Attributes:
        what: The kind of approval; of a sleep nothing.
        data: The Struct that came with it.
        ms: How long at most; 0 for an approval that waits for ever.
        since: Seconds since 1970.
        number: Counts an execution's pauses, so that a late timer is known.
    """

    what: str
    data: Any
    ms: int
    since: float
    number: int


@dataclass(slots=True)
class StepRun:
    """What a step does.

    Attributes:
        lost: How often a worker was lost that had it.
    """

    phase: Phase = "waiting"
    began: float | None = None
    ended: float | None = None
    output: Any = None
    error: Error | None = None
    pause: Pause | None = None
    lost: int = 0


@dataclass(slots=True)
class Execution:
    """One execution. Times are seconds since 1970.

    Attributes:
        inputs: The Struct it was started with.
    """

    id: str
    blueprint: Blueprint
    inputs: Any
    began: float
    steps: list[StepRun] = field(default_factory=list)
    ended: float | None = None
    error: Error | None = None
    pauses: int = 0

    def __post_init__(self) -> None:
        self.steps = [StepRun() for _ in self.blueprint.steps]

    @property
    def state(self) -> State:
        """What it does as a whole: it sleeps or asks when nothing in it does more."""
        if self.error is not None:
            return "failed"
        phases = {step.phase for step in self.steps}
        if phases == {"completed"}:
            return "completed"
        if "queued" in phases or "running" in phases:
            return "running"
        if "asking" in phases:
            return "asking"
        return "sleeping" if "sleeping" in phases else "running"

    @property
    def completed(self) -> int:
        """How many of its steps have succeeded."""
        return sum(step.phase == "completed" for step in self.steps)

    def ready(self) -> Iterator[int]:
        """Queue the steps that may begin now."""
        if self.error is not None:
            return
        line = True  # all before it have completed
        for number, step in enumerate(self.steps):
            after = self.blueprint.after[number]
            free = line if after is None else all(self.steps[other].phase == "completed" for other in after)
            line = line and step.phase == "completed"
            if step.phase == "waiting" and free:
                step.phase = "queued"
                yield number

    def begins(self, number: int, now: float) -> None:
        """A worker has got a step."""
        step = self.steps[number]
        step.phase, step.began = "running", now

    def again(self, number: int) -> bool:
        """A step that a worker had goes back to the queue; whether it is still wanted."""
        step = self.steps[number]
        step.phase = "queued" if self.error is None else "waiting"
        return self.error is None

    def succeeds(self, number: int, output: Any, now: float) -> None:
        """A step has its output."""
        step = self.steps[number]
        step.phase, step.output, step.ended, step.pause = "completed", output, now, None
        if self.error is None and self.completed == len(self.steps):
            self.ended = now

    def fails(self, number: int | None, error: Error, now: float) -> None:
        """A step failed, or with None the execution itself: what runs may end, nothing else begins."""
        if number is not None:
            step = self.steps[number]
            step.phase, step.error, step.ended, step.pause = "failed", error, now, None
        for step in self.steps:
            if step.phase in {"queued", "sleeping", "asking"}:
                step.phase, step.pause = "waiting", None
        if self.error is None:
            self.error, self.ended = error, now

    def pauses_at(self, number: int, asked: Asked, now: float) -> Pause:
        """A step sleeps or asks."""
        self.pauses += 1
        step = self.steps[number]
        step.phase, step.pause = asked.phase, Pause(asked.what, asked.data, asked.ms, now, self.pauses)
        return step.pause

    def resumes(self, *, keep: bool) -> None:
        """Go on after a failure; with `keep` only what has not succeeded runs again."""
        self.error, self.ended = None, None
        for number, step in enumerate(self.steps):
            if step.phase == "failed" or (not keep and step.phase == "completed"):
                self.steps[number] = StepRun()

    def current(self) -> str:
        """The step that it is at: the first of those that do something, else the first that has not succeeded."""
        names = self.blueprint.steps
        busy = (n for n, s in enumerate(self.steps) if s.phase not in {"waiting", "completed", "failed"})
        open_ = (n for n, s in enumerate(self.steps) if s.phase != "completed")
        number = next(busy, next(open_, None))
        return "" if number is None else names[number]
