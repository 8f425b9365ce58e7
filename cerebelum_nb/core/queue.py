"""Who runs what: pending attempts, slots, redelivery and the steps of a stop. Pure: no I/O, no clock.

A slot works on its attempts one after the other, in the order it was given them. So when its worker dies, the
first may have begun and is lost; the others have not, and go back to the front of the queue.

A paused step stays in its worker, which is set aside: it does not count, and another slot may be opened for what waits.
When the step goes on there may be more workers at work than slots for a while; so one that is still aside when its
step ends is closed, and one whose place nobody took is taken back.
"""

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

TERMINATE_AFTER_S = 0.5  # a step that is asked to stop has this long until its worker gets SIGTERM
KILL_AFTER_S = 1.5  # and this long until its worker's group gets SIGKILL
BROKEN_AFTER = 3  # workers of a slot that end before they are ready, one after the other
ASIDE_MOST = 64  # workers of paused steps: each is a process

Harsher = Literal["terminate", "kill"]


class Given(NamedTuple):
    """A slot is to run an attempt."""

    slot: int
    attempt: int


class Death(NamedTuple):
    """What the death of a slot's worker means.

    Attributes:
        lost: The attempt that may have begun, or None.
        wanted: Whether somebody still waits for it: not after a cancel.
        broken: Workers do not start here; attempts must not wait for them.
        closed: No other worker is wanted in its slot, which is gone.
    """

    lost: int | None
    wanted: bool
    broken: bool
    closed: bool = False


@dataclass(slots=True)
class SlotState:
    """One place for a worker."""

    vacant: bool = False  # the last worker is gone and the next one not there yet
    ready: bool = False
    aside: bool = False  # it does not count: its step is paused, or was when others took its place
    holding: deque[int] = field(default_factory=deque)
    stillborn: int = 0


class Queue:
    """Attempts by number, slots by number.

    Args:
        slots: The first slots' numbers; as many count at once.
        window: Attempts a slot holds at once.
    """

    def __init__(self, slots: range, window: int = 1) -> None:
        self._slots = {slot: SlotState() for slot in slots}
        self._closing: set[int] = set()  # their workers are asked to end
        self._at_once = len(slots)
        self._counted = len(slots)
        self._window = window
        self._pending: deque[int] = deque()
        self._where: dict[int, int] = {}
        self._stopping: dict[int, float] = {}  # attempt -> when the stop was asked
        self._told: dict[int, Harsher] = {}

    def add(self, attempt: int) -> None:
        """A new attempt waits."""
        self._pending.append(attempt)

    def give(self) -> list[Given]:
        """Hand waiting attempts to slots with room, the emptiest first. A slot that still starts gets its first too."""
        given: list[Given] = []
        while self._pending and (free := [slot for slot, state in self._slots.items() if _is_open(state)]):
            slot = min(free, key=self._load)
            if len(self._slots[slot].holding) >= self._window:
                break
            attempt = self._pending.popleft()
            self._slots[slot].holding.append(attempt)
            self._where[attempt] = slot
            given.append(Given(slot, attempt))
        return given

    def _load(self, slot: int) -> tuple[int, bool]:
        state = self._slots[slot]
        return len(state.holding), not state.ready

    def opened(self) -> list[int]:
        """Open slots for attempts that wait while workers are set aside; each is vacant until a worker has `joined`."""
        new: list[int] = []
        while len(new) < len(self._pending) and self._counted < self._at_once:
            slot = next(n for n in itertools.count(1) if n not in self._slots and n not in self._closing)
            self._slots[slot] = SlotState(vacant=True)
            self._counted += 1
            new.append(slot)
        return new

    def joined(self, slot: int) -> None:
        """A worker was put into a slot that had none."""
        self._slots[slot].vacant = False

    def ready(self, slot: int) -> None:
        """The slot's worker has started."""
        self._slots[slot].ready = True
        self._slots[slot].stillborn = 0

    def begins(self, slot: int) -> int | None:
        """The attempt that the slot's worker runs now, or None."""
        state = self._slots[slot]
        return state.holding[0] if state.ready and state.holding else None

    def held(self, slot: int) -> tuple[int, ...]:
        """The attempts that the slot's worker has, or gets when it is ready."""
        return tuple(self._slots[slot].holding)

    def where(self, attempt: int) -> int | None:
        """The slot that holds an attempt."""
        return self._where.get(attempt)

    def finish(self, attempt: int) -> bool:
        """An attempt ended on its worker; whether it was ours to end."""
        slot = self._where.pop(attempt, None)
        if slot is None:
            return False
        state = self._slots[slot]
        state.holding.remove(attempt)
        self._take_place(state)
        self._stopping.pop(attempt, None)
        self._told.pop(attempt, None)
        return True

    def paused(self, attempt: int) -> bool:
        """The attempt that a slot runs does nothing for a while; whether its worker could be set aside meanwhile."""
        slot = self._where.get(attempt)
        if slot is None:
            return True
        state = self._slots[slot]
        if state.aside:
            return True
        if len(self._slots) - self._counted >= ASIDE_MOST or len(state.holding) > 1:
            return False  # what it holds besides would wait as long
        state.aside = True
        self._counted -= 1
        return True

    def resumed(self, attempt: int) -> None:
        """It goes on: on its old place, if nobody has it."""
        slot = self._where.get(attempt)
        if slot is not None:
            self._take_place(self._slots[slot])

    def _take_place(self, state: SlotState) -> None:
        if state.aside and self._counted < self._at_once:
            state.aside = False
            self._counted += 1

    def closed(self) -> list[int]:
        """Close slots whose step has ended while others have their place; their workers are to end."""
        if len(self._slots) == self._counted:
            return []
        closed = [slot for slot, state in self._slots.items() if state.aside and not state.holding]
        for slot in closed:
            del self._slots[slot]
        self._closing.update(closed)
        return closed

    def cancel(self, attempt: int, now: float) -> int | None:
        """Stop an attempt: the slot that must be told, or None when it only waited or has ended."""
        slot = self._where.get(attempt)
        if slot is not None:
            self._stopping.setdefault(attempt, now)
        elif attempt in self._pending:
            self._pending.remove(attempt)
        return slot

    def withdraw(self, attempt: int) -> bool:
        """Take an attempt back; whether no worker has got it, which then never gets it."""
        slot = self._where.get(attempt)
        if slot is None:
            if attempt not in self._pending:
                return False
            self._pending.remove(attempt)
            return True
        return not self._slots[slot].ready and self.finish(attempt)

    def is_ready(self, slot: int) -> bool:
        """Whether the slot's worker takes attempts now."""
        return self._slots[slot].ready

    def overdue(self, now: float) -> list[tuple[int, Harsher]]:
        """Slots whose attempt did not stop in time, each named once per step of the ladder."""
        harsher: list[tuple[int, Harsher]] = []
        for attempt, since in self._stopping.items():
            slot = self._where[attempt]
            if self._slots[slot].holding[0] != attempt:
                continue  # it has not begun, and is skipped when its turn comes
            step: Harsher | None = None
            if now - since >= KILL_AFTER_S:
                step = "kill"
            elif now - since >= TERMINATE_AFTER_S and self._slots[slot].ready:
                step = "terminate"
            if step is not None and self._told.get(attempt) != step:
                self._told[attempt] = step
                harsher.append((slot, step))
        return harsher

    def died(self, slot: int) -> Death:
        """The slot's worker is gone; the slot gets nothing until another has `joined`."""
        if slot in self._closing:
            self._closing.remove(slot)
            return Death(None, wanted=False, broken=False, closed=True)
        state = self._slots[slot]
        held = list(state.holding)
        shot = not state.ready and bool(held) and held[0] in self._told  # by us: it says nothing about the next one
        lost = held.pop(0) if held and state.ready else None
        wanted = lost is not None and lost not in self._stopping
        if lost is not None:
            self.finish(lost)
        for attempt in reversed(held):
            stopped = attempt in self._stopping
            self.finish(attempt)
            if not stopped:
                self._pending.appendleft(attempt)
        state.stillborn = 0 if state.ready else state.stillborn + (not shot)
        state.ready, state.vacant = False, True
        if state.aside:
            del self._slots[slot]
            return Death(lost, wanted, broken=False, closed=True)
        return Death(lost, wanted, broken=state.stillborn >= BROKEN_AFTER)

    def is_starting(self, slot: int) -> bool:
        """Whether the slot has a worker that is not ready yet."""
        state = self._slots.get(slot)
        return state is not None and not state.ready and not state.vacant

    def stillborn(self, slot: int) -> int:
        """How many workers of this slot in a row ended before they were ready."""
        return self._slots[slot].stillborn

    def give_up_pending(self) -> list[int]:
        """Take out all that waits: nothing will run it."""
        pending = list(self._pending)
        self._pending.clear()
        return pending


def _is_open(state: SlotState) -> bool:
    return not state.vacant and not state.aside
