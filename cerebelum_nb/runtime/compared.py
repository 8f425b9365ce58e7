"""A run beside an earlier one."""

from typing import TYPE_CHECKING, Any, Union

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.compare import Comparison, Told, compare
from cerebelum_nb.runtime.awaited import Awaited

if TYPE_CHECKING:
    from cerebelum_nb.runtime.run import Run


class Compared(Awaited):
    """What a run can be compared with."""

    def compare(self, other: Union["Run", int, str, None] = None) -> Comparison:
        """This run beside another one: each step's place and time in both, and the difference.

        Show what it gives, or read it: ``runs[2].compare(1)["train"].difference_s``.

        Args:
            other: A run, its number in this session, or its id or a part of it; None for the run that this one was
                started from, else the one before it of the same workflow.

        Raises:
            PlanError: There is no such run, or none before it.
        """
        found = self._other(other)
        return compare(told(self), told(found))

    def earlier(self) -> list[Any]:
        """Runs of the same workflow that this session knows, which began before it and have ended, newest first."""
        began = self.state.started_at
        known = [run for run in self._host.runs if run.workflow == self.workflow and run.state.started_at < began]
        return sorted((run for run in known if run.done), key=lambda run: run.state.started_at, reverse=True)

    def _other(self, other: Union["Run", int, str, None]) -> Any:
        if other is None:
            return self._before()
        if isinstance(other, int):
            for run in self._host.runs:
                if run.number == other:
                    return run
            raise PlanError(f"there is no run {other!r} in this session: it has {_numbers(len(self._host.runs))}")
        return self._host.load(other) if isinstance(other, str) else other

    def _before(self) -> Any:
        if self.parent is not None:
            return self.parent
        found = self.earlier()
        if not found:
            raise PlanError(
                f"run {self.number} is the first of {self.workflow} in this session: there is nothing to compare it "
                f"with. Name a run: runs[{self.number}].compare(ID), with an id from `%cerebelum runs`"
            )
        return found[0]


def told(run: Awaited) -> Told:
    """A run as it is compared."""
    return Told(f"run {run.number}", run.header(), run.rows())


def _numbers(count: int) -> str:
    return f"runs 1 to {count}" if count > 1 else "run 1 only"
