"""SQLite as journal, results and cache use it: files of their owner's alone, all or nothing, and what can go wrong."""

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cerebelum_nb.errors import ExecutorError

BUSY_S: Final = 5.0  # how long another program may hold a file
_PASSES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _code(exc: BaseException) -> int:
    return (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF


def may_pass(exc: BaseException) -> bool:
    """Whether what could not be written may be written later: no room, a lock, a disk that has gone."""
    if isinstance(exc, sqlite3.Error):
        return _code(exc) in _PASSES or _code(exc) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
    return isinstance(exc, OSError | MemoryError)


def has_no_room(exc: BaseException) -> bool:
    """Whether something could not be written since there was no room for it, or since another program was at it."""
    if isinstance(exc, sqlite3.Error):
        return _code(exc) in _PASSES
    return isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_damaged(exc: BaseException) -> bool:
    """Whether a file is not what was written to it."""
    return isinstance(exc, sqlite3.Error) and _code(exc) in _DAMAGED


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


class _Connection(sqlite3.Connection):
    """One that calls damage damage: Python cannot read SQLite's words where they quote bytes that are no text."""

    def execute(self, *args: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*args)
        except UnicodeDecodeError:
            raise _damage("what should be text in it is none") from None


def connected(path: Path) -> sqlite3.Connection:
    """A database that only its owner can read, made when it is not there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_S, factory=_Connection)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it or nothing."""
    db.execute("begin immediate")
    try:
        yield db
        db.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already; its own words matter
            db.execute("rollback")
        raise


def check(db: sqlite3.Connection) -> None:
    """Look through the whole file.

    Raises:
        sqlite3.DatabaseError: It is damaged.
    """
    found = db.execute("pragma quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _damage(str(found).splitlines()[-1])


def use_wal(db: sqlite3.Connection) -> None:
    """Let readers and a writer go on beside each other.

    Raises:
        sqlite3.Error: The file cannot be written, or is none.
    """
    until = time.monotonic() + BUSY_S
    while True:  # SQLite does not wait by itself for others who do the same just now
        try:
            db.execute("pragma journal_mode=wal")
        except sqlite3.OperationalError as exc:
            if _code(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def set_aside(path: Path, file: int) -> Path:
    """Rename a damaged database, if it is still that file: another kernel may have been at it.

    Returns:
        What it is called now.
    """
    stamp, count = time.strftime("%Y%m%d-%H%M%S"), 0
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{count}")
    if file_number(path) == file:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def file_number(path: Path) -> int:
    """Which file is at a path; 0 for none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is looked at and not changed.

    Raises:
        ExecutorError: It is none, or cannot be read.
    """
    db = _looked_into(path)
    try:
        try:
            db.execute("select 1 from sqlite_master limit 1")
        except sqlite3.OperationalError as exc:
            if _code(exc) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            db.close()
            db = _copied(path)
        yield db
    except sqlite3.DatabaseError as exc:
        now = " just now" if may_pass(exc) else ""
        more = "; the next run sets it aside and begins another" if is_damaged(exc) else ""
        raise ExecutorError(f"{path} cannot be read{now} ({exc}){more}") from None
    except OSError as exc:  # its copy found no room
        raise ExecutorError(f"{path} cannot be read just now ({exc})") from None
    finally:
        db.close()


def _looked_into(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S, factory=_Connection)


def _copied(path: Path) -> sqlite3.Connection:
    """In a folder where nothing can be written SQLite cannot read its own files: it reads a copy in memory."""
    db = sqlite3.connect(":memory:")
    with tempfile.TemporaryDirectory(prefix="cerebelum-") as folder:
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path.with_name(path.name + suffix), Path(folder) / (path.name + suffix))
        with contextlib.closing(sqlite3.connect(Path(folder) / path.name)) as copy:
            copy.backup(db)
    return db
