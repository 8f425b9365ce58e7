"""Matplotlib's backend on a worker: Agg, and `pyplot.show` shows the figures where the step's output is."""

import contextlib
import io
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cerebelum_nb.worker.showing import show_figure


class FigureManager(FigureManagerBase):
    """What pyplot asks to show figures."""

    @classmethod
    def pyplot_show(cls, *, block: bool | None = None) -> None:  # noqa: ARG003  nobody can close a window
        """Show all figures, and be done with them."""
        show()


class FigureCanvas(FigureCanvasAgg):
    """Draws into memory."""

    manager_class = FigureManager


def show() -> None:
    """Show all open figures, and close them."""
    for number in plt.get_fignums():
        figure = plt.figure(number)
        if figure.get_axes():
            with contextlib.suppress(Exception):  # a figure that cannot be drawn is no reason for a step to fail
                show_figure(figure)
        plt.close(number)


def png(figure: Any) -> bytes:
    """A figure as a file, as notebooks show it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()
