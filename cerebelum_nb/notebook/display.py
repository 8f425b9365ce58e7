"""A run on the screen: the live widget, the chart that stays when the kernel is gone, and waiting for the end.

Two outputs, because no single one serves everybody: saved notebooks, code hosts and exported pages show the chart and
cannot show the widget; while the widget lives it hides the chart. The chart of a run that is waited for is sent once,
at the end; that of one in the background is sent at once and updated by its display id.
"""

import contextlib
import importlib
import itertools
import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cerebelum_nb.model import lines
from cerebelum_nb.notebook import chart
from cerebelum_nb.notebook.clicks import Clicks
from cerebelum_nb.notebook.failures import after_interrupt, cell_name, interrupted, with_cell_names
from cerebelum_nb.notebook.feed import Feeds
from cerebelum_nb.notebook.lone import offered
from cerebelum_nb.runtime.run import Run

if TYPE_CHECKING:  # anywidget is heavy: imported when the first run is shown
    from cerebelum_nb.notebook.widget import RunWidget

_log = logging.getLogger(__name__)
STOP_S: Final = 0.4  # how long an interrupted cell waits for its run to stop
SETTLE_S: Final = 0.5  # how long a cell waits for the widget's last rows
WIDGETS_LIMIT: Final = 100  # older ones give way to their charts


@dataclass(slots=True, eq=False)
class Shown:
    """A run in one cell's output."""

    cell: str
    request: str  # the message that ran the cell
    display_id: str
    widget: "RunWidget | None" = None
    waited: bool = True  # the cell itself sends the chart at the end
    charted: tuple[str, bool] | None = None  # the run in the chart that was sent last, and whether it had ended
    lock: threading.Lock = field(default_factory=threading.Lock)


class Displays:
    """What this notebook shows."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip
        self._clicks = Clicks()
        self._feeds = Feeds()
        self._count = itertools.count(1)
        self._shown: OrderedDict[str, Shown] = OrderedDict()  # by display id, oldest first
        self._runs_here: tuple[str, set[str]] = ("", set())  # the request, and the runs its cell shows

    # -- showing

    def show(self, run: Run) -> None:
        """Show a run and go on: it is followed in the background. Nothing if this cell shows it already."""
        if run.id in self._seen_here():
            return
        shown = self._open(run, waited=run.done)
        self._finish(shown, run)
        if shown.widget is None and not shown.waited:
            self._feeds.follow(run, lambda run, _tasks, ended: self._later(shown, run) if ended else None)

    def wait(self, run: Run) -> None:
        """Show a run and wait for its end; what steps print is written to this cell.

        Raises:
            ExecutionError: A step failed.
            RunCancelled: Somebody else cancelled it.
            KeyboardInterrupt: The cell was interrupted; the run is cancelled.
        """
        shown: Shown | None = None
        try:
            shown = self._open(run, waited=True)
            run.wait()
            self._finish(shown, run)
        except KeyboardInterrupt as exc:
            run.interrupt()
            with contextlib.suppress(KeyboardInterrupt):  # a second one: the prompt at once
                run.wait(STOP_S)
                if shown is not None:
                    self._finish(shown, run)
            raise interrupted(exc, after_interrupt(run)) from None
        failure = run.error()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Forget all that is shown."""
        for shown in self._shown.values():
            if shown.widget is not None:
                shown.widget.close()
        self._shown.clear()
        self._clicks.close()

    # -- parts

    def catch_up(self, *_: Any) -> None:
        """Bring charts up to date whose run has ended unnoticed. Called after each cell."""
        for shown in list(self._shown.values()):
            run = shown.widget.run if shown.widget is not None else None
            if run is not None and run.done and shown.charted is not None:
                self._send_chart(shown, run)

    def _seen_here(self) -> set[str]:
        request = self._request()[0]
        if self._runs_here[0] != request:
            self._runs_here = (request, set())
        return self._runs_here[1]

    def _request(self) -> tuple[str, str, list[str]]:
        """The message that runs the current cell, the cell's own id, and the cells that were deleted."""
        parent = self._ip.get_parent() if hasattr(self._ip, "get_parent") else {}
        metadata = parent.get("metadata") or {}
        request = (parent.get("header") or {}).get("msg_id") or f"cell {self._ip.execution_count}"
        return request, metadata.get("cellId") or "", metadata.get("deletedCells") or []

    def _open(self, run: Run, *, waited: bool) -> Shown:
        self._seen_here().add(run.id)
        request, cell, deleted = self._request()
        self._make_room(request, cell, deleted)
        shown = Shown(cell, request, f"cerebelum-{run.id}-{next(self._count)}", waited=waited)
        shown.widget = self._widget(shown, run)
        if not hasattr(self._ip, "kernel") and not run.done:
            self._feeds.follow(run, _Pauses())
        if shown.widget is not None:
            self._publish(*shown.widget._repr_mimebundle_())
        self._shown[shown.display_id] = shown
        return shown

    def _widget(self, shown: Shown, run: Run) -> "RunWidget | None":
        if not hasattr(self._ip, "kernel"):
            return None  # a terminal
        try:
            module = importlib.import_module("cerebelum_nb.notebook.widget")
        except ImportError as exc:
            _log.warning("the live chart cannot be shown: %s", exc)
            return None

        def on_end(_widget: object, run: Run) -> None:
            if shown.charted or not shown.waited:
                self._later(shown, run)

        try:
            widget: RunWidget = module.RunWidget(
                run,
                executors=offered(),
                clicks=self._clicks,
                feeds=self._feeds,
                on_end=on_end,
                readable=lambda text: with_cell_names(text, self._ip),
                cell_name=lambda file: cell_name(file, self._ip),
            )
        except FileNotFoundError as exc:  # a checkout whose front end is not built
            _log.warning("the live chart cannot be shown: %s", exc)
            return None
        return widget

    def _make_room(self, request: str, cell: str, deleted: list[str]) -> None:
        """Close widgets that nobody can see: of a cell that runs again or is deleted; and the oldest of very many."""
        gone = [
            s
            for s in self._shown.values()
            if s.cell and ((s.cell == cell and s.request != request) or s.cell in deleted)
        ]
        ended = [s for s in self._shown.values() if s.widget is None or s.widget.run.done]
        gone += ended[: max(0, len(self._shown) - WIDGETS_LIMIT)]
        for shown in gone:
            if self._shown.pop(shown.display_id, None) is not None and shown.widget is not None:
                shown.widget.close()

    def _finish(self, shown: Shown, run: Run) -> None:
        if shown.widget is not None and run.done:
            shown.widget.settled(SETTLE_S)
        self._send_chart(shown, run)

    def _later(self, shown: Shown, run: Run) -> None:
        """Update a chart when nobody waits for it; never on the control loop."""
        self._clicks.do(lambda: self._send_chart(shown, run))

    def _send_chart(self, shown: Shown, run: Run) -> None:
        with shown.lock:  # the cell and the end of the run may come at the same time
            now = run.id, run.done
            if shown.charted != now:
                self._publish_chart(shown, run)
                shown.charted = now

    def _publish_chart(self, shown: Shown, run: Run) -> None:
        header, rows = run.header(), run.rows()
        text = chart.alt(header, rows)
        name = shown.widget.widget_id if shown.widget is not None else run.id
        data = {"text/plain": text, "text/html": chart.html(header, rows, css_class=f"cb-static-{name}")}
        if hasattr(self._ip, "kernel"):
            self._publish(data, {}, display_id=shown.display_id, update=shown.charted is not None)
        elif run.done:
            print(text)  # noqa: T201  a terminal shows text only

    def _publish(
        self, data: dict[str, Any], metadata: dict[str, Any], *, display_id: str | None = None, update: bool = False
    ) -> None:
        transient = {"display_id": display_id} if display_id else {}
        self._ip.display_pub.publish(data, metadata, transient=transient, update=update)


class _Pauses:
    """Says in a terminal, where nobody sees a chart, what pauses and how it goes on."""

    def __init__(self) -> None:
        self._told: set[tuple[int, int, str, bool]] = set()

    def __call__(self, run: Run, tasks: Sequence[int], _ended: bool) -> None:  # noqa: FBT001  as the feed calls it
        paused = [task for task in tasks if task in run.state.paused]
        for row in run.rows(paused):
            key = row.id, row.attempt, row.status, row.status == "sleeping" and bool(row.doing)  # a poll sleeps often
            if row.status not in ("sleeping", "approval") or key in self._told:
                continue
            self._told.add(key)
            marks = lines.marks_for(sys.stdout.encoding)
            if row.status == "approval":
                line = lines.asks(row, row.doing, f"%cerebelum approve {run.number} {row.step}", marks)
            else:
                left = None if row.until is None else row.until - run.header().now
                line = lines.sleeps(row, left, marks, row.doing)
            print(line, flush=True)  # noqa: T201  a terminal
