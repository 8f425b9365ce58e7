"""The runs of a project, of this kernel and of those before it, as the journal has them."""

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from cerebelum_nb.errors import CerebelumError, ExecutorError, PlanError
from cerebelum_nb.model.events import AnyEvent, RunStarted
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.protocols import Answer
from cerebelum_nb.rules.placement import Wishes
from cerebelum_nb.runtime.approvals import Approvals
from cerebelum_nb.runtime.host import Host
from cerebelum_nb.runtime.job import Before
from cerebelum_nb.runtime.past import Past, born, is_alive, is_there, past
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.store.journal import About, claim, forget, new_id, read, read_about, read_claims, read_runs, release
from cerebelum_nb.store.outputs import Folder
from cerebelum_nb.store.results import INPUTS_TASK, Archive, ResultRef, answers_task
from cerebelum_nb.store.values import Results

_MANY: Final = 100_000
_HAS: Final = {
    "succeeded": "has succeeded",
    "failed": "has failed",
    "cancelled": "was cancelled",
    "compensated": "is undone",
    "compensation_failed": "is not undone completely",
    "interrupted": "was cut off",
}


class Entry(msgspec.Struct, frozen=True):
    """One line of the list of runs."""

    run: str
    workflow: str
    at: float  # UTC seconds
    status: str  # succeeded failed cancelled; running in some kernel; interrupted by a kernel's end


class History:
    """Reads what the pump has written.

    Args:
        journal: Where the journal is; it need not be there.
        own: Where it should be: where that cannot be written it is still looked at, as far as it can be read.
    """

    def __init__(self, journal: Callable[[], Path], archive: Archive, own: Path | None = None) -> None:
        self._journal, self._archive, self._own = journal, archive, own

    def _earlier(self) -> Path | None:
        """The project's own journal, where another one is written."""
        if self._own is None or self._own == self._journal():
            return None
        with contextlib.suppress(OSError):
            return self._own if self._own.exists() else None
        return None

    def entries(self, most: int = 1000) -> list[Entry]:
        """The newest runs, newest first."""
        path, earlier = self._journal(), self._earlier()
        found = read_runs(path, most) if path.exists() else []
        if earlier is not None:
            with contextlib.suppress(ExecutorError):  # said when it was found that it cannot be used
                found += read_runs(earlier, most)
        return [Entry(a.run, a.workflow, a.at, status or _open(a)) for a, status in found[:most]]

    def find(self, name: str) -> str:
        """The id of a run by a part of it that only it has.

        Raises:
            PlanError: No run, or more than one, is called so.
        """
        ids = [entry.run for entry in self.entries()]
        found = [i for i in ids if i == name] or [i for i in ids if name in i]
        if len(found) == 1:
            return found[0]
        if found:
            more = " and more" if len(found) > 5 else ""
            raise PlanError(f"{name!r} could be {', '.join(found[:5])}{more}: write more of the id")
        raise PlanError(f"the journal has no run {name!r}.{nearest(name, ids)}")

    def recall(self, run: str, number: int, host: Host, definition: Callable[[str], Any]) -> Run:
        """A run as people hold it, ended as it is.

        Args:
            number: What it is counted as in the session.
            definition: Gives the workflow of a name, to be asked when it is needed.

        Raises:
            PlanError: The journal does not know it, or another kernel runs it just now.
        """
        found = self.load(run)
        about, results = found.about, Results(self._archive, run, found.scheduler.values)
        made = Run(
            run,
            number,
            found.plan,
            Wishes(person=about.person, strategy=about.strategy, everywhere=about.everywhere, core=about.core),
            host,
            scheduler=found.scheduler,
            results=results,
            definition=definition(about.workflow),
            approvals=Approvals(),
            root=about.root,
        )
        made.ran_before, made.files = about.ran, Folder(self._archive.folder, run, 0)
        made.is_cut_off = found.interrupted
        made.recall(found.events, self.pauses(found), found.without_inputs)
        return made

    def unfinished(self, workflow: str | None = None, *, to_be: str = "resumed") -> str:
        """The newest run (of a workflow) that did not succeed, and that nobody runs or has gone on from.

        Args:
            to_be: What it is looked for, in words.

        Raises:
            PlanError: There is none.
        """
        entries = self.entries()
        known = {entry.run for entry in entries}
        claims = read_claims(self._journal()) if entries else {}
        for entry in entries:
            if (
                workflow in (None, entry.workflow)
                and entry.status not in ("succeeded", "compensated", "running")
                and claims.get(entry.run) not in known
                and not self._only_ends(entry)
            ):
                return entry.run
        raise PlanError(f"no run{f' of {workflow!r}' if workflow else ''} is left to be {to_be}")

    def _only_ends(self, entry: Entry) -> bool:
        """Its kernel died when all was done, and only the last event was not on disk yet."""
        if entry.status != "interrupted":
            return False
        with contextlib.suppress(CerebelumError):  # it says so when it is loaded
            return self.load(entry.run).scheduler.state.status == "succeeded"
        return False

    def going_on_from(self, root: str) -> list[str]:
        """All runs of one line, oldest first: those that go on from its first run, and that one.

        Raises:
            ExecutorError: The journal cannot be read.
        """
        path = self._journal()
        found = read_runs(path, _MANY) if path.exists() else []
        return [about.run for about, _ in reversed(found) if (about.root or about.run) == root]

    def alike(self, workflow: str, since: str) -> list[str]:
        """Runs of a workflow that began after another run and were made from an earlier one, oldest first.

        Raises:
            ExecutorError: The journal cannot be read.
        """
        path = self._journal()
        found = [about for about, _ in (read_runs(path, _MANY) if path.exists() else []) if about.workflow == workflow]
        at = next((about.at for about in found if about.run == since), 0.0)
        later = [about.run for about in reversed(found) if about.at >= at]
        return [run for run in later if any(isinstance(e, RunStarted) and e.parent for e in _first(path, run))]

    @contextlib.contextmanager
    def going_on(self, run: str) -> Iterator[str]:
        """Around the start of a run that goes on from another, which happens once: whoever is first does it.

        Returns:
            The new run's id.

        Raises:
            PlanError: Somebody has, or does just now.
            ExecutorError: The journal cannot be written.
        """
        new = new_id()
        self._claim(run, new)
        try:
            yield new
        except BaseException:
            with contextlib.suppress(OSError, sqlite3.Error):  # then it is seen that nobody is there
                release(self._journal(), run, new)  # nothing came of it
            raise

    def _claim(self, run: str, by: str) -> None:
        me = psutil.Process()
        try:
            found, pid, began = claim(self._journal(), run, by, me.pid, born(me))
        except (OSError, sqlite3.Error) as exc:
            raise ExecutorError(
                f"run {run} cannot be gone on from: the journal cannot be written ({exc}: {self._journal()})"
            ) from None
        if found == by:
            return
        status = {entry.run: entry.status for entry in self.entries(_MANY)}.get(found)
        if status is None and not is_there(pid, began):  # it ended before it had written anything
            release(self._journal(), run, found)
            self._claim(run, by)
            return
        if status is None or status == "running":
            raise PlanError(f"run {run} is gone on from just now, by run {found} in process {pid}")
        more = "" if status in ("succeeded", "compensated") else ": resume that one"
        raise PlanError(f"run {run} was resumed before, by run {found}, which {_HAS[status]}{more}")

    def purge(self, runs: Sequence[str]) -> None:
        """Remove runs for good: events, prints, inputs and results.

        Raises:
            sqlite3.Error: The files cannot be written.
        """
        if runs and self._journal().exists():
            forget(self._journal(), runs)
            self._archive.forget(runs)

    def tidy(self, keep_days: float, keep_nbytes: int) -> None:
        """Remove what is outdated, as far as that can be done now."""
        with contextlib.suppress(OSError, sqlite3.Error, ExecutorError):  # another kernel may be at it: next time
            self.purge(self.outdated(keep_days, keep_nbytes, time.time()))

    def outdated(self, keep_days: float, keep_nbytes: int, now: float) -> list[str]:
        """Runs that are over and older than so many days, or whose results no longer find room.

        Args:
            keep_nbytes: What the results of all newer runs may take together.
        """
        sizes, total, old = self._archive.sizes(), 0, list[str]()
        for entry in self.entries(_MANY):  # newest first
            total += sizes.get(entry.run, 0)
            if entry.status != "running" and (entry.at < now - keep_days * 86_400 or total > keep_nbytes):
                old.append(entry.run)
        return old

    def load(self, run: str) -> Past:
        """A run as it was.

        Raises:
            PlanError: The journal does not know it, or another kernel runs it just now.
            CerebelumError: Its inputs cannot be read.
        """
        path, earlier = self._journal(), self._earlier()
        about = read_about(path, run) if path.exists() else None
        if about is None and earlier is not None:
            path, about = earlier, read_about(earlier, run)
        if about is None:
            raise PlanError(f"the journal has no run {run!r}")
        events = list(read(path, run))
        stored = self._archive.of_run(run)
        given = stored.get(INPUTS_TASK)
        kept = given is not None and bool(given.codec)
        inputs = self._archive.load(ResultRef(run, given)) if given is not None and kept else {}
        made = past(about, events, stored, inputs)
        if not kept:
            made.without_inputs = given.why if given is not None else "the journal does not have them"
        if made.interrupted and is_alive(about):
            raise PlanError(f"run {run} still runs in another kernel (process {about.pid})")
        return made

    def pauses(self, made: Past) -> dict[str, list[Before]]:
        """Where an interrupted run's attempts stood, by step: what they had slept, and what they had been told."""
        stored = self._archive.of_run(made.about.run)
        found: dict[str, list[Before]] = {}
        for task, pauses in made.pauses.items():
            said = stored.get(answers_task(task))
            answers: list[list[object]] = (
                self._archive.load(ResultRef(made.about.run, said)) if said is not None and said.codec else []
            )
            told = iter([Answer(bool(ok), value, str(reason)) for ok, value, reason in answers])
            found[made.plan.names[task]] = [
                Before(p.kind, 0.0 if p.over else p.until, next(told, None) if p.kind == "approval" else None)
                for p in pauses
            ]
        return found


def _first(path: Path, run: str) -> list[AnyEvent]:
    with contextlib.suppress(ExecutorError):  # it is damaged
        return list(itertools.islice(read(path, run), 1))
    return []


def _open(about: About) -> str:
    return "running" if is_alive(about) else "interrupted"


def latest(names: Collection[str], step: str, runs: Sequence[Run]) -> tuple[dict[str, tuple[Any, str]], Run | None]:
    """The newest results of some steps, each with where it comes from; and the run whose inputs go with them.

    Args:
        step: Who reads them; where it reads none, the newest run that it was part of counts.
    """
    found: dict[str, tuple[Any, str]] = {}
    source: Run | None = None
    for run in reversed(runs):
        new = {name: value for name, value in run.outputs.items() if name in names and name not in found}
        found |= {name: (value, f"result of run {run.number}") for name, value in new.items()}
        if source is None and (new or (not names and step in run.plan.names)):
            source = run
    return found, source


def latest_ended(workflow: str, runs: Sequence[Run]) -> Run:
    """The newest run of a workflow that is over.

    Raises:
        PlanError: There is none.
    """
    for run in reversed(runs):
        if run.workflow == workflow and run.done:
            return run
    raise PlanError(f"no earlier run of {workflow!r} has ended in this session, so there is nothing to go on from")
