"""A run's widget where no IPython is: marimo asks an object for what to show.

One set of parts for the process, as a notebook has one: the thread that does what clicks ask for, and one reader for
each live run.
"""

import functools
from typing import TYPE_CHECKING, Any, Final

from cerebelum_nb.notebook.clicks import Clicks
from cerebelum_nb.notebook.feed import Feeds
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.session import current

if TYPE_CHECKING:  # anywidget is heavy: imported when the first run is shown
    from cerebelum_nb.notebook.widget import RunWidget

WIDGETS_LIMIT: Final = 100  # the oldest of ended runs are let go of


def widget(run: Run) -> "RunWidget":
    """The widget of a run: one for each run, so that a cell that is shown again shows the same."""
    from cerebelum_nb.notebook.widget import RunWidget  # noqa: PLC0415  see above

    clicks, feeds, made = _parts()
    if run.id not in made:
        ended = [name for name, other in made.items() if other.run.done]
        for name in ended[: max(0, len(made) - WIDGETS_LIMIT + 1)]:
            made.pop(name).close()
        made[run.id] = RunWidget(
            run, executors=offered(), clicks=clicks, feeds=feeds, on_end=lambda _widget, _run: None
        )
    return made[run.id]


def offered() -> list[dict[str, Any]]:
    """The executors to choose from."""
    places = current().places
    return [{"name": name, "label": name, "remote": places.resolve(name) in places.remote} for name in places.labels]


@functools.cache
def _parts() -> tuple[Clicks, Feeds, dict[str, "RunWidget"]]:
    return Clicks(), Feeds(), {}
