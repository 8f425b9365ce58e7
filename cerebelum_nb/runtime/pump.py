"""Takes the logs of live runs to the journal, then to whoever listens. One thread for a session.

Where the journal cannot be written for lack of room, of a lock or of a disk, its run is held: nothing new begins, what
runs goes on, its events wait in memory. A minute later, or when the person cancels, the run is given up; its log is
still written once there is room, so that another process can go on from all of it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.model.events import AnyEvent, RunFinished
from cerebelum_nb.runtime.scheduler import Scheduler
from cerebelum_nb.store.database import is_damaged, may_pass, set_aside
from cerebelum_nb.store.journal import About, Journal

TICK_S: Final = 0.02
RETRY_S: Final = 1.0  # how often a held run's events are tried to be written
HOLD_S: Final = 60.0  # how long a run is held
MOST_DAMAGED: Final = 3  # a disk that damages one journal after another is not written to for ever
_log = logging.getLogger(__name__)


class Logged(Protocol):
    """A run, as the pump sees it."""

    id: str
    number: int
    scheduler: Scheduler

    @property
    def events(self) -> tuple[AnyEvent, ...]:
        """All that was delivered to it."""

    def keep(self, batch: Sequence[AnyEvent], *, lasting: bool) -> None:
        """Put the results that these events tell of on disk; before the events themselves."""

    def about(self) -> About | None:
        """What is known about it beside its events."""

    def deliver(self, batch: Sequence[AnyEvent]) -> None:
        """Events that are in the journal."""

    def held(self, why: str) -> None:
        """Nothing new of it begins until it is told so with an empty `why`."""

    def finished(self) -> None:
        """The last event is on disk."""

    def tidy(self) -> None:
        """It is over and everybody knows: what is left to write can be written now."""

    def crash(self, why: BaseException) -> None:
        """The run cannot go on: its events cannot be kept."""


@dataclass(eq=False, slots=True)
class _Followed:
    """A run, and how far its log is on disk."""

    run: Logged
    left: list[AnyEvent] = field(default_factory=list)  # taken from its log, and not written
    journal: Journal | None = None  # where the events before these are
    written: int = -1
    lasting: int = -1  # the last event that a power cut leaves there
    must_last: bool = False
    held_since: float = 0.0  # on the monotonic clock; 0 for not at all
    tried_at: float = 0.0
    given_up: bool = False  # it has ended for everybody; only its log is still to be written


class Pump(threading.Thread):
    """Journal first, listeners second."""

    def __init__(self, open_journal: Callable[[], Journal]) -> None:
        super().__init__(name="cerebelum-pump", daemon=True)
        self._open_journal = open_journal
        self._journal: Journal | None = None
        self._runs: list[_Followed] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._closing = False
        self._damaged = 0  # journals that were set aside
        self.path: str | None = None  # where the journal is, once it is open

    def add(self, run: Logged) -> None:
        """Follow a run until it ends."""
        with self._lock:
            self._runs.append(_Followed(run))
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
            self._wake.wait(self._pause_s())
            self._wake.clear()
            for followed in list(self._runs):
                self._serve(followed)
            if self._closing:
                break
        if self._journal is not None:
            self._journal.close()

    def _pause_s(self) -> float | None:
        if not self._runs:
            return None
        return RETRY_S if all(followed.given_up for followed in self._runs) else TICK_S

    def _serve(self, followed: _Followed) -> None:
        run, log = followed.run, followed.run.scheduler
        followed.must_last |= log.take_must_last()
        batch = log.drain()
        if followed.left:
            followed.left += batch
            batch = followed.left
        lasts = followed.must_last and (batch or followed.lasting < followed.written)
        if not batch and not lasts:
            log.on_disk(followed.lasting)  # whoever asks now may ask for what is there already
            return
        if followed.held_since and not self._is_time(followed):
            followed.left = batch
            return
        try:
            self._write(followed, batch)
        except Exception as exc:  # noqa: BLE001  a full disk, a locked file: this run's trouble; the thread lives on
            followed.left = batch
            self._failed(followed, exc)
            return
        followed.left = []
        if followed.held_since:
            followed.held_since = 0.0
            if not followed.given_up:
                _log.warning("run %s goes on: the journal can be written again", run.number)
                run.held("")
        log.on_disk(followed.lasting)
        try:
            run.deliver(batch)
        except Exception:  # noqa: BLE001  listeners are guests: said once, the run goes on
            _log.exception("a listener of run %s failed; the run goes on", run.id)
        if batch and type(batch[-1]) is RunFinished:
            self._end(followed)

    def _write(self, followed: _Followed, batch: Sequence[AnyEvent]) -> None:
        run = followed.run
        journal = self._current()
        if followed.journal is not journal and followed.written >= 0:  # it is another file: all of it goes there
            batch = (*run.events, *batch)
        lasting = followed.must_last or type(batch[-1]) is RunFinished
        if batch:
            run.keep(batch, lasting=lasting)
            journal.write(run.id, batch, run.about() if batch[0].seq == 0 else None, lasting=lasting)
            followed.journal, followed.written = journal, batch[-1].seq
        else:
            journal.sync(run.id)
        if lasting:
            followed.lasting, followed.must_last = followed.written, False

    def _current(self) -> Journal:
        """The journal: opened when first needed, and again where somebody removed the folder."""
        if self._journal is not None and not self._journal.is_there():
            self._journal.close()
            self._journal = None
        if self._journal is None:
            self._journal = self._open_journal()
            self.path = str(self._journal.path)
        return self._journal

    def _is_time(self, followed: _Followed) -> bool:
        """A held run's events are tried again now."""
        if self._closing or (followed.run.scheduler.is_cancelled() and not followed.given_up):
            return True
        return time.monotonic() - followed.tried_at >= RETRY_S

    def _failed(self, followed: _Followed, exc: Exception) -> None:
        if is_damaged(exc) and self._journal is not None and self._damaged < MOST_DAMAGED:
            self._damaged += 1
            aside = set_aside(self._journal.path, self._journal.file)
            _log.warning("the journal %s is damaged (%s); it was set aside as %s", self.path, exc, aside.name)
            self._journal.close()
            self._journal = None
            return  # at the next tick all goes to a new one
        followed.tried_at = time.monotonic()
        run, why = followed.run, f"{exc or type(exc).__name__}: {self.path or 'the journal'}"
        if not may_pass(exc):
            self._drop(followed)
            run.crash(ExecutorError(f"its events cannot be kept: {why}"))
            run.scheduler.on_disk(-1, kept=False)
            return
        if followed.given_up:
            return
        if not followed.held_since:
            followed.held_since = followed.tried_at
            note = f"held: the journal cannot be written ({why}); it goes on when there is room"
            _log.warning("run %s is %s", run.number, note)
            run.held(note)
        elif followed.tried_at - followed.held_since >= HOLD_S or run.scheduler.is_cancelled():
            self._give_up(followed, why)

    def _give_up(self, followed: _Followed, why: str) -> None:
        followed.given_up = True
        run = followed.run
        run.crash(
            ExecutorError(
                f"its events cannot be kept ({why}). Make room, then go on from what has completed with "
                f"runs[{run.number}].resume(), or with `cerebelum resume`"
            )
        )
        run.scheduler.on_disk(-1, kept=False)
        run.scheduler.abandon("its run was given up: the journal could not be written")

    def _end(self, followed: _Followed) -> None:
        self._drop(followed)
        if followed.given_up:
            return
        followed.run.finished()
        try:
            followed.run.tidy()
        except Exception as exc:  # noqa: BLE001  no room for what is only nice to have
            _log.warning("what run %s leaves could not be tidied up: %s", followed.run.number, exc)

    def _drop(self, followed: _Followed) -> None:
        with self._lock:
            if followed in self._runs:
                self._runs.remove(followed)
