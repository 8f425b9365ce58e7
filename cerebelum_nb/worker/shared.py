"""Large values as a worker takes and gives them: in memory that it shares with the kernel and the other workers."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from typing import Any, Final

import msgspec

from cerebelum_nb.codec import LARGE_NBYTES, Encoded, Parts, decode
from cerebelum_nb.errors import NoRoom, WireError
from cerebelum_nb.wire.lent import BASED, LENT, SHARED, Based, Lent, where_of
from cerebelum_nb.wire.segments import Segments
from cerebelum_nb.wire.storage import Storage

_TRY_S: Final = 0.25  # how often it is looked for room


class Shared:
    """Segments as a worker uses them; where it has none, everything goes over the line.

    Args:
        folders: None where values must not be shared.
        large_nbytes: What is larger is put there.

    Attributes:
        waits: Told what there is no room for; and nothing, when there is.
    """

    def __init__(self, folders: Sequence[Path] = (), large_nbytes: int = LARGE_NBYTES) -> None:
        self._large_nbytes = large_nbytes
        self.waits: Callable[[str], object] = len
        self._segments = Segments(folders, f"w{os.getpid()}", keeps=True) if folders else None
        self._values: Segments | Storage | None = self._segments  # where those of the attempt that runs are
        self._values_nbytes = large_nbytes
        self._storage: Storage | None = None  # the last one

    def put(self, parts: Parts, what: str) -> Encoded | None:
        """A large value as its descriptor; None where it goes as it is.

        Where there is no room it waits for some, until the attempt is stopped: what has been computed is not lost.

        Raises:
            WireError: It cannot be written where it belongs.
        """
        if self._values is None or parts.nbytes <= self._values_nbytes:
            return None
        waits = False
        while True:
            try:
                where = self._values.put(parts, what)
            except NoRoom as exc:
                if not waits:
                    self.waits(str(exc))
                    waits = True
                sleep(_TRY_S)
                continue
            if waits:
                self.waits("")
            return Encoded(SHARED, msgspec.msgpack.encode(where))

    def settle(self) -> None:
        """An attempt has ended: what it was given can be used again, as far as nothing kept it."""
        if self._segments is not None:
            self._segments.settle()

    def decode(self, codec: str, data: bytes | memoryview) -> Any:
        """The arguments of a step: args, kwargs, fields and the place of the context.

        Raises:
            WireError: Some of them are not there.
        """
        if codec == BASED:
            based = msgspec.msgpack.decode(data, type=Based)
            self._values, self._values_nbytes = self._stored(based.url), based.large_nbytes
            codec, data = based.codec, based.body
        elif self._values is not self._segments:
            self._values, self._values_nbytes = self._segments, self._large_nbytes
        return self._decode(codec, data)

    def _stored(self, url: str) -> Storage:
        if self._storage is None or self._storage.url != url:
            self._storage = Storage(url)
        return self._storage

    def _decode(self, codec: str, data: bytes | memoryview) -> Any:
        if codec not in (LENT, SHARED):
            return decode(codec, data)
        if self._values is None:
            raise WireError("arguments came by reference to a worker that shares no memory: use one version everywhere")
        if codec == SHARED:
            return self._values.value(where_of(data))
        lent = msgspec.msgpack.decode(data, type=Lent)
        given = self._decode(lent.codec, lent.body)
        groups = {"args": given[0], "kwargs": given[1], "fields": given[2]}
        for place, key, where in lent.places:
            groups[place][key] = self._values.value(where)
        return given
