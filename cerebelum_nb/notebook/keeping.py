"""A choice that was made in the chart, written where it stays: the cell's own line, or the configuration.

The cell belongs to the front end, and nothing here can change it: its new line is shown to be pasted. The nearest
``pyproject.toml`` is changed in one place; every other byte stays, and what does not come out as meant is not written.
"""

import inspect
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.errors import PlanError

_HEADER: Final = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+$")
_EXECUTOR: Final = re.compile(r"""executor\s*=\s*(?:"[^"]*"|'[^']*')""")
_MOST_DECORATORS: Final = 30  # lines above a function
_OPTION: Final = re.compile(r"--executor[ =]\s*(\"[^\"]*\"|'[^']*'|\S+)")


class Line(msgspec.Struct, frozen=True):
    """A line of a cell or a file, as it stands and as it would have to stand."""

    where: str  # Cell In[3], or a file
    old: str
    new: str


def line_in_cell(function: Callable[..., Any], executor: str, cell_name: Callable[[str], str]) -> Line:
    """The line that says where a step runs, with another executor.

    Args:
        cell_name: What people call the file of some code.

    Raises:
        PlanError: The step's source is not there any more.
    """
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    try:
        whole, _ = inspect.findsource(plain)
        first = code.co_firstlineno - 1 if code is not None else 0
    except (OSError, TypeError):
        raise PlanError(f'its cell is not known any more: write @step(executor="{executor}") there') from None
    where = cell_name(code.co_filename) if code is not None else ""
    head = next((line for line in whole[: first + 1] if line.strip()), "").rstrip()
    if head.lstrip().startswith("%%cerebelum_step"):
        return Line(where, head, _with_option(head, executor))
    decorators: list[str] = []
    for line in whole[first : first + _MOST_DECORATORS]:
        if line.lstrip().startswith(("def ", "async def ", "class ")):
            break
        decorators.append(line.rstrip())
    says = next((line for line in decorators if _EXECUTOR.search(line)), "")
    head = says or next((line for line in decorators if re.match(r"\s*@(?:\w+\.)*step\b", line)), "")
    if not head:
        return Line(where, "", f'@step(executor="{executor}")')
    return Line(f"{where}, line {first + decorators.index(head) + 1}", head, _with_keyword(head, executor))


def _with_option(line: str, executor: str) -> str:
    name = executor if re.fullmatch(r"[\w.-]+", executor) else f'"{executor}"'
    if _OPTION.search(line):
        return _OPTION.sub(lambda _: f"--executor {name}", line, count=1)
    return f"{line} --executor {name}"


def _with_keyword(line: str, executor: str) -> str:
    said = f'executor="{executor}"'
    if _EXECUTOR.search(line):
        return _EXECUTOR.sub(lambda _: said, line, count=1)
    if re.search(r"step\s*\(\s*\)", line):
        return re.sub(r"step\s*\(\s*\)", lambda _: f"step({said})", line, count=1)
    if "(" in line:
        return re.sub(r"step\s*\(", lambda _: f"step({said}, ", line, count=1).rstrip()
    return re.sub(r"\bstep\b", lambda _: f"step({said})", line, count=1)


def nearest_file(folder: Path) -> Path | None:
    """The nearest ``pyproject.toml``, here or above: the one that is read."""
    return next((p for above in (folder, *folder.parents) if (p := above / "pyproject.toml").is_file()), None)


def table_name(environment: str) -> str:
    """The table that says where steps run.

    Args:
        environment: What ``CEREBELUM_ENV`` says, or nothing.
    """
    return f"tool.cerebelum.environments.{_key(environment)}.strategy" if environment else "tool.cerebelum.strategy"


def lines_for(strategy: Mapping[str, str]) -> list[str]:
    """The lines of the table."""
    return [f"{_key(step)} = {_string(executor)}" for step, executor in strategy.items()]


def with_strategy(text: str, strategy: Mapping[str, str], environment: str = "") -> str:
    """A ``pyproject.toml`` that says where steps run; all else stays as it is, byte for byte.

    Raises:
        PlanError: It is no TOML, or says it in a way that cannot be changed by a line.
    """
    table = table_name(environment)
    try:
        wanted = tomllib.loads(text)
    except ValueError as exc:
        raise PlanError(f"pyproject.toml cannot be read: {exc}") from None
    place: Any = wanted
    for part in _parts(table):
        place = place.setdefault(part, {}) if isinstance(place, dict) else None
    new = _edited(text, table, strategy)
    if isinstance(place, dict):
        place.update(strategy)
    try:
        if isinstance(place, dict) and tomllib.loads(new) == wanted:
            return new
    except ValueError:
        pass
    raise PlanError(
        f"[{table}] is written in a way that is not changed by machine; write there yourself: "
        + "; ".join(lines_for(strategy))
    )


def write(path: Path, strategy: Mapping[str, str], environment: str = "") -> None:
    """Change the file, as a whole or not at all.

    Raises:
        PlanError: See `with_strategy`; or the file cannot be written.
    """
    path = path.resolve()  # a link stays a link
    try:
        new = with_strategy(path.read_bytes().decode("utf-8"), strategy, environment).encode("utf-8")
        half = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            half.write_bytes(new)
            shutil.copymode(path, half)
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except (OSError, UnicodeError) as exc:
        raise PlanError(f"{path} cannot be written: {exc}") from None


def _edited(text: str, table: str, strategy: Mapping[str, str]) -> str:
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if "\r\n" in text else "\n"
    begin = next((i for i, line in enumerate(lines) if _is_header(line, table)), None)
    if begin is None:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += newline
        gap = [newline] if lines else []
        return "".join([*lines, *gap, f"[{table}]{newline}", *(line + newline for line in lines_for(strategy))])
    end = next((i for i in range(begin + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    last = max(i for i in range(begin, end) if i == begin or lines[i].strip())
    missing = []
    for step, executor in strategy.items():
        at = next((i for i in range(begin + 1, end) if _names(lines[i], step)), None)
        if at is None:
            missing.append(f"{_key(step)} = {_string(executor)}{newline}")
        else:
            lines[at] = _valued(lines[at], executor)
    if missing and not lines[last].endswith("\n"):
        lines[last] += newline
    return "".join([*lines[: last + 1], *missing, *lines[last + 1 :]])


def _is_header(line: str, table: str) -> bool:
    found = _HEADER.match(line.rstrip("\r\n"))
    if found is None:
        return False
    try:
        return _parts(found[1]) == _parts(table)
    except ValueError:
        return False


def _parts(table: str) -> Sequence[str]:
    """The names of a dotted key."""
    parts: list[str] = []
    place: Any = tomllib.loads(f"[{table}]")
    while place:
        (name, place) = next(iter(place.items()))
        parts.append(name)
    return parts


def _names(line: str, step: str) -> bool:
    try:
        found = tomllib.loads(line)
    except ValueError:
        return False
    return list(found) == [step] and isinstance(found[step], str)


def _valued(line: str, executor: str) -> str:
    """A line ``key = "value"  # comment`` with another value."""
    for begin in (m.start() for m in re.finditer(r"[\"']", line)):
        quote = line[begin]
        for end in (m.end() for m in re.finditer(quote, line[begin + 1 :])):
            new = f"{line[:begin]}{_string(executor)}{line[begin + 1 + end :]}"
            try:
                if list(tomllib.loads(new).values()) == [executor] and list(tomllib.loads(new)) == list(
                    tomllib.loads(line)
                ):
                    return new
            except ValueError:
                continue
    return line


def _key(name: str) -> str:
    return name if _BARE.match(name) else _string(name)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # what JSON escapes, TOML escapes alike
