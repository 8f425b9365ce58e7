"""Values by cloudpickle: whatever JSON and raw arrays do not hold, and what to say of what cannot be sent at all."""

import contextlib
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from cerebelum_nb.codec import arrays, plain
from cerebelum_nb.errors import WireError

_LEVELS = 200  # that are looked into for what cannot be sent
APART_NBYTES = 4096  # a larger buffer stands beside the pickle


def taken_apart(value: Any, what: str) -> tuple[bytes, list[memoryview]]:
    """A value as a pickle, and its large buffers beside it.

    Raises:
        WireError: Something in it cannot be sent; names the path and the type.
    """
    buffers: list[memoryview] = []

    def stays_in(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < APART_NBYTES:
            return True
        buffers.append(raw)
        return False

    return _pickled(value, what, stays_in), buffers


def pickled(value: Any, stays_in: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """A value as cloudpickle has it. Raises whatever its classes raise, sys.exit included.

    Args:
        stays_in: Asked of each buffer that could stand beside the pickle.
    """
    file = io.BytesIO()
    numpy = sys.modules.get("numpy")
    _pickler(getattr(numpy, "ndarray", None))(file, protocol=5, buffer_callback=stays_in).dump(value)
    return file.getvalue()


@cache
def _pickler(array: type | None) -> Any:
    import cloudpickle  # noqa: PLC0415  not needed for plain values

    tables = cloudpickle.Pickler.dispatch_table
    standard = tables[io.TextIOWrapper]

    def refuse(file: Any) -> Any:
        if file is sys.stdout or file is sys.stderr:
            return standard(file)
        raise TypeError("an open file stays in its process")  # cloudpickle would make it a StringIO

    def view(value: memoryview) -> Any:  # cloudpickle would make it bytes
        if value.format not in plain.FORMATS:
            return bytes, (value.tobytes(),)
        return plain.viewed, (value.tobytes(), value.format, value.shape, value.readonly)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        dispatch_table = tables.new_child(
            {io.TextIOWrapper: refuse, memoryview: view, **({array: arrays.reduced} if array is not None else {})}
        )

    return Pickler


def _pickled(value: Any, what: str, stays_in: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    try:
        return pickled(value, stays_in)
    except BaseException as exc:
        path, culprit = find_unpicklable(value, what)
        if isinstance(exc, RecursionError) or "recursion" in one_line(exc):
            raise WireError(
                f"{what} is nested too deeply to be sent to another process. Return a flatter value."
            ) from exc
        raise WireError(
            f"{path} is {a_kind_of(culprit)}, which cannot be sent to another process ({one_line(exc)}). "
            f"Send plain data instead, or run the step locally."
        ) from exc


def find_unpicklable(value: Any, path: str) -> tuple[str, Any]:
    """The path and the innermost part of a value that pickle refuses."""
    with contextlib.suppress(BaseException):  # a part's own __repr__ or __dict__ may do anything
        for _ in range(_LEVELS):
            for name, part in _parts(value, path):
                if not picklable(part):
                    path, value = name, part
                    break
            else:
                break
    return path, value


def picklable(value: Any) -> bool:
    """Whether cloudpickle takes it. Costs as much as sending it."""
    try:
        pickled(value)
    except BaseException:  # noqa: BLE001  any failure of somebody's __reduce__ means no
        return False
    return True


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}[{key!r}]", item
            yield f"{path}'s key {key!r}", key
    elif isinstance(value, list | tuple):
        yield from ((f"{path}[{place}]", item) for place, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f"an item of {path}", item) for item in value)
    elif isinstance(state := getattr(value, "__dict__", None), dict) and not isinstance(value, type):
        yield from ((f"{path}.{name}", item) for name, item in state.items())


def a_kind_of(value: Any) -> str:
    """The type of a value as a person reads it: ``a sqlite3.Connection``."""
    kind = type(value)
    module = "" if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    return f"{'an' if name.lstrip('_')[:1].lower() in tuple('aeiou') else 'a'} {name}"


def one_line(exc: BaseException) -> str:
    """An exception as a short line: ``ValueError: no``."""
    try:
        text = " ".join(str(exc).split())
    except BaseException as broken:  # noqa: BLE001  the person's own __str__ may do anything
        text = f"its __str__ raised {type(broken).__name__}"
    return f"{type(exc).__name__}: {text[:200]}"
