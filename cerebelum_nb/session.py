"""`Session`: the composition root, the one place where everything meets: settings, executors, journal, runs."""

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any, Final

from cerebelum_nb.context import own_copy
from cerebelum_nb.dsl.alone import alone
from cerebelum_nb.dsl.recalled import Recalled
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.engine import Engine
from cerebelum_nb.errors import PlanError
from cerebelum_nb.executors.hybrid import meaning
from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.runtime import planner
from cerebelum_nb.runtime.answers import ExecutionResult
from cerebelum_nb.runtime.asked import ORDINARY, Asked
from cerebelum_nb.runtime.history import latest, latest_ended
from cerebelum_nb.runtime.kept import Changed, Kept, check_changed, kept, same_inputs
from cerebelum_nb.runtime.placement import Wishes, place
from cerebelum_nb.runtime.planner import checked
from cerebelum_nb.runtime.run import Run

_log = logging.getLogger(__name__)
WATCH_S: Final = 0.1  # how often somebody looks whether a step blocks its loop


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
    ) -> Run:
        """Plan a workflow and start it.

        Args:
            strategy: Step name or ``default`` to executor, for this run.
            until: Run only this step and what it needs.
            start_at: Run this step and what depends on it; reuse the latest run's results for the rest.
            everywhere: One executor for all steps, whatever they say.

        Raises:
            PlanError: The workflow cannot run as asked; nothing has run then.
        """
        wishes = self._wishes(workflow, {} if strategy is None else strategy, everywhere=everywhere)
        if start_at is None:
            return self._start(workflow, checked(inputs), wishes, Asked(until=until))
        parent = latest_ended(workflow.name, self.runs)
        given = parent.plan.inputs if inputs is None else checked(inputs)
        if not same_inputs(given, parent.plan.inputs):
            raise PlanError(
                f"going on from {start_at!r} reuses results of run {parent.number}, which had other inputs: "
                "leave the inputs out to use that run's, or run all steps"
            )
        return self._start(workflow, given, wishes, Asked(until=until, parent=parent, again=start_at))

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
    ) -> ExecutionResult:
        """Run to the end, with the specification's arguments; see `Workflow.execute`.

        Raises:
            PlanError: Arguments that contradict each other, or a workflow that cannot run as asked.
            ExecutionError: A step failed.
        """
        everywhere, strategy = meaning(executor=executor, use_local=use_local, strategy=strategy)
        return await self.run(
            workflow, inputs, strategy=strategy, until=until, start_at=start_at, everywhere=everywhere
        )

    def try_step(self, step: StepMetadata, inputs: Any = None) -> Run:
        """Run one step on the latest results of what it reads.

        Args:
            inputs: None for those of the run that the newest of these results comes from.

        Raises:
            PlanError: What it reads has no result yet.
        """
        found, source = latest({p.name for p in step.definition.parameters if p.kind == "step"}, step.name, self.runs)
        workflow = alone(step, found, registry)
        given = source.plan.inputs if inputs is None and source is not None else checked(inputs)
        return self._start(workflow, given, self._wishes(workflow, {}), Asked(given=found))

    def plan(self, workflow: Workflow, *, strategy: Mapping[str, str] | None = None) -> Plan:
        """Check a workflow and place its steps without running it.

        Raises:
            PlanError: What is wrong with it.
        """
        return planner.plan(workflow.define(), {}, self._wishes(workflow, strategy or {}), self.places)

    def placement(self, run: Run, step: str, executor: str) -> Placement:
        """Where a step of a run goes when a person says so."""
        said = (executor, "person", f"you moved it to {executor!r}")
        return place(step, said, self.places, is_async=run.plan.asynchronous[run.plan.number_of(step)])

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Entered by whoever blocks until a run ends: it may be a step."""
        return self._local.waiting()

    def rerun(self, run: Run, step: str | None, executor: str | None) -> Run:
        """A new run of the same workflow that reuses what is not affected; see `Run.rerun`."""
        wishes = self._wishes_again(run, step, executor)
        return self._start(run.definition, run.plan.inputs, wishes, Asked(parent=run, again=step))

    def resume(self, run: Run, changed: Changed) -> Run:
        """A new run of the same workflow that runs what has not succeeded; see `Run.resume`."""
        check_changed(self.would_rerun(run, None, None), [run.plan.names[t] for t in sorted(run.lost)], changed)
        wishes, keep = self._wishes_again(run, None, None), changed == "keep"
        with self.history.going_on(run.id) as new:
            asked = Asked(parent=run, keep_edited=keep, run_id=new)
            return self._start(run.definition, run.plan.inputs, wishes, asked)

    def would_rerun(self, run: Run, step: str | None, executor: str | None) -> Kept:
        """What `rerun` would run and reuse, with the definitions as they are now."""
        wishes = self._wishes_again(run, step, executor)
        made = planner.plan(run.definition.define(), run.plan.inputs, wishes, self.places)
        return kept(made, run.plan, run.state, step, run.lost)

    def _wishes_again(self, run: Run, step: str | None, executor: str | None) -> Wishes:
        person = run.moved if executor is None or step is None else {**run.moved, step: executor}
        return self._wishes(run.definition, run.wishes.strategy, person=person, everywhere=run.wishes.everywhere)

    def _wishes(
        self,
        workflow: Workflow,
        strategy: Mapping[str, str],
        *,
        person: Mapping[str, str] | None = None,
        everywhere: str = "",
    ) -> Wishes:
        return Wishes(
            person=person or {},
            strategy=strategy,
            workflow_executor=workflow.executor,
            workflow_strategy=workflow.execution_strategy,
            configured=self.settings.strategy,
            session_default=self.settings.default_executor,
            everywhere=everywhere,
        )

    def _start(self, workflow: Workflow, inputs: Any, wishes: Wishes, asked: Asked = ORDINARY) -> Run:
        parent, given = asked.parent, asked.given
        if parent is not None and parent.without_inputs:
            raise PlanError(f"the inputs of run {parent.number} are not known any more: {parent.without_inputs}")
        made = planner.plan(workflow.define(), own_copy(inputs), wishes, self.places, until=asked.until)
        reused = {t: given[name] for t, name in enumerate(made.names) if name in given} if given else {}
        origin: dict[int, tuple[str, int]] = {}
        if parent is not None:
            old = {name: t for t, name in enumerate(parent.plan.names)}
            reused = {
                t: (parent.results[old[made.names[t]]], f"reused from run {parent.number}")
                for t in kept(
                    made, parent.plan, parent.state, asked.again, parent.lost, keep_edited=asked.keep_edited
                ).reuses
            }
            origin = {t: (parent.id, old[made.names[t]]) for t in reused}
        return self.begin(made, workflow, wishes, self, asked, reused, origin)

    # -- runs of the past

    def load(self, name: str) -> Run:
        """A run from the journal, also one of an earlier kernel: look at it, read its results, run parts of it again.

        Args:
            name: Its id, or a part of it that only it has.

        Raises:
            PlanError: There is no such run, or another kernel runs it just now.
        """
        run_id = self.history.find(name)
        if known := [run for run in self.runs if run.id == run_id]:
            return known[0]
        with self._lock:
            run = self.history.recall(run_id, len(self.runs) + 1, self, lambda name: Recalled(name, registry))
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


def existing() -> Session | None:
    """The session of this process, if anything has needed one."""
    return _current


def _forget() -> None:
    """In a forked child: its parent's session has no threads here, so the child's first run makes one of its own."""
    global _current, _current_lock
    _current, _current_lock = None, threading.Lock()
