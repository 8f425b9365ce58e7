"""The envelopes that steps written for the SDK may return: ``{"ok": value}`` and ``{"error": text}``. Pure.

Any dict with one of these keys counts there. Here a dict with an "error" that is None, or a number among other keys,
is plain data: an error rate is no failure.
"""

from typing import Any

from cerebelum_nb.model.events import ErrorInfo


def opened(value: dict[str, Any]) -> tuple[Any, ErrorInfo | None]:
    """What other steps see of a result that may be an envelope, and how the step failed, if its result says so."""
    error = value.get("error")
    if error is not None and (len(value) == 1 or isinstance(error, str)):
        return None, ErrorInfo("StepError", str(error))
    return value.get("ok", value), None
