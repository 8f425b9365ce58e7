"""Who goes on from whom, in this session and in the journal; and what that means for what is reused and undone."""

import contextlib
import sqlite3
from collections.abc import Collection, Sequence

from cerebelum_nb.context import Context
from cerebelum_nb.errors import CerebelumError, PlanError
from cerebelum_nb.model.state import RunState
from cerebelum_nb.rules.branches import not_undone, source, undone_by, undone_since
from cerebelum_nb.rules.undoing import Line, is_on_request, line_of
from cerebelum_nb.runtime.history import History
from cerebelum_nb.runtime.run import Run


class Lineage:
    """What is known now; for one question, since it remembers what it has read.

    Args:
        runs: Those of the session.
    """

    def __init__(self, runs: Sequence[Run], history: History) -> None:
        self._history = history
        self._states = {run.id: run.state for run in runs}
        self._roots = {run.id: run.root for run in runs}
        self._numbers = {run.id: f"run {run.number}" for run in runs}
        self._families: dict[str, dict[str, RunState]] = {}

    def line(self, run: Run) -> Line:
        """What a run and those it goes on from have done, and nobody has undone."""
        states, whole = [run.state], True
        while states[0].run != run.root and states[0].parent:
            above = self._state(states[0].parent)
            if above is None:  # purged
                whole = False
                break
            states.insert(0, above)
        return line_of(states, whole=whole, undone=undone_by(self._family(run.root)))

    def undone(self, run: Run) -> set[str]:
        """Steps whose results a run has, and which some run has undone."""
        chain = self._chain(run.state)
        found: dict[tuple[str, str], float] = {}
        for root in {self._roots[state.run] for state in chain}:
            found |= undone_by(self._family(root))
        return undone_since(chain, found)

    def undone_tasks(self, run: Run) -> set[int]:
        """The same by task."""
        names = self.undone(run)
        return {task for task, name in enumerate(run.plan.names[: run.plan.steps]) if name in names}

    def end(self, run: Run) -> str:
        """The run that is gone on from where somebody goes on from another: the one that has undone it, if any.

        Raises:
            PlanError: It is undone just now.
        """
        found, family = run.id, self._family(run.root)
        while undoes := [s for s in family.values() if s.parent == found and is_on_request(s)]:
            found = undoes[-1].run
            if undoes[-1].status == "running":
                raise PlanError(f"run {run.number} is undone just now, by {self._called(found)}: wait for that one")
        return found

    def check_not_taken(self, run: Run, line: Line, names: Collection[str]) -> None:
        """Refuse to undo what a later run goes on with.

        Args:
            names: Steps that say how they are undone.

        Raises:
            PlanError: Names that run.
        """
        above = {state.run for state in self._chain(run.state)}
        standing = {(there, name) for name, (there, _) in line.done.items() if name in names}
        for state in self._others(run):
            if state.run in above or is_on_request(state):
                continue
            chain = self._chain(state)
            goes_on = any(s.run == run.id for s in chain)
            same = self._roots[state.run] == run.root
            takes = any((source(chain, name), name) in standing for _, name in standing)
            if not (takes or same):
                continue
            lives = state.status in ("running", "succeeded")
            if lives or (same and goes_on) or (takes and self._stands(state)):
                more = {"succeeded": ", and has succeeded", "running": ", and still runs"}.get(
                    state.status, ": compensate that one"
                )
                raise PlanError(
                    f"run {run.number} of {run.workflow} is not undone: {self._called(state.run)} goes on from it{more}"
                )

    def left_over(self, run: Run, names: Collection[str]) -> str:
        """Which steps of those that are to run again could not be undone, and where; empty for none."""
        found: dict[str, str] = {}
        for state in self._family(run.root).values():
            found |= {name: state.run for name in not_undone(state) if name in names}
        if not found:
            return ""
        line = self.line(run)
        keys = {
            name: Context(None, run.id, run.workflow, name, root=line.keys.get(name, run.root)).idempotency_key
            for name in found
            if name in line.done or name in line.unknown
        }
        return "; ".join(f"{n} is left over from {self._called(found[n])} (key {key})" for n, key in keys.items())

    def _stands(self, state: RunState) -> bool:
        """Something that a run did itself, and that can be undone, is not undone."""
        says_how = {state.names[task] for task in state.undo.values()}
        line = line_of([state], undone=undone_by(self._family(self._roots[state.run])))
        return not says_how.isdisjoint(line.done)

    def _called(self, run: str) -> str:
        return self._numbers.get(run, f"run {run}")

    def _chain(self, state: RunState) -> list[RunState]:
        """A run, the one that it was made from, and so on."""
        chain = [state]
        while chain[-1].parent and (above := self._state(chain[-1].parent)) is not None:
            chain.append(above)
        return chain

    def _others(self, run: Run) -> list[RunState]:
        """All runs that may have been made from a run or from one that it goes on from."""
        with contextlib.suppress(CerebelumError, sqlite3.Error, OSError):
            for other in self._history.alike(run.workflow, run.root):
                self._state(other)
        return [state for state in self._states.values() if state.workflow == run.workflow]

    def _family(self, root: str) -> dict[str, RunState]:
        """All runs that go on from each other, be it in branches, oldest first as far as that is known."""
        if root not in self._families:
            with contextlib.suppress(CerebelumError, sqlite3.Error, OSError):  # said where the journal is used
                for other in self._history.going_on_from(root):
                    self._state(other)
            self._families[root] = {run: state for run, state in self._states.items() if self._roots[run] == root}
        return self._families[root]

    def _state(self, run: str) -> RunState | None:
        if run not in self._states:
            with contextlib.suppress(CerebelumError, sqlite3.Error, OSError):  # purged, damaged, or another kernel's
                found = self._history.load(run)
                self._states[run], self._roots[run] = found.scheduler.state, found.about.root or run
        return self._states.get(run)
