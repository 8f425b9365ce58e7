"""Tells views that rows changed: on the control loop, ten times a second at most, and once more at the end."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Final

FRAME_S: Final = 0.1
_log = logging.getLogger(__name__)

OnRows = Callable[[bool], None]  # called with True after the last event


class Watchers:
    """Those who look at one run.

    Args:
        changed: Whether there is anything to tell.
        ended: Whether the last event is on disk.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], bool], ended: Callable[[], bool]) -> None:
        self._loop, self._changed, self._ended = loop, changed, ended
        self._watchers: list[OnRows] = []
        self._ticking = False
        self._lock = threading.Lock()

    def add(self, on_rows: OnRows) -> Callable[[], None]:
        """Tell somebody from now on; returns a function that ends it. From any thread."""
        with self._lock:
            self._watchers.append(on_rows)
        self._loop.call_soon_threadsafe(self._begin)

        def unwatch() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._watchers.remove(on_rows)

        return unwatch

    def end(self) -> None:
        """Tell everybody that it is over. From any thread."""
        with contextlib.suppress(RuntimeError):  # the session has closed its loop: nobody looks any more
            self._loop.call_soon_threadsafe(self._tell, True)

    def _begin(self) -> None:
        if self._ended():
            self._tell(True)
        elif not self._ticking:
            self._ticking = True
            self._tick()

    def _tick(self) -> None:
        if self._ended() or not self._watchers:
            self._ticking = False
            return
        if self._changed():
            self._tell(False)
        self._loop.call_later(FRAME_S, self._tick)

    def _tell(self, ended: bool) -> None:  # noqa: FBT001  what every watcher gets
        with self._lock:
            watchers = list(self._watchers)
            if ended:
                self._watchers.clear()
        for watcher in watchers:
            try:
                watcher(ended)
            except Exception:  # noqa: BLE001  views are guests: one that fails is not asked again
                _log.exception("a view failed; it is not told any more")
                with self._lock, contextlib.suppress(ValueError):
                    self._watchers.remove(watcher)
