"""Which attempts a worker may have begun: a few shared bytes that Core writes and the kernel reads when Core is dead.

Runs take turns, so attempts are not handed out in the order they came: each has a place of its own. Two attempts that
share one are far apart; where the later one has taken it, nothing is known of the earlier one, and it may have begun.
"""

from typing import Final

_PLACES: Final = 4096
_WORD_NBYTES: Final = 8
NBYTES: Final = _PLACES * _WORD_NBYTES


class Ledger:
    """Notes attempts by number, each larger than 0.

    Args:
        data: `NBYTES` bytes, zeros at first.
    """

    def __init__(self, data: object) -> None:
        self._words = memoryview(data).cast("B").cast("Q")  # type: ignore[arg-type]  # bytes, a mapped file

    def note(self, attempt: int) -> None:
        """A worker gets it now."""
        self._words[attempt % _PLACES] = attempt

    def has(self, attempt: int) -> bool:
        """Whether a worker may have begun it."""
        return self._words[attempt % _PLACES] >= attempt
