"""How a stop reaches the step it is meant for, and nothing else."""

import signal
import threading
from _signal import getsignal as _handler  # type: ignore[import-not-found]  # those of `signal` take 5 times as long
from _signal import signal as _set_handler
from collections.abc import Callable
from types import FrameType

_SIGINT, _SIGTERM, _DEFAULT = int(signal.SIGINT), int(signal.SIGTERM), int(signal.SIG_DFL)


class Stopping:
    """Which attempt runs, and whether it was asked to stop.

    The control thread asks; the main thread runs. A sync step is stopped by SIGINT to the main thread, which becomes
    KeyboardInterrupt only while a step is open to it, and once: it may come late, when the step has just ended.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._main = threading.main_thread().ident or 0
        self._current: int | None = None
        self._stopped: set[int] = set()
        self._open = False
        self._call: Callable[[], object] | None = None
        self._handler = self._interrupt  # the same object each time

    def install(self) -> None:
        """Take SIGINT, and leave SIGTERM to the system. From the main thread."""
        if _handler(_SIGINT) is not self._handler:
            _set_handler(_SIGINT, self._handler)
        if _handler(_SIGTERM) != _DEFAULT:
            _set_handler(_SIGTERM, _DEFAULT)

    def ask(self, attempt: int) -> None:
        """Stop an attempt, or keep it from beginning. From the control thread."""
        with self._lock:
            self._stopped.add(attempt)
            if self._current != attempt:
                return
            if self._call is not None:
                self._call()
            else:
                signal.pthread_kill(self._main, signal.SIGINT)

    def begin(self, attempt: int) -> None:
        """An attempt begins, and may be interrupted from here on.

        Raises:
            KeyboardInterrupt: It was stopped already.
        """
        with self._lock:
            self._current = attempt
            stopped = attempt in self._stopped
        if stopped:
            raise KeyboardInterrupt
        self._open = True

    def end(self) -> bool:
        """The attempt ended; whether it had been asked to stop."""
        self._open = False
        with self._lock:
            stopped = self._current in self._stopped
            self._stopped.discard(self._current)
            self._current = self._call = None
        return stopped

    def by_calling(self, call: Callable[[], object]) -> None:
        """From here on the attempt is stopped by this call, from any thread, and not by an interrupt."""
        self._open = False
        with self._lock:
            self._call = call
            if self._current in self._stopped:
                call()

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self._open:
            self._open = False
            raise KeyboardInterrupt
