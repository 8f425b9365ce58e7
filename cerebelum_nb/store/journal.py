"""Events on disk: one SQLite file for a project, one row for each batch of events. No values: those are in `results`.

A row per event would cost twenty times the event itself. What ends a run, and what says that something is about to
have an effect, is written with ``synchronous=FULL``: it is on disk before anybody hears of it. After a power cut the
first so many batches of a run are left; a row carries a checksum, so that a damaged one is told and never believed.
"""

import contextlib
import secrets
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.model.events import AnyEvent, RunFinished, RunStarted, decode_lines, encode_lines
from cerebelum_nb.rules.once import Ran
from cerebelum_nb.store.database import (
    check,
    connected,
    file_number,
    has_no_room,
    is_damaged,
    reading,
    set_aside,
    transaction,
    use_wal,
)

CHUNK: Final = 8192  # encoding one holds the GIL for 0.8 ms; every write lets go of it and may wait 5 ms for it
CHECKED_NBYTES: Final = 8 << 20  # a larger file is looked through only where its last writer was cut off


def new_id() -> str:
    """The name of a new run: when it began, in UTC, and something random."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


class NewerJournal(ExecutorError):
    """A journal of a later version, which this one must not touch."""


class About(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known about a run beside its events."""

    run: str
    workflow: str
    at: float  # UTC seconds
    pid: int  # of the kernel that runs it
    born: float  # when that process began, seconds since the machine did: another one may get its number
    strategy: dict[str, str]
    person: dict[str, str]  # what was moved by hand before it began
    everywhere: str = ""
    root: str = ""  # the run that it goes on from, through any number of resumes
    ran: dict[str, Ran] = {}  # steps that never run twice and had begun before it
    core: str = ""  # URL of the Core that "distributed" means in it


_encode: Final = msgspec.msgpack.encode
_about: Final = msgspec.msgpack.Decoder(About)


class Journal:
    """Writer of one journal file. Used by one thread, the pump's."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; one of an earlier version is brought up to date.

        Raises:
            OSError: The folder cannot be made or written.
            NewerJournal: The file was written by a later version; it is left as it is.
            sqlite3.Error: The file is not a journal, is damaged, or another program holds it.
        """
        self.path = path
        was_cut_off = path.with_name(f"{path.name}-wal").exists()
        self._db = db = connected(path)
        try:
            self.file = path.stat().st_ino
            found = _version(db)
            if was_cut_off or path.stat().st_size <= CHECKED_NBYTES:
                check(db)
            use_wal(db)
            if found < SCHEMA:
                _migrate(db)
            db.execute("select run, first, last, lines, crc from journal limit 0")  # a table of that shape
        except BaseException:
            db.close()
            raise

    def write(self, run: str, batch: Sequence[AnyEvent], about: About | None = None, *, lasting: bool = False) -> None:
        """Append a run's events, in order; on disk when they end the run.

        Args:
            about: What is known beside them; with the first events.
            lasting: Return only when these, and all before them, are on disk.

        Raises:
            sqlite3.Error: They could not be written; the journal is as before.
        """
        last = batch[-1]
        with self._transaction(lasting=lasting or isinstance(last, RunFinished)) as db:
            for i in range(0, len(batch), CHUNK):
                part = batch[i : i + CHUNK]
                lines = encode_lines(part)
                row = (run, part[0].seq, part[-1].seq, lines)
                db.execute("insert into journal(run, first, last, lines, crc) values(?,?,?,?,?)", (*row, _sum(*row)))
            if about is not None:
                db.execute("insert or replace into runs values(?,?,'',?)", (run, about.at, _encode(about)))
            if isinstance(last, RunFinished):
                db.execute("update runs set status=? where run=?", (last.status, run))

    def sync(self, run: str) -> None:
        """Return when all that was written of a run is on disk.

        Raises:
            sqlite3.Error: It is not.
        """
        with self._transaction(lasting=True) as db:  # writing a page again takes all before it along
            db.execute("update runs set status=status where run=?", (run,))

    @contextlib.contextmanager
    def _transaction(self, *, lasting: bool) -> Iterator[sqlite3.Connection]:
        self._db.execute(f"pragma synchronous={'full' if lasting else 'normal'}")
        with transaction(self._db) as db:
            yield db

    def is_there(self) -> bool:
        """Its file is still the one at its path: nobody removed the folder or set the file aside."""
        try:
            return self.path.stat().st_ino == self.file
        except OSError:
            return False

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _version(db: sqlite3.Connection) -> int:
    """A file's version, if it may be written.

    Raises:
        NewerJournal: It may not.
    """
    found: int = db.execute("pragma user_version").fetchone()[0]
    if found > SCHEMA:
        raise NewerJournal(f"it was written by a newer cerebelum_nb (schema {found}, this one writes {SCHEMA})")
    return found


# -- versions; a file of version N has been through the first N of these


def _to_1(db: sqlite3.Connection) -> None:
    db.execute("create table if not exists journal(run text, first integer, last integer, lines blob)")
    db.execute("create index if not exists journal_run on journal(run, first)")


def _to_2(db: sqlite3.Connection) -> None:
    """A table of runs; what the events themselves say of earlier ones goes into it."""
    db.execute("create table if not exists runs(run text primary key, at real, status text, body blob)")
    for (run,) in db.execute("select distinct run from journal where run not in (select run from runs)").fetchall():
        rows = db.execute("select lines from journal where run=? order by first", (run,)).fetchall()
        (first,), (last,) = rows[0], rows[-1]
        with contextlib.suppress(msgspec.DecodeError, IndexError, TypeError):  # it stays, and is not listed
            began, end = next(iter(decode_lines(first))), list(decode_lines(last))[-1]
            if isinstance(began, RunStarted):
                about = About(run, began.workflow, began.at, 0, 0.0, {}, {}, root=run)
                status = end.status if isinstance(end, RunFinished) else ""
                db.execute("insert into runs values(?,?,?,?)", (run, about.at, status, _encode(about)))


def _to_3(db: sqlite3.Connection) -> None:
    """Checksums, events of undoing and of the cache; who goes on from what, which was made when first needed."""
    db.execute("alter table journal add column crc integer")
    db.execute("create table if not exists resumed(run text primary key, by text, pid integer, born real)")


_STEPS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (_to_1, _to_2, _to_3)
SCHEMA: Final = len(_STEPS)


def _migrate(db: sqlite3.Connection) -> None:
    with transaction(db):
        found = db.execute("pragma user_version").fetchone()[0]  # somebody else may have been at it
        for step in _STEPS[found:]:
            step(db)
        db.execute(f"pragma user_version={SCHEMA}")


def open_or_set_aside(path: Path) -> tuple[Journal, str]:
    """Open a journal; a file that is none is set aside, and where nothing can be written a spare one is made.

    Returns:
        The journal, and what there is to say about it; empty for nothing.

    Raises:
        OSError: There is no room for one just now.
        sqlite3.Error: The same, or another program holds it.
    """
    before = file_number(path)
    try:
        return Journal(path), ""
    except (OSError, NewerJournal, sqlite3.Error) as exc:
        if has_no_room(exc):
            raise  # a spare one would split the project's runs for want of a moment
        if is_damaged(exc):
            aside = set_aside(path, before)
            return Journal(path), f"the journal {path} cannot be read ({exc}); it was set aside as {aside.name}"
        spare = Path(tempfile.mkdtemp(prefix="cerebelum-")) / path.name
        listed = "; earlier runs can be looked at" if isinstance(exc, NewerJournal) else ""
        return Journal(spare), f"the journal {path} cannot be used ({exc}); runs are kept in {spare}{listed}"


# -- reading


def _sum(run: str, first: int, last: int, lines: bytes) -> int:
    return zlib.crc32(lines, zlib.crc32(f"{run} {first} {last}".encode()))


def _is_sound(run: str, first: Any, last: Any, lines: Any, crc: Any = None, *_later: Any) -> bool:
    """Whether a row is what was written: a damaged file may give anything."""
    if type(first) is not int or type(last) is not int or type(lines) is not bytes:
        return False
    return crc is None or crc == _sum(run, first, last, lines)  # None: a row of an earlier version


def read(path: Path, run: str) -> Iterator[AnyEvent]:
    """A run's events from a journal file, in order.

    Raises:
        ExecutorError: What is kept of it is damaged, or of a later version.
    """
    expected = 0
    with reading(path) as db:
        for _, first, last, lines, *crc in db.execute("select * from journal where run=? order by first", (run,)):
            if first != expected or not _is_sound(run, first, last, lines, *crc):
                raise ExecutorError(_damaged(path, run, expected))
            try:
                batch = list(decode_lines(lines))
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise ExecutorError(f"{path}: events {first} to {last} of run {run} cannot be read: {exc}") from None
            if [e.seq for e in batch] != list(range(first, last + 1)):  # rows of earlier versions have no sum
                raise ExecutorError(_damaged(path, run, expected))
            yield from batch
            expected = last + 1


def _damaged(path: Path, run: str, seq: int) -> str:
    return f"{path} is damaged: run {run} cannot be read from its event {seq} on"


def read_runs(path: Path, most: int = 1000) -> list[tuple[About, str]]:
    """The newest runs of a journal file, newest first, each with how it ended; empty for one that did not.

    In the order in which they were written: a clock may have been set back in between.
    """
    with reading(path) as db:
        if not db.execute("select 1 from sqlite_master where name='runs'").fetchone():
            return []  # nothing has been written yet
        rows = db.execute("select body, status from runs order by rowid desc limit ?", (most,)).fetchall()
    return [(about, status) for body, status in rows if (about := _decoded(body)) is not None]


def _decoded(body: bytes) -> About | None:
    try:
        return _about.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):  # damaged, or of a later version: others can be listed
        return None


def read_about(path: Path, run: str) -> About | None:
    """What is known about a run; None where the journal does not know it."""
    with reading(path) as db:
        if not db.execute("select 1 from sqlite_master where name='runs'").fetchone():
            return None
        row = db.execute("select body from runs where run=?", (run,)).fetchone()
    return _decoded(row[0]) if row is not None else None


def claim(path: Path, run: str, by: str, pid: int, born: float) -> tuple[str, int, float]:
    """Say that a run is gone on from by another one, if nobody has said so yet.

    Returns:
        Who goes on from it: the run, and its process with the time when that began.

    Raises:
        NewerJournal: The file is of a later version.
        sqlite3.Error: It cannot be written.
    """
    with contextlib.closing(connected(path)) as db:
        _version(db)
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
        NewerJournal: The file is of a later version.
        sqlite3.Error: It cannot be written.
    """
    with contextlib.closing(connected(path)) as db:
        _version(db)
        tables = [name for (name,) in db.execute("select name from sqlite_master where type='table'")]
        with transaction(db):
            for table in tables:
                db.executemany(f"delete from {table} where run=?", [(run,) for run in runs])  # noqa: S608  our own names
