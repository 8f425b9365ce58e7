"""`Run`: the handle people hold. Await it, wait for it, watch it, cancel it, move its steps, run parts of it again."""

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.state import FINAL, SUCCEEDED
from cerebelum_nb.protocols import Answer
from cerebelum_nb.rules.kept import Changed, Steps, listed_steps
from cerebelum_nb.rules.once import Force
from cerebelum_nb.rules.undoing import was_stopped
from cerebelum_nb.runtime.answers import Preview
from cerebelum_nb.runtime.approvals import Approval
from cerebelum_nb.runtime.compared import Compared
from cerebelum_nb.runtime.exports import Exports
from cerebelum_nb.runtime.foreseen import measured_s, reasons
from cerebelum_nb.runtime.host import current_host
from cerebelum_nb.runtime.replayed import Replayed

ENDINGS: Final = frozenset(FINAL.values())


class Run(Compared, Replayed, Exports):
    """One execution of one plan; what it is made of is told in `Awaited` and `Looks`."""

    @staticmethod
    def load(run_id: str) -> "Run":
        """A run from the journal, also one of an earlier kernel: look at it, read its results, go on from it.

        It belongs to the process's session, which is opened if there is none yet; the same as ``runs.load``.

        Args:
            run_id: Its id, or a part of it that only it has.

        Raises:
            PlanError: There is no such run, or another kernel runs it just now.
        """
        found: Run = current_host().load(run_id)
        return found

    def move(self, step: Steps, executor: str, *, force: bool = False) -> None:
        """Give a step another executor while the run is live; what has begun of it and below it runs again.

        Args:
            step: Its name, or those of several, which move one after the other.
            force: Also where a step with ``effects="once"`` has begun, and would run again.

        Raises:
            PlanError: No such step, the run has ended (use `rerun`), or a step that has begun never runs twice.
            PlacementError: No such executor.
        """
        moves = [(name, self._task(name), self._host.placement(self, name, executor)) for name in listed_steps(step)]
        for name, task, placement in moves:
            if not self.scheduler.move(task, placement, force=force):
                raise PlanError(
                    f"run {self.number} of {self.workflow} has ended; runs[{self.number}].rerun({name!r}, "
                    f"executor={executor!r}) runs that step and what depends on it again"
                )
            self.moved[name] = executor

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

    def rerun(
        self,
        step: Steps | None = None,
        *,
        executor: str | None = None,
        only: bool = False,
        everything: bool = False,
        force: Force = False,
    ) -> "Run":
        """Start a new run that runs a step and what depends on it again, and reuses the other results of this one.

        What has been undone by now, in whichever run, is not reused: it runs again, with another idempotency key. A run
        with steps that can be undone, and that did not succeed, is gone on from once, by `resume` or by this without a
        step; steps of it may be run again as often as one likes.

        Args:
            step: Its name, or those of several; a nested workflow's for all its steps; None reuses every result and
                runs only what did not succeed.
            executor: Where that step runs this time; None for where it ran.
            only: Run nothing that depends on the step.
            everything: Run every step again; `step` is left out.
            force: Steps with ``effects="once"`` that run again although they have begun before; True for all.

        Raises:
            PlanError: No such step, this run has not ended, `only` with anything but one step, a step that has begun
                never runs twice, or somebody has gone on from this run.
        """
        names = listed_steps(step)
        step, until = self._asked_for(step, only=only, everything=everything)
        if not self._done.is_set():
            named = next(iter(listed_steps(step)), "STEP")
            raise PlanError(
                f"run {self.number} of {self.workflow} still runs. Move a step in it, runs[{self.number}].move("
                f"{named!r}, {executor or 'local'!r}), stop it with .cancel(), or wait with .result()"
            )
        insists = self._line("rerun", names, executor, only=only, everything=everything, force=True)
        return self._host.rerun(self, step, executor, until=until, force=force, code=insists)

    def _asked_for(self, step: Steps | None, *, only: bool, everything: bool) -> tuple[Steps | None, str | None]:
        """The steps to run again, and the step after which the run ends."""
        groups = {group.name: self.plan.names[group.first : group.stop] for group in self.plan.groups}
        inside = [() if name in self.plan.names else groups.get(name, ()) for name in listed_steps(step)]
        if any(inside):  # a nested workflow stands for all its steps
            step = [one for name, steps in zip(listed_steps(step), inside, strict=True) for one in steps or (name,)]
        names = listed_steps(step)
        for name in names:
            self._task(name)
        if everything:
            if names:
                raise PlanError(f"everything=True runs every step again: leave out {', '.join(map(repr, names))}")
            step = self.plan.names[: self.plan.steps]
        if only and len(names) != 1:
            raise PlanError("only=True runs one step and nothing that depends on it: name that step")
        return step, names[0] if only else None

    def resume(
        self,
        *,
        inputs: Mapping[str, Any] | None = None,
        changed: Changed = "ask",
        force: Force = False,
        results: Mapping[str, Any] | None = None,
    ) -> "Run":
        """Go on after a failure, a cancel, an interrupt or the end of a kernel: run only what has not succeeded.

        A step that slept or waited goes through its pauses again as it did: what was slept is slept, what was said
        stays said.

        What was undone runs again, with another idempotency key. Where the undoing itself was cut off, that goes on and
        no step runs: what `compensate` does.

        Args:
            inputs: None for the run's own.
            changed: What becomes of steps that were edited since, or whose results are gone, and where other inputs are
                given: ``run`` runs again what that touches, ``keep`` takes edited ones' results and the run's inputs as
                they are, ``ask`` refuses and names them.
            force: Steps with ``effects="once"`` that run again although they have begun before; True for all.
            results: Step name to its result, where you know what a step did that nobody knows the end of.

        Raises:
            PlanError: It still runs, there is nothing to do, something changed and nobody said what to do, or a step
                that has begun never runs twice.
        """
        if not self._done.is_set():
            raise PlanError(f"run {self.number} of {self.workflow} still runs")
        if self.state.status == "succeeded":
            raise PlanError(
                f"run {self.number} of {self.workflow} has succeeded; runs[{self.number}].rerun(STEP) runs again"
            )
        if self.state.status == "compensation_failed" and was_stopped(self.state):
            return self._host.compensate(self)  # what was cut off goes on: forward again only when all is undone
        return self._host.resume(self, changed, force=force, results=results, inputs=inputs)

    def compensate(self) -> "Run":
        """Undo what this run did, in a new run in which no step runs.

        For one that failed with ``on_failure="stop"``, was cut off by its kernel's end, or whose compensation failed or
        was cut off. What is undone already, in whichever run, is not undone again; and nothing is undone that a later
        run goes on with.

        Raises:
            PlanError: It still runs, it has succeeded, a later run goes on from it, or there is nothing to undo; says
                why.
        """
        called = f"run {self.number} of {self.workflow}"
        if not self._done.is_set():
            raise PlanError(f"{called} still runs; runs[{self.number}].cancel() stops and undoes it")
        if self.state.status in ("succeeded", "compensated"):
            how = "has succeeded: only what failed or was stopped is undone"
            raise PlanError(f"{called} {how if self.state.status == 'succeeded' else 'is undone already'}")
        return self._host.compensate(self)

    def apply(
        self,
        step: Steps | None,
        executor: str | None = None,
        *,
        only: bool = False,
        everything: bool = False,
        force: bool = False,
    ) -> "Run":
        """What a click does: inside this run while it is live, as a new run once it has ended.

        Raises:
            PlanError: A step that has begun would run again, and never runs twice; ``force=True`` insists.
        """
        if not self._done.is_set() and not only and not everything:
            names = listed_steps(step)
            why = "" if force else self.scheduler.refused(*map(self._task, names))
            if why and not self._done.is_set():
                raise PlanError(why)
            with contextlib.suppress(PlanError):
                for name in names:
                    wanted = executor if executor is not None else self.state.places[self._task(name)].label
                    self.move(name, wanted, force=force)
                return self
            self.wait(1.0)
        return self.rerun(step, executor=executor, only=only, everything=everything, force=force)

    def preview(
        self, step: Steps | None, executor: str | None = None, *, only: bool = False, everything: bool = False
    ) -> Preview:
        """What `apply` would do now.

        Raises:
            PlanError: No such step.
            PlacementError: No such executor.
        """
        names = listed_steps(step)
        for name in names if executor is not None else ():
            self._task(name)
            self._host.placement(self, name, executor or "")
        if not self._done.is_set() and not only and not everything:
            return self._would_move(names, executor)
        again, until = self._asked_for(step, only=only, everything=everything)
        insists = self._line("rerun", names, executor, only=only, everything=everything, force=True)
        found = self._host.would_rerun(self, again, executor, until=until, code=insists)
        definition = self.plan
        edited, lost = set(found.edited), {definition.names[t] for t in self.lost}
        known = {
            t: "edited since" if name in edited else "its result is gone"
            for t, name in enumerate(definition.names)
            if name in edited or name in lost
        }
        chosen = {definition.number_of(name) for name in listed_steps(again)}
        runs = tuple(found.names[t] for t in found.runs)
        here = [definition.number_of(name) for name in runs if name in definition.names]
        seconds, untimed = measured_s(self, runs)
        return Preview(
            ", ".join(names),
            executor,
            runs=runs,
            reuses=tuple(found.names[t] for t in found.reuses),
            lost="",
            edited=found.edited,
            code=self._line("rerun", names, executor, only=only, everything=everything),
            why={} if everything else reasons(definition, here, chosen, known),
            seconds=seconds,
            untimed=untimed,
            refused=found.refused,
        )

    def _would_move(self, steps: tuple[str, ...], executor: str | None) -> Preview:
        names, phase = self.plan.names, self.state.phase
        tasks = {name: self._task(name) for name in steps}
        found = [self.scheduler.preview(task) for task in tasks.values()]
        again = sorted({t for below, _ in found for t in below})
        now = self.scheduler.now()
        running = sorted({t for _, stopped in found for t in stopped})
        parts = [f"{names[t]} ({now - (self.state.started[t] or now):.1f} s so far)" for t in running]
        runs = tuple(names[t] for t in again)
        seconds, untimed = measured_s(self, runs)
        return Preview(
            ", ".join(steps),
            executor,
            runs=runs,
            reuses=tuple(n for t, n in enumerate(names) if phase[t] == SUCCEEDED and t not in again),
            lost=f"Stops what runs: {', '.join(parts)}." if parts else "",
            edited=(),
            code=self._line("move", steps, executor or self.state.places[tasks[steps[0]]].label if steps else executor),
            why=reasons(self.plan, again, set(tasks.values()), {}),
            seconds=seconds,
            untimed=untimed,
            refused=self.scheduler.refused(*tasks.values()),
        )

    def _line(  # noqa: PLR0913  as `rerun`
        self,
        verb: str,
        steps: tuple[str, ...],
        executor: str | None,
        *,
        only: bool = False,
        everything: bool = False,
        force: bool = False,
    ) -> str:
        """The same as a line of Python."""
        quoted = [f'"{name}"' for name in steps]
        given = [f"[{', '.join(quoted)}]" if len(quoted) > 1 else quoted[0]] if quoted else []
        if executor is not None:
            given.append(f'"{executor}"' if verb == "move" else f'executor="{executor}"')
        given += ["only=True"] if only else []
        given += ["everything=True"] if everything else []
        given += ["force=True"] if force else []
        return f"runs[{self.number}].{verb}({', '.join(given)})"

    def __repr__(self) -> str:
        header = self.header()
        undone = f", {header.note}" if self.state.compensating else ""
        return f"<run {self.number} of {self.workflow}: {self.status}, {header.done} of {header.total} steps{undone}>"
