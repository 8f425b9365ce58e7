"""A run as a file: a page, a picture, a trace for Perfetto, a figure. Names, states and times only, never a value."""

import importlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model import trace, view


class Exports:
    """What a run can be saved as."""

    number: int
    workflow: str

    @abstractmethod
    def header(self) -> view.Header:
        """The run as a whole."""

    @abstractmethod
    def rows(self, tasks: Sequence[int] | None = None) -> list[view.Row]:
        """Its tasks as drawn."""

    def save_html(self, path: str | Path) -> Path:
        """Save the interactive chart as one page that needs neither a kernel nor a network.

        Raises:
            OSError: The file cannot be written.
        """
        return _written(path, _drawn_by("page").html(self.header(), self.rows()))

    def save_svg(self, path: str | Path) -> Path:
        """Save the chart as a picture.

        Raises:
            OSError: The file cannot be written.
        """
        rows = self.rows()
        return _written(path, _drawn_by("chart").svg(self.header(), rows, most=len(rows)))

    def save_png(self, path: str | Path, *, scale: float = 2.0) -> Path:
        """Save the chart as a picture of dots; needs the package cairosvg.

        Args:
            scale: Dots for each pixel.

        Raises:
            CerebelumError: cairosvg is not installed, or does not work here.
            OSError: The file cannot be written.
        """
        try:
            draw = importlib.import_module("cairosvg").svg2png
        except (ImportError, OSError) as exc:  # OSError: the package is there, the library that it calls is not
            raise CerebelumError(
                f"a PNG needs cairosvg, which is not there ({exc}): pip install cairosvg, or choose Save as, Picture "
                f"in the chart's own menu; runs[{self.number}].save_svg({str(path)!r}) needs nothing"
            ) from None
        rows = self.rows()
        text = _drawn_by("chart").svg(self.header(), rows, most=len(rows))
        file = Path(path)
        file.write_bytes(draw(bytestring=text.encode(), scale=scale))
        return file

    def save_trace(self, path: str | Path) -> Path:
        """Save the run as Chrome trace JSON: ui.perfetto.dev opens it.

        Raises:
            OSError: The file cannot be written.
        """
        return _written(path, json.dumps(trace.trace(self.header(), self.rows())))

    def _display_(self) -> Any:
        """What marimo shows of it: the live chart."""
        return _drawn_by("lone").widget(self)

    def figure(self) -> Any:
        """The chart as a plotly figure, to restyle it.

        Raises:
            CerebelumError: plotly is not installed.
        """
        return _drawn_by("figure").figure(self.header(), self.rows())


def _written(path: str | Path, text: str) -> Path:
    file = Path(path)
    file.write_text(text, "utf-8", newline="\n")
    return file


def _drawn_by(part: str) -> Any:
    # What draws is in the room above, and pure: rows in, text out. Looked up by name, so that imports only go down.
    return importlib.import_module(f"cerebelum_nb.notebook.{part}")
