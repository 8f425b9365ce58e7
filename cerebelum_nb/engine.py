"""What runs need, and how one begins: executors, journal, results, the control loop. `Session` plans on top of it."""

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from cerebelum_nb.capture.kept import Codes, Payloads
from cerebelum_nb.config import Settings, from_environment
from cerebelum_nb.errors import PlanError
from cerebelum_nb.executors.crew import Crew
from cerebelum_nb.executors.held import free_memory, shared_memory
from cerebelum_nb.executors.lanes import Lanes
from cerebelum_nb.executors.local import LocalExecutor
from cerebelum_nb.model.critical import Outlooks
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.protocols import Answer, Attempt, Outcome, Signals
from cerebelum_nb.rules.breaker import Breaker
from cerebelum_nb.rules.inherited import NOTHING, Inherited
from cerebelum_nb.rules.placement import Places, Wishes
from cerebelum_nb.runtime.asked import Asked
from cerebelum_nb.runtime.history import History
from cerebelum_nb.runtime.host import Host
from cerebelum_nb.runtime.job import Job
from cerebelum_nb.runtime.lookups import Lookups
from cerebelum_nb.runtime.past import about_now
from cerebelum_nb.runtime.pump import Pump
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.runtime.scheduler import Scheduler
from cerebelum_nb.store.cache import Cache
from cerebelum_nb.store.ended import Ended
from cerebelum_nb.store.journal import Journal, new_id, open_or_set_aside
from cerebelum_nb.store.mailbox import Mailbox
from cerebelum_nb.store.outputs import Folder
from cerebelum_nb.store.results import Archive
from cerebelum_nb.store.values import Results

_log = logging.getLogger(__name__)
WATCH_S: Final = 0.1  # how often somebody looks whether a step blocks its loop
UNDO_S: Final = 3.0  # how long the end of a session waits for what undoes its runs


class Engine:
    """Owns what runs need; makes each part when it is first needed."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings if settings is not None else from_environment()
        self._home = self.settings.home.absolute()  # a later %cd must not move it
        self._pid = os.getpid()
        self.runs: list[Run] = []
        self.on_run: list[Callable[[Run], None]] = []
        self.loop = asyncio.new_event_loop()
        self._local = LocalExecutor()
        self.pools = Crew(self.settings, self.loop, self._begin)
        self._remote, self._executor = self.pools.made, self.pools.executor
        self._pump = Pump(self._open_journal)
        shared = self.settings.shared_mib << 20, self.settings.shared_minutes * 60.0
        self.in_memory = Ended(self.settings.runs_in_memory, *shared)
        self._archive = Archive(self._home, self.in_memory, keep=self.settings.keep_results)
        self.pools.relieve = self.in_memory.relieve
        limit_nbytes, keep = self.settings.cache_mib << 20, self.settings.keep_results
        self.cache = Cache(self._home, limit_nbytes, self._archive.sealing_key, keep=keep)
        self._mailbox = Mailbox(self._home)
        self.history = History(lambda: self.journal_path, self._archive, self._home / "journal.db")
        self._thread: threading.Thread | None = None
        self._jobs: set[Job] = set()  # of runs that are not over
        self._payloads = Payloads()
        self._telling: set[asyncio.Task[None]] = set()
        self._lock = threading.Lock()
        self._closed = self._closing = False

    @property
    def places(self) -> Places:
        """The executors, by the names people use."""
        return self.pools.places

    @property
    def breakers(self) -> dict[str, Breaker]:
        """Whether executors take work, by the names people use."""
        return self.pools.breakers

    def add_workers(self, pool: str = "distributed", slots: int = 1, *, env: Mapping[str, str] | None = None) -> Pool:
        """Start more workers, in a new pool where there is none of this name; see `Crew.add`.

        Raises:
            PlanError: It cannot be a pool, or gets too large.
            ExecutorError: Core did not start.
        """
        return self.pools.add(pool, slots, env=env)

    @property
    def left_behind(self) -> list[tuple[str, str]]:
        """Local steps that did not stop and go on though their run has ended, each with its run's id.

        Nothing but their own end, or the process's, ends them.
        """
        return self._local.left_behind

    executors = property(lambda self: self.places.labels, doc="Names to offer for a step: ``local``, ``distributed``.")

    def begin(  # noqa: PLR0913, PLR0917  all that a run is made of
        self,
        made: Plan,
        definition: Any,
        wishes: Wishes,
        host: Host,
        asked: Asked,
        reused: Mapping[int, tuple[Any, str]],
        origin: Mapping[int, tuple[str, int]],
        inherits: Inherited = NOTHING,
    ) -> Run:
        """Start a run of a plan.

        Args:
            definition: The workflow.
            reused: Task -> value of an earlier run, and where it comes from as a sentence.
            origin: Task -> run and task whose result that is.
            inherits: What is undone with it, though an earlier run did it.

        Raises:
            PlanError: The session is closed.
        """
        self._begin()
        run_id, parent = asked.run_id or new_id(), asked.parent
        places = self.places
        remote = [name for name in places.executors if name != "local"]
        lanes = Lanes(self._local, self._executor, remote, self.loop, self.pools.by_lane)
        scheduler = Scheduler(
            made, poke=lanes.pokes, stop=lanes.stop, urgent=self._pump.urgent, later=self.later, reach=lanes
        )
        root = parent.root if parent is not None and asked.goes_on else run_id
        keys = inherits.keys_in(run_id)
        job = Job(run_id, made, scheduler, root, keys)
        job.later = self.later
        job.files = Folder(self._home, run_id, self.settings.output_mib << 20)
        codes = Codes(self._payloads)
        job.sends = codes.note
        if parent is not None and asked.goes_on:
            job.past = {t: list(parent.pauses[name]) for t, name in enumerate(made.names) if name in parent.pauses}
        results = Results(self._archive, run_id, scheduler.values, origin)
        results.codes = codes
        if made.cached:
            job.cache = results.cache = Lookups(self.cache, job, fresh=asked.fresh, again=asked.again)
        run = Run(
            run_id,
            0,  # until it has its place among the runs
            made,
            wishes,
            host,
            scheduler=scheduler,
            results=results,
            definition=definition,
            approvals=job.approvals,
            tracebacks=job.tracebacks,
            root=root,
            about=lambda: about_now(run_id, made, wishes, root, asked.ran),
            parent=parent,
        )
        run.keys, job.crash, run.ran_before, run.codes = keys, run.crash, asked.ran, codes
        job.held = run.held
        run.left_over, run.files = asked.left_over, job.files
        scheduler.ran_before = {made.number_of(name): ran for name, ran in asked.ran.items() if name in made.names}
        lanes.serve(job)
        run.on_end.append(lambda _: self._ended(job, results))
        with self._lock:
            alike = (r for r in reversed(self.runs) if r.workflow == made.workflow and r.status == "succeeded")
            if (earlier := next(alike, None)) is not None:
                run.outlooks = Outlooks((earlier.state, f"run {earlier.number}"))
            if self.runs:
                self.runs[-1].tracebacks.clear()  # only the newest failure's frames are kept alive
            run.number = len(self.runs) + 1
            self.runs.append(run)
            self._jobs.add(job)
        self._warm_up(made)
        self._pump.add(run)
        scheduler.start(
            run_id,
            parent=parent.id if parent is not None else "",
            reused=reused,
            stands=inherits.stands,
            known=inherits.known,
            undo_now=asked.undo_now,
        )
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

    # -- parts

    def purge(self, *runs: str) -> int:
        """Remove runs for good, by their ids: events, prints, inputs and results.

        Returns:
            How many bytes of shared memory they had for themselves.

        Raises:
            PlanError: One of them has not ended.
            sqlite3.Error: The files cannot be written.
        """
        if going := [run.id for run in self.runs if run.id in runs and not run.done]:
            raise PlanError(f"run {min(going)} still runs")
        self.history.purge(runs)
        return self.free_memory(runs)

    @property
    def prices(self) -> Mapping[str, float]:
        """What a slot costs an hour, by executor, where it costs anything."""
        return self.pools.prices

    def shared_memory(self) -> tuple[int, int]:
        """Bytes of memory, shared with workers, that large values are in, and that are kept for the next ones."""
        return shared_memory(self._remote.values())

    def free_memory(self, runs: Collection[str] | None = None) -> int:
        """Let go of large results of runs that have ended; those that are on disk are read from there from now on.

        Args:
            runs: Their ids; None for all.

        Returns:
            How many bytes of shared memory went back to the system; with `runs`, of those that they had.
        """
        used, _ = self.shared_memory()
        self.in_memory.free(runs)
        freed = max(0, used - self.shared_memory()[0])
        if runs is not None and not freed:
            return 0
        given = free_memory(self._remote.values())
        return given if runs is None else min(freed, given)

    def is_up(self, executor: str) -> bool:
        """Whether somebody has used a remote executor in this session."""
        return executor in self._remote

    def shares(self, executor: str) -> bool:
        """Whether a remote executor's workers share memory with this process."""
        if executor not in self.places.remote:  # this process; or it is a pool of an earlier one, which nobody knows
            return True
        pool = self.pools.known(executor)
        return pool.trust == "trusted" and not pool.is_served

    def carry(self, attempt: Attempt, signals: Signals) -> "concurrent.futures.Future[Outcome]":
        """Have an attempt run that is no run's. From any thread; cancelling what is returned stops it.

        Raises:
            PlanError: The session is closed.
        """
        self._begin()

        async def carried() -> Outcome:
            executor = self._executor(attempt.pool)
            await executor.start()
            return await executor.run(attempt, signals)

        return asyncio.run_coroutine_threadsafe(carried(), self.loop)

    def say(self, attempt: Attempt, after_s: float, answer: Answer) -> None:
        """End a pause of such an attempt, after a while. From any thread."""
        said = attempt.run, attempt.task, attempt.number, answer

        def tell() -> None:
            telling = self.loop.create_task(self._executor(attempt.pool).answer(*said))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

        self.later(after_s, tell)

    def _warm_up(self, made: Plan) -> None:
        """Start remote executors while the first local steps run."""
        for name in {chosen.executor for chosen in made.places if chosen.remote}:
            # Its error is told again, and better, by the first attempt that needs it.
            asyncio.run_coroutine_threadsafe(self._executor(name).start(), self.loop)

    def _open_journal(self) -> Journal:
        journal, said = open_or_set_aside(self._home / "journal.db")
        if said:
            if not self._home.is_dir() or not os.access(self._home, os.W_OK | os.X_OK):  # so that it is said once
                said += ", results in memory only"
                self._archive.keep_nothing(f"{self._home} cannot be written")
                self.cache.keep_nothing()
            warnings.warn_explicit(said, UserWarning, "cerebelum_nb", 1)  # no line of ours is of use to anybody
        self.history.tidy(self.settings.keep_days, self.settings.keep_mib << 20)
        return journal

    def _begin(self) -> None:
        """Have the control loop run. Raises where the session is closed."""
        with self._lock:
            if self._closed:
                raise PlanError("this session is closed")
            self._start_thread()

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
        self.in_memory.look()
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
        until = time.monotonic() + UNDO_S
        for run in self.runs:
            if not run.done and run.scheduler.is_undoing():  # it has been interrupted, maybe: it may be over soon
                run.wait(max(0.0, until - time.monotonic()), echo=False)
            run.cancel(undo=False)  # a later session goes on from it, or undoes it
        for run in self.runs:
            run.wait(1.0, echo=False)
        if self._thread is not None:
            ends = [asyncio.run_coroutine_threadsafe(e.close(), self.loop) for e in self._remote.values()]
            for end in ends:
                try:
                    end.result(3.0)
                except Exception:  # noqa: BLE001  the others, and the files, are closed all the same
                    _log.warning("an executor did not close in time", exc_info=True)
            self._closing = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(1.0)
        self._local.close()
        self._pump.close()
        self.cache.close()
        self._archive.close()
