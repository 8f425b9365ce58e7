"""Values of runs that have ended: in memory while they are recent, and then on disk only, where they are kept."""

import threading
from collections import deque
from collections.abc import Collection
from time import monotonic
from typing import Final, NamedTuple, Protocol

from cerebelum_nb.codec import Large

SHARED_NBYTES: Final = 4 << 30  # of shared memory that results of ended runs may take, where nobody says otherwise
SHARED_S: Final = 600.0  # and for how long those that are on disk too do


class Held(Protocol):
    """The values of a run that has ended; see `values.Results`."""

    run: str

    def spill(self) -> None:
        """Let go of every value that is on disk too, and of every one in shared memory."""

    def large(self) -> dict[int, Large]:
        """Those in shared memory, by task."""

    def is_on_disk(self, task: int) -> bool:
        """One of them can be read from disk, too."""

    def let_go(self, task: int, why: str) -> None:
        """Let go of one of them; where it is not on disk it is lost, and that is why."""


class _One(NamedTuple):
    """A value in shared memory, and the runs that have it."""

    large: Large
    places: list[tuple[Held, int]]

    def is_on_disk(self) -> bool:
        return all(held.is_on_disk(task) for held, task in self.places)

    def let_go(self, why: str) -> int:
        for held, task in self.places:
            held.let_go(task, f"it is {self.large.nbytes / 2**20:.0f} MiB, which is too much to be kept, and {why}")
        return self.large.nbytes


class Ended:
    """Runs that have ended, and how long they have their values in memory. From any thread.

    Args:
        in_memory: How many runs have them.
        shared_nbytes: What those in shared memory may take together. The oldest go first; those of the newest run stay.
        shared_s: How long those that are on disk too stay in shared memory.
    """

    def __init__(self, in_memory: int, shared_nbytes: int = SHARED_NBYTES, shared_s: float = SHARED_S) -> None:
        self._in_memory, self._shared_nbytes, self._shared_s = in_memory, shared_nbytes, shared_s
        self._runs: deque[tuple[Held, float]] = deque()  # and when they ended
        self._next_look = 0.0  # on the monotonic clock; 0 for never: nothing is there
        self._lock = threading.Lock()

    def add(self, held: Held) -> None:
        """A run has ended."""
        with self._lock:
            self._runs.append((held, monotonic()))
            while len(self._runs) > self._in_memory:
                self._runs.popleft()[0].spill()
            self._keep_to_size()
            self._look_later()

    def look(self) -> None:
        """Let go of what has been there for long. Cheap where there is nothing to do; call it now and then."""
        if not self._next_look or monotonic() < self._next_look:
            return
        with self._lock:
            before = monotonic() - self._shared_s
            recent = {id(large) for held, at in self._runs if at > before for large in held.large().values()}
            for one in self._ones():
                if id(one.large) not in recent and one.is_on_disk():
                    one.let_go("")
            self._look_later()

    def relieve(self) -> int:
        """There is no room: let go of all that is on disk too.

        Returns:
            How many bytes that were.
        """
        with self._lock:
            return sum(one.let_go("") for one in self._ones() if one.is_on_disk())

    def free(self, runs: Collection[str] | None = None) -> int:
        """Let go of all that is in shared memory, of some runs or of all.

        Returns:
            How many bytes that were.
        """
        with self._lock:
            return sum(one.let_go("somebody wanted its memory") for one in self._ones(runs))

    def nbytes(self) -> int:
        """What ended runs hold in shared memory."""
        with self._lock:
            return sum(one.large.nbytes for one in self._ones())

    def lost_if_freed(self) -> int:
        """How much of that is nowhere else."""
        with self._lock:
            return sum(one.large.nbytes for one in self._ones() if not one.is_on_disk())

    def _ones(self, runs: Collection[str] | None = None) -> list[_One]:
        """Each value once, those first whose last run ended first."""
        found: dict[int, _One] = {}
        for held, _ in self._runs:
            for task, large in held.large().items() if runs is None or held.run in runs else ():
                one = found.pop(id(large), None) or _One(large, [])
                one.places.append((held, task))
                found[id(large)] = one
        return list(found.values())

    def _keep_to_size(self) -> None:
        ones = self._ones()
        over = sum(one.large.nbytes for one in ones) - self._shared_nbytes
        if over <= 0:
            return
        newest = {id(large) for large in self._runs[-1][0].large().values()}
        older = (one for one in ones if id(one.large) not in newest)
        for one in sorted(older, key=lambda one: not one.is_on_disk()):  # first those that are not lost by it
            if over > 0:
                over -= one.let_go(f"results of newer runs take {self._shared_nbytes >> 20} MiB of memory (shared_mib)")

    def _look_later(self) -> None:
        oldest = next((at for held, at in self._runs if held.large()), None)
        later = monotonic() + self._shared_s / 10
        self._next_look = 0.0 if oldest is None else max(oldest + self._shared_s, later)
