"""Where results are kept: in memory while a run is recent, on disk when it is not.

A value that goes from one local step to the next is never serialised. When more runs have ended than are kept in
memory, the oldest one's values go to files, sealed with this session's key, so that `rerun` and `outputs` still
have them and a notebook that runs a workflow all day does not grow. A value that cannot be written stays in memory.
"""

import os
import shutil
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from cerebelum_nb import codec, seal
from cerebelum_nb.errors import CerebelumError


class ResultRef(msgspec.Struct, frozen=True):
    """A result on disk: which task's, how large, how written."""

    run: str
    task: int
    nbytes: int
    codec: str


class Results:
    """The values of one run, by task number; a place holds a value or a `ResultRef`."""

    def __init__(self, store: "ResultStore", run: str, values: list[Any]) -> None:
        self._store, self.run, self._values = store, run, values

    def __getitem__(self, task: int) -> Any:
        value = self._values[task]
        return self._store.load(value) if type(value) is ResultRef else value

    def spill(self) -> None:
        """Move every value that can be written to disk."""
        for task, value in enumerate(self._values):
            if value is not None and type(value) is not ResultRef:
                self._values[task] = self._store.save(self.run, task, value)


class ResultStore:
    """Results of a session's runs.

    Args:
        folder: Where files go; made when the first value is written, removed by `close`.
        in_memory: How many ended runs keep their values in memory.
    """

    def __init__(self, folder: Path, in_memory: int) -> None:
        self._folder, self._in_memory = folder / str(os.getpid()), in_memory
        self._ended: deque[Results] = deque()
        self._key: Final = seal.new_key()

    def ended(self, results: Results) -> None:
        """A run has ended; the oldest may have to go to disk."""
        self._ended.append(results)
        while len(self._ended) > self._in_memory:
            self._ended.popleft().spill()

    def save(self, run: str, task: int, value: Any) -> Any:
        """Write a value; returns its `ResultRef`, or the value itself where it cannot be written."""
        try:
            encoded = codec.encode(value)
            path = self._path(run, task)
            self._make_folder(path.parent)
            body = seal.seal(self._key, self._address(run, task, encoded.codec), bytes(encoded.data))
            with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(body)
        except (CerebelumError, OSError):
            return value
        return ResultRef(run, task, encoded.nbytes, encoded.codec)

    def load(self, ref: ResultRef) -> Any:
        """Read a value back.

        Raises:
            PayloadRejected: The file was changed.
            OSError: The file is gone.
        """
        body = self._path(ref.run, ref.task).read_bytes()
        return codec.decode(ref.codec, seal.unseal(self._key, self._address(ref.run, ref.task, ref.codec), body))

    def close(self) -> None:
        """Remove the files; the key that opens them ends with the session."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make_folder(self, path: Path) -> None:
        if not self._folder.exists() and self._folder.parent.exists():
            for left in self._folder.parent.iterdir():  # of a kernel that was killed: nobody has its key any more
                if left.name.isdecimal() and not psutil.pid_exists(int(left.name)):
                    shutil.rmtree(left, ignore_errors=True)
        for folder in (self._folder.parent.parent, self._folder.parent, self._folder, path):
            folder.mkdir(mode=0o700, exist_ok=True)  # one by one: `parents` would give those above the usual rights

    def _path(self, run: str, task: int) -> Path:
        return self._folder / run / str(task)

    @staticmethod
    def _address(run: str, task: int, codec_name: str) -> seal.Address:
        return seal.Address(run, task, 0, "to kernel", codec_name)
