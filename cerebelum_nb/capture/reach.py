"""What a function reaches outside itself, and whether all of that still is as it was."""

import builtins
import dis
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, GenericAlias, ModuleType, UnionType
from typing import Any, Final

DEEP: Final = 50  # functions that are looked into
_GLOBAL_OPS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"})
_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, CodeType, BuiltinFunctionType, type(...)})
_ALIASES: Final = frozenset({GenericAlias, UnionType})
_GONE: Final = object()  # a name that leads to nothing


def captured_by(function: FunctionType) -> Iterator[tuple[str, str, Any]]:
    """What one function reaches outside itself: what it is, its name, its value."""
    for name in names_used(function.__code__):
        if name in function.__globals__:
            yield "global", name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield "closure variable", name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    yield from (
        ("default of", *pair) for pair in zip(positional[len(positional) - len(defaults) :], defaults, strict=True)
    )
    yield from (("default of", name, value) for name, value in (function.__kwdefaults__ or {}).items())


@lru_cache(maxsize=1024)
def names_used(code: CodeType) -> tuple[str, ...]:
    """Global names in a function's code, nested functions included, in the order of their first use."""
    names = [step.argval for step in dis.get_instructions(code) if step.opname in _GLOBAL_OPS]
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names += names_used(const)
    return tuple(dict.fromkeys(names))


def is_importable(module: ModuleType) -> bool:
    """Whether others can import it: it was not made here."""
    spec = getattr(module, "__spec__", None)
    return spec is not None and (spec.origin in {"built-in", "frozen"} or spec.has_location)


class Reach:
    """A function and all that it reaches: code, defaults, closures, globals and helpers; each of it immutable.

    So all is as it was while each name still leads to the same object. That is asked on the way of every attempt, and
    makes nothing.
    """

    __slots__ = ("_cells", "_found_by_name", "_functions", "_names", "_sizes")

    def __init__(self) -> None:
        self._functions: list[tuple[Any, ...]] = []
        self._names: list[tuple[dict[str, Any], str, Any]] = []
        self._sizes: list[tuple[dict[str, Any], int]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._found_by_name: list[Any] = []  # modules and classes: others must find them

    @classmethod
    def of(cls, function: Any, *, every_global: bool = False) -> "Reach | None":
        """What a function reaches now; None where some of that can change under us.

        Args:
            every_global: Also globals that its code does not name.
        """
        made = cls()
        if type(function) is not FunctionType or not made._take_function(function, every_global=every_global):
            return None
        return made

    def is_as_it_was(self) -> bool:
        """Whether nothing of it is another thing now."""
        for one, code, defaults, keywords, annotations in self._functions:
            if (
                one.__code__ is not code
                or one.__defaults__ is not defaults
                or one.__kwdefaults__ is not keywords
                or one.__annotations__ is not annotations
                or one.__dict__
            ):
                return False
        for space, name, value in self._names:
            if space.get(name, _GONE) is not value:
                return False
        for space, size in self._sizes:
            if len(space) != size:
                return False
        for cell, value in self._cells:
            if not _is_in(cell, value):
                return False
        return not self._found_by_name or all(map(_others_find, self._found_by_name))

    def _take_function(self, function: FunctionType, *, every_global: bool) -> bool:
        if any(function is taken for taken, *_ in self._functions):
            return True
        if function.__dict__ or len(self._functions) >= DEEP:
            return False
        own = function.__code__, function.__defaults__, function.__kwdefaults__, function.__annotations__
        self._functions.append((function, *own))
        space = function.__globals__
        self._names += [(space, name, space.get(name, _GONE)) for name in names_used(function.__code__)]
        tables = [table for table in (function.__kwdefaults__, function.__annotations__) if table]
        if every_global and all(space is not taken for taken, _ in self._sizes):
            tables.append(space)
        for table in tables:
            self._sizes.append((table, len(table)))
            self._names += [(table, name, value) for name, value in table.items()]
        try:
            self._cells += [(cell, cell.cell_contents) for cell in function.__closure__ or ()]
        except ValueError:  # one is not filled yet
            return False
        values = [*(value for _, _, value in captured_by(function)), *function.__annotations__.values()]
        return all(self._take(value, every_global=every_global) for value in values)

    def _take(self, value: Any, *, every_global: bool) -> bool:
        kind = type(value)
        if kind is FunctionType:
            return self._take_function(value, every_global=every_global)
        if kind is tuple:
            return all(self._take(item, every_global=every_global) for item in value)
        if kind is ModuleType or (kind is type and value.__module__ != "__main__"):
            self._found_by_name.append(value)
            return _others_find(value)
        return kind in _ATOMS or kind in _ALIASES or kind.__module__ == "typing"  # the latter are annotations


def _is_in(cell: CellType, value: Any) -> bool:
    try:
        return cell.cell_contents is value
    except ValueError:  # it was emptied
        return False


def _others_find(value: Any) -> bool:
    if isinstance(value, ModuleType):
        return is_importable(value)
    return getattr(sys.modules.get(value.__module__, builtins), value.__qualname__, None) is value
