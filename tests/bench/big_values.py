"""What 256 MiB cost on their way, beside the floor: the same copies and sums in this process, in recycled memory."""

import asyncio
import mmap
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from table import line

from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.protocols import Attempt

NUMBERS = 32 << 20  # of 8 bytes
ROUNDS = 9
MOST = 60  # rounds that are tried


def make(n: int) -> Any:
    """A new array, on a worker."""
    return np.full(n, 2.0)


def total(array: Any) -> tuple[float, int]:
    """Read all of it, on a worker."""
    return float(array.sum()), os.getpid()


def occupy(seconds: float) -> int:
    """Keep one worker from taking anything."""
    time.sleep(seconds)
    return os.getpid()


class Silent:
    """Signals that nobody hears."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class Bench:
    """Two workers, and attempts for them."""

    def __init__(self) -> None:
        self.core, self._count = CoreExecutor(slots=2), 0

    async def run(self, function: Any, *args: Any) -> Any:
        """One attempt's result."""
        self._count += 1
        attempt = Attempt("bench", self._count, function.__name__, 1, "core", function, args, {})
        outcome = await self.core.run(attempt, Silent())  # type: ignore[arg-type]
        assert outcome.error is None, outcome.error
        return outcome.value

    async def between_workers(self) -> tuple[float, float] | None:
        """Milliseconds from asking for an array to its sum on another worker, and MiB the kernel has grown by."""
        before, began = _rss(), time.perf_counter()
        made = await self.run(make, NUMBERS)
        busy = asyncio.ensure_future(self.run(occupy, 0.3))
        value, pid = await self.run(total, made)
        took = time.perf_counter() - began
        grown = _rss() - before
        assert value == 2.0 * NUMBERS
        await busy
        return None if made.where.name.split(".")[3] == f"w{pid}" else (took * 1e3, grown)

    async def from_here(self, array: Any, *, changed: bool) -> float:
        """Milliseconds from an array here to its sum on a worker.

        Args:
            changed: It is another value than the last time; else it is in shared memory already.
        """
        array[-1] += changed
        began = time.perf_counter()
        await self.run(total, array)
        return (time.perf_counter() - began) * 1e3


def _rss() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def _floors() -> tuple[float, float]:
    """Milliseconds for the copies and sums alone: made, copied and added up; only copied and added up."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    path = folder / f"cerebelum-bench-{os.getpid()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    os.ftruncate(fd, NUMBERS * 8)
    mapped = mmap.mmap(fd, NUMBERS * 8)
    os.close(fd)
    target = np.frombuffer(mapped, np.float64)
    made, moved = [], []
    for _ in range(ROUNDS + 2):
        began = time.perf_counter()
        array = make(NUMBERS)
        ready = time.perf_counter()
        np.copyto(target, array)
        total(target)
        ended = time.perf_counter()
        made.append(ended - began)
        moved.append(ended - ready)
    return statistics.median(made[2:]) * 1e3, statistics.median(moved[2:]) * 1e3


async def _rows() -> None:
    bench = Bench()
    cold = time.perf_counter()
    await bench.run(total, await bench.run(make, NUMBERS))
    cold = time.perf_counter() - cold
    made, moved = _floors()
    tried = [await bench.between_workers() for _ in range(3)]  # both workers and their segments get warm
    tried.clear()
    while len(there := [one for one in tried if one is not None]) < ROUNDS and len(tried) < MOST:
        tried.append(await bench.between_workers())
    array = make(NUMBERS)
    here = [await bench.from_here(array, changed=True) for _ in range(ROUNDS + 3)][3:]
    again = [await bench.from_here(array, changed=False) for _ in range(ROUNDS)]
    await bench.core.close()
    if there:
        took = statistics.median(ms for ms, _ in there)
        grown = max(mib for _, mib in there)
        beside = f"{took / made:.2f} x making, copying and adding alone ({made:.0f} ms); at most 90"
        line("256 MiB, made on a worker, added up on another", took, "ms", beside)
        line("  the kernel grows meanwhile", grown, "MiB", "at most 1")
    took = statistics.median(here)
    line(
        "256 MiB, from here to its sum on a worker",
        took,
        "ms",
        f"{took / moved:.2f} x copying and adding alone ({moved:.0f} ms); at most 50",
    )
    took = statistics.median(again)
    line("  the same once more", took, "ms", f"{took / moved:.2f} x; compared, not copied: no more memory is taken")
    line("  the first of a session", cold * 1e3, "ms", "Core starts, and all pages are new")


def rows() -> None:
    """Milliseconds for large values, each from asking for it to having read all of it."""
    asyncio.run(_rows())


if __name__ == "__main__":
    rows()
