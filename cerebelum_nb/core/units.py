"""Batches of light attempts in Core's hands. Each is one entry of the queue, by its first attempt's number.

It stays whole for as long as all goes well. What a worker has not begun of it can be taken back like anything else:
those attempts wait by themselves then, and the batch ends before them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cerebelum_nb.core.queue import Queue
from cerebelum_nb.seal import key_to_workers
from cerebelum_nb.wire.batches import batched, before, check, items_of, single
from cerebelum_nb.wire.frames import GOES_ON, STOPS, Batch, Code, Submit

NOBODY: Final = 0  # no attempt has this number


@dataclass(slots=True, eq=False)
class Unit:
    """A batch that waits, or that a worker has.

    Attributes:
        codes: Its attempts' functions; the kernel may let go of them meanwhile.
        got: When it came, by the loop's clock.
        count: Attempts in it: those that its worker has begun, where it was cut.
        held_s: How long it waited until a worker had it.
        done: How many of them are known to have ended.
        told: The last attempt whose start was told by itself.
        stopping: The attempt that is to stop.
    """

    frame: Batch
    codes: Sequence[Code]
    got: float
    count: int
    held_s: float = 0.0
    done: int = 0
    told: int = NOBODY
    stopping: int = NOBODY

    @property
    def running(self) -> int:
        """The attempt that its worker runs or comes to, as far as is known."""
        return self.frame.id + self.done

    @property
    def left(self) -> range:
        """Its attempts that are not known to have ended."""
        return range(self.running, self.frame.id + self.count)

    @property
    def was_cut(self) -> bool:
        """Whether all that is left of it has begun."""
        return self.count < self.frame.count


class Units:
    """All batches that Core has.

    Args:
        key: The kernel's.
        alone: Called with one of a batch's attempts that is by itself from now on.
        dropped: Called with one that nobody will run.
        over: Called with the entry of a batch that is here no more.
    """

    def __init__(
        self,
        key: bytes,
        queue: Queue,
        alone: Callable[[Submit, Code, float], object],
        dropped: Callable[[int], object],
        over: Callable[[int], object],
    ) -> None:
        self._key, self._queue = key_to_workers(key), queue
        self._by_itself, self._dropped, self._over = alone, dropped, over
        self._units: dict[int, Unit] = {}
        self._at: dict[int, Unit] = {}  # by attempt

    def __len__(self) -> int:
        """How many attempts are in batches, at most."""
        return len(self._at)

    def add(self, unit: Unit, after: int = 0) -> None:
        """A batch has come, and waits.

        Args:
            after: What it follows in the queue; 0 for nothing.

        Raises:
            PayloadRejected: It is not the kernel's.
        """
        frame = unit.frame
        check(self._key, frame)
        self._units[frame.id] = unit
        for attempt in range(frame.id, frame.id + frame.count):
            self._at[attempt] = unit
        self._queue.add(frame.id, frame.run, after, frame.count)

    def get(self, entry: int) -> Unit | None:
        """The batch that an entry of the queue is, if it is one."""
        return self._units.get(entry)

    def of(self, attempt: int) -> Unit | None:
        """The batch that an attempt is in."""
        return self._at.get(attempt)

    def entry(self, attempt: int) -> int:
        """What stands for an attempt in the queue."""
        unit = self._at.get(attempt)
        return attempt if unit is None else unit.frame.id

    def running(self, entry: int) -> int:
        """The attempt that a worker runs of an entry."""
        unit = self._units.get(entry)
        return entry if unit is None else unit.running

    def attempts(self, entry: int) -> Sequence[int]:
        """The attempts of an entry that have not ended."""
        unit = self._units.get(entry)
        return (entry,) if unit is None else unit.left

    def tell_dropped(self) -> None:
        """What followed something that gave no result is not run; the kernel sends it again if it is to be."""
        for entry in self._queue.take_dropped():
            attempts, unit = self.attempts(entry), self._units.get(entry)
            if unit is not None:
                self._forget(unit)
            for attempt in attempts:
                self._dropped(attempt)

    def submit(self, unit: Unit, attempt: int) -> Submit:
        """An attempt of a batch."""
        place = attempt - unit.frame.id
        return batched(unit.frame, place, items_of(self._key, unit.frame)[place])

    def singles(self, frame: Batch, start: int = 0) -> Iterator[Submit]:
        """The attempts of a batch one by one, from one of them on.

        Raises:
            PayloadRejected: It is not the kernel's.
        """
        for place, item in enumerate(items_of(self._key, frame)[start:], start):
            yield single(self._key, frame.id + place, frame.run, item, before(frame, place))

    def ended(self, unit: Unit, count: int, then: int = STOPS, *, slow: bool = False) -> None:
        """Attempts of a batch have ended.

        Args:
            then: What becomes of what follows the last one of them, and
            slow: whether that took its time: see `Queue.finish`.
        """
        unit.done += count
        if unit.frame.line and unit.left and then != GOES_ON:
            self._drop(unit, unit.done)
            self._queue.drop_behind(unit.frame.id)
        if unit.left:
            self._queue.moved_on(unit.frame.id, count)
            return
        self._forget(unit)
        self._queue.finish(unit.frame.id, then, slow=slow)

    def _drop(self, unit: Unit, start: int) -> None:
        """Nobody will run a line's attempts from one on."""
        first = unit.frame.id
        for attempt in range(first + start, first + unit.count):
            del self._at[attempt]
            self._dropped(attempt)
        if self._queue.where(first) is not None:
            self._queue.shrink(first, unit.count - start)
        unit.count = start

    def cut(self, slot: int, unbegun: int) -> int:
        """A slot's worker will not begin the last so many attempts that it has.

        Where a batch has begun and not all of it, the rest waits by itself from now on.

        Returns:
            How many entries, the last ones, it will not begin at all.
        """
        whole = []
        for entry in reversed(self._queue.held(slot)):
            unit = self._units.get(entry)
            size = 1 if unit is None else len(unit.left)
            if unbegun < size or (unit is not None and unit.done):
                if unit is not None and unbegun:
                    self._cut(unit, min(unbegun, size))
                break
            whole.append(entry)
            unbegun -= size
        return sum(self._queue.where(entry) == slot for entry in whole)  # what followed the one that was cut is gone

    def _cut(self, unit: Unit, unbegun: int) -> None:
        start = unit.count - unbegun
        if unit.frame.line:
            self._drop(unit, start)
            self._queue.drop_behind(unit.frame.id)
        else:
            unit.count = start
            self._alone(unit, start)
            self._queue.shrink(unit.frame.id, unbegun)
        if not unit.left:
            self._forget(unit)
            self._queue.finish(unit.frame.id)

    def _alone(self, unit: Unit, start: int) -> None:
        """A batch's attempts from one on wait by themselves, before all others."""
        submits = list(self.singles(unit.frame, start))
        codes = {code.digest: code for code in unit.codes}
        for submit in submits:
            self._at.pop(submit.id, None)
            self._by_itself(submit, codes[submit.digest], unit.got)
        self._queue.put_first([submit.id for submit in submits], unit.frame.run)

    def break_up(self, entry: int) -> bool:
        """The attempts of an entry that nobody has begun wait by themselves, if it is a batch; whether it was one."""
        unit = self._units.get(entry)
        if unit is None:
            return False
        if unit.frame.line:  # the kernel sends them again, each in its turn
            self._drop(unit, 0)
        self._queue.leave(entry)
        self._forget(unit)
        if not unit.frame.line:
            self._alone(unit, 0)
        self.tell_dropped()
        return True

    def front(self, slot: int) -> Unit | None:
        """The batch that a slot's worker is at."""
        state = self._queue.slots.get(slot)
        return self._units.get(state.holding[0]) if state is not None and state.ready and state.holding else None

    def lost(self, unit: Unit, unbegun: int) -> list[Submit]:
        """A worker died that was at a batch: what it may have begun of it. The rest waits.

        Args:
            unbegun: How many, of all that it had, have not come to its gate.
        """
        first = unit.frame.id
        state = self._queue.slots[self._queue.where(first) or 0]
        behind = state.load - len(unit.left)
        not_begun = min(unbegun - behind, len(unit.left) - 1)  # one was the death of it
        if not_begun > 0:
            self._cut(unit, not_begun)
        self._forget(unit)
        return list(self.singles(unit.frame, unit.done))[: len(unit.left)]

    def _forget(self, unit: Unit) -> None:
        first = unit.frame.id
        del self._units[first]
        for attempt in range(first, first + unit.count):
            self._at.pop(attempt, None)
        self._over(first)
