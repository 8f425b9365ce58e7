"""What a step knows about the run it is part of, and its own copy of what it is given."""

import hashlib
import sys
from typing import Any, Final

from cerebelum_nb.codec import LARGE_NBYTES, Large

_SHARED: Final = frozenset({type(None), bool, int, float, complex, str, bytes, range, type})


def own_copy(value: Any) -> Any:
    """A copy of plain containers, so that nobody sees what a step does to its input.

    Dicts, lists, sets, bytearrays and tuples that hold them are made anew, all the way down. Arrays are copied up to
    the size from which workers share them too; larger ones cannot be written to. Of pandas' tables and columns a step
    gets its own, which pandas copies once it is written to; those before pandas 3 copy at once, so of large ones only
    the columns are the step's own. Everything else (the person's own objects, also in a table's cells) is passed as it
    is, and so is what is nested too deeply to copy.
    """
    if type(value) in _SHARED:
        return value
    try:
        return _copy(value, {})
    except RecursionError:
        return value


def _copy(value: Any, seen: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _SHARED:
        return value
    if kind not in _COPIES:
        copy = _LEARNED.get((kind.__name__, kind.__module__.partition(".")[0]))
        if copy is None:
            return value
        _COPIES[kind] = copy  # learned here, since numpy is not imported for those who have no arrays
    known = seen.get(id(value))
    if known is not None:
        return known
    return _COPIES[kind](value, seen)


def _dict(value: dict[Any, Any], seen: dict[int, Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    seen[id(value)] = made
    for key, item in value.items():
        made[key] = item if type(item) in _SHARED else _copy(item, seen)
    return made


def _list(value: list[Any], seen: dict[int, Any]) -> list[Any]:
    made: list[Any] = []
    seen[id(value)] = made
    made.extend([item if type(item) in _SHARED else _copy(item, seen) for item in value])
    return made


def _tuple(value: tuple[Any, ...], seen: dict[int, Any]) -> tuple[Any, ...]:
    made = [item if type(item) in _SHARED else _copy(item, seen) for item in value]
    return value if all(a is b for a, b in zip(made, value, strict=True)) else tuple(made)


def _array(value: Any, _: dict[int, Any]) -> Any:
    if value.nbytes <= LARGE_NBYTES:
        return value.copy(order="K")
    shared = value.view()
    shared.flags.writeable = False
    return shared


def _table(value: Any, _: dict[int, Any]) -> Any:
    copies_on_write = int(sys.modules["pandas"].__version__.partition(".")[0]) >= _COPY_ON_WRITE
    return value.copy(deep=not copies_on_write and value.size * _CELL_NBYTES <= LARGE_NBYTES)


_COPY_ON_WRITE: Final = 3  # the first pandas in which a copy costs nothing until it is written to
_CELL_NBYTES: Final = 8
_LEARNED: Final[dict[tuple[str, str], Any]] = {
    ("ndarray", "numpy"): _array,
    ("DataFrame", "pandas"): _table,
    ("Series", "pandas"): _table,
}
_COPIES: Final[dict[type, Any]] = {
    dict: _dict,
    list: _list,
    tuple: _tuple,
    set: lambda value, _: set(value),
    bytearray: lambda value, _: bytearray(value),
    Large: lambda value, _: value.open(),  # its containers are made anew each time
}


_UNSET: Final = object()


class Context:
    """Given to a step as its ``context``.

    Attributes:
        execution_id: The run's id.
        workflow_name: The workflow's name.
        step_name: This step's name.
        attempt: Number of this attempt, from 1.
        executor: Where this attempt runs, as people say it: ``local``, ``distributed``.
        replay: It is a replay of an attempt that has ended: nothing of it is written, and no other step gets it.
    """

    __slots__ = (
        "_given",
        "_inputs",
        "_root",
        "attempt",
        "execution_id",
        "executor",
        "replay",
        "step_name",
        "workflow_name",
    )

    def __init__(  # noqa: PLR0913, PLR0917  one for each thing a step may ask
        self,
        inputs: Any,
        execution_id: str,
        workflow_name: str,
        step_name: str,
        attempt: int = 1,
        executor: str = "local",
        root: str = "",
        replay: bool = False,  # noqa: FBT001, FBT002  by keyword, from the fields of an attempt
    ) -> None:
        self._given = inputs
        self._root = root or execution_id
        self._inputs: Any = _UNSET
        self.execution_id = execution_id
        self.workflow_name = workflow_name
        self.step_name = step_name
        self.attempt = attempt
        self.executor = executor
        self.replay = replay

    @property
    def inputs(self) -> Any:
        """The run's inputs: this step's own copy, made when first asked for."""
        if self._inputs is _UNSET:
            self._inputs = own_copy(self._given)
        return self._inputs

    @property
    def idempotency_key(self) -> str:
        """The same text for all attempts of this step in this run, also after it was resumed; 32 hex digits.

        Hand it to a service that drops a second request with the same key.
        """
        return hashlib.sha256(f"{self._root}\n{self.step_name}".encode()).hexdigest()[:32]

    def __repr__(self) -> str:
        return f"<context of step {self.step_name}, attempt {self.attempt}, run {self.execution_id}>"
