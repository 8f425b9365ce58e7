"""Bytes in memory that several processes share: copied, compared, and how many more of them there is room for."""

import contextlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

_SMALL_NBYTES: Final = 64 << 10
_PIECE_NBYTES: Final = 8 << 20  # copied at once while others wait for the interpreter
_LOOK_NBYTES: Final = 256 << 10  # compared at once: the copies stay in the processor
_PLACES: Final = 64
_PLACE_NBYTES: Final = 256
_GROUP: Final = Path("/sys/fs/cgroup")


def copy(target: memoryview, source: memoryview) -> None:
    """Copy all of one into the other, which is as long."""
    source = source.cast("B") if source.nbytes else source
    numpy = _numpy()
    if numpy is not None and source.nbytes > _SMALL_NBYTES:  # others can work meanwhile
        numpy.copyto(numpy.frombuffer(target, numpy.uint8), numpy.frombuffer(source, numpy.uint8))
        return
    for start in range(0, source.nbytes, _PIECE_NBYTES):
        target[start : start + _PIECE_NBYTES] = source[start : start + _PIECE_NBYTES]


def same(one: memoryview, other: memoryview) -> bool:
    """Whether two have the same bytes. Ends at the first that differ."""
    if one.nbytes != other.nbytes:
        return False
    if not one.nbytes:
        return True
    one, other = one.cast("B"), other.cast("B")
    numpy = _numpy()
    if numpy is None or one.nbytes < _SMALL_NBYTES:
        steps = range(0, one.nbytes, _LOOK_NBYTES)
        return all(bytes(one[n : n + _LOOK_NBYTES]) == bytes(other[n : n + _LOOK_NBYTES]) for n in steps)
    ours, theirs = numpy.frombuffer(one, numpy.uint8), numpy.frombuffer(other, numpy.uint8)
    return _memcmp()(ours.ctypes.data, theirs.ctypes.data, one.nbytes) == 0


@cache
def _memcmp() -> Callable[[int, int, int], int]:
    """C's own: as quick as copying, and others can work meanwhile."""
    import ctypes  # noqa: PLC0415  who has no arrays does without

    found = ctypes.CDLL(None).memcmp
    found.argtypes, found.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t], ctypes.c_int
    return found


def alike(one: memoryview, other: memoryview) -> bool:
    """Whether two may have the same bytes, by a look at their ends and some places between."""
    if one.nbytes != other.nbytes:
        return False
    if not one.nbytes:
        return True
    one, other, last = one.cast("B"), other.cast("B"), max(0, one.nbytes - _PLACE_NBYTES)
    starts = {last * n // _PLACES for n in range(_PLACES + 1)}
    return all(bytes(one[n : n + _PLACE_NBYTES]) == bytes(other[n : n + _PLACE_NBYTES]) for n in starts)


def _numpy() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "copyto") else None  # another thread may be importing it


def available() -> int:
    """Bytes of memory that nobody needs, on this machine and in this container."""
    found = sys.maxsize
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo", "rb") as file:  # noqa: PTH123  quicker
        for line in file:
            if line.startswith(b"MemAvailable:"):
                found = int(line.split()[1]) << 10
                break
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit: "max"
        most = int((_GROUP / "memory.max").read_bytes())
        said = dict(line.split() for line in (_GROUP / "memory.stat").read_text("ascii").splitlines())
        taken = int((_GROUP / "memory.current").read_bytes()) - int(said["inactive_file"])
        found = min(found, max(0, most - taken))
    return found


def room(folder: Path) -> str:
    """How much fits on a folder's disk, in words."""
    with contextlib.suppress(OSError):
        stat = os.statvfs(folder if folder.exists() else folder.parent)
        return f"{stat.f_bavail * stat.f_frsize / 2**20:.0f} MiB free"
    return "its size is not known"
