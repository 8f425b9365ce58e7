"""What a worker of the SDK gets to run a step, and what its answer means.

The SDK calls a step with exactly what it is sent, so one key too many or too few fails it, and a blueprint does not
say which steps take ``inputs``. So `inputs` is sent first, as the SDK does where it knows; a step that fails to be
called for that reason, before any of its own code has run, is sent once more the other way.
"""

import re
import time
from typing import Any, Final

from cerebelum_nb.upstream import values
from cerebelum_nb.upstream.executions import Asked, Error, Execution
from cerebelum_nb.upstream.schema import Number, schema

SDK_TAKES_NBYTES: Final = 4 << 20  # its channel has gRPC's own limit
_TOO_MUCH: Final = re.compile(r"(\S+)\(\) got an unexpected keyword argument 'inputs'")
_TOO_LITTLE: Final = re.compile(r"(\S+)\(\) missing \d+ required (?:positional|keyword-only) arguments?: .*'inputs'")
_MAKES_MESSAGE: Final = "self._dict_to_struct(output)", "return TaskResult("  # lines of the SDK's worker
_IN_STEP: Final = "await step_function("
_SPOKEN: Final = {
    Number.TIMEOUT: ("timeout", "the worker says that the step took too long"),
    Number.CANCELLED: ("cancelled", "the worker says that the step was cancelled"),
}


def task(execution: Execution, number: int, task_id: str, *, with_inputs: bool) -> Any:
    """The Task message for a step whose dependencies have their outputs."""
    blueprint = execution.blueprint
    made = schema().Task(
        task_id=task_id,
        execution_id=execution.id,
        workflow_module=blueprint.name,
        step_name=blueprint.steps[number],
    )
    for needed in blueprint.depends_on[number]:
        values.put(made.step_inputs, needed, execution.steps[blueprint.steps.index(needed)].output)
    if with_inputs:
        made.step_inputs.fields["inputs"].struct_value.CopyFrom(execution.inputs)
    else:
        made.step_inputs.SetInParent()
    made.context.update({"execution_id": execution.id, "step_name": made.step_name})
    made.created_at.CopyFrom(values.timestamp(time.time()))
    return made


def too_large(made: Any) -> Error | None:
    """Why the SDK cannot take a task."""
    nbytes = made.ByteSize()
    if nbytes <= SDK_TAKES_NBYTES:
        return None
    return Error(
        "too_large",
        f"what step {made.step_name!r} gets is {nbytes / 2**20:.1f} MiB; workers of the SDK take at most "
        f"{SDK_TAKES_NBYTES >> 20} MiB. Hand over a file's path or a URL instead of its content.",
    )


def other_way(result: Any, step: str, *, had_inputs: bool) -> bool:
    """Whether a step could only not be called: it got `inputs` and does not take it, or the other way round."""
    pattern = _TOO_MUCH if had_inputs else _TOO_LITTLE
    if result.status == Number.SUCCESS and values.has(result.result, "error"):  # as the SDK's decorator tells it
        found = pattern.match(values.as_text(result.result.fields["error"]))
        return found is not None and found[1].rpartition(".")[2] == step
    if result.status != Number.FAILED or result.error.kind != "TypeError":
        return False
    return bool(pattern.match(result.error.message)) and result.error.stacktrace.count('  File "') <= 1


def outcome(result: Any, step: str) -> Any:
    """What a TaskResult means: an `Error`, an `Asked`, or the output."""
    match result.status:
        case Number.SUCCESS:
            return _output(result.result, step)
        case Number.SLEEP:
            asked = result.sleep_request
            return Asked("sleeping", "", asked.data, max(0, asked.duration_ms))
        case Number.APPROVAL:
            asked = result.approval_request
            return Asked("asking", asked.approval_type, asked.data, max(0, asked.timeout_ms))
        case Number.FAILED:
            error = result.error
            return Error(error.kind or "error", _plainly(error, step), error.stacktrace)
        case Number.TIMEOUT | Number.CANCELLED:
            kind, message = _SPOKEN[result.status]
            return Error(kind, result.error.message or message, result.error.stacktrace)
    return Error("bad_status", f"the worker says status {result.status} of step {step!r}, which means nothing")


def _plainly(error: Any, step: str) -> str:
    """A worker's words, and what they mean where the SDK could not send what a step returned."""
    trace = error.stacktrace
    if _IN_STEP in trace or not any(line in trace for line in _MAKES_MESSAGE):
        return str(error.message)
    return (
        f"what step {step!r} returned cannot be sent ({error.message}): return dicts with text as keys, lists, text, "
        "numbers, True, False and None, at most 30 of them in each other"
    )


def _output(output: Any, step: str) -> Any:
    if values.has(output, "error"):  # a step that says so has failed, as when it runs locally
        return Error("error", values.as_text(output.fields["error"]))
    if values.not_finite(output):
        text = f"step {step!r} returned NaN or infinity, which workers cannot read. Return None or a text instead."
        return Error("not_finite", text)
    return output
