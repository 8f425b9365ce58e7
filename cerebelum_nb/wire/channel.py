"""How the kernel's and Core's ends of the gRPC stream agree: the method, the limits, and one guarded writer."""

import asyncio
from collections.abc import Awaitable, Callable

from cerebelum_nb.wire.frames import MAX_MESSAGE_NBYTES, AnyFrame, messages

SERVICE = "cerebelum_nb.Dispatch"
METHOD = "Open"
JOIN = "Join"
HELLO = "Hello"
POOL = "cerebelum-pool"  # the metadata key: whose workers a kernel wants
TOKEN = "cerebelum-token"  # noqa: S105  the metadata key, not a token

HOLD_S = 0.001  # "started" waits this long for a quick step's "finished": one message instead of two

# A message costs as much as the work of several steps. Where one held many frames, the next ones come at once, too.
MANY = 8
GATHER_S = 0.0005

OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_NBYTES),
    ("grpc.http2.bdp_probe", 0),  # measures bandwidth with pings; this is one machine
    ("grpc.enable_http_proxy", 0),
    ("grpc.so_reuseport", 0),
]


class Outbox:
    """Frames on their way into one stream: those of one loop turn leave as one message, and writes never overlap.

    Both matter: a message per frame costs 17 times the throughput, and two writes at once hang the stream.
    """

    def __init__(self) -> None:
        self._frames: list[AnyFrame] = []
        self._some = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, *frames: AnyFrame) -> None:
        """Send frames with this turn's message. Called on the loop."""
        self._frames += frames
        self._some.set()

    def hold(self, frame: AnyFrame) -> None:
        """Send a frame with the next message; alone after `HOLD_S` if there is none until then."""
        self._frames.append(frame)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_S, self._some.set)

    async def pump(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write for as long as the stream lives; the only caller of `write`."""
        while True:
            await self._some.wait()
            self._some.clear()
            frames, self._frames = self._frames, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for message in messages(frames):
                await write(message)
            if len(frames) >= MANY:
                await asyncio.sleep(GATHER_S)
