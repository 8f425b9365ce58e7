"""The chart where no script runs: a picture and a text of a run, for saved notebooks and files.

Pure: rows in, text out. It looks like the widget (js/src/layout.ts), on a white card of its own, so that it can be
read in a dark notebook too. Everything a person named is escaped; nothing a step made is in here at all.
"""

import base64
import datetime as dt
import html as markup
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cerebelum_nb.model.events import PROCESSES
from cerebelum_nb.model.lines import cost
from cerebelum_nb.model.view import Header, Row, Segment
from cerebelum_nb.notebook.outline import Line, Whole, lines
from cerebelum_nb.notebook.palette import COLOURS, colour, fill, paint, patterns
from cerebelum_nb.notebook.wording import NO_LIMIT, lasted, words, words_of_whole

MOST_ROWS: Final = 60
"""Steps drawn or told one by one; the others are counted."""

_WIDTH, _MARGIN, _TOP = 880.0, 16.0, 100.0  # px; the chart's rows begin below `_TOP`
_LABEL_CHAR, _NAME_CHAR = 6.2, 7.0  # px of an average character
_STATUS_COLOURS: Final = {
    "succeeded": COLOURS["local"],
    "failed": COLOURS["bad"],
    "running": "#2f8fd0",
    "cancelled": COLOURS["grey"],
    "compensated": COLOURS["undo"],
    "compensation_failed": COLOURS["bad"],
}
_STATUS_WORDS: Final = {"compensated": "undone", "compensation_failed": "not fully undone"}
_INDENT: Final = 16.0  # px for each group around a line
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_FONT: Final = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


def svg(header: Header, rows: Sequence[Row], most: int = MOST_ROWS) -> str:
    """A standalone picture of a run: title, legend, time axis, a bar for every attempt with its label.

    Args:
        most: Steps that are drawn; the others are counted.
    """
    shown = list(lines(rows, header.groups, most))
    pitch, slim = (30, 24) if len(shown) <= 12 else (24, 20)
    more = f"… and {len(rows) - most:,} more steps" if len(rows) > most else ""
    heights = [slim if isinstance(line.of, Row) and line.of.kind == "decision" else pitch for line in shown]
    tops = [_TOP, *itertools.accumulate(heights, initial=_TOP)][1:]
    bottom = tops[-1]
    height = bottom + (34 if more else 14)
    axis = _axis(header, shown)
    known = {r.id: r for r in rows}
    size = f'width="{_n(_WIDTH)}" height="{_n(height)}" viewBox="0 0 {_n(_WIDTH)} {_n(height)}"'
    card = f'width="{_n(_WIDTH - 1)}" height="{_n(height - 1)}" rx="8" fill="#fff" stroke="#d8dde3"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}" font-size="12.5" fill="#1f2328">',
        f"<title>{_text(header.workflow)}, run {header.number}, {_text(_ended(header))}</title>",
        patterns(_paints(rows)),
        f'<rect x="0.5" y="0.5" {card}/>',
        _title(header),
        _legend(header, rows),
        _grid(axis, bottom),
    ]
    for line, top, tall in zip(shown, tops, heights, strict=False):
        parts.append(_line(axis, line, top + tall / 2, header.now, known))
    if more:
        parts.append(_label(_MARGIN, bottom + 18, more))
    return "".join(parts) + "</svg>"


def alt(header: Header, rows: Sequence[Row]) -> str:
    """The run in plain text: a line for each step, then the whole."""
    told = [_told(line, header.now) for line in lines(rows, header.groups, MOST_ROWS)]
    if len(rows) > MOST_ROWS:
        told.append(f"… and {len(rows) - MOST_ROWS:,} more steps")
    total = f"{'So far' if header.status == 'running' else 'Total'} {lasted(header.now * 1e3)}"
    return "\n".join([*told, ", ".join([total, *_shares(header, rows), _ended(header)])])


def _ended(header: Header) -> str:
    return _STATUS_WORDS.get(header.status, header.status)


def _told(line: Line, now: float) -> str:
    before = "  " * line.depth
    if isinstance(line.of, Whole):
        return f"{before}{line.name}: {', '.join(words_of_whole(line.of, now))}"
    row = line.of
    told = ", ".join(words(row, now, NO_LIMIT)[0]) or row.status
    if row.kind == "decision":
        return f"{before}{line.name} {told}"
    note = f": {row.note}" if row.status == "skipped" and row.note else ""
    return f"{before}{line.name} [{row.where.upper()}] {told}{note}"


def html(header: Header, rows: Sequence[Row], *, css_class: str) -> str:
    """The picture as an image with its text: what even an untrusted notebook shows.

    Args:
        css_class: Stands beside ``cb-static``; the live widget hides the picture by it.
    """
    source = base64.b64encode(svg(header, rows).encode()).decode()
    return (
        f'<img class="cb-static {_text(css_class)}" alt="{_text(alt(header, rows))}" '
        f'style="max-width:100%" src="data:image/svg+xml;base64,{source}">'
    )


class _Axis(NamedTuple):
    left: float  # px of second 0; the names stand before it
    right: float  # px of the end; the last labels stand after it
    end: float  # seconds

    def x(self, seconds: float) -> float:
        return self.left + min(seconds, self.end) / self.end * (self.right - self.left)


class _Mark(NamedTuple):
    x: float
    width: float
    drawn: str


def _axis(header: Header, shown: Sequence[Line]) -> _Axis:
    rows = [line.of for line in shown if isinstance(line.of, Row)]
    longest = max((len(line.name) + 2 * line.depth for line in shown), default=0)
    wordy = any(row.status in ("sleeping", "approval") or (row.status == "running" and row.doing) for row in rows)
    left = min(260.0, max(96.0, longest * _NAME_CHAR + 2 * _MARGIN))
    ends = [s.end or s.start or s.queued for r in rows for s in r.segments]
    right = _WIDTH - (280 if wordy else 160)
    return _Axis(left, right, max(header.now, 0.001, *ends) if ends else max(header.now, 0.001))


def _text(value: str) -> str:
    return markup.escape(_NOT_XML.sub("\ufffd", value), quote=True)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _label(  # noqa: PLR0913  where, what, and how it looks
    x: float, y: float, words: str, anchor: str = "start", kind: str = "small", *, struck: bool = False
) -> str:
    end = "" if anchor == "start" else f' text-anchor="{anchor}"'
    end += ' text-decoration="line-through"' if struck else ""
    size, fill = {
        "small": ("11", "#5c6570"),
        "name": ("12.5", "#1f2328"),
        "pale": ("12.5", "#5c6570"),
        "head": ('12.5" font-weight="600', "#1f2328"),
    }[kind]
    return f'<text x="{_n(x)}" y="{_n(y)}" fill="{fill}" font-size="{size}"{end}>{_text(words)}</text>'


def _moment(header: Header) -> str:
    # A file is read in other places than it was made: the zone is said.
    return f"{dt.datetime.fromtimestamp(header.started_at, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _shares(header: Header, rows: Sequence[Row]) -> list[str]:
    total = header.local_ms + header.remote_ms
    if not total:
        return []
    labels = {r.where for r in rows if r.remote and r.where != PROCESSES}
    local = math.floor(100 * header.local_ms / total + 0.5)
    if not labels and not header.remote_ms:
        return ["local 100 %"]
    paid = [f"cost {cost(header.cost)}"] if header.cost else []
    return [f"local {local} %", f"{labels.pop() if len(labels) == 1 else 'remote'} {100 - local} %", *paid]


def _paints(rows: Sequence[Row]) -> set[str]:
    """Every look that a picture of these rows may have."""
    places: list[Row | Segment] = [*rows, *(segment for row in rows for segment in row.segments)]
    return {"grey", "undo", "badhatch", *map(paint, places)}


def _title(header: Header) -> str:
    name = header.workflow if len(header.workflow) <= 40 else f"{header.workflow[:39]}…"
    facts = f"run {header.number}, {_moment(header)}"
    if header.reused_from:
        facts += f", reuses run {header.reused_from}"
    mark = _STATUS_COLOURS.get(header.status, COLOURS["grey"])
    return (
        f'<text x="{_n(_MARGIN)}" y="27"><tspan font-size="14" font-weight="600">{_text(name)}</tspan>'
        f'<tspan dx="12" fill="#5c6570" font-size="12">{_text(facts)}</tspan></text>'
        f'<text x="{_n(_WIDTH - _MARGIN - 14)}" y="27" text-anchor="end">'
        f"{_text(f'{_ended(header)} · {lasted(header.now * 1e3)}')}</text>"
        f'<circle cx="{_n(_WIDTH - _MARGIN - 4)}" cy="22.5" r="4" fill="{mark}"/>'
        f'<path d="M1 40.5H{_n(_WIDTH - 1)}M1 66.5H{_n(_WIDTH - 1)}" stroke="#d8dde3"/>'
    )


def _legend(header: Header, rows: Sequence[Row]) -> str:
    steps = [r for r in rows if r.kind == "step"]  # a decision has no bar
    places: list[Row | Segment] = [*steps, *(s for r in steps for s in r.segments)]
    kinds = {place.where if place.remote else "local": place for place in places}
    parts, x = [], _MARGIN
    for label, place in sorted(kinds.items(), key=lambda k: (k[1].remote, k[0] != "distributed", k[0])):
        parts.append(f'<rect x="{_n(x)}" y="49" width="22" height="10" rx="2" fill="{fill(paint(place))}"/>')
        parts.append(_label(x + 28, 58, label))
        x += 28 + len(label) * 6.4 + 18
        if x > _WIDTH * 0.6:
            break
    if any(r.kind == "undo" for r in rows):
        parts.append(f'<rect x="{_n(x)}" y="49" width="22" height="10" rx="2" fill="{fill("undo")}"/>')
        parts.append(_label(x + 28, 58, "undo"))
        x += 28 + 4 * 6.4 + 18
    least = 0.004 * header.now
    if any(s.start is None or s.start - s.send - s.queued > least for r in steps for s in r.segments):
        look = 'width="21" height="9" rx="2" fill="none" stroke="#5c6570" stroke-dasharray="3 2"'
        parts.append(f'<rect x="{_n(x)}" y="49.5" {look}/>{_label(x + 28, 58, "queue")}')
        x += 28 + 5 * 6.4 + 18
    whole = ", ".join([f"{header.done} of {header.total} steps", *_shares(header, rows)])
    fits = x + 28 + 11 * 6.4 + 12 < _WIDTH - _MARGIN - len(whole) * _LABEL_CHAR
    if fits and any(max(s.send, s.fetch) > least for r in steps for s in r.segments):
        parts.append(f'<rect x="{_n(x)}" y="52" width="22" height="4" fill="#5c6570"/>')
        parts.append(_label(x + 28, 58, "send, fetch"))
    return "".join(parts) + _label(_WIDTH - _MARGIN, 58, whole, anchor="end")


def _ticks(axis: _Axis) -> list[tuple[float, str]]:
    least = axis.end * 74 / (axis.right - axis.left)
    if least > 1:
        step = float(next((s for s in _STEPS if s >= least), 86400 * math.ceil(least / 86400)))
    else:
        power = 10.0 ** math.floor(math.log10(least))
        step = next(s * power for s in (1, 2, 5, 10) if s * power >= least * (1 - 1e-9))
    unit, seconds = ("ms", 1e-3) if step < 1 and axis.end < 1.1 else ("s", 1.0) if axis.end < 600 else ("min", 60.0)
    digits = max(0, -math.floor(math.log10(step / seconds) + 1e-9))
    values = [i * step for i in range(math.floor(axis.end / step) + 1)]
    labels = [f"{v / seconds:.{digits}f}" if v else "0" for v in values]
    labels[-1] += f" {unit}"
    return [(axis.x(v), label) for v, label in zip(values, labels, strict=True)]


def _grid(axis: _Axis, bottom: float) -> str:
    ticks = _ticks(axis)
    lines = "".join(f"M{round(x)}.5 {_n(_TOP - 8)}V{_n(bottom)}" for x, _ in ticks)
    labels = "".join(_label(x, _TOP - 14, words, anchor="middle") for x, words in ticks)
    return f'<path d="{lines}" stroke="#e3e7eb"/>{labels}'


def _line(axis: _Axis, line: Line, y: float, now: float, known: Mapping[int, Row]) -> str:
    before = _MARGIN + line.depth * _INDENT
    fits = max(3, int((axis.left - before - _MARGIN + 6) / _NAME_CHAR))
    name = line.name if len(line.name) <= fits else f"{line.name[: fits - 1]}…"
    if isinstance(line.of, Whole):
        marks, said, kind = _bracket(axis, line.of, y, now), (words_of_whole(line.of, now), list[str]()), "head"
    else:
        row = line.of
        kind = "pale" if row.status in ("waiting", "ready", "skipped") else "name"
        marks, said = _marks(axis, row, y, now, known), words(row, now)
    drawn = "".join(mark.drawn for mark in marks)
    struck = isinstance(line.of, Row) and line.of.status == "undone"
    return _label(before, y + 4, name, kind=kind, struck=struck) + drawn + _beside(axis, marks, y, said)


def _bracket(axis: _Axis, whole: Whole, y: float, now: float) -> list[_Mark]:
    """A nested workflow: a thin bar with its ends turned down, so that it is not taken for work."""
    if whole.begin is None:
        at = axis.x(now if whole.status == "waiting" else 0.0) + 8
        return [_Mark(at, 4, _dot(at, y))]
    x = axis.x(whole.begin)
    width = max(6.0, axis.x(now if whole.end is None else whole.end) - x)
    cap = min(4.0, width / 2)
    fill = "#b3263e" if whole.status in ("failed", "cancelled") else "#5c6570"
    path = f"M{_n(x)} {_n(y - 3)}h{_n(width)}v7l{_n(-cap)} -3.5h{_n(2 * cap - width)}l{_n(-cap)} 3.5z"
    return [_Mark(x, width, f'<path d="{path}" fill="{fill}"/>')]


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="3" fill="none" stroke="#5c6570"/>'


def _choices(axis: _Axis, row: Row, y: float, now: float) -> list[_Mark]:
    """A diamond at the moment of each choice; those that were sent back are paler."""
    marks = []
    for i, s in enumerate(row.segments):
        x = axis.x(next(at for at in (s.end, s.start, now) if at is not None))
        bad = s.outcome not in ("ok", "running")
        faint = "" if i == len(row.segments) - 1 else ' opacity="0.5"'
        look = f'fill="#fff" stroke="{"#b3263e" if bad else "#1f2328"}" stroke-width="1.4"{faint}'
        marks.append(_Mark(x, 6, f'<path d="M{_n(x - 6)} {_n(y)}l6 -6l6 6l-6 6z" {look}/>'))
    return marks


def _beside(axis: _Axis, marks: Sequence[_Mark], y: float, said: tuple[list[str], list[str]]) -> str:
    """The label after its bar, with fewer words if need be; else before it, else at the edge."""
    needed, extra = said
    if not marks or not needed + extra:
        return ""
    after = marks[-1].x + marks[-1].width + 7
    for kept in range(len(extra), -1, -1):
        text = " · ".join([*needed, *extra[:kept]])
        if after + len(text) * _LABEL_CHAR <= _WIDTH - 8:
            return _label(after, y + 4, text)
    room = int((_WIDTH - 8 - after) / _LABEL_CHAR)
    if room >= 24:
        return _label(after, y + 4, f"{text[: room - 1]}…")
    if marks[0].x - 8 - len(text) * _LABEL_CHAR >= axis.left:
        return _label(marks[0].x - 8, y + 4, text, anchor="end")
    return _label(_WIDTH - 8, y + 4, text, anchor="end")


def _marks(axis: _Axis, row: Row, y: float, now: float, known: Mapping[int, Row]) -> list[_Mark]:
    again = row.status in ("waiting", "ready", "submitted")
    marks: list[_Mark] = []
    if row.kind == "decision":
        marks += _choices(axis, row, y, now)
    for i, segment in enumerate(() if marks else row.segments):
        past = i < len(row.segments) - 1 or (again and segment.end is not None)
        hue = "undo" if row.kind == "undo" else paint(segment)
        marks += _segment(axis, segment, y, now, None if past else row, hue)
    if row.status in ("waiting", "ready") or (not marks and row.status != "reused"):
        at = axis.x(now if again else _begin(row, known)) + (8 if again else 4)
        marks.append(_Mark(at, 4, _dot(at, y)))
    elif not marks:
        at = axis.x(_begin(row, known))
        marks.append(_Mark(at, 14, _bar(at, y, 14, _outlined(row))))
    return marks


def _segment(  # noqa: PLR0913, PLR0917  where, what, and in which colour
    axis: _Axis, s: Segment, y: float, now: float, row: Row | None, hue: str
) -> list[_Mark]:
    """The marks of one attempt; `row` is None for one that another replaced."""
    status = "past" if row is None else row.status
    until = now if s.end is None else s.end
    begun = until if s.start is None else s.start
    faint = ' opacity="0.5"' if row is None else ""
    marks: list[_Mark] = []
    queued, sent, at = axis.x(s.queued), axis.x(begun - s.send), axis.x(begun)
    if sent - queued >= 3 or s.start is None:
        look = f'fill="none" stroke="{colour(hue)}" stroke-dasharray="3 2.4"{faint}'
        marks.append(_Mark(queued, max(3.0, sent - queued), _bar(queued, y, max(3.0, sent - queued), look)))
    if s.start is None:
        return marks
    ended = axis.x(until - s.fetch)
    width, after = max(3.0, ended - at), 0.0
    if s.send:
        marks.append(_way(sent, at, y, f'fill="{colour(hue)}"{faint}'))
    if s.fetch:
        marks.append(_way(at + width, at + width + axis.x(until) - ended, y, f'fill="{colour(hue)}"{faint}'))
    filled = f'fill="{fill(hue)}"'
    if status in ("reused", "cached"):
        drawn = _bar(at, y, width, _outlined(s))
    elif s.outcome == "cancelled":
        drawn = _bar(at, y, width, f'fill="{fill("grey")}" fill-opacity="0.55"{faint}')
    elif s.end is None and row is not None and status in ("sleeping", "approval"):
        # A dotted tail: at rest. Beyond the end of the axis there is no time to show how long.
        after = 20.0
        look = f'stroke="{colour(hue)}" stroke-width="3" stroke-dasharray="1.5 4.5" stroke-linecap="round"'
        drawn = f'{_bar(at, y, width, _outlined(s))}<path d="M{_n(at + width + 4)} {_n(y)}h{_n(after - 4)}" {look}/>'
    elif s.end is None and row is not None and status == "running" and row.progress is not None:
        so_far = _bar(at, y, max(1.0, width * min(1.0, row.progress)), filled)
        drawn = _bar(at, y, width, f'{filled} fill-opacity="0.35" stroke="{colour(hue)}"') + so_far
    elif s.outcome in ("ok", "running"):
        drawn = _bar(at, y, width, f"{filled}{faint}")
    else:
        after = 4.0
        look = f'fill="{fill("badhatch" if s.remote else "bad")}" fill-opacity="0.5" stroke="{COLOURS["bad"]}"{faint}'
        cross = f'<path d="M{_n(at + width - 4)} {_n(y - 4)}l8 8m0 -8l-8 8" stroke="#b3263e" stroke-width="1.8"/>'
        drawn = _bar(at, y, width, look) + cross
    # The bar last: its label begins where all of it ends.
    return [*marks, _Mark(at, max(width + after, *(m.x + m.width - at for m in marks), 0.0), drawn)]


def _way(x: float, to: float, y: float, look: str) -> _Mark:
    """What was sent or fetched: solid and thin, so that it is not taken for work."""
    return _Mark(x, to - x, f'<rect x="{_n(x)}" y="{_n(y - 2)}" width="{_n(to - x)}" height="4" {look}/>')


def _outlined(place: Row | Segment) -> str:
    kind = paint(place)
    return f'fill="{fill(kind)}" fill-opacity="0.22" stroke="{colour(kind)}"'


def _bar(x: float, y: float, width: float, look: str) -> str:
    return f'<rect x="{_n(x)}" y="{_n(y - 7.5)}" width="{_n(width)}" height="15" rx="{min(2.5, width / 2):g}" {look}/>'


def _begin(row: Row, known: Mapping[int, Row]) -> float:
    """When a row that never ran would have begun: at the end of what it needs."""
    for _ in range(64):
        needs = [known[need] for need in row.needs if need in known]
        ends = [need.segments[-1].end for need in needs if need.segments]
        latest = max((end for end in ends if end is not None), default=None)
        if latest is not None or not needs:
            return latest or 0.0
        row = needs[0]
    return 0.0
