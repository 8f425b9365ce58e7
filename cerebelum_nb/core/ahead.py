"""Short attempts are sent ahead, several to a worker; what waits there behind a long one is taken back."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from time import perf_counter
from typing import Final

from cerebelum_nb.core.pace import Pace, Spins
from cerebelum_nb.core.queue import Queue
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.unbegun import Unbegun
from cerebelum_nb.core.units import Units
from cerebelum_nb.wire.frames import Finished

STALL_S: Final = 0.005  # an attempt that takes longer holds up nothing that waits behind it in its worker
SPIN_MOST: Final = 2  # attempts that Core has, at most, to sit and wait for an answer
SPIN_BELOW_S: Final = 0.0002  # what attempts take these days, at most
SPIN_S: Final = 0.00015  # for so long


class Ahead:
    """Looks after what workers hold besides what they run.

    Args:
        slots: By number; shared with the service.
        units: The batches among what is in the queue.
        stopped: Called with an attempt that was to be stopped, and has ended by being taken back.
        hand_out: Called when something waits again.
        say: Told to whoever looks at an attempt.
        stalls: Called with a slot whose worker takes longer than was thought for what it runs.

    Attributes:
        pace: Says how many attempts a worker should hold.
    """

    def __init__(  # noqa: PLR0913, PLR0917  put together in one place, `Handing`
        self,
        queue: Queue,
        slots: Mapping[int, Slot],
        units: Units,
        stopped: Callable[[int], object],
        hand_out: Callable[[], object],
        say: Callable[[int, str], object],
        stalls: Callable[[int], object],
    ) -> None:
        self.pace = Pace()
        self._queue, self._slots, self._units = queue, slots, units
        self._stopped, self._hand_out, self._stalls = stopped, hand_out, stalls
        self._spins = Spins()
        self._loop = asyncio.get_running_loop()
        self._unbegun = Unbegun(queue, slots, self.take_back, hand_out, say)
        self._looks = False  # somebody will look soon
        self._ran: dict[int, tuple[int | None, int]] = {}  # at the last look: slot -> what it ran, what it had done

    def ended(self, frame: Finished) -> None:
        """An attempt has ended on its worker."""
        self.pace.took(frame.decode_s + frame.run_s + frame.encode_s)

    def handed_out(self, to: Collection[int], held: int) -> None:
        """Attempts were handed out.

        Args:
            to: Slots that were given some.
            held: How many attempts Core has.
        """
        if to and held <= SPIN_MOST and self.pace.average_s < SPIN_BELOW_S and self._spins.worth_it():
            self._loop.call_soon(self._spin, to)
        if held and not self._unbegun.looks:
            self._unbegun.soon()
        if not self._looks and self._queue.crowded():
            self._looks = True
            self._loop.call_later(STALL_S, self._look)

    def _spin(self, to: Collection[int]) -> None:
        """Wait for a quick worker's answer without going to sleep: to be woken would take as long as its step."""
        slots, until = [self._slots[number] for number in to if number in self._slots], perf_counter() + SPIN_S
        answered = False
        while not answered and perf_counter() < until:
            for slot in slots:
                answered |= slot.look()
        self._spins.ended(answered=answered)

    def _look(self) -> None:
        """Free what waits in workers behind an attempt that takes longer than was thought."""
        self._looks, before = False, self._ran
        slots = self._queue.slots
        self._ran = {number: (self._queue.begins(number), slots[number].done) for number in self._queue.crowded()}
        for number, ran in self._ran.items():
            if before.get(number) == ran:
                self.take_back(number)
                self._stalls(number)
        self._hand_out()

    def take_back(self, number: int) -> None:
        """Have all that a slot's worker has not begun wait here again."""
        unbegun = self._slots[number].take_back()
        for attempt in self._queue.take_back(number, self._units.cut(number, unbegun)):
            self._stopped(attempt)
        self._units.tell_dropped()

    def fetch(self, attempt: int) -> None:
        """Have an attempt wait here again if its worker has it and has not begun it."""
        entry = self._units.entry(attempt)
        slot = self._queue.where(entry)
        whole = self._units.get(entry) is not None
        if slot is not None and self._queue.is_ready(slot) and (whole or self._queue.begins(slot) != entry):
            self.take_back(slot)
        if whole and self._queue.where(entry) is None:
            self._units.break_up(entry)
