"""Run a person's code once and turn whatever happens into plain data.

Used by the kernel's own lanes and by workers alike, so that a step behaves the same in both places.
"""

import contextvars
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, Protocol, TextIO

from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.events import ErrorInfo, PauseKind, Stream
from cerebelum_nb.protocols import Answer

_READ_ONLY = "Steps share arrays above 1 MiB: x = x.copy() makes one that can be changed"
MESSAGE_LIMIT = 4_000  # characters of an exception's message that are kept
TRACEBACK_LIMIT = 20_000  # and of its traceback
_KINDS = 20  # classes that an exception may inherit from
_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120  a prefix to compare with
_HELPERS = _OWN + "helpers.py"
_MACHINERY = ("asyncio" + os.sep, "concurrent" + os.sep + "futures", "contextlib.py")


class Here(Protocol):
    """The attempt that runs in this `contextvars` context, as its own code and helpers reach it. From any thread."""

    def __call__(self, stream: Stream, text: str) -> None:
        """The step prints."""

    def progress(self, done: float, text: str) -> None:
        """The step says how far it is, 0 to 1."""

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        """The step displays something: see `rich`. An empty bundle takes back what it has shown."""

    async def pause(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> Answer | None:
        """Sleep for so long, or wait so long (None: for ever) for an answer.

        Returns:
            The answer; None when the time has passed.
        """


# What makes a `Here`: most attempts never need one, and a step that does nothing should cost next to nothing.
_here: contextvars.ContextVar[Callable[[], Here] | None] = contextvars.ContextVar("cerebelum_nb_here", default=None)


def describe(exc: BaseException) -> ErrorInfo:
    """An exception as bounded text that is safe to send: type, message, and the step's own frames.

    A broken ``__str__`` is told as such; cells show their source lines; frames of this package are left out. Never
    raises, whatever the exception does.
    """
    message = _message(exc)
    if isinstance(exc, ValueError) and "read-only" in message:  # as numpy says it
        message = f"{message}. {_READ_ONLY}"
        if _READ_ONLY not in getattr(exc, "__notes__", ()):
            exc.add_note(_READ_ONLY)
    try:
        _drop_own_frames(exc)
        told = traceback.TracebackException(type(exc), exc, exc.__traceback__, limit=-40, compact=True)
        text = "".join(told.format())
    except BaseException as broken:  # noqa: BLE001  exotic exceptions break the formatter, and may raise anything
        text = f"{type(exc).__name__} (its traceback could not be formatted: {type(broken).__name__})\n"
    kinds = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(exc).__mro__[:_KINDS] if kind is not object)
    return ErrorInfo(type(exc).__name__, cut(message, MESSAGE_LIMIT), cut(text, TRACEBACK_LIMIT), kinds)


def _message(exc: BaseException) -> str:
    try:
        if isinstance(exc, SystemExit):
            return f"sys.exit({exc.code!r}) was called; a step ends with return or an exception"
        return str(exc)
    except BaseException as broken:  # noqa: BLE001  the person's own __str__ may do anything
        return f"<{type(exc).__name__} whose text raised {type(broken).__name__}>"


def cut(text: str, limit: int) -> str:
    """A text with its two ends, and between them how much is left out where it is longer."""
    text = printable(text)
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n… {len(text) - limit} characters …\n{text[-limit // 2 :]}"


def printable(text: str) -> str:
    """The same text without lone surrogates, which can neither be journaled nor sent."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _drop_own_frames(exc: BaseException) -> None:
    """Start each traceback at the person's code: what called it is not theirs to read."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [exc]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        tb: TracebackType | None = one.__traceback__
        while tb is not None and tb.tb_next is not None and _is_machinery(tb.tb_frame):
            tb = tb.tb_next
        if tb is not None and not _is_machinery(tb.tb_frame):
            one.__traceback__ = tb
            _drop_helpers(tb)
        elif isinstance(one, CerebelumError):  # said on purpose: where in our code is of no use to anybody
            one.__traceback__ = None
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions


def _drop_helpers(tb: TracebackType) -> None:
    """End a traceback where the person's code called one of our helpers: what it did inside is of no use to them."""
    last = tb
    while tb.tb_next is not None:
        tb = tb.tb_next
        if tb.tb_frame.f_code.co_filename != _HELPERS:
            last = tb
    last.tb_next = None


def _is_machinery(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(_OWN) or any(part in name for part in _MACHINERY)


class _Prints:
    """Stands before a stream: what a step prints goes to its own `Emit`, all else to the stream.

    Attributes that others set stay on this object: IPython puts a `write` of its own on ``sys.stdout`` while a cell
    runs, which calls the one it found. Handed on to the stream, the two would call each other for ever.
    """

    def __init__(self, stream: TextIO | None, name: Stream) -> None:
        self.behind, self._name = stream, name

    def write(self, text: str) -> int:
        make = _here.get()
        if make is None:
            return self.behind.write(text) if self.behind is not None else len(text)
        if text:
            make()(self._name, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _here.get() is None and self.behind is not None:
            self.behind.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["behind"], name)


_users = 0
_lock = threading.Lock()


def enter_capture() -> None:
    """Put our stand-ins before the standard streams; each call is undone by one `leave_capture`.

    May be entered again meanwhile, from any thread.
    """
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


def enter(make: Callable[[], Here]) -> None:
    """From here on, the current `contextvars` context belongs to an attempt.

    Args:
        make: Gives the attempt as its code reaches it, each time anew or always the same.
    """
    _here.set(make)


def here() -> Here | None:
    """The attempt whose code calls this; None outside any."""
    make = _here.get()
    return None if make is None else make()
