"""Points in a run, by event: where something is to happen, and whether the event is on disk by then."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from cerebelum_nb.model.events import AnyEvent, Event, RunStarted
from cerebelum_nb.runtime.log import Log
from cerebelum_nb.store.journal import Journal

_FORM: Final = re.compile(r"event (?P<number>\d+)|(?P<kind>[a-z]+\.[a-z]+)(?: of (?P<step>.+?))?(?: #(?P<nth>\d+))?")
_WRITTEN_DEADLINE_S: Final = 5.0
KINDS: Final = frozenset(str(kind.__struct_config__.tag) for kind in Event.__subclasses__())


@dataclass(frozen=True)
class Point:
    """A place in a run.

    Attributes:
        after: ``event 17``, or the kind of an event: ``attempt.started``, ``attempt.started of pay``; ``#2`` behind it
            for the second one.
        on_disk: The event, and nothing later, is in the journal by then. Otherwise all before it are, and it is not.
        behind_s: The run goes on for so long while the disk stays behind: what it does meanwhile nobody will know.

    Raises:
        ValueError: `after` is neither.
    """

    after: str
    on_disk: bool = False
    behind_s: float = 0.0

    def __post_init__(self) -> None:
        found = _FORM.fullmatch(self.after)
        if found is None or (found["kind"] and found["kind"] not in KINDS):
            raise ValueError(
                f"{self.after!r}: it is 'event 17', or one of {', '.join(sorted(KINDS))}, ' of STEP', ' #2'"
            )


@dataclass
class _Hook:
    """Watches one run for one point."""

    point: Point
    act: Callable[[], object]
    run: str = ""  # the run that it watches: the first that begins
    names: tuple[str, ...] = ()
    seen: int = 0
    found: bool = False
    held: int | None = None  # the journal gets no events from this one on
    written: int = -1  # the last event in the journal
    progress: threading.Condition = field(default_factory=threading.Condition)

    def is_here(self, log: Log, event: AnyEvent) -> bool:
        """Whether this is the point; called before the event is in the log."""
        if isinstance(event, RunStarted) and not self.run:
            self.run, self.names = event.run, event.names
        run = event.run if isinstance(event, RunStarted) else log.state.run
        if self.found or run != self.run:
            return False
        found = _FORM.fullmatch(self.point.after)
        assert found is not None
        if found["number"]:
            return event.seq == int(found["number"])
        task = getattr(event, "task", None)
        if event.__struct_config__.tag != found["kind"]:
            return False
        if found["step"] and (task is None or self.names[task] != found["step"]):
            return False
        self.seen += 1
        return self.seen == int(found["nth"] or 1)

    def wait_for(self, seq: int) -> None:
        """Wait until the journal has an event; in vain only where it cannot be written."""
        until = time.monotonic() + _WRITTEN_DEADLINE_S
        with self.progress:
            while self.written < seq and (left := until - time.monotonic()) > 0:
                self.progress.wait(left)

    def reached(self) -> None:
        """It is here."""
        if self.point.behind_s:
            threading.Timer(self.point.behind_s, self._act).start()
        else:
            self._act()

    def _act(self) -> None:
        self.act()
        self.held = None  # whoever is still there goes on as before


@contextlib.contextmanager
def at(point: Point, act: Callable[[], object]) -> Iterator[None]:
    """Do something when the first run that begins in here comes to a point; once.

    Args:
        act: Called by whoever writes the event, in the grip of the run's lock (or, for a point on disk, by the
            journal's thread): it may kill and freeze, and must not look at the run.
    """
    hook = _Hook(point, act)
    write, drain, journal = Log._write, Log.drain, Journal.write  # noqa: SLF001  a test's own hook into them

    def written(log: Log, event: AnyEvent) -> None:
        if not hook.is_here(log, event):
            write(log, event)
            return
        hook.found, hook.held = True, event.seq + point.on_disk  # before it can be drained
        write(log, event)
        if not point.on_disk:
            hook.wait_for(event.seq - 1)
            hook.reached()

    def drained(log: Log) -> list[AnyEvent]:
        held = hook.held
        if held is None or log.state.run != hook.run:
            return drain(log)
        batch = [event for event in list(log.log) if event.seq < held]
        del log.log[: len(batch)]
        return batch

    def journaled(self: Journal, run: str, batch: Sequence[AnyEvent], *more: Any, **named: Any) -> None:
        journal(self, run, batch, *more, **named)
        if run != hook.run:
            return
        with hook.progress:
            hook.written = batch[-1].seq
            hook.progress.notify_all()
        if point.on_disk and hook.held == hook.written + 1:
            hook.reached()

    with (
        mock.patch.object(Log, "_write", written),
        mock.patch.object(Log, "drain", drained),
        mock.patch.object(Journal, "write", journaled),
    ):
        yield
