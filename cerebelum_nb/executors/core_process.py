"""The embedded Core as the kernel sees it: start it, know when it is ready, tell how it ended, leave nothing behind."""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from select import select
from time import monotonic
from typing import IO, ParamSpec, TypeVar

import psutil

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.seal import new_key

READY_DEADLINE_S = 20.0
STOP_DEADLINE_S = 2.0
_SOCKET, _LOG, _HANDED = "core.sock", "core.log", "handed"  # as core/__main__.py names them
_MAX_PATH_NBYTES = 107  # of a unix socket, by the kernel's headers
_LOG_TAIL = 1_000
_YOUNG_S = 2.0  # a directory that was just made may not be locked yet


class CoreProcess:
    """One Core process with its directory and its secrets.

    Starting returns at once; the process then boots while the caller loads gRPC. The pipe to its stdin stays open:
    Core ends when it closes, so it cannot outlive us.
    """

    def __init__(self, slots: int, run_dir: Path | None = None) -> None:
        """Start Core.

        Raises:
            ExecutorError: No usable place for its socket, or the system refuses another process.
        """
        self.token = secrets.token_hex(32)
        self.key = new_key()
        self.directory = _fresh_directory(run_dir)
        self.socket = self.directory / _SOCKET
        self._log = self.directory / _LOG
        self.handed = 0  # once it has ended: no attempt with a higher number has reached a worker
        try:
            self._handed: FileIO | None = _eight_bytes(self.directory / _HANDED)
            self._popen = self._start()
        except OSError as exc:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise ExecutorError(f"Core could not be started: {exc}. Steps can run locally meanwhile.") from exc
        self.pid = self._popen.pid
        path, cwd = place()
        self._say(
            {
                "token": self.token,
                "key": self.key.hex(),
                "kernel": os.getpid(),
                "slots": slots,
                "path": path,
                "cwd": cwd,
            }
        )

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as log:
            fcntl.flock(log, fcntl.LOCK_EX)  # Core and workers write there: it stays locked for as long as one lives
            return subprocess.Popen(  # noqa: S603  our own module; -P: a random.py beside the notebook is not
                [sys.executable, "-P", "-m", "cerebelum_nb.core", str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                cwd=self.directory,
                start_new_session=True,  # Jupyter interrupts the kernel's whole process group
            )

    def _say(self, settings: dict[str, object]) -> None:
        pipe = _pipe(self._popen.stdin)
        with contextlib.suppress(BrokenPipeError):  # it died at once: `wait_ready` will tell
            pipe.write(json.dumps(settings).encode() + b"\n")
            pipe.flush()

    def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Wait until Core takes connections. Blocks.

        Raises:
            ExecutorError: It ended or took too long; with the last lines of its log.
        """
        pipe = _pipe(self._popen.stdout)
        until = monotonic() + deadline_s
        said = b""
        while b"\n" not in said:
            left = until - monotonic()
            if left <= 0 or not select([pipe], [], [], left)[0]:
                raise ExecutorError(f"Core did not start within {deadline_s:.0f} s. {self._log_tail()}")
            if not (data := os.read(pipe.fileno(), 4096)):
                raise ExecutorError(f"Core {self.how_it_ended()} while it started. {self._log_tail()}")
            said += data
        pipe.close()

    def how_it_ended(self, wait_s: float = 1.0) -> str:
        """How the process ended, in words: ``was killed by SIGKILL``. Blocks for up to `wait_s`."""
        try:
            code = self._popen.wait(wait_s)
        except subprocess.TimeoutExpired:
            return "does not answer"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"

    def stop(self, workers: tuple[int, ...] = (), *, at_once: bool = False) -> None:
        """End Core and all that belongs to it. Blocks for up to about 2 s; may be called again.

        Args:
            workers: Pids of its workers. They are killed only where Core itself could not do it.
            at_once: It is known not to answer: do not wait for it to end by itself.
        """
        if at_once:
            workers = (*workers, *_children(self.pid))
            self._popen.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            graceful = self._popen.wait(STOP_DEADLINE_S) == 0
        except subprocess.TimeoutExpired:
            graceful = False
            self._popen.kill()
            self._popen.wait()
        if not graceful:
            # They end by themselves when the line to Core breaks, unless C code keeps them from noticing.
            for pid in workers:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
        if self._handed is not None:
            self.handed = int.from_bytes(self._handed.read(8), "little")
            self._handed.close()
            self._handed = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _log_tail(self) -> str:
        try:
            tail = self._log.read_text("utf-8", "replace")[-_LOG_TAIL:].strip()
        except OSError:
            tail = ""
        return f"Its last words: {tail}" if tail else "It left no message."


def place() -> tuple[list[str], str]:
    """Where this process looks for modules, and its directory; workers look there too."""
    try:
        cwd = os.getcwd()  # noqa: PTH109  on the way of every attempt: 4 times quicker
    except FileNotFoundError:
        cwd = "/"
    return [entry or cwd for entry in sys.path], cwd


def _eight_bytes(path: Path) -> FileIO:
    """A new file of eight bytes, open: it can be read although somebody removes it."""
    file = path.open("xb+", buffering=0)
    file.write(bytes(8))
    file.seek(0)
    return file


def _children(pid: int) -> list[int]:
    """What a process has started, also what it could not tell us of any more."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # both are made in `_start`
    return pipe


def _environment() -> dict[str, str]:
    env = dict(os.environ)
    parent = str(Path(__file__).resolve().parents[2])
    if parent not in (*site.getsitepackages(), site.getusersitepackages()):
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), parent)))
    if env.get("MPLBACKEND", "").startswith("module://"):  # the notebook's own, of no use without one
        env["MPLBACKEND"] = "agg"
    return env


def _fresh_directory(run_dir: Path | None) -> Path:
    """A new directory that only we can enter, with a path short enough for a socket in it."""
    reasons = []
    for base in [run_dir] if run_dir is not None else _bases():
        longest = os.fsencode(base / "cerebelum-12345678" / _SOCKET)
        if len(longest) > _MAX_PATH_NBYTES:
            reasons.append(
                f"{base}: the socket's path would have {len(longest)} bytes, at most {_MAX_PATH_NBYTES} work"
            )
            continue
        try:
            remove_orphans(base)
            return Path(tempfile.mkdtemp(prefix="cerebelum-", dir=base))
        except OSError as exc:
            reasons.append(f"{base}: {exc.strerror}")
    raise ExecutorError(
        f"there is no place for Core's socket ({'; '.join(reasons)}). Set TMPDIR to a short, writable path."
    )


def remove_orphans(base: Path) -> None:
    """Remove what kernels left that were killed in the moment before their Core ran, which would have done it."""
    for directory in base.glob("cerebelum-*"):
        with contextlib.suppress(OSError):  # it is somebody else's, locked, or gone
            if abs(time.time() - directory.stat().st_mtime) < _YOUNG_S:
                continue
            names = {path.name for path in directory.iterdir()}
            if not names:
                directory.rmdir()
            elif names == {_HANDED}:
                shutil.rmtree(directory, ignore_errors=True)
            elif _HANDED in names:
                with (directory / _LOG).open("rb") as log:
                    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)


def _bases() -> list[Path]:
    bases = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108  mkdtemp makes a private one inside
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        bases.insert(0, Path(runtime))
    return bases


_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a blocking call in a thread of its own.

    asyncio's own threads refuse work once the interpreter has begun to end, which is when Core is stopped.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: BaseException | None) -> None:
        if answer.done():
            return  # its waiter was cancelled
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # one of the two is there

    def main() -> None:
        try:
            result, error = function(*args, **kwargs), None
        except BaseException as exc:  # noqa: BLE001  handed to whoever waits
            result, error = None, exc
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=main, name="cerebelum-core-process", daemon=True).start()
    return await answer
