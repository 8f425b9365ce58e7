"""What is undone when a run has failed, and in which order. Pure.

A step is undone after everything that depends on it, directly or not; what does not depend on each other is undone side
by side. Only what has completed is undone, and what is not known where its step says so: also a step that raised may
have had its effect. A step that completed several times, since the run went back to it or somebody moved it, is undone
once, with its last result: all of them had the same idempotency key, and what was done under that is to be undone.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import CANCELLED, FAILED, SUCCEEDED, RunState
from cerebelum_nb.rules.once import NEVER_BEGAN

UNKNOWN: Final = frozenset({"lost", "timeout", "cancelled", "error"})  # how one ends that may have had its effect
_NOT_RUN: Final = frozenset({"CaptureError", "ResultLost", "StillRuns"})  # how one fails whose code did not run

WAS_CANCELLED: Final = "the run was cancelled"  # why it is undone


class ToUndo(NamedTuple):
    """What `run.compensating` says, and which of the steps may not have done anything."""

    tasks: tuple[int, ...]
    needs: tuple[tuple[int, ...], ...]
    places: tuple[Placement, ...]
    in_doubt: frozenset[int] = frozenset()


class Stands(NamedTuple):
    """What runs that this one goes on from have done and nobody has undone, by task of this run's plan."""

    done: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()


NOTHING_STANDS: Final = Stands()


def to_undo(plan: Plan, state: RunState, stands: Stands = NOTHING_STANDS) -> ToUndo:
    """The tasks that undo what a run has done, which of them each one follows, and where they run.

    Nothing is undone once a point of no return has completed.

    Args:
        stands: What was done before this run began and is undone with it.
    """
    if no_return(plan, state, stands.done):
        return ToUndo((), (), ())
    undoes, in_doubt = dict[int, int](), set[int]()
    for undo, task in state.undo.items():
        if is_done(state, task) or task in stands.done:
            undoes[task] = undo
        elif plan.options[task].compensate_unknown and (task in stands.unknown or is_unknown(state, task)):
            undoes[task] = undo
            in_doubt.add(task)
    tasks, after = tuple(sorted(undoes.values())), _after(plan, undoes)
    return ToUndo(
        tasks,
        tuple(tuple(sorted(after[state.undo[undo]])) for undo in tasks),
        tuple(_place(plan, state, undo) for undo in tasks),
        frozenset(in_doubt),
    )


def no_return(plan: Plan, state: RunState, before: Collection[int] = ()) -> str:
    """The step after which nothing is undone, if it has completed; else empty."""
    for task, options in plan.options.items():
        if options.point_of_no_return and (
            state.phase[task] == SUCCEEDED or task in before or _completed_before(state, task)
        ):
            return plan.names[task]
    return ""


def is_done(state: RunState, task: int) -> bool:
    """Whether a task has completed in this run, be it that it was sent back since."""
    return (state.phase[task] == SUCCEEDED and task not in state.reused) or _completed_before(state, task)


def is_unknown(state: RunState, task: int) -> bool:
    """Whether an attempt of a task had begun, and nobody knows what came of it; one that completes later settles it."""
    if state.phase[task] == SUCCEEDED:
        return False
    last, error = state.outcome_of(task), state.errors.get(task)
    never = error is not None and (error.type in _NOT_RUN or error.message == NEVER_BEGAN)
    cut_off = last == "ok" and bool(state.ended[task])  # its result was
    if state.started[task] and not never and (last in UNKNOWN or cut_off):
        return True
    return any(past.outcome in UNKNOWN and past.started for past in state.past.get(task, ()))


def completions(state: RunState, task: int) -> int:
    """How often a task has completed in this run."""
    before = sum(past.outcome == "ok" for past in state.past.get(task, ()))
    return before + (state.phase[task] == SUCCEEDED and task not in state.reused)


def _completed_before(state: RunState, task: int) -> bool:
    return any(past.outcome == "ok" for past in state.past.get(task, ()))


def was_stopped(state: RunState) -> bool:
    """Whether a run's undoing was stopped before its end: not all of it was tried as often as it may be."""
    return any(state.phase[task] not in (SUCCEEDED, FAILED) for task in state.compensating)


def is_on_request(state: RunState) -> bool:
    """Whether a run did nothing but undo what an earlier one had done."""
    steps = range(len(state.names) - len(state.undo))
    stopped = state.why_undone == WAS_CANCELLED  # be it that all its steps had completed
    return bool(state.compensating) and not stopped and not any(state.phase[t] in (FAILED, CANCELLED) for t in steps)


def left_in_doubt(state: RunState) -> list[int]:
    """Tasks that say how they are undone, may have done something, and were not undone."""
    tried = {state.undo[undo] for undo in state.compensating}
    return [t for t in state.undo.values() if t not in tried and not is_done(state, t) and is_unknown(state, t)]


def _after(plan: Plan, undoes: Mapping[int, int]) -> dict[int, set[int]]:
    """For each task that is undone, what undoes the nearest of those that depend on it."""
    children: list[list[int]] = [[] for _ in range(plan.steps)]
    waits = [0] * plan.steps  # children that have not been looked at
    for child, needs in enumerate(plan.needs[: plan.steps]):
        for need in needs:
            children[need].append(child)
            waits[need] += 1
    nearest: dict[int, set[int]] = {}
    todo = [task for task, count in enumerate(waits) if not count]
    while todo:
        task = todo.pop()
        found = set[int]()
        for child in children[task]:
            found |= {undoes[child]} if child in undoes else nearest[child]
        nearest[task] = found
        for need in plan.needs[task]:
            waits[need] -= 1
            if not waits[need]:
                todo.append(need)
    return nearest


def _place(plan: Plan, state: RunState, undo: int) -> Placement:
    """Where the step itself ran: what it must not leave, its undoing must not leave either."""
    step = state.undo[undo]
    place = state.places[step]
    if place.executor == "local":
        place = msgspec.structs.replace(place, lane="local" if plan.asynchronous[undo] else "threads")
    return msgspec.structs.replace(
        place, rule="compensation", reason=f"it undoes {plan.names[step]!r}, which ran there"
    )


# over several runs --------------------------------------------------------------------------------------------------


Undone = Mapping[tuple[str, str], float]  # a run and a step -> since when what the run has of it is undone
_NOTHING_UNDONE: Final[Undone] = {}


class Line(NamedTuple):
    """What a run and those it goes on from have left behind, by step.

    Attributes:
        done: What has completed and is not undone -> the run and the task that did it.
        unknown: What may have been done.
        undone: What has been undone and has not run again.
        keys: What was undone before it ran again -> the run from which on it has another idempotency key.
    """

    done: dict[str, tuple[str, int]]
    unknown: set[str]
    undone: set[str]
    keys: dict[str, str]


def line_of(states: Sequence[RunState], *, whole: bool = True, undone: Undone = _NOTHING_UNDONE) -> Line:
    """Put together what runs of one line have done, the oldest first.

    What the oldest of them reused is another line's, and is not undone with this one.

    Args:
        whole: Whether the oldest is the line's first; else what it reused is taken for the line's own.
        undone: What runs beside these have undone, such as one that only undoes the oldest.
    """
    line, maybe = Line({}, set(), set(), {}), dict[str, str]()
    for i, state in enumerate(states):
        _undone_until(state.started_at, line, maybe, undone)
        line.keys.update(dict.fromkeys(line.undone, state.run))
        for task in range(len(state.names) - len(state.undo)):
            name = state.names[task]
            if task in state.undone:
                line.done.pop(name, None)
                line.unknown.discard(name)
                line.undone.add(name)
            elif is_done(state, task) or (state.phase[task] == SUCCEEDED and not (i or whole)):
                line.done[name] = state.run, task
                line.unknown.discard(name)
                line.undone.discard(name)
            elif is_unknown(state, task) and name not in line.done:
                line.unknown.add(name)
                line.undone.discard(name)
                maybe[name] = state.run
    _undone_until(math.inf, line, maybe, undone)
    return line


def _undone_until(at: float, line: Line, maybe: Mapping[str, str], undone: Undone) -> None:
    """What others had undone by then stands no more."""
    for name, run in (*((n, run) for n, (run, _) in line.done.items()), *((n, maybe[n]) for n in line.unknown)):
        if undone.get((run, name), math.inf) < at:
            line.done.pop(name, None)
            line.unknown.discard(name)
            line.undone.add(name)


def in_order(state: RunState, tasks: Iterable[int]) -> list[int]:
    """Tasks that undo, in the order in which they ended."""
    return sorted(tasks, key=lambda task: (state.ended[task], task))
