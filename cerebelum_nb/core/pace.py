"""How long attempts take these days: how many a worker should have at once, and whether to sit and wait. Pure."""

WINDOW_MOST = 64
AHEAD_S = 0.002  # a worker is sent about so much work at once
LINE_S = 0.02  # and of a line: no other worker could have any of it sooner
SPINS_IN_VAIN, SPINS_LEFT_OUT = 3, 50
_FORGETS = 8  # so many short attempts make up for a long one


class Pace:
    """An average that believes in a long attempt at once, and in short ones only after several.

    Attributes:
        average_s: Seconds that a worker is busy with one attempt; `AHEAD_S` stands for all that take longer.
    """

    def __init__(self) -> None:
        self.average_s = AHEAD_S

    def took(self, seconds: float, attempts: int = 1) -> None:
        """Attempts kept their worker busy for so long each."""
        seconds = min(seconds, AHEAD_S)
        weight = min(attempts, _FORGETS)
        self.average_s = max(seconds, self.average_s + (seconds - self.average_s) * weight / _FORGETS)

    @property
    def window(self) -> int:
        """How many attempts a worker should have at once: one, unless they are short."""
        return max(1, min(WINDOW_MOST, int(AHEAD_S / max(self.average_s, 1e-6))))

    def suits(self, count: int, *, line: bool) -> bool:
        """Whether so many attempts should go to one worker together; `line`: no other could have any of them sooner."""
        return count <= (LINE_S / max(self.average_s, 1e-6) if line else self.window)


class Spins:
    """Whether it is worth it to wait for an answer without sleeping: not where others need the processor."""

    def __init__(self) -> None:
        self._in_vain = self._skip = 0

    def worth_it(self) -> bool:
        """Asked once before each."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    def ended(self, *, answered: bool) -> None:
        """Whether the answer came in time. After several times in vain it is left for a while."""
        self._in_vain = 0 if answered else self._in_vain + 1
        if self._in_vain >= SPINS_IN_VAIN:
            self._in_vain, self._skip = 0, SPINS_LEFT_OUT
