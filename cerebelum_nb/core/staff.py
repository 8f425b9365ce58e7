"""What a person asks of Core: more workers or fewer, one to end, who does what; and lines in its log."""

import logging
import sys
import time
from collections.abc import Callable, Iterable

from cerebelum_nb.core.lines import SlotState
from cerebelum_nb.core.queue import Queue
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.spawn import Ending, Nursery
from cerebelum_nb.core.units import Units
from cerebelum_nb.wire.channel import Outbox
from cerebelum_nb.wire.frames import AnyFrame, Drain, Left, Look, Ping, Resize, Seat, Seats

logger = logging.getLogger(__name__)


class Staff:
    """Changes how many slots there are, and who is in them.

    Args:
        units: The batches among what is in the queue.
        slots: By number; shared with the service.
        respawn: Puts a worker into a slot that has none.
    """

    def __init__(  # noqa: PLR0913, PLR0917  put together in one place, `Handing`
        self,
        queue: Queue,
        units: Units,
        slots: dict[int, Slot],
        out: Outbox,
        nursery: Nursery,
        respawn: Callable[[int], None],
    ) -> None:
        self._queue, self._units, self._slots, self._out = queue, units, slots, out
        self._nursery, self._respawn = nursery, respawn

    def obey(self, frame: AnyFrame) -> None:
        """Do what the kernel asks."""
        match frame:
            case Resize():
                self._resize(frame)
            case Drain():
                self._drain(frame)
            case Ping():
                self._out.put(frame)
            case Look():
                self._out.put(Seats(seats(self._queue, self._units), self._queue.waiting))
            case _:
                logger.warning("frame.unexpected", extra={"frame": type(frame).__name__})

    def let_go(self) -> None:
        """Let workers end that have done what they had and get nothing more."""
        for number in self._queue.closed():
            self._slots.pop(number).retire()
        for number in self._queue.drained():
            self._slots[number].retire()

    def _resize(self, frame: Resize) -> None:
        if frame.env != self._nursery.env:
            self._nursery.env = frame.env
            for number in self._queue.slots:
                self._queue.drain(number)
        opened, gone = self._queue.resize(frame.slots)
        note(f"there are to be {frame.slots} workers")
        self._are_gone(gone)
        for number in opened:
            self._respawn(number)
        self.let_go()

    def _drain(self, frame: Drain) -> None:
        note(f"worker {frame.slot} is to end after its step, and {'another' if frame.again else 'none'} follows")
        if frame.again:
            self._queue.drain(frame.slot)
        else:
            self._are_gone(self._queue.remove(frame.slot))
        self.let_go()

    def _are_gone(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._slots.pop(number, None)
            self._out.put(Left(number))


def seats(queue: Queue, units: Units) -> tuple[Seat, ...]:
    """All slots as they are now."""
    found = sorted(queue.slots.items())
    return tuple(Seat(number, *_now(slot, units), slot.done, _leaves(slot)) for number, slot in found)


def _now(slot: SlotState, units: Units) -> tuple[str, int]:
    """What a slot does, and the attempt it is about."""
    if slot.vacant or not slot.ready:
        return "starting", 0
    if not slot.holding:
        return "silent" if slot.silent else "idle", 0
    return "paused" if slot.aside and not slot.leaving else "busy", units.running(slot.holding[0])


def _leaves(slot: SlotState) -> str:
    return "leaving" if slot.leaving else "draining" if slot.draining else ""


def note(text: str) -> None:
    """A line in Core's log, for a person who looks there."""
    line = "".join(char if char.isprintable() else "·" for char in text)  # some of it others have said
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def not_started(number: int, exc: OSError, again_s: float) -> None:
    """A line for a worker that could not be started; none where Core ends and takes no new ones."""
    if not isinstance(exc, Ending):
        note(f"worker {number} could not be started ({exc}); this is tried again in {again_s:g} s")
