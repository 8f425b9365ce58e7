"""A run as lines of text, the one way everywhere: ``✓ check_inventory [DISTRIBUTED] 203ms``. Pure.

The command line prints them while a run goes on; the specification shows them under "CLI Telemetry".
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from cerebelum_nb.model.events import PROCESSES
from cerebelum_nb.model.view import Header, Row

STEP_LINE: Final = re.compile(r" *(?P<step>\S.*) \[(?P<where>[A-Z0-9_-]+)\] (?P<rest>\S.*)")
"""A line about one step in the text of a chart."""

LINE_LIMIT: Final = 1 << 16  # characters of a line without an end that are waited for
_ERROR_LIMIT: Final = 160  # characters of an error beside its step; the whole is told at the end


class Marks(NamedTuple):
    """What stands before a step's line."""

    ok: str = "✓"
    failed: str = "✗"
    running: str = "⏳"
    skipped: str = "-"
    reused: str = "↺"
    paused: str = "⏸"
    decided: str = "◇"
    undone: str = "↶"
    dots: str = "…"


ASCII: Final = Marks("+", "x", "~", "-", "=", "|", "?", "<", "...")
"""For terminals that cannot show the others."""


def marks_for(encoding: str | None) -> Marks:
    """The marks that an encoding can show."""
    marks = Marks()
    try:
        "".join(marks).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return marks


def title(workflow: str) -> str:
    """The first line of a run."""
    return f"Executing workflow: {workflow}"


def began(row: Row, marks: Marks) -> str:
    """A step that runs, or waits for a worker."""
    return f"  {marks.running} {_name(row)} ..."


def ended(row: Row, marks: Marks, error: str = "") -> str:
    """A step that will not run any more in this run.

    Args:
        error: Why it failed; its first line is shown.
    """
    if row.kind == "decision" and row.status == "succeeded":
        return decided(row.step, row.note, marks)
    time = "" if row.ms is None else f" {duration(row.ms)}"
    note = f": {row.note}" if row.note else ""
    if row.status in ("succeeded", "undone"):  # it had ended well before it was undone
        tries = f", attempt {row.attempt}" if row.attempt > 1 else ""
        missed = f", {row.cache}" if row.cache else ""
        mark = marks.undone if row.kind == "undo" else marks.ok
        return f"  {mark} {_name(row)}{time}{tries}{missed}"
    if row.status == "cached":
        return f"  {marks.reused} {_name(row)} {row.cache}"
    if row.status == "reused":
        return f"  {marks.reused} {_name(row)} reused"
    if row.status == "failed":
        return f"  {marks.failed} {_name(row)}{time} {_first_line(error, marks) or 'failed'}"
    return f"  {marks.skipped} {_name(row)} {row.status}{note}"


def undoes(why: str) -> str:
    """What a run did is undone from here on."""
    return f"Undoing ({why}):"


def decided(step: str, note: str, marks: Marks, back_to: str = "") -> str:
    """A decision that was made.

    Args:
        note: Which way it took.
        back_to: The step that it goes back to; empty where it goes on.
    """
    return f"  {marks.decided} {step} {note or 'decided'}{f', back to {back_to}' if back_to else ''}"


def sleeps(row: Row, seconds: float | None, marks: Marks, doing: str = "") -> str:
    """A step that goes on by itself later."""
    how_long = "" if seconds is None else f" {time_left(seconds)}"
    return f"  {marks.paused} {_name(row)} sleeps{how_long}{f': {doing}' if doing else ''}"


def again(row: Row, text: str, seconds: float, marks: Marks) -> str:
    """A step that failed and is tried again.

    Args:
        text: Which attempt comes next, and why: ``attempt 2 of 4 after OSError``.
        seconds: Until then.
    """
    when = f" in {time_left(seconds)}" if seconds >= 1 else ""
    return f"  {marks.failed} {_name(row)} tries again{when}: {text}"


def asks(row: Row, doing: str, answer: str, marks: Marks) -> str:
    """A step that waits for somebody's answer.

    Args:
        doing: What it waits for.
        answer: What to type to say yes.
    """
    what = f": {_first_line(doing, marks)}" if doing else ""
    return f"  {marks.paused} {_name(row)} waits for approval{what} - {answer}"


class Prints:
    """What steps print, in whole lines with the step's name before each, though it comes in pieces."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], str] = {}  # by step and stream: a line that has no end yet

    def take(self, step: str, stream: str, text: str) -> str:
        """The lines that are whole with this piece."""
        lines = (self._begun.pop((step, stream), "") + text).splitlines(keepends=True)
        if lines and lines[-1].splitlines()[0] == lines[-1] and len(lines[-1]) < LINE_LIMIT:
            self._begun[step, stream] = lines.pop()
        return "".join(f"{step} | {line.splitlines()[0]}\n" for line in lines)

    def begun(self) -> set[str]:
        """Steps that have printed the beginning of a line."""
        return {step for step, _ in self._begun}

    def end(self, step: str) -> list[tuple[str, str]]:
        """A step has ended: by stream, what it has printed of a last line."""
        ended = [key for key in self._begun if key[0] == step]
        return [(stream, f"{step} | {self._begun.pop((step, stream))}\n") for _, stream in ended]


def summary(header: Header, rows: Sequence[Row]) -> list[str]:
    """The last lines: total time, and what ran here and on workers with its share of the steps' own time."""
    ran = [row for row in rows if row.attempt and row.status not in ("reused", "cached")]
    both = header.local_ms + header.remote_ms
    lines = ["Summary:", f"  Total: {duration(header.now * 1e3)}"]
    for label, remote, spent in (("Local", False, header.local_ms), ("Distributed", True, header.remote_ms)):
        count = sum((row.remote and row.where != PROCESSES) is remote for row in ran)
        share = 100 * spent / both if both else 0.0
        lines.append(f"  {label} steps: {count} ({duration(spent)}, {share:.1f}%)")
    if header.cost:
        lines.append(f"  Cost: {cost(header.cost)}, by the prices of the pools")
    for status in ("failed", "cancelled", "skipped", "reused", "cached", "undone"):
        names = [row.step for row in rows if row.status == status]
        if names:
            more = f", and {len(names) - 5:,} more" if len(names) > 5 else ""
            lines.append(f"  {status.capitalize()}: {', '.join(names[:5])}{more}")
    return lines


def cost(amount: float) -> str:
    """What a run cost, in the money of its prices: "12.30", "0.012"; "<0.0001" for next to nothing."""
    if amount < 0.0001:
        return "<0.0001"
    return f"{amount:.2f}" if amount >= 0.995 else f"{float(f'{amount:.2g}'):f}".rstrip("0")


def duration(ms: float, gap: str = "") -> str:
    """A duration as the specification writes it: "0.4ms", "203ms", "1.24s", "2min 5s", "1h 4min".

    Args:
        gap: What stands between number and unit.
    """
    if ms < 0.95:
        return f"{ms:.1f}{gap}ms" if ms >= 0.05 else f"0{gap}ms"
    if ms < 999.5:
        return f"{math.floor(ms + 0.5)}{gap}ms"
    if ms < 59_950:
        return f"{ms / 1e3:.2f}{gap}s" if ms < 9995 else f"{ms / 1e3:.1f}{gap}s"
    seconds = math.floor(ms / 1e3 + 0.5)
    if seconds < 3600:
        return f"{seconds // 60}{gap}min {seconds % 60}{gap}s"
    minutes = math.floor(seconds / 60 + 0.5)
    return f"{minutes // 60}{gap}h {minutes % 60}{gap}min"


def time_left(seconds: float) -> str:
    """A time to come in whole seconds: "1 s", "12 s", "5 min", "2 min 5 s", "1 h 4 min"."""
    whole = max(1, math.ceil(seconds))
    return f"{whole} s" if whole < 60 else duration(whole * 1e3, " ").removesuffix(" 0 s")


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table: columns as wide as they need, under a head."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _name(row: Row) -> str:
    return f"{row.step} [{row.where.upper()}]"


def _first_line(text: str, marks: Marks) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= _ERROR_LIMIT else line[:_ERROR_LIMIT] + marks.dots
