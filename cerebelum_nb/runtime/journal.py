"""Events on disk: one SQLite file for a project, one row for each batch of events.

A row per event would cost twenty times the event itself. The last batch of a run is written with
``synchronous=FULL``: it is on disk before anybody hears that the run has ended.
"""

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cerebelum_nb.model.events import AnyEvent, RunFinished, decode_lines, encode_lines

SCHEMA: Final = 1
CHUNK: Final = 8192  # encoding one holds the GIL for 0.8 ms; every write lets go of it and may wait 5 ms for it


class NewerJournal(Exception):
    """A journal of a later version, which this one must not touch."""


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
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        found = self._db.execute("pragma user_version").fetchone()[0]
        if found > SCHEMA:
            self._db.close()
            raise NewerJournal(f"it was written by a newer cerebelum_nb (schema {found})")
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("create table if not exists journal(run text, first integer, last integer, lines blob)")
        self._db.execute("create index if not exists journal_run on journal(run, first)")
        self._db.execute("select run, first, last, lines from journal limit 0")  # a table of that shape
        self._db.execute(f"pragma user_version={SCHEMA}")

    def write(self, run: str, batch: Sequence[AnyEvent]) -> None:
        """Append a run's events, in order; on disk when they end the run.

        Raises:
            sqlite3.Error: They could not be written; the journal is as before.
        """
        ended = type(batch[-1]) is RunFinished
        db = self._db
        db.execute(f"pragma synchronous={'full' if ended else 'normal'}")
        db.execute("begin immediate")
        try:
            for i in range(0, len(batch), CHUNK):
                part = batch[i : i + CHUNK]
                db.execute("insert into journal values(?,?,?,?)", (run, part[0].seq, part[-1].seq, encode_lines(part)))
            db.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already; its own words matter
                db.execute("rollback")
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()


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
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        for (lines,) in db.execute("select lines from journal where run=? order by first", (run,)):
            yield from decode_lines(lines)
    finally:
        db.close()
