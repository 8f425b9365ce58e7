"""Attempts, slots, and lines of attempts that follow one another: what `Queue` decides on top of. Pure."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cerebelum_nb.core.behind import Behind
from cerebelum_nb.core.turns import Turns
from cerebelum_nb.wire.frames import GOES_ON

Harsher = Literal["terminate", "kill"]


class Given(NamedTuple):
    """A slot is to run an attempt."""

    slot: int
    attempt: int


@dataclass(slots=True)
class SlotState:
    """One place for a worker."""

    vacant: bool = False  # the last worker is gone and the next one not there yet
    ready: bool = False
    aside: bool = False  # it does not count: its step is paused, or was when others took its place
    holding: deque[int] = field(default_factory=deque)
    load: int = 0  # attempts among what it holds that have not ended
    stillborn: int = 0
    leaving: bool = False  # it is set aside for good
    draining: bool = False  # its worker gets nothing more, and another one takes its place
    done: int = 0  # attempts that ended in it
    slow: bool = False  # what it runs takes longer than was thought
    silent: bool = False  # its worker was not heard of when it should have begun something
    alone: bool = False  # it gets one attempt at a time: none can be taken back from where its worker is


class Lines:
    """Who is where, who waits, and who follows whom."""

    def __init__(self, slots: dict[int, SlotState]) -> None:
        self._slots = slots
        self._pending = Turns()
        self._run_of: dict[int, str] = {}  # of all attempts that wait or are held
        self._where: dict[int, int] = {}
        self._weights: dict[int, int] = {}  # of entries that are several attempts: how many have not ended
        self._stopping: dict[int, float] = {}  # attempt -> when the stop was asked
        self._told: dict[int, Harsher] = {}
        self._behind = Behind()
        self._new: list[int] = []  # followers that came after what they follow was given away
        self._dropped: list[int] = []

    def follower(self, attempt: int) -> int | None:
        """What follows an attempt, if anything."""
        return self._behind.next(attempt)

    @property
    def following(self) -> int:
        """How many attempts wait for another one to end."""
        return len(self._behind)

    def take_dropped(self) -> list[int]:
        """What nobody will run, since it was stopped, or what it follows gave no result; each is named once."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def moved_on(self, entry: int, ended: int) -> None:
        """Some of an entry's attempts have ended, not all."""
        self.shrink(entry, ended)
        self._slots[self._where[entry]].done += ended

    def shrink(self, entry: int, by: int) -> None:
        """An entry that a slot has is fewer attempts from now on."""
        self._weights[entry] = self._weights.get(entry, 1) - by
        self._slots[self._where[entry]].load -= by

    def is_last(self, entry: int) -> None:
        """Of an entry one attempt is left, and it is known that it runs."""
        self._weights.pop(entry, None)

    def leave(self, entry: int) -> None:
        """An entry that no worker has begun is not here any more, nor what follows it."""
        if self._unplace(entry) is None:
            self._forget(entry)
        else:
            del self._run_of[entry]
            self._drop(entry)
        self._weights.pop(entry, None)

    def drop_behind(self, entry: int) -> None:
        """Nothing will run what follows an entry."""
        self._drop(entry)

    def put_first(self, attempts: Sequence[int], run: str) -> None:
        """Attempts wait before all others."""
        for attempt in reversed(attempts):
            self._run_of[attempt] = run
            self._pending.put_back(attempt, run)

    def _place(self, slot: int, attempt: int) -> None:
        state = self._slots[slot]
        state.holding.append(attempt)
        state.load += self._weights.get(attempt, 1) if self._weights else 1
        self._where[attempt] = slot

    def _place_line(self, slot: int) -> list[int]:
        """What follows the last attempt that a slot has goes there too, once its worker is there."""
        state, last = self._slots[slot], self._slots[slot].holding[-1]
        if not state.ready or state.slow or state.alone or state.aside or state.draining:
            return []
        if self._behind.goes_alone(last):
            return []
        followers = list(self._behind.line(last))
        for follower in followers:
            self._place(slot, follower)
        return followers

    def _join(self, attempt: int, given: list[Given]) -> None:
        """A follower came later: it goes right behind what it follows, if that is the last that its worker has."""
        if self._behind.follows(attempt) and attempt not in self._where:
            slot = self._where.get(before := self._behind.before(attempt))
            if slot is not None and self._slots[slot].holding[-1] == before:
                given += [Given(slot, follower) for follower in self._place_line(slot)]

    def _follows_on(self, attempt: int, then: int, *, slow: bool) -> None:
        """What an attempt follows has ended well."""
        if then == GOES_ON and attempt in self._where:
            return  # their worker goes on with it
        stopped = attempt in self._stopping
        for one in (attempt, *self._behind.line(attempt)):
            self._unplace(one)
        if stopped:
            self._run_of.pop(attempt, None)
            self._dropped.append(attempt)
            self._drop(attempt)
            return
        if slow:
            self._behind.go_alone(attempt)
        self._pending.add(attempt, self._run_of[attempt])  # at the end: others had no turn meanwhile

    def _unplace(self, attempt: int) -> int | None:
        """Take an attempt out of the slot that has it."""
        slot = self._where.pop(attempt, None)
        if slot is not None:
            state = self._slots[slot]
            state.holding.remove(attempt)
            state.load -= self._weights.get(attempt, 1) if self._weights else 1
            self._stopping.pop(attempt, None)
            self._told.pop(attempt, None)
        return slot

    def _wait_again(self, attempt: int) -> None:
        """An attempt that a slot had did not begin there: before all others, or behind what it follows."""
        self._unplace(attempt)
        if not self._behind.follows(attempt):
            self._pending.put_back(attempt, self._run_of[attempt])

    def _drop(self, attempt: int) -> None:
        """Nothing will run what follows an attempt."""
        for follower in self._behind.leave(attempt):
            self._unplace(follower)
            self._run_of.pop(follower, None)
            self._weights.pop(follower, None)
            self._dropped.append(follower)

    def _forget(self, attempt: int) -> None:
        """An attempt that waits is not wanted any more, nor what follows it."""
        run = self._run_of.pop(attempt)
        if not self._behind.follows(attempt):
            self._pending.remove(attempt, run)
        self._drop(attempt)
