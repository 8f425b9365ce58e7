"""What Core was told at its start, what it holds of each attempt, and what it says of those that came to nothing."""

from dataclasses import dataclass
from pathlib import Path

from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.wire.frames import Code, Place, Submit
from cerebelum_nb.wire.ledger import Ledger

STOPPED = ErrorInfo("Cancelled", "the step was stopped")
NOTHING_TO_FOLLOW = ErrorInfo("NotBegun", "what it was to follow has given no result")


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt in Core's hands. It holds its code, which the kernel may let go of meanwhile."""

    submit: Submit
    code: Code
    got: float  # when, by the loop's clock


@dataclass(slots=True)
class Settings:
    """What the kernel says at the start."""

    token: str
    key: bytes
    place: Place
    log: Path
    nursery: Nursery
    handed: Ledger  # of attempts that workers got; the kernel reads it also when we are dead
    silent_s: float = 60.0  # a worker that neither answers nor does anything for so long is ended


def worker_lost(slot: Slot, how: str, submit: Submit, *, closed: bool) -> ErrorInfo:
    """A worker died with an attempt.

    Args:
        closed: Nobody takes its place.
    """
    return ErrorInfo(
        "WorkerLost",
        f"worker {slot.number} (pid {slot.pid}) {how} while running step {submit.step!r} (attempt {submit.number})."
        + ("" if closed else " A new worker has taken its place."),
    )
