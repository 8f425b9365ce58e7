"""One reader for each live run, however many widgets show it.

A run gives each changed row once (`Run.take_dirty`); two widgets that both asked would see half of them each.
"""

import threading
from collections.abc import Callable, Sequence

from cerebelum_nb.runtime.run import Run

OnRows = Callable[[Run, Sequence[int], bool], None]  # the run, which of its tasks changed, whether it has ended


class Feeds:
    """Who shows which run. A run that has ended is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a widget may be collected, and so leave, wherever something is allocated
        self._feeds: dict[str, _Feed] = {}

    def follow(self, run: Run, on_rows: OnRows) -> Callable[[], None]:
        """Be told on the control loop what changed, and once, at the end, with True.

        Who comes later than others is told of all rows first: some changes may have passed already.

        Returns:
            A function that ends it.
        """
        with self._lock:
            feed = self._feeds.get(run.id)
            first = feed is None
            if feed is None:
                feed = self._feeds[run.id] = _Feed(run)
            feed.readers[on_rows] = first
            if first:
                feed.stop = run.watch(lambda ended: self._tell(feed, ended=ended))

        def leave() -> None:
            with self._lock:
                feed.readers.pop(on_rows, None)
                if not feed.readers and self._feeds.get(run.id) is feed:
                    del self._feeds[run.id]
                    feed.stop()

        return leave

    def _tell(self, feed: "_Feed", *, ended: bool) -> None:
        run = feed.run
        with self._lock:
            readers = dict(feed.readers)
            feed.readers.update(dict.fromkeys(readers, True))
            if ended:
                self._feeds.pop(run.id, None)
        dirty = sorted(run.take_dirty())
        for on_rows, up_to_date in readers.items():
            on_rows(run, dirty if up_to_date else range(len(run.state.names)), ended)


class _Feed:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.readers: dict[OnRows, bool] = {}  # whether it has all that passed before
        self.stop: Callable[[], None] = lambda: None
