"""A run in Chrome's trace format, for ui.perfetto.dev and chrome://tracing. Pure.

One process for each executor and, within it, a thread for each worker; attempts that overlap there get threads of their
own, since slices of one thread must nest. A flow leads from each step to what needs it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cerebelum_nb.model.view import Header, Row, Segment

_MICRO: Final = 1e6
_COLOURS: Final = {"error": "terrible", "timeout": "terrible", "lost": "terrible", "cancelled": "grey"}


def trace(header: Header, rows: Sequence[Row]) -> dict[str, Any]:
    """The trace as an object for JSON.

    Args:
        rows: Their attempts become slices, their needs flows; rows without an attempt are left out.
    """
    drawn = _Drawn(header.now)
    for row, last, segment in sorted(_attempts(rows), key=lambda found: found[2].queued):
        drawn.attempt(row, segment, worker=row.worker if last else "")
    drawn.flows(rows)
    about = {"run": header.run, "workflow": header.workflow, "status": header.status, "started_at": header.started_at}
    return {"displayTimeUnit": "ms", "otherData": about, "traceEvents": [*drawn.names(), *drawn.events]}


def _attempts(rows: Sequence[Row]) -> Iterator[tuple[Row, bool, Segment]]:
    for row in rows:
        for i, segment in enumerate(row.segments):
            yield row, i == len(row.segments) - 1, segment


class _Drawn:
    def __init__(self, now: float) -> None:
        self.events: list[dict[str, Any]] = []
        self._now = now
        self._places: dict[str, int] = {}  # executor -> process
        self._free: dict[tuple[int, str], list[tuple[int, float]]] = {}  # its workers -> threads, free from when on
        self._threads: list[tuple[int, int, str]] = []
        self._slices: dict[int, tuple[int, int, float, float]] = {}  # task -> process, thread, begin, end of the last

    def attempt(self, row: Row, segment: Segment, *, worker: str) -> None:
        process = self._places.setdefault(segment.where, len(self._places) + 1)
        end = self._now if segment.end is None else segment.end
        begin = end if segment.start is None else segment.start
        ran = end - segment.fetch
        waits = ("queue", segment.queued, begin - segment.send), ("send", begin - segment.send, begin)
        for what, since, until in (*waits, ("fetch", ran, end)):
            if until > since:
                name = {"name": f"{row.step} ({what})", "cat": what, "id": f"{row.id}.{segment.attempt}"}
                where = {"pid": process, "tid": 0}
                self.events.append({**name, **where, "ph": "b", "ts": _us(since)})
                self.events.append({**name, **where, "ph": "e", "ts": _us(until)})
        if segment.start is None:
            return
        end = ran
        thread = self._thread(process, worker, begin, end)
        told = {"status": row.status, "attempt": segment.attempt, "outcome": segment.outcome, "why here": row.reason}
        place = {"pid": process, "tid": thread, "ts": _us(begin), "dur": max(1, _us(end) - _us(begin))}
        colour = {"cname": _COLOURS[segment.outcome]} if segment.outcome in _COLOURS else {}
        self.events.append({"name": row.step, "cat": "step", "ph": "X", **place, **colour, "args": told})
        self._slices[row.id] = process, thread, begin, end

    def flows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for need in row.needs:
                if row.id not in self._slices or need not in self._slices:
                    continue
                flow = {"name": "needs", "cat": "needs", "id": f"{need}>{row.id}"}
                process, thread, begin, end = self._slices[need]
                # Within the slice that it leaves: at its very end it would belong to what follows there.
                self.events.append(
                    {**flow, "ph": "s", "pid": process, "tid": thread, "ts": max(_us(begin), _us(end) - 1)}
                )
                process, thread, begin, _ = self._slices[row.id]
                self.events.append({**flow, "ph": "f", "bp": "e", "pid": process, "tid": thread, "ts": _us(begin)})

    def names(self) -> Iterator[dict[str, Any]]:
        for where, process in self._places.items():
            yield {"name": "process_name", "ph": "M", "pid": process, "tid": 0, "args": {"name": where}}
            yield {"name": "process_sort_index", "ph": "M", "pid": process, "tid": 0, "args": {"sort_index": process}}
        for process, thread, name in self._threads:
            yield {"name": "thread_name", "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}

    def _thread(self, process: int, worker: str, begin: float, end: float) -> int:
        lanes = self._free.setdefault((process, worker), [])
        for i, (thread, free) in enumerate(lanes):
            if free <= begin:
                lanes[i] = thread, end
                return thread
        thread = len(self._threads) + 1
        lanes.append((thread, end))
        called = f"worker {worker}" if re.fullmatch(r"\d+", worker) else worker or "lane"
        self._threads.append((process, thread, called if len(lanes) == 1 else f"{called}, {len(lanes)}"))
        return thread


def _us(seconds: float) -> int:
    return round(seconds * _MICRO)
