"""One run's lanes: who is told that work waits in them, and who stops an attempt of theirs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from cerebelum_nb.executors.local import LocalExecutor
from cerebelum_nb.protocols import Executor
from cerebelum_nb.rules.breaker import Breaker
from cerebelum_nb.runtime.courier import Courier
from cerebelum_nb.runtime.job import Job
from cerebelum_nb.runtime.moving import INLINE


class _Pokes(dict[str, Callable[[], object]]):
    """A poke for each lane, also for those that come while the run goes on: somebody adds a pool."""

    def __init__(self, known: Mapping[str, Callable[[], object]], of: Callable[[str], Callable[[], object]]) -> None:
        super().__init__(known)
        self._of = of

    def __missing__(self, name: str) -> Callable[[], object]:
        made = self[name] = self._of(name)
        return made


class Lanes:
    """Joins a run's scheduler with the session's executors.

    Args:
        local: Takes the lanes `local` and `threads`.
        remote: Gives the executor of a name; it may be heavy to make, so it is asked when first needed.
        names: Lanes that lead to other executors.
        breakers: What is known of these, by lane.
    """

    def __init__(
        self,
        local: LocalExecutor,
        remote: Callable[[str], Executor],
        names: Sequence[str],
        loop: asyncio.AbstractEventLoop,
        breakers: Mapping[str, Breaker] | None = None,
    ) -> None:
        self._local, self._remote, self._loop = local, remote, loop
        self._breakers = breakers if breakers is not None else {}
        self._couriers: dict[str, Courier] = {}
        self._inline: dict[str, Callable[[], object]] = {}
        self._job: Job | None = None
        self.pokes = _Pokes({name: self._poke_of(name) for name in (*INLINE, *names)}, self._poke_of)

    def serve(self, job: Job) -> None:
        """Take on the run whose scheduler was made with `pokes` and `stop`."""
        self._job = job
        self._inline = self._local.serve(job)

    def stop(self, lane: str, task: int, attempt: int) -> None:
        """Stop an attempt that is no longer wanted. From any thread."""
        assert self._job is not None
        if lane in INLINE:
            self._local.stop(self._job, task, attempt)
        else:
            self._courier(lane).stop(task, attempt)

    def withdraw(self, lane: str, task: int, attempt: int, limit_s: float | None) -> None:
        """Take an attempt back if nobody has begun it; see `elsewhere.Reach`. From any thread."""
        self._courier(lane).withdraw(task, attempt, limit_s)

    def refuses(self, lane: str) -> str:
        """Why a task that can run elsewhere should; see `elsewhere.Reach`. From any thread."""
        breaker = self._breakers.get(lane)
        return breaker.refuses() if breaker is not None else ""

    def workers(self, lane: str) -> int:
        """How many workers a lane leads to; see `elsewhere.Reach`. From any thread."""
        return self._courier(lane).workers

    def still_runs(self, task: int, attempts: int) -> str:
        """What still runs of a task though it was stopped; see `elsewhere.Reach`. From any thread."""
        assert self._job is not None
        keys = [(task, number) for number in range(1, attempts + 1)]
        if any(courier.carries(key) for courier in list(self._couriers.values()) for key in keys):
            return "it still runs on a worker"
        return self._local.still_runs(self._job, task, attempts)

    def _poke_of(self, name: str) -> Callable[[], object]:
        if name in INLINE:
            return lambda: self._inline[name]()  # noqa: PLW0108  it is there only once a run is served
        return lambda: self._courier(name).poke()

    def _courier(self, name: str) -> Courier:
        assert self._job is not None
        if name not in self._couriers:
            made = Courier(self._job, self._remote(name), self._loop, self._breakers.get(name))
            self._couriers.setdefault(name, made)  # another thread may have been quicker
        return self._couriers[name]
