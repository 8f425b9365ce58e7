"""What a worker says about its attempt: prints, progress, pauses, the end; gathered so that few messages leave."""

import codecs
import contextlib
import io
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from itertools import groupby
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from cerebelum_nb.attempt import printable
from cerebelum_nb.model.events import PauseKind, Stream
from cerebelum_nb.protocols import Answer
from cerebelum_nb.rich import plain_of
from cerebelum_nb.wire.batches import End, end_of, ended
from cerebelum_nb.wire.frames import (
    AnyFrame,
    Batch,
    Displayed,
    Ended,
    Finished,
    Paused,
    Printed,
    Progress,
    Reply,
    Resumed,
    Submit,
)
from cerebelum_nb.wire.gate import Gate
from cerebelum_nb.wire.line import packed

if TYPE_CHECKING:
    from cerebelum_nb.worker.pausing import Pauses

PIPE_NBYTES = 1 << 16  # what a pipe holds
OUTPUT_LIMIT = 64 << 20  # characters of one attempt that are sent in full; of the rest only the newest ones
NEWEST = 1 << 12  # so many of them at a time
LAST = 1 << 16  # and of the last ones
FLUSH_S = 1.0  # a flush waits at most so long, on a machine that is busy elsewhere
FLUSHES_S = 0.25  # and all of an attempt's so long and a tenth of its time
PIECE = 1 << 18  # characters in one frame
DISPLAYS_NBYTES = 64 << 20  # of what one attempt displays; of the rest only the text
ENDS_S = 0.003  # how attempts of a batch ended is sent this often
WORTH_S = 0.0005  # and at once, where one took longer: what nobody knows of is lost with us
TEXT_LIMIT = 1_000  # characters of what a step says about its progress or a pause


class Report:
    """Gathers what one attempt says until it is sent. The attempt's `Here`.

    Args:
        wake: Called with True when what is here should be sent now; with False when it should be soon.
    """

    def __init__(self, submit: Submit, keys: tuple[bytes, bytes], wake: Callable[[bool], None]) -> None:
        self.attempt = submit.id
        self.waiting = False  # for being sent, and somebody knows
        self.calm: Callable[[], object] = _nothing  # ends that stdout is written to a piece directly
        self.forked = False  # we are in a child that the step forked
        self.sending = False  # what `frames` took is on its way into the line
        self._submit, self._keys = submit, keys
        self._wake = wake
        self._pieces: deque[_Piece] = deque()
        self._open: io.StringIO | None = None  # the piece that stdout is written to
        self._late: list[tuple[io.StringIO, int]] = []  # such pieces that were sent, and how much of them
        self._progress: deque[tuple[float, str]] = deque(maxlen=1)  # only the last counts
        self._pauses: Pauses | None = None
        self._room, self._display_room = OUTPUT_LIMIT, DISPLAYS_NBYTES
        self._cut = 0
        self._began, self._waited_s = perf_counter(), 0.0
        self._later: Displayed | None = None  # takes back what was shown when something follows

    def __call__(self, stream: Stream, text: str) -> None:
        """Keep a piece of output. From any thread; takes no lock and sends nothing, since a stop may strike here."""
        if self.forked:
            os.write(2 if stream == "stderr" else 1, text.encode("utf-8", "replace"))
        elif text:
            self._put((stream, text))

    def text(self) -> io.StringIO:
        """Where stdout may be written directly, until `calm` is called."""
        self._open = made = io.StringIO()
        self._pieces.append(made)
        return made

    def hurry(self) -> None:
        """Have it all sent, and wait a moment for that: what follows may be C code that lets nobody else in.

        Not more often than is cheap: a step may flush after every print.
        """
        now = perf_counter()
        if self.forked or not self._unsent() or self._waited_s > FLUSHES_S + (now - self._began) / 10:
            return
        self.quiet()
        self._wake(True)
        while self._unsent() and perf_counter() < now + FLUSH_S:
            sleep(0.0002)
        self._waited_s += perf_counter() - now

    def quiet(self) -> None:
        """What is printed next is a piece of its own, and wakes who sends."""
        self.calm()
        self._open = None

    def has_more(self) -> bool:
        """Something was said that was not sent."""
        said = len(self._pieces)
        return said > 1 or (said == 1 and (self._pieces[0] is not self._open or self._open.tell() > 0))

    def _unsent(self) -> bool:
        return self.has_more() or self.sending  # in this order: `sending` is true before anything is taken

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        """Keep what the step displays until it is sent. From any thread; takes no lock."""
        if self.forked:
            return
        self._display_room -= sum(map(len, bundle.values()))
        if self._display_room < 0 and bundle:
            self("stdout", plain_of(bundle))
            return
        self._put(Displayed(self.attempt, dict(bundle)))

    def clear(self, *, wait: bool) -> None:
        """Take back what was shown; with `wait` only when something else is shown. From any thread."""
        if not self.forked:
            taken_back = Displayed(self.attempt, {})
            if wait:
                self._later = taken_back
            self._put(taken_back)

    def progress(self, done: float, text: str) -> None:
        """Keep how far the step is until it is sent. From any thread; takes no lock."""
        if not self.forked:
            self._progress.append((done, short(text)))
            self._send_soon()

    def _put(self, piece: "_Piece") -> None:
        self.quiet()  # what is printed next comes after it
        self._pieces.append(piece)
        self._send_soon()

    def _send_soon(self) -> None:
        if not self.waiting:
            self.waiting = True
            self._wake(False)

    async def pause(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> Answer | None:
        """Sleep, or wait for an answer, and tell Core meanwhile; see `attempt.Here`."""
        if self._pauses is None:
            from cerebelum_nb.worker.pausing import Pauses  # noqa: PLC0415  it loads asyncio, which takes a while

            self._pauses = Pauses(self._submit, self._keys, self._say_now)
        return await self._pauses.pause(kind, seconds, short(text), asked, alone=self.forked)

    def _say_now(self, frame: Paused | Resumed) -> None:
        if not self.forked:
            self.quiet()
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
        return self._frames(NEWEST)

    def _frames(self, newest: int) -> list[AnyFrame]:
        self.waiting = False
        frames: list[AnyFrame] = []
        if self._pieces or self._late:
            for stream, group in groupby(self._taken(), _stream_of):
                if stream is None:
                    frames += group  # type: ignore[arg-type]  # the pieces that are frames
                else:
                    text = "".join(piece[1] for piece in group)  # type: ignore[index]  # those that are text
                    frames += self._printed(stream, printable(text), newest)
        frames += self._last_progress()
        return frames

    def _taken(self) -> "list[_Said]":
        """What was said, without the piece that is still written to."""
        late, self._late = self._late, []  # a thread that was held up in its print may have been too late
        said: list[_Said] = [("stdout", text.getvalue()[sent:]) for text, sent in late]
        pieces = [self._pieces.popleft() for _ in range(len(self._pieces))]
        if pieces and (pieces[-1] is self._open or pieces[-1] is self._later):
            self._pieces.appendleft(pieces.pop())
        for piece in pieces:
            if isinstance(piece, io.StringIO):
                text = piece.getvalue()
                self._late.append((piece, len(text)))
                said.append(("stdout", text))
            else:
                said.append(piece)
        return [piece for piece in said if not isinstance(piece, tuple) or piece[1]]

    def _printed(self, stream: Stream, text: str, newest: int) -> list[AnyFrame]:
        """Pieces of one stream as frames; of what is too much the newest only."""
        frames: list[AnyFrame] = []
        whole, self._room = text[: self._room], max(0, self._room - len(text))
        frames += [Printed(self.attempt, stream, whole[n : n + PIECE]) for n in range(0, len(whole), PIECE)]
        if len(whole) < len(text):
            rest = text[len(whole) :]
            if len(rest) > newest:
                if not self._cut:
                    told = f"\n… after {OUTPUT_LIMIT:,} characters only the newest of what it prints come here …\n"
                    frames.append(Printed(self.attempt, "notice", told))
                self._cut += len(rest) - newest
            frames.append(Printed(self.attempt, stream, rest[-newest:]))
        return frames

    def last_frames(self, finished: Finished) -> list[AnyFrame]:
        """All that was not sent yet, and the end."""
        self.quiet()
        frames = self._frames(LAST)
        if self._cut:
            frames.append(Printed(self.attempt, "notice", f"… {self._cut:,} characters did not come here …\n"))
        return [*frames, finished]


_Said = tuple[Stream, str] | Displayed | Paused | Resumed | Progress
_Piece = _Said | io.StringIO


def _stream_of(piece: _Said) -> Stream | None:
    return piece[0] if isinstance(piece, tuple) else None


def _nothing() -> None:
    pass


def short(text: str) -> str:
    """A text that is safe to send and to show."""
    text = printable(text)
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}…"


class Ends:
    """How attempts of one batch ended, as far as that has not been sent. The main thread's own.

    Args:
        gate: Where it is found before it is sent.

    Attributes:
        last: The number of the batch's last attempt.
    """

    def __init__(self, key: bytes, batch: Batch, gate: Gate) -> None:
        self._key, self._run, self._gate = key, batch.run, gate
        self.last = batch.id + batch.count - 1
        self._ends: list[bytes] = []
        self._first, self._since, self._busy_s = 0, 0.0, 0.0

    def __bool__(self) -> bool:
        return bool(self._ends)

    def put(self, number: int, end: End) -> bool:
        """An attempt has ended; whether that should be sent now."""
        now = perf_counter()
        if not self._ends:
            self._first, self._since, self._busy_s = number, now, 0.0
        self._busy_s += end.decode_s + end.run_s + end.encode_s
        self._ends.append(end_of(end))
        has_room = self._gate.leave(number, self._ends[-1])
        return not has_room or now - self._since > ENDS_S or end.run_s > WORTH_S

    def take(self) -> Ended:
        """All of them, to be sent now."""
        ends, self._ends = self._ends, []
        self._gate.clear()
        return ended(self._key, self._first, self._run, ends, self._busy_s)


class Reporter:
    """The only sender on a worker's line; the main thread and the control thread take turns.

    In a child that a step forks it closes the child's copies of the sockets: they belong to the worker alone.
    """

    def __init__(self, sock: socket.socket, *others: socket.socket) -> None:
        self.report: Report | None = None
        self.forked = False
        self.ends: Ends | None = None  # of the batch that was last
        self._sock = sock
        self._others = others
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._leave_line)

    def settle(self) -> None:
        """Send how attempts of a batch ended."""
        if self.ends:
            with self._lock:
                self._send([])

    def _send(self, frames: list[AnyFrame]) -> None:
        if self.ends:
            frames = [self.ends.take(), *frames]
        self._sock.sendall(packed(frames))

    def send(self, *frames: AnyFrame) -> None:
        """Send frames now."""
        with self._lock:
            self._send(list(frames))

    def flush(self) -> None:
        """Send what the current attempt said so far."""
        with self._lock:
            if (report := self.report) is not None:
                report.sending = True
                if frames := report.frames():
                    self._send(frames)
                report.sending = False

    def tick(self) -> bool:
        """Send what was said since the last tick; whether there was anything, so that more may follow unheard."""
        report = self.report
        more = report is not None and report.has_more()
        if report is not None:
            report.quiet()
        self.flush()
        return more

    def finish(self, finished: Finished) -> None:
        """Send the end of the current attempt with all it said before."""
        with self._lock:
            if self.report is not None:
                self._send(self.report.last_frames(finished))
                self.report = None

    def _leave_line(self) -> None:
        if self.report is not None:
            self.report.quiet()
            self.report.forked = True
        self.forked, self.report = True, None
        self._lock = threading.Lock()
        for sock in (self._sock, *self._others):
            sock.close()


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
        self._poll = select.poll()
        for fd in self.fds:
            self._poll.register(fd, select.POLLIN)

    def drain(self, reporter: Reporter) -> None:
        """Hand what is in the pipes now to the attempt that runs; drop it when none does."""
        with self._lock:
            if not self._poll.poll(0):  # nearly always
                return
            for fd, (name, decoder) in list(self.open.items()):
                try:
                    data = os.read(fd, PIPE_NBYTES)
                except BlockingIOError:
                    continue
                if not data:
                    del self.open[fd]
                    self._poll.unregister(fd)
                if (report := reporter.report) is not None:
                    report(name, decoder.decode(data))
