"""What waits, fair between runs: each run's next attempt in its turn, however many another one has. Pure."""

from collections import OrderedDict, deque


class Turns:
    """Waiting attempts by run. Putting one in and taking the next one out cost the same whatever waits.

    Attributes:
        count: How many wait; the quick way to ask.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[int]] = OrderedDict()  # none is empty; the first has its turn
        self.count = 0

    def add(self, attempt: int, run: str) -> None:
        """At the end of its run's line."""
        line = self._lines.get(run)
        if line is None:
            line = self._lines[run] = deque()
        line.append(attempt)
        self.count += 1

    def put_back(self, attempt: int, run: str) -> None:
        """Before all others: it had its turn already."""
        self._lines.setdefault(run, deque()).appendleft(attempt)
        self._lines.move_to_end(run, last=False)
        self.count += 1

    def next(self) -> int:
        """Take out whose turn it is."""
        lines = self._lines
        run = next(iter(lines))
        line = lines[run]
        attempt = line.popleft()
        self.count -= 1
        if not line:
            del lines[run]
        elif len(lines) > 1:
            lines.move_to_end(run)
        return attempt

    def remove(self, attempt: int, run: str) -> None:
        """Take out one that waits."""
        line = self._lines[run]
        line.remove(attempt)
        if not line:
            del self._lines[run]
        self.count -= 1

    def clear(self) -> list[int]:
        """Take out all, run by run."""
        waiting = [attempt for line in self._lines.values() for attempt in line]
        self._lines.clear()
        self.count = 0
        return waiting
