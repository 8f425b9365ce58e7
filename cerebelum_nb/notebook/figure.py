"""A run as a plotly figure. plotly is an extra: imported when a figure is asked for."""

import importlib
from collections.abc import Sequence
from typing import Any, Final

from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.view import Header, Row, Segment
from cerebelum_nb.notebook.palette import COLOURS, colour, look, paint
from cerebelum_nb.notebook.wording import lasted

_SHAPES: Final = {"": "", "hatch": "/", "dots": ".", "lattice": "x", "bars": "|", "grid": "+"}


def figure(header: Header, rows: Sequence[Row]) -> Any:
    """Bars by step and attempt, one trace for each executor; queue times are pale, what was on its way is thin.

    Raises:
        CerebelumError: plotly is not installed.
    """
    try:
        go = importlib.import_module("plotly.graph_objects")
    except ImportError:
        raise CerebelumError(
            "figure() needs plotly: pip install 'cerebelum_nb[figure]', and restart the kernel"
        ) from None
    made = go.Figure()
    for where, bars in _by_place(rows).items():
        kind = paint(bars[0][1])
        made.add_bar(
            name=_plain(where),
            orientation="h",
            y=[_plain(row.step) for row, _ in bars],
            base=[s.start for _, s in bars],
            x=[_ran(s, header) for _, s in bars],
            marker={
                "color": [
                    COLOURS["bad"] if s.outcome in ("error", "timeout", "lost") else colour(kind) for _, s in bars
                ],
                "pattern": {"shape": _SHAPES[look(kind)], "fgcolor": "rgba(255,255,255,.45)", "size": 6},
            },
            hovertext=[_told(row, s, header) for row, s in bars],
            hoverinfo="text",
        )
    begun = [(row, s, s.start) for row in rows for s in row.segments if s.start is not None]
    queued = [(row, s.queued, at - s.send - s.queued) for row, s, at in begun if at - s.send > s.queued]
    if queued:
        made.add_bar(
            name="queue",
            orientation="h",
            y=[_plain(row.step) for row, _, _ in queued],
            base=[at for _, at, _ in queued],
            x=[took for _, _, took in queued],
            marker={"color": "rgba(92,101,112,.25)"},
            hoverinfo="skip",
        )
    sent = [(row, at - s.send, s.send, "sent") for row, s, at in begun if s.send]
    sent += [(row, _end(s, header) - s.fetch, s.fetch, "fetched") for row, s, _ in begun if s.fetch]
    if sent:
        made.add_bar(
            name="send, fetch",
            orientation="h",
            y=[_plain(row.step) for row, _, _, _ in sent],
            base=[at for _, at, _, _ in sent],
            x=[took for _, _, took, _ in sent],
            width=0.2,
            marker={"color": "rgb(92,101,112)"},
            hovertext=[f"{_plain(row.step)}<br>{what} in {_plain(lasted(took * 1e3))}" for row, _, took, what in sent],
            hoverinfo="text",
        )
    steps = [_plain(row.step) for row in rows if row.kind != "decision"]
    made.update_layout(
        title=f"{_plain(header.workflow)}, run {header.number}, {header.status}",
        barmode="overlay",
        xaxis={"title": "seconds since the start", "rangemode": "tozero"},
        yaxis={"categoryorder": "array", "categoryarray": steps, "autorange": "reversed"},
        height=max(220, 110 + 26 * len(steps)),
        margin={"l": 10, "r": 20, "t": 50, "b": 45},
    )
    return made


def _by_place(rows: Sequence[Row]) -> dict[str, list[tuple[Row, Segment]]]:
    """Executor -> its attempts that have begun."""
    found: dict[str, list[tuple[Row, Segment]]] = {}
    for row in rows:
        for segment in row.segments if row.kind != "decision" else ():
            if segment.start is not None:
                found.setdefault(segment.where, []).append((row, segment))
    return found


def _end(segment: Segment, header: Header) -> float:
    return header.now if segment.end is None else segment.end


def _ran(segment: Segment, header: Header) -> float:
    """Seconds that its code ran: without the ways there and back."""
    return _end(segment, header) - segment.fetch - (segment.start or 0.0)


def _told(row: Row, segment: Segment, header: Header) -> str:
    took = lasted(_ran(segment, header) * 1e3)
    return (
        f"{_plain(row.step)}<br>attempt {segment.attempt}, {_plain(segment.where)}, {segment.outcome}, {_plain(took)}"
    )


def _plain(name: str) -> str:
    """A name as plotly shows it as it is: it takes some markup for formatting."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
