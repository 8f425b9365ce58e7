"""A run's log and the fold of it, under one short lock; and what running attempts add to it by themselves."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cerebelum_nb.attempt import printable
from cerebelum_nb.model.events import (
    AnyEvent,
    AttemptOutput,
    AttemptProgress,
    PauseKind,
    Stream,
    TaskLookedUp,
    TaskPaused,
    TaskResumed,
)
from cerebelum_nb.model.state import RUNNING, SUBMITTED, RunState

T = TypeVar("T")


class Log:
    """Events, and the state they fold to.

    Attributes:
        late: Signals of superseded attempts: counted, never written.
        held: Nothing new begins, since the journal cannot be written.
        must_last: Something was written since the last look that is to be on disk at once, and to stay there.
    """

    def __init__(self) -> None:
        self.state = RunState()
        self.log: list[AnyEvent] = []
        self.late = 0
        self.held = self.must_last = False
        self._on_disk: list[tuple[int, Callable[[bool], object]]] = []  # event -> who waits until that is on disk
        self._on_disk_lock = threading.Lock()
        self._lock = threading.Lock()
        self._last_at = 0.0  # of the last event
        self._wall = time.time() - time.perf_counter()

    def now(self) -> float:
        """UTC seconds, from a clock that never runs backwards inside a run."""
        return time.perf_counter() + self._wall

    def stand_at(self, at: float) -> None:
        """Take this as the present: for a log that is over."""
        self._wall = at - time.perf_counter()

    def read(self, look: Callable[[RunState], T]) -> T:
        """Look at the state while nobody writes; keep it short."""
        with self._lock:
            return look(self.state)

    def drain(self) -> list[AnyEvent]:
        """Take the log so far."""
        batch = self.log[: len(self.log)]  # one reader, append-only writers: each line is atomic, no lock needed
        del self.log[: len(batch)]
        return batch

    def when_on_disk(self, seq: int, call: Callable[[bool], object]) -> None:
        """Call somebody once an event is on disk to stay, with True; with False when it never will be."""
        with self._on_disk_lock:
            self._on_disk.append((seq, call))

    def take_must_last(self) -> bool:
        """Whether what is in the log is to be on disk to stay. To be asked before `drain`."""
        asked, self.must_last = self.must_last, False
        return asked or bool(self._on_disk)

    def on_disk(self, seq: int, *, kept: bool = True) -> None:
        """Tell those who wait that all events up to one are on disk; or, with `kept=False`, that no more will be."""
        if not self._on_disk:
            return
        with self._on_disk_lock:
            told = [call for number, call in self._on_disk if number <= seq or not kept]
            self._on_disk = [(number, call) for number, call in self._on_disk if number > seq and kept]
        for call in told:
            call(kept)

    def printed(self, task: int, attempt: int, stream: Stream, text: str, shown: int = 0) -> None:
        """A live attempt printed something, or displayed it."""
        text = printable(text)
        with self._lock:
            if self._alive(task, attempt):
                self._write(AttemptOutput(self.state.seq + 1, self.now(), task, attempt, stream, text, shown))
            else:
                self.late += 1

    def progress(self, task: int, attempt: int, done: float, text: str) -> None:
        """A live attempt says how far it is."""
        with self._lock:
            if self._alive(task, attempt):
                self._write(AttemptProgress(self.state.seq + 1, self.now(), task, attempt, done, printable(text)))
            else:
                self.late += 1

    def paused(self, task: int, attempt: int, kind: PauseKind, until: float, text: str) -> None:
        """A live attempt sleeps, or waits for an answer, until then (UTC seconds; 0 for ever)."""
        with self._lock:
            if self._alive(task, attempt):
                self._write(TaskPaused(self.state.seq + 1, self.now(), task, attempt, kind, until, printable(text)))
            else:
                self.late += 1

    def resumed(self, task: int, attempt: int) -> None:
        """It goes on."""
        with self._lock:
            if self._alive(task, attempt) and task in self.state.paused:
                self._write(TaskResumed(self.state.seq + 1, self.now(), task, attempt))
            else:
                self.late += 1

    def looked_up(self, task: int, attempt: int, text: str, *, hit: bool) -> None:
        """A live attempt has looked for its result in the cache."""
        with self._lock:
            if self._alive(task, attempt):
                self._write(TaskLookedUp(self.state.seq + 1, self.now(), task, attempt, hit, printable(text)))
            else:
                self.late += 1

    def _alive(self, task: int, attempt: int) -> bool:
        return SUBMITTED <= self.state.phase[task] <= RUNNING and self.state.attempt[task] == attempt

    def _write(self, e: AnyEvent) -> None:
        self.state.apply(e)
        self.log.append(e)
        self._last_at = e.at
