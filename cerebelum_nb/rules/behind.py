"""What can be sent to a worker behind an attempt that has not ended, since it waits for nothing but that. Pure."""

import msgspec

from cerebelum_nb.model.plan import Call, Plan
from cerebelum_nb.model.state import WAITING, RunState


class Follower(msgspec.Struct, frozen=True, gc=False):
    """An attempt that will come.

    Attributes:
        place: Where the result of what it follows goes: a position, or a keyword; None where it is not read.
    """

    task: int
    number: int
    place: int | str | None


def foreseen(plan: Plan, state: RunState, lane: str, task: int, most: int) -> list[Follower]:
    """The attempts that follow a task's, nearest first: each waits for the one before it alone, and nothing else does.

    Only steps that ask for nothing but a name and a place: what may be tried again, undone, served from the cache, sent
    elsewhere or ended in time is sent in its turn.
    """
    found: list[Follower] = []
    if not _is_plain(plan, task):
        return found
    while len(found) < most and len(children := state.children[task]) == 1:
        (child,) = children
        if (
            state.phase[child] != WAITING
            or state.unmet[child] != 1
            or state.places[child].lane != lane
            or child in state.paused
            or not _is_plain(plan, child)
            or plan.inputs_of.get(child) == task
        ):
            break
        call = plan.calls[child]
        if call.positional == (task,) and not call.keywords:  # the usual one
            found.append(Follower(child, state.attempt[child] + 1, 0))
        elif len(places := _places(call, task)) < 2:
            found.append(Follower(child, state.attempt[child] + 1, places[0] if places else None))
        else:
            break
        task = child
    return found


def _is_plain(plan: Plan, task: int) -> bool:
    return task not in plan.options and task not in plan.ways and task < plan.steps


def _places(call: Call, source: int) -> list[int | str]:
    """Where a result stands among a task's arguments."""
    places: list[int | str] = [place for place, n in enumerate(call.positional) if n == source]
    places += [name for name, n in call.keywords if n == source]
    return places
