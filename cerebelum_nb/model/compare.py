"""Two runs beside each other, step by step: where each ran, how long it took, and the difference. Pure.

A step's time is what a person waits for it: from when it was handed over to its end, over all attempts. That is what
moving it elsewhere changes; the time that it ran is told beside it. Only steps that succeeded in both runs have a
difference: a result that was taken over took no time, and what failed early was not faster.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from cerebelum_nb.model.lines import duration
from cerebelum_nb.model.view import Header, Row

ALIKE_S: Final = 0.001  # less than this between two times is no news,
ALIKE: Final = 0.02  # nor is less than this part of the longer one
TAKEN_OVER: Final = ("reused", "cached")
DONE: Final = ("succeeded", "undone")  # it had ended well before it was undone
_OVER: Final = (*DONE, "failed", "cancelled")
_MINUS: Final = "\N{MINUS SIGN}"
_NAMES_LIMIT: Final = 5


class Told(NamedTuple):
    """A run as it is compared, and what it is called."""

    name: str  # "run 3"; also what was only foreseen has one
    header: Header
    rows: Sequence[Row]


class Took(msgspec.Struct, frozen=True):
    """How one step fared in one run. Times are seconds."""

    status: str
    where: str
    remote: bool
    attempts: int
    run_s: float | None  # all attempts together; None: nothing of it has ended, or its result was taken over
    queue_s: float | None  # that it waited for a worker
    transfer_s: float | None  # that it and its result were on their way
    note: str = ""  # why it was skipped or reused, which way a decision took

    @property
    def seconds(self) -> float | None:
        """From when it was handed over to its end, all attempts together."""
        if self.run_s is None or self.queue_s is None or self.transfer_s is None:
            return None
        return self.run_s + self.queue_s + self.transfer_s

    def __str__(self) -> str:
        """As a cell of a table: ``distributed 310 ms + 40 ms queued``."""
        if self.run_s is None:
            return self.status
        beside = ((self.queue_s or 0.0, "queued"), (self.transfer_s or 0.0, "on the way"))
        parts = [
            *([] if self.status == "succeeded" else [f"{self.status},"]),
            f"{self.where} {_time(self.run_s)}",
            *(f"+ {_time(seconds)} {what}" for seconds, what in beside if seconds >= ALIKE_S),
            *([f"({self.attempts} attempts)"] if self.attempts > 1 else []),
        ]
        return " ".join(parts)


class Pair(msgspec.Struct, frozen=True):
    """One step in both runs; None where a run does not have it."""

    step: str
    kind: str  # step, decision, undo
    this: Took | None
    other: Took | None

    @property
    def difference_s(self) -> float | None:
        """How much longer it took in this run than in the other; None where it did not succeed in both."""
        return difference(self.this, self.other)


class Whole(msgspec.Struct, frozen=True):
    """One of the two runs."""

    name: str
    run: str
    workflow: str
    status: str
    seconds: float


class Comparison(msgspec.Struct, frozen=True):
    """A run beside another one. Show it, or read its fields.

    Attributes:
        this: The run that is looked at.
        other: The one that it is compared with; differences are what this one took more.
        steps: Those of this run in its order, then those that only the other has.
    """

    this: Whole
    other: Whole
    steps: tuple[Pair, ...]

    def __getitem__(self, step: str) -> Pair:
        """One step.

        Raises:
            KeyError: Neither run has it.
        """
        for pair in self.steps:
            if pair.step == step:
                return pair
        raise KeyError(step)

    @property
    def difference_s(self) -> float | None:
        """How much longer this run took; None while one of them runs."""
        if "running" in (self.this.status, self.other.status):
            return None
        return self.this.seconds - self.other.seconds

    @property
    def only_this(self) -> tuple[str, ...]:
        """Steps that the other run does not have."""
        return tuple(pair.step for pair in self.steps if pair.other is None)

    @property
    def only_other(self) -> tuple[str, ...]:
        """Steps that this run does not have."""
        return tuple(pair.step for pair in self.steps if pair.this is None)

    @property
    def caution(self) -> str:
        """Why the whole times are not those of the same work, as words; empty where they are."""
        return "; ".join(_cautions(self))

    def __str__(self) -> str:
        """Both runs as a table of text."""
        head = ("step", self.other.name, self.this.name, "difference")
        rows = [head, *(_cells(pair, "-") for pair in _shown(self.steps))]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
            for row in rows
        ]
        note = [f"Note: {self.caution}."] if self.caution else []
        return "\n".join([_title(self, "-"), *note, "", *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same for a notebook. All that comes from people's names is escaped."""
        cell = "text-align:left;padding:2px 14px 2px 0"
        number = "text-align:right;padding:2px 0;font-variant-numeric:tabular-nums;white-space:nowrap"

        def line(tag: str, cells: Sequence[str]) -> str:
            *words, last = (html.escape(text) for text in cells)
            made = [f'<{tag} style="{cell}">{text}</{tag}>' for text in words]
            return f'<tr>{"".join(made)}<{tag} style="{number}">{last}</{tag}></tr>'

        body = "".join(line("td", _cells(pair, _MINUS)) for pair in _shown(self.steps))
        head = line("th", ("step", self.other.name, self.this.name, "difference"))
        note = f"<div>{html.escape(self.caution)}</div>" if self.caution else ""
        return (
            f'<div class="cerebelum-compare"><div><b>{html.escape(_title(self, _MINUS))}</b></div>{note}'
            f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
        )


def compare(this: Told, other: Told) -> Comparison:
    """A run beside another one, their steps paired by name."""
    before = {row.step: row for row in other.rows}
    mine = [Pair(row.step, row.kind, took(row), _took(before.get(row.step))) for row in this.rows]
    known = {row.step for row in this.rows}
    gone = [Pair(row.step, row.kind, None, took(row)) for row in other.rows if row.step not in known]
    return Comparison(_whole(this), _whole(other), (*mine, *gone))


def took(row: Row) -> Took:
    """How long a step took in the run that a row is of."""
    run_s = queue_s = transfer_s = None
    ended = [s for s in row.segments if s.end is not None]
    if ended and len(ended) == len(row.segments) and row.status in _OVER:
        whole = sum((s.end or 0.0) - s.queued for s in ended)
        run_s = sum((s.end or 0.0) - s.fetch - s.start for s in ended if s.start is not None)
        transfer_s = sum(s.send + s.fetch for s in ended)
        queue_s = max(0.0, whole - run_s - transfer_s)
    return Took(row.status, row.where, row.remote, row.attempt, run_s, queue_s, transfer_s, row.note)


def difference(this: Took | None, other: Took | None) -> float | None:
    """Seconds that a step took longer; None where it did not succeed in both."""
    both = comparable_s(this), comparable_s(other)
    return None if both[0] is None or both[1] is None else both[0] - both[1]


def comparable_s(took: Took | None) -> float | None:
    """The seconds of a step that succeeded."""
    return took.seconds if took is not None and took.status in DONE else None


def are_alike(this_s: float, other_s: float) -> bool:
    """Two times that differ by no more than two runs of the same thing do."""
    return abs(this_s - other_s) < max(ALIKE_S, ALIKE * max(this_s, other_s))


def signed(this_s: float, other_s: float, minus: str = "-") -> str:
    """A difference in figures: ``-120 ms``, ``+40 ms``, or ``same``."""
    if are_alike(this_s, other_s):
        return "same"
    return f"{minus if this_s < other_s else '+'}{_time(abs(this_s - other_s))}"


def _took(row: Row | None) -> Took | None:
    return None if row is None else took(row)


def _whole(told: Told) -> Whole:
    header = told.header
    return Whole(told.name, header.run, header.workflow, header.status, header.now)


def _shown(steps: Iterable[Pair]) -> list[Pair]:
    """Without decisions that were taken alike: they take no time."""
    return [pair for pair in steps if pair.kind != "decision" or _way(pair.this) != _way(pair.other)]


def _way(took: Took | None) -> str:
    return "not in it" if took is None else took.note or took.status


def _cells(pair: Pair, minus: str) -> tuple[str, str, str, str]:
    this, other = pair.this, pair.other
    if pair.kind == "decision":
        return pair.step, _way(other), _way(this), "another way"
    now, before = comparable_s(this), comparable_s(other)
    told = "" if now is None or before is None else signed(now, before, minus)
    return pair.step, "not in it" if other is None else str(other), "not in it" if this is None else str(this), told


def _title(made: Comparison, minus: str) -> str:
    this, other = made.this, made.other
    names = f"{this.name} of {this.workflow} beside {other.name}"
    if made.difference_s is None:
        live = this if this.status == "running" else other
        return f"{names}: {live.name} still runs"
    part = "" if are_alike(this.seconds, other.seconds) else _percent(this.seconds, other.seconds, minus)
    times = f"{_time(this.seconds)} against {_time(other.seconds)}"
    return f"{names}: {times}, {signed(this.seconds, other.seconds, minus)}{part}"


def _percent(this_s: float, other_s: float, minus: str) -> str:
    if other_s < ALIKE_S or this_s > 10 * other_s:
        return ""
    change = round(100 * (this_s - other_s) / other_s)
    return f" ({minus if change < 0 else '+'}{abs(change)} %)"


def _cautions(made: Comparison) -> Iterable[str]:
    this, other = made.this, made.other
    if this.workflow != other.workflow:
        yield f"{other.name} is of {other.workflow}"
    for whole in (other, this):
        if whole.status not in ("succeeded", "running"):
            yield f"{whole.name} {_ENDS.get(whole.status, f'is {whole.status}')}"
    sides: Mapping[str, list[Took | None]] = {
        other.name: [pair.other for pair in made.steps if pair.kind == "step"],
        this.name: [pair.this for pair in made.steps if pair.kind == "step"],
    }
    for name, side in sides.items():
        count = sum(took is not None and took.status in TAKEN_OVER for took in side)
        if count:
            yield f"{name} reuses {_steps(count)}"
    for name, steps in ((other.name, made.only_other), (this.name, made.only_this)):
        if steps:
            more = f" and {len(steps) - _NAMES_LIMIT} more" if len(steps) > _NAMES_LIMIT else ""
            yield f"only in {name}: {', '.join(steps[:_NAMES_LIMIT])}{more}"


_ENDS: Final = {
    "failed": "failed",
    "cancelled": "was cancelled",
    "compensated": "was undone",
    "compensation_failed": "was not undone completely",
    "interrupted": "was cut off",
}


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _time(seconds: float) -> str:
    return duration(seconds * 1e3, " ")
