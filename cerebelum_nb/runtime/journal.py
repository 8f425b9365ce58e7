"""Events on disk: one SQLite file for a project, one row for each batch of events. No values: those are in `results`.

A row per event would cost twenty times the event itself. The last batch of a run is written with
``synchronous=FULL``: it is on disk before anybody hears that the run has ended.
"""

import contextlib
import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.model.events import AnyEvent, RunFinished, decode_lines, encode_lines

SCHEMA: Final = 2  # 1 had no table of runs
CHUNK: Final = 8192  # encoding one holds the GIL for 0.8 ms; every write lets go of it and may wait 5 ms for it


def new_id() -> str:
    """The name of a new run: when it began, in UTC, and something random."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


class NewerJournal(Exception):
    """A journal of a later version, which this one must not touch."""


class About(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known about a run beside its events."""

    run: str
    workflow: str
    at: float  # UTC seconds
    pid: int  # of the kernel that runs it
    born: float  # when that process began, UTC seconds: another one may get its number
    strategy: dict[str, str]
    person: dict[str, str]  # what was moved by hand before it began
    everywhere: str = ""
    root: str = ""  # the run that it goes on from, through any number of resumes


_encode: Final = msgspec.msgpack.encode
_about: Final = msgspec.msgpack.Decoder(About)


class Journal:
    """Writer of one journal file. Used by one thread, the pump's."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            OSError: The folder cannot be made or written.
            NewerJournal: The file was written by a later version; it is left as it is.
            sqlite3.Error: The file is not a journal, or another program holds it.
        """
        self.path = path
        self._db = connected(path)
        found = self._db.execute("pragma user_version").fetchone()[0]
        if found > SCHEMA:
            self._db.close()
            raise NewerJournal(f"it was written by a newer cerebelum_nb (schema {found})")
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("create table if not exists journal(run text, first integer, last integer, lines blob)")
        self._db.execute("create index if not exists journal_run on journal(run, first)")
        self._db.execute("select run, first, last, lines from journal limit 0")  # a table of that shape
        self._db.execute("create table if not exists runs(run text primary key, at real, status text, body blob)")
        self._db.execute(f"pragma user_version={SCHEMA}")

    def write(self, run: str, batch: Sequence[AnyEvent], about: About | None = None) -> None:
        """Append a run's events, in order; on disk when they end the run.

        Args:
            about: What is known beside them; with the first events.

        Raises:
            sqlite3.Error: They could not be written; the journal is as before.
        """
        last, db = batch[-1], self._db
        ended = isinstance(last, RunFinished)
        db.execute(f"pragma synchronous={'full' if ended else 'normal'}")
        db.execute("begin immediate")
        try:
            for i in range(0, len(batch), CHUNK):
                part = batch[i : i + CHUNK]
                db.execute("insert into journal values(?,?,?,?)", (run, part[0].seq, part[-1].seq, encode_lines(part)))
            if about is not None:
                db.execute("insert or replace into runs values(?,?,'',?)", (run, about.at, _encode(about)))
            if isinstance(last, RunFinished):
                db.execute("update runs set status=? where run=?", (last.status, run))
            db.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already; its own words matter
                db.execute("rollback")
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def connected(path: Path) -> sqlite3.Connection:
    """A database that only its owner can read, made when it is not there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)


def open_or_set_aside(path: Path) -> tuple[Journal, str]:
    """Open a journal; a file that is none is set aside, and where nothing can be written a spare one is made.

    Returns:
        The journal, and what there is to say about it; empty for nothing.
    """
    try:
        return Journal(path), ""
    except (OSError, NewerJournal, sqlite3.OperationalError) as exc:
        spare = Path(tempfile.mkdtemp(prefix="cerebelum-")) / path.name
        return Journal(spare), f"the journal {path} cannot be used ({exc}); runs are kept in {spare}"
    except sqlite3.DatabaseError as exc:
        aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return Journal(path), f"the journal {path} cannot be read ({exc}); it was set aside as {aside.name}"


def read(path: Path, run: str) -> Iterator[AnyEvent]:
    """A run's events from a journal file, in order."""
    with reading(path) as db:
        for (lines,) in db.execute("select lines from journal where run=? order by first", (run,)):
            yield from decode_lines(lines)


def read_runs(path: Path, most: int = 1000) -> list[tuple[About, str]]:
    """The newest runs of a journal file, newest first, each with how it ended; empty for one that did not."""
    with reading(path) as db:
        if not db.execute("select 1 from sqlite_master where name='runs'").fetchone():
            return []  # nothing has been written yet
        rows = db.execute("select body, status from runs order by at desc limit ?", (most,)).fetchall()
    return [(_about.decode(body), status) for body, status in rows]


def read_about(path: Path, run: str) -> About | None:
    """What is known about a run; None where the journal does not know it."""
    with reading(path) as db:
        row = db.execute("select body from runs where run=?", (run,)).fetchone()
    return _about.decode(row[0]) if row is not None else None


def claim(path: Path, run: str, by: str, pid: int, born: float) -> tuple[str, int, float]:
    """Say that a run is gone on from by another one, if nobody has said so yet.

    Returns:
        Who goes on from it: the run, and its process with the time when that began.
    """
    with contextlib.closing(connected(path)) as db:
        db.execute("create table if not exists resumed(run text primary key, by text, pid integer, born real)")
        db.execute("insert or ignore into resumed values(?,?,?,?)", (run, by, pid, born))
        found: tuple[str, int, float] = db.execute("select by, pid, born from resumed where run=?", (run,)).fetchone()
        return found


def release(path: Path, run: str, by: str) -> None:
    """Take a claim back, if it is still this one."""
    with contextlib.closing(connected(path)) as db:
        db.execute("delete from resumed where run=? and by=?", (run, by))


def read_claims(path: Path) -> dict[str, str]:
    """Which run goes on from which: the earlier one to the later."""
    with reading(path) as db:
        if not db.execute("select 1 from sqlite_master where name='resumed'").fetchone():
            return {}
        return dict(db.execute("select run, by from resumed"))


def forget(path: Path, runs: Sequence[str]) -> None:
    """Remove runs from a journal or from a file of results; what it held is free for new ones.

    Raises:
        sqlite3.Error: The file cannot be written.
    """
    with contextlib.closing(connected(path)) as db:
        tables = [name for (name,) in db.execute("select name from sqlite_master where type='table'")]
        db.execute("begin immediate")
        for table in tables:
            db.executemany(f"delete from {table} where run=?", [(run,) for run in runs])  # noqa: S608  our own names
        db.execute("commit")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is looked at and not changed.

    Raises:
        ExecutorError: It is none, or cannot be read.
    """
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
    try:
        yield db
    except sqlite3.DatabaseError as exc:
        raise ExecutorError(f"{path} cannot be read ({exc}); the next run sets it aside and begins another") from None
    finally:
        db.close()
