"""What a chart without a script says beside its bars. Pure."""

import math
import reprlib
from typing import Any, Final

from cerebelum_nb.model.lines import duration, time_left
from cerebelum_nb.model.view import Row
from cerebelum_nb.notebook.outline import Whole
from cerebelum_nb.notebook.palette import is_pool, paint

NO_LIMIT: Final = 500
_MOST_TOLD: Final = 4000  # characters of what a question is about
_MOST_DOING: Final = 34  # characters of what a step says, beside its bar
_OUTCOMES: Final = {"error": "failed", "timeout": "timed out", "lost": "worker lost"}


def words(row: Row, now: float, most: int = _MOST_DOING) -> tuple[list[str], list[str]]:
    """What stands beside a bar: what must be said, and what may be added where there is room.

    Args:
        most: Characters of what the step itself says.
    """
    last = row.segments[-1] if row.segments else None
    if row.status in ("waiting", "ready", "skipped"):
        return ([] if row.status == "waiting" else [row.status]), []
    if row.kind == "decision" and row.status == "succeeded":
        return [row.note or "decided"], []
    said = [f"attempt {row.attempt}"] if row.attempt > 1 else []
    doing = row.doing if len(row.doing) <= most else f"{row.doing[: most - 1]}…"
    if row.status in ("sleeping", "approval"):
        return _pause(row, now, said, doing)
    if row.status == "running" and (row.progress is not None or doing):
        said += [] if row.progress is None else [f"{math.floor(100 * row.progress)} %"]
        said += [doing] if doing else []
    elif row.status == "failed" and last is not None and last.outcome != "running":
        said.append(_OUTCOMES.get(last.outcome, last.outcome))
    elif row.status != "succeeded":
        said.append("queued" if row.status == "submitted" else row.status)
    if row.ms is not None:
        said.append(lasted(row.ms))
    elif last is not None:
        begun = last.queued if last.start is None else last.start
        said.append(lasted(max(0.0, (now if last.end is None else last.end) - begun) * 1e3))
    extra = [row.where] if is_pool(paint(row)) else []
    if row.worker and row.status in ("running", "succeeded"):
        extra.append(f"worker {row.worker}" if row.worker.isdigit() else row.worker)
    return said, extra


def _pause(row: Row, now: float, words: list[str], doing: str) -> tuple[list[str], list[str]]:
    left = "" if row.until is None else time_left(row.until - now)
    if row.status == "sleeping":
        return [*words, f"sleeps {left} more" if left else "sleeps", *([doing] if doing else [])], []
    asks = f"waits for approval: {doing}" if doing else "waits for approval"
    return [*words, asks], [f"{left} left"] if left else []


def words_of_whole(whole: Whole, now: float) -> list[str]:
    """What stands beside the line of a nested workflow."""
    status = {"succeeded": "", "waiting": "", "approval": "waits for approval"}.get(whole.status, whole.status)
    words = [status] if status else []
    if whole.status != "skipped":
        words.append(f"{whole.done} of {whole.total} steps")
    if whole.begin is not None:
        words.append(lasted(((now if whole.end is None else whole.end) - whole.begin) * 1e3))
    return words


def lasted(ms: float) -> str:
    """A duration, with a space before its unit; what took some time never took none."""
    return "<0.1 ms" if 0 < ms < 0.05 else duration(ms, " ")


def told(data: Any) -> str:
    """What a question is about as bounded plain text: a line for each entry of a dict, else a repr; "" for None."""
    if data is None:
        return ""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 4, 1000, 2000, 200
    short.maxdict = short.maxlist = short.maxtuple = short.maxset = short.maxfrozenset = 30
    if isinstance(data, dict) and data and all(isinstance(key, str) for key in data):
        lines = [f"{key}: {short.repr(value)}" for key, value in list(data.items())[:30]]
        text = "\n".join([*lines, "…"] if len(data) > 30 else lines)
    else:
        text = short.repr(data)
    return text if len(text) <= _MOST_TOLD else f"{text[: _MOST_TOLD - 1]}…"
