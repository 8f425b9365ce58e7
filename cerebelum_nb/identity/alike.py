"""Whether two results are the same, and where they differ, in words. Pure.

Exact: 1 and 1.0 are different, NaN is the same as NaN. Arrays and tables are compared by what numpy and pandas have for
that, where they are loaded.
"""

import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cerebelum_nb.codec import one_line

_DEEP: Final = 50
_MOST: Final = 10  # differences that are told
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, bytearray)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def differences(before: Any, now: Any, path: str = "the result") -> tuple[str, ...]:
    """Where two values differ, a line each; none where they are the same."""
    found: list[str] = []
    for line in _differ(before, now, path, 0):
        if len(found) == _MOST:
            return (*found, "and more")
        found.append(line)
    return tuple(found)


def _differ(before: Any, now: Any, path: str, depth: int) -> Iterator[str]:
    if before is now:
        return
    mine, other = _kind(before), _kind(now)
    if mine != other:
        yield f"{path}: a {mine} then, a {other} now"
    elif depth > _DEEP:
        yield f"{path}: nested too deeply to be compared"
    elif (asserts := _helper(before)) is not None:
        yield from _by_helper(asserts, before, now, path)
    elif isinstance(before, _PLAIN):
        if before != now and not (before != before and now != now):  # noqa: PLR0124  NaN is the same as NaN
            yield _told(path, before, now)
    elif isinstance(before, Mapping):
        yield from _in_mapping(before, now, path, depth)
    elif isinstance(before, list | tuple):
        yield from _in_sequence(before, now, path, depth)
    else:
        yield from _in_object(before, now, path, depth)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.").removeprefix("__main__.")


def _told(path: str, before: Any, now: Any) -> str:
    return f"{path}: {_repr(before)} then, {_repr(now)} now"


def _repr(value: Any) -> str:
    try:
        return _short.repr(value)
    except Exception as exc:  # noqa: BLE001  the person's own __repr__ may do anything
        return f"<{_kind(value)} whose repr raised {type(exc).__name__}>"


def _in_mapping(before: Mapping[Any, Any], now: Mapping[Any, Any], path: str, depth: int) -> Iterator[str]:
    for key in before:
        if key not in now:
            yield f"{path}[{_repr(key)}]: not there now"
        else:
            yield from _differ(before[key], now[key], f"{path}[{_repr(key)}]", depth + 1)
    yield from (f"{path}[{_repr(key)}]: not there then" for key in now if key not in before)


def _in_sequence(before: Any, now: Any, path: str, depth: int) -> Iterator[str]:
    if len(before) != len(now):
        yield f"{path}: {len(before)} items then, {len(now)} now"
    for place, (mine, other) in enumerate(zip(before, now, strict=False)):
        yield from _differ(mine, other, f"{path}[{place}]", depth + 1)


def _in_object(before: Any, now: Any, path: str, depth: int) -> Iterator[str]:
    """A set or a person's object: by its own ``==``, else by what it holds."""
    try:
        if bool(before == now):
            return
    except Exception as exc:  # noqa: BLE001  the person's own __eq__ may do anything
        yield f"{path}: cannot be compared ({one_line(exc)})"
        return
    mine, other = getattr(before, "__dict__", None), getattr(now, "__dict__", None)
    if isinstance(before, type) or callable(before) or not isinstance(mine, dict) or not isinstance(other, dict):
        yield _told(path, before, now)
        return
    if not mine and not other and _says_equal(before):
        yield _told(path, before, now)
        return
    # Without an __eq__ of its own, or of another class of the same name: its attributes say what it is.
    found = list(_in_mapping(mine, other, f"{path}.__dict__", depth))
    if not found and _says_equal(before) and type(before) is type(now):
        found = [_told(path, before, now)]
    yield from found


def _says_equal(value: Any) -> bool:
    return any("__eq__" in vars(kind) for kind in type(value).__mro__ if kind is not object)


def _helper(value: Any) -> Callable[[Any, Any], None] | None:
    """What numpy or pandas compares such a value with."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if pandas is not None and (frame := getattr(pandas, "DataFrame", None)) is not None:
        kinds = ((frame, "frame"), (pandas.Series, "series"), (pandas.Index, "index"))
        for kind, name in kinds:
            if isinstance(value, kind):
                exact = {} if name == "index" else {"check_exact": True}
                asserted = getattr(pandas.testing, f"assert_{name}_equal")
                return lambda a, b: asserted(a, b, **exact)
    if numpy is not None and isinstance(value, getattr(numpy, "ndarray", ()) or ()):
        return lambda a, b: _same_arrays(numpy, a, b)
    if numpy is not None and isinstance(value, getattr(numpy, "generic", ()) or ()):
        return lambda a, b: _same_arrays(numpy, a, b)
    return None


def _same_arrays(numpy: Any, before: Any, now: Any) -> None:
    if before.dtype != now.dtype:
        raise AssertionError(f"dtype {before.dtype} then, {now.dtype} now")
    numpy.testing.assert_array_equal(now, before, strict=True)


def _by_helper(asserts: Callable[[Any, Any], None], before: Any, now: Any, path: str) -> Iterator[str]:
    try:
        asserts(before, now)
    except AssertionError as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        yield f"{path}: {'; '.join(lines)[:300]}"
    except Exception as exc:  # noqa: BLE001  objects inside may do anything
        yield f"{path}: cannot be compared ({one_line(exc)})"
