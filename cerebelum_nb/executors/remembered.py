"""Values that were sent a while ago: the same one goes again by reference, instead of a second time into memory."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from time import monotonic
from typing import Final

from cerebelum_nb.codec import Large, Parts
from cerebelum_nb.wire.segments import Segments
from cerebelum_nb.wire.storage import Storage

REMEMBERED_NBYTES: Final = 512 << 20  # of values that nobody needs just now
REMEMBERED_S: Final = 300.0  # and for so long


class Remembered:
    """The large values of one Core that are alive, and for a while those that were sent to it. From any thread.

    What is the same is found by comparing all of it with what is in the segment: as quick as copying, and right also
    where somebody has changed an array in place.
    """

    def __init__(self, segments: Segments | Storage) -> None:
        self._segments = segments
        self._living: weakref.WeakValueDictionary[str, Large] = weakref.WeakValueDictionary()
        self._sent: OrderedDict[str, tuple[Large, float]] = OrderedDict()  # by name; used last, forgotten last
        self._lock = threading.RLock()  # the end of a value may come from anywhere

    def __iter__(self) -> Iterator[Large]:
        with self._lock:
            return iter(list(self._living.values()))

    def __contains__(self, name: str) -> bool:
        """Whether somebody needs what is in a segment."""
        return name in self._living

    def get(self, name: str) -> Large | None:
        """What stands for the value in a segment, while somebody needs it."""
        return self._living.get(name)

    def add(self, large: Large) -> None:
        """A value is in a segment."""
        with self._lock:
            self._living[large.where.name] = large

    def find(self, parts: Parts) -> Large | None:
        """The same value, where it is in a segment already."""
        for large in reversed(list(self)):
            if self._segments.holds(large.where, parts):
                if large.where.name in self._sent:
                    self.sent(large)
                return large
        return None

    def sent(self, large: Large) -> None:
        """A value was put into a segment to be sent: it stays for a while."""
        with self._lock:
            self._sent[large.where.name] = large, monotonic()
            self._sent.move_to_end(large.where.name)

    def make_room(self, nbytes: int) -> None:
        """Forget the oldest where another one of this size would be too much."""
        with self._lock:
            total = nbytes + sum(large.nbytes for large, _ in self._sent.values())
            while self._sent and total > REMEMBERED_NBYTES:
                _, (large, _) = self._sent.popitem(last=False)
                total -= large.nbytes

    def forget(self, older_s: float = 0.0) -> None:
        """Forget what was sent so long ago; everything, where nobody says how long."""
        before = monotonic() - older_s
        with self._lock:
            for name in [name for name, (_, at) in self._sent.items() if at <= before]:
                del self._sent[name]

    def clear(self) -> None:
        """Core has ended, and its segments with it."""
        with self._lock:
            self._sent.clear()
            self._living.clear()
