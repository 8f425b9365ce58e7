"""What holds a run up: its critical path, how much later the other tasks could have ended, and when it will end.

Measured, not modelled: only the times of attempts count, and an earlier run of the same workflow where there is one.
What cannot be known is left out. Tasks that undo others are no part of it.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from cerebelum_nb.model.state import FAILED, RUNNING, SKIPPED, SUBMITTED, SUCCEEDED, RunState

LIVE_SLACK: Final = 300  # tasks of a running run up to which slack is told with every message
ENDED_SLACK: Final = 10_000  # tasks of an ended run up to which it is told at all
LIVE_PATH: Final = 500  # tasks of the path that are told while it grows: the last ones
LEAST_PROGRESS: Final = 0.02  # a step that says less says nothing about its end
_PACE_S: Final = 2e-4  # a task costs about 2 us to look at: looking takes 1 % of the time
_EPSILON_S: Final = 1e-6
_LIVE: Final = re.compile(b"[%c%c]" % (SUBMITTED, RUNNING))
_OPEN: Final = re.compile(b"[^%c-%c]" % (SUCCEEDED, SUCCEEDED + 3))  # not ended for good


class Outlook(msgspec.Struct, frozen=True):
    """What is known at a moment. Times in seconds since the run started, tasks by number."""

    path: tuple[int, ...] = ()  # from the first task to the last one, or to the one that runs
    slack: tuple[float | None, ...] = ()  # how much later a task could have ended; None: not known, or not yet
    finish: float | None = None
    basis: str = ""  # what `finish` is known from, as words for people


class Outlooks:
    """The outlook of one run, made again when something has changed, and not too often for many tasks.

    Args:
        earlier: An ended run of the same workflow, and what people call it.
    """

    def __init__(self, earlier: tuple[RunState, str] | None = None) -> None:
        self._earlier = earlier
        self._made, self._seq, self._next = Outlook(), -2, 0.0

    def at(self, state: RunState, now: float) -> Outlook:
        """What is known at `now`, in UTC seconds."""
        over = bool(state.ended_at)
        if state.seq != self._seq and (over or now >= self._next):
            self._seq, self._next = state.seq, now + _PACE_S * len(state.names)
            self._made = outlook(state, now, self._earlier)
        return self._made


def outlook(state: RunState, now: float, earlier: tuple[RunState, str] | None = None) -> Outlook:
    """What is known at `now`, in UTC seconds.

    Args:
        earlier: An ended run of the same workflow, and what people call it.
    """
    over, tasks = bool(state.ended_at), len(state.names) - len(state.undo)
    path = critical_path(state)
    if not over:
        path = path[-LIVE_PATH:]
    told = slack(state) if tasks <= (ENDED_SLACK if over else LIVE_SLACK) else ()
    if over or state.compensating:
        return Outlook(path, told)
    end, basis = finish(state, now, earlier)
    return Outlook(path, told, None if end is None else end - state.started_at, basis)


def critical_path(state: RunState) -> tuple[int, ...]:
    """The tasks that the run's end, or what runs now, has been waiting for, one after the other."""
    task = _last(state)
    path: list[int] = []
    while task is not None:
        path.append(task)
        task = _held_by(state, task)
    return tuple(reversed(path))


def _last(state: RunState) -> int | None:
    """Where the path ends: what runs and has most after it; once nothing runs, what ended last."""
    live = [t for t in _found(_LIVE, state) if t not in state.undo]
    live = live or [t for t in state.paused if t not in state.undo]
    if len(live) > 1:
        after = _steps_after(state)
        return min(live, key=lambda t: (-after[t], state.submitted[t] or state.started[t], t))
    if live:
        return live[0]
    ended = [t for t in range(len(state.names) - len(state.undo)) if state.ended[t]]
    return max(ended, key=lambda t: (state.ended[t], t), default=None)


def _held_by(state: RunState, task: int) -> int | None:
    """The task that ended last of those it waited for. What never ran held nothing up: what that waited for counts."""
    best: int | None = None
    look, seen = list(state.needs[task]), {task}
    while look:
        need = look.pop()
        if need in seen:
            continue
        seen.add(need)
        if not state.ended[need]:
            look.extend(state.needs[need])
        elif best is None or (state.ended[need], need) > (state.ended[best], best):
            best = need
    return best


def _steps_after(state: RunState) -> list[int]:
    """How many tasks follow each one, along the longest way."""
    after = [0] * len(state.names)
    for task in range(len(state.names) - 1, -1, -1):
        for need in state.needs[task]:
            after[need] = max(after[need], after[task] + 1)
    return after


def slack(state: RunState) -> tuple[float | None, ...]:
    """For each task that has run: how much later it could have ended without anything ending later, as far as known."""
    count = len(state.names) - len(state.undo)
    ends, ready = _ends(state, count)
    last = max((end for end in ends if end is not None), default=0.0)
    found: list[float | None] = [None] * count
    for task in range(count - 1, -1, -1):
        end = ends[task]
        if end is None:
            found[task] = 0.0 if SUBMITTED <= state.phase[task] <= RUNNING else None
            continue
        room: list[float] = []
        for child in state.children[task]:
            after, since = found[child] if child < count else None, ready[child] if child < count else None
            if after is not None and since is not None:
                room.append(after + since - end)
        if room:
            found[task] = min(room)
        elif state.ended_at:
            found[task] = last - end
    return tuple(_rounded(found[t]) if state.ended[t] and ends[t] is not None else None for t in range(count))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else 0.0 if seconds < _EPSILON_S else round(seconds, 6)


def _ends(state: RunState, count: int) -> tuple[list[float | None], list[float | None]]:
    """When each task ended, one that never ran with what it waited for; and when each could have begun."""
    ends: list[float | None] = [None] * count
    ready: list[float | None] = [None] * count
    for task in range(count):
        before = [ends[need] for need in state.needs[task] if need < task]
        known = [end for end in before if end is not None]
        if len(known) == len(before):
            ready[task] = max(known, default=state.started_at)
        if state.ended[task]:
            ends[task] = state.ended[task]
        elif state.phase[task] >= SUCCEEDED:
            ends[task] = max(known, default=state.started_at)
    return ends, ready


def finish(state: RunState, now: float, earlier: tuple[RunState, str] | None) -> tuple[float | None, str]:
    """When the run will end, in UTC seconds, and what that is known from; None where it cannot be known.

    Every step that has not ended must say how far it is, or have run in the earlier run at the same place. Steps that
    run side by side are expected to go on side by side.
    """
    before = _Before(*earlier) if earlier is not None else None
    ends: dict[int, float] = {}
    left: dict[str, float] = {}  # where -> seconds of work not begun
    going: dict[str, int] = {}
    by_progress = by_earlier = False
    for task in _found(_OPEN, state):
        if task in state.undo or task in state.passed:
            continue
        took = None if before is None else before.took(state, task)
        begun = state.submitted[task] or state.started[task]
        told = state.progress.get(task)
        label = state.places[task].label
        pause = state.paused.get(task)
        if pause is not None and not pause.until:
            return None, ""
        if begun and told is not None and told[0] >= LEAST_PROGRESS:
            since = state.started[task] or begun
            ends[task], by_progress = since + (now - since) / min(1.0, told[0]), True
        elif took is None:
            return None, ""
        else:
            by_earlier = True
            free = max((ends.get(need, 0.0) for need in state.needs[task]), default=0.0)
            ends[task] = (begun or max(now, free)) + took
        ends[task] = max(ends[task], now, pause.until if pause is not None else 0.0)
        if begun:
            going[label] = going.get(label, 0) + 1
        else:
            left[label] = left.get(label, 0.0) + (took or 0.0)
    if not ends:
        return None, ""
    wide = (now + work / going[label] for label, work in left.items() if label in going)
    called = before.name if before is not None else ""
    basis = ["what steps say"] * by_progress + [called] * by_earlier
    return max((*ends.values(), *wide)), " and ".join(basis)


class _Before:
    """How long the steps of an earlier run took."""

    def __init__(self, state: RunState, name: str) -> None:
        self.name, self._state = name, state
        self._numbers = {step: task for task, step in enumerate(state.names)}

    def took(self, now: RunState, task: int) -> float | None:
        """Seconds from its turn to its end; 0 for what a route passed by; None where that says nothing."""
        state, same = self._state, self._numbers.get(now.names[task])
        if same is None or state.phase[same] == FAILED:
            return None
        if state.phase[same] == SKIPPED and same in state.passed:
            return 0.0
        begun = state.submitted[same] or state.started[same]
        if state.phase[same] != SUCCEEDED or not begun or state.places[same].label != now.places[task].label:
            return None
        return state.ended[same] - begun


def _found(pattern: re.Pattern[bytes], state: RunState) -> Iterator[int]:
    return (found.start() for found in pattern.finditer(state.phase))
