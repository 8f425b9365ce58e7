"""Workers on other hosts, as Core sees them: an agent stands for a host, a `RemoteSlot` for each worker there."""

import asyncio
import itertools
import logging
import signal
from collections.abc import Callable, Iterable
from typing import Final

import grpc
import grpc.aio

from cerebelum_nb.core.slots import OnDeath, OnFrames, Slot
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.frames import AnyFrame, Cancel, Reply, frames_of, messages
from cerebelum_nb.wire.relay import BEAT_S, Bye, Control, Gone, Here, Lasting, Line, Open, Part, Retire, Signal

SILENT_S: Final = 4 * BEAT_S  # a connection on which nothing is heard for so long is given up

logger = logging.getLogger(__name__)


class RemoteSlot(Slot):
    """As a `Slot`, for a worker that an agent has started."""

    takes_back = False

    def __init__(self, number: int, worker: int, agent: "Agent", on_frames: OnFrames, on_death: OnDeath) -> None:
        self.number = number
        self.pid = 0  # until the agent says it
        self.codes = {}
        self.on_here: Callable[[RemoteSlot], object] = lambda _slot: None
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
        """Its host is heard of; of the worker itself nothing is asked."""

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
        self._on_frames(self, frames)

    def is_here(self, pid: int) -> None:
        """The agent has started it."""
        self.pid = pid
        self.on_here(self)

    def is_gone(self, how: str) -> None:
        """It has ended, or is lost to us."""
        self._on_death(self, self.why or how)


class Agent:
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
        self.name, self.slots, self.pool = name, slots, pool
        self._grace_s = grace_s
        self.usable = True  # connected
        self.line = Lasting()
        self._lost: Callable[[Agent], object] | None = lost
        self._numbers = itertools.count(1)
        self._workers: dict[int, RemoteSlot] = {}
        self._connection: asyncio.Task[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def open(self, number: int, on_frames: OnFrames, on_death: OnDeath) -> RemoteSlot:
        """Have a worker started."""
        worker = next(self._numbers)
        slot = self._workers[worker] = RemoteSlot(number, worker, self, on_frames, on_death)
        self.send([Open(worker)])
        return slot

    def send(self, parts: Iterable[Part]) -> None:
        """Send parts, now or when it is back."""
        if self._lost is not None:
            self.line.send(parts)

    async def serve(self, context: "grpc.aio.ServicerContext[bytes, bytes]", theirs: int) -> None:
        """Live through one connection. A newer one takes over.

        Raises:
            WireError: What the agent says is not ours; it is of no use any more.
        """
        if self._connection is not None:
            self._connection.cancel()
        if self._grace is not None:
            self._grace.cancel()
        self.line.resume(theirs)
        me = self._connection = asyncio.current_task()
        self.usable = True
        pump = asyncio.create_task(self.line.pump(context.write))
        beat = asyncio.create_task(self._beat())
        try:
            while True:
                async with asyncio.timeout(SILENT_S):
                    message = await context.read()
                if message is grpc.aio.EOF:
                    return
                for part in self.line.receive(message):
                    self._take(part)
        except TimeoutError:
            logger.warning("agent.silent", extra={"agent": self.name})
        except WireError:
            self.end("said something that is not ours")
            raise
        finally:
            pump.cancel()
            beat.cancel()
            if self._connection is me:
                self._connection, self.usable = None, False
                how = f"was lost with its host {self.name!r}, which could not be reached for {self._grace_s:g} s"
                self._grace = self._loop.call_later(self._grace_s, self.end, how)
            await asyncio.gather(pump, beat, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.line.beat()

    def _take(self, part: Part) -> None:
        if isinstance(part, Bye):
            self.end(f"ended with the agent of host {self.name!r}")
            return
        slot = self._workers.get(part.worker)
        if slot is None:
            return
        match part:
            case Line():
                slot.take(part.frames)
            case Here():
                slot.is_here(part.pid)
            case Gone():
                del self._workers[part.worker]
                slot.is_gone(part.how)
            case _:
                logger.warning("agent.unexpected", extra={"part": type(part).__name__})

    def end(self, how: str) -> None:
        """It is of no use any more, and neither are its workers."""
        lost, self._lost = self._lost, None
        if lost is None:
            return
        self.usable = False
        lost(self)
        workers, self._workers = self._workers, {}
        for slot in workers.values():
            slot.is_gone(how)

    @property
    def is_lost(self) -> bool:
        """It has ended for us."""
        return self._lost is None
