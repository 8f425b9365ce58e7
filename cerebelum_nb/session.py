"""`Session`: the composition root, the one place where everything meets: settings, executors, journal, runs."""

import atexit
import contextlib
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from cerebelum_nb.context import own_copy
from cerebelum_nb.dsl.alone import alone
from cerebelum_nb.dsl.recalled import Recalled
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.engine import Engine
from cerebelum_nb.errors import PlanError
from cerebelum_nb.executors.hybrid import meaning
from cerebelum_nb.identity.code import same_inputs
from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.options import bad_on_failure
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import SUCCEEDED
from cerebelum_nb.rules import planner
from cerebelum_nb.rules.given import check_given, who_reads
from cerebelum_nb.rules.inherited import NOTHING, check_to_undo, inherited
from cerebelum_nb.rules.kept import Changed, Kept, Steps, as_arguments, check_changed, check_range, kept, listed_steps
from cerebelum_nb.rules.once import Force, Ran, Verb, check_force, check_results, ran_before, refusal
from cerebelum_nb.rules.placement import Wishes, place
from cerebelum_nb.rules.planner import checked
from cerebelum_nb.runtime.answers import ExecutionResult
from cerebelum_nb.runtime.asked import ORDINARY, Asked
from cerebelum_nb.runtime.history import latest, latest_ended
from cerebelum_nb.runtime.host import opens_with
from cerebelum_nb.runtime.lineage import Lineage
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.store.results import ResultRef


class Session(Engine):
    """What people run workflows with."""

    # -- running

    def run(  # noqa: PLR0913  what a person may ask of a run, all by keyword
        self,
        workflow: Workflow,
        inputs: Any = None,
        *,
        strategy: Mapping[str, str] | None = None,
        until: str | None = None,
        start_at: str | None = None,
        everywhere: str = "",
        fresh: bool = False,
        on_failure: str | None = None,
        core: str = "",
    ) -> Run:
        """Plan a workflow and start it.

        Args:
            strategy: Step name or ``default`` to executor, for this run.
            until: Run only this step and what it needs.
            start_at: Run this step and what depends on it; reuse the latest run's results for the rest.
            everywhere: One executor for all steps, whatever they say.
            fresh: Take nothing from the cache; what steps with ``cache=True`` give is kept anew.
            on_failure: ``compensate`` or ``stop``, see `Workflow.run`; None for what the workflow says.
            core: URL of the Core that ``distributed`` means in this run; empty for this session's.

        Raises:
            PlanError: The workflow cannot run as asked; nothing has run then.
        """
        if wrong := bad_on_failure(on_failure):
            raise PlanError(wrong)
        asked = Asked(until=until, fresh=fresh, on_failure=on_failure or "")
        said = Wishes(strategy={} if strategy is None else strategy, everywhere=everywhere, core=core)
        wishes = self._wishes(workflow, said)
        if start_at is None:
            return self._start(workflow, checked(inputs), wishes, asked)
        parent = latest_ended(workflow.name, self.runs)
        given = parent.plan.inputs if inputs is None else checked(inputs)
        if not same_inputs(given, parent.plan.inputs):
            raise PlanError(
                f"going on from {start_at!r} reuses results of run {parent.number}, which had other inputs: "
                "leave the inputs out to use that run's, or run all steps"
            )
        return self._start(workflow, given, wishes, replace(asked, parent=parent, again=start_at))

    async def execute(  # noqa: PLR0913  what a person may ask of a run, all by keyword
        self,
        workflow: Workflow,
        inputs: Any = None,
        *,
        executor: Any = None,
        use_local: bool | None = None,
        strategy: Mapping[str, str] | None = None,
        until: str | None = None,
        start_at: str | None = None,
        fresh: bool = False,
        on_failure: str | None = None,
    ) -> ExecutionResult:
        """Run to the end, with the specification's arguments; see `Workflow.execute`.

        Raises:
            PlanError: Arguments that contradict each other, or a workflow that cannot run as asked.
            ExecutionError: A step failed.
        """
        everywhere, strategy, core = meaning(executor=executor, use_local=use_local, strategy=strategy)
        return await self.run(
            workflow,
            inputs,
            strategy=strategy,
            until=until,
            start_at=start_at,
            everywhere=everywhere,
            fresh=fresh,
            on_failure=on_failure,
            core=core,
        )

    def try_step(self, step: StepMetadata, inputs: Any = None, *, force: bool = False) -> Run:
        """Run one step on the latest results of what it reads.

        Args:
            inputs: None for those of the run that the newest of these results comes from.
            force: Also a step with ``effects="once"`` that has begun in the runs that these results come from.

        Raises:
            PlanError: What it reads has no result yet, or it has begun there and never runs twice.
        """
        found, source = latest({p.name for p in step.definition.parameters if p.kind == "step"}, step.name, self.runs)
        workflow = alone(step, found, registry)
        given = source.plan.inputs if inputs is None and source is not None else checked(inputs)
        ran, told = dict[str, Ran](), {why for _, why in found.values()}
        for run in (run for run in self.runs if f"result of run {run.number}" in told):
            undone = self._lineage.undone_tasks(run)
            ran |= ran_before(run.plan, run.state, run.plan.steps, run.ran_before, (step.name,), undone=undone)
        asked = Asked(given=found, ran=ran, force=force, code="force=True")
        return self._start(workflow, given, self._wishes(workflow, Wishes()), asked)

    def plan(self, workflow: Workflow, *, strategy: Mapping[str, str] | None = None) -> Plan:
        """Check a workflow and place its steps without running it.

        Raises:
            PlanError: What is wrong with it.
        """
        return planner.plan(workflow.define(), {}, self._wishes(workflow, Wishes(strategy=strategy or {})), self.places)

    def placement(self, run: Run, step: str, executor: str) -> Placement:
        """Where a step of a run goes when a person says so."""
        said = (run.wishes.meant(executor), "person", f"you moved it to {executor!r}")
        return place(step, said, self.places, is_async=run.plan.asynchronous[run.plan.number_of(step)])

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Entered by whoever blocks until a run ends: it may be a step."""
        return self._local.waiting()

    def rerun(  # noqa: PLR0913  as `Run.rerun`
        self,
        run: Run,
        step: Steps | None,
        executor: str | None,
        *,
        until: str | None = None,
        force: Force = False,
        code: str = "",
    ) -> Run:
        """A new run of the same workflow that reuses what is not affected; see `Run.rerun`.

        Args:
            code: The same as a line of Python that insists.
        """
        wishes = self._wishes_again(run, step, executor)
        asked = Asked(parent=run, again=step, until=until, force=force, code=code)
        if asked.goes_on and run.state.status != "succeeded":
            made = planner.plan(run.definition.define(), run.plan.inputs, wishes, self.places)
            if made.undo or run.plan.undo:  # what it did is undone once: a line of runs has no branches
                with self.history.going_on(self._lineage.end(run)) as new:
                    return self._start(run.definition, run.plan.inputs, wishes, replace(asked, run_id=new))
        return self._start(run.definition, run.plan.inputs, wishes, asked)

    def resume(
        self,
        run: Run,
        changed: Changed,
        *,
        force: Force = False,
        results: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> Run:
        """A new run of the same workflow that runs what has not succeeded; see `Run.resume`."""
        taken, again = self._given_again(run, inputs, changed)
        check_changed(self.would_rerun(run, None, None), [run.plan.names[t] for t in sorted(run.lost)], changed)
        wishes, keep = self._wishes_again(run, None, None), changed == "keep"
        with self.history.going_on(run.id) as new:
            why = f"stated on going on from run {run.number}"
            given = {name: (value, why) for name, value in (results or {}).items()}
            asked = Asked(parent=run, again=again, keep_edited=keep, run_id=new, force=force, given=given)
            return self._start(run.definition, taken, wishes, asked)

    def _given_again(self, run: Run, inputs: Mapping[str, Any] | None, changed: Changed) -> tuple[Any, Steps | None]:
        """What a run that goes on takes as inputs, and the steps that run again since these are others."""
        given = checked(inputs)
        if inputs is None or not check_given(given, run.plan.inputs, run.without_inputs, changed):
            return run.plan.inputs, None
        if changed == "keep":
            return given, None
        wishes = self._wishes_again(run, None, None)
        return given, who_reads(planner.plan(run.definition.define(), given, wishes, self.places))

    def compensate(self, run: Run) -> Run:
        """A new run that only undoes what an earlier one did; see `Run.compensate`."""
        wishes = self._wishes_again(run, None, None)
        made = planner.plan(run.definition.define(), run.plan.inputs, wishes, self.places)
        lineage = self._lineage
        line = lineage.line(run)
        check_to_undo(made, line, run.plan, f"run {run.number} of {run.workflow}")
        lineage.check_not_taken(run, line, [made.names[task] for task in made.undo])
        with self.history.going_on(run.id) as new:
            asked = Asked(parent=run, run_id=new, undo_now=f"compensation of run {run.number}")
            return self._start(run.definition, run.plan.inputs, wishes, asked)

    @property
    def _lineage(self) -> Lineage:
        return Lineage(self.runs, self.history)

    def _result(self, run: str, task: int) -> Any:
        """A result of a run that was gone on from; what stands for it where it is not kept."""
        known = next((r for r in self.runs if r.id == run), None)
        if known is not None and known.scheduler.has_last(task):
            value = known.scheduler.last(task)
            return self._archive.if_kept(value) if isinstance(value, ResultRef) else value
        return self._archive.if_kept(self._archive.ref(run, task))

    def would_rerun(
        self, run: Run, step: Steps | None, executor: str | None, *, until: str | None = None, code: str = ""
    ) -> Kept:
        """What `rerun` would run and reuse, with the definitions as they are now."""
        wishes = self._wishes_again(run, step, executor)
        made = planner.plan(run.definition.define(), run.plan.inputs, wishes, self.places, until=until)
        check_range(made, step, until)
        undone = self._lineage.undone_tasks(run)
        found = kept(made, run.plan, run.state, step, run.lost | undone)
        ran = ran_before(made, run.state, run.plan.steps, run.ran_before, undone=undone)
        why = refusal(made, found.runs, lambda t: ran.get(made.names[t]), force=False, verb="rerun", code=code)
        return msgspec.structs.replace(found, refused=why)

    def _wishes_again(self, run: Run, step: Steps | None, executor: str | None) -> Wishes:
        person = run.moved if executor is None else {**run.moved, **dict.fromkeys(listed_steps(step), executor)}
        return self._wishes(run.definition, msgspec.structs.replace(run.wishes, person=person))

    def _wishes(self, workflow: Workflow, said: Wishes) -> Wishes:
        """What is said of a run, with what its workflow and this session say."""
        self.pools.reach(said.core)
        return msgspec.structs.replace(
            said,
            workflow_executor=workflow.executor,
            workflow_strategy=workflow.execution_strategy,
            configured=self.settings.strategy,
            session_default=self.settings.default_executor,
        )

    def _start(self, workflow: Workflow, inputs: Any, wishes: Wishes, asked: Asked = ORDINARY) -> Run:
        parent, given = asked.parent, asked.given
        if parent is not None and parent.without_inputs and inputs is parent.plan.inputs:
            raise PlanError(f"the inputs of run {parent.number} are not known any more: {parent.without_inputs}")
        made = planner.plan(workflow.define(), own_copy(inputs), wishes, self.places, until=asked.until)
        check_force(made, asked.force)
        check_range(made, asked.again, asked.until)
        undone = self._lineage.undone_tasks(parent) if parent is not None else set[int]()
        if parent is not None:
            ran = ran_before(made, parent.state, parent.plan.steps, parent.ran_before, undone=undone)
            asked = replace(asked, ran=ran)
        if self._stops(workflow, asked):
            made = msgspec.structs.replace(made, undone_if=False)
        if asked.undo_now:
            return self._undo(made, workflow, wishes, asked, undone)
        inherits = NOTHING
        reused = {t: given[name] for t, name in enumerate(made.names) if name in given} if given else {}
        origin: dict[int, tuple[str, int]] = {}
        if parent is not None:
            old = {name: t for t, name in enumerate(parent.plan.names)}
            stands = parent.plan, parent.state, asked.again, parent.lost | undone
            found = kept(made, *stands, keep_edited=asked.keep_edited, stated=given)
            check_results(made, parent.state, parent.plan.steps, given)
            self._check_once(made, found.runs, asked)
            asked = replace(asked, left_over=self._lineage.left_over(parent, [made.names[t] for t in found.runs]))
            origin = {t: (parent.id, old[made.names[t]]) for t in found.reuses}
            why = f"reused from run {parent.number}"
            if origin:  # to read results may load numpy and more: what starts meanwhile is there sooner
                self._begin()
                self._warm_up(made)
            reused |= {t: (parent.results.by_reference(there), why) for t, (_, there) in origin.items()}
            if asked.goes_on and (made.undo or parent.plan.undo):
                inherits = inherited(made, self._lineage.line(parent), parent.state, reused, self._result)
        else:
            self._check_once(made, range(made.steps), asked)
        return self.begin(made, workflow, wishes, self, asked, reused, origin, inherits)

    @staticmethod
    def _check_once(made: Plan, runs: Iterable[int], asked: Asked) -> None:
        """Refuse what has begun and never runs twice."""
        if not asked.ran:
            return
        resumes = asked.goes_on and bool(asked.run_id) and not asked.code
        parent = f"runs[{asked.parent.number}]" if asked.parent else ""
        code = parent if resumes else asked.code or f"{parent}.rerun({as_arguments(asked.again)}force=True)"
        verb: Verb = "resume" if resumes else "rerun"
        if why := refusal(made, runs, lambda t: asked.ran.get(made.names[t]), asked.force, verb, code):
            raise PlanError(why)

    def _undo(self, made: Plan, workflow: Workflow, wishes: Wishes, asked: Asked, undone: Collection[int]) -> Run:
        """A run that only undoes: all that its parent has is reused, but for what is undone already."""
        parent = asked.parent
        assert parent is not None
        made, state = msgspec.structs.replace(made, undone_if=True), parent.state
        at = {name: t for t, name in enumerate(made.names[: made.steps])}
        found = [
            (at[name], t)
            for t, name in enumerate(state.names[: parent.plan.steps])
            if state.phase[t] == SUCCEEDED and t not in undone and name in at
        ]
        reused = {t: (self._result(parent.id, there), f"reused from run {parent.number}") for t, there in found}
        origin = {t: (parent.id, there) for t, there in found}
        inherits = inherited(made, self._lineage.line(parent), state, reused, self._result)
        return self.begin(made, workflow, wishes, self, asked, reused, origin, inherits)

    @staticmethod
    def _stops(workflow: Workflow, asked: Asked) -> bool:
        """A run that fails is left as it is."""
        if asked.on_failure or asked.parent is None:
            return (asked.on_failure or workflow.on_failure) == "stop"
        return not asked.parent.plan.undone_if

    # -- runs of the past

    def load(self, name: str) -> Run:
        """A run from the journal, also one of an earlier kernel: look at it, read its results, run parts of it again.

        Args:
            name: Its id, a part of it that only it has, or ``last`` for the newest.

        Raises:
            PlanError: There is no such run, or another kernel runs it just now.
        """
        if not isinstance(name, str):
            raise PlanError(f"a run is loaded by its id, a part of that, or 'last'; not by {name!r:.60}")
        if name == "last" and self.runs:
            return self.runs[-1]
        newest = self.history.entries(1) if name == "last" else []
        run_id = newest[0].run if newest else self.history.find(name)
        if known := [run for run in self.runs if run.id == run_id]:
            return known[0]
        with self._lock:
            run = self.history.recall(run_id, len(self.runs) + 1, self, lambda name: Recalled(name, registry))
            if run.state.undo and run.root != run.id:
                run.keys = self._lineage.line(run).keys
            self.runs.append(run)
        return run


_current: Session | None = None  # a process has one default session; everywhere else it is an argument
_current_lock = threading.Lock()


def current() -> Session:
    """The session of this process, made at its first use and closed when the process ends."""
    global _current  # noqa: PLW0603  see above
    with _current_lock:
        if _current is None:
            _current = Session()
            atexit.register(_current.close)
            os.register_at_fork(after_in_child=_forget)
        return _current


opens_with(current)


def existing() -> Session | None:
    """The session of this process, if anything has needed one."""
    return _current


def _forget() -> None:
    """In a forked child: its parent's session has no threads here, so the child's first run makes one of its own."""
    global _current, _current_lock
    _current, _current_lock = None, threading.Lock()
