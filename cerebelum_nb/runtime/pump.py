"""Takes the logs of live runs to the journal, then to whoever listens. One thread for a session."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.model.events import AnyEvent, RunFinished
from cerebelum_nb.runtime.journal import About, Journal
from cerebelum_nb.runtime.scheduler import Scheduler

TICK_S: Final = 0.02
_log = logging.getLogger(__name__)


class Logged(Protocol):
    """A run, as the pump sees it."""

    id: str
    scheduler: Scheduler

    def keep(self, batch: Sequence[AnyEvent]) -> None:
        """Put the results that these events tell of on disk; before the events themselves."""

    def about(self) -> About | None:
        """What is known about it beside its events."""

    def deliver(self, batch: Sequence[AnyEvent]) -> None:
        """Events that are in the journal."""

    def finished(self) -> None:
        """The last event is on disk."""

    def tidy(self) -> None:
        """It is over and everybody knows: what is left to write can be written now."""

    def crash(self, why: BaseException) -> None:
        """The run cannot go on: its events cannot be kept."""


class Pump(threading.Thread):
    """Journal first, listeners second."""

    def __init__(self, open_journal: Callable[[], Journal]) -> None:
        super().__init__(name="cerebelum-pump", daemon=True)
        self._open_journal = open_journal
        self._journal: Journal | None = None
        self._runs: list[Logged] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._closing = False
        self.path: str | None = None  # where the journal is, once it is open

    def add(self, run: Logged) -> None:
        """Follow a run until it ends."""
        with self._lock:
            self._runs.append(run)
            if not self.is_alive():
                self.start()
        self._wake.set()

    def urgent(self) -> None:
        """Do not wait for the next tick."""
        self._wake.set()

    def close(self) -> None:
        """Write what is left and end."""
        self._closing = True
        self._wake.set()
        if self.is_alive():
            self.join(2.0)

    def run(self) -> None:
        """Until closed: wait, write, deliver."""
        while True:
            self._wake.wait(TICK_S if self._runs else None)
            self._wake.clear()
            for run in list(self._runs):
                self._serve(run)
            if self._closing:
                break
        if self._journal is not None:
            self._journal.close()

    def _serve(self, run: Logged) -> None:
        batch = run.scheduler.drain()
        if not batch:
            return
        ended = type(batch[-1]) is RunFinished
        try:
            if self._journal is not None and not self._journal.path.exists():  # somebody removed the folder
                self._journal.close()
                self._journal = None
            if self._journal is None:
                self._journal = self._open_journal()
                self.path = str(self._journal.path)
            run.keep(batch)
            self._journal.write(run.id, batch, run.about() if batch[0].seq == 0 else None)
        except Exception as exc:  # noqa: BLE001  a full disk, a locked file: the run ends with it, the thread lives on
            self._drop(run)
            run.crash(ExecutorError(f"its events cannot be kept: {self.path or 'the journal'}: {exc}"))
            return
        try:
            run.deliver(batch)
        except Exception:  # noqa: BLE001  listeners are guests: said once, the run goes on
            _log.exception("a listener of run %s failed; the run goes on", run.id)
        if ended:
            self._drop(run)
            run.finished()
            run.tidy()

    def _drop(self, run: Logged) -> None:
        with self._lock:
            if run in self._runs:
                self._runs.remove(run)
