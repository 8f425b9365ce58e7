"""Results of the cache that are small, as they are found again in the same kernel."""

import threading
from typing import Any, Final, NamedTuple

from cerebelum_nb import codec
from cerebelum_nb.identity.cachekey import Parts
from cerebelum_nb.identity.content import ATOMS
from cerebelum_nb.protocols import Outcome

INLINE_NBYTES: Final = 256 * 1024  # a larger result is not kept here, and gets a file of its own on disk
IN_MEMORY: Final = 1 << 14  # results
IN_MEMORY_NBYTES: Final = 32 << 20


class Found(NamedTuple):
    """A cached result.

    Attributes:
        outcome: What an attempt gives that has it.
        text: Where it comes from, as a sentence.
    """

    outcome: Outcome
    text: str


def found_in(run: str, value: Any) -> Found:
    """A result that an earlier run made."""
    return Found(Outcome("ok", value, source="cache"), f"hit: same code, values and inputs as in run {run}")


class _Kept(NamedTuple):
    found: Found | None  # as it is, where nobody can change the value
    codec: str
    data: bytes
    run: str


class Memory:
    """Small results, the least recently used ones forgotten first. From any thread."""

    def __init__(self) -> None:
        self._kept: dict[bytes, _Kept] = {}
        self._newest: dict[str, Parts] = {}  # step -> what its newest result was made with
        self._nbytes = 0
        self._lock = threading.Lock()

    def find(self, key: bytes) -> Found | None:
        """A result, if it is here."""
        with self._lock:
            kept = self._kept.pop(key, None)
            if kept is None:
                return None
            self._kept[key] = kept  # the last to go
        if kept.found is not None:
            return kept.found
        try:
            return found_in(kept.run, codec.decode(kept.codec, kept.data))  # anew: nobody sees what others do to it
        except Exception:  # noqa: BLE001  its class is gone: unpickling may raise anything
            with self._lock:
                self._nbytes -= len(kept.data) if self._kept.pop(key, None) is not None else 0
            return None

    def put(self, key: bytes, name: str, data: bytes, run: str) -> None:
        """Keep a result, unless it is large."""
        if len(data) > INLINE_NBYTES:
            return
        value = codec.decode(name, data) if name == "json" and data[:1] not in (b"[", b"{") else ...
        kept = _Kept(found_in(run, value) if type(value) in ATOMS else None, name, data, run)
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = kept
            self._nbytes += len(data) - (len(before.data) if before is not None else 0)
            while len(self._kept) > IN_MEMORY or self._nbytes > IN_MEMORY_NBYTES:
                self._nbytes -= len(self._kept.pop(next(iter(self._kept))).data)

    def note(self, step: str, parts: Parts) -> None:
        """What a step's newest result was made with."""
        self._newest[step] = parts

    def newest(self, step: str) -> Parts | None:
        """The same."""
        return self._newest.get(step)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._newest.clear()
            self._nbytes = 0
