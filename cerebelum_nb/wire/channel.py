"""How the kernel's and Core's ends of the gRPC stream agree: the method, the limits, and one guarded writer."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator

from cerebelum_nb.wire.frames import MAX_MESSAGE_NBYTES, AnyFrame, Finished, messages, weight

SERVICE = "cerebelum_nb.Dispatch"
METHOD = "Open"
JOIN = "Join"
HELLO = "Hello"
TOKEN = "cerebelum-token"  # noqa: S105  the metadata key, not a token

HOLD_S = 0.001  # "started" waits this long for a quick step's "finished": one message instead of two

# A message costs as much as the work of several steps. Where one held many frames, the next ones come at once, too: the
# more there were, the longer the next message waits for more, so that it does not where there are few.
MANY = 8
GATHER_S = 0.00005  # for each frame
GATHER_MOST_S = 0.002

OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.http2.bdp_probe", 0),  # measures bandwidth with pings; this is one machine
    ("grpc.enable_http_proxy", 0),
    ("grpc.so_reuseport", 0),
]


_HOW = {  # it reads them when it is loaded
    "GRPC_VERBOSITY": "NONE",  # whoever knocks at a port would fill a log with its lines
    # A message goes through one thread less at each end: a quarter less time there and back, and a third less work.
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Load gRPC in here, and it is quiet and quick. What the person has chosen stays."""
    chosen = _HOW.keys() - os.environ.keys()
    os.environ.update((name, _HOW[name]) for name in chosen)
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)


class Outbox:
    """Frames on their way into one stream: those of one loop turn leave as one message, and writes never overlap.

    Both matter: a message per frame costs 17 times the throughput, and two writes at once hang the stream.

    Attributes:
        gathered: Called before a message is made: somebody puts what was gathered until then.
        slow: By attempt, what goes frame by frame, in turns, and is overtaken by all else.
    """

    def __init__(self) -> None:
        self._frames: list[AnyFrame] = []
        self._some = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.gathered: Callable[[], object] = bool
        self.slow: dict[int, deque[Iterator[AnyFrame]]] = {}
        self._then: list[Callable[[], object]] = []

    def then(self, call: Callable[[], object]) -> None:
        """Call somebody, on the loop, when what was gathered or put until now has been written.

        Who makes a lot ready should do so in pieces, and each when the one before it has left: gRPC has a thread of its
        own that must get the interpreter for that.
        """
        self._then.append(call)

    def stir(self) -> None:
        """Something is gathered."""
        self._some.set()

    def put(self, *frames: AnyFrame) -> None:
        """Send frames with this turn's message. Called on the loop."""
        self._frames += frames
        self._some.set()

    def hold(self, frame: AnyFrame) -> None:
        """Send a frame with the next message; alone after `HOLD_S` if there is none until then."""
        self._frames.append(frame)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_S, self._some.set)

    def slowly(self, attempt: int, frames: Iterable[AnyFrame]) -> None:
        """Send long frames of an attempt, each made when its turn comes."""
        self.slow.setdefault(attempt, deque()).append(iter(frames))
        self._some.set()

    def behind(self, frame: Finished) -> None:
        """Send a frame after what goes slowly of its attempt, if anything does."""
        if frame.id in self.slow:
            self.slowly(frame.id, (frame,))
        else:
            self.put(frame)

    def drop(self, attempt: int) -> bool:
        """Send no more of what goes slowly of an attempt; whether anything did."""
        return self.slow.pop(attempt, None) is not None

    def _next_slow(self) -> list[AnyFrame]:
        while self.slow:
            attempt = next(iter(self.slow))
            waiting = self.slow[attempt]
            frame = next(waiting[0], None)
            if frame is None:
                waiting.popleft()
                if not waiting:
                    del self.slow[attempt]
                continue
            self.slow[attempt] = self.slow.pop(attempt)
            return [frame]
        return []

    async def pump(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write for as long as the stream lives; the only caller of `write`."""
        while True:
            await self._some.wait()
            self.gathered()
            self._some.clear()
            frames, self._frames = self._frames, []
            then, self._then = self._then, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for message in messages(frames):
                await write(message)
            for call in then:
                asyncio.get_running_loop().call_soon(call)  # its trouble is not ours
            if self.slow:
                for message in messages(self._next_slow()):
                    await write(message)
                self._some.set()
            elif (many := weight(frames)) >= MANY:
                await asyncio.sleep(min(GATHER_MOST_S, GATHER_S * many))
