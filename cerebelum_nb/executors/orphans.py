"""What kernels left that were killed where their Core could not see to it: directories, and processes that are stopped.

Each Core's directory says whose it is: the kernel's pid, and when that began. Nothing is ended whose kernel is there.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from cerebelum_nb.runtime.past import born, is_there

LOG: Final = "core.log"
HANDED: Final = "handed"
_KERNEL: Final = "kernel"
_CORE, _WORKER = "cerebelum_nb.core", "cerebelum_nb.worker"  # modules that are run
YOUNG_S: Final = 2.0  # a directory that was just made may not be locked yet
_LET_GO_S: Final = 1.0  # so long a killed process may hold its lock
_STOPPED: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


def say_whose(directory: Path) -> None:
    """Note in a Core's directory that it is this process's.

    Raises:
        OSError: It cannot be written.
    """
    (directory / _KERNEL).write_text(f"{os.getpid()} {born(psutil.Process())!r}", "ascii")


def remove_orphans(base: Path) -> None:
    """Remove what kernels left that were killed in the moment before their Core ran, or while it was stopped."""
    for directory in base.glob("cerebelum-*"):
        with contextlib.suppress(OSError):  # it is somebody else's, locked, or gone
            about = directory.lstat()
            if abs(time.time() - about.st_mtime) < YOUNG_S or about.st_uid != os.getuid() or directory.is_symlink():
                continue
            names = {path.name for path in directory.iterdir()}
            if not names:
                directory.rmdir()
            elif names <= {HANDED, _KERNEL}:
                shutil.rmtree(directory, ignore_errors=True)
            elif HANDED in names:
                until = time.monotonic() + (_LET_GO_S if _end_orphans(directory) else 0.0)
                with (directory / LOG).open("rb") as log:
                    _lock(log.fileno(), until)
                shutil.rmtree(directory, ignore_errors=True)


def _lock(fd: int, until: float) -> None:
    """Raises BlockingIOError where somebody else has it for all this time."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.005)
        else:
            return


def _end_orphans(directory: Path) -> bool:
    """End processes of a directory whose kernel is gone, and that do not end by themselves; whether there were any."""
    try:
        pid, began = (directory / _KERNEL).read_text("ascii").split()
        if is_there(int(pid), float(began)):
            return False
    except (OSError, ValueError):  # nobody says whose it is
        return False
    found = list(_ours(directory))
    cores = [process for process, is_core in found if is_core]
    if any(map(_ends_by_itself, cores)):
        return False  # and all others end with it
    workers = {process for process, is_core in found if not is_core}
    for core in cores:
        with contextlib.suppress(psutil.Error):
            workers |= {child for child in core.children() if child.cmdline()[2:4] == ["-m", _WORKER]}
            core.kill()
    for worker in workers:
        with contextlib.suppress(psutil.Error, OSError):
            if worker.is_running() and os.getpgid(worker.pid) == worker.pid:
                os.killpg(worker.pid, signal.SIGKILL)
    return bool(found)


def _ours(directory: Path) -> Iterator[tuple[psutil.Process, bool]]:
    """This user's Core and workers of a directory, by what they were started with; with whether it is the Core."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if line[2:3] != ["-m"] or process.uids().real != os.getuid():
                continue
            if line[3:5] == [_CORE, str(directory)]:
                yield process, True
            elif line[3] == _WORKER and str(directory / "segments") in line[4:]:
                yield process, False


def _ends_by_itself(process: psutil.Process) -> bool:
    try:
        return process.status() not in _STOPPED
    except psutil.Error:  # it is gone
        return False
