"""Large values as the kernel handles them: it knows who needs which segment, and reads none unless somebody asks.

A result that is in a segment stays there: a `codec.Large` stands for it, and other workers get its descriptor. The
segment is free again when nothing refers to that any more. What a worker left that died, or that nobody waited for, is
found by its owner's pid in its name. Before Core ends, what is still needed is mapped here, so that it outlives it.

An argument that is large goes into a segment of its own and stays there for a while: who gets the same value next gets
the same segment. When a large value was seen, another segment is made ready for the next one, once nobody is at work.
"""

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cerebelum_nb.codec import Encoded, Large, Parts, apart
from cerebelum_nb.executors.core_process import in_thread
from cerebelum_nb.executors.remembered import REMEMBERED_S, Remembered
from cerebelum_nb.protocols import Attempt
from cerebelum_nb.wire.lent import LENT, SHARED, Lent, Where, where_of
from cerebelum_nb.wire.segments import Segments, size_of

if TYPE_CHECKING:
    from cerebelum_nb.wire.storage import Storage

FREE_NBYTES: Final = 1 << 30  # of free segments that are kept for what comes
IDLE_S: Final = 30.0  # and for so long
LOOK_S: Final = 5.0
PREPARE_S: Final = 0.2  # so long after a large value one is made ready for the next
PREPARED_NBYTES: Final = 512 << 20  # if it is no larger
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
    """Arguments of which some are large. `ready` copies what is in no segment yet; call it in a thread.

    Args:
        call: Positional arguments, keywords, fields of the context, and what else goes with them.
        parts: The same, taken apart.
        lent: What of them is in segments.
    """

    __slots__ = ("_call", "_kept", "_large", "_lent", "_parts", "_what")

    def __init__(  # noqa: PLR0913, PLR0917  made in one place
        self, large: "LargeValues", call: list[Any], parts: Parts, lent: list[_Place], kept: list[Large], what: str
    ) -> None:
        self._large, self._call, self._parts, self._what = large, call, parts, what
        self._lent, self._kept = lent, kept

    def ready(self) -> Ready:
        """The arguments as they are sent. May be called again where it has failed.

        Raises:
            NoRoom: There is no room for them.
        """
        parts, most = self._parts, self._large.large_nbytes
        if parts.nbytes > most >= len(parts.head):  # arrays and tables, which are taken apart for nothing
            for group, key, value in list(_each(self._call)):
                one = apart(value, self._what)
                if one.nbytes > most:
                    self._lent.append((group, key, self._put(one)))
                    _groups(self._call)[group][key] = None
            parts = apart(self._call, self._what, 2)
        if parts.nbytes > most:  # many small ones, or what only pickle knows
            encoded = Encoded(SHARED, msgspec.msgpack.encode(self._put(parts)))
        else:
            encoded = parts.in_one_piece()
        if self._lent:
            encoded = Encoded(LENT, msgspec.msgpack.encode(Lent(encoded.codec, encoded.data, tuple(self._lent))))
        return Ready(encoded, self._kept)

    def _put(self, parts: Parts) -> Where:
        large = self._large.put(parts, self._what)
        self._kept.append(large)
        where: Where = large.where
        return where


def _groups(call: list[Any]) -> dict[str, Any]:
    return {"args": call[0], "kwargs": call[1], "fields": call[2]}


def _each(call: list[Any]) -> Iterator[tuple[str, str | int, Any]]:
    """What may be large by itself, and where it belongs."""
    for place, arg in enumerate(call[0]):
        yield "args", place, arg
    for name, arg in call[1].items():
        yield "kwargs", name, arg
    if call[2] is not None and "inputs" in call[2]:
        yield "fields", "inputs", call[2]["inputs"]


class LargeValues:
    """The large values of one link. On its loop, where nothing else is said.

    Args:
        segments: Core's.
        large_nbytes: What is larger is put there.
        busy: Whether anything may be on its way here.

    Attributes:
        others: Called where there is no room: somebody may hold what can be had elsewhere.
    """

    based: Callable[[Encoded], Encoded] | None = None  # says with all arguments where a large result goes

    def __init__(self, segments: "Segments | Storage", large_nbytes: int, busy: Callable[[], bool]) -> None:
        self.segments, self.large_nbytes = segments, large_nbytes
        self.others: Callable[[], object] = bool
        self._busy, self._loop = busy, asyncio.get_running_loop()
        self._remembered = Remembered(self.segments)
        self._adopted: weakref.WeakValueDictionary[str, Large] = weakref.WeakValueDictionary()  # by their first names
        self._looks = self._prepares = False
        self._seen = 0  # size of the last segment, where nothing was made ready for the next one
        self._making = threading.Lock()  # one ready, or giving all back

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
        call = [args, kwargs, fields, attempt.context_at, *attempt.follows]
        parts = apart(call, what, 2)
        if not lent and not parts.buffers and len(parts.head) <= self.large_nbytes:
            return Encoded(parts.codec, parts.head)
        if lent or parts.nbytes > self.large_nbytes:
            return Waiting(self, call, parts, lent, kept, what)
        return parts.in_one_piece()

    def _lend(self, value: Large, place: tuple[str, str | int], lent: list[_Place], kept: list[Large]) -> Any:
        """What is sent in the place of a large value: nothing; or itself, if it is of a Core that has ended."""
        if value is not self._remembered.get(value.where.name):
            adopted = self._adopted.get(value.where.name) or self._adopt(value)
            if adopted is None:
                return value.open()
            value = adopted
        lent.append((*place, value.where))
        kept.append(value)
        return None

    def _adopt(self, value: Large) -> Large | None:
        """Another Core's value as ours, if it lives on this machine."""
        if not isinstance(self.segments, Segments) or not isinstance(value.home, Segments):
            return None
        where = self.segments.adopt(value.home, value.where)
        if where is None:
            return None
        self._adopted[value.where.name] = adopted = self.kept(where)
        weakref.finalize(adopted, bool, value).atexit = False  # that one is not free before ours is
        return adopted

    def put(self, parts: Parts, what: str) -> Large:
        """A value in a segment: in the one that has it already, or in another one. In a thread.

        Raises:
            NoRoom: There is no room for it.
        """
        found = self._remembered.find(parts)
        if found is None:
            self._remembered.make_room(parts.nbytes)
            found = self.kept(self.segments.put(parts, what))
            self._remembered.sent(found)
        return found

    def kept(self, where: Where) -> Large:
        """What stands for a value in a segment of ours; the segment is free when nobody has it any more."""
        large = Large(where.codec, lambda: self.segments.pieces(where), where.nbytes, where, self.segments)
        weakref.finalize(large, self.segments.release, where.folder, where.name).atexit = False
        self._remembered.add(large)
        self._seen = size_of(where.name)
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
            if whose(owner) and name not in self._remembered:
                self.segments.release(folder, name)

    # after use -----------------------------------------------------------------------------------------------------

    def relieve(self) -> None:
        """There is no room: let go of what can be had again. From any thread."""
        self._remembered.forget()
        self.others()

    def free(self) -> int:
        """Give back to the system what nobody needs: so many bytes. From any thread but the loop's."""
        self._remembered.forget()
        with self._making:
            self._seen = 0
            return sum(self.segments.trim(folder, 0) for folder in range(len(self.segments.folders)))

    def _look_soon(self) -> None:
        if not self._prepares:
            self._prepares = True
            self._loop.call_later(PREPARE_S, self._prepare)
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

    def _prepare(self) -> None:
        """Make a segment ready for the next value, while nobody is at work; else when somebody looks again."""
        self._prepares = False
        if self._seen and not self._busy():
            task = self._loop.create_task(in_thread(self._prepared))
            task.add_done_callback(_heard)

    def _prepared(self) -> None:
        with self._making:
            nbytes, self._seen = self._seen, 0
            if 0 < nbytes <= PREPARED_NBYTES:
                self.segments.prepare(nbytes)

    def _tidied(self) -> bool:
        """Whether there is something left to look after."""
        self._remembered.forget(REMEMBERED_S)
        if self._seen and not self._busy():
            self._prepared()
        for folder in range(len(self.segments.folders)):
            self.segments.trim(folder, FREE_NBYTES, time.time() - IDLE_S)
        return any(self.segments.held()) or any(self._remembered)

    def outlive(self) -> None:
        """Core ends, and its segments with it: take over what somebody still refers to. In a thread."""
        self._remembered.forget()
        for count, large in enumerate(self._remembered):
            try:
                pieces = self.segments.pieces(large.where)
            except Exception:  # noqa: BLE001, S112  it is gone; who reads it is told
                continue
            if count >= _MAPPED_MOST:
                pieces = [memoryview(bytes(piece)) for piece in pieces]
            large.pieces = _giving(pieces)
        self._remembered.clear()


def _heard(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # it was nothing but a favour


def _giving(pieces: list[memoryview]) -> Callable[[], list[memoryview]]:
    return lambda: pieces
