"""Workers on other hosts, as Core sees them: an agent stands for a host, a `RemoteSlot` for each worker there."""

import itertools
import logging
import signal
from collections.abc import Callable, Iterable
from typing import Final

from cerebelum_nb.attempt import printable
from cerebelum_nb.core.guests import Guest
from cerebelum_nb.core.slots import OnDeath, OnFrames, Slot
from cerebelum_nb.core.staff import note
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.frames import AnyFrame, Cancel, Reply, frames_of, messages
from cerebelum_nb.wire.relay import (
    SILENT_S,
    Bye,
    Control,
    Gone,
    Here,
    Lasting,
    Line,
    Noticed,
    Open,
    Part,
    Retire,
    Signal,
)

_logger = logging.getLogger(__name__)
NOTICE_LIMIT: Final = 1_000  # characters


class RemoteSlot(Slot):
    """As a `Slot`, for a worker that an agent has started."""

    takes_back = False

    def __init__(self, number: int, worker: int, agent: "Agent", on_frames: OnFrames, on_death: OnDeath) -> None:
        self.number = number
        self.pid = 0  # until the agent says it
        self.codes = {}
        self.on_here: Callable[[RemoteSlot], object] = lambda _slot: None
        self.on_notice: Callable[[str], object] = lambda _text: None
        self._worker, self._agent = worker, agent
        self._on_frames, self._on_death = on_frames, on_death

    def send(self, frames: Iterable[AnyFrame]) -> None:
        """Send frames, which the worker reads between its steps."""
        self._agent.send(Line(self._worker, message) for message in messages(frames))

    def give(self, frames: Iterable[AnyFrame], attempts: int) -> None:  # noqa: ARG002  nothing is taken back
        """Send frames, so many attempts among them."""
        self.send(frames)

    def take_back(self) -> int:
        """Nothing can be taken back from another host: nobody here knows what has begun there."""
        return 0

    def look(self) -> bool:
        """What it says comes by itself."""
        return False

    def stop(self, attempt: int) -> None:
        """Ask the worker to stop an attempt; it hears this while the step runs."""
        self._urgent(Cancel(attempt))

    def reply(self, frame: Reply) -> None:
        """Hand on what somebody said to the step; it hears this while the step runs."""
        self._urgent(frame)

    def _urgent(self, frame: AnyFrame) -> None:
        self._agent.send(Control(self._worker, message) for message in messages([frame]))

    def ping(self) -> None:
        """Its agent asks it."""

    def retire(self) -> None:
        """Let the worker end: it has done its work and gets no more."""
        self._agent.send([Retire(self._worker)])

    def signal(self, how: signal.Signals) -> None:
        """Signal the worker and what it started."""
        self._agent.send([Signal(self._worker, int(how))])

    def take(self, data: bytes) -> None:
        """The worker says something. Nonsense is its end."""
        try:
            frames = frames_of(data)
        except WireError:
            self.signal(signal.SIGKILL)
            return
        try:
            self._on_frames(self, frames)
        except Exception:  # a fault of ours with one kernel must not break its host's connection, which others use, too
            _logger.exception("worker.frames.failed")
            self.signal(signal.SIGKILL)

    def is_here(self, pid: int) -> None:
        """The agent has started it."""
        self.pid = pid
        self.on_here(self)

    def is_gone(self, how: str) -> None:
        """It has ended, or is lost to us."""
        self._on_death(self, self.why or how)


class Agent(Guest):
    """One host's agent, whether it is connected now or not. A place to open workers in.

    Args:
        name: Its host.
        slots: Workers that count there at once.
        grace_s: While it cannot be reached it has so long to come back, with all that runs there.
        lost: Called once, when it has left or did not come back in time.
        pool: Whose steps its workers run; empty for everybody's.
    """

    def __init__(
        self, name: str, slots: int, grace_s: float, lost: Callable[["Agent"], object], pool: str = ""
    ) -> None:
        super().__init__(name, grace_s, Lasting())
        self.who = f"`cerebelum worker` on host {name!r}"
        self.slots, self.pool = slots, pool
        self._lost: Callable[[Agent], object] | None = lost
        self._numbers = itertools.count(1)
        self._workers: dict[int, RemoteSlot] = {}

    def open(self, number: int, on_frames: OnFrames, on_death: OnDeath, silent_s: float) -> RemoteSlot:
        """Have a worker started."""
        worker = next(self._numbers)
        slot = self._workers[worker] = RemoteSlot(number, worker, self, on_frames, on_death)
        self.send([Open(worker, silent_s)])
        return slot

    def send(self, parts: Iterable[Part]) -> None:
        """Send parts, now or when it is back."""
        if self._lost is not None:
            self.line.send(parts)

    def _take(self, part: Part) -> None:
        if isinstance(part, Bye):
            self.end(f"ended with its {self.who}")
            return
        slot = self._workers.get(part.worker)
        if slot is None:
            return
        match part:
            case Line():
                slot.take(part.frames)
            case Here():
                slot.is_here(part.pid)
            case Noticed():
                slot.on_notice(printable(part.text[:NOTICE_LIMIT]))
            case Gone():
                del self._workers[part.worker]
                self.line.drop(part.worker)
                slot.is_gone(printable(part.how[:NOTICE_LIMIT]))
            case _:
                note(f"{self.who} says what only Core can say: {type(part).__name__}")

    def _talks_nonsense(self, _exc: WireError) -> None:
        self.end("said something that is not ours")

    def _stays_away(self, silent: bool) -> None:  # noqa: FBT001  as in `Guest`
        its, back = f"its {self.who}", f"for {self._grace_s:g} s"
        if silent:
            self.end(f"was lost with {its}, of which nothing was heard for {SILENT_S:g} s, nor {back} after that,")
        else:
            self.end(f"was lost with {its}, whose connection broke and did not come back {back},")

    def end(self, how: str) -> None:
        """It is of no use any more, and neither are its workers."""
        lost, self._lost = self._lost, None
        if lost is None:
            return
        self.usable = False
        lost(self)
        workers, self._workers = self._workers, {}
        for slot in workers.values():
            slot.heir = f"No worker takes its place there before {self.who} is back."
            slot.is_gone(how)

    @property
    def is_lost(self) -> bool:
        """It has ended for us."""
        return self._lost is None
