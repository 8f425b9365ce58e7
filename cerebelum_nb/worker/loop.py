"""A worker's life: the main thread runs one attempt after the other, the control thread listens meanwhile."""

import contextlib
import contextvars
import inspect
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from cerebelum_nb import attempt as attempts
from cerebelum_nb import capture, codec
from cerebelum_nb.context import Context
from cerebelum_nb.errors import PayloadRejected, WireError
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import After
from cerebelum_nb.seal import Address, seal, unseal
from cerebelum_nb.wire import lifeline
from cerebelum_nb.wire.batches import LIGHT_NBYTES, NOT_OPENED, End, batched, items_of
from cerebelum_nb.wire.frames import (
    GOES_ON,
    AnyFrame,
    Batch,
    Cancel,
    Code,
    Finished,
    Forget,
    Piece,
    Ping,
    Place,
    Ready,
    Reply,
    Submit,
    Waits,
    Welcome,
    check_size,
)
from cerebelum_nb.wire.gate import Gate
from cerebelum_nb.wire.line import READ_NBYTES, Splitter
from cerebelum_nb.wire.pieces import LIMIT_NBYTES, OPTION, PIECES, Gathered, cut, described, is_long
from cerebelum_nb.worker import showing
from cerebelum_nb.worker.kept import Kept
from cerebelum_nb.worker.report import Descriptors, Ends, Report, Reporter
from cerebelum_nb.worker.shared import Shared
from cerebelum_nb.worker.stopping import Stopping
from cerebelum_nb.worker.streams import replace_streams

OUTPUT_MS = 50  # what a step prints, and how far it is, is sent this often
_NOW, _SOON = b"!", b"."

if TYPE_CHECKING:
    from cerebelum_nb.worker.awaiting import Awaiting

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_Rebuild = Callable[[], Callable[..., Any]]


class Worker:
    """Takes frames from Core and runs attempts in the main thread.

    Args:
        line: Attempts and functions come here, results leave. The main thread reads it itself: no hop between threads.
        control: Stops and answers come here, and its end is the end of Core. The control thread reads it, also while a
            step runs.
        gate: What was sent and taken back does not pass it.
        shared: The memory that large values are in.
        kernel: A file that can be read when the kernel has ended: Core may be stopped, and not end us. None for none.
    """

    def __init__(
        self,
        line: socket.socket,
        control: socket.socket,
        gate: Gate,
        shared: Shared | None = None,
        kernel: int | None = None,
    ) -> None:
        self._line, self._control, self._gate, self._kernel = line, control, gate, kernel
        self._reporter = Reporter(line, control)
        self._shared = shared or Shared()
        self._shared.waits = self._waits_for_room
        self._stopping = Stopping()
        self._bell = os.pipe()  # rung by a print, so that the control thread need not tick
        self._descriptors = Descriptors()
        self._key = self._own = b""  # of what the kernel seals, and of what we do
        self._cwd, self._there = b".", b""  # the kernel's directory; the same as the system names it
        showing.prefer_figures()
        self._environ = os.environ
        self._environ_at_start = dict(os.environb)
        self._codes: dict[str, Code | _Rebuild] = {}
        self._awaiting: Awaiting | None = None
        self._kept = Kept()
        self._long: dict[int, Gathered] = {}  # arguments that come in pieces, by attempt
        self._limit = LIMIT_NBYTES

    # control thread ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Hand on stops and answers, send what a step says, and end the process when Core or the kernel is gone."""
        lifeline.go_on_without_parent()
        poll, splitter = self._polled(), Splitter()
        printed, due = False, 0.0
        while True:
            ready = [fd for fd, _ in poll.poll(OUTPUT_MS if printed else None)]
            if printed and (not ready or perf_counter() >= due):  # a flood leaves no quiet moment
                printed, due = self._reporter.tick(), perf_counter() + OUTPUT_MS / 1000
            if self._bell[0] in ready:
                if _NOW in os.read(self._bell[0], 1024):
                    self._reporter.flush()
                if not printed:
                    printed, due = True, perf_counter() + OUTPUT_MS / 1000
            for fd in self._descriptors.fds.intersection(ready):
                self._descriptors.drain(self._reporter)
                if fd not in self._descriptors.open:
                    poll.unregister(fd)  # a step closed the other end
            if self._kernel in ready:
                _end_all()
            if self._control.fileno() in ready:
                self._obey(splitter)

    def _polled(self) -> select.poll:
        poll = select.poll()
        for fd in (self._control.fileno(), self._bell[0], *self._descriptors.open):
            poll.register(fd, select.POLLIN)
        if self._kernel is not None:
            poll.register(self._kernel, select.POLLIN)
        return poll

    def _obey(self, splitter: Splitter) -> None:
        data = self._control.recv(READ_NBYTES)
        if not data:
            _end_all()
        for frame in splitter.feed(data):
            if isinstance(frame, Cancel):
                self._stopping.ask(frame.id)
            elif isinstance(frame, Ping):
                with contextlib.suppress(OSError):
                    self._control.send(b"!", socket.MSG_DONTWAIT)
            elif isinstance(frame, Reply) and (report := self._reporter.report) is not None:
                report.hear(frame)

    def _watch_or_end(self) -> None:
        try:
            self._watch()
        finally:  # a broken line or a bug: a worker that does not listen must not stay
            os._exit(1)

    # main thread ---------------------------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Work until Core is gone; does not return."""
        code = 1
        try:
            self._work()
            code = 0
            if self._core_is_gone():  # else Core ends what steps have left
                _end_all()
        finally:  # no thread that a step left, and no bug, may keep the process
            os._exit(code)

    def _core_is_gone(self) -> bool:
        try:
            return not self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _work(self) -> None:
        replace_streams(self._reporter)
        showing.install(self._reporter)
        threading.Thread(target=self._watch_or_end, name="control", daemon=True).start()
        self._stopping.install()
        splitter = Splitter()
        while data := self._line.recv(READ_NBYTES):
            for frame in splitter.feed(data):
                self._take(frame)

    def _take(self, frame: AnyFrame) -> None:
        match frame:
            case Submit():
                if self._gate.passes():
                    self._attempt(frame)
                self._long.pop(frame.id, None)
            case Batch():
                self._batch(frame)
            case Finished():
                self._kept.given(frame)
            case Code():
                self._codes[frame.digest] = frame
            case Forget():
                self._codes.pop(frame.digest, None)
            case Place():
                self._go_to(frame)
            case Welcome():
                self._key, self._own, self._limit = frame.key, frame.own or frame.key, frame.limit_nbytes
                self._go_to(frame.place)
                self._reporter.send(Ready())
            case Piece():
                self._long.setdefault(frame.id, Gathered(self._key, "to worker", self._limit)).take(frame)

    def _ring(self, now: bool) -> None:  # noqa: FBT001  from `Report`, once per piece
        os.write(self._bell[1], _NOW if now else _SOON)

    def _waits_for_room(self, text: str) -> None:
        if (report := self._reporter.report) is not None:
            self._reporter.send(Waits(report.attempt, text))

    def _go_to(self, place: Place) -> None:
        sys.path[:] = map(os.fsdecode, place.path)
        if _PACKAGE_PARENT not in sys.path:
            sys.path.append(_PACKAGE_PARENT)
        self._cwd, self._there = place.cwd, b""
        self._tidy()
        with contextlib.suppress(OSError):
            self._there = os.getcwdb()  # noqa: PTH109  as below

    def _tidy(self) -> None:
        """Undo what a step did to the process: its directory, environment and signal handlers."""
        try:
            if os.getcwdb() != self._there:  # noqa: PTH109  to ask takes a third of the time of going there
                os.chdir(self._cwd)
        except OSError:  # it is in one that is gone; the kernel's directory may be gone, too
            with contextlib.suppress(OSError):
                os.chdir(self._cwd)
        os.environ = self._environ  # noqa: B003  a step may have put something else there
        data = self._environ._data  # type: ignore[attr-defined]  # noqa: SLF001  30 times quicker than what is public
        if data != self._environ_at_start:
            self._environ.clear()
            os.environb.update(self._environ_at_start)
        self._stopping.install()

    def _batch(self, batch: Batch) -> None:
        came = perf_counter()
        self._reporter.ends = ends = Ends(self._own, batch, self._gate)
        try:
            items = items_of(self._key, batch)
        except PayloadRejected as exc:
            items, refused = [NOT_OPENED] * batch.count, _as_error(ErrorInfo("PayloadRejected", str(exc)))
        for place, item in enumerate(items):
            if not self._gate.passes():
                continue  # they were taken back
            if item is NOT_OPENED:
                ends.put(batch.id + place, End(0, 0, refused.codec, refused.data))
            else:
                self._attempt(batched(batch, place, item), item.body, ends, came)
        self._reporter.settle()

    def _attempt(self, submit: Submit, body: bytes | None = None, ends: Ends | None = None, came: float = 0.0) -> None:
        got = perf_counter()
        if not self._kept.goes_on(submit, got):
            return
        self._reporter.report = report = Report(submit, (self._key, self._own), self._ring)
        try:
            self._stopping.begin(submit.id)
            encoded, *ran = self._outcome(submit, report, body)
        except KeyboardInterrupt:  # it struck between the step and us; there is no second one
            encoded, ran = codec.Encoded("cancelled", b""), [got, got]
        if self._stopping.end() and encoded.codec == "error":
            encoded = codec.Encoded("cancelled", b"")
        if self._reporter.forked:
            os._exit(0)  # a child that a step forked came back here: it has no line and no business
        showing.show_figures_left()
        self._descriptors.drain(self._reporter)
        self._shared.settle()
        inside = ends is not None and submit.id != ends.last
        then = self._kept.keep(submit, encoded, ran[1], inside=inside)
        gathered = not submit.followed or (inside and then == GOES_ON)  # of a line, Core must hear where it ends
        if ends is not None and gathered and self._is_quiet(report, encoded):
            times = ran[1] - ran[0], ran[0] - got, perf_counter() - ran[1], got - came
            if ends.put(submit.id, End(submit.task, submit.number, encoded.codec, encoded.data, *times)):
                self._reporter.settle()
        elif not self._finish(submit, encoded, then, got, *ran):
            text = f"there is not enough memory to send the result of step {submit.step!r}: {encoded.nbytes} bytes"
            encoded = _unserializable(text)
            self._finish(submit, encoded, self._kept.keep(submit, encoded, ran[1]), got, *ran)
        if self._awaiting is not None:
            self._awaiting.cancel_leftovers()
        self._tidy()  # now, when nobody waits for us

    def _is_quiet(self, report: Report, encoded: codec.Encoded) -> bool:
        """Whether an attempt has little to say, which can be said with others."""
        if encoded.nbytes > LIGHT_NBYTES or report.has_more():
            return False
        self._reporter.report = None
        return True

    def _finish(  # noqa: PLR0913, PLR0917  all that is known of it
        self, submit: Submit, encoded: codec.Encoded, then: int, got: float, began: float, ended: float
    ) -> bool:
        try:
            if is_long(encoded):
                for piece in cut(self._own, submit, "to kernel", encoded):
                    self._reporter.send(piece)
                encoded = described(encoded)
            address = Address(submit.run, submit.task, submit.number, "to kernel", encoded.codec)
            sealed = seal(self._own, address, encoded.data)
            times = ended - began, began - got, perf_counter() - ended
            self._reporter.finish(Finished(submit.id, encoded.codec, sealed, *times, then))
        except MemoryError:  # there is room for the result, and not for its envelope
            return False
        return True

    def _outcome(self, submit: Submit, report: Report, body: bytes | None = None) -> tuple[codec.Encoded, float, float]:
        """What the step gave, and when its code began and ended."""
        began = perf_counter()
        try:
            call, is_async = self._call(submit, body)
            began = perf_counter()
            value = self._run(call, report, is_async=is_async)
        except BaseException as exc:  # noqa: BLE001  whatever the step raises, sys.exit included, is its outcome
            ended = perf_counter()
            return _as_error(attempts.describe(exc)), began, ended
        ended = perf_counter()
        self._kept.look_at(value)
        return _encoded(value, submit.step, self._shared, self._limit), began, ended

    def _call(self, submit: Submit, body: "bytes | memoryview | None") -> tuple[Callable[[], Any], bool]:
        """The step, ready to be called, and whether it is async. Everything is checked before it is read."""
        codec = submit.codec
        if body is None:
            address = Address(submit.run, submit.task, submit.number, "to worker", f"{submit.digest} {codec}")
            body = unseal(self._key, address, submit.sealed)
        code = self._codes[submit.digest]
        if isinstance(code, Code):
            payload = unseal(self._key, Address("", 0, 0, "code", code.digest), code.sealed)
            self._codes[submit.digest] = code = capture.opened(payload)
        function = code()  # as it was sent: what an earlier attempt did to its globals must not show
        if codec == PIECES:
            long = self._long.get(submit.id) or Gathered(self._key, "to worker")
            codec, body = long.body(submit.run, submit.task, submit.number, body)
        args, kwargs, fields, context_at, *after = self._shared.decode(codec, body)
        if after:
            self._kept.put(self._own, submit.run, After(*after), args, kwargs)
        if context_at is not None:
            args[context_at] = Context(**fields)
        elif "context" in kwargs and kwargs["context"] is None:
            kwargs["context"] = Context(**fields)
        return lambda: function(*args, **kwargs), _is_async(function)

    def _run(self, call: Callable[[], Any], report: Report, *, is_async: bool) -> Any:
        context = contextvars.copy_context()
        context.run(attempts.enter, lambda: report)
        value = context.run(call)
        if not is_async:
            return value
        if self._awaiting is None:
            from cerebelum_nb.worker.awaiting import Awaiting  # noqa: PLC0415  it loads asyncio, which takes a while

            self._awaiting = Awaiting()
        return self._awaiting.result(value, context, self._stopping)


def _end_all() -> NoReturn:
    """End this process with all that steps have started and left: nobody else may be there to do it."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _is_async(function: Callable[..., Any]) -> bool:
    if type(function) is FunctionType and not function.__dict__:  # nearly all, in a tenth of the time
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _encoded(value: Any, step: str, shared: Shared, limit: int) -> codec.Encoded:
    """The result as bytes, or the error that says why not."""
    if inspect.iscoroutine(value):
        with contextlib.suppress(BaseException):  # one that had begun runs its own code once more
            value.close()  # else Python complains that nobody awaited it
        return _unserializable(f"step {step!r} returned a coroutine: write async def, or await it")
    try:
        encoded = codec.encode(value, "result", put=shared.put)
        check_size(f"the result of step {step!r}", encoded.nbytes, limit, OPTION)
    except WireError as exc:
        return _unserializable(str(exc))
    except BaseException as exc:  # noqa: BLE001  no memory for it, or an interrupt
        return _unserializable(f"the result of step {step!r} cannot be sent ({codec.one_line(exc)})")
    return encoded


def _unserializable(message: str) -> codec.Encoded:
    return _as_error(ErrorInfo("UnserializableResult", message))


def _as_error(error: ErrorInfo) -> codec.Encoded:
    return codec.Encoded("error", msgspec.msgpack.encode(error))
