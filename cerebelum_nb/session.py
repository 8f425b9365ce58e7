"""`Session`: the composition root, the one place where everything meets: settings, executors, journal, runs."""

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cerebelum_nb.config import Settings, from_environment
from cerebelum_nb.context import own_copy
from cerebelum_nb.dsl.alone import alone
from cerebelum_nb.dsl.recalled import Recalled
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import PlanError
from cerebelum_nb.executors.hybrid import meaning
from cerebelum_nb.executors.lanes import Lanes
from cerebelum_nb.executors.local import LocalExecutor
from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.protocols import Executor
from cerebelum_nb.runtime import planner
from cerebelum_nb.runtime.answers import ExecutionResult
from cerebelum_nb.runtime.history import History, latest, latest_ended
from cerebelum_nb.runtime.job import Job
from cerebelum_nb.runtime.journal import Journal, new_id, open_or_set_aside
from cerebelum_nb.runtime.kept import Changed, Kept, check_changed, kept, same_inputs
from cerebelum_nb.runtime.mailbox import Mailbox
from cerebelum_nb.runtime.past import about_now
from cerebelum_nb.runtime.placement import Places, Wishes, place
from cerebelum_nb.runtime.planner import checked
from cerebelum_nb.runtime.pump import Pump
from cerebelum_nb.runtime.results import Archive, Results
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.runtime.scheduler import Scheduler

_log = logging.getLogger(__name__)
WATCH_S: Final = 0.1  # how often somebody looks whether a step blocks its loop


class Session:
    """Owns what runs need; makes each part when it is first needed."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings if settings is not None else from_environment()
        self._home = self.settings.home.absolute()  # a later %cd must not move it
        self._pid = os.getpid()
        self.runs: list[Run] = []
        self.on_run: list[Callable[[Run], None]] = []
        self.loop = asyncio.new_event_loop()
        self._local = LocalExecutor()
        self._remote: dict[str, Executor] = {}
        self._pump = Pump(self._open_journal)
        self._archive = Archive(self._home, self.settings.runs_in_memory, keep=self.settings.keep_results)
        self._mailbox = Mailbox(self._home)
        self.history = History(lambda: self.journal_path, self._archive)
        self._thread: threading.Thread | None = None
        self._jobs: set[Job] = set()  # of runs that are not over
        self._lock = threading.Lock()
        self._closed = self._closing = False

    @property
    def places(self) -> Places:
        """The executors, by the names people use."""
        pools = tuple(self.settings.pools)
        return Places(remote=frozenset({"core", *pools}), executors=("local", "core", *pools))

    executors = property(lambda self: self.places.labels, doc="Names to offer for a step: ``local``, ``distributed``.")

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
            return self._start(workflow, checked(inputs), wishes, until=until)
        parent = latest_ended(workflow.name, self.runs)
        given = parent.plan.inputs if inputs is None else checked(inputs)
        if not same_inputs(given, parent.plan.inputs):
            raise PlanError(
                f"going on from {start_at!r} reuses results of run {parent.number}, which had other inputs: "
                "leave the inputs out to use that run's, or run all steps"
            )
        return self._start(workflow, given, wishes, until=until, parent=parent, again=start_at)

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
        return self._start(workflow, given, self._wishes(workflow, {}), given=found)

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
        return self._start(run.definition, run.plan.inputs, wishes, parent=run, again=step)

    def resume(self, run: Run, changed: Changed) -> Run:
        """A new run of the same workflow that runs what has not succeeded; see `Run.resume`."""
        check_changed(self.would_rerun(run, None, None), [run.plan.names[t] for t in sorted(run.lost)], changed)
        wishes, keep = self._wishes_again(run, None, None), changed == "keep"
        with self.history.going_on(run.id) as new:
            return self._start(run.definition, run.plan.inputs, wishes, parent=run, keep_edited=keep, run_id=new)

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

    def _start(  # noqa: PLR0913  all by keyword
        self,
        workflow: Workflow,
        inputs: Any,
        wishes: Wishes,
        *,
        until: str | None = None,
        parent: Run | None = None,
        again: str | None = None,
        given: Mapping[str, tuple[Any, str]] | None = None,
        keep_edited: bool = False,
        run_id: str = "",
    ) -> Run:
        if parent is not None and parent.without_inputs:
            raise PlanError(f"the inputs of run {parent.number} are not known any more: {parent.without_inputs}")
        made = planner.plan(workflow.define(), own_copy(inputs), wishes, self.places, until=until)
        reused = {t: given[name] for t, name in enumerate(made.names) if name in given} if given else {}
        origin: dict[int, tuple[str, int]] = {}
        if parent is not None:
            old = {name: t for t, name in enumerate(parent.plan.names)}
            reused = {
                t: (parent.results[old[made.names[t]]], f"reused from run {parent.number}")
                for t in kept(made, parent.plan, parent.state, again, parent.lost, keep_edited=keep_edited).reuses
            }
            origin = {t: (parent.id, old[made.names[t]]) for t in reused}
        with self._lock:
            if self._closed:
                raise PlanError("this session is closed")
            self._start_thread()
            number = len(self.runs) + 1
        run_id = run_id or new_id()
        remote = [name for name in self.places.executors if name != "local"]
        lanes = Lanes(self._local, self._executor, remote, self.loop)
        scheduler = Scheduler(made, poke=lanes.pokes, stop=lanes.stop, urgent=self._pump.urgent, later=self.later)
        root = parent.root if parent is not None and again is None else run_id
        job = Job(run_id, made, scheduler, root)
        job.later = self.later
        if parent is not None and again is None:
            job.past = {t: list(parent.pauses[name]) for t, name in enumerate(made.names) if name in parent.pauses}
        results = Results(self._archive, run_id, scheduler.values, origin)
        run = Run(
            run_id,
            number,
            made,
            wishes,
            self,
            scheduler=scheduler,
            results=results,
            definition=workflow,
            approvals=job.approvals,
            tracebacks=job.tracebacks,
            root=root,
            about=lambda: about_now(run_id, made, wishes, root),
            parent=parent,
        )
        job.crash = run.crash
        lanes.serve(job)
        run.on_end.append(lambda _: self._ended(job, results))
        with self._lock:
            if self.runs:
                self.runs[-1].tracebacks.clear()  # only the newest failure's frames are kept alive
            self.runs.append(run)
            self._jobs.add(job)
        self._warm_up(made)
        self._pump.add(run)
        scheduler.start(run_id, parent=parent.id if parent is not None else "", reused=reused)
        for listener in list(self.on_run):
            listener(run)
        return run

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something on the control loop after a while. From any thread."""
        self.loop.call_soon_threadsafe(self.loop.call_later, seconds, call)

    def _ended(self, job: Job, results: Results) -> None:
        self._local.leave(job)
        self._archive.ended(results)
        with self._lock:
            self._jobs.discard(job)

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

    # -- parts

    def _executor(self, name: str) -> Executor:
        if name not in self._remote:
            from cerebelum_nb.executors.core import CoreExecutor  # noqa: PLC0415  heavy; only when something is remote

            self._remote[name] = CoreExecutor(slots=self.settings.pools.get(name, self.settings.workers), name=name)
        return self._remote[name]

    def _warm_up(self, made: Plan) -> None:
        """Start remote executors while the first local steps run."""
        for name in {chosen.executor for chosen in made.places if chosen.remote}:
            # Its error is told again, and better, by the first attempt that needs it.
            asyncio.run_coroutine_threadsafe(self._executor(name).start(), self.loop)

    def _open_journal(self) -> Journal:
        journal, said = open_or_set_aside(self._home / "journal.db")
        if said:
            warnings.warn(said, stacklevel=2)
        self.history.tidy(self.settings.keep_days, self.settings.keep_mib << 20)
        return journal

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="cerebelum-control", daemon=True)
            self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._watch)
        while not self._closing:
            try:
                self.loop.run_forever()
            except BaseException:  # noqa: BLE001  every run hangs without this thread
                _log.exception("something got out of the control loop")

    def _watch(self) -> None:
        self._local.watch()
        for job in list(self._jobs):
            job.flush_old()
            for waiting in job.approvals.all():
                if (answer := self._mailbox.take(job.run, waiting.step)) is not None:
                    job.approvals.answer(job.plan.number_of(waiting.step), answer)
        self.loop.call_later(WATCH_S if self._jobs else 1.0, self._watch)

    @property
    def journal_path(self) -> Path:
        """Where events are kept."""
        return Path(self._pump.path) if self._pump.path else self._home / "journal.db"

    def close(self) -> None:
        """Cancel what runs, stop Core and workers, close the journal."""
        if os.getpid() != self._pid:
            return  # a forked child: threads, files and processes are its parent's
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for run in self.runs:
            run.cancel()
        for run in self.runs:
            run.wait(1.0, echo=False)
        if self._thread is not None:
            ends = [asyncio.run_coroutine_threadsafe(e.close(), self.loop) for e in self._remote.values()]
            for end in ends:
                end.result(3.0)
            self._closing = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(1.0)
        self._local.close()
        self._pump.close()
        self._archive.close()


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
