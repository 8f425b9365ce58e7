"""Say yes or no to a step that waits on a Core that serves the SDK's protocol, which has no words for it."""

import json
from typing import Any, Final

import grpc

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.model.pools import core_url
from cerebelum_nb.upstream.dialling import OPTIONS, PLAIN, told

SERVICE: Final = "cerebelum_nb.Upstream"
METHOD: Final = "Decide"
_DEADLINE_S: Final = 10.0


def decide(  # noqa: PLR0913  what can be said
    url: str, execution: str, step: str, *, approved: bool, value: Any = None, reason: str = ""
) -> str:
    """Answer a step that waits; its name.

    Args:
        url: ``host:port``.
        step: Which one; empty where only one waits.
        value: The step's output, as JSON can hold it.

    Raises:
        PlanError: The address is none.
        ExecutorError: Core is not there, nothing waits, or the value is nothing for JSON.
    """
    url = core_url(url, f"Core {url!r:.80}")
    said = {"execution": execution, "step": step, "approved": approved, "value": value, "reason": reason}
    try:
        data = json.dumps(said, allow_nan=False).encode()
    except (ValueError, TypeError) as exc:
        raise ExecutorError(f"the value for step {step!r} cannot be sent as JSON: {exc}") from None
    with grpc.insecure_channel(url.removeprefix(PLAIN), options=OPTIONS) as channel:
        try:
            answer: bytes = channel.unary_unary(f"/{SERVICE}/{METHOD}")(data, timeout=_DEADLINE_S)
        except grpc.RpcError as exc:
            if exc.code() in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT}:
                raise ExecutorError(str(exc.details())) from None
            raise told(url, exc) from None
    return answer.decode()
