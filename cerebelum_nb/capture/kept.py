"""Functions as they were sent to workers, kept so that an attempt can be run again here as it was."""

import functools
import inspect
import io
import pickle
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakSet

from cerebelum_nb import codec
from cerebelum_nb.capture import Shipped, again, modules

LIMIT_NBYTES: Final = 64 << 20  # of all that is kept together
_MAKERS: Final = frozenset({"_make_skeleton_class", "_make_skeleton_enum"})  # cloudpickle's, for classes of cells
_FILLER: Final = "_class_setstate"  # and what gives them their methods


class Payloads:
    """What was sent, by digest; the oldest goes first where there is too much."""

    def __init__(self, limit_nbytes: int = LIMIT_NBYTES) -> None:
        self._limit_nbytes, self._nbytes = limit_nbytes, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        return digest in self._kept

    def add(self, shipped: Shipped) -> None:
        """Keep a function."""
        self._kept[shipped.digest] = shipped.payload
        self._nbytes += shipped.nbytes
        while self._nbytes > self._limit_nbytes:
            _, oldest = self._kept.popitem(last=False)
            self._nbytes -= len(oldest)

    def get(self, digest: str) -> bytes | None:
        """A function, if it is still kept."""
        return self._kept.get(digest)


class Codes:
    """With which function each attempt of one run was sent."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads
        self._of: dict[tuple[int, int], str] = {}

    def note(self, task: int, number: int, shipped: Shipped) -> None:
        """An attempt goes out with this function."""
        self._of[task, number] = shipped.digest
        if shipped.digest not in self._payloads:
            self._payloads.add(shipped)

    def was_sent(self, task: int, number: int) -> bool:
        """Whether an attempt has gone out from here."""
        return (task, number) in self._of

    def of(self, task: int, number: int) -> bytes | None:
        """What an attempt was sent with, if it is still kept."""
        digest = self._of.get((task, number))
        return None if digest is None else self._payloads.get(digest)


class Apart:
    """Makes functions and values again beside those that are here already, as a worker would.

    Classes of notebook cells become classes of their own, the same for all that one `Apart` makes: cloudpickle would
    take the person's class for the one that is meant, and write old methods into it.

    Args:
        shared_nbytes: Larger values are in memory that processes share: their arrays cannot be written to.
    """

    def __init__(self, shared_nbytes: int | None = None) -> None:
        self._shared_nbytes = shared_nbytes
        self._mark = secrets.token_hex(4)
        self._known: WeakSet[type] = WeakSet()  # classes that have what belongs into them

    def function(self, payload: bytes) -> tuple[Callable[..., Any], tuple[str, ...]]:
        """A function as it was sent, and the local modules it uses that have changed on disk since.

        Raises:
            Exception: What it captured does not let itself be read.
        """
        made, files = again(payload, self._loads)
        return made, tuple(name for name, stamp in files.items() if modules.stamp_of(name) != stamp)

    def value(self, value: Any, what: str) -> Any:
        """A value as a worker gets it: another object, all the way down.

        Raises:
            WireError: Something in it cannot be sent.
        """
        parts = codec.apart(value, what)
        shared = self._shared_nbytes is not None and parts.nbytes > self._shared_nbytes
        buffers = [bytes(buffer) if shared else bytearray(buffer) for buffer in parts.buffers]
        if parts.codec == "pickle":
            return self._loads(parts.head, buffers)
        return codec.together(parts.codec, parts.head, buffers)

    def _loads(self, data: bytes | memoryview, buffers: Sequence[Any] = ()) -> Any:
        return _Reader(data, buffers, self._mark, self._known).load()


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes | memoryview, buffers: Sequence[Any], mark: str, known: "WeakSet[type]") -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._mark, self._known = mark, known

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if name in _MAKERS:
            return functools.partial(_marked, found, self._mark)
        return functools.partial(self._filled, found) if name == _FILLER else found

    def _filled(self, fill: Callable[..., Any], made: type, state: Any) -> Any:
        """A class is what it was when it came first, with the function: a value would bring what it is now."""
        if made in self._known:
            return made
        self._known.add(made)
        return fill(made, state)


def _marked(make: Callable[..., Any], mark: str, *args: Any) -> Any:
    """Call one of cloudpickle's makers with another name for the class than the one it may know."""
    bound = inspect.signature(make).bind(*args)
    if known := bound.arguments.get("class_tracker_id"):
        bound.arguments["class_tracker_id"] = f"{known} {mark}"
    return make(*bound.args)
