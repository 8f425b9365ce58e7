"""A bad line: between two ends of a unix or TCP socket, and one that breaks when told to."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, Literal, Self
from unittest import mock

from cerebelum_nb.executors.core_process import CoreProcess

Address = Path | tuple[str, int]
Direction = Literal["to server", "to client"]
BOTH: Final[tuple[Direction, ...]] = ("to server", "to client")
_PIECE_NBYTES: Final = 1 << 16


class Proxy:
    """Takes connections and passes on what they say, as it is told. Has a thread of its own; all calls are from others.

    Args:
        server: Where connections go: the path of a unix socket, or host and port.
        listen: Where it listens: a path that is free, or None for a TCP port of its own.

    Attributes:
        address: Where it listens.
        delay_s: Every piece comes so much later.
        drip: Bytes that pass in a second, one by one in slow motion; None for all there is.
    """

    def __init__(self, server: Address, listen: Path | None = None) -> None:
        self.delay_s = 0.0
        self.drip: int | None = None
        self._server = server
        self._lost: set[_Line] = set()
        self._lines: set[_Line] = set()
        self._lock, self._closed = threading.Lock(), False
        self._loop = asyncio.new_event_loop()
        self._open = {direction: asyncio.Event() for direction in BOTH}
        for event in self._open.values():
            event.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self._thread.start()
        self._listener: asyncio.Server = self._call(self._listen(listen))
        self.address: Address = listen or self._listener.sockets[0].getsockname()[:2]

    def cut(self, *directions: Direction) -> None:
        """Nothing passes any more, in one direction or (none named) in both; nobody is told. Half-open, or a partition.

        What is said meanwhile comes after `heal`, as after a partition of a network that does not last.
        """

        def cut() -> None:
            for direction in directions or BOTH:
                self._open[direction].clear()

        self._do(cut)

    def heal(self) -> None:
        """The line is as it was; connections that were reset or lost stay so."""

        def heal() -> None:
            for event in self._open.values():
                event.set()
            self.delay_s, self.drip = 0.0, None

        self._do(heal)

    def lose(self) -> None:
        """What is said on the connections there are now goes nowhere, for ever; new ones work."""
        self._do(lambda: self._lost.update(self._lines))

    def reset(self) -> None:
        """All connections break off at once, and both ends are told."""

        def reset() -> None:
            for line in self._lines:
                line.abort()

        self._do(reset)

    def close(self) -> None:
        """Break off, and listen no more. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(TimeoutError):
                self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5.0)
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, act: Callable[[], object]) -> None:
        with self._lock:  # Core may end, and this with it, while somebody is at it
            if not self._closed:
                self._call(_now(act))

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    async def _listen(self, path: Path | None) -> asyncio.Server:
        if path is not None:
            return await asyncio.start_unix_server(self._connected, path)
        return await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._listener.close()
        for line in self._lines:
            line.abort()
        mine = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not mine]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._server, Path):
                far = await asyncio.open_unix_connection(self._server)
            else:
                far = await asyncio.open_connection(*self._server)
        except OSError:
            writer.transport.abort()
            return
        line = _Line(writer, far[1])
        self._lines.add(line)
        there = asyncio.create_task(self._pass_on("to server", line, reader, far[1]))
        try:
            await self._pass_on("to client", line, far[0], writer)
            await there
        finally:
            there.cancel()
            line.abort()
            self._lines.discard(line)
            self._lost.discard(line)

    async def _pass_on(
        self, direction: Direction, line: "_Line", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One direction of one connection, until either end is gone: then the other hears of it, if anything passes."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE_NBYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while data:
                    passes = len(data)
                    if (drip := self.drip) is not None:
                        await asyncio.sleep(1 / drip)
                        passes = 1
                    await self._open[direction].wait()
                    if line not in self._lost:
                        writer.write(data[:passes])
                        await writer.drain()
                    data = data[passes:]
        await self._open[direction].wait()
        if line in self._lost:
            await asyncio.Event().wait()
        line.abort()


class _Line:
    """A connection through the proxy."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers

    def abort(self) -> None:
        for writer in self._writers:
            found = writer.get_extra_info("socket")
            if found is not None and found.family != socket.AF_UNIX:  # a reset, not an end
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()


async def _now(act: Callable[[], object]) -> None:
    act()


@contextlib.contextmanager
def proxied() -> Iterator[list[Proxy]]:
    """Every Core that this process starts in here is talked to through a proxy; the list gets each, newest last."""
    made: list[Proxy] = []
    of: dict[CoreProcess, Proxy] = {}
    wait_ready, stop = CoreProcess.wait_ready, CoreProcess.stop

    def ready(self: CoreProcess, *deadline: float) -> None:
        wait_ready(self, *deadline)
        of[self] = Proxy(self.socket, self.socket.with_name("bent.sock"))
        made.append(of[self])
        self.socket = self.socket.with_name("bent.sock")

    def stopped(self: CoreProcess, *workers: Any, **how: Any) -> None:
        stop(self, *workers, **how)
        if self in of:
            of.pop(self).close()

    with mock.patch.object(CoreProcess, "wait_ready", ready), mock.patch.object(CoreProcess, "stop", stopped):
        try:
            yield made
        finally:
            for proxy in made:
                proxy.close()
