"""What must hold after whatever happened."""

import fcntl
import gc
import os
import resource
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import psutil

from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.events import AnyEvent, AttemptStarted, AttemptSubmitted, RunFinished, RunStarted, TaskFinished
from cerebelum_nb.model.state import RunState
from cerebelum_nb.runtime.past import is_alive
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.store.journal import read, read_about, read_runs
from cerebelum_nb.testing.chaos.ledger import Ledger

SOCKETS: Final = "cerebelum-*"  # how the directories of sockets are called
_GONE_DEADLINE_S: Final = 5.0
_SHARED: Final = Path("/dev/shm")  # noqa: S108  only looked at


class Broken(AssertionError):
    """Something that must always hold does not; its text names each thing, a line each."""


def check(  # noqa: PLR0913  one for each thing that must hold
    home: Path,
    *,
    began: Iterable[str] = (),
    live: Iterable[Run] = (),
    ledger: Ledger | None = None,
    most: Mapping[str, int] | None = None,
    watch: "Watch | None" = None,
) -> None:
    """See that nothing is lost and nothing was done too often.

    Args:
        home: The project's folder, ``.cerebelum``.
        began: Runs that are known to have begun; each must be in the journal.
        live: Runs of this process that have ended; the state of each must be the fold of its events.
        ledger: What steps have done.
        most: Effect to how often it may have happened; those that are not named are not bounded.
        watch: What there was before; nothing else may be left of processes, files, sockets and memory.

    Raises:
        Broken: Says all that does not hold.
    """
    if found := broken(home, began=began, live=live, ledger=ledger, most=most, watch=watch):
        raise Broken("\n".join(found))


def broken(  # noqa: PLR0913  as `check`
    home: Path,
    *,
    began: Iterable[str] = (),
    live: Iterable[Run] = (),
    ledger: Ledger | None = None,
    most: Mapping[str, int] | None = None,
    watch: "Watch | None" = None,
) -> list[str]:
    """The same as a list of what does not hold; empty when all is well."""
    journal = home / "journal.db"
    known = {about.run for about, _ in read_runs(journal, 1_000_000)} if journal.exists() else set[str]()
    found = [f"run {run} is lost: it began, and the journal does not know it" for run in began if run not in known]
    for run in sorted(known):
        found += _of_run(journal, run)
    for one in live:
        found += _of_live(journal, one, known)
    if ledger is not None and most:
        counts = ledger.counts()
        found += [
            f"{e!r} happened {counts[e]} times, at most {n} are allowed" for e, n in most.items() if counts[e] > n
        ]
    return found + (watch.left() if watch is not None else [])


def _of_run(journal: Path, run: str) -> list[str]:
    """What is wrong with a run as the journal has it."""
    events = list(read(journal, run))
    if not events:
        return [f"run {run} is lost: the journal has its name and none of its events"]
    ends = [event.seq for event in events if isinstance(event, RunFinished)]
    if len(ends) > 1:
        return [f"run {run} has {len(ends)} terminal events: {ends}"]
    if ends and ends[0] != events[-1].seq:
        return [f"run {run} goes on after its terminal event {ends[0]}"]
    try:
        state = folded(events)
    except CerebelumError as exc:
        return [f"run {run} cannot be folded: {exc}"]
    about = read_about(journal, run)
    if about is None or (not ends and state.status != "running"):
        return [f"run {run} has no end and cannot be gone on from"]
    return []


def _of_live(journal: Path, run: Run, known: Collection[str]) -> list[str]:
    """What is wrong with a run of this process."""
    if not run.done:
        return []  # it goes on while we look
    found = []
    if folded(run.events) != run.scheduler.state:
        found.append(f"run {run.id}: the fold of its events is not its live state")
    on_disk = list(read(journal, run.id)) if run.id in known else []
    if run.state.status != "running" and on_disk != list(run.events):
        found.append(f"run {run.id}: the journal has {len(on_disk)} events, it has {len(run.events)}")
    return found


def folded(events: Iterable[AnyEvent]) -> RunState:
    """The state that events make."""
    state = RunState()
    for event in events:
        state.apply(event)
    return state


class Tale(msgspec.Struct, frozen=True):
    """What the journal tells of a run, by step name."""

    attempts: dict[str, int]  # how many were handed out
    completed: frozenset[str]
    failed: frozenset[str]
    status: str  # "" for one that has no end


def tale(home: Path, run: str) -> Tale:
    """What the journal tells of a run."""
    attempts, completed, failed, names, status = dict[str, int](), set[str](), set[str](), tuple[str, ...](), ""
    submitted: set[tuple[int, int]] = set()
    for event in read(home / "journal.db", run):
        match event:
            case RunStarted():
                names = event.names
            case AttemptSubmitted() | AttemptStarted():
                if (event.task, event.attempt) not in submitted:
                    submitted.add((event.task, event.attempt))
                    attempts[names[event.task]] = attempts.get(names[event.task], 0) + 1
            case TaskFinished(status="succeeded"):
                completed.add(names[event.task])
            case TaskFinished(status="failed"):
                failed.add(names[event.task])
            case RunFinished():
                status = event.status
    return Tale(attempts, frozenset(completed), frozenset(failed), status)


def interrupted(home: Path) -> list[str]:
    """Runs without an end whose kernel is gone, newest first."""
    journal = home / "journal.db"
    runs = read_runs(journal, 1_000_000) if journal.exists() else []
    return [about.run for about, status in runs if not status and not is_alive(about)]


class Watch:
    """What there is now of what must not be left behind: processes, sockets' directories, descriptors, shared memory.

    Descriptors are counted: take it when all that stays open for good has been opened once. A directory that somebody
    alive uses is not left behind: the processes are.

    Args:
        folders: Where sockets' directories are made; TMPDIR and /tmp for none.
    """

    def __init__(self, *folders: Path) -> None:
        base = [Path(os.environ.get("TMPDIR", "/tmp")), Path("/tmp")]  # noqa: S108  only looked at
        self._folders = sorted(set(folders or base))
        self._before = self._now()

    def left(self, deadline_s: float = _GONE_DEADLINE_S) -> list[str]:
        """What is there that was not, after giving it a moment to go."""
        until = time.monotonic() + deadline_s
        while (found := self._more()) and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def _more(self) -> list[str]:
        now = self._now()
        found = [f"left behind: {what}" for kind in now for what in sorted(now[kind] - self._before[kind])]
        if len(now["descriptor"]) <= len(self._before["descriptor"]):  # their numbers are used again
            found = [text for text in found if not text.startswith("left behind: descriptor")]
        return found

    def _now(self) -> dict[str, set[str]]:
        gc.collect()  # what nobody holds any more is not left behind
        directories = [path for folder in self._folders for path in folder.glob(SOCKETS)]
        return {
            "process": {f"process {name}" for name in _children()},
            "sockets": {f"directory {path}" for path in directories if _mine(path) and _left(path)},
            "descriptor": set(_descriptors()),
            "memory": {f"shared memory {path}" for path in _SHARED.glob("*") if _mine(path) and not _held(path)},
        }


def _mine(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def _left(directory: Path) -> bool:
    """Nobody who lives has it: Core and its workers hold a lock there. A spare journal is nobody's rubbish."""
    if (directory / "journal.db").exists():
        return False
    try:
        with (directory / "core.log").open("rb") as log:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return directory.exists()
    return True


def _held(folder: Path) -> bool:
    """A kernel that lives has it: it holds a lock on the folder itself."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def _children() -> list[str]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            found.append(f"{child.pid} ({child.status()}): {' '.join(child.cmdline())[:120]}")
        except psutil.NoSuchProcess:
            continue
    return found


def _descriptors() -> list[str]:
    """Open ones of this process, each with what it is."""
    highest = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096)
    found = []
    for number in range(highest):
        try:
            os.fstat(number)
        except OSError:
            continue
        try:
            what = str(Path(f"/proc/self/fd/{number}").readlink())
        except OSError:
            what = "open"
        found.append(f"descriptor {number}: {what}")
    return found
