"""What a served Core and its guests say to each other, and a line that survives a broken connection.

Guests are kernels, and the agents of other hosts, which start workers and hand frames on; they never open what is
sealed. Both ends number what they send and keep it until the other end has it: a connection that comes back goes on
where it broke, and no step is lost with it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.frames import SOFT_NBYTES, Frame

BEAT_S: Final = 3.0  # either end is heard of so often
SILENT_S: Final = 4 * BEAT_S  # a connection on which nothing is heard for so long is given up
ACK_NBYTES: Final = 1 << 20  # what came is confirmed after so much, and with every beat
LONG_NBYTES: Final = 1 << 18  # others overtake a longer part
LONG_ONES_NBYTES: Final = 4 << 20  # of these, on their way at once: all that is urgent waits for it


class Greeting(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a kernel or an agent introduces itself.

    Attributes:
        version: Of the package: frames are read alike only by the same one.
        pool: Whose steps it wants to have run, or runs; an agent without one runs everybody's.
        environment: An agent's `capture.environment.Environment`, as builtins.
        host: An agent's host, as people call it.
        slots: Attempts that it runs at once.
        agent: What a guest calls itself, so that it is known when it comes back; nobody else knows it.
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
        environment: Core's own, for a kernel that asks before it comes.
        grace_s: A guest whose connection is lost has so long to come back, with all that runs for it or there.
        got: The last part that Core has of this guest; -1 where it does not know it.
    """

    refused: str = ""
    environment: dict[str, object] = {}
    grace_s: float = 0.0
    got: int = -1


WELCOME: Final = (("cerebelum-welcome", "1"),)  # Core's first metadata to a guest that it lets speak


async def introduced(stream: Any, greeting: Greeting) -> Reception:
    """Introduce ourselves on a stream to Core, and hear what it says to that.

    Nothing is written before Core lets us speak: a write into a stream that is being refused hides why.

    Raises:
        grpc.aio.AioRpcError: It is refused before it has spoken.
        WireError: Core hangs up.
    """
    if await stream.initial_metadata():
        await stream.write(msgspec.msgpack.encode(greeting))
    answer = await stream.read()
    if not isinstance(answer, bytes):
        raise WireError("Core hung up")
    return msgspec.msgpack.decode(answer, type=Reception)


class Open(Frame, frozen=True, tag=1, array_like=True, gc=False):
    """Start a worker."""

    worker: int
    silent_s: float = 60.0  # it is ended where it neither answers nor does anything for so long


class Line(Frame, frozen=True, tag=2, array_like=True, gc=False):
    """Frames to a worker's line, or from it; encoded. A kernel's have no worker: 0."""

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


class Noticed(Frame, frozen=True, tag=9, array_like=True, gc=False):
    """Something about a worker that whoever waits for it should know."""

    worker: int
    text: str


class Bye(Frame, frozen=True, tag=8, array_like=True, gc=False):
    """The sender ends on purpose, and its workers with it."""


Part = Open | Line | Control | Retire | Signal | Here | Gone | Noticed | Bye

_IN_ORDER: Final = frozenset({Retire, Gone})  # with a worker's frames
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int, list[Part]]).decode


class Lasting:
    """One end of a line that may break and come back. Nothing is lost, doubled or reordered by that.

    Args:
        in_order: All parts come in the order they were sent. Else long ones, and what follows them to or from the same
            worker, let all others overtake them, and take turns.
    """

    def __init__(self, *, in_order: bool = False) -> None:
        self._in_order = in_order
        self._confirms = asyncio.Event()
        self._carried_nbytes = 0  # of frames that the other end may lack
        self._unacked: deque[Part] = deque()  # sent or not, the other end may lack them
        self._first = 1  # the number of the oldest of them
        self._next = 1  # the number of the first that this connection has not been given
        self._left_us = 0  # the number of the last that any connection was given
        self._got = 0
        self._unconfirmed = 0  # bytes
        self._some = asyncio.Event()
        self._beat = False
        self._long: dict[int, deque[Part]] = {}  # by worker, what waits in turns; none is empty
        self._flying: deque[tuple[int, int]] = deque()  # long parts among the unconfirmed: number and size
        self._flying_nbytes = 0

    @property
    def got(self) -> int:
        """The number of the last part that came."""
        return self._got

    def send(self, parts: Iterable[Part]) -> None:
        """Send parts in order, now or when there is a connection again. Called on the loop."""
        for part in parts:
            kind = type(part)
            if kind is Line and not self._in_order and (len(part.frames) > LONG_NBYTES or part.worker in self._long):  # type: ignore[union-attr]
                self._long.setdefault(part.worker, deque()).append(part)  # type: ignore[union-attr]
            elif self._long and kind in _IN_ORDER and part.worker in self._long:  # type: ignore[union-attr]
                self._long[part.worker].append(part)  # type: ignore[union-attr]
            else:
                self._unacked.append(part)
        self._some.set()

    async def carry(self, message: bytes) -> None:
        """Send frames of a kernel, or for it, as soon as there is room on the way."""
        while self._carried_nbytes > LONG_ONES_NBYTES:
            self._confirms.clear()
            await self._confirms.wait()
        self._carried_nbytes += len(message)
        self.send((Line(0, message),))

    def never_left(self) -> list[Part]:
        """What the other end cannot have got."""
        return [part for number, part in enumerate(self._unacked, self._first) if number > self._left_us]

    def drop(self, worker: int) -> None:
        """What has waited for its turn to a worker is not wanted any more."""
        self._long.pop(worker, None)

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

    async def beats(self) -> None:
        """Do so again and again, for as long as one connection lives."""
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat()

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

    def check(self, theirs: int) -> None:
        """See that the other end can have all up to this part.

        Raises:
            WireError: It cannot.
        """
        if theirs > self._left_us or theirs < self._first - 1:
            raise WireError(f"part {theirs} is confirmed, which was not sent")

    def _confirmed(self, theirs: int) -> None:
        self.check(theirs)
        for _ in range(theirs + 1 - self._first):
            part = self._unacked.popleft()
            if self._in_order and type(part) is Line:
                self._carried_nbytes -= len(part.frames)
        self._confirms.set()
        self._first = theirs + 1
        self._next = max(self._next, self._first)
        while self._flying and self._flying[0][0] <= theirs:
            self._flying_nbytes -= self._flying.popleft()[1]
            self._some.set()

    def _took_turn(self) -> bool:
        """Let one part that waits for its turn go, if there is room on the way; whether there was one."""
        if not self._long or self._flying_nbytes >= LONG_ONES_NBYTES:
            return False
        worker = next(iter(self._long))
        waiting = self._long.pop(worker)
        part = waiting.popleft()
        if waiting:
            self._long[worker] = waiting
        self._unacked.append(part)
        if isinstance(part, Line):
            self._flying.append((self._first + len(self._unacked) - 1, len(part.frames)))
            self._flying_nbytes += len(part.frames)
        return True

    async def pump(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write for as long as one connection lives; the only caller of its `write`."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._took_turn() or self._beat or self._next < self._first + len(self._unacked):
                self._beat, self._unconfirmed = False, 0
                first, parts = self._next, self._some_parts()
                self._next += len(parts)
                self._left_us = max(self._left_us, self._next - 1)
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
