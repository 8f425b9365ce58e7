"""What is known of one attempt that has ended: how it went, and what it was given."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cerebelum_nb.errors import CerebelumError, PlanError
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    OutcomeKind,
    TaskFinished,
    TaskLookedUp,
)
from cerebelum_nb.model.plan import CONTEXT, INPUTS
from cerebelum_nb.model.state import SUCCEEDED

if TYPE_CHECKING:
    from cerebelum_nb.runtime.recipe import Recipe
    from cerebelum_nb.runtime.run import Run


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt whose code has begun, and that is over.

    Attributes:
        where: Where it ran, as people say it.
        begun: Number of the event that handed it over.
        last: The step had none after it.
    """

    task: int
    step: str
    number: int
    where: str
    remote: bool
    outcome: OutcomeKind
    error: ErrorInfo | None
    begun: int
    last: bool

    @property
    def called(self) -> str:
        """As errors name it."""
        return f"attempt {self.number} of step {self.step!r}"

    @property
    def failed_with(self) -> str:
        """Type and message of its error."""
        return ": ".join(filter(None, (self.error.type, self.error.message))) if self.error else self.outcome


class _Seen:
    """One attempt, while events are read."""

    def __init__(self, begun: int) -> None:
        self.begun, self.started = begun, False
        self.end: AttemptFinished | None = None
        self.hit = False


def tried(run: "Run", task: int, number: int | None) -> Tried:
    """One attempt of a task.

    Args:
        number: Which one; None for the last.

    Raises:
        PlanError: There is none, its code has not begun, or it has not ended; in one line.
    """
    step, called, seen = run.plan.names[task], f"run {run.number}", _attempts(run, task)
    if number is None and not seen:
        raise PlanError(f"step {step!r} of {called} {_why_never(run, task)}")
    wanted = max(seen) if number is None else number
    if wanted not in seen:
        had = f"{len(seen)} attempt{'s' * (len(seen) != 1)}" if seen else "no attempt"
        raise PlanError(f"step {step!r} of {called} had {had}: there is no attempt {number}")
    found = seen[wanted]
    what = f"attempt {wanted} of step {step!r} of {called}"
    if found.end is None:
        if not run.done:
            raise PlanError(f"{what} has not ended yet: it is replayed when it has")
        raise PlanError(f"{what} was cut off and has no end: runs[{run.number}].rerun({step!r}) runs it again")
    if found.hit:
        raise PlanError(f"{what} took its result from the cache: no code ran, so there is nothing to replay")
    if not found.started:
        error = found.end.error
        why = f" ({error.type}: {_first_line(error.message)})" if error is not None else ""
        raise PlanError(f"{what} never began{why}: there is nothing to replay")
    (row,) = run.rows([task])
    where, remote = next(((s.where, s.remote) for s in row.segments if s.attempt == wanted), (row.where, row.remote))
    end = found.end
    return Tried(task, step, wanted, where, remote, end.outcome, end.error, found.begun, last=wanted == max(seen))


def _attempts(run: "Run", task: int) -> dict[int, _Seen]:
    seen: dict[int, _Seen] = {}
    for e in run.events:
        if getattr(e, "task", -1) != task:
            continue
        if isinstance(e, AttemptSubmitted | AttemptStarted):
            found = seen.setdefault(e.attempt, _Seen(e.seq))
            if isinstance(e, AttemptStarted):
                found.started = True
        elif isinstance(e, AttemptFinished):
            seen[e.attempt].end = e
        elif isinstance(e, TaskLookedUp) and e.hit:
            seen[e.attempt].hit = True
    return seen


def _why_never(run: "Run", task: int) -> str:
    if task in run.state.reused:
        parent = run.parent
        there = f": runs[{parent.number}].replay({run.plan.names[task]!r}) replays it there" if parent else ""
        return f"did not run: its result is reused{there}"
    reason = run.state.reasons.get(task, "")
    return f"has never begun{f' ({reason})' if reason else ''}: there is nothing to replay"


class Given:
    """What an attempt was given.

    Args:
        recipe: As it was called; for a run of an earlier kernel maybe as it would be called now.
    """

    def __init__(self, run: "Run", recipe: "Recipe", one: Tried) -> None:
        self._run, self._recipe, self._one = run, recipe, one
        self._at = {name: t for t, name in enumerate(run.plan.names)}

    def arguments(self) -> tuple[list[Any], dict[str, Any], int | None]:
        """What the function is called with, and where the context goes: None stands there.

        Raises:
            PlanError: Something of it is not there any more.
        """
        call = self._recipe.call
        args = [self._of(n) for n in call.positional]
        named = {k: self._of(n) for k, n in call.keywords if k not in call.optional or self._is_there(n)}
        return args, named, call.positional.index(CONTEXT) if CONTEXT in call.positional else None

    def takes_context(self) -> str:
        """The keyword that takes the context; empty for none."""
        return next((k for k, n in self._recipe.call.keywords if n == CONTEXT), "")

    def inputs(self) -> Any:
        """What the step got as the run's inputs.

        Raises:
            PlanError: They are not known any more.
        """
        source = self._recipe.inputs_of
        if source is not None:
            return self._result(source)
        if self._run.without_inputs:
            raise PlanError(f"{self._lost('the inputs of the run')}: {self._run.without_inputs}")
        return self._run.plan.inputs

    def _of(self, source: int) -> Any:
        if source >= 0:
            return self._result(source) if self._is_there(source) else None
        return self.inputs() if source == INPUTS else None

    def _is_there(self, source: int) -> bool:
        if source < 0:
            return True
        there = self._at.get(self._recipe.names[source])
        return there is None or there not in self._run.state.passed

    def _result(self, source: int) -> Any:
        name = self._recipe.names[source]
        task, lost = self._at.get(name, -1), self._lost(f"the result of {name!r}")
        if task < 0 or self._run.state.phase[task] != SUCCEEDED:
            raise PlanError(f"{lost}: it has run again since, or the workflow is another")
        if any(type(e) is TaskFinished and e.task == task and e.seq > self._one.begun for e in self._run.events):
            raise PlanError(f"{lost}: that step has run again since")
        try:
            return self._run.results[task]
        except CerebelumError as exc:
            raise PlanError(f"{lost}: {exc}") from None

    def _lost(self, what: str) -> str:
        return f"{self._one.called} of run {self._run.number} cannot be replayed, {what} that it got is not kept"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
