"""What an executor says of attempts on their way, told to the scheduler; and why an attempt does nothing."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from cerebelum_nb.model.events import PauseKind, Stream
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rich import checked
from cerebelum_nb.runtime.following import Ticket
from cerebelum_nb.runtime.job import Job

if TYPE_CHECKING:
    from cerebelum_nb.runtime.courier import Courier


@dataclass(frozen=True, slots=True, eq=False)
class Pause:
    """Why an attempt does nothing."""

    kind: PauseKind
    seconds: float | None
    text: str
    asked: Any
    since: float = field(default_factory=monotonic)

    def left_s(self) -> float | None:
        """Seconds until it is over by itself, if ever."""
        return None if self.seconds is None else max(0.0, self.since + self.seconds - monotonic())


class Heard:
    """What happens on the way of one attempt."""

    __slots__ = ("_courier", "_job", "ticket")

    def __init__(self, courier: "Courier", job: Job, ticket: Ticket) -> None:
        self._courier, self._job, self.ticket = courier, job, ticket

    def started(self, worker: str) -> None:
        """Its code begins to run."""
        self._courier.took()
        self._job.scheduler.began(self.ticket.task, self.ticket.attempt, worker)

    def output(self, stream: Stream, text: str) -> None:
        """It prints."""
        self._courier.tell_begun()
        self._job.heard(self.ticket, stream, text)

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        """It displays something."""
        self._courier.tell_begun()
        self._job.displayed(self.ticket, checked(bundle))

    def progress(self, done: float, text: str) -> None:
        """It says how far it is."""
        self._courier.tell_begun()
        self._job.progress(self.ticket, done, text)

    def paused(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> None:
        """It sleeps, or waits for an answer."""
        self._courier.tell_begun()
        self._courier.paused(self.ticket, Pause(kind, seconds, text, asked))

    def resumed(self) -> None:
        """It goes on."""
        self._courier.resumed(self.ticket)

    def held(self, why: str) -> None:
        """It waits for room, and the run with it."""
        self._courier.held((self.ticket.task, self.ticket.attempt), why)


class Launched(Heard):
    """The same of an attempt that no round waits for; it says how it ended, too.

    Attributes:
        began: When it was sent, on the clock of `time.monotonic`.
        take_back: Stops it.
    """

    __slots__ = ("began", "take_back")

    def __init__(self, courier: "Courier", job: Job, ticket: Ticket) -> None:
        super().__init__(courier, job, ticket)
        self.began = monotonic()
        self.take_back: Callable[[], asyncio.Future[Outcome] | None] = _nothing

    def started(self, worker: str) -> None:
        """Its code begins to run."""
        self._courier.begun(self.ticket, worker)

    def ended(self, outcome: Outcome | None) -> None:
        """How it ended; None where it has to be sent again."""
        self._courier.ended(self, outcome)

    def cancel(self) -> None:
        """Stop it."""
        self._courier.recall(self)


class Opening:
    """An attempt whose round is about to begin."""

    __slots__ = ("stopped",)

    def __init__(self) -> None:
        self.stopped = False

    def cancel(self) -> None:
        """It is to be stopped at once: a task that is cancelled before it begins would settle nothing."""
        self.stopped = True


def _nothing() -> None:
    pass
