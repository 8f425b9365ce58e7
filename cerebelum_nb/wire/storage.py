"""Large values in storage that several machines reach, where they share no memory: any place that fsspec knows.

Stands where `Segments` does. An object's name holds the digest of all that is in it, and the name travels in a sealed
envelope: what was changed there is found before any of it is read. It is not encrypted: choose a place that is yours.
"""

import contextlib
import errno
import hashlib
import importlib
import os
import queue
import re
import secrets
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, Final

from cerebelum_nb.codec import Parts, one_line, together
from cerebelum_nb.errors import NoRoom, PayloadRejected, WireError
from cerebelum_nb.wire.lent import Where

STORED_NBYTES: Final = 16 << 20  # what is larger goes there; the rest goes over the line
KEPT_S: Final = 30 * 86_400.0  # what a kernel left that was killed is removed by another one after so long
_ALIGN: Final = 64
_NAME: Final = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{1,16}\.[0-9a-f]{16}")
_FOLDER: Final = re.compile(r"cerebelum-([0-9a-f]{1,10})-[0-9a-f]{16}")


class Storage:
    """The values of one session. From any thread.

    Args:
        url: Of its own folder: `new_folder` makes one.
        owns: Remove the folder in the end.

    Raises:
        WireError: fsspec, or what it needs for such a URL, is not installed, or it does not know it.
    """

    def __init__(self, url: str, *, owns: bool = False) -> None:
        self.url = url
        self.folders = ()
        self._fs, self._path = _opened(url)
        self._seen: tuple[Any, str] = (None, "")  # what was asked about last, and its digest
        self._removals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._remover: threading.Thread | None = None
        self._pid = os.getpid()
        if owns:
            weakref.finalize(self, _remove, self._fs, self._path, self._pid)

    def put(self, parts: Parts, what: str) -> Where:
        """Write a value's parts.

        Raises:
            NoRoom: There is no room for them there.
            WireError: It cannot be written there; says why.
        """
        pieces, end = [], 0
        for size in _sizes(parts):
            pieces.append((end, size))
            end += size + -size % _ALIGN
        name = f"{self._digest(parts)}.{end:x}.{secrets.token_hex(8)}"
        self._seen = None, ""
        try:
            _make(self._fs, self._path)
            with self._fs.open(f"{self._path}/{name}", "wb") as file:
                for view in _chunks(parts):
                    file.write(view)
        except Exception as exc:  # noqa: BLE001  each kind of storage has its own errors
            with contextlib.suppress(Exception):
                self._fs.rm_file(f"{self._path}/{name}")
            text = f"{what} takes {end / 2**20:.0f} MiB"
            if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoom(f"{text}, for which there is no room ({self.url}: {exc.strerror})") from None
            raise WireError(f"{text} and cannot be written to values_url, {self.url}: {one_line(exc)}") from None
        return Where(0, name, parts.codec, tuple(pieces))

    def pieces(self, where: Where) -> list[memoryview]:
        """A value's parts, once all of it was checked.

        Raises:
            WireError: It is gone, or cannot be read.
            PayloadRejected: It is not what was written; nothing of it was read.
        """
        self.check(where)
        try:
            view = memoryview(self._fs.cat_file(f"{self._path}/{where.name}"))
        except Exception as exc:  # noqa: BLE001  as above
            size = f"{where.nbytes / 2**20:.0f} MiB"
            raise WireError(f"a value of {size} cannot be read from values_url, {self.url}: {one_line(exc)}") from None
        digest = hashlib.sha256(view).hexdigest()
        ends = [start + size for start, size in where.pieces if start >= 0 and size >= 0]
        if digest != where.name[:64] or len(ends) < len(where.pieces) or max(ends) > len(view):
            raise PayloadRejected(f"a value in {self.url} was changed, or is another one; nothing of it was read")
        return [view[start : start + size] for start, size in where.pieces]

    def value(self, where: Where) -> Any:
        """The value itself; its arrays cannot be written to."""
        head, *buffers = self.pieces(where)
        return together(where.codec, head, buffers)

    def holds(self, where: Where, parts: Parts) -> bool:
        """Whether these parts were written as that value."""
        if where.codec != parts.codec or [size for _, size in where.pieces] != _sizes(parts):
            return False
        if where.name[:64] != self._digest(parts):
            return False
        self._seen = None, ""
        return True

    def check(self, where: Where) -> None:
        """See that a descriptor is one of ours.

        Raises:
            WireError: It is not.
        """
        if not _NAME.fullmatch(where.name) or where.folder or not where.pieces:
            raise WireError(f"{where.name!r} is no value of ours; nothing in it was read")

    def _digest(self, parts: Parts) -> str:
        last, digest = self._seen
        if last is not parts:
            made = hashlib.sha256()
            for view in _chunks(parts):
                made.update(view)
            self._seen = parts, (digest := made.hexdigest())
        return digest

    def release(self, _folder: int, name: str) -> None:
        """Nobody needs it any more: it is removed, soon."""
        if os.getpid() != self._pid:
            return
        self._removals.put(f"{self._path}/{name}")
        if self._remover is None:
            self._remover = threading.Thread(
                target=_remove_each, args=(self._fs, self._removals), name="cerebelum-values", daemon=True
            )
            self._remover.start()

    # what only memory has -------------------------------------------------------------------------------------------

    def used(self) -> Iterator[tuple[int, str, str]]:
        """Nothing: what nobody has heard of goes with the folder."""
        return iter(())

    def held(self) -> tuple[int, int]:
        """Nothing of this machine's memory."""
        return 0, 0

    def trim(self, _folder: int, _most_nbytes: int, _idle_since: float | None = None) -> int:
        """Nothing: what is free is gone."""
        return 0

    def prepare(self, _nbytes: int) -> bool:
        """Nothing can be made ready."""
        return False


def new_folder(url: str) -> str:
    """A folder of one's own in what several may use; what was left there long ago is removed.

    Raises:
        WireError: It cannot be reached, or cannot be written to.
    """
    fs, path = _opened(url)
    try:
        _make(fs, path)
        for found in fs.ls(path, detail=False):
            match = _FOLDER.fullmatch(str(found).rstrip("/").rpartition("/")[2])
            if match and time.time() - int(match[1], 16) > KEPT_S:
                _remove(fs, found, os.getpid())
    except Exception as exc:  # noqa: BLE001  as above
        raise WireError(f"values_url, {url}, cannot be used: {one_line(exc)}") from None
    return f"{url.rstrip('/')}/cerebelum-{int(time.time()):x}-{secrets.token_hex(8)}"


def _opened(url: str) -> tuple[Any, str]:
    try:
        fsspec = importlib.import_module("fsspec.core")
        fs, path = fsspec.url_to_fs(url)
    except ImportError as exc:
        more = "pip install 'cerebelum-nb[storage]'" if exc.name == "fsspec" else one_line(exc)
        raise WireError(f"values_url, {url}, needs more than is installed here: {more}") from None
    except Exception as exc:  # noqa: BLE001  as above
        raise WireError(f"values_url, {url}, cannot be used: {one_line(exc)}") from None
    return fs, str(path).rstrip("/")


def _make(fs: Any, path: str) -> None:
    if "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol):
        os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103  for its owner alone
    else:
        fs.makedirs(path, exist_ok=True)


def _sizes(parts: Parts) -> list[int]:
    return [len(parts.head), *(buffer.nbytes for buffer in parts.buffers)]


def _chunks(parts: Parts) -> Iterator[memoryview]:
    for view in (memoryview(parts.head), *parts.buffers):
        if view.nbytes:
            yield view.cast("B")
        if view.nbytes % _ALIGN:
            yield memoryview(bytes(-view.nbytes % _ALIGN))


def _remove_each(fs: Any, removals: "queue.SimpleQueue[str]") -> None:
    while True:
        with contextlib.suppress(Exception):  # it goes with its folder
            fs.rm_file(removals.get())


def _remove(fs: Any, path: str, pid: int) -> None:
    if os.getpid() == pid:  # a forked child owns nothing
        with contextlib.suppress(Exception):  # it cannot be reached any more: another session does it, later
            fs.rm(path, recursive=True)
