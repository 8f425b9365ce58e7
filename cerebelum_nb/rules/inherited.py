"""What a run inherits from those it goes on from: what is undone with it, which results that takes, and whose keys."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import SUCCEEDED, RunState
from cerebelum_nb.model.typed import listed
from cerebelum_nb.rules.undoing import NOTHING_STANDS, Line, Stands

Value = Callable[[str, int], Any]  # a run and a task -> the result, or what stands for one that is not kept


class Inherited(NamedTuple):
    """What a new run inherits.

    Attributes:
        stands: What is undone with it.
        known: Results by task, for what undoes.
        keys: Steps whose idempotency key is not the line's own -> the run that it is made of.
        undone: Steps that get a new key, since they were undone and run again.
    """

    stands: Stands = NOTHING_STANDS
    known: Mapping[int, Any] = {}
    keys: Mapping[str, str] = {}
    undone: frozenset[str] = frozenset()

    def keys_in(self, run: str) -> dict[str, str]:
        """The keys of the new run, when it has a name."""
        return {**self.keys, **dict.fromkeys(self.undone, run)}


NOTHING: Final = Inherited()


def inherited(made: Plan, line: Line, before: RunState, reused: Mapping[int, Any], value: Value) -> Inherited:
    """What a run of a plan inherits.

    Args:
        line: What has been done so far.
        before: The run that it goes on from.
        reused: Tasks of the plan whose results it has anyway.
        value: Gives a result.
    """
    at = {name: task for task, name in enumerate(made.names[: made.steps])}
    mine = {task: undo for undo, task in enumerate(made.undo, made.steps)}
    unknown = frozenset(task for name in line.unknown if (task := at.get(name)) in mine)
    stated = unknown.intersection(reused)  # somebody looked, and says what came of it
    done = stated.union(task for name in line.done if (task := at.get(name)) in mine)
    read = {source for task in done | unknown for _, source in made.calls[mine[task]].keywords if source >= 0}
    where = {name: (before.run, task) for task, name in enumerate(before.names) if before.phase[task] == SUCCEEDED}
    where |= line.done
    known = {
        task: value(*where[made.names[task]])
        for task in sorted(done | read)
        if task not in reused and made.names[task] in where
    }
    return Inherited(Stands(done, unknown), known, line.keys, frozenset(line.undone))


def check_to_undo(made: Plan, line: Line, before: Plan, called: str) -> None:
    """Refuse to undo a run of which nothing can be undone.

    Args:
        made: The plan as the definitions are now.
        before: The plan of that run.
        called: The run as people know it.

    Raises:
        PlanError: Says why.
    """
    options = {made.names[task]: asked for task, asked in made.options.items()}
    for name in line.done:
        if name in options and options[name].point_of_no_return:
            raise PlanError(f"{called} is past its point of no return, {name}: nothing of it is undone; resume goes on")
    says_how = {made.names[task] for task in made.undo}
    said = {before.names[task] for task in before.undo}
    if forgotten := [name for name in line.done if name in said and name not in says_how]:
        raise PlanError(
            f"{listed(forgotten)} of {called} no longer says how it is undone: run the cell with its compensate= again"
        )
    doubtful = [name for name in line.unknown if name in says_how]
    asked = [name for name in doubtful if options[name].compensate_unknown]
    if says_how.isdisjoint(line.done) and not asked:
        more = f". {listed(doubtful)} may have had its effect; compensate_unknown=True undoes that" if doubtful else ""
        why = "what could be undone is undone" if line.undone else "no step that has completed says how (compensate=)"
        raise PlanError(f"nothing of {called} is to be undone: {why}{more}")
