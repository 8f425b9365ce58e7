"""Where results are kept: in memory while a run is recent, on disk for later and for other kernels.

A value that goes from one local step to the next is never serialised for that. Beside the run, off its hot path, each
result is encoded once and kept before the events that tell of it: small ones in ``results.db``, larger ones in files
of their own, very large ones not at all. What is kept is sealed with the project's key, which only its owner can read:
nothing is unpickled that others have written. When more runs have ended than are kept in memory, the oldest one's
values are read from disk again where somebody asks.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from cerebelum_nb import codec, seal
from cerebelum_nb.errors import CerebelumError, ExecutorError, PayloadRejected
from cerebelum_nb.identity.code import code_digest
from cerebelum_nb.store.database import connected, file_number, has_no_room, is_damaged, reading, set_aside, use_wal
from cerebelum_nb.store.ended import Ended, Held
from cerebelum_nb.store.journal import forget
from cerebelum_nb.store.sizes import rough_nbytes

_log = logging.getLogger(__name__)
INLINE_NBYTES: Final = 256 * 1024  # a larger result gets a file of its own
KEPT_NBYTES: Final = 16 << 20  # a larger one is not kept: writing it would hold up the run's end
NONE: Final = "none"
SEE: Final = "see"  # kept with an earlier run: `why` is "RUN TASK"
INPUTS_TASK: Final = -1  # what a run's inputs are stored as
NOTHING_TASK: Final = -(1 << 40)  # what the list of tasks is stored as whose result is None


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One result as it is kept, sealed; or why it is not."""

    task: int
    codec: str  # "" for one that is not kept
    body: bytes  # sealed; empty where it is in a file of its own
    code: bytes  # digest of the code that made it
    why: str = ""


_encode: Final = msgspec.msgpack.encode
_decode: Final = msgspec.msgpack.Decoder(list[Stored]).decode


class ResultRef(msgspec.Struct, frozen=True):
    """A result that is on disk only."""

    run: str
    stored: Stored


class Archive:
    """Keeps results of a project's runs.

    Args:
        folder: The project's; made when the first result is written.
        ended: Runs that have ended and keep their values in memory.
        keep: Whether anything is written at all.
    """

    def __init__(self, folder: Path, ended: Ended, *, keep: bool = True) -> None:
        self.folder, self.in_memory, self._keep = folder, ended, keep
        self._db: sqlite3.Connection | None = None
        self._key: bytes | None = None
        self._key_path, self._key_is_there = folder / "key", False  # looked at once for all that is written together
        self._why_not = "results are not kept (keep_results = false)"
        self._warned = False
        self._others: dict[str, dict[int, Stored]] = {}  # what is kept of runs that others refer to, for a while
        self._digests: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()

    # -- writing; called by the pump's thread alone

    def keep_nothing(self, why: str) -> None:
        """There is no folder to write to, which has been told."""
        self._keep, self._why_not = False, why

    def stored(self, run: str, task: int, value: Any, function: Callable[..., Any] | None) -> Stored:
        """A result as it is kept. What cannot be kept says why.

        Raises:
            OSError: There is no room for it just now.
        """
        code = self.digest(function) if function is not None else b""
        if not self._keep:
            return Stored(task, "", b"", code, self._why_not)
        if value is None:
            return Stored(task, NONE, b"", code)
        encoded = None
        try:
            size = rough_nbytes(value)
            encoded = codec.encode(value) if size <= KEPT_NBYTES else None
            if encoded is None or encoded.nbytes > KEPT_NBYTES:
                size = max(size, encoded.nbytes if encoded is not None else 0)
                return Stored(
                    task, "", b"", code, f"it is {size / 2**20:.0f} MiB; at most {KEPT_NBYTES >> 20} are kept"
                )
            body = seal.seal(self.sealing_key(), _address(run, task, encoded.codec), bytes(encoded.data))
            if encoded.nbytes > INLINE_NBYTES:
                self._write(run, task, body)
                body = b""
        except BaseException as exc:  # a person's __reduce__ may do anything; the run goes on
            if has_no_room(exc) and encoded is not None:
                raise
            return Stored(task, "", b"", code, codec.one_line(exc))
        return Stored(task, encoded.codec, body, code)

    def digest(self, function: Callable[..., Any]) -> bytes:
        """What a function's code does, as bytes; remembered."""
        try:
            found = self._digests.get(function)
            if found is None:
                found = self._digests[function] = code_digest(function)
        except TypeError:  # it cannot be remembered
            return code_digest(function)
        return found

    def write(self, run: str, last: int, stored: Sequence[Stored], *, lasting: bool = False) -> None:
        """Put results on disk. Where that can never be it is said once, and the run goes on without.

        Args:
            last: Number of the last event that tells of them.
            lasting: Return only when a power cut leaves them there.

        Raises:
            sqlite3.Error: There is no room for them just now.
        """
        self._key_is_there = False  # somebody may remove the folder
        if not self._keep:
            return
        path = self.folder / "results.db"
        try:
            try:
                self._insert(path, run, last, stored, lasting=lasting)
            except sqlite3.Error as exc:
                if not is_damaged(exc):
                    raise
                self._set_aside(path, exc)
                self._insert(path, run, last, stored, lasting=lasting)
        except (OSError, sqlite3.Error) as exc:
            if has_no_room(exc):
                raise
            self._keep = False
            _log.warning("results are not kept from here on: %s: %s", path, exc)

    def _insert(self, path: Path, run: str, last: int, stored: Sequence[Stored], *, lasting: bool) -> None:
        if self._db is not None and not path.exists():  # somebody removed the folder
            self._db.close()
            self._db = None
        if self._db is None:
            self._db = _opened(path)
        self._db.execute(f"pragma synchronous={'full' if lasting else 'normal'}")
        self._db.execute("insert into results values(?,?,?)", (run, last, _encode(stored)))

    def _set_aside(self, path: Path, why: Exception) -> None:
        file = file_number(path)
        if self._db is not None:
            self._db.close()
            self._db = None
        aside = set_aside(path, file)
        _log.warning("the results in %s cannot be read (%s); the file was set aside as %s", path, why, aside.name)

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()

    def _write(self, run: str, task: int, body: bytes) -> None:
        path = self._path(run, task)
        make_folders(self.folder, path.parent)
        half = path.with_name(f"{task}.half")
        try:
            with os.fdopen(os.open(half, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the name and not the bytes
        except OSError:
            half.unlink(missing_ok=True)  # what there is of it takes the room that others need
            raise
        half.replace(path)

    # -- reading

    def ended(self, results: Held) -> None:
        """A run has ended; the oldest one in memory is let go of."""
        self._others = {}
        self.in_memory.add(results)

    def of_run(self, run: str) -> dict[int, Stored]:
        """What is kept of a run, by task: the newest of each."""
        path = self.folder / "results.db"
        if not path.exists():
            return {}
        try:
            with reading(path) as db:
                rows = db.execute("select body from results where run=? order by last", (run,)).fetchall()
        except ExecutorError as exc:  # the run can be looked at without
            _log.warning("%s", exc)
            return {}
        found: dict[int, Stored] = {}
        for stored in (one for (body,) in rows for one in _decode(body)):
            found[stored.task] = stored
            if stored.task == NOTHING_TASK:
                found.update((task, Stored(task, NONE, b"", b"")) for task in array("I", stored.body))
        return found

    def ref(self, run: str, task: int) -> ResultRef:
        """Where the result of a task that completed is."""
        return ref_in(self.of_run(run), run, task)

    def if_kept(self, ref: ResultRef) -> Any:
        """A value from disk, or a `ResultRef` that says why there is none."""
        if not ref.stored.codec:
            return ref
        try:
            return self.load(ref)
        except CerebelumError as exc:
            return ResultRef(ref.run, Stored(ref.stored.task, "", b"", b"", str(exc)))

    def load(self, ref: ResultRef) -> Any:
        """A value from disk.

        Raises:
            ExecutorError: It was never kept, or its file is gone.
            PayloadRejected: It was changed, or is of another project.
        """
        stored = ref.stored
        if stored.codec == NONE:
            return None
        if stored.codec == SEE:
            found = self._seen_from(stored)
            if found is None:
                raise ExecutorError(
                    f"the result of task {stored.task} in run {ref.run} is that of run {stored.why.split()[0]}, which "
                    "is gone"
                )
            return self.load(found)
        if not stored.codec:
            raise ExecutorError(f"the result of task {stored.task} in run {ref.run} was not kept: {stored.why}")
        body = stored.body
        if not body:
            try:
                body = self._path(ref.run, stored.task).read_bytes()
            except OSError as exc:
                raise ExecutorError(f"the result of task {stored.task} in run {ref.run} is gone: {exc}") from None
        address = _address(ref.run, stored.task, stored.codec)
        try:
            return codec.decode(stored.codec, seal.unseal(self.sealing_key(), address, body))
        except PayloadRejected:
            raise PayloadRejected(
                f"what is kept of run {ref.run} does not open with the key in {self.folder}: it was sealed with "
                "another one, or was changed. Nothing in it was read."
            ) from None

    def has(self, ref: ResultRef) -> bool:
        """Whether a value is still there."""
        stored = ref.stored
        if stored.codec == SEE:
            found = self._seen_from(stored)
            return found is not None and self.has(found)
        if stored.codec in ("", NONE) or stored.body:
            return bool(stored.codec)
        return self._path(ref.run, stored.task).exists()

    def _seen_from(self, stored: Stored) -> ResultRef | None:
        """What an entry refers to in an earlier run; None where that is gone."""
        run, _, task = stored.why.partition(" ")
        if run not in self._others:  # a thousand entries may refer to one run
            self._others[run] = self.of_run(run)
        found = self._others[run].get(int(task))
        return ResultRef(run, found) if found is not None else None

    def forget(self, runs: Sequence[str]) -> None:
        """Remove what is kept of runs.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        self._others = {}
        if (self.folder / "results.db").exists():
            forget(self.folder / "results.db", runs)
        for run in runs:
            shutil.rmtree(self.folder / "results" / run, ignore_errors=True)

    def sizes(self) -> dict[str, int]:
        """Bytes that each run's results take on disk."""
        found: dict[str, int] = {}
        if (self.folder / "results.db").exists():
            with reading(self.folder / "results.db") as db:
                found.update(db.execute("select run, sum(length(body)) from results group by run"))
        for file in (self.folder / "results").glob("*/*"):
            with contextlib.suppress(OSError):  # another kernel is tidying up too
                found[file.parent.name] = found.get(file.parent.name, 0) + file.stat().st_size
        return found

    def _path(self, run: str, task: int) -> Path:
        return self.folder / "results" / run / str(task)

    def sealing_key(self) -> bytes:
        """The project's key, made when it is first needed.

        Raises:
            ExecutorError: The file is there and is no key.
            OSError: The folder cannot be read or written.
        """
        self._key_is_there = self._key_is_there or self._key_path.exists()
        if self._key is None or not self._key_is_there:
            try:
                self._key = _project_key(self.folder)
            except (ExecutorError, OSError) as exc:
                if not self._warned:
                    self._warned = True
                    _log.warning("results are not kept: %s", exc)
                raise
        return self._key


def _opened(path: Path) -> sqlite3.Connection:
    db = connected(path)
    try:
        use_wal(db)
        db.execute("create table if not exists results(run text, last integer, body blob)")
        db.execute("create index if not exists results_run on results(run, last)")
    except BaseException:
        db.close()
        raise
    return db


def ref_in(stored: Mapping[int, Stored], run: str, task: int) -> ResultRef:
    """Where the result of a task that completed is, by what is kept of its run."""
    if (found := stored.get(task)) is not None:
        return ResultRef(run, found)
    if stored and NOTHING_TASK not in stored:  # of an earlier version: no entry meant None
        return ResultRef(run, Stored(task, NONE, b"", b""))
    return ResultRef(run, Stored(task, "", b"", b"", "results.db has lost it" if stored else "no results were kept"))


def gave_nothing(tasks: Sequence[int]) -> Stored:
    """What tells of tasks whose result is None; also of none, so that a missing result is known to be lost."""
    return Stored(NOTHING_TASK, NONE, array("I", tasks).tobytes(), b"")


def answers_task(task: int) -> int:
    """What the answers that a task was given are stored as."""
    return -2 - task


def sent_task(task: int) -> int:
    """What a function is stored as that was sent to a worker, where its attempt failed."""
    return -(1 << 32) - task


def _address(run: str, task: int, codec_name: str) -> seal.Address:
    return seal.Address(run, task, 0, "to kernel", codec_name)


def _project_key(folder: Path) -> bytes:
    """The key in the project's folder; made by whoever comes first, whole or not at all."""
    make_folders(folder, folder)
    path = folder / "key"
    with contextlib.suppress(FileNotFoundError):
        return _read_key(path)
    mine = path.with_name(f"key.{os.getpid()}.{time.monotonic_ns()}")
    with os.fdopen(os.open(mine, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
        file.write(seal.new_key())
    with contextlib.suppress(FileExistsError):  # another kernel was first
        os.link(mine, path)
    mine.unlink()
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != seal.KEY_NBYTES:
        raise ExecutorError(
            f"{path} is not a key of {seal.KEY_NBYTES} bytes; remove it, and results kept so far are lost"
        )
    return key


def make_folders(first: Path, last: Path) -> None:
    """One by one: `parents` would give those above the usual rights."""
    first.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = [p for p in (last, *last.parents) if p.is_relative_to(first) and not p.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
