"""What a worker was given and has not begun: had back from one that does not answer, for one that does.

A worker that is stopped while it has nothing to do is seen as free. It comes to its gate for each attempt that it
begins, and answers from its control thread at all other times: who does neither for a while has begun nothing, and is
given nothing more until it is heard of.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cerebelum_nb.core.queue import Queue
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.staff import note

LOOK_S: Final = 0.25
_PATIENCE_MOST: Final = 32  # looks: whoever was heard of after all is given twice the time


@dataclass(slots=True)
class _Asked:
    """A worker was asked whether it lives."""

    slot: Slot
    attempt: int  # that it should have begun
    heard: int  # so often it had answered until then
    looks: int  # that are left until it is not waited for


class Unbegun:
    """Looks at workers that were given something, for as long as one of them has not begun it.

    Args:
        slots: By number; shared with the service.
        take_back: Has all that a slot's worker has not begun wait again.
        hand_out: Called when something waits again, or a worker is heard of again.
        say: Told to whoever looks at an attempt.

    Attributes:
        looks: Somebody will look soon.
    """

    def __init__(
        self,
        queue: Queue,
        slots: Mapping[int, Slot],
        take_back: Callable[[int], object],
        hand_out: Callable[[], object],
        say: Callable[[int, str], object],
    ) -> None:
        self._queue, self._slots = queue, slots
        self._take_back, self._hand_out, self._say = take_back, hand_out, say
        self._asked: dict[int, _Asked] = {}
        self._loop = asyncio.get_running_loop()
        self.looks = False

    def soon(self) -> None:
        """Look in a while. Whoever hands out asks for it, if nobody has."""
        self.looks = True
        self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self.looks = moved = False
        before, self._asked = self._asked, {}
        for number, slot in list(self._slots.items()):
            state = self._queue.slots.get(number)
            if state is None or not state.ready or not slot.takes_back:
                continue
            asked = before.get(number)
            if asked is not None and (asked.slot is not slot or not (state.holding or state.silent)):
                asked = None
            if state.silent:
                moved |= self._may_answer(number, asked)
            elif state.holding and slot.unbegun() >= state.load:
                moved |= self._has_begun_nothing(number, slot, state.holding[0], asked)
        if self._asked and not self.looks:
            self.soon()
        if moved:
            self._hand_out()

    def _may_answer(self, number: int, asked: _Asked | None) -> bool:
        """Whether a worker that was silent has been heard of."""
        if asked is None or asked.slot.heard == asked.heard:
            if asked is not None:
                self._asked[number] = asked
            return False
        asked.slot.patience = min(2 * asked.slot.patience, _PATIENCE_MOST)
        self._queue.silence(number, silent=False)
        note(f"worker {number} (pid {asked.slot.pid}) answers again")
        return True

    def _has_begun_nothing(self, number: int, slot: Slot, attempt: int, asked: _Asked | None) -> bool:
        """Ask a worker that should have begun something whether it lives; whether it was taken back."""
        if asked is None or asked.attempt != attempt or asked.slot.heard != asked.heard:
            self._asked[number] = _Asked(slot, attempt, slot.heard, slot.patience)
            slot.ask()
            return False
        self._asked[number] = asked
        asked.looks -= 1
        if asked.looks:
            return False
        self._take_back(number)
        if not self._queue.held(number):  # else it stood in its gate just then
            self._queue.silence(number, silent=True)
            who = f"worker {number} (pid {slot.pid}) does not answer"
            note(f"{who}: what it was given goes to others")
            self._say(attempt, f"{who}: the step goes to the next one that is free\n")
        return True
