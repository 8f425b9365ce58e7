"""`display`, `clear_output` and figures in a step on a worker: what they show goes to the attempt that runs.

There is no IPython shell on a worker, where IPython's own `display` only prints. Nothing of IPython is imported here
before a step does it.
"""

import builtins
import functools
import importlib.machinery
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from cerebelum_nb.rich import PLAIN, bundle_of
from cerebelum_nb.worker.report import Reporter

_MODULE: Final = "IPython.core.display_functions"
_FIGURES: Final = "module://cerebelum_nb.worker.figures"
_BACKEND: Final = "MPLBACKEND"


class _Nobody:
    reporter: Reporter | None = None


_who = _Nobody()


def prefer_figures() -> None:
    """Have pyplot show figures here, where nobody has chosen another backend than the notebook's own."""
    if "inline" in os.environ.get(_BACKEND, "inline"):
        os.environ[_BACKEND] = _FIGURES


def install(reporter: Reporter) -> None:
    """From here on, what is displayed goes to the attempt that runs."""
    _who.reporter = reporter
    sys.meta_path.insert(0, _Patcher())
    builtins.display = _display_without_import  # type: ignore[attr-defined]  # as IPython has it


def publish(data: Mapping[str, Any]) -> None:
    """Show a bundle of mime types."""
    report = _who.reporter.report if _who.reporter is not None else None
    if report is not None:
        report.displayed(bundle_of(data))


def show_figures_left() -> None:
    """Show what a step has drawn and not shown, as a cell does at its end. Costs nothing where it has drawn nothing."""
    figures = sys.modules.get("cerebelum_nb.worker.figures")
    if figures is not None:
        figures.show()


def _display_without_import(*objs: Any, **how: Any) -> Any:
    """The `display` that IPython puts among the builtins."""
    try:
        from IPython.display import display  # noqa: PLC0415  heavy
    except ImportError:
        print(*objs, sep="\n")  # noqa: T201  the step's own output
        return None
    return display(*objs, **how)  # type: ignore[no-untyped-call]


def _display(  # noqa: PLR0913  IPython's signature
    *objs: Any,
    include: Any = None,
    exclude: Any = None,
    metadata: Any = None,  # noqa: ARG001  how large an image is drawn: not for us
    transient: Any = None,  # noqa: ARG001
    display_id: Any = None,
    raw: bool = False,
    clear: bool = False,
    update: bool = False,  # noqa: ARG001  shown as new: what was shown stays
    **_more: Any,
) -> Any:
    """`IPython.display.display`, without a shell."""
    if clear:
        _clear_output(wait=True)
    for obj in objs:
        data = obj if raw else _formatter().format(obj, include=include, exclude=exclude)[0]
        if data:  # else its `_ipython_display_` took over
            publish(data)
    if display_id is None:
        return None
    from IPython.core.display_functions import DisplayHandle  # noqa: PLC0415  it is there: it calls us

    return DisplayHandle(None if display_id is True else display_id)  # type: ignore[no-untyped-call]


def _publish_display_data(data: Mapping[str, Any], *_more: Any, **_named: Any) -> None:
    publish(data)


def _clear_output(wait: bool = False) -> None:  # noqa: FBT001, FBT002  IPython's signature
    report = _who.reporter.report if _who.reporter is not None else None
    if report is not None:
        report.clear(wait=wait)


@functools.cache
def _formatter() -> Any:
    from IPython.core.formatters import DisplayFormatter  # noqa: PLC0415  heavy

    made = DisplayFormatter()
    made.formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _png)
    return made


def _png(figure: Any) -> bytes:
    from cerebelum_nb.worker.figures import png  # noqa: PLC0415  heavy

    return png(figure)


def show_figure(figure: Any) -> None:
    """Show one figure."""
    publish({PLAIN: repr(figure), "image/png": _png(figure)})


class _Patcher:  # no `importlib.abc.MetaPathFinder`: to import that takes a twentieth of a worker's start
    """Puts our functions into IPython's module when a step imports it, before others take theirs from there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                vars(module).update(
                    display=_display, clear_output=_clear_output, publish_display_data=_publish_display_data
                )

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
