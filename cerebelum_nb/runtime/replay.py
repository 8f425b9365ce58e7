"""Replay: an attempt's function, called again with what it was given, here or elsewhere. The run stays as it is."""

import concurrent.futures
import contextlib
import copy
import inspect
import reprlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from cerebelum_nb.attempt import describe
from cerebelum_nb.capture.environment import Difference
from cerebelum_nb.capture.kept import Apart
from cerebelum_nb.codec import LARGE_NBYTES, whole
from cerebelum_nb.context import Context, own_copy
from cerebelum_nb.errors import CerebelumError, ExecutionError, PlacementError, PlanError, StepExecutionError
from cerebelum_nb.identity import alike
from cerebelum_nb.model.events import ErrorInfo, Placement
from cerebelum_nb.model.lines import duration
from cerebelum_nb.protocols import Attempt, Outcome
from cerebelum_nb.rules.returned import LOOK_AT, looked_at
from cerebelum_nb.runtime.host import Host
from cerebelum_nb.runtime.recipe import Recipe, recipe_of
from cerebelum_nb.runtime.replaying import Answers, Console, ReplayHere, ReplaySignals, called_here, on_failed_replay
from cerebelum_nb.runtime.surroundings import Neighbour
from cerebelum_nb.runtime.tried import Given, Tried, tried

if TYPE_CHECKING:
    from cerebelum_nb.runtime.run import Run

_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = 80


@dataclass(frozen=True)
class Replay:
    """What a replay gave; show it, or read its fields.

    Attributes:
        attempt: Number of the attempt that was replayed, from 1.
        executor: Where it was replayed, as people say it.
        value: What the step gave this time.
        seconds: How long its code ran.
        same: Whether that is what the attempt gave; None where the attempt gave nothing, or it is not kept.
        differs: Where the two results differ, a line each.
        environment: What the worker's process and this one do not have in common; None where nobody could say.
        notes: What else there is to know, a line each.
    """

    run: int
    step: str
    attempt: int
    executor: str
    value: Any = field(repr=False)
    seconds: float
    same: bool | None
    differs: tuple[str, ...]
    environment: tuple[Difference, ...] | None
    notes: tuple[str, ...]
    lines: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        """What people read of it."""
        return "\n".join(self.lines)

    __repr__ = __str__


def prepared(  # noqa: PLR0913  what a person may ask of a replay, and who asks
    run: "Run", host: Host, task: int, number: int | None, executor: str | None, *, force: bool
) -> "Prepared":
    """A replay that may begin: everything that it needs is there.

    Raises:
        PlanError: The attempt never began or has not ended, something that it got is gone, or its step changes
            something outside and nobody insists; in one line.
        PlacementError: There is no such executor.
    """
    return Prepared(run, host, *checked(run, host, task, number, executor, force=force))


def checked(  # noqa: PLR0913  as above
    run: "Run", host: Host, task: int, number: int | None, executor: str | None, *, force: bool
) -> tuple[Recipe, Tried, Placement | None]:
    """How it is called, the attempt, and where else it is replayed.

    Raises:
        PlanError: As `prepared`, but for what it got.
        PlacementError: There is no such executor.
    """
    one = tried(run, task, number)
    if task in run.state.undo:
        raise PlanError(f"{one.step!r} undoes a step, and what it did stays done: it is not replayed")
    place = _place(run, host, one.step, executor) if executor is not None else None
    elsewhere = place if place is not None and place.remote else None
    recipe = recipe_of(run, host, one)
    if not force:
        _check_harm(run, recipe, one, elsewhere)
    return recipe, one, elsewhere


def _place(run: "Run", host: Host, step: str, executor: str) -> Placement:
    try:
        return host.placement(run, step, executor)
    except PlacementError as exc:  # nobody has moved anything
        raise PlacementError(str(exc).replace(f" (you moved it to {executor!r})", "")) from None


def _check_harm(run: "Run", recipe: Recipe, one: Tried, elsewhere: Placement | None) -> None:
    insist = f"runs[{run.number}].replay({one.step!r}, force=True)"
    if recipe.once:
        raise PlanError(
            f'step {one.step!r} says effects="once", and a replay does what it does again: {insist} insists'
        )
    if recipe.undone:
        raise PlanError(
            f"step {one.step!r} says what undoes it, and a replay does what it does again, with nobody to undo that: "
            f"{insist} insists"
        )
    if one.outcome == "lost" and elsewhere is None:
        why = one.error.message.partition(". ")[0].rstrip(".") if one.error is not None else "it was lost"
        raise PlanError(
            f"{one.called} ended with its worker ({why}), and could end this process too: "
            f"runs[{run.number}].replay({one.step!r}, executor={one.where!r}) replays it on a worker, {insist} here"
        )


class Prepared:
    """A replay that has not begun.

    Attributes:
        run: Whose attempt it is.
        told: What it is, as a line.
    """

    def __init__(self, run: "Run", host: Host, recipe: Recipe, one: Tried, elsewhere: Placement | None) -> None:
        self.run, self._host, self._one, self._elsewhere = run, host, one, elsewhere
        self._label = elsewhere.label if elsewhere is not None else "here"
        where = "here" if elsewhere is None else f"on {elsewhere.label}"
        self.told = f"Replays attempt {one.number} of {one.step} (run {run.number}, {one.where}) {where}."
        shares = any(p.label == one.where and host.shares(p.executor) for p in run.plan.places)
        apart = Apart(LARGE_NBYTES if shares else None)
        self._function, self._notes = recipe.made(apart, f"{one.called} of run {run.number}")
        given = Given(run, recipe, one)
        args, kwargs, self._context_at = given.arguments()
        self._context_name = given.takes_context()
        fields = {
            "inputs": given.inputs() if self._context_at is not None or self._context_name else None,
            "execution_id": run.id,
            "workflow_name": run.workflow,
            "step_name": one.step,
            "attempt": one.number,
            "executor": one.where,
            "root": run.keys.get(one.step, run.root),
            "replay": True,
        }
        if recipe.sent is None:
            self._args, self._kwargs, self._fields = (
                [_own(v) for v in args],
                {k: _own(v) for k, v in kwargs.items()},
                _own(fields),
            )
            return
        # Classes of cells are others where the function was made again: what it gets must be of these.
        what = f"what step {one.step!r} got"
        self._args = [apart.value(value, what) for value in args]
        self._kwargs = {name: apart.value(value, what) for name, value in kwargs.items()}
        self._fields = {**fields, "inputs": apart.value(fields["inputs"], what)}

    def go(self) -> Replay:
        """Run it.

        Returns:
            What came of it, where the step gave a result.

        Raises:
            Exception: What the step raised here, with its own frames; its notes tell of the replay.
            ExecutionError: It failed elsewhere, or ended without an exception.
        """
        __tracebackhide__ = True
        run, one, console = self.run, self._one, Console(self._one.step)
        worker = Neighbour(run, self._host, one, self._function) if one.remote and self._elsewhere is None else None
        said = run.said_to(one.task, one.number)
        answers = Answers(said, complete=not run.is_recalled)
        began = perf_counter()
        try:
            with self._host.waiting():
                value, failed = (self._here if self._elsewhere is None else self._there)(console, answers)
        except KeyboardInterrupt as exc:
            describe(exc)
            _tell_notebook(exc)
            raise
        seconds = perf_counter() - began
        if isinstance(failed, BaseException):
            for line in self._tells_failed(failed, worker):
                failed.add_note(line)
            _tell_notebook(failed)
            raise failed
        return self._replay(value, seconds, worker)

    def _here(self, console: Console, answers: Answers) -> tuple[Any, BaseException | None]:
        args, kwargs = list(self._args), dict(self._kwargs)
        if self._context_at is not None:
            args[self._context_at] = Context(**self._fields)
        elif self._context_name:
            kwargs[self._context_name] = Context(**self._fields)
        function = self._function
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
        here = ReplayHere(console, answers)
        try:
            value = called_here(lambda: function(*args, **kwargs), here, is_async=is_async)
        except KeyboardInterrupt:
            raise
        except Exception as exc:  # noqa: BLE001  the step's own, raised again from its own frames
            describe(exc)
            return None, exc
        except BaseException as exc:  # noqa: BLE001  sys.exit would end whoever asked
            return None, self._as_error(describe(exc)).with_traceback(exc.__traceback__)
        return self._opened(value)

    def _opened(self, value: Any) -> tuple[Any, BaseException | None]:
        """What others would get of a result."""
        if type(value) not in LOOK_AT:
            return value, None
        found = looked_at(self._one.step, value)
        return (None, self._as_error(found.error)) if found.error is not None else (found.value, None)

    def _there(self, console: Console, answers: Answers) -> tuple[Any, BaseException | None]:
        one, place, host = self._one, self._elsewhere, self._host
        assert place is not None
        attempt = Attempt(
            run=f"replay-{secrets.token_hex(6)}",
            task=0,
            step=one.step,
            number=1,
            pool=place.executor,
            function=self._function,
            args=self._args,
            kwargs=self._kwargs,
            context_at=self._context_at,
            fields={**self._fields, "executor": place.label},
        )
        signals = ReplaySignals(console, answers, lambda after_s, answer: host.say(attempt, after_s, answer))
        outcome = _waited(host.carry(attempt, signals))
        if outcome.kind == "ok":
            return self._opened(whole(outcome.value))
        return None, self._as_error(outcome.error or ErrorInfo(outcome.kind, "it did not say why"))

    def _as_error(self, error: ErrorInfo) -> ExecutionError:
        kind = StepExecutionError if error.type in ("SystemExit", "GeneratorExit", "CancelledError") else ExecutionError
        return kind(
            f"Step '{self._one.step}' returned error: {error.message or error.type}",
            self._one.step,
            error.message,
            attempt=self._one.number,
            executor=f"{self._label}, replay",
            error_type=error.type,
            traceback=error.traceback,
        )

    # -- what is told

    def _replay(self, value: Any, seconds: float, worker: Neighbour | None) -> Replay:
        one, run = self._one, self.run
        where = "here" if self._elsewhere is None else f"on {self._label}"
        head = f"attempt {one.number} of {one.step} (run {run.number}, {one.where}), replayed {where}"
        head += f" in {duration(seconds * 1e3, ' ')}"
        same: bool | None = None
        differs: tuple[str, ...] = ()
        if one.outcome != "ok":
            told = [f"{head}: a result here, {_repr(value)}", f"  there it failed with {one.failed_with}"]
            if self._elsewhere is not None:
                told[0] = f"{head}: a result, {_repr(value)}"
        elif not one.last:
            told = [f"{head}: {_repr(value)}", f"  what attempt {one.number} gave is not kept: it ran again since"]
        else:
            try:
                before = run.results[one.task]
            except CerebelumError as exc:
                told = [f"{head}: {_repr(value)}", f"  what it gave then is not kept: {exc}"]
            else:
                differs = alike.differences(before, value)
                same = not differs
                verdict = "the same result" if same else "another result"
                told = [f"{head}: {verdict}", *(f"  {line}" for line in differs)]
        environment, of_worker = worker.told() if worker is not None else (None, [])
        lines = (*told, *(f"  {note}" for note in self._notes), *of_worker)
        return Replay(
            run.number,
            one.step,
            one.number,
            self._label,
            value,
            seconds,
            same,
            differs,
            environment,
            tuple(self._notes),
            lines,
        )

    def _tells_failed(self, failed: BaseException, worker: Neighbour | None) -> Sequence[str]:
        one = self._one
        told = describe(failed) if not isinstance(failed, ExecutionError) else None
        kind = told.type if told is not None else getattr(failed, "error_type", "")
        text = told.message if told is not None else getattr(failed, "error", "")
        if one.error is None:
            there = "there it succeeded" if one.outcome == "ok" else f"there it ended as {one.outcome}"
        elif (kind, text) == (one.error.type, one.error.message):
            there = "there it failed alike"
        else:
            there = f"there it failed with {one.failed_with}"
        head = f"This is a replay of attempt {one.number} of {one.step} (run {self.run.number}, {one.where}): {there}."
        lines = worker.told()[1] if worker is not None else []
        return [head, *(f"  {note}" for note in self._notes), *lines]


def _own(value: Any) -> Any:
    """A copy in which a step may write what it likes; of what has none, the thing itself."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001  locks and connections have none; a person's __deepcopy__ may do anything
        return own_copy(value)


def _tell_notebook(exc: BaseException) -> None:
    for tell in on_failed_replay:
        tell(exc)


def _waited(answer: "concurrent.futures.Future[Outcome]") -> Outcome:
    """Wait so that an interrupt is heard, which stops the step."""
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                return answer.result(0.1)
    except KeyboardInterrupt:
        answer.cancel()
        raise


def _repr(value: Any) -> str:
    try:
        return _short.repr(value)
    except Exception as exc:  # noqa: BLE001  the person's own __repr__ may do anything
        return f"a {type(value).__name__} whose repr raised {type(exc).__name__}"
