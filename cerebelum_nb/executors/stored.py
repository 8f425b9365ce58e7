"""Large values of a Core that others serve: in storage that both sides reach, where there is any."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from cerebelum_nb.codec import Encoded
from cerebelum_nb.executors.large import LargeValues
from cerebelum_nb.wire.lent import BASED, Based
from cerebelum_nb.wire.segments import Segments
from cerebelum_nb.wire.storage import Storage

if TYPE_CHECKING:
    from cerebelum_nb.executors.core_process import CoreProcess
    from cerebelum_nb.executors.core_served import ServedCore


class StoredValues(LargeValues):
    """The large values of one link that are in storage; each goes when nobody needs it, and all in the end.

    Args:
        storage: This session's.
    """

    def __init__(self, storage: Storage, large_nbytes: int, busy: Callable[[], bool]) -> None:
        super().__init__(storage, large_nbytes, busy)
        self.based = functools.partial(_say_where, storage.url, large_nbytes)

    def outlive(self) -> None:
        """Core is gone, and the values are where they were."""
        self._remembered.forget()


def _say_where(url: str, large_nbytes: int, body: Encoded) -> Encoded:
    return Encoded(BASED, msgspec.msgpack.encode(Based(url, large_nbytes, body.codec, body.data)))


def large_values(process: "CoreProcess | ServedCore", busy: Callable[[], bool]) -> LargeValues | None:
    """Where large values of a link are; None where they go over the line."""
    if process.segments:
        return LargeValues(Segments(process.segments, "k"), process.large_nbytes, busy)
    if process.storage is not None:
        return StoredValues(process.storage, process.large_nbytes, busy)
    return None
