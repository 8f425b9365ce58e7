"""What is undone when a run has failed, and in which order. Pure.

A step is undone after everything that depends on it, directly or not; what does not depend on each other is undone side
by side. Only what has completed is undone, and what is not known where its step says so.
"""

from typing import Final, NamedTuple

import msgspec

from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import CANCELLED, FAILED, SUCCEEDED, RunState

UNKNOWN: Final = frozenset({"lost", "timeout", "cancelled"})  # an attempt that ended so may have had its effect


class ToUndo(NamedTuple):
    """What `run.compensating` says."""

    tasks: tuple[int, ...]
    needs: tuple[tuple[int, ...], ...]
    places: tuple[Placement, ...]


def to_undo(plan: Plan, state: RunState, unknown: frozenset[int] = frozenset(), *, reused: bool = False) -> ToUndo:
    """The tasks that undo what a run has done, which of them each one follows, and where they run.

    Nothing is undone once a point of no return has completed.

    Args:
        unknown: Further tasks whose attempts in an earlier run nobody knows the end of.
        reused: Whether results of the run that this one goes on from are its own.
    """
    if any(state.phase[t] == SUCCEEDED and options.point_of_no_return for t, options in plan.options.items()):
        return ToUndo((), (), ())
    undoes = {
        task: undo
        for undo, task in state.undo.items()
        if (state.phase[task] == SUCCEEDED and (reused or task not in state.reused))
        or ((task in unknown or is_unknown(state, task)) and plan.options[task].compensate_unknown)
    }
    below = {task: plan.below(task) for task in undoes}
    tasks = tuple(sorted(undoes.values()))
    needs = tuple(tuple(sorted(undoes[t] for t in below[state.undo[undo]] if t in undoes)) for undo in tasks)
    return ToUndo(tasks, needs, tuple(_place(plan, state, undo) for undo in tasks))


def is_unknown(state: RunState, task: int) -> bool:
    """Whether a task's last attempt had begun, and nobody knows what came of it."""
    return state.phase[task] in (FAILED, CANCELLED) and bool(state.started[task]) and state.outcome_of(task) in UNKNOWN


def _place(plan: Plan, state: RunState, undo: int) -> Placement:
    """Where the step itself ran: what it must not leave, its undoing must not leave either."""
    step = state.undo[undo]
    place = state.places[step]
    if place.executor == "local":
        place = msgspec.structs.replace(place, lane="local" if plan.asynchronous[undo] else "threads")
    return msgspec.structs.replace(
        place, rule="compensation", reason=f"it undoes {plan.names[step]!r}, which ran there"
    )
