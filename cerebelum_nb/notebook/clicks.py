"""What people do in widgets, one after the other, on a thread of its own.

A widget's messages arrive on a thread that all widgets share; whoever works there makes every other click wait.
"""

import logging
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Clicks:
    """A daemon thread that does what it is given, in order. It starts with the first piece of work."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def do(self, work: Callable[[], None]) -> None:
        """Do it soon. Returns at once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="cerebelum-clicks", daemon=True)
                self._thread.start()
        self._work.put(work)

    def close(self) -> None:
        """End the thread after what is under way."""
        self._work.put(None)

    def _main(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:  # noqa: BLE001  the next one must still be served
                _log.exception("a widget's request failed")
