"""What is remembered of attempts: those that another one replaced, and why one does nothing just now."""

import msgspec

from cerebelum_nb.model.events import OutcomeKind, PauseKind


class PastAttempt(msgspec.Struct, frozen=True):
    """An attempt that another one replaced."""

    attempt: int
    label: str
    remote: bool
    started: float  # UTC seconds; 0 where it never began
    ended: float
    outcome: OutcomeKind
    waited: float = 0.0  # UTC seconds: from when on it waited at its executor, where that was told
    run_s: float = 0.0
    transfer_s: tuple[float, float] | None = None


class Pause(msgspec.Struct, frozen=True):
    """Why a running task does nothing."""

    kind: PauseKind
    since: float  # UTC seconds
    until: float  # UTC seconds; 0 for never
    text: str
