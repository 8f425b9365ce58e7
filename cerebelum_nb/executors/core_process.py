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
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from select import select
from time import monotonic
from typing import IO, Any, ParamSpec, TypeVar

import psutil

from cerebelum_nb.codec import LARGE_NBYTES
from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.executors.orphans import HANDED, LOG, YOUNG_S, remove_orphans, say_whose
from cerebelum_nb.seal import new_key
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.frames import AnyFrame
from cerebelum_nb.wire.ledger import NBYTES, Ledger
from cerebelum_nb.wire.pieces import LIMIT_NBYTES

READY_DEADLINE_S = 20.0
STOP_DEADLINE_S = 2.0
_SOCKET = "core.sock"  # as core/__main__.py names it
_MEMORY = Path("/dev/shm")  # noqa: S108  with a private folder of ours in it
_MAX_PATH_NBYTES = 107  # of a unix socket, by the kernel's headers
_LOG_TAIL = 1_000


class CoreProcess:
    """One Core process with its directory and its secrets.

    Starting returns at once; the process then boots while the caller loads gRPC. The pipe to its stdin stays open:
    Core ends when it closes, so it cannot outlive us.
    """

    def __init__(  # noqa: PLR0913  most by keyword
        self,
        slots: int,
        run_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
        *,
        large_nbytes: int | None = LARGE_NBYTES,
        limit_nbytes: int = LIMIT_NBYTES,
        worker_silent_s: float = 60.0,
        pool: str = "distributed",
    ) -> None:
        """Start Core.

        Args:
            env: What its workers have in their environment beside ours.
            large_nbytes: A larger value is in memory that its workers share with us; None for none.
            limit_nbytes: Of a value that does not go by shared memory.
            worker_silent_s: A worker that neither answers nor does anything for so long is ended.
            pool: Whose it is, for who looks at the system's processes.

        Raises:
            ExecutorError: No usable place for its socket, or the system refuses another process.
        """
        self.token = secrets.token_hex(32)
        self.key = new_key()
        self.directory = _fresh_directory(run_dir)
        self.socket = self.directory / _SOCKET
        self._log = self.directory / LOG
        self._memory = SharedMemory(self.directory) if large_nbytes is not None else None
        self.large_nbytes, self.limit_nbytes = large_nbytes or LARGE_NBYTES, limit_nbytes
        self.segments = self._memory.folders if self._memory is not None else ()
        self.last_words = ""  # the end of its log, once it has ended
        self._ledger = Ledger(bytes(NBYTES))  # what it had noted once it has ended
        try:
            self._handed: FileIO | None = _zeros(self.directory / HANDED)
            say_whose(self.directory)
            self._popen = self._start(pool)
            self._words = (self.directory / LOG).open("rb")  # it can be read although Core has removed it
        except OSError as exc:
            shutil.rmtree(self.directory, ignore_errors=True)
            if self._memory is not None:
                self._memory.remove()
            raise ExecutorError(f"Core could not be started: {exc}. Steps can run locally meanwhile.") from exc
        self.pid = self._popen.pid
        path, cwd = place()
        self._say(
            {
                "token": self.token,
                "key": self.key.hex(),
                "kernel": os.getpid(),
                "slots": slots,
                "env": dict(env or {}),
                "worker_silent_s": worker_silent_s,
                "segments": [str(folder) for folder in self.segments],
                "large_nbytes": self.large_nbytes,
                "limit_nbytes": limit_nbytes,
                "path": path,
                "cwd": cwd,
            }
        )

    metadata = property(lambda self: ((channel.TOKEN, self.token),), doc="What is said before anything else.")
    where = property(lambda self: str(self.directory), doc="Where it is reached.")
    opening: "tuple[AnyFrame, ...]" = ()  # the first frames
    storage = None  # its workers share our memory
    next_one = "A new Core starts with the next attempt."

    def __str__(self) -> str:
        """As sentences begin with it."""
        return f"Core (pid {self.pid})"

    def channel(self) -> Any:
        """A new channel to it."""
        import grpc.aio  # noqa: PLC0415  not before Core has been started

        return grpc.aio.insecure_channel(f"unix:{self.socket}", options=channel.OPTIONS)

    def _start(self, pool: str) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as log:
            fcntl.flock(log, fcntl.LOCK_EX)  # Core and workers write there: it stays locked for as long as one lives
            return subprocess.Popen(  # noqa: S603  our own module; -P: a random.py beside the notebook is not
                [sys.executable, "-P", "-m", "cerebelum_nb.core", str(self.directory), pool],
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
            self._ledger = Ledger(self._handed.read(NBYTES))
            self._handed.close()
            self._handed = None
            self.last_words = self.log_tail()
            self._words.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._memory is not None:
            self._memory.remove()

    def had(self, attempt: int) -> bool:
        """Whether a worker may have begun an attempt; asked when the process has ended."""
        return self._ledger.has(attempt)

    def log_tail(self, nbytes: int = 64 << 10) -> str:
        """The end of what Core and its workers have said."""
        try:
            fd = self._words.fileno()
            return os.pread(fd, nbytes, max(0, os.fstat(fd).st_size - nbytes)).decode("utf-8", "replace")
        except ValueError:  # it is closed
            return self.last_words

    def _log_tail(self) -> str:
        tail = self.log_tail(_LOG_TAIL).strip()
        return f"Its last words: {tail}" if tail else "It left no message. Steps can run locally meanwhile."


def place() -> tuple[list[str], str]:
    """Where this process looks for modules, and its directory; workers look there too."""
    cwd = _cwd()
    return [entry or cwd for entry in sys.path], cwd


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  4 times quicker
    except FileNotFoundError:
        return "/"


class LastPlace:
    """Where this process looked when somebody asked last."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._cwd = ""

    def moved(self) -> bool:
        """Whether `place` is another one since; on the way of every attempt, so it makes nothing."""
        cwd = _cwd()
        if cwd == self._cwd and sys.path == self._path:
            return False
        self._path, self._cwd = sys.path.copy(), cwd
        return True


class SharedMemory:
    """The folders of one Core's segments: one in memory, which only we can enter, and one in the run directory.

    It stays locked for as long as we live, so that what a kernel and its Core left that were killed at once is known.
    """

    def __init__(self, directory: Path) -> None:
        self._path: Path | None = _MEMORY / directory.name
        try:
            _remove_unlocked(_MEMORY)
            self._path.mkdir(mode=0o700)
            self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
        except OSError:  # not on this system, or full
            self._path = None
        in_files = directory / "segments"
        self.folders = (self._path, in_files) if self._path is not None else (in_files,)

    def remove(self) -> None:
        """Core has ended."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._fd)
            self._path = None


def _remove_unlocked(base: Path) -> None:
    """Remove folders of segments whose kernel is gone, and whose Core could not do it."""
    for directory in base.glob("cerebelum-*"):
        with contextlib.suppress(OSError):  # it is somebody else's, locked, or gone
            about = directory.stat()
            if abs(time.time() - about.st_mtime) < YOUNG_S or about.st_uid != os.getuid():
                continue
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(fd)


def _zeros(path: Path) -> FileIO:
    """A new file for a ledger, open: it can be read although somebody removes it."""
    file = path.open("xb+", buffering=0)
    file.write(bytes(NBYTES))
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
    if env.get("MPLBACKEND", "").startswith("module://"):  # the notebook's own: workers have one that shows figures
        del env["MPLBACKEND"]
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


async def to_its_end(function: Callable[[], str]) -> str:
    """Run in a thread to the end even if we are cancelled meanwhile: processes must not be left half buried."""
    task = asyncio.ensure_future(in_thread(function))
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
