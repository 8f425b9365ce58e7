"""Large values in memory that the processes of one machine share, instead of on their sockets.

A segment is a file in a private folder: in ``/dev/shm``, else in the run directory. Its name says all there is to know:

    new.SIZE.ID                  being made for nobody yet
    free.SIZE.ID                 nobody's; whoever renames it has it
    used.SIZE.ID.OWNER.TOKEN     filled by OWNER; the kernel, which alone hands names around, makes it free again
    used.SIZE.ID.lent.TOKEN      another Core's, under a second name; it is that one's to make free

A name with a token is never used twice, so a descriptor that is late finds nothing, never another value. Who maps a
segment holds a shared lock on it for as long as anything looks into the mapping, an array that a step has kept
included; who takes a free one fills it only under the exclusive lock. Both end with the process that holds them.

Space is allocated before it is mapped: a full disk is an error in words, never SIGBUS. Recycled segments have their
pages already, which is most of what a large value costs.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import re
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cerebelum_nb.codec import LARGE_NBYTES, Parts, together
from cerebelum_nb.errors import NoRoom, WireError
from cerebelum_nb.wire import memory
from cerebelum_nb.wire.lent import Where

_GRAIN: Final = 64 << 10
_ALIGN: Final = 64
_MAPS: Final = 8  # segments that stay mapped for being filled again
_SPARE_NBYTES: Final = 256 << 20  # of memory that is left to everybody else
_PLENTY: Final = 4  # so many times its size is free where a segment is made for nobody yet
_USED: Final = re.compile(r"used\.[0-9a-f]{1,16}\.[0-9a-f]{16}\.[a-z0-9]{1,20}\.[0-9a-f]{16}")
_LENT: Final = "lent"
_ALONE: Final = 2  # references to a mapping that nothing looks into: ours, and the one that asks
_POPULATE: Final = getattr(mmap, "MAP_POPULATE", 0)


class _Read:
    """A segment that is mapped for looking at it."""

    __slots__ = ("fd", "is_locked", "map")

    def __init__(self, mapped: mmap.mmap, fd: int) -> None:
        self.map, self.fd, self.is_locked = mapped, fd, True


class Segments:
    """The segments of one Core, as one process uses them. From any thread.

    Args:
        folders: Where they are, the quickest first; a folder is made when it is first needed.
        owner: Who fills them here: ``k`` for the kernel, ``w`` and a pid for a worker.
        keeps: What was read stays mapped, for the next value in the same segment; who says so calls `settle`.
    """

    def __init__(self, folders: Sequence[Path], owner: str, *, keeps: bool = False) -> None:
        self.folders, self._owner = tuple(folders), owner
        self._maps: OrderedDict[str, mmap.mmap] = OrderedDict()
        self._read: OrderedDict[str, _Read] | None = OrderedDict() if keeps else None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    # filling -------------------------------------------------------------------------------------------------------

    def put(self, parts: Parts, what: str) -> Where:
        """Copy a value's parts into a segment.

        Raises:
            NoRoom: There is no room for them; says how much there is, and where.
        """
        pieces, end = [], 0
        views = [memoryview(parts.head), *parts.buffers]
        for view in views:
            pieces.append((end, view.nbytes))
            end += -(-view.nbytes // _ALIGN) * _ALIGN
        folder, name, fd = self._taken(max(end, 1), what)
        try:
            target = self._mapped(self.folders[folder] / name, fd, name.split(".")[2])
            with memoryview(target) as whole:
                for (start, size), view in zip(pieces, views, strict=True):
                    memory.copy(whole[start : start + size], view)
        except BaseException:
            self.release(folder, name)
            raise
        finally:
            os.close(fd)
        return Where(folder, name, parts.codec, tuple(pieces))

    def _mapped(self, path: Path, fd: int, ident: str) -> mmap.mmap:
        with self._lock:
            known = self._maps.pop(ident, None)
        if known is None:
            other = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # not `fd`: a mapping would keep its lock
            try:
                known = mmap.mmap(other, os.fstat(fd).st_size, mmap.MAP_SHARED | _POPULATE)
            finally:
                os.close(other)
        with self._lock:
            self._maps[ident] = known
            while len(self._maps) > _MAPS:
                self._maps.popitem(last=False)
        return known

    def _taken(self, nbytes: int, what: str) -> tuple[int, str, int]:
        """A segment of our own, open and locked: a free one, or a new one."""
        for folder in range(len(self.folders)):
            for ident, size in self._free(folder):
                if _fits(nbytes, size) and (found := self._take(folder, ident, size)):
                    return found
        reasons = []
        for folder in range(len(self.folders)):
            for again in (False, True):
                try:
                    return self._new(folder, nbytes)
                except OSError as exc:
                    if again or not self.trim(folder, 0):
                        reasons.append(f"{self.folders[folder]}: {exc.strerror}, {memory.room(self.folders[folder])}")
                        break
        raise NoRoom(f"{what} takes {nbytes / 2**20:.0f} MiB, for which there is no room ({'; '.join(reasons)})")

    def _free(self, folder: int) -> list[tuple[str, int]]:
        try:
            names = os.listdir(self.folders[folder])  # noqa: PTH208  on the way of a value
        except OSError:
            return []
        found = [name.split(".") for name in names if name.startswith("free.")]
        return sorted(((ident, int(size, 16)) for _, size, ident in found), key=lambda one: one[1])

    def _take(self, folder: int, ident: str, size: int) -> tuple[int, str, int] | None:
        at = self.folders[folder]
        name = f"used.{size:x}.{ident}.{self._owner}.{secrets.token_hex(8)}"
        try:
            os.rename(at / f"free.{size:x}.{ident}", at / name)  # noqa: PTH104  who wins the race has it
            fd = os.open(at / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody still looks into it
            os.close(fd)
            self.release(folder, name)
            return None
        if os.fstat(fd).st_size != size:  # its maker was killed in between
            os.close(fd)
            (at / name).unlink(missing_ok=True)
            return None
        return folder, name, fd

    def _new(self, folder: int, nbytes: int, *, for_nobody: bool = False) -> tuple[int, str, int]:
        at = self.folders[folder]
        at.mkdir(mode=0o700, exist_ok=True)
        grain = max(_GRAIN, 1 << max(0, nbytes.bit_length() - 4))
        size = -(-nbytes // grain) * grain
        if _is_memory(at) and size > memory.available() - _SPARE_NBYTES:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        ident = secrets.token_hex(8)
        name = f"new.{size:x}.{ident}" if for_nobody else f"used.{size:x}.{ident}.{self._owner}.{secrets.token_hex(8)}"
        fd = os.open(at / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(fd, 0, size)
        except BaseException:
            os.close(fd)
            (at / name).unlink(missing_ok=True)
            raise
        return folder, name, fd

    def prepare(self, nbytes: int) -> bool:
        """Have a free segment for values of this size, with its pages: making them takes longest.

        Returns:
            There was none, and there is one now.
        """
        if not _is_memory(self.folders[0]) or any(_fits(nbytes, size) for _, size in self._free(0)):
            return False
        if memory.available() < _SPARE_NBYTES + _PLENTY * nbytes:
            return False
        try:
            _, name, fd = self._new(0, nbytes, for_nobody=True)
            os.close(fd)
            (self.folders[0] / name).rename(self.folders[0] / name.replace("new", "free"))
        except OSError:  # it was nothing but a favour
            return False
        return True

    # reading -------------------------------------------------------------------------------------------------------

    def pieces(self, where: Where) -> list[memoryview]:
        """A value's parts, to look at only. The segment is not used again while anything looks into them.

        Raises:
            WireError: It is gone, or is not what was said.
        """
        self.check(where)
        if self._read is not None:
            view = memoryview(self._kept(self._read, where).map)
        else:
            fd = self._locked(where)
            try:
                view = memoryview(mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ))
            finally:
                os.close(fd)  # the mapping keeps the lock
        return [view[start : start + size] for start, size in where.pieces]

    def _locked(self, where: Where) -> int:
        """A segment, open, and locked for looking at it."""
        path = self.folders[where.folder] / where.name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as exc:
            raise WireError(f"a value of {where.nbytes / 2**20:.0f} MiB is gone: {path}: {exc.strerror}") from None
        try:
            self._look(fd, where)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _look(self, fd: int, where: Where) -> None:
        path = self.folders[where.folder] / where.name
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            size = os.fstat(fd).st_size
            if path.exists() and all(start >= 0 and part >= 0 and start + part <= size for start, part in where.pieces):
                return
        except OSError:  # somebody fills it
            pass
        raise WireError(f"a value of {where.nbytes / 2**20:.0f} MiB is gone: {path} is another one's now")

    def _kept(self, read: "OrderedDict[str, _Read]", where: Where) -> "_Read":
        """A segment as it is mapped here."""
        ident = where.name.split(".")[2]
        known = read.get(ident)
        if known is None:
            fd = self._locked(where)
            try:
                size = os.fstat(fd).st_size
                known = read[ident] = _Read(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ), fd)
            except BaseException:
                os.close(fd)
                raise
        else:
            try:
                self._look(known.fd, where)
            except BaseException:
                if not known.is_locked:
                    fcntl.flock(known.fd, fcntl.LOCK_UN)
                raise
        known.is_locked = True
        read.move_to_end(ident)
        return known

    def settle(self) -> None:
        """Unlock what nothing looks into any more."""
        if not self._read:
            return
        for ident, one in list(self._read.items()):
            if one.is_locked and sys.getrefcount(one.map) <= _ALONE:
                fcntl.flock(one.fd, fcntl.LOCK_UN)
                one.is_locked = False
            if not one.is_locked and len(self._read) > _MAPS:
                del self._read[ident]
                one.map.close()
                os.close(one.fd)

    def holds(self, where: Where, parts: Parts) -> bool:
        """Whether a segment that is in use holds just these parts. Reads all of both, if they are the same."""
        views = [memoryview(parts.head), *parts.buffers]
        if where.codec != parts.codec or [size for _, size in where.pieces] != [view.nbytes for view in views]:
            return False
        with self._lock:
            mapped = self._maps.get(where.name.split(".")[2])
        try:
            pieces = self.pieces(where) if mapped is None else None
        except (WireError, OSError):
            return False
        if mapped is not None:
            pieces = [memoryview(mapped)[start : start + size] for start, size in where.pieces]
        pairs = list(zip(pieces or (), views, strict=True))
        return all(memory.alike(*pair) for pair in pairs) and all(memory.same(*pair) for pair in pairs)

    def check(self, where: Where) -> None:
        """See that a descriptor is one of ours.

        Raises:
            WireError: It is not.
        """
        if not _USED.fullmatch(where.name) or not 0 <= where.folder < len(self.folders) or not where.pieces:
            raise WireError(f"{where.name!r} is no segment of ours; nothing in it was read")

    def value(self, where: Where) -> Any:
        """The value itself; its arrays lie in the segment, and cannot be written to."""
        head, *buffers = self.pieces(where)
        return together(where.codec, head, buffers)

    def adopt(self, home: "Segments", where: Where) -> Where | None:
        """Have a segment of another Core as ours too, as it is; whoever asks keeps it from being made free there.

        Returns:
            Where it is for us; None where that cannot be: it is on another disk, or gone.
        """
        path = home.folders[where.folder] / where.name
        _, size, ident, *_ = where.name.split(".")
        for folder, at in enumerate(self.folders):
            name = f"used.{size}.{ident}.{_LENT}.{secrets.token_hex(8)}"
            with contextlib.suppress(OSError, NotImplementedError):
                at.mkdir(mode=0o700, exist_ok=True)
                os.link(path, at / name, follow_symlinks=False)
                return Where(folder, name, where.codec, where.pieces)
        return None

    # after use -----------------------------------------------------------------------------------------------------

    def release(self, folder: int, name: str) -> None:
        """Nobody needs what is in it any more: it can be filled again, once nobody looks into it."""
        if os.getpid() != self._pid:
            return  # a forked child has copies of everything, and owns nothing
        at = self.folders[folder]
        _, size, ident, owner, _ = name.split(".")
        with contextlib.suppress(OSError):  # its folder is gone
            if owner == _LENT:
                (at / name).unlink()
                return
            os.rename(at / name, at / f"free.{size}.{ident}")  # noqa: PTH104  many of these, quickly

    def used(self) -> Iterator[tuple[int, str, str]]:
        """Folder, name and owner of what is in use."""
        for folder, at in enumerate(self.folders):
            with contextlib.suppress(OSError):
                for name in os.listdir(at):  # noqa: PTH208  names are what it is about
                    if _USED.fullmatch(name):
                        yield folder, name, name.split(".")[3]

    def held(self) -> tuple[int, int]:
        """Bytes of what is in use, and of what is kept for being filled again."""
        found = {"used": 0, "free": 0}
        for at in self.folders:
            with contextlib.suppress(OSError):
                for kind, size, *rest in (name.split(".") for name in os.listdir(at)):  # noqa: PTH208  as above
                    if kind in found and _LENT not in rest:
                        found[kind] += int(size, 16)
        return found["used"], found["free"]

    def trim(self, folder: int, most_nbytes: int, idle_since: float | None = None) -> int:
        """Give free segments back to the system, the largest first.

        Args:
            most_nbytes: What may stay.
            idle_since: Only those that are free since before this time stay not at all.

        Returns:
            How many bytes were given back.
        """
        free = self._free(folder)
        over, given = sum(size for _, size in free) - most_nbytes, 0
        for ident, size in reversed(free):
            path = self.folders[folder] / f"free.{size:x}.{ident}"
            with contextlib.suppress(OSError):
                if given < over or (idle_since is not None and path.stat().st_ctime < idle_since):
                    given += self._give_back(folder, ident, size)
        return given

    def _give_back(self, folder: int, ident: str, size: int) -> int:
        taken = self._take(folder, ident, size)
        if taken is None:
            return 0
        _, name, fd = taken
        try:
            (self.folders[folder] / name).unlink(missing_ok=True)
            os.ftruncate(fd, 0)  # another process may have it mapped for being filled again: its pages go all the same
        finally:
            os.close(fd)
        with self._lock:
            self._maps.pop(ident, None)
        return size


def size_of(name: str) -> int:
    """The size of a segment, by its name."""
    return int(name.split(".")[1], 16)


def _fits(nbytes: int, size: int) -> bool:
    """A segment is large enough, and no waste."""
    return nbytes <= size <= 2 * nbytes + LARGE_NBYTES


def _is_memory(folder: Path) -> bool:
    return str(folder).startswith("/dev/shm")  # noqa: S108  no temporary file
