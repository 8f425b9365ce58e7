"""What a run answers: its result, why it has none, and what a move would do."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from cerebelum_nb.errors import (
    ExecutionError,
    InvalidReturnValueError,
    RunCancelled,
    StepExecutionError,
    StepTimeoutError,
)
from cerebelum_nb.model.state import CANCELLED, FAILED, SUCCEEDED, RunState

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


@dataclass(frozen=True)
class Preview:
    """What moving or re-running a step would do now.

    Attributes:
        runs: Steps that run, in timeline order.
        reuses: Steps whose results are kept.
        lost: What would be thrown away, as a sentence; empty for nothing.
        edited: Steps that run because their code changed since.
        code: The same in Python.
    """

    step: str
    executor: str | None
    runs: tuple[str, ...]
    reuses: tuple[str, ...]
    lost: str
    edited: tuple[str, ...]
    code: str


def why_not(state: RunState, called: str, tracebacks: Mapping[int, TracebackType | None] = _NONE) -> ExecutionError:
    """Why a run that has ended did not succeed.

    Args:
        called: The run as people know it: ``run 3 of orders``.
        tracebacks: Frames of local steps that raised, by task.
    """
    failed = [t for t, phase in enumerate(state.phase) if phase == FAILED and t not in state.undo]
    if failed and state.status != "cancelled":
        return _step_failed(state, min(failed, key=lambda t: state.ended[t]), tracebacks)
    stopped = [state.names[t] for t, phase in enumerate(state.phase) if phase == CANCELLED and state.attempt[t]]
    text = f" while {', '.join(stopped)} ran" if stopped else ""
    return RunCancelled(
        f"{called} was cancelled{text}; {state.phase.count(SUCCEEDED)} of {len(state.phase)} steps had finished"
    )


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
    "StepTimeout": StepTimeoutError,
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
