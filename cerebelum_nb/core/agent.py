"""The agent: it starts workers on a host for a Core on another one, and hands frames on between them.

It never runs a step, so that no step can stop its heart.
"""

import asyncio
import contextlib
import secrets
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
import msgspec

from cerebelum_nb.capture import environment
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.core.watching import Watching
from cerebelum_nb.errors import WireError
from cerebelum_nb.model.typed import counted
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.credentials import read_pass, secure_channel
from cerebelum_nb.wire.frames import AnyFrame, Cancel, Reply, frames_of, messages
from cerebelum_nb.wire.probe import probe
from cerebelum_nb.wire.relay import (
    SILENT_S,
    Bye,
    Control,
    Gone,
    Greeting,
    Here,
    Lasting,
    Line,
    Noticed,
    Open,
    Part,
    Retire,
    Signal,
    introduced,
)

BACKOFF_S, BACKOFF_CAP_S = 0.2, 5.0
FAREWELL_S: Final = 1.0

Say = Callable[[str], object]
_T = TypeVar("_T")


class Agent:
    """Keeps a host's workers at the service of one Core, over broken connections.

    Args:
        core: URL; empty for the one in the pass.
        pool: Whose steps they run; empty for the pass's pool, or every pool's where that names none.
        say: Gets a line for whatever a person may want to know.
    """

    def __init__(self, core: str, path: Path, pool: str, slots: int, say: Say) -> None:
        self._core, self._path = core, path
        self._pool, self._slots, self._say = pool, slots, say
        self._nursery = Nursery()
        here = environment.here()
        self._version, self._environment = here.packages["cerebelum-nb"], msgspec.to_builtins(here)
        self._name = socket.gethostname()
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._joined = False  # at least once
        self._lost_at = self._grace_s = 0.0  # when the last connection ended; what Core says
        self._fresh()

    def _fresh(self) -> None:
        """Begin as somebody new: no workers, nothing said."""
        self._id = secrets.token_hex(16)
        self._known = False
        self._line = Lasting()
        self._workers: dict[int, Slot] = {}
        self._watching: dict[int, Watching] = {}  # those of them that have started

    def stop(self) -> None:
        """End, and the workers too."""
        self._stopped.set()

    async def run(self) -> None:
        """Serve until it is stopped.

        Raises:
            WireError: Core cannot be reached or refuses; once it has served, only what no waiting can mend.
        """
        try:
            await self._connect_again_and_again()
        finally:
            self._watch_none()
            await asyncio.to_thread(self._nursery.end)

    async def _connect_again_and_again(self) -> None:
        pause_s, said = BACKOFF_S, ""
        while not self._stopped.is_set():
            before = self._lost_at
            try:
                await self._connection()
            except WireError as exc:
                if not self._joined:
                    raise
                if str(exc) != said:
                    said = str(exc)
                    self._say(f"{said}; trying again")
            if self._lost_at > before:
                pause_s = BACKOFF_S
            elif self._known and self._loop.time() - self._lost_at > self._grace_s:
                self._say(f"Core is gone for more than {self._grace_s:g} s: what ran here is ended")
                await self._end_workers()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopped.wait()
            pause_s = min(2 * pause_s, BACKOFF_CAP_S)

    async def _end_workers(self) -> None:
        old, self._nursery = self._nursery, Nursery()
        self._watch_none()
        self._fresh()
        await asyncio.to_thread(old.end)

    async def _connection(self) -> None:
        """Live through one connection.

        Raises:
            WireError: It cannot be made, or Core refuses us.
        """
        if self._joined and not self._path.exists():
            raise WireError(f"Core has ended where it was served: its pass {str(self._path)!r} is gone")
        given = read_pass(self._path)  # anew each time: Core may have been served again
        core = self._core or given.core
        await asyncio.to_thread(probe, core, self._path, given)
        async with secure_channel(core, given) as made:
            stream = made.stream_stream(f"/{channel.SERVICE}/{channel.JOIN}")(metadata=((channel.TOKEN, given.token),))
            try:
                await self._serve(stream, core, self._pool or given.pool)
            except grpc.aio.AioRpcError as exc:
                raise WireError(why(exc, core)) from None
            except asyncio.CancelledError:
                raise WireError(f"the connection to Core {core} was lost") from None
            finally:
                stream.cancel()

    async def _serve(self, stream: Any, core: str, pool: str) -> None:
        greeting = Greeting(
            self._version,
            pool,
            self._environment,
            self._name,
            self._slots,
            self._id,
            self._line.got if self._known else -1,
        )
        reception = await _heard(introduced(stream, greeting))
        if reception.refused:
            raise WireError(reception.refused)
        if self._known and reception.got < 0:
            self._say("Core does not know us any more: what ran here is ended")
            await self._end_workers()
            return
        if not self._known:
            whose = f"pool {pool!r}" if pool else "every pool"
            self._say(f"joined Core {core} with {counted(self._slots, 'worker')} for {whose}")
        else:
            self._say(f"back at Core {core}")
        self._known = self._joined = True
        self._grace_s = reception.grace_s
        self._line.resume(max(0, reception.got))
        pump = asyncio.create_task(self._line.pump(stream.write))
        beat = asyncio.create_task(self._line.beats())
        stopped = asyncio.create_task(self._stopped.wait())
        reader = asyncio.create_task(self._read(stream))
        try:
            await asyncio.wait({pump, stopped, reader}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.is_set():
                await self._take_leave(reader)
            elif reader.done():
                await reader
        finally:
            self._lost_at = self._loop.time()
            for task in (pump, beat, stopped, reader):
                task.cancel()
            await asyncio.gather(pump, beat, stopped, reader, return_exceptions=True)

    async def _take_leave(self, reader: "asyncio.Task[None]") -> None:
        """Core hangs up when it has read our last word."""
        self._line.send([Bye()])
        await asyncio.wait({reader}, timeout=FAREWELL_S)

    async def _read(self, stream: Any) -> None:
        while True:
            message = await _heard(stream.read())
            if message is grpc.aio.EOF:
                return
            for part in self._line.receive(message):
                self._take(part)

    # workers -------------------------------------------------------------------------------------------------------

    def _take(self, part: Part) -> None:
        if isinstance(part, Open):
            self._open(part.worker, part.silent_s)
            return
        slot = None if isinstance(part, Bye) else self._workers.get(part.worker)
        if slot is None:
            return  # it has ended meanwhile
        match part:
            case Line():
                slot.send(frames_of(part.frames))
            case Control():
                for frame in frames_of(part.frames):
                    _tell(slot, frame)
            case Retire():
                slot.retire()
            case Signal():
                slot.signal(signal.Signals(part.signal))

    def _watch_none(self) -> None:
        for watching in self._watching.values():
            watching.stop()
        self._watching.clear()

    def _open(self, worker: int, silent_s: float) -> None:
        line = self._line

        def notice(_attempt: int | None, text: str) -> None:
            self._say(text.rstrip())
            line.send([Noticed(worker, text)])

        def said(slot: Slot, frames: list[AnyFrame]) -> None:
            if worker not in self._watching:
                self._watching[worker] = Watching(lambda: (slot,), lambda number: number, notice, silent_s)
            line.send(Line(worker, message) for message in messages(frames))

        def died(slot: Slot, how: str) -> None:
            self._nursery.forget(slot.pid)
            self._workers.pop(worker, None)
            if worker in self._watching:
                self._watching.pop(worker).stop()
            line.send([Gone(worker, how)])

        if len(self._workers) >= MOST_WORKERS:
            line.send([Gone(worker, f"was not started: {MOST_WORKERS} run already on host {self._name!r}")])
            return
        try:
            slot = Slot(worker, self._nursery.spawn(), said, died)
        except OSError as exc:
            line.send([Gone(worker, f"could not be started on host {self._name!r} ({exc})")])
            return
        self._workers[worker] = slot
        line.send([Here(worker, slot.pid)])


MOST_WORKERS: Final = 512


def _tell(slot: Slot, frame: AnyFrame) -> None:
    if isinstance(frame, Cancel):
        slot.stop(frame.id)
    elif isinstance(frame, Reply):
        slot.reply(frame)


async def _heard(answer: Awaitable[_T]) -> _T:
    """What Core says next.

    Raises:
        WireError: None comes.
    """
    try:
        async with asyncio.timeout(SILENT_S):
            return await answer
    except TimeoutError:
        raise WireError(f"nothing was heard of Core for {SILENT_S:.0f} s") from None


def why(exc: "grpc.aio.AioRpcError", core: str) -> str:
    """A refusal by gRPC in words."""
    if exc.code() == grpc.StatusCode.UNAUTHENTICATED:
        return f"Core {core} does not take the token in the pass: copy the pass again from where it is served"
    if exc.code() == grpc.StatusCode.UNIMPLEMENTED:
        return f"Core {core} is of another version, or does not take workers: use one version everywhere"
    if exc.code() == grpc.StatusCode.PERMISSION_DENIED:
        return f"Core {core}: {exc.details()}"
    return f"the connection to Core {core} was lost ({exc.details() or exc.code().name})"


def serve(core: str, path: Path, pool: str, slots: int, say: Say) -> None:
    """Be an agent until SIGTERM or SIGINT.

    Raises:
        WireError: Core cannot be reached or refuses.
    """

    async def main() -> None:
        agent = Agent(core, path, pool, slots, say)
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, agent.stop)
        await agent.run()

    asyncio.run(main())
