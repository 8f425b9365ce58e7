"""A served Core, agents and kernels for tests: real processes, real TLS."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "executors"))

from cerebelum_nb.executors.core import CoreExecutor

COMMAND = [sys.executable, "-m", "cerebelum_nb.cli"]


class Program:
    """A command that runs until it is told to end; what it says is read as it comes."""

    def __init__(self, *args: object, env: dict[str, str] | None = None) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115  closed with the program
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cerebelum_nb.cli.__main__", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )
        self.pid = self.process.pid

    def said(self) -> str:
        size = os.fstat(self._out.fileno()).st_size
        return os.pread(self._out.fileno(), size, 0).decode("utf-8", "replace")

    def wait_for(self, text: str, deadline_s: float = 20.0) -> str:
        """Wait until it has said something."""
        until = time.monotonic() + deadline_s
        while text not in self.said():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()}"
            assert time.monotonic() < until, f"not within {deadline_s} s: {text!r} in {self.said()!r}"
            time.sleep(0.01)  # a poll, not a pause
        return self.said()

    def end(self, how: signal.Signals = signal.SIGTERM, deadline_s: float = 10.0) -> int:
        """Signal it, and wait."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        try:
            return self.process.wait(deadline_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


class ServedForTest:
    """``cerebelum core serve``, and what joins it."""

    def __init__(self, folder: Path, *options: object, slots: int = 0) -> None:
        self.path, self.workers_path = folder / "core.pass", folder / "workers.pass"
        self.programs: list[Program] = []
        self.program = self._begin(
            *("core", "serve", "--listen", "127.0.0.1:0", "--slots", slots, "--pass", self.path),
            *("--workers-pass", self.workers_path, *options),
        )
        self.url = re.search(r"tls://\S+", self.program.wait_for("kernels use the pass"))[0]
        self.port = int(self.url.rpartition(":")[2])

    def _begin(self, *args: object) -> Program:
        program = Program(*args)
        self.programs.append(program)
        return program

    def worker(self, *options: object, slots: int = 1, path: Path | None = None, joins: bool = True) -> Program:
        """``cerebelum worker``."""
        program = self._begin("worker", "--pass", path or self.workers_path, "--slots", slots, *options)
        if joins:
            program.wait_for("joined Core")
        return program

    def kernel(self, name: str = "core", url: str = "", **more: object) -> CoreExecutor:
        return CoreExecutor(served=(url or self.url, self.path), name=name, **more)

    def close(self) -> None:
        for program in self.programs:
            if program.process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.end(deadline_s=5)
