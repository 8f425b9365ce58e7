"""What travels instead of a large value, sealed: where it is."""

from typing import Final

import msgspec

from cerebelum_nb.codec import one_line
from cerebelum_nb.errors import WireError

SHARED: Final = "shared"  # the codec of what is in a segment as a whole
LENT: Final = "lent"  # and of arguments of which some are
BASED: Final = "based"  # and of all arguments where large values are in storage


class Where(msgspec.Struct, frozen=True, array_like=True):
    """Where a value's parts are: what travels instead of it, sealed."""

    folder: int
    name: str
    codec: str
    pieces: tuple[tuple[int, int], ...]  # start and size: of the head, then of the buffers

    @property
    def nbytes(self) -> int:
        """Size of the value."""
        return sum(size for _, size in self.pieces)


class Lent(msgspec.Struct, frozen=True, array_like=True):
    """Arguments of which some are in segments."""

    codec: str
    body: bytes
    places: tuple[tuple[str, str | int, Where], ...]  # "args", 0 or "kwargs", "name"


class Based(msgspec.Struct, frozen=True, array_like=True):
    """Arguments, and where a large result of theirs goes: a folder that `storage` opens."""

    url: str
    large_nbytes: int
    codec: str
    body: bytes


def where_of(data: bytes | memoryview) -> Where:
    """A descriptor.

    Raises:
        WireError: It is none.
    """
    try:
        return msgspec.msgpack.decode(data, type=Where)
    except msgspec.DecodeError as exc:
        raise WireError(f"a descriptor of {len(data)} bytes cannot be read: {one_line(exc)}") from None
