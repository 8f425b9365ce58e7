"""Large values as a worker takes and gives them: in memory that it shares with the kernel and the other workers."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from cerebelum_nb.codec import LARGE_NBYTES, Encoded, Parts, decode
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.segments import LENT, SHARED, Lent, Segments, where_of


class Shared:
    """Segments as a worker uses them; where it has none, everything goes over the line.

    Args:
        folders: None where values must not be shared.
        large_nbytes: What is larger is put there.
    """

    def __init__(self, folders: Sequence[Path] = (), large_nbytes: int = LARGE_NBYTES) -> None:
        self._large_nbytes = large_nbytes
        self._segments = Segments(folders, f"w{os.getpid()}", keeps=True) if folders else None

    def put(self, parts: Parts, what: str) -> Encoded | None:
        """A large value as its descriptor; None where it goes as it is.

        Raises:
            WireError: There is no room for it.
        """
        if self._segments is None or parts.nbytes <= self._large_nbytes:
            return None
        return Encoded(SHARED, msgspec.msgpack.encode(self._segments.put(parts, what)))

    def settle(self) -> None:
        """An attempt has ended: what it was given can be used again, as far as nothing kept it."""
        if self._segments is not None:
            self._segments.settle()

    def decode(self, codec: str, data: bytes | memoryview) -> Any:
        """The arguments of a step: args, kwargs, fields and the place of the context.

        Raises:
            WireError: Some of them are not there.
        """
        if codec not in (LENT, SHARED):
            return decode(codec, data)
        if self._segments is None:
            raise WireError("arguments came by reference to a worker that shares no memory: use one version everywhere")
        if codec == SHARED:
            return self._segments.value(where_of(data))
        lent = msgspec.msgpack.decode(data, type=Lent)
        given = self.decode(lent.codec, lent.body)
        groups = {"args": given[0], "kwargs": given[1], "fields": given[2]}
        for place, key, where in lent.places:
            groups[place][key] = self._segments.value(where)
        return given
