"""Attempts that follow another one, whose result they read: who comes behind whom. Pure: no I/O, no clock.

Each has one before it and at most one behind it, so they are lines. Only the first of a line stands in Core's queue.
"""

from collections.abc import Iterator


class Behind:
    """Lines of attempts, by number."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._alone: set[int] = set()

    def __len__(self) -> int:
        return len(self._before)

    def put(self, attempt: int, before: int) -> None:
        """An attempt follows another one, which has not ended."""
        self._next[before], self._before[attempt] = attempt, before

    def follows(self, attempt: int) -> bool:
        """Whether what it follows has not ended."""
        return attempt in self._before

    def before(self, attempt: int) -> int:
        """What an attempt follows."""
        return self._before[attempt]

    def next(self, attempt: int) -> int | None:
        """What follows an attempt, if anything."""
        return self._next.get(attempt)

    def line(self, attempt: int) -> Iterator[int]:
        """All that follow an attempt, nearest first."""
        while (found := self._next.get(attempt)) is not None:
            yield found
            attempt = found

    def cut(self, attempt: int) -> int | None:
        """An attempt is over: what follows it stands first in its line now, and is returned."""
        self._alone.discard(attempt)
        follower = self._next.pop(attempt, None)
        if follower is not None:
            del self._before[follower]
        return follower

    def leave(self, attempt: int) -> list[int]:
        """An attempt leaves with all that follow it: they are forgotten, and returned without it."""
        if not self._next and not self._alone:  # nothing follows anything
            return []
        before = self._before.pop(attempt, None)
        if before is not None:
            del self._next[before]
        left = list(self.line(attempt))
        for one in (attempt, *left):
            self._alone.discard(one)
            self._next.pop(one, None)
            self._before.pop(one, None)
        return left

    def go_alone(self, attempt: int) -> None:
        """It is given to a worker without those behind it: they take long, and others may wait."""
        self._alone.add(attempt)

    def goes_alone(self, attempt: int) -> bool:
        """Whether it is."""
        return attempt in self._alone
