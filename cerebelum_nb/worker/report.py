"""What a worker says about its attempt: prints, progress, pauses, the end; gathered so that few messages leave."""

import codecs
import contextlib
import io
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cerebelum_nb.attempt import printable
from cerebelum_nb.model.events import PauseKind, Stream
from cerebelum_nb.protocols import Answer
from cerebelum_nb.wire.frames import AnyFrame, Finished, Paused, Printed, Progress, Reply, Resumed, Submit
from cerebelum_nb.wire.line import packed

if TYPE_CHECKING:
    from cerebelum_nb.worker.pausing import Pauses

PIPE_NBYTES = 1 << 16  # what a pipe holds
OUTPUT_LIMIT = 1 << 20  # characters that one attempt may print; the rest is counted, not sent
TEXT_LIMIT = 1_000  # characters of what a step says about its progress or a pause


class Report:
    """Gathers what one attempt says until it is sent. The attempt's `Here`.

    Args:
        wake: Called with True when what is here should be sent now; with False when it should be soon.
    """

    def __init__(self, submit: Submit, key: bytes, wake: Callable[[bool], None]) -> None:
        self.attempt = submit.id
        self.waiting = False  # for being sent, and somebody knows
        self.forked = False  # we are in a child that the step forked
        self._submit, self._key = submit, key
        self._wake = wake
        self._pieces: deque[tuple[Stream, str] | Progress | Paused | Resumed] = deque()
        self._progress: deque[tuple[float, str]] = deque(maxlen=1)  # only the last counts
        self._pauses: Pauses | None = None
        self._room = OUTPUT_LIMIT
        self._cut = 0

    def __call__(self, stream: Stream, text: str) -> None:
        """Keep a piece of output. From any thread; takes no lock and sends nothing, since a stop may strike here."""
        if self.forked:
            os.write(2 if stream == "stderr" else 1, text.encode("utf-8", "replace"))
            return
        if len(text) > self._room:
            self._cut += len(text) - self._room
            text = text[: self._room]
        self._room -= len(text)
        if text:
            self._pieces.append((stream, text))
            self._send_soon()

    def progress(self, done: float, text: str) -> None:
        """Keep how far the step is until it is sent. From any thread; takes no lock."""
        if not self.forked:
            self._progress.append((done, short(text)))
            self._send_soon()

    def _send_soon(self) -> None:
        if not self.waiting:
            self.waiting = True
            self._wake(False)

    async def pause(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> Answer | None:
        """Sleep, or wait for an answer, and tell Core meanwhile; see `attempt.Here`."""
        if self._pauses is None:
            from cerebelum_nb.worker.pausing import Pauses  # noqa: PLC0415  it loads asyncio, which takes a while

            self._pauses = Pauses(self._submit, self._key, self._say_now)
        return await self._pauses.pause(kind, seconds, short(text), asked, alone=self.forked)

    def _say_now(self, frame: Paused | Resumed) -> None:
        if not self.forked:
            self._pieces.extend(self._last_progress())  # it was before
            self._pieces.append(frame)
            self._wake(True)

    def _last_progress(self) -> list[Progress]:
        if self._progress:
            with contextlib.suppress(IndexError):  # another thread has it now
                return [Progress(self.attempt, *self._progress.pop())]
        return []

    def hear(self, reply: Reply) -> None:
        """Hand on what somebody said. From the control thread."""
        if self._pauses is not None:
            self._pauses.hear(reply)

    def frames(self) -> list[AnyFrame]:
        """All that was not sent yet, in order."""
        self.waiting = False
        frames: list[AnyFrame] = []
        pieces = [self._pieces.popleft() for _ in range(len(self._pieces))]
        for stream, group in groupby(pieces, lambda piece: piece[0] if isinstance(piece, tuple) else None):
            if stream is None:
                frames += group  # type: ignore[arg-type]  # the pieces that are frames
            else:
                text = "".join(text for _, text in group)  # type: ignore[misc]
                frames.append(Printed(self.attempt, stream, text.encode("utf-8", "replace").decode("utf-8")))
        frames += self._last_progress()
        return frames

    def last_frames(self, finished: Finished) -> list[AnyFrame]:
        """All that was not sent yet, and the end."""
        frames = self.frames()
        if self._cut:
            text = f"the step printed {self._cut:,} characters more than the {OUTPUT_LIMIT:,} that are shown\n"
            frames.append(Printed(self.attempt, "notice", text))
        return [*frames, finished]


def short(text: str) -> str:
    """A text that is safe to send and to show."""
    text = printable(text)
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}…"


class Reporter:
    """The only sender on a worker's line; the main thread and the control thread take turns.

    In a child that a step forks it closes the child's copies of the sockets: they belong to the worker alone.
    """

    def __init__(self, sock: socket.socket, *others: socket.socket) -> None:
        self.report: Report | None = None
        self.forked = False
        self._sock = sock
        self._others = others
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._leave_line)

    def send(self, *frames: AnyFrame) -> None:
        """Send frames now."""
        with self._lock:
            self._sock.sendall(packed(list(frames)))

    def flush(self) -> None:
        """Send what the current attempt said so far."""
        with self._lock:
            if self.report is not None and (frames := self.report.frames()):
                self._sock.sendall(packed(frames))

    def finish(self, finished: Finished) -> None:
        """Send the end of the current attempt with all it said before."""
        with self._lock:
            if self.report is not None:
                self._sock.sendall(packed(self.report.last_frames(finished)))
                self.report = None

    def _leave_line(self) -> None:
        if self.report is not None:
            self.report.forked = True
        self.forked, self.report = True, None
        self._lock = threading.Lock()
        for sock in (self._sock, *self._others):
            sock.close()


class Stray(io.TextIOWrapper):
    """Stands for a standard stream: what threads print, which know no attempt, goes to the one that runs."""

    def __init__(self, reporter: Reporter, name: Stream) -> None:
        super().__init__(open(os.devnull, "wb"), encoding="utf-8", errors="replace")  # noqa: SIM115, PTH123
        self._reporter, self._name = reporter, name

    def write(self, text: str) -> int:
        """Hand the text to the attempt that runs; drop it when none does."""
        if (report := self._reporter.report) is not None:
            report(self._name, text)
        return len(text)


class Descriptors:
    """File descriptors 1 and 2 as pipes: what child processes and C code write goes to the attempt that runs.

    Attributes:
        fds: Where it can be read.
        open: Those of them whose other end somebody holds.
    """

    def __init__(self) -> None:
        self.open: dict[int, tuple[Stream, codecs.IncrementalDecoder]] = {}
        self._lock = threading.Lock()  # what one thread has read, the other must not overtake
        names: tuple[tuple[int, Stream], ...] = ((1, "stdout"), (2, "stderr"))
        for fd, name in names:
            ours, theirs = os.pipe()
            os.set_blocking(ours, False)
            os.dup2(theirs, fd)
            os.close(theirs)
            self.open[ours] = (name, codecs.getincrementaldecoder("utf-8")("replace"))
        self.fds = frozenset(self.open)

    def drain(self, reporter: Reporter) -> None:
        """Hand what is in the pipes now to the attempt that runs; drop it when none does."""
        with self._lock:
            for fd, (name, decoder) in list(self.open.items()):
                try:
                    data = os.read(fd, PIPE_NBYTES)
                except BlockingIOError:
                    continue
                if not data:
                    del self.open[fd]
                if (report := reporter.report) is not None:
                    report(name, decoder.decode(data))


class NoKeyboard(io.TextIOBase):
    """Stands for stdin: a step that asks for input fails and says why."""

    def readable(self) -> bool:
        """As a file says it."""
        return True

    def readline(self, _size: int | None = -1) -> str:  # type: ignore[override]  # bytes | str in typeshed
        """Always fails."""
        raise EOFError("a step on a worker has no keyboard. Pass the value as an input, or run the step locally.")

    def read(self, _size: int | None = -1) -> str:
        """Always fails."""
        return self.readline()


def no_breakpoint(*_args: object, **_kwargs: object) -> None:
    """Instead of a debugger that nobody can reach."""
    raise RuntimeError("breakpoint() has no terminal on a worker. Run the step locally to debug it.")


def replace_streams(reporter: Reporter) -> None:
    """Take the process's standard streams away from the step."""
    sys.stdin = NoKeyboard()
    sys.stdout, sys.stderr = Stray(reporter, "stdout"), Stray(reporter, "stderr")
    sys.breakpointhook = no_breakpoint
