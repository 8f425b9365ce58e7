"""A circuit breaker: a place that does not take work is left alone for a while by those who can go elsewhere."""

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

from cerebelum_nb.protocols import Outcome

FAILURES: Final = 3  # in a row
OPEN_S: Final = 30.0  # for so long nobody tries who need not; doubles while the place stays away
OPEN_MOST_S: Final = 300.0

State = Literal["closed", "open", "half-open"]


class Breaker:
    """What is known about one executor. Used from any thread.

    Attributes:
        name: The executor, as people say it.
        why: Why it is not closed, as a sentence; empty where it is.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.why = name, ""
        self._clock = clock
        self._failures = 0
        self._opened_at, self._since = 0.0, 0.0  # on `clock`; UTC seconds for people
        self._open_s = 0.0  # 0 where it is closed
        self._trying = False  # somebody sees whether it is there again
        self._core_lost_at = 0.0
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        """Whether work is sent there: yes, no, or one attempt to see."""
        if not self._open_s:
            return "closed"
        return "open" if self.left_s() > 0 else "half-open"

    def left_s(self) -> float:
        """Seconds until somebody tries it again."""
        return max(0.0, self._opened_at + self._open_s - self._clock()) if self._open_s else 0.0

    def refuses(self) -> str:
        """Why a step that can run elsewhere should, as a sentence; empty where it may go there.

        Where the time is over, whoever asks first tries it, and the others are sent elsewhere until that has ended.
        """
        if not self._open_s:  # the usual case, without the lock
            return ""
        with self._lock:
            if not self._open_s or (self.left_s() <= 0 and not self._trying):
                self._trying = bool(self._open_s)
                return ""
            since = dt.datetime.fromtimestamp(self._since).astimezone().strftime("%H:%M:%S")
            return f"{self.name!r} has not been tried since {since}: {self.why}"

    def took(self) -> None:
        """A worker of it has begun an attempt: it is there."""
        if self._open_s:
            with self._lock:
                self._close()

    def ended(self, outcome: Outcome, began: float) -> None:
        """An attempt that was sent there has ended.

        Args:
            began: When it was sent, on the breaker's clock. All that one Core's death takes with it counts once.
        """
        if outcome.kind == "ok" and not self._failures and not self._open_s:
            return  # the usual case, without the lock
        with self._lock:
            core_lost = outcome.error is not None and outcome.error.type == "CoreLost"
            if core_lost and began < self._core_lost_at:
                pass  # it is known
            elif core_lost or (not outcome.delivered and outcome.kind != "cancelled"):
                self._core_lost_at = self._clock() if core_lost else self._core_lost_at
                self._failed(outcome)
            elif outcome.kind == "ok" or outcome.run_s:
                self._close()
            self._trying = False

    def _failed(self, outcome: Outcome) -> None:
        self._failures += 1
        if self._open_s and not (self._trying and self.left_s() <= 0):
            return  # it is known, and who tried it all the same had nowhere else to go
        if self._open_s:
            self._open_s = min(OPEN_MOST_S, 2 * self._open_s)
        elif self._failures >= FAILURES:
            self._open_s, self._since = OPEN_S, time.time()
        else:
            return
        self._opened_at = self._clock()
        self.why = outcome.error.message if outcome.error is not None else outcome.kind

    def _close(self) -> None:
        self._failures, self._open_s, self.why, self._trying = 0, 0.0, "", False

    def __str__(self) -> str:
        match self.state:
            case "closed":
                return f"{self.name}: there"
            case "open":
                return f"{self.name}: not tried for {self.left_s():.0f} s more ({self.why})"
            case _:
                return f"{self.name}: the next step tries it again ({self.why})"

    def __repr__(self) -> str:
        return f"<breaker {self}: {self.state}>"
