"""What Core was told at its start, what it holds of each attempt, and what it says of those that came to nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.errors import WireError
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.wire.frames import Code, Piece, Place, Submit
from cerebelum_nb.wire.ledger import Ledger
from cerebelum_nb.wire.pieces import LIMIT_NBYTES, fits

STOPPED = ErrorInfo("Cancelled", "the step was stopped")
NOTHING_TO_FOLLOW = ErrorInfo("NotBegun", "what it was to follow has given no result")


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt in Core's hands. It holds its code, which the kernel may let go of meanwhile."""

    submit: Submit
    code: Code
    got: float  # when, by the loop's clock
    pieces: Sequence[Piece] = ()  # of its arguments, where these are long

    def get(self) -> Submit:
        """The attempt."""
        return self.submit


class Coming:
    """Pieces of arguments whose attempts have not come yet.

    Args:
        limit: None has more bytes: so the kernel has said itself.
    """

    def __init__(self, limit: int) -> None:
        self._pieces: dict[int, list[Piece]] = {}
        self._limit = limit

    def take(self, piece: Piece) -> None:
        """One has come.

        Raises:
            WireError: There are too many.
        """
        pieces = self._pieces.setdefault(piece.id, [])
        pieces.append(piece)
        if not fits(len(pieces), self._limit):
            raise WireError(f"attempt {piece.id} has more than {self._limit} bytes of arguments")

    def pop(self, attempt: int) -> Sequence[Piece]:
        """The attempt has come, or is not wanted any more."""
        return self._pieces.pop(attempt, ()) if self._pieces else ()


@dataclass(slots=True)
class Settings:
    """What the kernel says at the start."""

    token: str
    key: bytes
    place: Place
    log: Path
    nursery: Nursery
    handed: Ledger  # of attempts that workers got; the kernel reads it also when we are dead
    limit_nbytes: int = LIMIT_NBYTES  # of one attempt's arguments, or its result
    silent_s: float = 60.0  # a worker that neither answers nor does anything for so long is ended


def worker_lost(slot: Slot, how: str, submit: Submit, *, closed: bool) -> ErrorInfo:
    """A worker died with an attempt.

    Args:
        closed: Nobody takes its place, as somebody wished.
    """
    heir = "" if closed and slot.heir == Slot.heir else f" {slot.heir}"
    return ErrorInfo(
        "WorkerLost",
        f"worker {slot.number} (pid {slot.pid}) {how} while running step {submit.step!r} (attempt {submit.number})."
        + heir,
    )
