"""The standard streams of a worker: what is printed goes to the attempt that runs; there is no keyboard."""

import codecs
import io
import os
import sys

from cerebelum_nb.model.events import Stream
from cerebelum_nb.worker.report import Reporter


class Bytes(io.RawIOBase):
    """What is under a stream, for those who write bytes: ``sys.stdout.buffer``."""

    def __init__(self, reporter: Reporter, name: Stream) -> None:
        super().__init__()
        self._reporter, self._name = reporter, name
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        """As a file says it."""
        return True

    def fileno(self) -> int:
        """What child processes are given; it is read, see `report.Descriptors`."""
        return 2 if self._name == "stderr" else 1

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]  # any buffer in typeshed
        """Hand it to the attempt that runs."""
        if (report := self._reporter.report) is not None:
            report(self._name, self._decoder.decode(bytes(data)))
        return len(data)


class Stray(io.TextIOWrapper):
    """Stands for a standard stream: what is printed, by any thread, goes to the attempt that runs.

    A print to stdout that follows another one soon is a call of C code and no more: ``write`` is then that of the piece
    which `Report.text` has made, until something else is said or the control thread takes what there is.
    """

    def __init__(self, reporter: Reporter, name: Stream) -> None:
        super().__init__(Bytes(reporter, name), encoding="utf-8", errors="replace", write_through=True)  # type: ignore[arg-type]
        self._reporter, self._name = reporter, name

    def write(self, text: str) -> int:
        """Hand the text to the attempt that runs; drop it when none does."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if (report := self._reporter.report) is not None:
            report(self._name, text)
            if self._name == "stdout" and not report.forked:
                report.calm = self._calm
                self.__dict__["write"] = report.text().write
        elif self._reporter.forked:  # a child that the step forked speaks as other programs do
            os.write(2 if self._name == "stderr" else 1, text.encode("utf-8", "replace"))
        return len(text)

    def _calm(self) -> None:
        self.__dict__.pop("write", None)

    def flush(self) -> None:
        """Have it sent before what follows."""
        if (report := self._reporter.report) is not None:
            report.hurry()


class NoKeyboard(io.TextIOBase):
    """Stands for stdin: a step that asks for input fails and says why."""

    def readable(self) -> bool:
        """As a file says it."""
        return True

    def readline(self, _size: int | None = -1) -> str:  # type: ignore[override]  # bytes | str in typeshed
        """Always fails."""
        raise EOFError("a step on a worker has no keyboard. Pass the value as an input, or run the step locally.")

    def read(self, _size: int | None = -1) -> str:
        """Always fails."""
        return self.readline()


def no_breakpoint(*_args: object, **_kwargs: object) -> None:
    """Instead of a debugger that nobody can reach."""
    raise RuntimeError("breakpoint() has no terminal on a worker. Run the step locally to debug it.")


def replace_streams(reporter: Reporter) -> None:
    """Take the process's standard streams away from the step."""
    sys.stdin = NoKeyboard()
    sys.stdout, sys.stderr = Stray(reporter, "stdout"), Stray(reporter, "stderr")
    sys.breakpointhook = no_breakpoint
