"""Faults: processes that die or stand still, a full disk, a clock that jumps, results that are damaged."""

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

import msgspec
import psutil

from cerebelum_nb.store.results import NONE, SEE, Stored

Damage = Literal["flip", "truncate", "delete"]
_stored: Final = msgspec.msgpack.Decoder(list[Stored])


def kill(pid: int) -> None:
    """End a process as a crash would: SIGKILL. One that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Processes that stand still meanwhile, as on a machine that swaps: SIGSTOP, and SIGCONT at the end."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def clock_moved(seconds: float) -> Iterator[None]:
    """This process's wall clock goes so much ahead, or back; clocks that only count do not move.

    What reads `time.time`, or the present from `time.gmtime` and `time.localtime`, sees it; `datetime` does not.
    """
    now = time.time

    def moved() -> float:
        return now() + seconds

    def moved_ns() -> int:
        return int(moved() * 1e9)

    def gmtime(at: float | None = None, real: Callable[..., Any] = time.gmtime) -> Any:
        return real(moved() if at is None else at)

    def localtime(at: float | None = None, real: Callable[..., Any] = time.localtime) -> Any:
        return real(moved() if at is None else at)

    with (
        mock.patch.object(time, "time", moved),
        mock.patch.object(time, "time_ns", moved_ns),
        mock.patch.object(time, "gmtime", gmtime),
        mock.patch.object(time, "localtime", localtime),
    ):
        yield


class Disk:
    """A disk that can be filled up and made free again.

    Args:
        path: A folder on it.
        mounted: It is a disk of its own. Else `fill` takes from this whole process the right to make any file longer
            (RLIMIT_FSIZE): files elsewhere too, and not from other processes. So do that in a child.
    """

    def __init__(self, path: Path, *, mounted: bool = True) -> None:
        self.path, self.mounted = path, mounted
        self._ballast = path / "ballast"
        self._limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        """Nothing more can be written from here on."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._limit[1]))
            return
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            for piece in (bytes(1 << 16), bytes(1)):
                with contextlib.suppress(OSError):
                    while file.write(piece):
                        pass

    def free(self) -> None:
        """There is room again."""
        if self.mounted:
            self._ballast.unlink(missing_ok=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limit)


@contextlib.contextmanager
def small_disk(mib: int = 8, *, mount: bool = True) -> Iterator[Disk]:
    """A small disk of its own, in memory, where this process may mount one (root on Linux); else a folder.

    Args:
        mount: False for a folder in any case.
    """
    path = Path(tempfile.mkdtemp(prefix="chaos-disk-"))
    disk = Disk(path, mounted=mount and _mounted(path, mib))
    try:
        yield disk
    finally:
        try:
            disk.free()
        finally:
            if disk.mounted:
                subprocess.run(["umount", "--lazy", str(path)], check=False)  # noqa: S603, S607  the system's own
            shutil.rmtree(path, ignore_errors=True)


def _mounted(path: Path, mib: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "chaos", str(path)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603  ours alone
    except OSError:
        return False


def corrupt(home: Path, run: str, task: int, how: Damage = "flip") -> bool:
    """Damage the stored result of a task, as a bad disk would.

    Args:
        home: The project's folder, ``.cerebelum``.
        task: Its number in the run; -1 for the run's inputs.
        how: ``flip`` a byte, ``truncate`` to half, or ``delete``: its file, or (a small result has none) all that the
            database has of the run.

    Returns:
        Whether there was anything to damage: a result that is None, or another run's, has no bytes of its own.
    """
    file = home / "results" / run / str(task)
    if file.exists():
        _damage_file(file, how)
        return True
    with contextlib.closing(sqlite3.connect(home / "results.db", isolation_level=None)) as db:
        for rowid, blob in db.execute(
            "select rowid, body from results where run=? order by last desc", (run,)
        ).fetchall():
            row = _stored.decode(blob)
            mine = next((one for one in row if one.task == task and one.codec not in ("", NONE, SEE)), None)
            if mine is None:
                continue
            if how == "delete":
                db.execute("delete from results where run=?", (run,))
                return True
            bad = msgspec.structs.replace(mine, body=_damaged(mine.body, how))
            rest = [bad if one is mine else one for one in row]
            db.execute("update results set body=? where rowid=?", (msgspec.msgpack.encode(rest), rowid))
            return True
    return False


def _damage_file(file: Path, how: Damage) -> None:
    if how == "delete":
        file.unlink()
    else:
        file.write_bytes(_damaged(file.read_bytes(), how))


def _damaged(body: bytes, how: Damage) -> bytes:
    middle = len(body) // 2
    if how == "truncate":
        return body[:middle]
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def workers_of(core: int) -> list[int]:
    """The worker processes of a Core, by its process id."""
    try:
        return [child.pid for child in psutil.Process(core).children()]
    except psutil.NoSuchProcess:
        return []


def cores() -> list[int]:
    """The Cores of this process, by their process ids."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "cerebelum_nb.core" in child.cmdline():
                found.append(child.pid)
    return found
