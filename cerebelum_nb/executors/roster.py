"""Workers and Cores as they were when somebody asked: what a table of them shows."""

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, replace

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.model.typed import counted, listed


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process, as it was when somebody asked.

    Attributes:
        pool: As people say it: ``distributed``, or a pool's name.
        state: starting, idle, busy, paused; draining or leaving where it ends after what it does.
        step: What it runs, or what is paused on it; empty for nothing.
        run: Id of that step's run.
        since: When that began, else when the process started; UTC seconds.
        nbytes: Memory that the process has for itself and shares; 0 where nobody knows.
        done: Steps that have ended in it.
        aside: Its place is lent to another worker, since its step is paused.
        others: How many processes steps have started in it that are still there. They end with it.
    """

    pool: str
    slot: int
    pid: int
    state: str
    step: str = ""
    run: str = ""
    since: float = 0.0
    nbytes: int = 0
    done: int = 0
    aside: bool = False
    others: int = 0


@dataclass(frozen=True, slots=True)
class Core:
    """One pool's Core, as it was when somebody asked.

    Attributes:
        breaker: Whether it takes work, in words.
        pid: 0 where none runs.
        since: When it was started; UTC seconds.
        directory: Where its socket is.
        waiting: Steps that no worker has, of those that were sent.
        sent: Attempts that were sent to it, and to those before it.
        steps: Those that run or wait there.
        could: Where it is served: how many workers take its steps, whoever has them now.
        trouble: Why nothing is known of what its workers do; empty where it answers.
    """

    pool: Pool
    breaker: str
    pid: int = 0
    since: float = 0.0
    directory: str = ""
    waiting: int = 0
    sent: int = 0
    workers: tuple[Worker, ...] = ()
    steps: tuple[str, ...] = ()
    trouble: str = ""
    could: int = 0


def check_idle(cores: list[Core], *, force: bool) -> None:
    """Refuse to stop Cores under their steps, unless somebody insists.

    Raises:
        ExecutorError: Steps run or wait there; says which.
    """
    busy = {step: core.pool.name for core in cores for step in core.steps}
    if busy and not force:
        what = f"{counted(len(busy), 'step')} {'runs or waits' if len(busy) == 1 else 'run or wait'} there"
        raise ExecutorError(
            f"{', '.join(sorted(set(busy.values())))}: {what} ({listed(list(busy))}). "
            "Wait for the end, or stop it all the same with force=True, which cancels what is there"
        )


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:  # it is gone
        return 0


def measured(core: Core) -> Core:
    """The same with what the system says of its processes, which are on this host only where the Core is our own."""
    if core.pool.is_served:
        return core
    import psutil  # noqa: PLC0415  only for whoever asks

    def about(pid: int) -> tuple[float, int]:
        with contextlib.suppress(psutil.Error), (process := psutil.Process(pid)).oneshot():
            return process.create_time(), process.memory_info().rss
        return 0.0, 0

    workers, groups = [], Counter(map(_group, psutil.pids())) if core.workers else Counter[int]()
    for worker in core.workers:
        began, nbytes = about(worker.pid) if worker.pid else (0.0, 0)
        pid, others = worker.pid * bool(began), max(0, groups[worker.pid] - 1)
        workers.append(replace(worker, pid=pid, since=worker.since or began, nbytes=nbytes, others=others))
    trouble = core.trouble
    if trouble:
        with contextlib.suppress(psutil.Error):
            if psutil.Process(core.pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}:
                trouble += ": its process is stopped, by a signal or a debugger"
    since = about(core.pid)[0] if core.pid else 0.0
    return replace(core, since=since, workers=tuple(workers), trouble=trouble)
