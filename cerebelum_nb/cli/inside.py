"""What runs inside a notebook's kernel when the command line asks for one of its workflows."""

import json
import re
import sys
from typing import Any, Final

from cerebelum_nb.cli import follow
from cerebelum_nb.cli.load import choose
from cerebelum_nb.cli.target import Refused, Request
from cerebelum_nb.cli.warned import in_one_line
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.model import lines

_FRAME: Final = re.compile(r'File "(?P<file>[^"\n]+)"')


class Places:
    """Calls cells in a traceback as the notebook's reader does: ``code cell 4 of orders.ipynb``."""

    def __init__(self, names: dict[str, Any], file: str, numbers: dict[int, int]) -> None:
        self._shell, self._file, self._numbers = names["get_ipython"](), file, numbers

    def named(self, trace: str) -> str:
        """A traceback with the file names of cells replaced."""
        return _FRAME.sub(self._frame, trace)

    def _frame(self, found: re.Match[str]) -> str:
        kind = self._shell.compile.format_code_name(found["file"])  # ("Cell", "In[3]") for a cell
        count = re.search(r"\[(\d+)\]", kind[1]) if kind else None
        number = self._numbers.get(int(count[1])) if count else None
        return found[0] if number is None else f"Code cell {number} of {self._file}"


def answer(said: str, names: dict[str, Any]) -> int:
    """Run a workflow of this kernel and print what the command line prints; gives the exit code.

    Args:
        said: The request as JSON.
        names: The notebook's own names.
    """
    in_one_line()
    asked = json.loads(said)
    request = Request(*(asked[name] for name in Request._fields))
    marks = lines.ASCII if asked["ascii"] else lines.Marks()
    held = {value.name: value for value in names.values() if isinstance(value, Workflow)}
    places = Places(names, asked["notebook"], {int(count): number for count, number in asked["cells"].items()})
    mine = {n: w for n, w in registry.workflows.items() if w.__module__ == "__main__"} | held
    try:
        workflow = choose(asked["workflow"], asked["notebook"], mine, names)
        if asked["verb"] == "dev":
            return follow.dev(workflow, request, marks, telemetry=asked["telemetry"], name_places=places.named)
        return follow.run(workflow, request, marks, name_places=places.named)
    except Refused as exc:
        sys.stderr.write(f"Error: {exc.message}\n")
        return exc.exit_code
