"""What a run answers: its result, why it has none, and what a move would do."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from cerebelum_nb.errors import (
    CompensationFailed,
    ExecutionError,
    InvalidReturnValueError,
    Leftover,
    ResultLost,
    RunCancelled,
    StepExecutionError,
    StepTimeoutError,
)
from cerebelum_nb.model.state import CANCELLED, FAILED, SUCCEEDED, RunState
from cerebelum_nb.model.typed import listed
from cerebelum_nb.rules.undoing import WAS_CANCELLED, completions, in_order, is_on_request, left_in_doubt

_NONE: Final[Mapping[int, TracebackType | None]] = {}


@dataclass(frozen=True)
class ExecutionResult:
    """How a run ended well; the first six as in files written for the SDK.

    Attributes:
        status: ``completed``.
        output: The last step's result in its envelope: ``{"ok": value}``.
        started_at: ISO 8601, UTC, without a zone.
        outputs: Every step's result by step name.
        run: The run itself.
    """

    execution_id: str
    status: str
    output: Any
    error: str | None
    started_at: str
    completed_at: str
    outputs: dict[str, Any] = field(repr=False)
    run: Any = field(repr=False)


class Outputs(dict[str, Any]):
    """Results by step name, where some are not there any more: who asks for one of these is told why.

    Args:
        found: Those that are there.
        lost: Why the others are not, by step name, in one sentence.
    """

    def __init__(self, found: Mapping[str, Any], lost: Mapping[str, str]) -> None:
        super().__init__(found)
        self._lost = lost

    def __missing__(self, name: str) -> Any:
        if name in self._lost:
            raise ResultLost(self._lost[name])
        raise KeyError(name)

    def __repr__(self) -> str:
        shown = [f"{name!r}: {value!r}" for name, value in self.items()]
        return f"{{{', '.join([*shown, *(f'{name!r}: <{why}>' for name, why in self._lost.items())])}}}"


@dataclass(frozen=True)
class Preview:
    """What moving or re-running a step would do now.

    Attributes:
        runs: Steps that run, in timeline order.
        reuses: Steps whose results are kept.
        lost: What would be thrown away, as a sentence; empty for nothing.
        edited: Steps that run because their code changed since.
        code: The same in Python.
        why: Of each step that runs, why it does.
        seconds: What those that were timed took when they last ran, together; None where nothing is known.
        untimed: How many of them nobody has timed.
        refused: Why it is not done without ``force=True``, in one line; empty where it is.
    """

    step: str
    executor: str | None
    runs: tuple[str, ...]
    reuses: tuple[str, ...]
    lost: str
    edited: tuple[str, ...]
    code: str
    why: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    untimed: int = 0
    refused: str = ""


def why_not(  # noqa: PLR0913, PLR0917  all that an error tells
    state: RunState,
    called: str,
    tracebacks: Mapping[int, TracebackType | None] = _NONE,
    key: Callable[[str], str] = str,
    cause: ExecutionError | None = None,
    handle: str = "run",
) -> ExecutionError | None:
    """Why a run that has ended did not succeed; None for one that was to undo another, and did.

    Args:
        called: The run as people know it: ``run 3 of orders``.
        tracebacks: Frames of local steps that raised, by task.
        key: Gives a step's idempotency key.
        cause: Why that other run did not succeed.
        handle: The run as code calls it: ``runs[3]``.
    """
    why = cause if is_on_request(state) else _why_not(state, called, tracebacks)
    if state.status == "compensation_failed":
        left = leftovers(state, key)
        errors = [_step_failed(state, t, tracebacks) for t in in_order(state, state.compensating) if t in state.errors]
        attached = ExceptionGroup("what undoes its steps failed", errors) if errors else None
        failure = CompensationFailed(_told(called, left, handle), left, attached)
        failure.__cause__ = why
        _note_undone(failure, state)
        return failure
    if is_on_request(state):
        return None
    assert why is not None
    _note_undone(why, state)
    return why


def leftovers(state: RunState, key: Callable[[str], str]) -> tuple[Leftover, ...]:
    """What was to be undone and is not, as far as that is known by now.

    Args:
        key: Gives a step's idempotency key.
    """
    left = in_order(state, [t for t in state.compensating if state.phase[t] in (FAILED, CANCELLED)])
    names = [(state.names[state.undo[t]], state.errors.get(t), state.reasons.get(t, "")) for t in left]
    return tuple(
        Leftover(
            name,
            key(name),
            ": ".join(filter(None, (told.type, told.message))) if told else f"not tried: {reason or 'stopped'}",
        )
        for name, told, reason in names
    )


def undone(state: RunState) -> tuple[str, ...]:
    """Steps that have been undone, in that order."""
    ended = [task for task in state.compensating if state.undo[task] in state.undone]
    return tuple(state.names[state.undo[task]] for task in in_order(state, ended))


def _told(called: str, left: Sequence[Leftover], handle: str) -> str:
    count = "1 step" if len(left) == 1 else f"{len(left)} steps"
    lines = [f"{called}: what {count} did could not be undone, and somebody must; {handle}.compensate() tries again"]
    return "\n".join([*lines, *(f"  {step} (idempotency key {key}): {error}" for step, key, error in left)])


def _note_undone(failure: ExecutionError, state: RunState) -> None:
    if names := undone(state):
        failure.add_note(f"undone: {', '.join(names)}")
    for task in in_order(state, state.undone):
        if (count := completions(state, task)) > 1:
            failure.add_note(
                f"step {state.names[task]!r} completed {count} times, under one idempotency key: it was undone once, "
                f"with its last result; what the earlier {count - 1} did is undone only if that goes by the key"
            )
    for task in left_in_doubt(state):
        last, error = state.outcome_of(task), state.errors.get(task)
        how = "may have had its effect: " + _DOUBTS.get(last, "it was stopped while it ran")
        if last == "error":
            goes_on = error is not None and error.type == "StillRuns"
            how = "may have its effect yet: it still ran" if goes_on else "raised, perhaps after it had its effect"
        failure.add_note(f"step {state.names[task]!r} {how}. compensate_unknown=True undoes such attempts")


_DOUBTS: Final = {"lost": "its worker was lost", "timeout": "it took longer than it may"}


def _why_not(state: RunState, called: str, tracebacks: Mapping[int, TracebackType | None]) -> ExecutionError:
    steps = range(len(state.names) - len(state.undo))
    failed = [t for t in steps if state.phase[t] == FAILED]
    if failed and state.status != "cancelled" and state.why_undone != WAS_CANCELLED:
        return _step_failed(state, min(failed, key=lambda t: state.ended[t]), tracebacks)
    stopped = [t for t in steps if state.phase[t] == CANCELLED and state.attempt[t]]
    ran = [state.names[t] for t in stopped if state.started[t]]
    waited = [state.names[t] for t in stopped if not state.started[t]]  # no worker had begun it
    did = [f"{listed(names)} {what}" for names, what in ((ran, "ran"), (waited, "waited to run")) if names]
    text = f" while {' and '.join(did)}" if did else ""
    done = sum(state.phase[t] == SUCCEEDED for t in steps)
    return RunCancelled(f"{called} was cancelled{text}; {done} of {len(steps)} steps had finished")


def _step_failed(state: RunState, task: int, tracebacks: Mapping[int, TracebackType | None]) -> ExecutionError:
    name, told = state.names[task], state.errors.get(task)
    kind, text, trace = (told.type, told.message, told.traceback) if told else ("Error", "it did not say why", "")
    for marker, instead in _SDK_MARKERS.items():
        if marker in trace:
            text = instead
    failure = _CLASSES.get(kind, ExecutionError)(
        f"Step '{name}' returned error: {text or kind}",
        name,
        text,
        attempt=state.attempt[task],
        executor=state.places[task].label,
        error_type=kind,
        traceback=trace,
    )
    frames = tracebacks.get(task)
    if frames is not None:
        return failure.with_traceback(frames)  # a debugger finds the step's own frames
    if trace:
        failure.add_note(f"\nWhere it ran:\n{trace}")
    return failure


# The SDK raises its StepExecutionError for what is no ordinary exception, and never for anything else.
_CLASSES: Final[dict[str, type[ExecutionError]]] = {
    "SystemExit": StepExecutionError,
    "KeyboardInterrupt": StepExecutionError,
    "GeneratorExit": StepExecutionError,
    "CancelledError": StepExecutionError,
    "WorkerLost": StepExecutionError,
    "CoreLost": StepExecutionError,
    "PoisonStep": StepExecutionError,
    "StepTimeout": StepTimeoutError,
    "NoWorker": StepTimeoutError,
    "StillRuns": StepTimeoutError,
    "UnserializableResult": InvalidReturnValueError,
    "UnreadableResult": InvalidReturnValueError,
}

# What the SDK's own helpers raise to be stopped by its engine: nobody here goes on where they stood.
_SDK_MARKERS: Final = {
    "cerebelum.dsl.workflow_markers.SleepMarker": (
        "it calls the SDK's sleep by a way that cannot be followed here: in the step itself write "
        "`from cerebelum_nb import sleep`"
    ),
    "cerebelum.dsl.workflow_markers.ApprovalMarker": (
        "it calls the SDK's wait_for_approval by a way that cannot be followed here: in the step itself write "
        "`from cerebelum_nb import wait_for_approval`"
    ),
}


def iso(at: float) -> str:
    """UTC seconds as ISO 8601 without a zone, as in files written for the SDK."""
    return dt.datetime.fromtimestamp(at, dt.UTC).replace(tzinfo=None).isoformat()
