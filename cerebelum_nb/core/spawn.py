"""Start and end worker processes. Imports little: workers must be on their way before Core loads gRPC."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from cerebelum_nb.wire.gate import Gate, new_gate

_REAP_S = 0.5


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process and Core's ends of the two sockets to it.

    Attributes:
        line: Attempts and their outcomes.
        control: Stops, answers and pings, which a worker hears while its main thread runs a step.
        gate: Where attempts that it was sent can be taken back.
    """

    popen: "subprocess.Popen[bytes]"
    line: socket.socket
    control: socket.socket
    gate: Gate

    @property
    def pid(self) -> int:
        """The process id, and the id of its group."""
        return self.popen.pid


class Ending(OSError):
    """No worker is started any more: all are being ended."""


class Nursery:
    """All worker processes that are alive: who ends Core ends them with it. Used from any thread.

    Attributes:
        ending: Core ends: no worker is started any more.
        env: What new workers have in their environment beside Core's.
        segments: Folders of the memory that they share with the kernel, for values of more than `large_nbytes`.
        kernel: Its pid.
        lifeline: A file of ours that can be read when the kernel has ended, for workers to see that themselves: we may
            be stopped. None where there is no such file.
    """

    def __init__(self) -> None:
        self._alive: set[int] = set()
        self.ending = False
        self.env: dict[str, str] = {}
        self.segments: list[str] = []
        self.kernel = self.large_nbytes = 0
        self.lifeline: int | None = None
        self._lock = threading.Lock()  # none may be started while all are being ended

    def spawn(self) -> Process:
        """Start a worker in a process group of its own, so that it can be killed with all its children.

        Raises:
            OSError: The system refuses another process; `Ending` where all are being ended.
        """
        line, their_line = socket.socketpair()
        control, their_control = socket.socketpair()
        gate = new_gate()
        fds = [their_line.fileno(), their_control.fileno(), gate.fd]
        said = [*fds, *([] if self.lifeline is None else [self.lifeline])]
        with their_line, their_control, self._lock:
            if self.ending:
                raise Ending("Core ends")
            popen = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-P", "-m", "cerebelum_nb.worker", ",".join(map(str, said)), *self._shares()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **self.env},
                pass_fds=said,
                process_group=0,
            )
            self._alive.add(popen.pid)
        return Process(popen, line, control, gate)

    def _shares(self) -> list[str]:
        return [str(self.large_nbytes), *self.segments] if self.segments else []

    def forget(self, pid: int) -> None:
        """A worker has ended by itself."""
        self._alive.discard(pid)

    def end(self) -> None:
        """Kill all workers with all their children, and reap them: where this runs, nobody else may do it."""
        with self._lock:
            self.ending = True
        for pid in list(self._alive):
            kill_group(pid)
        until = time.monotonic() + _REAP_S
        while any(map(_is_child, list(self._alive))) and time.monotonic() < until:
            time.sleep(0.002)


def _is_child(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    return False


def kill_group(pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Signal a worker and what it started. One that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, how)
