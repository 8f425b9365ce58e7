"""Say yes or no to a step that waits on a Core that serves the SDK's protocol, which has no words for it."""

import json
from typing import Any, Final

import grpc

from cerebelum_nb.errors import ExecutorError

SERVICE: Final = "cerebelum_nb.Upstream"
METHOD: Final = "Decide"
_DEADLINE_S: Final = 10.0


def decide(  # noqa: PLR0913  what can be said
    url: str, execution: str, step: str, *, approved: bool, value: Any = None, reason: str = ""
) -> str:
    """Answer a step that waits; its name.

    Args:
        step: Which one; empty where only one waits.
        value: The step's output, as JSON can hold it.

    Raises:
        ExecutorError: Core is not there, nothing waits, or the value is nothing for JSON.
    """
    said = {"execution": execution, "step": step, "approved": approved, "value": value, "reason": reason}
    try:
        data = json.dumps(said, allow_nan=False).encode()
    except (ValueError, TypeError) as exc:
        raise ExecutorError(f"the value for step {step!r} cannot be sent as JSON: {exc}") from None
    with grpc.insecure_channel(url) as channel:
        try:
            answer: bytes = channel.unary_unary(f"/{SERVICE}/{METHOD}")(data, timeout=_DEADLINE_S)
        except grpc.RpcError as exc:
            refused = exc.code() in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT}
            said_why = exc.details() if refused else f"Core at {url} does not answer: {exc.details()}"
            raise ExecutorError(str(said_why)) from None
    return answer.decode()
