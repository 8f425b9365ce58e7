"""Results that may be used again in later runs: ``cache.db`` in the project's folder, and a memory in front of it.

A result is encoded the moment its step returns it, before anybody else can change it, and kept when its attempt is
known to have succeeded. It is sealed with the project's key and bound to its own key, so nothing is unpickled that
others have written. An entry that cannot be used is a miss that says so, and is removed. Writing is the pump's
business; where it fails that is said once, and runs go on.
"""

import contextlib
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from cerebelum_nb import codec, seal
from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.identity.cachekey import Carrier, Parts
from cerebelum_nb.store.database import connected, file_number, is_damaged, may_pass, set_aside, transaction, use_wal
from cerebelum_nb.store.memory import IN_MEMORY, INLINE_NBYTES, Found, Memory, found_in

_log = logging.getLogger(__name__)
SCHEMA: Final = 1
NAME: Final = "cache.db"
FILES: Final = "cache"
LARGEST_NBYTES: Final = 16 << 20  # a larger one is not cached: encoding it would hold up what runs beside
_USED_S: Final = 3600.0  # when a result was last used is written so often
_OLD_S: Final = 3600.0  # a file that no entry names and that is older was left by a process that died
_TABLE: Final = (
    "create table if not exists entries(key blob primary key, step text, at real, used real, nbytes integer, "
    "run text, codec text, body blob, file text, parts blob)"
)
_INDEXES: Final = (  # the last two, so that looking for room reads no results
    "entries_step on entries(step, at)",
    "entries_used on entries(used, nbytes)",
    "entries_file on entries(file) where file<>''",
)
_pack: Final = msgspec.msgpack.encode
_parts: Final = msgspec.msgpack.Decoder(Parts).decode


class Made(NamedTuple):
    """A step's result, encoded, with the key that it is kept under."""

    key: bytes
    step: str
    run: str
    codec: str
    data: bytes
    parts: Parts


class Broken(Exception):
    """There is an entry, and it cannot be used; the text says why."""


class NewerCache(Exception):
    """A cache of a later version, which this one must not touch."""


class Cache:
    """A project's cache, as one session sees it.

    Args:
        folder: The project's; made when the first result is written.
        limit_nbytes: What all results may take on disk.
        key: Gives the project's sealing key.
        keep: Whether anything is written at all.
    """

    def __init__(self, folder: Path, limit_nbytes: int, key: Callable[[], bytes], *, keep: bool = True) -> None:
        self._folder, self._limit, self._key, self._keep = folder, limit_nbytes, key, keep
        self.carrier = Carrier()
        self.threads = ThreadPoolExecutor(2, "cerebelum-cache")  # makes them when they are first needed
        self.memory = Memory()
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._told = False  # that nothing can be written
        self._written = 0  # bytes since somebody tidied
        self._used: dict[bytes, float] = {}  # when a key's use was last written, or 0.0 where it is to be
        self._broken: set[bytes] = set()  # to be removed

    # -- reading; from any thread

    def at_once(self, key: bytes) -> Found | None:
        """A result that is in memory."""
        found = self.memory.find(key)
        if found is not None and key not in self._used:
            self._used[key] = 0.0
        return found

    def find(self, key: bytes) -> Found | None:
        """A result, from memory or from disk.

        Raises:
            Broken: There is one that cannot be used; it is removed.
        """
        found = self.at_once(key)
        if found is not None:
            return found
        row = self._row("select run, codec, body, file from entries where key=?", key)
        if row is None or key in self._broken:
            return None
        run, name, body, file = row
        try:
            if file:
                body = (self._folder / FILES / Path(str(file)).name).read_bytes()
            data = bytes(seal.unseal(self._key(), _address(key, str(run), str(name)), body))
            value = codec.decode(str(name), data)
        except PayloadRejected:
            why = "was changed, or is of another project"
        except Exception as exc:  # noqa: BLE001  a class that is gone: unpickling may raise anything
            why = f"cannot be read ({codec.one_line(exc)})"
        else:
            self._used.setdefault(key, 0.0)
            self.memory.put(key, str(name), data, str(run))
            return found_in(str(run), value)
        self._broken.add(key)
        raise Broken(f"the earlier result {why}, and is removed")

    def newest(self, step: str) -> Parts | None:
        """What a step's newest result was made with."""
        if (known := self.memory.newest(step)) is not None:
            return known
        row = self._row("select parts from entries where step=? order by at desc limit 1", step)
        with contextlib.suppress(msgspec.MsgspecError):
            return _parts(row[0]) if row is not None else None
        return None

    def _row(self, query: str, what: Any) -> Any:
        path = self._folder / NAME
        with self._reading:
            try:
                if self._reader is None:
                    if not self._keep or not path.exists():
                        return None
                    self._reader = sqlite3.connect(
                        f"file:{quote(str(path))}?mode=ro",
                        uri=True,
                        timeout=1.0,
                        check_same_thread=False,
                        isolation_level=None,
                    )
                    if self._reader.execute("pragma user_version").fetchone()[0] > SCHEMA:
                        self._keep = False  # the next to write would say so; nothing of it is read
                        _log.warning("the cache %s was written by a newer cerebelum_nb; it is left alone", path)
                        self._reader.close()
                        self._reader = None
                        return None
                return self._reader.execute(query, (what,)).fetchone()
            except sqlite3.Error:  # the next to write sets it aside, or says what is wrong with it
                self._stop_reading()
                return None

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # -- writing; called by the pump's thread alone

    def store(self, made: Sequence[Made]) -> None:
        """Keep results. Where that fails it is said once, and runs go on without."""
        for one in made:
            self._broken.discard(one.key)
            self.memory.put(one.key, one.codec, one.data, one.run)
            self.memory.note(one.step, one.parts)
        self._try(lambda: self._store(made))

    def tidy(self) -> None:
        """Write down what was used, remove what is broken, and what no longer finds room."""
        if self._broken or not all(list(self._used.values())):
            self._try(self._tidy)

    def close(self) -> None:
        """Close the files."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.tidy()
        with self._reading:
            self._stop_reading()
        if self._writer is not None:
            self._writer.close()

    def held(self) -> str:
        """What it holds on disk, as people read it; empty for nothing."""
        return held(self._folder)

    def purge(self) -> None:
        """Remove all results, here and on disk.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        self.memory.clear()
        purge(self._folder)

    def keep_nothing(self) -> None:
        """Nothing can be written, which has been told: from here on it is in memory only."""
        self._keep = False

    def _try(self, write: Callable[[], None]) -> None:
        if not self._keep:
            return
        try:
            try:
                write()
            except sqlite3.Error as exc:
                if not is_damaged(exc):
                    raise
                self._set_aside(exc)
                write()
        except Exception as exc:  # noqa: BLE001  a full disk, a newer file: the cache is a guest in every run
            self._keep = may_pass(exc)
            if not self._told:
                self._told = True
                when = "for now" if self._keep else "from here on"
                _log.warning("results are not cached on disk %s: %s: %s", when, self._folder / NAME, exc)
        else:
            self._told = False

    def _set_aside(self, why: Exception) -> None:
        with self._reading:
            self._stop_reading()
        self._stop_writing()
        path = self._folder / NAME
        aside = set_aside(path, file_number(path))
        _log.warning("the cache %s cannot be read (%s); it was set aside as %s", path, why, aside.name)

    def _stop_writing(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _db(self) -> sqlite3.Connection:
        path = self._folder / NAME
        if self._writer is not None and not path.exists():  # somebody removed the folder
            self._stop_writing()
            with self._reading:
                self._stop_reading()
        if self._writer is None:
            db = connected(path)
            try:
                found = db.execute("pragma user_version").fetchone()[0]
                if found > SCHEMA:
                    raise NewerCache(f"it was written by a newer cerebelum_nb (schema {found})")  # noqa: TRY301
                use_wal(db)
                db.execute("pragma synchronous=normal")
                db.execute(_TABLE)
                for index in _INDEXES:
                    db.execute(f"create index if not exists {index}")
                db.execute("select key, step, at, used, nbytes, run, codec, body, file, parts from entries limit 0")
                db.execute(f"pragma user_version={SCHEMA}")
            except BaseException:
                db.close()
                raise
            self._writer = db
            self._make_room(db)
        return self._writer

    def _store(self, made: Sequence[Made]) -> None:
        db, now, key = self._db(), time.time(), self._key()
        rows, old = list[tuple[Any, ...]](), list[str]()
        for one in made:
            body = seal.seal(key, _address(one.key, one.run, one.codec), one.data)
            file = ""
            if len(one.data) > INLINE_NBYTES:
                file, body = self._write_file(one.key, body), b""
            nbytes = len(one.data) + sum(len(label) + len(what) for label, what in one.parts)
            rows.append((one.key, one.step, now, now, nbytes, one.run, one.codec, body, file, _pack(one.parts)))
            self._used[one.key] = now
            self._written += nbytes
        with transaction(db):
            for row in rows:
                old += [name for (name,) in db.execute("select file from entries where key=?", row[:1]) if name]
                db.execute("insert or replace into entries values(?,?,?,?,?,?,?,?,?,?)", row)
        self._remove_files(old)
        if self._written > self._limit // 8:
            self._make_room(db)

    def _write_file(self, key: bytes, body: bytes) -> str:
        folder = self._folder / FILES
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{key.hex()}-{secrets.token_hex(4)}"
        half = folder / f"{name}.half"
        with os.fdopen(os.open(half, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
        half.replace(folder / name)
        return name

    def _tidy(self) -> None:
        if not (self._folder / NAME).exists():
            return
        db, now = self._db(), time.time()
        used = [key for key, at in list(self._used.items()) if at < now - _USED_S]
        broken, self._broken = self._broken, set()
        with transaction(db):
            db.executemany("update entries set used=? where key=?", [(now, key) for key in used])
            old = [f for key in broken for (f,) in db.execute("select file from entries where key=?", (key,)) if f]
            db.executemany("delete from entries where key=?", [(key,) for key in broken])
        self._remove_files(old)
        self._used.update(dict.fromkeys(used, now))
        if len(self._used) > 4 * IN_MEMORY:
            self._used.clear()

    def _make_room(self, db: sqlite3.Connection) -> None:
        """Remove the least recently used, and files that nobody knows."""
        self._written = 0
        with transaction(db):
            total = db.execute("select coalesce(sum(nbytes), 0) from entries").fetchone()[0]
            files: list[str] = []
            if total > self._limit:
                for key, nbytes, file in db.execute("select key, nbytes, file from entries order by used").fetchall():
                    if total <= self._limit * 9 // 10:
                        break
                    total -= nbytes
                    files += [file] if file else []
                    db.execute("delete from entries where key=?", (key,))
            known = {name for (name,) in db.execute("select file from entries where file<>''")}
        self._remove_files(files)
        for path in (self._folder / FILES).glob("*"):
            with contextlib.suppress(OSError):  # another kernel tidies up too
                if path.name not in known and path.stat().st_mtime < time.time() - _OLD_S:
                    path.unlink()

    def _remove_files(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(OSError):
                (self._folder / FILES / name).unlink()


def _address(key: bytes, run: str, codec_name: str) -> seal.Address:
    return seal.Address(f"cache {key.hex()} {run}", 0, 0, "to kernel", codec_name)


def held(folder: Path) -> str:
    """What a project's cache holds, as people read it: ``3 results (1.2 MiB)``; empty for nothing."""
    count, nbytes = size(folder)
    return f"{count} result{'s' if count != 1 else ''} ({nbytes / 2**20:.1f} MiB)" if count else ""


def size(folder: Path) -> tuple[int, int]:
    """How many results a project's cache holds, and their bytes; nothing for one that cannot be read."""
    if not (folder / NAME).exists():
        return 0, 0
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(folder / NAME))}?mode=ro", uri=True, timeout=5.0)) as db:
        try:
            found: tuple[int, int] = db.execute("select count(*), coalesce(sum(nbytes), 0) from entries").fetchone()
        except sqlite3.DatabaseError:
            return 0, 0
    return found


def purge(folder: Path) -> None:
    """Remove all results of a project's cache.

    Raises:
        sqlite3.Error: The file cannot be written.
    """
    path = folder / NAME
    if path.exists():
        try:
            with contextlib.closing(connected(path)) as db:
                db.execute("delete from entries")
                with contextlib.suppress(sqlite3.OperationalError):  # others read it: its room is used again later
                    db.execute("vacuum")
        except sqlite3.OperationalError as exc:
            if "no such table" not in str(exc):
                raise
        except sqlite3.DatabaseError:  # it is none: nothing in it can be used
            for suffix in ("", "-wal", "-shm"):
                path.with_name(NAME + suffix).unlink(missing_ok=True)
    shutil.rmtree(folder / FILES, ignore_errors=True)
