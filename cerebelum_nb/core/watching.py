"""Workers that do not answer: told of first, ended when they also do nothing for long.

A worker answers from its control thread while its step runs. What stops that thread is a stop of the process, or C code
that holds the interpreter's lock. The second may be honest work, and uses the processor: it is told, and left alone.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

LOOK_S: Final = 2.0
NOTICE_S: Final = 10.0  # so long it may be silent before somebody is told


class Watched(Protocol):
    """A slot, as it is watched."""

    number: int
    pid: int
    answered: bool  # since the last ping
    why: str  # it was ended for this reason

    def ping(self) -> None:
        """Ask for an answer."""

    def end(self, why: str) -> None:
        """Kill it, for a reason."""


@dataclass(slots=True)
class _Silence:
    """Of one worker."""

    pid: int
    lasts_s: float = 0.0  # by looks that came in time: a machine that was suspended counts for nothing
    idle_s: float = 0.0  # of these, while it did not use the processor
    cpu_s: float = 0.0
    told: str = ""


class Watching:
    """Looks at all workers that have started, for as long as Core lives.

    Args:
        workers: Those to look at.
        doing: The attempt that a worker runs, if any.
        say: Told to whoever looks at an attempt, or to Core's log where there is none.
        silent_s: A worker that neither answers nor does anything for so long is ended.
    """

    def __init__(
        self,
        workers: Callable[[], Iterable[Watched]],
        doing: Callable[[int], int | None],
        say: Callable[[int | None, str], None],
        silent_s: float,
    ) -> None:
        self._workers, self._doing, self._say, self._silent_s = workers, doing, say, silent_s
        self._look_s = min(LOOK_S, silent_s / 5)
        self._notice_s = min(NOTICE_S, silent_s / 2)
        self._silent: dict[int, _Silence] = {}
        self._loop = asyncio.get_running_loop()
        self._looked_at = self._loop.time()
        self._next = self._loop.call_later(self._look_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._next.cancel()

    def _look(self) -> None:
        passed, self._looked_at = self._loop.time() - self._looked_at, self._loop.time()
        in_time = passed < 2 * self._look_s
        seen = set()
        for worker in self._workers():
            seen.add(worker.number)
            if worker.answered:
                self._goes_on(worker)
            elif in_time:
                self._is_silent(worker)
            worker.ping()
        for number in self._silent.keys() - seen:
            del self._silent[number]
        self._next = self._loop.call_later(self._look_s, self._look)

    def _goes_on(self, worker: Watched) -> None:
        silence = self._silent.pop(worker.number, None)
        if silence is not None and silence.told and silence.pid == worker.pid:
            self._say(
                self._doing(worker.number), f"worker {worker.number} answers again after {silence.lasts_s:.0f} s\n"
            )

    def _is_silent(self, worker: Watched) -> None:
        silence = self._silent.get(worker.number)
        state, cpu_s = _looks_like(worker.pid)
        if silence is None or silence.pid != worker.pid:
            silence = self._silent[worker.number] = _Silence(worker.pid, cpu_s=cpu_s)
        works = cpu_s - silence.cpu_s > self._look_s / 20
        silence.cpu_s = cpu_s
        silence.lasts_s += self._look_s
        silence.idle_s = 0.0 if works else silence.idle_s + self._look_s
        attempt = self._doing(worker.number)
        if silence.lasts_s >= self._notice_s and state != silence.told:
            silence.told = state
            self._say(
                attempt, f"worker {worker.number} has not been heard of for {silence.lasts_s:.0f} s: {_WHY[state]}\n"
            )
        limit_s = self._silent_s if attempt is not None else self._notice_s  # one that has nothing to lose goes first
        if silence.idle_s >= limit_s:
            del self._silent[worker.number]
            stopped = " (its process was stopped)" if state == "stopped" else ""
            worker.end(f"did not answer for {silence.lasts_s:.0f} s{stopped}, and was ended,")


_WHY: Final = {
    "stopped": "its process is stopped, by a signal or a debugger. `kill -CONT` lets it go on",
    "works": "it uses the processor, in code that lets nobody else in. The step goes on",
    "waits": "it does nothing, in code that lets nobody else in",
}


def _looks_like(pid: int) -> tuple[str, float]:
    """What a process does, and how many seconds of a processor it has used so far."""
    import psutil  # noqa: PLC0415  only where something is wrong

    try:
        process = psutil.Process(pid)
        times, status = process.cpu_times(), process.status()
    except psutil.Error:  # it is gone, which others tell
        return "waits", 0.0
    if status in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}:
        return "stopped", 0.0
    return "works" if status == psutil.STATUS_RUNNING else "waits", times.user + times.system
