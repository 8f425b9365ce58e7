"""What was typed, taken apart: ``FILE:WORKFLOW``, ``--inputs``, ``--strategy``. Reads files only to find them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from cerebelum_nb.model.typed import nearest, strategy_of

_SUFFIXES: Final = (".py", ".ipynb")
_SHOWN: Final = 60  # characters of a wrong JSON text


class Refused(click.ClickException):
    """Nothing has run: what was asked cannot be done."""

    exit_code = 2


class Target(NamedTuple):
    """Where a workflow is."""

    path: Path
    workflow: str  # empty: the only one in the file

    @property
    def is_notebook(self) -> bool:
        """Its cells are run in a kernel, not imported."""
        return self.path.suffix == ".ipynb"


class Request(NamedTuple):
    """How a workflow is to be run."""

    inputs: dict[str, Any]
    strategy: dict[str, str]
    until: str | None
    resume: str = ""  # a run to go on from: its id or a part of it, or "last"
    changed: str = "ask"  # what becomes of steps that were edited since
    fresh: bool = False  # take nothing from the cache
    force: tuple[str, ...] = ()  # steps that run again although they never run twice
    on_failure: str | None = None  # "compensate" or "stop"
    undo: bool = False  # only undo what that run did
    file: str = ""  # where the workflow is, as it was typed


def target(text: str) -> Target:
    """Take ``FILE:WORKFLOW`` apart.

    Raises:
        Refused: There is no such file, or it is neither Python nor a notebook.
    """
    file, colon, workflow = text.rpartition(":")
    if not colon or text.endswith(_SUFFIXES):
        file, workflow = text, ""
    path = Path(file)
    if path.suffix not in _SUFFIXES:
        raise Refused(f"{text!r} names no .py or .ipynb file: write FILE:WORKFLOW, as in orders.py:order_workflow")
    if path.is_dir():
        raise Refused(f"{file} is a folder, not a file")
    if not path.is_file():
        folder = path.parent
        near = [p.name for p in folder.iterdir() if p.suffix in _SUFFIXES] if folder.is_dir() else []
        hint = nearest(path.name, near) if folder.is_dir() else f" There is no folder {folder} either."
        raise Refused(f"there is no file {file}.{hint}")
    return Target(path.resolve(), workflow)


def inputs(text: str) -> dict[str, Any]:
    """The run's inputs: a JSON object, or ``@FILE`` that holds one.

    Raises:
        Refused: It is not JSON (with the place), or not an object.
    """
    what = "--inputs"
    if text.startswith("@"):
        what = f"--inputs {text}"
        try:
            text = Path(text[1:]).read_text("utf-8")
        except (OSError, UnicodeError) as exc:
            raise Refused(f"{what}: the file cannot be read ({exc})") from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as exc:
        raise Refused(f"{what} is not JSON: {exc.msg} at {_place(text, exc)}{_advice(text)}") from None
    except RecursionError:
        raise Refused(f"{what} is nested too deeply") from None
    if not isinstance(value, dict):
        raise Refused(f'{what} is a JSON object like {{"order": ...}}, not {_kind(value)}: {_short(text)}')
    return value


def _place(text: str, exc: json.JSONDecodeError) -> str:
    line = text.splitlines()[exc.lineno - 1] if text.strip() and exc.lineno <= len(text.splitlines()) else ""
    where = f"character {exc.colno}" if "\n" not in text.strip() else f"line {exc.lineno}, character {exc.colno}"
    start = max(0, exc.colno - 1 - _SHOWN // 2)
    shown = line[start : start + _SHOWN]
    return f"{where}\n    {shown}\n    {' ' * (exc.colno - 1 - start)}^"


def _advice(text: str) -> str:
    if "'" in text and '"' not in text:
        return "\nJSON puts names and texts in double quotes; in a shell: --inputs '{\"order\": 1}'"
    return ""


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {list: "an array", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def strategy(values: Sequence[str]) -> dict[str, str]:
    """``step=executor,default=executor`` as a map; the option may stand several times.

    Raises:
        Refused: A piece that is no such pair, or a step twice.
    """
    try:
        return strategy_of(",".join(values)) if values else {}
    except ValueError as exc:
        raise Refused(f"--strategy {exc}") from None
