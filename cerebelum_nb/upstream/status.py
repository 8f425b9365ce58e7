"""An execution as the SDK's `ExecutionClient` reads it."""

import time
from typing import Any, Final

from cerebelum_nb.upstream import values
from cerebelum_nb.upstream.executions import Error, Execution, Pause, StepRun
from cerebelum_nb.upstream.schema import Number, schema

ROOM_NBYTES: Final = 3 << 20  # of values in one answer: the SDK takes no message above 4 MiB
STATES: Final = {
    "running": Number.RUNNING,
    "completed": Number.COMPLETED,
    "failed": Number.FAILED_EXECUTION,
    "sleeping": Number.SLEEPING,
    "asking": Number.WAITING,
}


class _Room:
    """What fits into an answer; of the rest its size is told."""

    def __init__(self, nbytes: int) -> None:
        self._left = nbytes

    def fit(self, value: Any) -> Any:
        nbytes = value.ByteSize()
        if nbytes > self._left:
            small = schema().Struct()
            small.update({"left_out": f"{nbytes} bytes, too much for this answer, of which clients take 4 MiB"})
            return small
        self._left -= nbytes
        return value

    def fit_once_more(self, value: Any) -> Any:
        """The same value at another place; None where there is no room for that."""
        nbytes = value.ByteSize()
        if nbytes > self._left:
            return None
        self._left -= nbytes
        return value


def report(execution: Execution, room: int = ROOM_NBYTES) -> Any:
    """The ExecutionStatus message.

    Args:
        room: Bytes that inputs and outputs may take. Outputs are told in two ways, the second where there is room.
    """
    names, fits = execution.blueprint.steps, _Room(room)
    said = schema().ExecutionStatus(
        execution_id=execution.id,
        workflow_name=execution.blueprint.name,
        status=STATES[execution.state],
        started_at=values.timestamp(execution.began),
        current_step_index=execution.completed,
        total_steps=len(names),
        current_step_name=execution.current(),
        inputs=fits.fit(execution.inputs),
    )
    if execution.ended is not None:
        said.completed_at.CopyFrom(values.timestamp(execution.ended))
    if execution.error is not None:
        said.error.CopyFrom(_error(execution.error))
    for name, step in zip(names, execution.steps, strict=True):
        if step.phase == "completed":
            said.step_outputs[name].CopyFrom(fits.fit(step.output))
    for number, (name, step) in enumerate(zip(names, execution.steps, strict=True)):
        if step.began is not None:
            output = fits.fit_once_more(said.step_outputs[name]) if step.phase == "completed" else None
            said.completed_steps.append(_step(number, name, step, output))
    for step in execution.steps:
        _tell_pause(said, step)
    return said


def _step(number: int, name: str, step: StepRun, output: Any) -> Any:
    assert step.began is not None
    ended = step.ended if step.phase in {"completed", "failed"} else None
    told = {"asking": "waiting_for_approval", "queued": "running", "waiting": "running"}.get(step.phase, step.phase)
    said = schema().StepStatus(
        step_name=name,
        step_index=number,
        status=told,
        started_at=values.timestamp(step.began),
        duration_seconds=int((ended or time.time()) - step.began),
    )
    if ended is not None:
        said.completed_at.CopyFrom(values.timestamp(ended))
    if output is not None:
        said.output.CopyFrom(output)
    if step.error is not None:
        said.error.CopyFrom(_error(step.error))
    return said


def _error(error: Error) -> Any:
    return schema().ErrorInfo(kind=error.kind, message=error.message, stacktrace=error.stacktrace)


def _tell_pause(said: Any, step: StepRun) -> None:
    pause = step.pause
    if pause is None:
        return
    if step.phase == "sleeping" and not said.HasField("sleep_info"):
        info = said.sleep_info
        info.duration_ms, info.remaining_ms = pause.ms, _left_ms(pause)
        info.sleep_started_at.CopyFrom(values.timestamp(pause.since))
        info.data.CopyFrom(pause.data)
    elif step.phase == "asking" and not said.HasField("approval_info"):
        asked = said.approval_info
        asked.approval_type, asked.timeout_ms, asked.remaining_timeout_ms = pause.what, pause.ms, _left_ms(pause)
        asked.requested_at.CopyFrom(values.timestamp(pause.since))
        asked.data.CopyFrom(pause.data)


def _left_ms(pause: Pause) -> int:
    return max(0, pause.ms - int(1000 * (time.time() - pause.since))) if pause.ms else 0
