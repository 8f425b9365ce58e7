"""A run from the journal, as it was: to be looked at, and to be gone on from."""

import functools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import psutil

from cerebelum_nb.identity.code import PastCode
from cerebelum_nb.model.events import (
    AnyEvent,
    AttemptStarted,
    AttemptSubmitted,
    PauseKind,
    RunStarted,
    TaskPaused,
    TaskResumed,
)
from cerebelum_nb.model.plan import Call, Plan
from cerebelum_nb.model.state import SUCCEEDED, RunState
from cerebelum_nb.rules.once import Ran
from cerebelum_nb.rules.placement import Wishes
from cerebelum_nb.runtime.scheduler import NOT_ASKED, Scheduler
from cerebelum_nb.store.journal import About
from cerebelum_nb.store.results import Stored, ref_in

ENDED: Final = "its kernel ended before"
_EARLY_S: Final = 0.05  # timers may ring so much early
_BORN_S: Final = 0.05  # two looks at when a process began differ by less


class PastPause(msgspec.Struct, frozen=True):
    """A sleep or an approval of an attempt that never ended."""

    kind: PauseKind
    until: float  # UTC seconds; 0 for never
    over: bool  # it had gone on before its kernel ended


class Past(msgspec.Struct):
    """What the journal knows of a run."""

    about: About
    events: list[AnyEvent]
    plan: Plan
    scheduler: Scheduler  # with nobody behind it: its state, and where values are
    pauses: dict[int, list[PastPause]]
    interrupted: bool  # it has no end in the journal
    without_inputs: str = ""  # why its inputs are not known


def past(about: About, events: Sequence[AnyEvent], stored: dict[int, Stored], inputs: Any) -> Past:
    """Put a run together again.

    Args:
        stored: What is kept of its results, by task.
        inputs: What its steps got.
    """
    state = RunState()
    for event in events:
        state.apply(event)
    started = events[0]
    assert isinstance(started, RunStarted)
    made = _plan(started, state, stored, inputs)
    scheduler = Scheduler(made, poke=dict.fromkeys(state.ready, _nobody), stop=_nobody, urgent=_nobody)
    scheduler.state = state
    for task, phase in enumerate(state.phase):
        if phase == SUCCEEDED:
            scheduler.values[task] = ref_in(stored, about.run, task)
    interrupted, pauses = state.status == "running", _pauses(events, state)
    if interrupted:
        scheduler.stand_at(events[-1].at)  # nobody knows when its kernel ended: the last that is known counts
        scheduler.cancel(ENDED, undo=False)
        scheduler.abandon(ENDED)
        scheduler.abandon(ENDED, undoing=True)
    return Past(about, list(events), made, scheduler, pauses, interrupted)


def about_now(run: str, made: Plan, wishes: Wishes, root: str, ran: Mapping[str, Ran]) -> About:
    """What is to be known later about a run that this process begins."""
    strategy, person, me = dict(wishes.strategy), dict(wishes.person), os.getpid()
    process, asked = (time.time(), me, _born_of(me)), (strategy, person, wishes.everywhere)
    return About(run, made.workflow, *process, *asked, root, dict(ran), wishes.core)


def is_alive(about: About) -> bool:
    """The process that runs it is there."""
    return is_there(about.pid, about.born)


def born(process: psutil.Process) -> float:
    """When a process began, in seconds since the machine did: a wall clock that is set does not move that."""
    since = psutil.boot_time()  # first: what follows reckons from it
    return float(process.create_time() - since)


@functools.lru_cache(maxsize=1)
def _born_of(me: int) -> float:
    """The same of this process; a fork asks anew."""
    return born(psutil.Process(me))


def is_there(pid: int, began: float) -> bool:
    """A process is there that began then."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # it has ended, and its parent has not looked yet
            return False
        return bool(abs(born(process) - began) < _BORN_S)
    except psutil.Error:
        return False


def _plan(started: RunStarted, state: RunState, stored: dict[int, Stored], inputs: Any) -> Plan:
    n = len(started.names)
    return Plan(
        workflow=started.workflow,
        inputs=inputs,
        names=started.names,
        needs=started.needs,
        places=started.places,
        place=started.place,
        functions=tuple(PastCode(stored[t].code if t in stored else b"") for t in range(n)),
        calls=(Call(()),) * n,
        asynchronous=(False,) * n,
        answer=n - len(started.undo) - 1,
        left_out=frozenset(t for t, why in state.reasons.items() if why == NOT_ASKED),
        ways=dict.fromkeys(started.decisions, ()),
        groups=started.groups,
        undo=started.undo,
        undone_if=started.undone_if,
    )


def _pauses(events: Sequence[AnyEvent], state: RunState) -> dict[int, list[PastPause]]:
    """The pauses of each task's last attempt, where that never ended."""
    found: dict[int, list[PastPause]] = {}
    for event in events:
        if isinstance(event, AttemptStarted | AttemptSubmitted):
            found[event.task] = []
        elif isinstance(event, TaskPaused):
            found[event.task].append(PastPause(event.kind, event.until, over=False))
        elif isinstance(event, TaskResumed):
            last = found[event.task][-1]
            if last.kind == "approval" or event.at >= last.until - _EARLY_S:  # else another pause only came before it
                found[event.task][-1] = msgspec.structs.replace(last, over=True)
    return {task: pauses for task, pauses in found.items() if pauses and state.phase[task] != SUCCEEDED}


def _nobody(*_args: object) -> None:
    pass
