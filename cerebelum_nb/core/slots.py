"""A slot: one worker process, the socket to it, and what happens when it dies."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from cerebelum_nb.core.spawn import Process, kill_group
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.frames import AnyFrame, Cancel, Ping, Reply, weight
from cerebelum_nb.wire.gate import Left
from cerebelum_nb.wire.line import READ_NBYTES, Splitter, each_packed

MANY = 3  # frames at once from one worker: more come soon
GATHER_S = 0.0005  # what it says next is read together
RETIRE_S = 2.0  # a worker that is to end has this long

OnFrames = Callable[["Slot", list[AnyFrame]], None]
OnDeath = Callable[["Slot", str], None]


class Sender:
    """Our end of a socket to a worker. Never blocks: what the socket does not take now follows when it can."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock, self._loop = sock, loop
        self._unsent: memoryview | None = None
        self._waiting: deque[Iterator[bytes]] = deque()  # made when the socket takes it
        sock.setblocking(False)

    def send(self, frames: Iterable[AnyFrame]) -> None:
        """Send frames in order."""
        waiting = each_packed(frames)
        if self._unsent is not None:
            self._waiting.append(waiting)
            return
        for data in waiting:
            sent = self._try(data)
            if sent < len(data):
                self._unsent = memoryview(data)[sent:]
                self._waiting.append(waiting)
                self._loop.add_writer(self._sock, self._writable)
                return

    @property
    def sends(self) -> bool:
        """Whether the other end has not taken all that was sent."""
        return self._unsent is not None

    def finish(self) -> None:
        """Nothing follows: the other end reads the end."""
        with contextlib.suppress(OSError):  # it is gone
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """It is gone."""
        self._loop.remove_writer(self._sock)
        self._sock.close()

    def _try(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # it is gone: `Slot._wait` will say so

    def _writable(self) -> None:
        assert self._unsent is not None  # else nobody asks
        self._unsent = self._unsent[self._try(self._unsent) :]
        while not self._unsent:
            if not self._waiting:
                self._unsent = None
                self._loop.remove_writer(self._sock)
                return
            if (data := next(self._waiting[0], None)) is not None:
                self._unsent = memoryview(data)
            else:
                self._waiting.popleft()


class Slot:
    """Talks to one worker process, without ever blocking the loop.

    Args:
        on_frames: Called with what the worker sends.
        on_death: Called once, after the last frames, with how it ended: ``was killed by SIGKILL``.
    """

    takes_back = True  # what its worker has not begun can be had back
    answered = True  # since it was asked last whether it lives
    why = ""  # we have ended it
    heir = "A new worker has taken its place."  # what to say when it has ended
    heard = 0  # so often it has answered
    patience = 1  # with it, see `Unbegun`
    ended = False  # it is gone, and what it has said is still to be heard
    left = 0  # attempts that it had not begun when it ended
    _sent = 0

    def __init__(self, number: int, process: Process, on_frames: OnFrames, on_death: OnDeath) -> None:
        self.number = number
        self.pid = process.pid
        self.codes: dict[str, None] = {}  # digests this worker has, oldest first
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._line, self._control = Sender(process.line, self._loop), Sender(process.control, self._loop)
        self._sock = process.line
        self._on_frames, self._on_death = on_frames, on_death
        self._splitter = Splitter()
        self._gone = self._gathers = False
        self._kept: Left | None = None
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._loop.add_reader(self._sock, self._readable)
        self._loop.add_reader(process.control, self._answers)
        threading.Thread(target=self._wait, name=f"wait for worker {number}", daemon=True).start()

    def send(self, frames: Iterable[AnyFrame]) -> None:
        """Send frames, which the worker reads between its steps."""
        self._line.send(frames)

    def give(self, frames: Iterable[AnyFrame], attempts: int) -> None:
        """Send frames, so many attempts among them."""
        self._sent += attempts
        self.send(frames)

    def take_back(self) -> int:
        """Let the worker begin nothing more of what it was sent; how many attempts, the last ones, that concerns."""
        return self._process.gate.shut(self._sent)

    def stop(self, attempt: int) -> None:
        """Ask the worker to stop an attempt; it hears this while the step runs."""
        self._control.send([Cancel(attempt)])

    def reply(self, frame: Reply) -> None:
        """Hand on what somebody said to the step; it hears this while the step runs."""
        self._control.send([frame])

    def ping(self) -> None:
        """Ask whether it lives; it answers while its step runs."""
        self.answered = False
        self._control.send([Ping()])

    def ask(self) -> None:
        """The same beside it; see `heard`."""
        self._control.send([Ping()])

    def unbegun(self) -> int:
        """How many attempts it was sent and has not come to yet; 0 while something long is on its way to it."""
        return 0 if self._line.sends else self._process.gate.waiting(self._sent)

    def in_gate(self) -> Left | None:
        """What it has to say and keeps until it has more, as far as it has left that in its gate."""
        return self._kept if self._gone else self._process.gate.left()

    def _answers(self) -> None:
        try:
            self.answered = bool(self._process.control.recv(READ_NBYTES))
            self.heard += 1
        except BlockingIOError:
            return
        except OSError:
            self.answered = False
        if not self.answered:  # it is gone, which `_wait` tells
            self._loop.remove_reader(self._process.control)

    def end(self, why: str) -> None:
        """Kill it, for a reason."""
        self.why = why
        self.signal(signal.SIGKILL)

    def retire(self) -> None:
        """Let the worker end: it has done its work and gets no more."""
        self._line.finish()
        self._loop.call_later(RETIRE_S, self._must_have_ended)

    def _must_have_ended(self) -> None:
        if not self._gone:
            self.signal(signal.SIGKILL)

    def signal(self, how: signal.Signals) -> None:
        """Signal the worker and what it started."""
        kill_group(self.pid, how)

    def look(self) -> bool:
        """Read what the worker has said, if anything, without waiting for it."""
        if not self._poll.poll(0):
            return False
        self._readable()
        return True

    def _readable(self) -> None:
        try:
            data = self._sock.recv(READ_NBYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            frames = self._splitter.feed(data)
        except WireError:
            data, frames = b"", []
        if frames:
            self._on_frames(self, frames)
            if weight(frames) >= MANY and not self._gathers:
                self._gathers = True
                self._loop.remove_reader(self._sock)
                self._loop.call_later(GATHER_S, self._gathered)
        if not data:  # it closed the line or talks nonsense: of no use any more
            self._loop.remove_reader(self._sock)
            self.signal(signal.SIGKILL)

    def _gathered(self) -> None:
        self._gathers = False
        if not self._gone:
            self._loop.add_reader(self._sock, self._readable)
            self._readable()

    def _wait(self) -> None:
        """In a thread: a child that holds the worker's socket would hide the worker's end from a reader."""
        if hasattr(os, "waitid"):  # look, but do not reap: while the pid exists its group's number is not given away
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        kill_group(self.pid)
        code = self._process.popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: Core ends
            self._loop.call_soon_threadsafe(self._ended, how_it_ended(code))

    def _ended(self, how: str) -> None:
        self.ended = True
        with contextlib.suppress(OSError, WireError):  # what it said last is still in the socket
            while data := self._sock.recv(READ_NBYTES):
                if frames := self._splitter.feed(data):
                    self._on_frames(self, frames)
        self._loop.remove_reader(self._sock)
        self._loop.remove_reader(self._process.control)
        self._line.close()
        self._control.close()
        self.left, self._kept = self._process.gate.waiting(self._sent), self._process.gate.left()
        self._process.gate.close()
        self._gone = True
        self._on_death(self, self.why or how)


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
