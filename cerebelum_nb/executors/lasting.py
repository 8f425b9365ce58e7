"""A stream to a served Core that outlives its connections: what is said on it goes on where it broke."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio
import msgspec

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.frames import Submit, frames_of
from cerebelum_nb.wire.relay import SILENT_S, Bye, Greeting, Lasting, Line, introduced

ANSWER_S: Final = 5.0  # a Core that is there answers within this time
PAUSE_S, PAUSE_CAP_S = 0.05, 2.0  # between two tries
FAREWELL_S: Final = 0.5
logger = logging.getLogger(__name__)


class Refused(Exception):
    """There is nothing to come back to; says what Core did."""


class LastingStream:
    """As a stream of gRPC, for one kernel: read, write, cancel. Lives on one loop.

    Args:
        dial: Makes a channel.
        metadata: What is said before anything else.
        greeting: How we introduce ourselves.
        grace_s: So long the connection may be gone.
        renewed: Whether there is another Core at this address, as far as one can see here.

    Attributes:
        changed: Called with False when the connection is gone, and with True when it is back.
        how: What became of Core, as a sentence goes on: ``was ended where it is served``.
        never_left: Once that is known, the attempts that Core cannot have got.
    """

    def __init__(
        self,
        dial: Callable[[], Any],
        metadata: tuple[tuple[str, str], ...],
        greeting: Greeting,
        grace_s: float,
        renewed: Callable[[], bool],
    ) -> None:
        self._dial, self._metadata, self._grace_s, self._renewed = dial, metadata, grace_s, renewed
        self._greeting = msgspec.structs.replace(greeting, agent=secrets.token_hex(16))
        self._line = Lasting(in_order=True)
        self._came: deque[Any] = deque()
        self._some = asyncio.Event()
        self._known = False  # by Core
        self._connection: asyncio.Task[bool] | None = None
        self._closing = self._there = False
        self.changed: Callable[[bool], object] = lambda _there: None
        self.how = "could not be reached any more"
        self.never_left: frozenset[int] = frozenset()
        self._task = asyncio.create_task(self._live(), name="cerebelum core line")

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF` where none follows."""
        while not self._came:
            self._some.clear()
            await self._some.wait()
        return self._came[0] if self._came[0] is grpc.aio.EOF else self._came.popleft()

    async def write(self, message: bytes) -> None:
        """Send a message, now or when there is a connection again."""
        await self._line.carry(message)

    def cancel(self) -> None:
        """Nothing more is read; `close` takes leave."""
        self._came.append(grpc.aio.EOF)
        self._some.set()

    def again(self) -> bool:
        """Nothing is heard of Core: try another connection. Whether there is still time for that."""
        if self._connection is not None and self._there:
            self._connection.cancel()
        return not self._task.done()

    async def close(self) -> None:
        """Take leave, and end."""
        self.cancel()
        self._closing = True
        if self._connection is not None and self._known:
            self._line.send((Bye(),))
            await asyncio.wait({self._connection}, timeout=FAREWELL_S)  # Core hangs up when it has read that
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _live(self) -> None:
        """Connect again and again, until Core refuses us or the time is over."""
        loop, pause_s, since = asyncio.get_running_loop(), PAUSE_S, None
        try:
            while since is None or loop.time() - since < self._grace_s:
                self._connection = asyncio.create_task(self._connect())
                await asyncio.wait({self._connection})
                was_there = self._connection.result()
                if not self._known or self._closing:
                    return  # it was there a moment ago, when we asked whether we may come
                if was_there or since is None:
                    pause_s, since = PAUSE_S, loop.time()
                    self.changed(False)
                await asyncio.sleep(min(pause_s, max(0.0, self._grace_s - (loop.time() - since))))
                pause_s = min(2 * pause_s, PAUSE_CAP_S)
                if self._renewed():
                    raise Refused("was ended, and served again,")  # noqa: TRY301  as where Core says no
            self.how = f"could not be reached any more for {self._grace_s:g} s"
        except Refused as exc:
            self.how = str(exc)
        except Exception:  # a bug, or what nobody foresaw: it must not look like a line that is cut
            logger.exception("line.failed")
        finally:
            if self._connection is not None:
                self._connection.cancel()
                await asyncio.wait({self._connection})
            messages = [part.frames for part in self._line.never_left() if isinstance(part, Line)]
            frames = [frame for message in messages for frame in frames_of(message)]
            self.never_left = frozenset(frame.id for frame in frames if isinstance(frame, Submit))
            self.cancel()

    async def _connect(self) -> bool:
        """Live through one connection; whether it was one.

        Raises:
            Refused: There will not be another one.
        """
        made = self._dial()
        tasks: list[asyncio.Task[Any]] = []
        self._there = False
        try:
            stream = made.stream_stream(f"/{channel.SERVICE}/{channel.METHOD}")(metadata=self._metadata)
            async with asyncio.timeout(ANSWER_S):
                self._line.resume(await self._greet(stream))
            if self._known:
                self.changed(True)
            self._there = self._known = True
            tasks += [asyncio.create_task(self._line.pump(stream.write)), asyncio.create_task(self._line.beats())]
            while True:
                async with asyncio.timeout(SILENT_S):
                    message = await stream.read()
                if message is grpc.aio.EOF:
                    return True
                self._hear(message)
        except grpc.aio.AioRpcError as exc:
            if exc.code() in _FOR_GOOD:
                raise Refused(f"did not take this kernel ({exc.details() or exc.code().name})") from None
            return self._there
        except (TimeoutError, WireError, asyncio.CancelledError):  # a broken stream is cancelled, as we may be
            return self._there
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await made.close()

    async def _greet(self, stream: Any) -> int:
        """Introduce ourselves; what Core has of us."""
        got = self._line.got if self._known else -1
        reception = await introduced(stream, msgspec.structs.replace(self._greeting, got=got))
        if reception.refused or (self._known and reception.got < 0):
            raise Refused(f"did not take this kernel ({reception.refused or 'it was away for too long'})")
        return max(0, reception.got)

    def _hear(self, message: bytes) -> None:
        for part in self._line.receive(message):
            if not isinstance(part, Line):
                raise Refused("was ended where it is served")
            self._came.append(part.frames)
            self._some.set()


class LastingChannel:
    """As a channel of gRPC with one stream.

    Args:
        dial: Makes a channel.
        greeting: How we introduce ourselves.
        grace_s: So long the connection may be gone.
        renewed: Whether there is another Core at this address, as far as one can see here.
    """

    def __init__(
        self, dial: Callable[[], Any], greeting: Greeting, grace_s: float, renewed: Callable[[], bool]
    ) -> None:
        self._dial, self._greeting, self._grace_s, self._renewed = dial, greeting, grace_s, renewed
        self._stream: LastingStream | None = None

    def stream_stream(self, _method: str) -> "Callable[[tuple[tuple[str, str], ...]], LastingStream]":
        """As the channel's: what opens the stream."""

        def opened(metadata: tuple[tuple[str, str], ...]) -> LastingStream:
            self._stream = LastingStream(self._dial, metadata, self._greeting, self._grace_s, self._renewed)
            return self._stream

        return opened

    def on_change(self, changed: Callable[[bool], object]) -> None:
        """Call this when the connection of the stream is gone or back."""
        if self._stream is not None:
            self._stream.changed = changed

    @property
    def never_left(self) -> frozenset[int]:
        """Attempts that Core cannot have got."""
        return self._stream.never_left if self._stream is not None else frozenset()

    @property
    def how(self) -> str:
        """What became of Core."""
        return self._stream.how if self._stream is not None else ""

    async def close(self) -> None:
        """Take leave, and end."""
        if self._stream is not None:
            await self._stream.close()


_FOR_GOOD: Final = frozenset({
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
})  # fmt: skip
