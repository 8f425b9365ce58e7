"""What a step calls when it takes long: `sleep`, `wait_for_approval`, `poll`, `retry`, and `ProgressReporter`.

They work the same here and on a worker. A step that sleeps or waits goes on where it stopped: what stands before is
not run again. It gives its place to others meanwhile. Times are milliseconds, as in files written for the SDK.
"""

import asyncio
import datetime as dt
import inspect
import math
from collections.abc import Callable
from typing import Any, Final

from cerebelum_nb.attempt import here
from cerebelum_nb.errors import CerebelumError, ExecutionError
from cerebelum_nb.model.events import PauseKind
from cerebelum_nb.protocols import Answer

LONGEST_MS: Final = 366 * 24 * 3600 * 1000.0  # a year: longer is a slip of the pen
Duration = float | dt.timedelta


class ApprovalTimeout(CerebelumError, TimeoutError):
    """Nobody answered in time."""


class ApprovalRejected(CerebelumError):
    """Somebody said no."""


class PollExhausted(CerebelumError, TimeoutError):
    """`poll` has used up its attempts or its time."""


def milliseconds(value: Any, name: str) -> float:
    """A duration as a number of milliseconds.

    Args:
        value: Milliseconds, or a `timedelta`.
        name: What an error calls it.

    Raises:
        ValueError: It is no duration, negative, or longer than a year.
    """
    if isinstance(value, dt.timedelta):
        value = value.total_seconds() * 1e3
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is a number of milliseconds or a timedelta, not {value!r:.60}")
    if not 0 <= value <= LONGEST_MS:
        raise ValueError(f"{name}={value:,.0f} ms: it must be 0 or more, and at most a year")
    return float(value)


async def sleep(duration_ms: Duration, data: Any = None) -> Any:
    """Do nothing for a while, holding no worker and no thread.

    Args:
        duration_ms: Milliseconds, or a `timedelta`; at most a year.
        data: What to give back.

    Raises:
        ValueError: No such duration.
    """
    seconds = milliseconds(duration_ms, "sleep's duration_ms") / 1e3
    await _pause("sleep", seconds, "")
    return data


async def wait_for_approval(approval_type: str = "manual", data: Any = None, timeout_ms: Duration | None = None) -> Any:
    """Wait until somebody says yes: in the chart, ``run.approve(step, value)``, or ``%cerebelum approve RUN STEP``.

    Args:
        approval_type: What is asked for, in a word or a sentence; shown to whoever decides.
        data: What the decision is about; shown too, never stored.
        timeout_ms: Give up after this long; None waits for ever.

    Returns:
        The value that came with the approval; True where none was given.

    Raises:
        ApprovalTimeout: Nobody answered in time.
        ApprovalRejected: Somebody said no; holds the reason.
        ExecutionError: Called outside a run: nobody could answer.
    """
    if not isinstance(approval_type, str):
        raise ValueError(f"wait_for_approval's approval_type is text, not {approval_type!r:.60}")  # noqa: TRY004  one kind of error for a bad argument
    seconds = None if timeout_ms is None else milliseconds(timeout_ms, "wait_for_approval's timeout_ms") / 1e3
    if here() is None:
        raise ExecutionError("wait_for_approval was called outside a run, where nobody can answer")
    answer = await _pause("approval", seconds, approval_type, data)
    if answer is None:
        raise ApprovalTimeout(f"nobody answered {approval_type!r} within {_told(seconds or 0)}")
    if not answer.approved:
        raise ApprovalRejected(f"{approval_type!r} was rejected" + (f": {answer.reason}" if answer.reason else ""))
    return answer.value


async def poll(  # noqa: PLR0913  as files written for the SDK call it
    check_fn: Callable[[], Any],
    *,
    interval: Duration = 5000,
    max_attempts: int = 30,
    timeout: Duration | None = None,  # noqa: ASYNC109  the SDK's name
    success_condition: Callable[[Any], Any] | None = None,
    on_attempt: Callable[[int, Any], Any] | None = None,
) -> Any:
    """Ask again and again until the answer is what is hoped for.

    Args:
        check_fn: Called each time, sync or async.
        interval: Milliseconds between two calls; the step sleeps meanwhile.
        max_attempts: How often at most.
        timeout: Milliseconds after which no further call is made; None for no such limit.
        success_condition: Whether an answer is good; without it, any true one is.
        on_attempt: Called with the attempt's number, from 1, and its answer.

    Returns:
        The good answer.

    Raises:
        PollExhausted: No answer was good; a `TimeoutError`.
    """
    pause = milliseconds(interval, "poll's interval")
    most = _times(max_attempts, "poll's max_attempts")
    now = asyncio.get_running_loop().time
    until = math.inf if timeout is None else now() + milliseconds(timeout, "poll's timeout") / 1e3
    for attempt in range(1, most + 1):
        answer = await _awaited(check_fn())
        if on_attempt is not None:
            await _awaited(on_attempt(attempt, answer))
        if await _awaited(success_condition(answer)) if success_condition is not None else answer:
            return answer
        if now() + pause / 1e3 > until:
            raise PollExhausted(f"poll gave up after {attempt} attempts: its timeout has passed")
        if attempt < most:
            await _pause("sleep", pause / 1e3, f"attempt {attempt} of {most}")
    raise PollExhausted(f"poll gave up after {most} attempts")


async def retry(  # noqa: PLR0913  as files written for the SDK call it
    fn: Callable[..., Any],
    *args: Any,
    max_attempts: int = 3,
    delay: Duration = 1000,
    backoff: float = 1.0,
    on_error: Callable[[Exception], Any] | None = None,
    on_attempt: Callable[[int, Exception | None], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Call something until it does not raise.

    Args:
        fn: Called with `args` and `kwargs`, sync or async.
        max_attempts: How often at most.
        delay: Milliseconds after the first failure; the step sleeps meanwhile.
        backoff: The delay grows by this factor each time.
        on_error: Called with each error.
        on_attempt: Called before each attempt with its number, from 1, and the error of the one before.

    Raises:
        Exception: What the last attempt raised, when all have.
    """
    pause = milliseconds(delay, "retry's delay")
    most = _times(max_attempts, "retry's max_attempts")
    if isinstance(backoff, bool) or not isinstance(backoff, int | float) or not 1 <= backoff <= 1000:
        raise ValueError(f"retry's backoff is a factor from 1 to 1000, not {backoff!r:.60}")
    last: Exception | None = None
    for attempt in range(1, most + 1):
        if on_attempt is not None:
            await _awaited(on_attempt(attempt, last))
        try:
            return await _awaited(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001  whatever it is, it is tried again
            last = exc
            if on_error is not None:
                await _awaited(on_error(exc))
        if attempt < most:
            await _pause("sleep", min(pause, LONGEST_MS) / 1e3, f"attempt {attempt} of {most} failed")
            pause *= backoff
    assert last is not None
    last.add_note(f"This is the last of {most} attempts that retry made.")
    raise last


class ProgressReporter:
    """Says how far a step is; shown in its bar.

    Args:
        context: The step's context; only its name is used, and only outside a run.
    """

    def __init__(self, context: Any = None) -> None:
        self.context = context

    def update(self, percent: float, message: str = "") -> None:
        """The step is so far.

        Args:
            percent: 0 to 100; what lies outside is taken as the nearest end.
            message: What it does now.
        """
        report_progress(percent / 100, message)


def report_progress(done: float, message: str = "") -> None:
    """Say how far the step is, 0 to 1. Does nothing outside a run."""
    if isinstance(done, bool) or not isinstance(done, int | float) or math.isnan(done):
        raise ValueError(f"progress is a number, not {done!r:.60}")
    attempt = here()
    if attempt is not None:
        attempt.progress(min(1.0, max(0.0, float(done))), str(message))


async def _pause(kind: PauseKind, seconds: float | None, text: str, asked: Any = None) -> Answer | None:
    attempt = here()
    if attempt is not None:
        return await attempt.pause(kind, seconds, text, asked)
    await asyncio.sleep(seconds or 0.0)
    return None


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _times(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is a number of times from 1, not {value!r:.60}")
    return value


def _told(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1e3:g} ms"
