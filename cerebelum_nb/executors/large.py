"""Large values as the kernel handles them: it knows who needs which segment, and reads none unless somebody asks.

A result that is in a segment stays there: a `codec.Large` stands for it, and other workers get its descriptor. The
segment is free again when nothing refers to that any more. What a worker left that died, or that nobody waited for, is
found by its owner's pid in its name. Before Core ends, what is still needed is mapped here, so that it outlives it.
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.codec import Encoded, Large, Parts, apart
from cerebelum_nb.executors.core_process import in_thread
from cerebelum_nb.protocols import Attempt
from cerebelum_nb.wire.segments import LENT, SHARED, Lent, Segments, Where, where_of

FREE_NBYTES: Final = 1 << 30  # of free segments that are kept for what comes
IDLE_S: Final = 30.0  # and for so long
LOOK_S: Final = 5.0
_Place = tuple[str, str | int, Where]  # where a large value belongs, and where it is
_MAPPED_MOST: Final = 200  # values that are mapped when Core ends; the others are copied: each takes a descriptor


class Ready:
    """Arguments on their way, and what must not be freed before they have arrived.

    Attributes:
        encoded: What is sent.
    """

    __slots__ = ("_kept", "encoded")

    def __init__(self, encoded: Encoded, kept: Any) -> None:
        self.encoded, self._kept = encoded, kept


class Waiting:
    """Arguments of which some are large. `ready` copies them; call it in a thread."""

    __slots__ = ("_kept", "_large", "_lent", "_parts", "_what")

    def __init__(self, large: "LargeValues", parts: Parts, lent: tuple[Any, ...], kept: list[Large], what: str) -> None:
        self._large, self._parts, self._lent, self._kept, self._what = large, parts, lent, kept, what

    def ready(self) -> Ready:
        """The arguments as they are sent.

        Raises:
            WireError: There is no room for them.
        """
        kept = [*self._kept]
        if self._parts.nbytes > self._large.large_nbytes:
            where = self._large.segments.put(self._parts, self._what)
            kept.append(self._large.kept(where))
            encoded = Encoded(SHARED, msgspec.msgpack.encode(where))
        else:
            encoded = self._parts.in_one_piece()
        if self._lent:
            encoded = Encoded(LENT, msgspec.msgpack.encode(Lent(encoded.codec, encoded.data, self._lent)))
        return Ready(encoded, kept)


class LargeValues:
    """The large values of one link. On its loop, where nothing else is said.

    Args:
        folders: Where Core's segments are.
        large_nbytes: What is larger is put there.
        busy: Whether anything may be on its way here.
    """

    def __init__(self, folders: Iterable[Path], large_nbytes: int, busy: Callable[[], bool]) -> None:
        self.segments, self.large_nbytes = Segments(tuple(folders), "k"), large_nbytes
        self._busy, self._loop = busy, asyncio.get_running_loop()
        self._living: weakref.WeakValueDictionary[str, Large] = weakref.WeakValueDictionary()
        self._looks = False

    # to workers ----------------------------------------------------------------------------------------------------

    def arguments(self, attempt: Attempt, fields: dict[str, Any] | None, what: str) -> Encoded | Waiting:
        """What a step is called with; as bytes where nothing of it is large.

        Raises:
            WireError: Something in it cannot be sent.
        """
        args, kwargs, lent, kept = list(attempt.args), dict(attempt.kwargs), list[_Place](), list[Large]()
        for place, arg in enumerate(attempt.args):  # on the way of every attempt
            if type(arg) is Large:
                args[place] = self._lend(arg, ("args", place), lent, kept)
        for name, arg in attempt.kwargs.items():
            if type(arg) is Large:
                kwargs[name] = self._lend(arg, ("kwargs", name), lent, kept)
        if fields is not None and type(fields.get("inputs")) is Large:
            fields["inputs"] = self._lend(fields["inputs"], ("fields", "inputs"), lent, kept)
        parts = apart([args, kwargs, fields, attempt.context_at, *(attempt.after or ())], what, 2)
        if not lent and not parts.buffers and len(parts.head) <= self.large_nbytes:
            return Encoded(parts.codec, parts.head)
        if lent or parts.nbytes > self.large_nbytes:
            return Waiting(self, parts, tuple(lent), kept, what)
        return parts.in_one_piece()

    def _lend(self, value: Large, place: tuple[str, str | int], lent: list[_Place], kept: list[Large]) -> Any:
        """What is sent in the place of a large value: nothing; or itself, if it is of a Core that has ended."""
        if value is not self._living.get(value.where.name):
            return value.open()
        lent.append((*place, value.where))
        kept.append(value)
        return None

    def kept(self, where: Where) -> Large:
        """What stands for a value in a segment of ours; the segment is free when nobody has it any more."""
        large = Large(where.codec, lambda: self.segments.pieces(where), where.nbytes, where)
        weakref.finalize(large, self.segments.release, where.folder, where.name).atexit = False
        self._living[where.name] = large
        self._loop.call_soon_threadsafe(self._look_soon)
        return large

    # from workers --------------------------------------------------------------------------------------------------

    def received(self, data: bytes | memoryview) -> Large:
        """A result that a worker has put into a segment.

        Raises:
            WireError: It is not there.
        """
        where = where_of(data)
        self.segments.check(where)
        return self.kept(where)

    def left_by(self, pid: int) -> None:
        """A worker has ended; all that it has said was heard."""
        self._sweep(lambda owner: owner == f"w{pid}")

    def _sweep(self, whose: Callable[[str], bool]) -> None:
        for folder, name, owner in self.segments.used():
            if whose(owner) and name not in self._living:
                self.segments.release(folder, name)

    # after use -----------------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        if not self._looks:
            self._looks = True
            self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        """Give memory back that nobody has used for a while."""
        if not self._busy():  # what workers have filled and nobody has heard of is nobody's
            self._sweep(lambda owner: owner != "k")
        task = self._loop.create_task(in_thread(self._tidied))
        task.add_done_callback(self._looked)

    def _looked(self, task: "asyncio.Task[bool]") -> None:
        self._looks = False
        if not task.cancelled() and task.exception() is None and task.result():
            self._look_soon()

    def _tidied(self) -> bool:
        """Whether there is something left to look after."""
        for folder in range(len(self.segments.folders)):
            self.segments.trim(folder, FREE_NBYTES, time.time() - IDLE_S)
        return self.segments.any()

    def outlive(self) -> None:
        """Core ends, and its segments with it: take over what somebody still refers to. In a thread."""
        for count, large in enumerate(list(self._living.values())):
            try:
                pieces = self.segments.pieces(large.where)
            except Exception:  # noqa: BLE001, S112  it is gone; who reads it is told
                continue
            if count >= _MAPPED_MOST:
                pieces = [memoryview(bytes(piece)) for piece in pieces]
            large.pieces = _giving(pieces)
        self._living.clear()


def _giving(pieces: list[memoryview]) -> Callable[[], list[memoryview]]:
    return lambda: pieces
