"""A worker's life: the main thread runs one attempt after the other, the control thread listens for a stop."""

import contextlib
import contextvars
import inspect
import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from cerebelum_nb import attempt as attempts
from cerebelum_nb import capture, codec
from cerebelum_nb.context import Context
from cerebelum_nb.errors import WireError
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.seal import Address, seal, unseal
from cerebelum_nb.wire.frames import (
    AnyFrame,
    Cancel,
    Code,
    Finished,
    Forget,
    Place,
    Ready,
    Submit,
    Welcome,
    check_size,
)
from cerebelum_nb.wire.line import READ_NBYTES, Splitter
from cerebelum_nb.worker.report import Report, Reporter, replace_streams
from cerebelum_nb.worker.stopping import Stopping

OUTPUT_MS = 50  # what a step prints is sent this often

if TYPE_CHECKING:
    from cerebelum_nb.worker.awaiting import Awaiting

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_Rebuild = Callable[[], Callable[..., Any]]


class Worker:
    """Takes frames from Core and runs attempts in the main thread.

    Args:
        line: Attempts and functions come here, results leave. The main thread reads it itself: no hop between threads.
        control: Stops come here, and its end is the end of Core. The control thread reads it, also while a step runs.
    """

    def __init__(self, line: socket.socket, control: socket.socket) -> None:
        self._line, self._control = line, control
        self._reporter = Reporter(line, control)
        self._stopping = Stopping()
        self._bell = os.pipe()  # rung by a print, so that the control thread need not tick
        self._key = b""
        self._cwd = b"."
        self._codes: dict[str, Code | _Rebuild] = {}
        self._awaiting: Awaiting | None = None

    # control thread ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Hand on stops, send what a step prints, and end the process when Core is gone."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._bell[0], select.POLLIN)
        splitter = Splitter()
        printed = False
        while True:
            ready = [fd for fd, _ in poll.poll(OUTPUT_MS if printed else None)]
            if not ready:
                printed = False
                self._reporter.flush()
            if self._bell[0] in ready:
                os.read(self._bell[0], 1024)
                printed = True
            if self._control.fileno() in ready:
                data = self._control.recv(READ_NBYTES)
                if not data:
                    os._exit(0)
                for frame in splitter.feed(data):
                    if isinstance(frame, Cancel):
                        self._stopping.ask(frame.id)

    def _watch_or_end(self) -> None:
        try:
            self._watch()
        finally:  # a broken line or a bug: a worker that does not listen must not stay
            os._exit(1)

    # main thread ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until Core is gone; does not return."""
        threading.Thread(target=self._watch_or_end, name="control", daemon=True).start()
        self._stopping.install()
        replace_streams(self._reporter)
        attempts.enter_capture()
        splitter = Splitter()
        while data := self._line.recv(READ_NBYTES):
            for frame in splitter.feed(data):
                self._take(frame)

    def _take(self, frame: AnyFrame) -> None:
        match frame:
            case Submit():
                self._attempt(frame)
            case Code():
                self._codes[frame.digest] = frame
            case Forget():
                self._codes.pop(frame.digest, None)
            case Place():
                self._go_to(frame)
            case Welcome():
                self._key = frame.key
                self._go_to(frame.place)
                self._reporter.send(Ready())

    def _ring(self) -> None:
        os.write(self._bell[1], b"!")

    def _go_to(self, place: Place) -> None:
        sys.path[:] = map(os.fsdecode, place.path)
        if _PACKAGE_PARENT not in sys.path:
            sys.path.append(_PACKAGE_PARENT)
        self._cwd = place.cwd

    def _attempt(self, submit: Submit) -> None:
        with contextlib.suppress(OSError):  # the kernel's directory may be gone
            os.chdir(self._cwd)  # an earlier step may have moved
        self._reporter.report = report = Report(submit.id, self._ring)
        try:
            self._stopping.begin(submit.id)
            encoded, run_s = self._outcome(submit, report)
        except KeyboardInterrupt:  # it struck between the step and us; there is no second one
            encoded, run_s = codec.Encoded("cancelled", b""), 0.0
        if self._stopping.end() and encoded.codec == "error":
            encoded = codec.Encoded("cancelled", b"")
        if self._reporter.forked:
            os._exit(0)  # a child that a step forked came back here: it has no line and no business
        address = Address(submit.run, submit.task, submit.number, "to kernel", encoded.codec)
        self._reporter.finish(Finished(submit.id, encoded.codec, seal(self._key, address, encoded.data), run_s))
        if self._awaiting is not None:
            self._awaiting.cancel_leftovers()

    def _outcome(self, submit: Submit, report: Report) -> tuple[codec.Encoded, float]:
        began = perf_counter()
        try:
            call = self._call(submit)
            began = perf_counter()
            value = self._run(call, report)
        except BaseException as exc:  # noqa: BLE001  whatever the step raises, sys.exit included, is its outcome
            return _as_error(attempts.describe(exc)), perf_counter() - began
        run_s = perf_counter() - began
        try:
            encoded = codec.encode(value, "result")
            check_size(f"the result of step {submit.step!r}", encoded.nbytes)
        except WireError as exc:
            return _as_error(ErrorInfo("UnserializableResult", str(exc))), run_s
        return encoded, run_s

    def _call(self, submit: Submit) -> Callable[[], Any]:
        """The step, ready to be called. Everything is checked before it is read."""
        address = Address(submit.run, submit.task, submit.number, "to worker", f"{submit.digest} {submit.codec}")
        body = unseal(self._key, address, submit.sealed)
        code = self._codes[submit.digest]
        if isinstance(code, Code):
            payload = unseal(self._key, Address("", 0, 0, "code", code.digest), code.sealed)
            self._codes[submit.digest] = code = capture.opened(payload)
        function = code()  # made anew: what an earlier attempt did to its globals must not show
        args, kwargs, fields, context_at = codec.decode(submit.codec, body)
        if context_at is not None:
            args[context_at] = Context(**fields)
        elif "context" in kwargs and kwargs["context"] is None:
            kwargs["context"] = Context(**fields)
        return lambda: function(*args, **kwargs)

    def _run(self, call: Callable[[], Any], report: Report) -> Any:
        context = contextvars.copy_context()
        context.run(attempts.emit_in_this_context, report.emit)
        value = context.run(call)
        if not inspect.isawaitable(value):
            return value
        if self._awaiting is None:
            from cerebelum_nb.worker.awaiting import Awaiting  # noqa: PLC0415  it loads asyncio, which takes a while

            self._awaiting = Awaiting()
        return self._awaiting.result(value, context, self._stopping)


def _as_error(error: ErrorInfo) -> codec.Encoded:
    return codec.Encoded("error", msgspec.msgpack.encode(error))
