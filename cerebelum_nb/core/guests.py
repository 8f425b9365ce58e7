"""Whoever comes to a served Core for longer: a line that breaks and comes back, and so much time for that."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

import grpc
import grpc.aio

from cerebelum_nb.core.staff import note
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.relay import SILENT_S, Lasting, Line, Part


class Guest(ABC):
    """Somebody who is known while the connection is gone.

    Attributes:
        who: It, for a log.

    Args:
        name: Where it is.
        grace_s: While it cannot be reached it has so long to come back.
        line: What is said to it, and heard of it.
    """

    who = "a kernel"

    def __init__(self, name: str, grace_s: float, line: Lasting) -> None:
        self.name, self.line = name, line
        self.usable = True  # connected
        self._grace_s = grace_s
        self._connection: asyncio.Task[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def serve(self, context: "grpc.aio.ServicerContext[bytes, bytes]", theirs: int) -> None:
        """Live through one connection. A newer one takes over.

        Raises:
            WireError: What the guest says is not ours; it is of no use any more.
        """
        self.line.check(theirs)
        if self._connection is not None:
            self._connection.cancel()
        if self._grace is not None:
            self._grace.cancel()
        self.line.resume(theirs)
        me = self._connection = asyncio.current_task()
        self.usable, silent = True, False
        pump = asyncio.create_task(self.line.pump(context.write))
        beat = asyncio.create_task(self.line.beats())
        try:
            while True:
                async with asyncio.timeout(SILENT_S):
                    message = await context.read()
                if message is grpc.aio.EOF:
                    return
                self._read(message)
                if self.is_lost:
                    return
        except TimeoutError:
            silent = True
            note(f"nothing was heard of {self.who} for {SILENT_S:g} s: it has {self._grace_s:g} s to come back")
        except WireError as exc:
            self._talks_nonsense(exc)
            raise
        finally:
            pump.cancel()
            beat.cancel()
            if self._connection is me:
                self._connection, self.usable = None, False
                self._grace = self._loop.call_later(self._grace_s, self._stays_away, silent)
            await asyncio.gather(pump, beat, return_exceptions=True)

    def _read(self, message: bytes) -> None:
        """Take what is new in a message; nothing follows its last word."""
        for part in self.line.receive(message):
            if not self.is_lost:
                self._take(part)

    @property
    @abstractmethod
    def is_lost(self) -> bool:
        """It has ended for us."""

    @abstractmethod
    def _take(self, part: Part) -> None:
        """It says something."""

    @abstractmethod
    def _talks_nonsense(self, exc: WireError) -> None:
        """It has said what cannot be."""

    @abstractmethod
    def _stays_away(self, silent: bool) -> None:  # noqa: FBT001  from a timer
        """It did not come back in time.

        Args:
            silent: Its connection was there, and nothing was heard on it; else it broke.
        """


class Visitor(Guest):
    """A kernel.

    Args:
        hear: Called with each of its messages; raises `WireError` where that is not ours.
        left: Called once, when nothing more comes of it.
    """

    def __init__(self, grace_s: float, hear: Callable[[bytes], object], left: Callable[[], object]) -> None:
        super().__init__("kernel", grace_s, Lasting(in_order=True))
        self._hear = hear
        self._left: Callable[[], object] | None = left

    def end(self) -> None:
        """It is of no use any more, and nobody waits for what it has left here."""
        left, self._left = self._left, None
        if left is not None:
            left()

    @property
    def is_lost(self) -> bool:
        """It has ended for us."""
        return self._left is None

    def _take(self, part: Part) -> None:
        if isinstance(part, Line):
            self._hear(part.frames)
        else:
            self.end()

    def _talks_nonsense(self, _exc: WireError) -> None:
        self.end()

    def _stays_away(self, _silent: bool) -> None:  # noqa: FBT001  as above
        self.end()
