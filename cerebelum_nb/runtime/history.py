"""The runs of a project, of this kernel and of those before it, as the journal has them."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.protocols import Answer
from cerebelum_nb.runtime.job import Before
from cerebelum_nb.runtime.journal import About, read, read_about, read_runs
from cerebelum_nb.runtime.past import Past, is_alive, past
from cerebelum_nb.runtime.results import INPUTS_TASK, Archive, ResultRef, answers_task


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
    """

    def __init__(self, journal: Callable[[], Path], archive: Archive) -> None:
        self._journal, self._archive = journal, archive

    def entries(self, most: int = 1000) -> list[Entry]:
        """The newest runs, newest first."""
        path = self._journal()
        if not path.exists():
            return []
        return [Entry(a.run, a.workflow, a.at, status or _open(a)) for a, status in read_runs(path, most)]

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
            raise PlanError(f"{name!r} could be {', '.join(found[:5])}{' and more' if len(found) > 5 else ''}")
        raise PlanError(f"the journal has no run {name!r}.{nearest(name, ids)}")

    def load(self, run: str) -> Past:
        """A run as it was.

        Raises:
            PlanError: The journal does not know it, or another kernel runs it just now.
            CerebelumError: Its inputs cannot be read.
        """
        path = self._journal()
        about = read_about(path, run) if path.exists() else None
        if about is None:
            raise PlanError(f"the journal has no run {run!r}")
        events = list(read(path, run))
        stored = self._archive.of_run(run)
        given = stored.get(INPUTS_TASK)
        inputs = self._archive.load(ResultRef(run, given)) if given is not None and given.codec else {}
        made = past(about, events, stored, inputs)
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


def _open(about: About) -> str:
    return "running" if is_alive(about) else "interrupted"
