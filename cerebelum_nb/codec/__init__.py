"""Values to bytes and back, with the same types: typed JSON, raw arrays and Arrow's stream; pickle last.

A value is taken apart into a head and buffers that stand beside it: numpy's arrays, Arrow's tables, long bytes, and
what pickle 5 leaves outside. They travel in one piece, or in shared memory where they are large.

``json`` holds plain values as they are; ``json+`` also what JSON has no word for. Both are read without running
anything. ``pickle`` holds all that is left. ``parts`` and ``pickle5`` are these with their buffers, in one piece.
"""

import hashlib
import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final

import msgspec

from cerebelum_nb.codec import arrays, plain
from cerebelum_nb.codec.known import NotPlain
from cerebelum_nb.codec.pickling import a_kind_of, find_unpicklable, one_line, picklable, pickled, taken_apart
from cerebelum_nb.errors import PayloadRejected, WireError

LARGE_NBYTES: Final = 1 << 20  # what is larger goes by reference, where nobody says otherwise

__all__ = [
    "LARGE_NBYTES",
    "Encoded",
    "Large",
    "Parts",
    "a_kind_of",
    "apart",
    "decode",
    "encode",
    "find_unpicklable",
    "one_line",
    "picklable",
    "pickled",
    "together",
    "whole",
]

_INT64 = 2**63
_dumps, _loads = msgspec.json.encode, msgspec.json.decode
_IN_ONE_PIECE = {"json+": "parts", "pickle": "pickle5"}
_IN_PARTS = {name: codec for codec, name in _IN_ONE_PIECE.items()}


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A value as bytes.

    Attributes:
        codec: How to read it: ``json``, ``json+``, ``parts``, ``pickle`` or ``pickle5``.
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


@dataclass(frozen=True, slots=True)
class Parts:
    """A value taken apart. Its buffers are the value's own memory: nothing was copied.

    Attributes:
        codec: How to read the head: ``json``, ``json+`` or ``pickle``.
    """

    codec: str
    head: bytes
    buffers: Sequence[memoryview]

    @property
    def nbytes(self) -> int:
        """Size of all of it."""
        return len(self.head) + sum(buffer.nbytes for buffer in self.buffers)

    def in_one_piece(self) -> Encoded:
        """The same as bytes; copies the buffers."""
        if not self.buffers:
            return Encoded(self.codec, self.head)
        sizes = [len(self.head), *(buffer.nbytes for buffer in self.buffers)]
        index = struct.pack(f">I{len(sizes)}Q", len(sizes), *sizes)
        return Encoded(_IN_ONE_PIECE[self.codec], b"".join((index, self.head, *self.buffers)))


class Large:
    """A value that lies in shared memory until somebody reads it.

    Args:
        codec: Of its head.
        pieces: Gives its head and its buffers.
        nbytes: Size of all of it.
        where: What others find it by.
        home: Who has put it there.

    Attributes:
        pieces: The same; replaced by whoever moves it.
    """

    __slots__ = ("__weakref__", "codec", "home", "nbytes", "pieces", "where")

    def __init__(
        self, codec: str, pieces: Callable[[], Sequence[memoryview]], nbytes: int, where: Any, home: Any = None
    ) -> None:
        self.codec, self.pieces, self.nbytes, self.where, self.home = codec, pieces, nbytes, where, home

    def open(self) -> Any:
        """The value; its arrays lie in the shared memory, and cannot be written to.

        Raises:
            WireError: It is gone.
        """
        head, *buffers = self.pieces()
        return together(self.codec, head, buffers)

    def in_one_piece(self) -> Encoded:
        """The value as bytes, without reading it."""
        head, *buffers = self.pieces()
        return Parts(self.codec, bytes(head), buffers).in_one_piece()

    def __reduce__(self) -> tuple[Any, ...]:
        encoded = self.in_one_piece()
        return decode, (encoded.codec, encoded.data)


def whole(value: Any) -> Any:
    """A value itself, wherever it lies."""
    return value.open() if type(value) is Large else value


def apart(value: Any, what: str = "value", levels: int = 0) -> Parts:
    """Take a value apart, without copying what is large in it.

    Args:
        what: How to call the value in an error: ``result``.
        levels: So many levels of it are parts that know nothing of each other: what two of them share may arrive twice.

    Raises:
        WireError: Something in it cannot be sent; names the path and the type.
    """
    try:
        return Parts(*plain.written(value, levels))
    except (NotPlain, RecursionError, UnicodeEncodeError):
        # Other types, lone surrogates, containers that are deep, or that are in it twice or in themselves: pickle knows
        return Parts("pickle", *taken_apart(value, what))


def together(codec: str, head: bytes | memoryview, buffers: Sequence[Any], *, safe_only: bool = False) -> Any:
    """The value of parts. Its arrays lie over the buffers, and can be written to if these can.

    Raises:
        PayloadRejected: Only pickle could read it, or it is damaged; only raised with `safe_only`.
        WireError: The codec is unknown.
    """
    if safe_only:
        return _safely(lambda: _together(codec, head, buffers, safe_only=True))
    return _together(codec, head, buffers, safe_only=False)


def _together(codec: str, head: bytes | memoryview, buffers: Sequence[Any], *, safe_only: bool) -> Any:
    if codec in ("json", "json+"):
        return plain.read(codec, head, buffers, safe_only=safe_only)
    if codec == "pickle" and not safe_only:
        return pickle.loads(head, buffers=buffers)  # noqa: S301  from our own kernel or worker, checked before this
    raise _not_read(codec)


def encode(
    value: Any, what: str = "value", levels: int = 0, put: Callable[[Parts, str], Encoded | None] | None = None
) -> Encoded:
    """Turn a value into bytes; see `apart`.

    Args:
        put: Asked first whether it takes the parts somewhere else, and what says where.

    Raises:
        WireError: Something in it cannot be sent; names the path and the type.
    """
    kind = type(value)
    if kind is Large:
        found: Encoded = value.in_one_piece()
        return found
    if kind is NoneType or kind is bool or (kind is int and -_INT64 <= value < _INT64):
        return Encoded("json", _dumps(value))  # what most steps give, in a third of the time
    parts = apart(value, what, levels)
    return (put(parts, what) if put is not None else None) or parts.in_one_piece()


def decode(codec: str, data: bytes | memoryview, *, safe_only: bool = False) -> Any:
    """Turn bytes back into the value: the caller's own, which can be written to.

    Args:
        safe_only: The bytes come from somebody who is not trusted: nothing in them may run code. Without it, read
            only what comes from an authenticated peer.

    Raises:
        PayloadRejected: Only pickle could read it, or it is damaged; only raised with `safe_only`.
        WireError: The codec is unknown.
    """
    if codec == "json" and not safe_only:
        return _loads(data)
    if safe_only:
        return _safely(lambda: _decode(codec, data, safe_only=True))
    return _decode(codec, data, safe_only=False)


def _decode(codec: str, data: bytes | memoryview, *, safe_only: bool) -> Any:
    if codec == "numpy":
        return arrays.kept_before(memoryview(data))
    inner = _IN_PARTS.get(codec)
    if inner is None or (safe_only and inner == "pickle"):
        return _together(codec, data, (), safe_only=safe_only)
    head, *buffers = _cut(memoryview(data))
    return _together(inner, head, [bytearray(buffer) for buffer in buffers], safe_only=safe_only)


def _safely(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except WireError:
        raise
    except Exception as exc:  # whatever a hostile value makes of our readers
        raise PayloadRejected(f"a value that was to be read without pickle is damaged: {one_line(exc)}") from exc


def _cut(data: memoryview) -> list[memoryview]:
    """The pieces of what `in_one_piece` has made."""
    (count,) = struct.unpack_from(">I", data)
    sizes = struct.unpack_from(f">{count}Q", data, 4)
    pieces, start = [], 4 + 8 * count
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    if start != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes where {start} were announced")
    return pieces


def _not_read(codec: str) -> WireError:
    if codec in ("pickle", "pickle5"):
        return PayloadRejected(
            "a value came as a pickle, which can run code, from a place that is not trusted. Return plain data, numpy "
            "arrays or Arrow tables there, or run the step in a trusted pool."
        )
    return WireError(
        f"a message is encoded as {codec!r}, which this version does not know. Use one version everywhere."
    )
