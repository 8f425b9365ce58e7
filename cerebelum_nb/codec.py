"""Values to bytes and back, with the same types: typed JSON first, numpy raw, pickle last.

``json`` holds plain values as they are; ``json+`` also holds tuples, bytes and other things JSON has no word for, as
``{"$tuple": [...]}``. Only exact builtin types go this way, so that a value comes back as what it was.
"""

import base64
import contextlib
import hashlib
import io
import math
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from cerebelum_nb.errors import WireError

_DEEP = 200  # levels of nesting that the JSON way takes; pickle takes more, up to its own limit
_INT64 = range(-(2**63), 2**63)
_AS_IS = frozenset({str, bool, type(None)})
_dumps, _loads = msgspec.json.encode, msgspec.json.decode


class _NotPlain(Exception):
    """A value that typed JSON does not hold."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes.

    Attributes:
        codec: How to read it: ``json``, ``json+``, ``numpy`` or ``pickle``.
    """

    codec: str
    data: bytes

    @property
    def nbytes(self) -> int:
        """Size of the data."""
        return len(self.data)

    def digest(self) -> str:
        """SHA-256 of the data, hex. Computed on each call: about 1 s per GB."""
        return hashlib.sha256(self.data).hexdigest()


def encode(value: Any, what: str = "value") -> Encoded:
    """Turn a value into bytes.

    Args:
        what: How to call the value in an error: ``result``.

    Raises:
        WireError: Something in it cannot be sent; names the path and the type.
    """
    if (numpy := sys.modules.get("numpy")) is not None and type(value) is getattr(numpy, "ndarray", None):
        if not value.dtype.hasobject:
            return Encoded("numpy", _numpy_bytes(numpy, value))
    else:
        try:
            tags: list[str] = []
            return Encoded(*_as_json(value, tags))
        except (_NotPlain, RecursionError, UnicodeEncodeError):
            pass  # lone surrogates, deep or cyclic containers and all other types: pickle knows
    return Encoded("pickle", _pickled(value, what))


def decode(codec: str, data: bytes | memoryview) -> Any:
    """Turn bytes back into the value. Read only what comes from an authenticated peer: a pickle can run code.

    Raises:
        WireError: The codec is unknown.
    """
    match codec:
        case "json":
            return _loads(data)
        case "json+":
            return _untagged(_loads(data))
        case "numpy":
            return _numpy_value(memoryview(data))
        case "pickle":
            return pickle.loads(data)  # noqa: S301  sealed by our own kernel or worker, checked before this
    raise WireError(f"a message is encoded as {codec!r}, which this version does not know. Use one version everywhere.")


# typed JSON ---------------------------------------------------------------------------------------------------------


def _as_json(value: Any, tags: list[str]) -> tuple[str, bytes]:
    plain = _tagged(value, tags, 0)
    return ("json+" if tags else "json"), _dumps(plain)


def _tagged(value: Any, tags: list[str], depth: int) -> Any:  # noqa: PLR0911  one case per type reads best
    kind = type(value)
    if kind in _AS_IS:
        return value
    if kind is int:
        return value if value in _INT64 else _tag("int", hex(value), tags)
    if kind is float:
        return value if math.isfinite(value) else _tag("float", repr(value), tags)
    if depth > _DEEP:
        raise _NotPlain
    if kind is list:
        return value if _flat(value) else [_tagged(item, tags, depth + 1) for item in value]
    if kind is dict:
        return _tagged_dict(value, tags, depth)
    if kind is tuple:
        return _tag("tuple", [_tagged(item, tags, depth + 1) for item in value], tags)
    if kind is bytes:
        return _tag("bytes", base64.b64encode(value).decode("ascii"), tags)
    raise _NotPlain


def _tag(name: str, value: Any, tags: list[str]) -> dict[str, Any]:
    tags.append(name)
    return {f"${name}": value}


def _tagged_dict(value: dict[Any, Any], tags: list[str], depth: int) -> Any:
    if not set(map(type, value)) <= {str}:
        raise _NotPlain
    items = {key: _tagged(item, tags, depth + 1) for key, item in value.items()}
    if len(items) == 1 and next(iter(items)).startswith("$"):  # somebody's own key that looks like a tag
        return _tag("dict", list(items.items()), tags)
    return items


def _flat(values: list[Any]) -> bool:
    """A long list of one kind of number or text needs no look at each item from Python."""
    kinds = set(map(type, values))
    if kinds <= _AS_IS:
        return True
    if kinds == {int}:
        return min(values) in _INT64 and max(values) in _INT64
    return kinds == {float} and all(map(math.isfinite, values))


def _untagged(value: Any) -> Any:  # noqa: PLR0911  one case per tag reads best
    if type(value) is list:
        return [_untagged(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        match key:
            case "$tuple":
                return tuple(_untagged(part) for part in item)
            case "$bytes":
                return base64.b64decode(item)
            case "$int":
                return int(item, 16)
            case "$float":
                return float(item)
            case "$dict":
                return {name: _untagged(part) for name, part in item}
    return {key: _untagged(item) for key, item in value.items()}


# numpy --------------------------------------------------------------------------------------------------------------


def _numpy_bytes(numpy: Any, array: Any) -> bytes:
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    head = _dumps([numpy.lib.format.dtype_to_descr(array.dtype), array.shape, "F" if fortran else "C"])
    return b"".join((len(head).to_bytes(4, "big"), head, array.tobytes("F" if fortran else "C")))


def _numpy_value(data: memoryview) -> Any:
    import numpy as np  # noqa: PLC0415  only a process that gets an array pays for it

    end = 4 + int.from_bytes(data[:4], "big")
    descr, shape, order = _loads(data[4:end])
    dtype = np.lib.format.descr_to_dtype(_descr_tuples(descr))
    flat = np.frombuffer(data[end:], dtype=np.uint8).copy()  # the person's own, writable, aligned
    return np.ndarray(shape, dtype, flat, order=order)


def _descr_tuples(descr: Any) -> Any:
    """JSON made lists of the tuples in a structured dtype's description."""
    if not isinstance(descr, list):
        return descr
    return [(field[0], _descr_tuples(field[1]), *(tuple(shape) for shape in field[2:])) for field in descr]


# pickle -------------------------------------------------------------------------------------------------------------


def pickled(value: Any) -> bytes:
    """A value as cloudpickle has it. Raises whatever its classes raise, sys.exit included."""
    file = io.BytesIO()
    _pickler()(file, protocol=5).dump(value)
    return file.getvalue()


@cache
def _pickler() -> Any:
    import cloudpickle  # noqa: PLC0415  not needed for plain values

    tables = cloudpickle.Pickler.dispatch_table
    standard = tables[io.TextIOWrapper]

    def refuse(file: Any) -> Any:
        if file is sys.stdout or file is sys.stderr:
            return standard(file)
        raise TypeError("an open file stays in its process")  # cloudpickle would make it a StringIO

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        dispatch_table = tables.new_child({io.TextIOWrapper: refuse})

    return Pickler


def _pickled(value: Any, what: str) -> bytes:
    try:
        return pickled(value)
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
        for _ in range(_DEEP):
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
