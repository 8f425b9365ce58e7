"""Who runs what: pending attempts, slots, redelivery and the steps of a stop. Pure: no I/O, no clock.

A slot works on its attempts one after the other, in the order it was given them. So when its worker dies, the
first may have begun and is lost; the others have not, and go back to the front of the queue.

A paused step stays in its worker, which is set aside: it does not count, and another slot may be opened for what waits.
When the step goes on there may be more workers at work than slots for a while; so one that is still aside when its
step ends is closed, and one whose place nobody took is taken back. A slot that is not wanted any more is set aside too,
for good.

What follows an attempt is given to a worker together with it, and does not count as waiting. When both have had their
time there, the follower comes back and waits like others.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

from cerebelum_nb.core.lines import Given, Harsher, Lines, SlotState
from cerebelum_nb.wire.frames import STOPS

TERMINATE_AFTER_S = 0.5  # a step that is asked to stop has this long until its worker gets SIGTERM
KILL_AFTER_S = 1.5  # and this long until its worker's group gets SIGKILL
BROKEN_AFTER = 3  # workers of a slot that end before they are ready, one after the other
ASIDE_MOST = 64  # workers of paused steps: each is a process


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


class Queue(Lines):
    """Attempts by number, slots by number.

    Args:
        slots: The first slots' numbers; as many count at once.
        window: Attempts a slot holds at once. May be changed at any time.
    """

    def __init__(self, slots: range, window: int = 1) -> None:
        super().__init__({slot: SlotState() for slot in slots})
        self._closing: set[int] = set()  # their workers are asked to end
        self._at_once = len(slots)
        self._counted = len(slots)
        self.window = window
        self._draining: set[int] = set()
        self._retiring: set[int] = set()  # of these, whose worker was told to end

    def add(self, attempt: int, run: str = "", after: int = 0, weight: int = 1) -> None:
        """A new attempt waits. Runs take turns.

        Args:
            after: What it follows, which has not ended; 0 for nothing.
            weight: So many attempts it stands for.
        """
        self._run_of[attempt] = run
        if weight > 1:
            self._weights[attempt] = weight
        if not after:
            self._pending.add(attempt, run)
            return
        self._behind.put(attempt, after)
        if after in self._where:
            self._new.append(attempt)

    def give(self) -> list[Given]:
        """Hand waiting attempts to slots with room, the emptiest first. A slot that still starts gets its first too."""
        given: list[Given] = []
        new, self._new = self._new, []
        for attempt in new:
            self._join(attempt, given)
        if not self._pending.count:
            return given
        free = {slot: self._load(slot) for slot, state in self._slots.items() if self._has_room(state)}
        while free and self._pending.count:
            slot = min(free, key=free.__getitem__)
            attempt = self._pending.next()
            self._place(slot, attempt)
            given.append(Given(slot, attempt))
            given += [Given(slot, follower) for follower in self._place_line(slot)]
            if self._has_room(self._slots[slot]):
                free[slot] = self._load(slot)
            else:
                del free[slot]
        return given

    def _has_room(self, state: SlotState) -> bool:
        """Whether a slot takes one more: nothing is put behind what takes long, or before a worker that starts."""
        if state.vacant or state.aside or state.draining or state.silent:
            return False
        return state.load < (self.window if state.ready and not state.slow and not state.alone else 1)

    def _load(self, slot: int) -> tuple[int, bool]:
        state = self._slots[slot]
        return state.load, not state.ready

    def opened(self) -> list[int]:
        """Open slots for attempts that wait while workers are set aside; each is vacant until a worker has `joined`."""
        new: list[int] = []
        while len(new) < self._pending.count and self._counted < self._at_once:
            new.append(self._open())
        return new

    def _open(self) -> int:
        slot = next(n for n in itertools.count(1) if n not in self._slots and n not in self._closing)
        self._slots[slot] = SlotState(vacant=True)
        self._counted += 1
        return slot

    def resize(self, at_once: int) -> tuple[list[int], list[int]]:
        """Have so many slots count at once: the slots that are opened, vacant until a worker has `joined`; those gone.

        Of too many, those with the least to do leave; a worker that leaves ends when `closed` names it.
        """
        self._at_once = at_once
        gone = self._shrunk()
        return [self._open() for _ in range(at_once - self._counted)], gone

    def remove(self, slot: int) -> list[int]:
        """Have one slot less, this one; the slots that are gone at once, since no worker is in them."""
        state = self._slots.get(slot)
        if state is None or state.leaving:
            return []
        gone = self._leave(slot)
        self._at_once = max(0, self._at_once - 1)
        return gone + self._shrunk()

    def _shrunk(self) -> list[int]:
        gone = []
        while self._counted > self._at_once:
            slot = min((slot for slot, state in self._slots.items() if not state.aside), key=self._least)
            gone += self._leave(slot)
        return gone

    def _least(self, slot: int) -> tuple[int, bool, bool]:
        state = self._slots[slot]
        return len(state.holding), not state.vacant, state.ready

    def _leave(self, slot: int) -> list[int]:
        state = self._slots[slot]
        if not state.aside:
            self._counted -= 1
        if state.vacant:
            del self._slots[slot]
            return [slot]
        state.aside = state.leaving = True
        return []

    def drain(self, slot: int) -> bool:
        """Give a slot's worker nothing more: it ends when `drained` names it, and another one follows."""
        state = self._slots.get(slot)
        if state is None or state.vacant or state.leaving:
            return False
        state.draining = True
        self._draining.add(slot)
        return True

    def drained(self) -> list[int]:
        """Slots whose workers have done what they had, and are to end; each is named once."""
        if not self._draining:
            return []
        found = [n for n in self._draining - self._retiring if not self._slots[n].holding]
        self._retiring.update(found)
        return found

    def joined(self, slot: int) -> None:
        """A worker was put into a slot that had none."""
        self._slots[slot].vacant = False

    def one_by_one(self, slot: int) -> None:
        """Give a slot one attempt at a time, whatever the window is."""
        self._slots[slot].alone = True

    def ready(self, slot: int) -> None:
        """The slot's worker has started."""
        self._slots[slot].ready = True
        self._slots[slot].stillborn = 0
        if self._slots[slot].holding:
            self._place_line(slot)

    def begins(self, slot: int) -> int | None:
        """The attempt that the slot's worker runs now, or None."""
        state = self._slots[slot]
        return state.holding[0] if state.ready and state.holding else None

    def held(self, slot: int) -> tuple[int, ...]:
        """The attempts that the slot's worker has, or gets when it is ready."""
        return tuple(self._slots[slot].holding)

    def crowded(self) -> list[int]:
        """Slots whose workers have more than what they run."""
        return [slot for slot, state in self._slots.items() if state.ready and self._has_more(state)]

    def _has_more(self, state: SlotState) -> bool:
        return state.load > 1 or (bool(state.holding) and state.holding[0] in self._weights)

    def take_back(self, slot: int, count: int) -> list[int]:
        """The last `count` entries that a slot holds will not begin there: they wait again, before all others.

        Returns:
            Those of them that were to be stopped: they have ended.
        """
        state, stopped = self._slots[slot], []
        for attempt in list(state.holding)[max(0, len(state.holding) - count) :][::-1]:
            if attempt in self._stopping:
                self._unplace(attempt)
                self._run_of.pop(attempt, None)
                self._drop(attempt)
                stopped.append(attempt)
            else:
                self._wait_again(attempt)
        state.slow = bool(state.holding)
        return stopped

    def silence(self, slot: int, *, silent: bool) -> None:
        """Give a slot's worker nothing more until it is heard of."""
        self._slots[slot].silent = silent

    def where(self, attempt: int) -> int | None:
        """The slot that holds an attempt."""
        return self._where.get(attempt)

    def finish(self, attempt: int, then: int = STOPS, *, slow: bool = False) -> bool:
        """An attempt ended on its worker; whether it was ours to end.

        Args:
            then: What becomes of what follows it; see `frames.Finished`.
            slow: It took its time, so what follows it may as well.
        """
        slot = self._unplace(attempt)
        if slot is None:
            return False
        if self._weights:
            self._weights.pop(attempt, None)
        state = self._slots[slot]
        state.done += 1
        self._run_of.pop(attempt, None)
        state.slow = False
        self._take_place(state)
        if then == STOPS:
            self._drop(attempt)
        elif (follower := self._behind.cut(attempt)) is not None:
            self._follows_on(follower, then, slow=slow)
        return True

    def paused(self, attempt: int) -> bool:
        """The attempt that a slot runs does nothing for a while; whether its worker could be set aside meanwhile."""
        slot = self._where.get(attempt)
        if slot is None:
            return True
        state = self._slots[slot]
        if state.aside:
            return True
        besides = any(not self._behind.follows(held) for held in itertools.islice(state.holding, 1, None))
        if len(self._slots) - self._counted >= ASIDE_MOST or besides:
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
        if state.aside and not state.leaving and self._counted < self._at_once:
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
        self._draining.difference_update(closed)
        self._retiring.difference_update(closed)
        return closed

    def cancel(self, attempt: int, now: float) -> int | None:
        """Stop an attempt: the slot that must be told, or None when it only waited or has ended."""
        slot = self._where.get(attempt)
        if slot is not None:
            self._stopping.setdefault(attempt, now)
        elif attempt in self._run_of:
            self._forget(attempt)
        return slot

    def withdraw(self, attempt: int) -> bool:
        """Take an attempt back; whether no worker has got it, which then never gets it."""
        slot = self._where.get(attempt)
        if slot is None:
            if attempt not in self._run_of:
                return False
            self._forget(attempt)
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
        shot = shot or slot in self._retiring
        self._draining.discard(slot)
        self._retiring.discard(slot)
        lost = held.pop(0) if held and state.ready else None
        wanted = lost is not None and lost not in self._stopping
        if lost is not None:
            self.finish(lost)
        for attempt in reversed(held):
            if attempt not in self._where:
                continue  # it followed the one that is lost
            if attempt in self._stopping:
                self._unplace(attempt)
                self._run_of.pop(attempt, None)
                self._dropped.append(attempt)
                self._drop(attempt)
            else:
                self._wait_again(attempt)
        state.stillborn = 0 if state.ready else state.stillborn + (not shot)
        state.ready, state.vacant, state.draining, state.silent, state.done = False, True, False, False, 0
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
        pending = [one for first in self._pending.clear() for one in (first, *self._behind.leave(first))]
        for attempt in pending:
            del self._run_of[attempt]
        return pending

    def is_vacant(self, slot: int) -> bool:
        """Whether the slot is there and waits for a worker."""
        state = self._slots.get(slot)
        return state is not None and state.vacant

    @property
    def waiting(self) -> int:
        """How many attempts no slot has."""
        return self._pending.count

    @property
    def slots(self) -> Mapping[int, SlotState]:
        """All slots, to look at."""
        return self._slots
