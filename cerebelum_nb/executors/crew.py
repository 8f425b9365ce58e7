"""`session.pools`: the workers of this kernel, by pool. Who does what; more or fewer of them; Core's start and end."""

import asyncio
import threading
import warnings
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Final, TypeVar

import msgspec

from cerebelum_nb.config import Settings
from cerebelum_nb.errors import ExecutorError, NotActiveYet, PlanError, WireError
from cerebelum_nb.executors.roster import Core, Worker, check_idle, measured
from cerebelum_nb.model.events import PROCESSES
from cerebelum_nb.model.pools import MOST_SLOTS, Pool, check_name, does_nothing, plain_to, pool_at, pool_of
from cerebelum_nb.model.typed import counted, nearest
from cerebelum_nb.protocols import Executor
from cerebelum_nb.rules.breaker import Breaker
from cerebelum_nb.rules.placement import CORE, DISTRIBUTED, Places

_NAMES: Final = {DISTRIBUTED: CORE}  # a pool as people say it -> its executor
ANSWER_S: Final = 30.0  # a start takes less; nothing here waits for a step
_T = TypeVar("_T")


class Crew:
    """The pools of a session and their executors, each made when it is first needed.

    Every pool has a Core of its own: what its workers may read, and whether their word is taken, is its own too.

    Args:
        loop: The control loop.
        begin: Called before anything is done on it: it has to run. Raises where the session is closed.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, begin: Callable[[], object]) -> None:
        self._settings, self._loop, self._begin = settings, loop, begin
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}  # by executor
        self.made: dict[str, Executor] = {}
        self.by_lane: dict[str, Breaker] = {}
        self._home = settings.home.absolute()  # a later %cd must not move it
        self.relieve: Callable[[], object] = bool  # called where there is no room for a large value
        distributed = Pool(DISTRIBUTED, settings.workers, core=settings.core_url, credentials=settings.core_pass)
        first = {CORE: distributed, PROCESSES: Pool(PROCESSES, settings.processes)}
        for name, pool in {**first, **settings.pools}.items():
            self._put(name, pool)
        if idle := [f"{pool.name} ({', '.join(words)})" for pool in self.all if (words := does_nothing(pool))]:
            text = f"pools keep and show what does nothing in this version: {'; '.join(idle)}"
            warnings.warn_explicit(text, NotActiveYet, "cerebelum_nb", 1)  # no line of code says so

    def _put(self, name: str, pool: Pool) -> None:
        self._pools[name] = pool
        self.by_lane.setdefault(name, Breaker(pool.name))
        names = tuple(self._pools)
        cores = {pool.core: name for name, pool in reversed(self._pools.items()) if pool.core}
        self.places = Places(remote=frozenset(names), executors=("local", *names), cores=cores)

    def reach(self, url: str) -> None:
        """See that there is a pool for a Core elsewhere; one that has no name yet gets its address as name."""
        with self._lock:
            if url and url not in self.places.cores:
                made = pool_at(url, self._settings.workers, self._pools)
                self._put(made.name, made)

    @property
    def all(self) -> tuple[Pool, ...]:
        """All pools; ``distributed`` and ``processes`` are always there."""
        return tuple(self._pools.values())

    @property
    def breakers(self) -> dict[str, Breaker]:
        """What is known of whether they take work, by name."""
        return {breaker.name: breaker for breaker in self.by_lane.values()}

    def executor(self, name: str) -> Executor:
        """The executor of a name; made when first needed, started when it is first used."""
        with self._lock:
            if name not in self.made:
                from cerebelum_nb.executors.core import CoreExecutor  # noqa: PLC0415  heavy; only for what is remote

                pool, settings = self._pools[name], self._settings
                made: Callable[..., Executor] = CoreExecutor
                if pool.is_upstream:
                    from cerebelum_nb.executors.upstream import UpstreamExecutor  # noqa: PLC0415  as above

                    made = partial(UpstreamExecutor, url=pool.core, credentials=pool.credentials)
                    if said := plain_to(pool.core):
                        warnings.warn_explicit(said, UserWarning, "cerebelum_nb", 1)  # no line here is of use
                self.made[name] = made(
                    slots=pool.slots,
                    name=name,
                    pool=pool,
                    served=self._served(pool),
                    silent_s=settings.core_silent_s,
                    worker_silent_s=settings.worker_silent_s,
                    large_nbytes=settings.large_kib << 10,
                    limit_nbytes=settings.transfer_mib << 20,
                    relieve=self.relieve,
                    values_url=settings.values_url,
                )
            return self.made[name]

    def _served(self, pool: Pool) -> tuple[str, Path] | None:
        """Where a pool's Core is served, and the pass for it; None for one of our own."""
        path = Path(pool.credentials) if pool.credentials else self._home / "core.pass"
        return (pool.core, path) if pool.is_served else None

    # -- workers

    def workers(self, pool: str | None = None) -> list[Worker]:
        """All workers, or those of one pool.

        Raises:
            PlanError: There is no such pool.
        """
        return [worker for core in self.cores(pool) for worker in core.workers]

    def cores(self, pool: str | None = None) -> list[Core]:
        """What runs for each pool, or for one.

        Raises:
            PlanError: There is no such pool.
        """
        names = list(self._pools) if pool is None else [self._named(pool)]
        if not any(name in self.made for name in names):  # so nothing has to run for the answer
            return [self._nothing(name) for name in names]
        return [measured(core) for core in self._do(self._look(names))]

    def add(self, pool: str = "distributed", slots: int = 1, *, env: Mapping[str, str] | None = None) -> Pool:
        """Start more workers, in a new pool where there is none of this name. It is there for runs that go on, too.

        Args:
            slots: How many more.
            env: What the pool's workers have in their environment beside the kernel's. Workers of it that run without
                that are replaced, each when its step has ended.

        Returns:
            The pool as it is now.

        Raises:
            PlanError: It cannot be a pool, or gets too large.
            ExecutorError: Core did not start.
        """
        if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
            raise PlanError(f"how many workers to add is a whole number from 1, not {slots!r:.40}")
        where, name = "adding workers", _NAMES.get(pool, pool)
        if name in self._pools:
            self._ours(pool)
        with self._lock:
            have = self._pools.get(name) or Pool(check_name(pool, where), 0)
            if have.slots + slots > MOST_SLOTS:
                has = f"pool {pool!r} has {counted(have.slots, 'worker')}"
                raise PlanError(f"{has}: {slots} more are above {MOST_SLOTS}")
            checked = pool_of("new", {"slots": have.slots + slots, "env": {**have.env, **(env or {})}}, where)
            self._put(name, now := msgspec.structs.replace(have, slots=checked.slots, env=checked.env))
        self._do(self._resize(name, now))
        self.start(pool)
        self.by_lane[name].took()  # it is worth another try
        return now

    def remove(self, pool: str = "distributed", slots: int = 1, *, slot: int | None = None) -> Pool:
        """Have fewer workers: those that do the least, or a certain one. Each ends after its step.

        Returns:
            The pool as it is now.

        Raises:
            PlanError: There is no such pool or worker, or it has fewer workers.
        """
        name = self._ours(pool)
        if slot is not None:
            self._check_slots(pool, [slot])
            self._count(name, -1)
            self._do(self._end(name, [slot], again=False))
        else:
            if isinstance(slots, bool) or not isinstance(slots, int) or not 1 <= slots <= self._pools[name].slots:
                has = f"pool {pool!r} has {counted(self._pools[name].slots, 'worker')}"
                raise PlanError(f"{has}: {slots!r:.40} cannot go")
            self._do(self._resize(name, self._count(name, -slots)))
        return self._pools[name]

    def drain(self, pool: str = "distributed", slot: int | None = None) -> list[int]:
        """Have a pool's workers, or one of them, replaced by new ones: each ends after its step and takes no new one.

        Returns:
            Their slots.

        Raises:
            PlanError: There is no such pool or worker.
        """
        name = self._ours(pool)
        slots = self._check_slots(pool, None if slot is None else [slot])
        self._do(self._end(name, slots, again=True))
        return slots

    # -- Core

    def start(self, pool: str = "distributed") -> Core:
        """Start a pool's Core now, rather than when a step needs it.

        Raises:
            PlanError: There is no such pool.
            ExecutorError: It did not start.
        """
        name = self._named(pool)
        self._do(self.executor(name).start())
        return self.cores(pool)[0]

    def stop(self, pool: str | None = None, *, force: bool = False) -> list[Core]:
        """Stop a pool's Core with its workers, or all that run. The next step that needs one starts it again.

        Args:
            force: Also where steps run or wait there, which end as cancelled.

        Returns:
            Those that were stopped, as they were.

        Raises:
            PlanError: There is no such pool, or its Core is served by somebody.
            ExecutorError: Steps run or wait there; says which.
        """
        self._check_ours(pool)
        cores = [core for core in self.cores(pool) if core.pid]
        check_idle(cores, force=force)
        for core in cores:
            executor: Any = self.made[self._named(core.pool.name)]
            self._do(executor.close(at_once=True) if core.trouble else executor.close())
        return cores

    def restart(self, pool: str | None = None, *, force: bool = False) -> list[Core]:
        """Stop a pool's Core and start a new one with new workers; all that run, or `distributed` where none does.

        A Core that does not answer is ended also where steps are there: those that no worker has begun go to the new
        one.

        Args:
            force: Also where steps run or wait there, which end as cancelled.

        Returns:
            The new ones.

        Raises:
            PlanError: There is no such pool, or its Core is served by somebody.
            ExecutorError: Steps run there, or it did not start.
        """
        self._check_ours(pool)
        cores = [core for core in self.cores(pool) if not core.pool.is_served]
        running = [core for core in cores if core.pid]
        check_idle([core for core in running if not core.trouble], force=force)
        for core in running:
            executor: Any = self.made[self._named(core.pool.name)]
            self._do(executor.give_up() if core.trouble else executor.close())
        names = [core.pool.name for core in running] or [pool or "distributed"]
        return [self.start(name) for name in names]

    def log(self, pool: str = "distributed") -> str:
        """The end of what a pool's Core and its workers have said; of the last one, where none runs.

        Raises:
            PlanError: There is no such pool.
        """
        return getattr(self.made.get(self._named(pool)), "words", "")

    def unreachable(self, pool: Pool) -> str:
        """Why a pool's Core that somebody else serves cannot be reached now; empty where it can. May take seconds."""
        if pool.is_upstream:
            from cerebelum_nb.executors.upstream import unreachable  # noqa: PLC0415  only for whoever asks

            return unreachable(pool.core)
        from cerebelum_nb.wire.credentials import read_pass  # noqa: PLC0415  only for whoever asks
        from cerebelum_nb.wire.probe import probe  # noqa: PLC0415  as above

        served = self._served(pool)
        try:
            if served is not None:
                probe(*served, read_pass(served[1]))
        except WireError as exc:
            return str(exc)
        return ""

    @property
    def prices(self) -> dict[str, float]:
        """What a slot of a pool costs an hour, by executor, where it costs anything."""
        return {name: pool.price for name, pool in self._pools.items() if pool.price}

    def known(self, pool: str) -> Pool:
        """A pool by its name.

        Raises:
            PlanError: There is no such pool.
        """
        return self._pools[self._named(pool)]

    # -- how

    def _check_ours(self, pool: str | None) -> None:
        """See that a pool's Core is this session's to end, where one is named."""
        if pool is not None and (its := self.known(pool)).is_served:
            raise PlanError(
                f"pool {pool!r}: Core {its.core} is not this session's: end it, or start it again, where "
                "`cerebelum core serve` runs"
            )

    def _named(self, pool: str) -> str:
        name = _NAMES.get(pool, pool)
        if name not in self._pools:
            known = [known.name for known in self.all]
            raise PlanError(f"there is no pool {pool!r:.60}.{nearest(pool, known)} There are: {', '.join(known)}.")
        return name

    def _ours(self, pool: str) -> str:
        """A pool whose workers are this session's to start and end."""
        name = self._named(pool)
        if (its := self._pools[name]).is_served:
            raise PlanError(
                f"pool {pool!r} has the workers of a Core that is served at {its.core}: add some in a terminal, "
                f"`{its.joined_by}`, and end them there"
            )
        return name

    def _count(self, name: str, more: int) -> Pool:
        with self._lock:
            pool = self._pools[name]
            now = msgspec.structs.replace(pool, slots=max(0, pool.slots + more))
            self._put(name, now)
        return now

    def _check_slots(self, pool: str, slots: list[int] | None) -> list[int]:
        there = [worker.slot for worker in self.workers(pool)]
        if not there:
            raise PlanError(f"no worker of pool {pool!r} runs now: `%cerebelum core start --pool {pool}` starts them")
        for slot in slots or ():
            if slot not in there:
                raise PlanError(f"pool {pool!r} has no worker {slot!r:.40}. There are: {', '.join(map(str, there))}.")
        return there if slots is None else slots

    def _do(self, doing: Coroutine[Any, Any, _T]) -> _T:
        """Do something on the control loop, from another thread."""
        try:
            self._begin()
        except BaseException:
            doing.close()
            raise
        done = asyncio.run_coroutine_threadsafe(doing, self._loop)
        try:
            return done.result(ANSWER_S)
        except TimeoutError:
            done.cancel()
            raise ExecutorError(f"this took longer than {ANSWER_S:.0f} s: see `%cerebelum core logs`") from None

    async def _resize(self, name: str, pool: Pool) -> None:
        resize = getattr(self.made.get(name), "resize", None)
        if resize is not None:  # else it is made with so many
            await resize(pool.slots, pool.env)

    async def _end(self, name: str, slots: list[int], *, again: bool) -> None:
        for slot in slots:
            await self.made[name].drain(slot, again=again)  # type: ignore[attr-defined]  # it has workers, so it can

    async def _look(self, names: list[str]) -> list[Core]:
        return list(await asyncio.gather(*(self._look_at(name) for name in names)))

    async def _look_at(self, name: str) -> Core:
        executor: Any = self.made.get(name)
        core, link = self._nothing(name), getattr(executor, "link", None)
        if link is None:
            return replace(core, sent=getattr(executor, "sent", 0))
        asked = await executor.seats()
        seats = asked if not core.pool.is_served else None  # its workers are here today and others' tomorrow
        at_work, label, workers, now = link.at_work(), core.pool.name, [], time()
        for seat in seats.seats if seats is not None else ():
            attempt, for_s = at_work.get(seat.attempt, (None, 0.0))
            worker = Worker(label, seat.slot, link.workers.get(seat.slot, 0), seat.leaves or seat.state, done=seat.done)
            if attempt is not None:
                worker = replace(worker, step=attempt.step, run=attempt.run, since=now - for_s)
            workers.append(replace(worker, aside=seat.state == "paused"))
        trouble = ""
        if seats is None:  # nothing is known of them, which says nothing against them
            trouble = "" if core.pool.is_served else "does not answer"
            state = "not known" if trouble else "there"
            workers = [Worker(label, slot, pid, state) for slot, pid in link.workers.items()]
        return replace(
            core,
            trouble=trouble,
            pid=link.process.pid,
            directory=link.process.where,
            waiting=seats.waiting if seats is not None else 0,
            sent=executor.sent,
            could=asked.could if asked is not None else 0,
            workers=tuple(workers),
            steps=tuple(attempt.step for attempt, _ in at_work.values()),
        )

    def _nothing(self, name: str) -> Core:
        return Core(self._pools[name], str(self.by_lane[name]).partition(": ")[2])
