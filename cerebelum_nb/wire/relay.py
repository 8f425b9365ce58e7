"""What a served Core and the agent on another host say to each other, and a line that survives a broken connection.

The agent starts workers and hands frames on; it never opens what is sealed. Both ends number what they send and keep it
until the other end has it: a connection that comes back goes on where it broke, and no step is lost with it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.frames import SOFT_NBYTES, Frame

BEAT_S: Final = 3.0  # either end is heard of so often
ACK_NBYTES: Final = 4 << 20  # what came is confirmed after so much, and with every beat


class Greeting(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a kernel or an agent introduces itself.

    Attributes:
        version: Of the package: frames are read alike only by the same one.
        pool: Whose steps it wants to have run, or runs; an agent without one runs everybody's.
        environment: An agent's `capture.environment.Environment`, as builtins.
        host: An agent's host, as people call it.
        slots: Attempts that it runs at once.
        agent: What an agent calls itself, so that it is known when it comes back.
        got: The last part that it has of this Core; -1 where it comes for the first time.
    """

    version: str
    pool: str = ""
    environment: dict[str, object] = {}
    host: str = ""
    slots: int = 0
    agent: str = ""
    got: int = -1


class Reception(msgspec.Struct, frozen=True, omit_defaults=True):
    """What Core says to that.

    Attributes:
        refused: Why not; empty where the guest is welcome.
        environment: Core's own.
        grace_s: An agent whose connection is lost has so long to come back, with all that runs there.
        got: The last part that Core has of this agent; -1 where it does not know it.
    """

    refused: str = ""
    environment: dict[str, object] = {}
    grace_s: float = 0.0
    got: int = -1


class Open(Frame, frozen=True, tag=1, array_like=True, gc=False):
    """Start a worker."""

    worker: int


class Line(Frame, frozen=True, tag=2, array_like=True, gc=False):
    """Frames to a worker's line, or from it; encoded."""

    worker: int
    frames: bytes


class Control(Frame, frozen=True, tag=3, array_like=True, gc=False):
    """Frames that a worker hears also while a step runs; encoded."""

    worker: int
    frames: bytes


class Retire(Frame, frozen=True, tag=4, array_like=True, gc=False):
    """Let a worker end."""

    worker: int


class Signal(Frame, frozen=True, tag=5, array_like=True, gc=False):
    """Signal a worker and what it started."""

    worker: int
    signal: int


class Here(Frame, frozen=True, tag=6, array_like=True, gc=False):
    """A worker was started."""

    worker: int
    pid: int


class Gone(Frame, frozen=True, tag=7, array_like=True, gc=False):
    """A worker is no more, or was never there."""

    worker: int
    how: str


class Bye(Frame, frozen=True, tag=8, array_like=True, gc=False):
    """The sender ends on purpose, and its workers with it."""


Part = Open | Line | Control | Retire | Signal | Here | Gone | Bye

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int, list[Part]]).decode


class Lasting:
    """One end of a line that may break and come back. Nothing is lost, doubled or reordered by that."""

    def __init__(self) -> None:
        self._unacked: deque[Part] = deque()  # sent or not, the other end may lack them
        self._first = 1  # the number of the oldest of them
        self._next = 1  # the number of the first that this connection has not been given
        self._got = 0
        self._unconfirmed = 0  # bytes
        self._some = asyncio.Event()
        self._beat = False

    @property
    def got(self) -> int:
        """The number of the last part that came."""
        return self._got

    def send(self, parts: Iterable[Part]) -> None:
        """Send parts in order, now or when there is a connection again. Called on the loop."""
        self._unacked.extend(parts)
        self._some.set()

    def resume(self, theirs: int) -> None:
        """There is a new connection; the other end has all up to this part.

        Raises:
            WireError: That cannot be.
        """
        self._confirmed(theirs)
        self._next = self._first
        self._beat = True
        self._some.set()

    def beat(self) -> None:
        """Let the other end hear of us."""
        self._beat = True
        self._some.set()

    def receive(self, message: bytes) -> list[Part]:
        """The parts of a message that are new.

        Raises:
            WireError: It is not ours, or something before it is missing.
        """
        try:
            first, theirs, parts = _decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise WireError(f"a message of {len(message)} bytes is not ours: {exc}") from None
        self._confirmed(theirs)
        if not parts:
            return []
        if first > self._got + 1 or first < 1:
            raise WireError(f"part {self._got + 1} is missing before part {first}")
        new = parts[self._got + 1 - first :]
        self._got += len(new)
        self._unconfirmed += len(message)
        if self._unconfirmed > ACK_NBYTES:
            self.beat()
        return new

    def _confirmed(self, theirs: int) -> None:
        if theirs >= self._first + len(self._unacked) or theirs < self._first - 1:
            raise WireError(f"part {theirs} is confirmed, which was not sent")
        for _ in range(theirs + 1 - self._first):
            self._unacked.popleft()
        self._first = theirs + 1
        self._next = max(self._next, self._first)

    async def pump(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write for as long as one connection lives; the only caller of its `write`."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._beat or self._next < self._first + len(self._unacked):
                self._beat, self._unconfirmed = False, 0
                first, parts = self._next, self._some_parts()
                self._next += len(parts)
                await write(_encode((first, self._got, parts)))

    def _some_parts(self) -> list[Part]:
        parts: list[Part] = []
        nbytes = 0
        for place in range(self._next - self._first, len(self._unacked)):
            part = self._unacked[place]
            size = len(part.frames) if isinstance(part, Line | Control) else 100
            if parts and nbytes + size > SOFT_NBYTES:
                break
            parts.append(part)
            nbytes += size
        return parts
