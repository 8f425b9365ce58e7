"""Warnings in a terminal: ours are a sentence, those about somebody's own line say which."""

import sys
import warnings
from pathlib import Path
from typing import Any, Final

_OWN: Final = Path(__file__).resolve().parent.parent
_NO_LINE: Final = "cerebelum_nb"  # in place of a file, where no line of code is to blame


def in_one_line() -> None:
    """From now on, for the rest of this process."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], filename: str, *place: Any, **more: Any) -> None:
        if filename == _NO_LINE or Path(filename).is_relative_to(_OWN):
            sys.stderr.write(f"Warning: {message}\n")
        else:
            shown(message, category, filename, *place, **more)

    warnings.showwarning = show
