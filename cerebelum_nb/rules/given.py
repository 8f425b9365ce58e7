"""Inputs that are given again to a run that goes on: the same, or others, and what becomes of it then. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from cerebelum_nb.errors import PlanError
from cerebelum_nb.identity.code import same_inputs
from cerebelum_nb.model.plan import CONTEXT, INPUTS, Plan
from cerebelum_nb.model.typed import listed
from cerebelum_nb.rules.kept import Changed

_ABSENT: Final = object()


def differing(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Names of inputs that are not surely the same in both."""
    names = dict.fromkeys([*old, *new])
    return [str(n) for n in names if not same_inputs(new.get(n, _ABSENT), old.get(n, _ABSENT))]


def who_reads(plan: Plan) -> tuple[str, ...]:
    """Steps that take the run's inputs, or the context, which has them too."""
    found = []
    for task, name in enumerate(plan.names[: plan.steps]):
        call = plan.calls[task]
        sources = {*call.positional, *(source for _, source in call.keywords)}
        if INPUTS in sources or (CONTEXT in sources and task not in plan.inputs_of):
            found.append(name)
    return tuple(found)


def check_given(new: Mapping[str, Any], old: Mapping[str, Any], unknown: str, changed: Changed) -> bool:
    """Whether a run that goes on takes other inputs than it had.

    Args:
        unknown: Why nobody knows what it had; empty where that is known.

    Raises:
        PlanError: They differ, and nobody said what becomes of that.
    """
    differ = listed(list(new)) if unknown else listed(differing(new, old))
    if not unknown and not differing(new, old):
        return False
    if changed == "ask":
        what = f"what the run was given is not known any more ({unknown})" if unknown else f"other inputs: {differ}"
        keep = "results" if unknown else "inputs and results"
        raise PlanError(
            f"{what}. changed='run' runs every step again that takes inputs or context, and what depends on them, with "
            f"those given now; changed='keep' goes on with the run's own {keep}."
        )
    return changed == "run" or bool(unknown)
