"""Whether a failed attempt is followed by another, and when. Pure but for the die that is thrown for the pause."""

import random
from typing import Final

from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.model.options import StepOptions
from cerebelum_nb.protocols import Outcome

IDEMPOTENT_AGAIN: Final = 2  # further tries of a step whose worker was lost and that says running twice does no harm
# What another try cannot change. A person who names one of the first line in `retry_on` means it.
_HOPELESS: Final = frozenset(
    {
        *("TypeError", "NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError"),
        *("IndentationError", "NotImplementedError", "SystemExit", "ApprovalRejected"),
    }
)
_NEVER: Final = frozenset(
    {
        *("UnserializableResult", "UnreadableResult", "ResultLost", "CaptureError", "PayloadRejected", "WireError"),
        "NoRoom",
        *("NoRoute", "LoopLimit", "PoisonStep", "StillRuns"),
    }
)


def pause_s(options: StepOptions, tried: int, outcome: Outcome) -> float | None:
    """Seconds until the next attempt; None where there is none.

    Args:
        tried: How often the task was tried again before.
    """
    if outcome.kind == "cancelled":
        return None
    if tried >= _most(options, outcome) or not _may_pass(options, outcome.error):
        return None
    wait = min(options.backoff.longest_s, options.backoff.first_s * options.backoff.factor**tried)
    return random.uniform(0.0, wait)  # noqa: S311  full jitter: those who failed together must not come back together


def _most(options: StepOptions, outcome: Outcome) -> int:
    if outcome.kind == "lost" and options.idempotent:
        return max(options.retries, IDEMPOTENT_AGAIN)
    return options.retries


def _may_pass(options: StepOptions, error: ErrorInfo | None) -> bool:
    if error is None:
        return True
    if error.type in _NEVER:
        return False
    if options.retry_on:
        wanted = {f"{kind.__module__}.{kind.__qualname__}" for kind in options.retry_on}
        return not wanted.isdisjoint(error.kinds)
    return error.type not in _HOPELESS
