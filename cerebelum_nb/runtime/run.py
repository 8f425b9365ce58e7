"""`Run`: the handle people hold. Await it, wait for it, watch it, cancel it, move its steps, run parts of it again."""

import contextlib
from typing import Any, Final

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.state import FINAL, SUCCEEDED
from cerebelum_nb.protocols import Answer
from cerebelum_nb.runtime.answers import Preview
from cerebelum_nb.runtime.approvals import Approval
from cerebelum_nb.runtime.awaited import Awaited
from cerebelum_nb.runtime.kept import Changed

ENDINGS: Final = frozenset(FINAL.values())


class Run(Awaited):
    """One execution of one plan; what it is made of is told in `Awaited` and `Looks`."""

    def move(self, step: str, executor: str) -> None:
        """Give a step another executor while the run is live; what has begun of it and below it runs again.

        Raises:
            PlanError: No such step, or the run has ended (use `rerun`).
            PlacementError: No such executor.
        """
        task = self._task(step)
        if not self.scheduler.move(task, self._host.placement(self, step, executor)):
            raise PlanError(
                f"run {self.number} of {self.workflow} has ended; runs[{self.number}].rerun({step!r}, "
                f"executor={executor!r}) runs that step and what depends on it again"
            )
        self.moved[step] = executor

    @property
    def approvals(self) -> tuple[Approval, ...]:
        """Steps that wait for somebody's word, who came first first."""
        return self._approvals.all()

    def approve(self, step: str, value: Any = True) -> None:  # noqa: FBT002  what most people mean
        """Let a step that waits for approval go on.

        Args:
            value: What the step gets from ``wait_for_approval``.

        Raises:
            PlanError: That step does not wait.
        """
        self._answer(step, Answer(approved=True, value=value))

    def reject(self, step: str, reason: str = "") -> None:
        """Say no to a step that waits for approval: it gets `ApprovalRejected` with the reason.

        Raises:
            PlanError: That step does not wait.
        """
        self._answer(step, Answer(approved=False, reason=str(reason)))

    def _answer(self, step: str, answer: Answer) -> None:
        if not self._approvals.answer(self._task(step), answer):
            ended = self.done or self.state.phase[self._task(step)] in ENDINGS
            how = "has ended" if ended else "does not wait for approval yet"
            others = ", ".join(a.step for a in self.approvals)
            waits = f"; {others} does" if others else ""
            raise PlanError(f"step {step!r} of run {self.number} {how}{waits}")

    def rerun(self, step: str | None = None, *, executor: str | None = None) -> "Run":
        """Start a new run that runs a step and what depends on it again, and reuses the other results of this one.

        Args:
            step: None reuses every result and runs only what did not succeed.
            executor: Where that step runs this time; None for where it ran.

        Raises:
            PlanError: No such step, or this run has not ended.
        """
        if step is not None:
            self._task(step)
        if not self._done.is_set():
            raise PlanError(
                f"run {self.number} of {self.workflow} still runs. Move a step in it, runs[{self.number}].move("
                f"{step or 'STEP'!r}, {executor or 'local'!r}), stop it with .cancel(), or wait with .result()"
            )
        return self._host.rerun(self, step, executor)

    def resume(self, *, changed: Changed = "ask") -> "Run":
        """Go on after a failure, a cancel, an interrupt or the end of a kernel: run only what has not succeeded.

        A step that slept or waited goes through its pauses again as it did: what was slept is slept, what was said
        stays said.

        Args:
            changed: What becomes of steps that were edited since, or whose results are gone: ``run`` runs them again,
                ``keep`` takes edited ones' results as they are, ``ask`` refuses and names them.

        Raises:
            PlanError: It still runs, there is nothing to do, or something changed and nobody said what to do.
        """
        if not self._done.is_set():
            raise PlanError(f"run {self.number} of {self.workflow} still runs")
        if self.state.status == "succeeded":
            raise PlanError(
                f"run {self.number} of {self.workflow} has succeeded; runs[{self.number}].rerun(STEP) runs again"
            )
        return self._host.resume(self, changed)

    def apply(self, step: str, executor: str | None = None) -> "Run":
        """What a click does: inside this run while it is live, as a new run once it has ended."""
        if not self._done.is_set():
            wanted = executor if executor is not None else self.state.places[self._task(step)].label
            with contextlib.suppress(PlanError):
                self.move(step, wanted)
                return self
            self.wait(1.0)
        return self.rerun(step, executor=executor)

    def preview(self, step: str, executor: str | None = None) -> Preview:
        """What `apply` would do now.

        Raises:
            PlanError: No such step.
            PlacementError: No such executor.
        """
        task, names = self._task(step), self.plan.names
        where = executor if executor is not None else self.state.places[task].label
        self._host.placement(self, step, where)
        if self._done.is_set():
            found = self._host.would_rerun(self, step, executor)
            moved = "" if executor is None else f', executor="{executor}"'
            return Preview(
                step,
                executor,
                runs=tuple(found.names[t] for t in found.runs),
                reuses=tuple(found.names[t] for t in found.reuses),
                lost="",
                edited=found.edited,
                code=f'runs[{self.number}].rerun("{step}"{moved})',
            )
        again, running = self.scheduler.preview(task)
        now, phase = self.scheduler.now(), self.state.phase
        parts = [f"{names[t]} ({now - (self.state.started[t] or now):.1f} s so far)" for t in running]
        return Preview(
            step,
            executor,
            runs=tuple(names[t] for t in again),
            reuses=tuple(n for t, n in enumerate(names) if phase[t] == SUCCEEDED and t not in again),
            lost=f"Stops what runs: {', '.join(parts)}." if parts else "",
            edited=(),
            code=f'runs[{self.number}].move("{step}", "{where}")',
        )

    def __repr__(self) -> str:
        header = self.header()
        return f"<run {self.number} of {self.workflow}: {self.status}, {header.done} of {header.total} steps>"
