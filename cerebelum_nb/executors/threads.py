"""The threads that sync steps run in."""

import itertools
import queue
import threading
from collections.abc import Callable


class Threads:
    """Daemon threads, made when needed: one that is stuck in a step holds up neither the next run nor the exit."""

    def __init__(self, size: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._size, self._alive, self._idle = size, 0, 0
        self._lock = threading.Lock()
        self._number = itertools.count(1)
        self._mine = threading.local()

    def is_mine(self) -> bool:
        """The calling thread is one of these."""
        return getattr(self._mine, "here", False)

    def submit(self, call: Callable[[], None]) -> None:
        """Have it called in one of them."""
        with self._lock:
            self._work.put(call)
            self._grow()

    def _grow(self) -> None:
        if self._idle < self._work.qsize() and self._alive < self._size:
            self._alive += 1
            name = f"cerebelum-step-thread-{next(self._number)}"
            threading.Thread(target=self._main, name=name, daemon=True).start()

    def allow(self, more: int) -> None:
        """Allow more threads, since some wait or are left behind in steps that do not stop; or fewer again."""
        with self._lock:
            self._size += more
            self._grow()  # what waits may begin

    def close(self) -> None:
        """End those that are idle, and the others when they have done their work."""
        with self._lock:
            for _ in range(self._alive):
                self._work.put(None)

    def _main(self) -> None:
        self._mine.here = True
        while True:
            with self._lock:
                self._idle += 1
            call = self._work.get()
            with self._lock:
                self._idle -= 1
            if call is None:
                return
            call()
