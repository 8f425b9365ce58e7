"""Which lines a chart without a script has: its steps, and above those of a nested workflow one for the whole. Pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cerebelum_nb.model.events import Group
from cerebelum_nb.model.view import Row

_LIVE = ("approval", "running", "submitted", "sleeping")


class Whole(NamedTuple):
    """A nested workflow as one (js/src/outline.ts says it alike)."""

    name: str
    short: str  # without the group around it
    status: str
    begin: float | None  # seconds; None where nothing has begun
    end: float | None  # None: not before now
    done: int
    total: int


class Line(NamedTuple):
    """A row, or the head of a group."""

    of: Row | Whole
    name: str
    depth: int


def lines(rows: Sequence[Row], groups: Sequence[Group], most: int) -> Iterator[Line]:
    """The first `most` rows in their order, each after the heads of the groups that begin with it."""
    order = sorted((g for g in groups if g.stop > g.first), key=lambda g: (g.first, -g.stop))
    around: list[Group] = []
    for row in rows[:most]:
        while around and around[-1].stop <= row.id:
            around.pop()
        while order and order[0].first <= row.id:
            group = order.pop(0)
            if group.stop > row.id:
                whole = summed(group, [r for r in rows if group.first <= r.id < group.stop], around)
                yield Line(whole, whole.short, len(around))
                around.append(group)
        yield Line(row, _short(row.step, around), len(around))


def summed(group: Group, rows: Sequence[Row], around: Sequence[Group] = ()) -> Whole:
    """A nested workflow as one.

    Args:
        rows: Its rows.
        around: The groups that it stands in.
    """
    states = {row.status for row in rows}
    steps = [row for row in rows if row.kind == "step"]
    done = sum(row.status in ("succeeded", "reused", "cached", "undone") for row in steps)
    # What a route passed by was never asked for; what a failure keeps from running was.
    hindered = bool(states & {"failed", "cancelled"})
    passed = 0 if hindered else sum(row.status == "skipped" for row in steps)
    segments = [s for row in rows for s in row.segments]
    begin = min((s.start for s in segments if s.start is not None), default=None)
    status = _status(states, begun=begin is not None, done=done)
    over = status not in ("running", "sleeping", "approval")
    end = max((s.end or 0.0 for s in segments), default=None) if over else None
    return Whole(group.name, _short(group.name, around), status, begin, end, done, len(steps) - passed)


def _status(states: set[str], *, begun: bool, done: int) -> str:
    live = next((s for s in _LIVE if s in states), "")
    if live:
        return "running" if live == "submitted" else live
    for bad in ("failed", "cancelled"):
        if bad in states:
            return bad
    if states & {"waiting", "ready"}:
        return "running" if begun else "waiting"
    if not done:
        return "skipped"
    return next(status for status in ("undone", "succeeded", "cached", "reused") if status in states)


def _short(name: str, around: Sequence[Group]) -> str:
    return name.removeprefix(f"{around[-1].name}/") if around else name
