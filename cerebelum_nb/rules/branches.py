"""What is undone by now of what a run has, whoever undid it: over a line of runs with its branches. Pure."""

from collections.abc import Mapping, Sequence

from cerebelum_nb.model.state import CANCELLED, FAILED, SUCCEEDED, RunState
from cerebelum_nb.rules.undoing import Undone


def undone_by(states: Mapping[str, RunState]) -> dict[tuple[str, str], float]:
    """Since when what a run has of a step is undone, by run and step name.

    Whoever undoes a step undoes it for itself and for all that it goes on from.

    Args:
        states: All runs of one line, by id: those that go on from each other.
    """
    found: dict[tuple[str, str], float] = {}
    for state in states.values():
        at = {state.names[task]: state.ended[undo] for undo, task in state.undo.items() if task in state.undone}
        above: RunState | None = state if at else None
        while above is not None:
            for name, since in at.items():
                found[above.run, name] = min(since, found.get((above.run, name), since))
            above = states.get(above.parent)
    return found


def undone_since(chain: Sequence[RunState], undone: Undone) -> set[str]:
    """Steps whose results a run has, of its own or taken over, and which have been undone since.

    Args:
        chain: The run, the one that it was made from, and so on.
    """
    names = {chain[0].names[task] for task, phase in enumerate(chain[0].phase) if phase == SUCCEEDED}
    found = set[str]()
    for state in chain:
        found |= {name for name in names if (state.run, name) in undone}
        names = {state.names[task] for task in state.reused} & names - found
    return found


def source(chain: Sequence[RunState], name: str) -> str:
    """The run that did a step whose result a run has: its own id, or of one that it was made from; empty for none."""
    for state in chain:
        task = state.names.index(name) if name in state.names else -1
        if task < 0 or state.phase[task] != SUCCEEDED:
            return ""
        if task not in state.reused:
            return state.run
    return chain[-1].run


def not_undone(state: RunState) -> list[str]:
    """Steps that a run was to undo, and has not."""
    return [state.names[state.undo[t]] for t in state.compensating if state.phase[t] in (FAILED, CANCELLED)]
