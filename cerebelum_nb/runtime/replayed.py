"""A run's attempts, run again without changing it."""

from typing import TYPE_CHECKING, Any

from cerebelum_nb.protocols import Answer
from cerebelum_nb.runtime.awaited import Awaited

if TYPE_CHECKING:
    from cerebelum_nb.runtime.replay import Prepared, Replay


class Replayed(Awaited):
    """A run whose attempts can be replayed."""

    def replay(
        self, step: str, attempt: int | None = None, executor: str | None = None, *, force: bool = False
    ) -> "Replay":
        """Call a step's function again with what one of its attempts was given, and change nothing of the run.

        It is the function as it was sent to the worker, with the globals of then. What it raises is raised here, so
        that a debugger shows its frames; what it prints is printed here. It can tell by ``context.replay``. Sleeps are
        cut to a second, and approvals are answered as they were.

        Args:
            step: Its name.
            attempt: Number of the attempt, from 1; None for the last.
            executor: Where; None for here, in this process.
            force: Also a step that changes something outside, or whose attempt ended with its worker.

        Raises:
            PlanError: No such step or attempt, it never began or has not ended, or what it got is not kept.
            PlacementError: No such executor.
            Exception: What the step raises here.
            ExecutionError: It failed on that executor.
        """
        __tracebackhide__ = True
        return self.prepared_replay(step, attempt, executor, force=force).go()

    def prepared_replay(
        self, step: str, attempt: int | None = None, executor: str | None = None, *, force: bool = False
    ) -> "Prepared":
        """The same, ready to begin: says what it is, and has found all that it needs.

        Raises:
            PlanError: As `replay`.
            PlacementError: No such executor.
        """
        from cerebelum_nb.runtime.replay import prepared  # noqa: PLC0415  runs are mostly not replayed

        run: Any = self  # what is mixed in here is always one
        return prepared(run, self._host, self._task(step), attempt, executor, force=force)

    def check_replay(self, step: str) -> None:
        """Refuse what cannot be replayed here, as far as that is seen without reading what it got.

        Raises:
            PlanError: As `replay`.
        """
        from cerebelum_nb.runtime.replay import checked  # noqa: PLC0415  as above

        run: Any = self
        checked(run, self._host, self._task(step), None, None, force=False)

    def said_to(self, task: int, attempt: int) -> list[Answer]:
        """What people answered to an attempt, as far as that is known."""
        return self._approvals.said(task, attempt) or (self.results.answers(task) if self.is_recalled else [])
