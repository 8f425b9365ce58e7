"""Typed JSON: plain values as they are, everything else that it knows as ``{"$tuple": [...]}``.

Only exact types go this way, so that a value comes back as what it was. What reads it never runs code of the value's:
at most it imports the module of an enumeration, and a reader that trusts nobody not even that.
"""

import base64
import datetime as dt
import decimal
import enum
import importlib
import math
import pathlib
import sys
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

import msgspec

from cerebelum_nb.codec import arrays
from cerebelum_nb.codec.known import NotPlain, Reading, Writing
from cerebelum_nb.errors import PayloadRejected

DEEP: Final = 200  # levels of nesting; pickle takes more, up to its own limit
APART_NBYTES: Final = 4096  # longer bytes stand beside the JSON, as they are
_INT64: Final = range(-(2**63), 2**63)
_PATHS: Final = (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath)
FORMATS: Final = frozenset("cbB?hHiIlLqQnNfd")  # that a view of bytes can be made one of
_AS_IS: Final = frozenset({str, bool, type(None)})
_dumps, _loads = msgspec.json.encode, msgspec.json.decode


def written(value: Any, apart: int = 0) -> tuple[str, bytes, list[memoryview]]:
    """A value as ``json`` or ``json+``, and what stands beside it.

    Args:
        apart: So many levels are parts that know nothing of each other: what two of them share is written twice.

    Raises:
        NotPlain: Something in it has no word here, or two places share one list or dict, which would be two.
        RecursionError: It is nested too deeply.
        UnicodeEncodeError: A text has lone surrogates.
    """
    to = Writing(apart, _tagged)
    plain = _tagged(value, to, 0)
    return ("json+" if to.tagged else "json"), _dumps(plain), to.buffers


def read(codec: str, head: bytes | memoryview, buffers: Sequence[Any], *, safe_only: bool) -> Any:
    """The value again.

    Args:
        safe_only: It comes from somebody who is not trusted: nothing is imported.

    Raises:
        PayloadRejected: It would need more than that.
    """
    plain = _loads(head)
    return plain if codec == "json" else _untagged(plain, Reading(buffers, safe_only, _untagged))


# writing ------------------------------------------------------------------------------------------------------------


def _tagged(value: Any, to: Writing, depth: int) -> Any:  # noqa: PLR0911  one case per type reads best
    kind = type(value)
    if kind in _AS_IS:
        return value
    if kind is int:
        return value if value in _INT64 else to.tag("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else to.tag("float", repr(value))
    if depth > DEEP:
        raise NotPlain
    if kind is dict:
        to.enter(value, depth)
        return _tagged_dict(value, to, depth)
    if kind is list:
        to.enter(value, depth)
        return value if _flat(value) else [_tagged(item, to, depth + 1) for item in value]
    write = _WRITE.get(kind)
    if write is not None:
        return write(value, to, depth)
    if issubclass(kind, enum.Enum):
        return _enum(value, to)
    if kind is getattr(sys.modules.get("fractions"), "Fraction", None):
        return _fraction(value, to)
    return arrays.written(value, to, depth)


def _tagged_dict(value: dict[Any, Any], to: Writing, depth: int) -> Any:
    if not set(map(type, value)) <= {str}:
        return to.tag("items", [_two(pair, to, depth) for pair in value.items()])
    items = {key: _tagged(item, to, depth + 1) for key, item in value.items()}
    if len(items) == 1 and next(iter(items)).startswith("$"):  # somebody's own key that looks like a tag
        return to.tag("dict", list(items.items()))
    return items


def _fraction(value: Any, to: Writing) -> Any:
    try:
        return to.tag("fraction", str(value))
    except ValueError:  # it has more digits than Python writes
        raise NotPlain from None


def _two(pair: tuple[Any, Any], to: Writing, depth: int) -> list[Any]:
    return [_tagged(pair[0], to, depth + 1), _tagged(pair[1], to, depth + 1)]


def _flat(values: list[Any]) -> bool:
    """A long list of one kind of number or text needs no look at each item from Python."""
    kinds = set(map(type, values))
    if kinds <= _AS_IS:
        return True
    if kinds == {int}:
        return min(values) in _INT64 and max(values) in _INT64
    return kinds == {float} and all(map(math.isfinite, values))


def _items(name: str, *, shared: bool = False) -> Callable[[Any, Writing, int], Any]:
    def write(value: Any, to: Writing, depth: int) -> Any:
        if not shared:
            to.enter(value, depth)
        return to.tag(name, [_tagged(item, to, depth + 1) for item in value])

    return write


def _bytes(value: bytes, to: Writing, _: int) -> Any:
    if len(value) > APART_NBYTES:
        return to.tag("raw", to.beside(memoryview(value)))
    return to.tag("bytes", base64.b64encode(value).decode("ascii"))


def _bytearray(value: bytearray, to: Writing, depth: int) -> Any:
    to.enter(value, depth)
    return to.tag("bytearray", to.beside(memoryview(value)))


def _memoryview(value: memoryview, to: Writing, depth: int) -> Any:
    to.enter(value, depth)
    if value.format not in FORMATS:
        raise NotPlain
    raw = memoryview(value.tobytes())  # also of one that leaves gaps
    return to.tag("memoryview", [to.beside(raw), value.format, list(value.shape or ()), value.readonly])


def viewed(data: Any, form: Any, shape: Sequence[int], readonly: bool) -> memoryview:  # noqa: FBT001  of a pickle, too
    """A view of bytes again, as it was."""
    view = memoryview(bytes(data) if readonly else bytearray(data))
    cast: Callable[..., memoryview] = view.cast
    return cast(form, tuple(shape)) if view.nbytes else cast(form)


def _complex(value: complex, to: Writing, depth: int) -> Any:
    return to.tag("complex", [_tagged(value.real, to, depth), _tagged(value.imag, to, depth)])


def _range(value: range, to: Writing, depth: int) -> Any:
    return to.tag("range", [_tagged(n, to, depth) for n in (value.start, value.stop, value.step)])


def _slice(value: slice, to: Writing, depth: int) -> Any:
    return to.tag("slice", [_tagged(part, to, depth + 1) for part in (value.start, value.stop, value.step)])


def _text(name: str, text: Callable[[Any], str]) -> Callable[[Any, Writing, int], Any]:
    return lambda value, to, _: to.tag(name, text(value))


def _datetime(value: dt.datetime, to: Writing, _: int) -> Any:
    return to.tag("datetime", [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value.tzinfo)])


def _time(value: dt.time, to: Writing, _: int) -> Any:
    return to.tag("time", [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value.tzinfo)])


def _timedelta(value: dt.timedelta, to: Writing, _: int) -> Any:
    return to.tag("timedelta", [value.days, value.seconds, value.microseconds])


def _zone(zone: dt.tzinfo | None) -> Any:
    if zone is None or zone is dt.UTC:
        return None if zone is None else "utc"
    if type(zone) is dt.timezone:
        delta, name = zone.utcoffset(None), zone.tzname(None)
        own = None if name == dt.timezone(delta).tzname(None) else name
        return [delta.days, delta.seconds, delta.microseconds, own]
    zoneinfo: Any = sys.modules.get("zoneinfo")
    key = getattr(zone, "key", None) if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo else None
    if not key:
        raise NotPlain
    return key


def _deque(value: deque[Any], to: Writing, depth: int) -> Any:
    to.enter(value, depth)
    return to.tag("deque", [[_tagged(item, to, depth + 1) for item in value], value.maxlen])


def _pairs(name: str) -> Callable[[Any, Writing, int], Any]:
    def write(value: Any, to: Writing, depth: int) -> Any:
        to.enter(value, depth)
        if vars(value):
            raise NotPlain
        return to.tag(name, [_two(pair, to, depth) for pair in value.items()])

    return write


def _enum(value: enum.Enum, to: Writing) -> Any:
    """A member that another process finds by its names."""
    kind = type(value)
    found = _found(sys.modules.get(kind.__module__), kind.__qualname__)
    if kind.__module__ == "__main__" or found is not kind or kind.__members__.get(value.name) is not value:
        raise NotPlain  # of a notebook, of a function, or several flags at once
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is not None and cloudpickle.list_registry_pickle_by_value():
        raise NotPlain  # its module may be one that is sent along
    return to.tag("enum", [kind.__module__, kind.__qualname__, value.name])


def _found(module: Any, path: str) -> Any:
    """What a module has under this path of classes; no property and no `__getattr__` is asked for it."""
    for name in path.split("."):
        module = vars(module).get(name) if isinstance(module, ModuleType | type) else None
    return module


_WRITE: Final[dict[type, Callable[[Any, Writing, int], Any]]] = {
    tuple: _items("tuple", shared=True),
    set: _items("set"),
    frozenset: _items("frozenset", shared=True),
    bytes: _bytes,
    bytearray: _bytearray,
    memoryview: _memoryview,
    complex: _complex,
    range: _range,
    slice: _slice,
    type(...): _text("ellipsis", lambda _: ""),
    dt.datetime: _datetime,
    dt.date: _text("date", dt.date.isoformat),
    dt.time: _time,
    dt.timedelta: _timedelta,
    decimal.Decimal: _text("decimal", str),
    uuid.UUID: _text("uuid", str),
    deque: _deque,
    OrderedDict: _pairs("ordered"),
    Counter: _pairs("counter"),
    **{kind: _text(f"path.{kind.__name__}", str) for kind in _PATHS},
}


# reading ------------------------------------------------------------------------------------------------------------


def _untagged(value: Any, of: Reading) -> Any:
    if type(value) is list:
        return [_untagged(item, of) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key[:1] == "$":
            read_one = _READ.get(key) or arrays.READ.get(key)
            if read_one is not None:
                return read_one(item, of)
    return {key: _untagged(item, of) for key, item in value.items()}


def _as_dict(item: Any, of: Reading) -> dict[Any, Any]:
    return {_untagged(key, of): _untagged(part, of) for key, part in item}


def _zoned(zone: Any) -> dt.tzinfo | None:
    if zone is None or zone == "utc":
        return None if zone is None else dt.UTC
    if isinstance(zone, str):
        import zoneinfo  # noqa: PLC0415  it looks for files

        return zoneinfo.ZoneInfo(zone)
    *parts, name = zone
    delta = dt.timedelta(*parts)
    return dt.timezone(delta) if name is None else dt.timezone(delta, name)


def _moment(kind: Any) -> Callable[[Any, Reading], Any]:
    return lambda item, _: kind.fromisoformat(item[0]).replace(tzinfo=_zoned(item[2]), fold=item[1])


def _member(item: Any, of: Reading) -> Any:
    module, path, name = item
    found = sys.modules.get(module)
    if found is None and not of.safe_only:
        found = importlib.import_module(module)
    kind = _found(found, path)
    if not isinstance(kind, enum.EnumMeta):
        raise PayloadRejected(f"a value is {path}.{name} of the module {module!r}, which is not known here")
    return kind[name]


def _path(kind: type[pathlib.PurePath]) -> Callable[[Any, Reading], Any]:
    return lambda item, _: kind(item)


def _all(item: Any, of: Reading) -> list[Any]:
    return [_untagged(part, of) for part in item]


_READ: Final[dict[str, Callable[[Any, Reading], Any]]] = {
    "$tuple": lambda item, of: tuple(_all(item, of)),
    "$bytes": lambda item, _: base64.b64decode(item),
    "$int": lambda item, _: int(item, 16),
    "$float": lambda item, _: float(item),
    "$dict": lambda item, of: {name: _untagged(part, of) for name, part in item},
    "$items": _as_dict,
    "$raw": lambda item, of: bytes(of.buffers[item]),
    "$bytearray": lambda item, of: bytearray(of.buffers[item]),
    "$memoryview": lambda item, of: viewed(of.buffers[item[0]], *item[1:]),
    "$set": lambda item, of: set(_all(item, of)),
    "$frozenset": lambda item, of: frozenset(_all(item, of)),
    "$complex": lambda item, of: complex(*_all(item, of)),
    "$range": lambda item, of: range(*_all(item, of)),
    "$slice": lambda item, of: slice(*_all(item, of)),
    "$ellipsis": lambda _item, _of: ...,
    "$datetime": _moment(dt.datetime),
    "$time": _moment(dt.time),
    "$date": lambda item, _: dt.date.fromisoformat(item),
    "$timedelta": lambda item, _: dt.timedelta(*item),
    "$decimal": lambda item, _: decimal.Decimal(item),
    "$fraction": lambda item, _: importlib.import_module("fractions").Fraction(*map(int, item.split("/"))),
    "$uuid": lambda item, _: uuid.UUID(item),
    "$deque": lambda item, of: deque(_all(item[0], of), item[1]),
    "$ordered": lambda item, of: OrderedDict(_as_dict(item, of)),
    "$counter": lambda item, of: Counter(_as_dict(item, of)),
    "$enum": _member,
    **{f"$path.{kind.__name__}": _path(kind) for kind in _PATHS},
}
