"""Kernels to be killed: processes that run a function of a module, up to a point."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from cerebelum_nb.executors.orphans import remove_orphans
from cerebelum_nb.testing.chaos.points import Point

_GONE_DEADLINE_S: Final = 5.0


class Ended(msgspec.Struct, frozen=True):
    """How a kernel ended.

    Attributes:
        pid: What its process was called.
        signal: What killed it: 9 at a point; 0 where it ended by itself.
        said: What the function returned, as JSON gives it back.
        error: The traceback of what it raised, or the last of what it wrote; empty where all went well.
        left: What is still there of it a moment later, of which nothing may stay: Core's directory, processes.
    """

    pid: int
    signal: int
    said: Any = None
    error: str = ""
    left: tuple[str, ...] = ()


class Request(msgspec.Struct, array_like=True):
    """What the process that forks is asked for."""

    function: str
    args: tuple[Any, ...]
    at: Point | None
    temporary: str
    timeout_s: float


class Kernels:
    """Forks kernels from a clean process that has imported a module, so that each costs milliseconds. Use with `with`.

    They have a temporary folder of their own (TMPDIR), where Core makes its directory.

    Args:
        module: Imported once; has the functions. Steps are defined in it as in a cell.
        folder: Where that goes; with a short path, for sockets have to fit in. None for a new one.
    """

    def __init__(self, module: str, folder: Path | None = None) -> None:
        self.temporary = Path(tempfile.mkdtemp(prefix="chaos-", dir=folder))
        self._lock = threading.Lock()
        env = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        self._popen = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-P", "-m", "cerebelum_nb.testing.chaos.forking", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )

    def run(self, function: str, *args: Any, at: Point | None = None, timeout_s: float = 60.0) -> Ended:
        """Run a function of the module in a process of its own, and wait until that has ended. From any thread.

        Args:
            args: What JSON can carry.
            at: It is killed there, by SIGKILL.
            timeout_s: It is killed then, and `error` says where it stood.

        Raises:
            RuntimeError: The module cannot be imported, or this is closed.
        """
        request = msgspec.json.encode(Request(function, args, at, str(self.temporary), timeout_s))
        with self._lock:
            assert self._popen.stdin is not None
            assert self._popen.stdout is not None
            try:
                self._popen.stdin.write(request + b"\n")
                self._popen.stdin.flush()
                line = self._popen.stdout.readline()
            except (BrokenPipeError, ValueError):
                line = b""
        if not line:
            raise RuntimeError("the process that forks kernels has ended; its module could not be imported?")
        ended = msgspec.json.decode(line, type=Ended)
        return msgspec.structs.replace(ended, left=tuple(self._left()))

    def _left(self) -> list[str]:
        """What is there after Core has had its time to see that its kernel is gone."""
        until = time.monotonic() + _GONE_DEADLINE_S
        while (found := self._there()) and time.monotonic() < until:
            time.sleep(0.01)
        return found

    def _there(self) -> list[str]:
        remove_orphans(self.temporary)  # as the next kernel does
        directories = sorted(map(str, self.temporary.iterdir()))
        return directories or [f"process {pid}" for pid in processes_in(self.temporary)]

    def close(self) -> None:
        """End the process. May be called twice."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._popen.communicate(timeout=10)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def processes_in(temporary: Path) -> list[int]:
    """Processes that were started with this temporary folder; zombies aside."""
    wanted, found = f"TMPDIR={temporary}\0".encode(), list[int]()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes():
                found.append(int(path.parent.name))
    return found
