"""For files written for the SDK: its names that only it can do something with, and workflows that were built with it.

The SDK is never imported here. What it hands over is known by its fields.
"""

import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from types import CellType, FunctionType
from typing import Any, Final

from cerebelum_nb.capture.reach import names_used
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.step import StepMetadata, make_step
from cerebelum_nb.dsl.workflow import Workflow, WorkflowBuilder
from cerebelum_nb.errors import ExecutionError, NotYet, PlanError

# names of its own ---------------------------------------------------------------------------------------------------


class _Theirs:
    """A class that can be imported, and says when it is used that only the SDK's own does this."""

    instead = "The runs of this session are in cerebelum_nb.runs."

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        name = type(self).__name__
        raise NotYet(
            f"{name} works with a Cerebelum Core elsewhere, which only the SDK's own does: `from cerebelum import "
            f"{name}`, also with `cerebelum core serve --upstream-port 9090`. {self.instead}"
        )


class Worker(_Theirs):
    """Serves a Core elsewhere."""

    instead = 'Here, steps with executor="distributed" run on workers that start by themselves.'


class ExecutionClient(_Theirs):
    """Asks a Core elsewhere about its executions."""


class ExecutionStatus(_Theirs):
    """What a Core elsewhere says of an execution."""


class StepStatus(_Theirs):
    """What a Core elsewhere says of a step."""


class SleepInfo(_Theirs):
    """What a Core elsewhere says of a sleep."""


class ApprovalInfo(_Theirs):
    """What a Core elsewhere says of an approval."""


class ExecutionState(Enum):
    """How an execution stands, as a Core elsewhere calls it."""

    UNSPECIFIED = "EXECUTION_STATE_UNSPECIFIED"
    RUNNING = "EXECUTION_RUNNING"
    COMPLETED = "EXECUTION_COMPLETED"
    FAILED = "EXECUTION_FAILED"
    SLEEPING = "EXECUTION_SLEEPING"
    WAITING_FOR_APPROVAL = "EXECUTION_WAITING_FOR_APPROVAL"
    PAUSED = "EXECUTION_PAUSED"


_OLD: Final = "belongs to the SDK's way of before @workflow: write @workflow with wf.timeline, wf.diverge and wf.branch"
_INSIDE: Final = "is a part of the SDK's own machinery, which is another one here"
NOT_OFFERED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("DSLSerializer", "BlueprintSerializer"), "is not needed: workflows are not sent as blueprints here"
    ),
    **dict.fromkeys(("DSLExecutionAdapter", "DependencyAnalyzer", "DependencyGraph", "DependencyNode"), _INSIDE),
    **dict.fromkeys(("WorkflowBuilder", "DivergeBuilder", "BranchBuilder", "WorkflowDefinition"), _OLD),
    **dict.fromkeys(("ActionType", "BranchAction", "BranchRule", "ConditionBranch", "DivergeRule"), _OLD),
    **dict.fromkeys(("PatternMatch", "StepFunction", "StepRef"), _OLD),
    **dict.fromkeys(("Executor", "LocalExecutor"), "is DSLLocalExecutor or HybridExecutor here"),
    "ExecutionContext": "is Context here: what a step gets as its first parameter",
    "ParallelStepGroup": "is not needed: steps that run side by side are a list, a >> [b, c]",
    "WorkflowRegistry": "is not needed: a workflow is the object that @workflow makes",
    "WorkflowValidator": "is not needed: write the_workflow.validate()",
}


def refuse(name: str, module: str) -> None:
    """Say what stands for a name of the SDK's that does not exist here; nothing for any other name.

    Raises:
        ImportError: The SDK has it. Not AttributeError, whose text Python's import statement throws away.
    """
    if name in NOT_OFFERED:
        raise ImportError(f"{module} has no {name}: it {NOT_OFFERED[name]}", name=module)


# workflows built with the SDK ---------------------------------------------------------------------------------------

_HELPERS: Final = frozenset({"ProgressReporter", "poll", "retry", "sleep", "wait_for_approval"})


class _Home:
    """Where such a workflow lives: its steps are what they are, the session is everybody's."""

    def newest(self, step: StepMetadata) -> StepMetadata:
        return step

    def runner(self) -> Any:
        return registry.runner()


def is_built(thing: object) -> bool:
    """Whether this is what the SDK's ``execute(inputs, executor=...)`` hands to an executor."""
    return isinstance(getattr(thing, "steps_metadata", None), Mapping) and isinstance(
        getattr(thing, "timeline", None), list
    )


def workflow_of(built: Any) -> Workflow:
    """A workflow of ours with the same steps, order and groups.

    Raises:
        PlanError: It has routes, which the SDK does not hand over whole.
        DefinitionError: A step is written in a way that only the SDK takes.
    """
    if built.diverge_rules or built.branch_rules:
        raise PlanError(
            f"workflow {built.id!r} uses diverge or branch, of which the SDK hands over only a part. "
            "Import step and workflow from cerebelum_nb instead: there they really choose"
        )
    steps = {name: _step(name, made.function) for name, made in built.steps_metadata.items()}

    def lay_out(wf: WorkflowBuilder) -> None:
        wf.timeline(_items(built.timeline_structure or built.timeline, steps))

    return Workflow(str(built.id), lay_out, _Home())


def _items(structure: Any, steps: Mapping[str, StepMetadata]) -> list[Any]:
    return [steps[item] if isinstance(item, str) else _items(item, steps) for item in structure]


def _step(name: str, function: Any) -> StepMetadata:
    # The SDK's own wrapper is the outermost; below it may be the person's decorators, which stay.
    return make_step(
        _with_our_helpers(getattr(function, "__wrapped__", function)), name=name, executor="auto", depends_on=()
    )


async def execute(built: Any, inputs: Any, executor: Any) -> Any:
    """Run a workflow that the SDK has built; its errors are the SDK's `ExecutionError` too."""
    try:
        return await workflow_of(built).execute(inputs, executor=executor)
    except ExecutionError as exc:
        raise _theirs_too(exc, built).with_traceback(exc.__traceback__) from exc.__cause__


def _theirs_too(exc: ExecutionError, built: Any) -> ExecutionError:
    """The same error, caught also by `except cerebelum.ExecutionError`."""
    theirs = getattr(sys.modules.get(type(built).__module__), "ExecutionError", None)
    if not (isinstance(theirs, type) and issubclass(theirs, Exception)):
        return exc
    kind = type(type(exc).__name__, (type(exc), theirs), {"__module__": "cerebelum_nb.errors"})
    made: ExecutionError = kind.__new__(kind, *exc.args)
    made.__dict__.update(exc.__dict__)
    return made


# the SDK's helpers --------------------------------------------------------------------------------------------------


def _with_our_helpers(function: Any) -> Any:
    """The same function, with our `sleep`, `poll` ... where it or what it calls names the SDK's.

    Those stop a step for good. The function gets globals of its own then: what it assigns with `global` is not seen
    by others.
    """
    if not isinstance(function, FunctionType):
        return function
    there = function.__globals__
    if not _reaches(function, set()):
        return function
    mine = dict(there)
    for name, value in there.items():
        if (helper := _ours(value)) is not None:
            mine[name] = helper
        elif isinstance(value, FunctionType) and value.__globals__ is there and _reaches(value, set()):
            mine[name] = _rebuilt(value, mine)
    return _rebuilt(function, mine)


def _reaches(function: FunctionType, seen: set[FunctionType]) -> bool:
    """Whether a function, or one of the same file that it calls, names a helper of the SDK's."""
    if function in seen:
        return False
    seen.add(function)
    there = function.__globals__
    named = [there[name] for name in names_used(function.__code__) if name in there]
    return (
        tuple(_cells(function)) != (function.__closure__ or ())
        or any(_ours(value) is not None for value in named)
        or any(isinstance(v, FunctionType) and v.__globals__ is there and _reaches(v, seen) for v in named)
    )


def _rebuilt(function: FunctionType, there: dict[str, Any]) -> FunctionType:
    made = FunctionType(
        function.__code__, there, function.__name__, function.__defaults__, tuple(_cells(function)) or None
    )
    for attribute in ("__kwdefaults__", "__module__", "__qualname__", "__annotations__", "__doc__"):
        setattr(made, attribute, getattr(function, attribute))
    made.__dict__.update(function.__dict__)
    return made


def _cells(function: FunctionType) -> Iterator[CellType]:
    for cell in function.__closure__ or ():
        try:
            ours = _ours(cell.cell_contents)
        except ValueError:  # empty: its variable is assigned later
            ours = None
        yield cell if ours is None else CellType(ours)


def _ours(value: Any) -> Any:
    if not isinstance(value, FunctionType | type):  # do not ask strangers for attributes
        return None
    name = value.__name__
    if name not in _HELPERS or value.__module__ != "cerebelum.dsl.async_helpers":
        return None
    from cerebelum_nb import helpers  # noqa: PLC0415  few need them

    return getattr(helpers, name)
