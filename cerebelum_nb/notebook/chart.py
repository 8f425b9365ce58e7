"""The chart where no script runs: a picture and a text of a run, for saved notebooks and files.

Pure: rows in, text out. It looks like the widget (js/src/layout.ts), on a white card of its own, so that it can be
read in a dark notebook too. Everything a person named is escaped; nothing a step made is in here at all.
"""

import base64
import datetime as dt
import html as markup
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cerebelum_nb.model.lines import duration
from cerebelum_nb.model.view import Header, Row, Segment

MOST_ROWS: Final = 60
"""Steps drawn or told one by one; the others are counted."""

_WIDTH, _MARGIN, _TOP = 880.0, 16.0, 100.0  # px; the chart's rows begin below `_TOP`
_LABEL_CHAR, _NAME_CHAR = 6.2, 7.0  # px of an average character
_COLOURS: Final = {"local": "#009E73", "dist": "#0072B2", "other": "#b8560b", "bad": "#d1435b", "grey": "#6e7781"}
_STATUS_COLOURS: Final = {
    "succeeded": _COLOURS["local"],
    "failed": _COLOURS["bad"],
    "running": "#2f8fd0",
    "cancelled": _COLOURS["grey"],
}
_OUTCOMES: Final = {"error": "failed", "timeout": "timed out", "lost": "worker lost"}
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_FONT: Final = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


def svg(header: Header, rows: Sequence[Row]) -> str:
    """A standalone picture of a run: title, legend, time axis, a bar for every attempt with its label."""
    shown = rows[:MOST_ROWS]
    pitch = 30 if len(shown) <= 12 else 24
    more = f"… and {len(rows) - len(shown):,} more steps" if len(rows) > len(shown) else ""
    bottom = _TOP + pitch * len(shown)
    height = bottom + (34 if more else 14)
    axis = _axis(header, shown)
    known = {r.id: r for r in rows}
    size = f'width="{_n(_WIDTH)}" height="{_n(height)}" viewBox="0 0 {_n(_WIDTH)} {_n(height)}"'
    card = f'width="{_n(_WIDTH - 1)}" height="{_n(height - 1)}" rx="8" fill="#fff" stroke="#d8dde3"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}" font-size="12.5" fill="#1f2328">',
        f"<title>{_text(header.workflow)}, run {header.number}, {_text(header.status)}</title>",
        _patterns(),
        f'<rect x="0.5" y="0.5" {card}/>',
        _title(header),
        _legend(header, rows),
        _grid(axis, bottom),
    ]
    parts += [_row(axis, r, _TOP + pitch * (i + 0.5), header.now, known) for i, r in enumerate(shown)]
    if more:
        parts.append(_label(_MARGIN, bottom + 18, more))
    return "".join(parts) + "</svg>"


def alt(header: Header, rows: Sequence[Row]) -> str:
    """The run in plain text: a line for each step, then the whole."""
    told = [(r, ", ".join(_words(r, header.now)[0]) or r.status) for r in rows[:MOST_ROWS]]
    lines = [f"{r.step} [{r.where.upper()}] {words}" for r, words in told]
    if len(rows) > MOST_ROWS:
        lines.append(f"… and {len(rows) - MOST_ROWS:,} more steps")
    total = f"{'So far' if header.status == 'running' else 'Total'} {_duration(header.now * 1e3)}"
    return "\n".join([*lines, ", ".join([total, *_shares(header, rows), header.status])])


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


def _duration(ms: float) -> str:
    return duration(ms, " ")


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


def _axis(header: Header, rows: Sequence[Row]) -> _Axis:
    longest = max((len(r.step) for r in rows), default=0)
    left = min(260.0, max(96.0, longest * _NAME_CHAR + 2 * _MARGIN))
    ends = [s.end or s.start or s.queued for r in rows for s in r.segments]
    return _Axis(left, _WIDTH - 160, max(header.now, 0.001, *ends) if ends else max(header.now, 0.001))


def _text(value: str) -> str:
    return markup.escape(_NOT_XML.sub("\ufffd", value), quote=True)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _label(x: float, y: float, words: str, anchor: str = "start", kind: str = "small") -> str:
    end = "" if anchor == "start" else f' text-anchor="{anchor}"'
    size, fill = {"small": ("11", "#5c6570"), "name": ("12.5", "#1f2328"), "pale": ("12.5", "#5c6570")}[kind]
    return f'<text x="{_n(x)}" y="{_n(y)}" fill="{fill}" font-size="{size}"{end}>{_text(words)}</text>'


def _moment(header: Header) -> str:
    # A file is read in other places than it was made: the zone is said.
    return f"{dt.datetime.fromtimestamp(header.started_at, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _shares(header: Header, rows: Sequence[Row]) -> list[str]:
    total = header.local_ms + header.remote_ms
    if not total:
        return []
    labels = {r.where for r in rows if r.remote}
    local = math.floor(100 * header.local_ms / total + 0.5)
    if not labels and not header.remote_ms:
        return ["local 100 %"]
    return [f"local {local} %", f"{labels.pop() if len(labels) == 1 else 'remote'} {100 - local} %"]


def _paint(place: Row | Segment) -> str:
    if not place.remote:
        return "local"
    return "dist" if place.where == "distributed" else "other"


def _fill(paint: str, *, remote: bool) -> str:
    return f"url(#{paint})" if remote or paint == "grey" else _COLOURS[paint]


def _words(row: Row, now: float) -> tuple[list[str], list[str]]:
    """What stands beside a bar: what must be said, and what may be added where there is room."""
    last = row.segments[-1] if row.segments else None
    if row.status in ("waiting", "ready", "skipped"):
        return ([] if row.status == "waiting" else [row.status]), []
    words = [f"attempt {row.attempt}"] if row.attempt > 1 else []
    if row.status == "failed" and last is not None and last.outcome != "running":
        words.append(_OUTCOMES.get(last.outcome, last.outcome))
    elif row.status != "succeeded":
        words.append("queued" if row.status == "submitted" else row.status)
    if row.ms is not None:
        words.append(_duration(row.ms))
    elif last is not None:
        begun = last.queued if last.start is None else last.start
        words.append(_duration(max(0.0, (now if last.end is None else last.end) - begun) * 1e3))
    extra = [row.where] if _paint(row) == "other" else []
    if row.worker and row.status in ("running", "succeeded"):
        extra.append(f"worker {row.worker}" if row.worker.isdigit() else row.worker)
    return words, extra


def _patterns() -> str:
    def stripes(name: str, turn: int) -> str:
        return (
            f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" '
            f'patternTransform="rotate({turn})"><rect width="6" height="6" fill="{_COLOURS[name]}"/>'
            '<rect width="1.6" height="6" fill="#fff" opacity="0.4"/></pattern>'
        )

    turns = {"dist": 45, "other": 135, "bad": 45, "grey": 135}
    return f"<defs>{''.join(stripes(name, turn) for name, turn in turns.items())}</defs>"


def _title(header: Header) -> str:
    name = header.workflow if len(header.workflow) <= 40 else f"{header.workflow[:39]}…"
    facts = f"run {header.number}, {_moment(header)}"
    if header.reused_from:
        facts += f", reuses run {header.reused_from}"
    colour = _STATUS_COLOURS.get(header.status, _COLOURS["grey"])
    return (
        f'<text x="{_n(_MARGIN)}" y="27"><tspan font-size="14" font-weight="600">{_text(name)}</tspan>'
        f'<tspan dx="12" fill="#5c6570" font-size="12">{_text(facts)}</tspan></text>'
        f'<text x="{_n(_WIDTH - _MARGIN)}" y="27" text-anchor="end"><tspan fill="{colour}">\u25cf</tspan> '
        f"{_text(header.status)} · {_duration(header.now * 1e3)}</text>"
        f'<path d="M1 40.5H{_n(_WIDTH - 1)}M1 66.5H{_n(_WIDTH - 1)}" stroke="#d8dde3"/>'
    )


def _legend(header: Header, rows: Sequence[Row]) -> str:
    places: list[Row | Segment] = [*rows, *(s for r in rows for s in r.segments)]
    kinds = {place.where if place.remote else "local": place for place in places}
    parts, x = [], _MARGIN
    for label, place in sorted(kinds.items(), key=lambda k: (k[1].remote, k[0] != "distributed", k[0])):
        fill = _fill(_paint(place), remote=place.remote)
        parts.append(f'<rect x="{_n(x)}" y="49" width="22" height="10" rx="2" fill="{fill}"/>')
        parts.append(_label(x + 28, 58, label))
        x += 28 + len(label) * 6.4 + 18
        if x > _WIDTH * 0.6:
            break
    if any(s.start is None or s.start - s.queued > 0.004 * header.now for r in rows for s in r.segments):
        look = 'width="21" height="9" rx="2" fill="none" stroke="#5c6570" stroke-dasharray="3 2"'
        parts.append(f'<rect x="{_n(x)}" y="49.5" {look}/>{_label(x + 28, 58, "queue")}')
    whole = ", ".join([f"{header.done} of {header.total} steps", *_shares(header, rows)])
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


def _row(axis: _Axis, row: Row, y: float, now: float, known: Mapping[int, Row]) -> str:
    fits = int((axis.left - 2 * _MARGIN + 6) / _NAME_CHAR)
    name = row.step if len(row.step) <= fits else f"{row.step[: fits - 1]}…"
    pale = row.status in ("waiting", "ready", "skipped")
    marks = _marks(axis, row, y, now, known)
    label = _beside(axis, marks, y, _words(row, now))
    drawn = "".join(mark.drawn for mark in marks)
    return _label(_MARGIN, y + 4, name, kind="pale" if pale else "name") + drawn + label


def _beside(axis: _Axis, marks: Sequence[_Mark], y: float, words: tuple[list[str], list[str]]) -> str:
    """The label after its bar, with fewer words if need be; else before it, else at the edge."""
    needed, extra = words
    if not marks or not needed + extra:
        return ""
    after = marks[-1].x + marks[-1].width + 7
    for kept in range(len(extra), -1, -1):
        text = " · ".join([*needed, *extra[:kept]])
        if after + len(text) * _LABEL_CHAR <= _WIDTH - 8:
            return _label(after, y + 4, text)
    if marks[0].x - 8 - len(text) * _LABEL_CHAR >= axis.left:
        return _label(marks[0].x - 8, y + 4, text, anchor="end")
    return _label(_WIDTH - 8, y + 4, text, anchor="end")


def _marks(axis: _Axis, row: Row, y: float, now: float, known: Mapping[int, Row]) -> list[_Mark]:
    again = row.status in ("waiting", "ready", "submitted")
    marks: list[_Mark] = []
    for i, segment in enumerate(row.segments):
        past = i < len(row.segments) - 1 or (again and segment.end is not None)
        marks += _segment(axis, segment, y, now, "past" if past else row.status)
    if row.status in ("waiting", "ready") or (not marks and row.status != "reused"):
        at = axis.x(now if again else _begin(row, known)) + (8 if again else 4)
        marks.append(_Mark(at, 4, f'<circle cx="{_n(at)}" cy="{_n(y)}" r="3" fill="none" stroke="#5c6570"/>'))
    elif not marks:
        at = axis.x(_begin(row, known))
        marks.append(_Mark(at, 14, _bar(at, y, 14, _outlined(row))))
    return marks


def _segment(axis: _Axis, s: Segment, y: float, now: float, status: str) -> list[_Mark]:
    until = now if s.end is None else s.end
    begun = until if s.start is None else s.start
    faint = ' opacity="0.5"' if status == "past" else ""
    marks: list[_Mark] = []
    queued, at = axis.x(s.queued), axis.x(begun)
    if at - queued >= 3 or s.start is None:
        look = f'fill="none" stroke="{_COLOURS[_paint(s)]}" stroke-dasharray="3 2.4"{faint}'
        marks.append(_Mark(queued, max(3.0, at - queued), _bar(queued, y, max(3.0, at - queued), look)))
    if s.start is None:
        return marks
    width = max(3.0, axis.x(until) - at)
    if status == "reused":
        return [*marks, _Mark(at, width, _bar(at, y, width, _outlined(s)))]
    if s.outcome == "cancelled":
        look = f'fill="{_fill("grey", remote=True)}" fill-opacity="0.55"{faint}'
        return [*marks, _Mark(at, width, _bar(at, y, width, look))]
    if s.outcome in ("ok", "running"):
        return [*marks, _Mark(at, width, _bar(at, y, width, f'fill="{_fill(_paint(s), remote=s.remote)}"{faint}'))]
    look = f'fill="{_fill("bad", remote=s.remote)}" fill-opacity="0.5" stroke="{_COLOURS["bad"]}"{faint}'
    cross = f'<path d="M{_n(at + width - 4)} {_n(y - 4)}l8 8m0 -8l-8 8" stroke="#b3263e" stroke-width="1.8"/>'
    return [*marks, _Mark(at, width + 4, _bar(at, y, width, look) + cross)]


def _outlined(place: Row | Segment) -> str:
    paint = _paint(place)
    return f'fill="{_fill(paint, remote=place.remote)}" fill-opacity="0.22" stroke="{_COLOURS[paint]}"'


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
