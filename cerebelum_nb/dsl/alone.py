"""One step as a workflow of its own, to be tried on results that are there already."""

from collections.abc import Collection
from typing import Any, NoReturn

import msgspec

from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.workflow import Home, Workflow, WorkflowBuilder
from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.workflow import StepDef


def alone(step: StepMetadata, known: Collection[str], home: Home) -> Workflow:
    """A workflow of this step and stand-ins for the steps it reads, whose results must be given.

    Args:
        known: Steps that have a result.

    Raises:
        PlanError: The step reads one that has none.
    """
    read = [p for p in step.definition.parameters if p.kind == "step"]
    missing = [p.name for p in read if p.name not in known and not p.optional]
    if missing:
        some = missing[0] if len(missing) == 1 else f"{', '.join(missing[:-1])} and {missing[-1]}"
        raise PlanError(
            f"step {step.name!r} reads {some}, and no run of this session has a result of that yet: run the workflow "
            f"first, as far as there: --until {missing[0]}"
        )
    stands_in = tuple(p.name for p in read if p.name in known)
    mine = msgspec.structs.replace(step.definition, depends_on=stands_in)

    def define(wf: WorkflowBuilder) -> None:
        for name in stands_in:
            wf.timeline(StepMetadata(StepDef(name, _no_result, (), (), "local", is_async=False, defined_at="")))
        wf.timeline(StepMetadata(mine))

    define.__module__ = step.module
    return Workflow(f"only {step.name}"[:80], define, home)


def _no_result(*_args: Any) -> NoReturn:
    raise PlanError("this step only stands for its result; run the workflow that it belongs to")
