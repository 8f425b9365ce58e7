"""Run a person's code once and turn whatever happens into plain data.

Used by the kernel's own lanes and by workers alike, so that a step behaves the same in both places.
"""

import contextlib
import contextvars
import inspect
import linecache
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, TextIO

from cerebelum_nb.model.events import ErrorInfo, Stream

MESSAGE_LIMIT = 4_000  # characters of an exception's message that are kept
TRACEBACK_LIMIT = 20_000  # and of its traceback
_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120  a prefix to compare with
_MACHINERY = ("asyncio" + os.sep, "concurrent" + os.sep + "futures", "contextlib.py")

Emit = Callable[[Stream, str], None]

_emit: contextvars.ContextVar[Emit | None] = contextvars.ContextVar("cerebelum_nb_emit", default=None)


def describe(exc: BaseException) -> ErrorInfo:
    """An exception as bounded text that is safe to send: type, message, and the step's own frames.

    A broken ``__str__`` is told as such; cells show their source lines; frames of this package are left out.
    """
    try:
        message = str(exc)
    except Exception as broken:  # noqa: BLE001  the person's own __str__ may do anything
        message = f"<{type(exc).__name__} whose __str__ raised {type(broken).__name__}>"
    if isinstance(exc, SystemExit):
        message = f"sys.exit({exc.code!r}) was called; a step ends with return or an exception"
    return ErrorInfo(type(exc).__name__, _cut(message, MESSAGE_LIMIT), _cut(_traceback(exc), TRACEBACK_LIMIT))


def _cut(text: str, limit: int) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be journaled
    return (
        text
        if len(text) <= limit
        else f"{text[: limit // 2]}\n… {len(text) - limit} characters …\n{text[-limit // 2 :]}"
    )


def _traceback(exc: BaseException) -> str:
    _drop_own_frames(exc, seen=set())
    try:
        return "".join(
            traceback.TracebackException(type(exc), exc, exc.__traceback__, limit=-40, compact=True).format()
        )
    except Exception as broken:  # noqa: BLE001  exotic exceptions may break the formatter itself
        return f"{type(exc).__name__} (its traceback could not be formatted: {type(broken).__name__})\n"


def _drop_own_frames(exc: BaseException | None, seen: set[int]) -> None:
    """Start each traceback at the person's code: what called it is not theirs to read."""
    if exc is None or id(exc) in seen:
        return
    seen.add(id(exc))
    tb: TracebackType | None = exc.__traceback__
    while tb is not None and tb.tb_next is not None and _is_machinery(tb.tb_frame):
        tb = tb.tb_next
    if tb is not None and not _is_machinery(tb.tb_frame):
        exc.__traceback__ = tb
    _drop_own_frames(exc.__cause__, seen)
    _drop_own_frames(exc.__context__, seen)
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            _drop_own_frames(inner, seen)


def _is_machinery(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(_OWN) or any(part in name for part in _MACHINERY)


def where_in(function: Callable[..., Any]) -> tuple[str, str]:
    """File name and source of a function's file as `linecache` knows it: a cell's own text for a cell."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return "", ""
    return code.co_filename, "".join(linecache.getlines(code.co_filename))


class _Prints:
    """Stands before a stream: what a step prints goes to its own `Emit`, all else to the stream.

    Attributes that others set stay on this object: IPython puts a `write` of its own on ``sys.stdout`` while a cell
    runs, which calls the one it found. Handed on to the stream, the two would call each other for ever.
    """

    def __init__(self, stream: TextIO, name: Stream) -> None:
        self.behind, self._name = stream, name

    def write(self, text: str) -> int:
        emit = _emit.get()
        if emit is None:
            return self.behind.write(text)
        if text:
            emit(self._name, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _emit.get() is None:
            self.behind.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["behind"], name)


_users = 0
_lock = threading.Lock()


@contextlib.contextmanager
def capturing_prints() -> Iterator[None]:
    """While inside, `sys.stdout` and `sys.stderr` honour `emitting_to`. May be nested, from any thread."""
    enter_capture()
    try:
        yield
    finally:
        leave_capture()


def enter_capture() -> None:
    """Put our stand-ins before the standard streams; each call is undone by one `leave_capture`."""
    global _users  # noqa: PLW0603  the process has one stdout
    with _lock:
        _users += 1
        if not isinstance(sys.stdout, _Prints):
            sys.stdout = _Prints(sys.stdout, "stdout")
        if not isinstance(sys.stderr, _Prints):
            sys.stderr = _Prints(sys.stderr, "stderr")


def leave_capture() -> None:
    """Take the stand-ins away when the last user leaves."""
    global _users  # noqa: PLW0603  the process has one stdout
    with _lock:
        _users -= 1
        if _users:
            return
        if isinstance(sys.stdout, _Prints):
            sys.stdout = sys.stdout.behind
        if isinstance(sys.stderr, _Prints):
            sys.stderr = sys.stderr.behind


def emit_in_this_context(emit: Emit) -> None:
    """From here on, prints in the current `contextvars` context go to `emit`."""
    _emit.set(emit)
