"""From a workflow, inputs and wishes to a plan, or to one clear error before anything runs. Pure."""

from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.plan import CONTEXT, INPUTS, Call, Plan
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.model.workflow import StepDef, WorkflowDef
from cerebelum_nb.runtime.placement import Places, Wishes, check_map, place, wish


def plan(workflow: WorkflowDef, inputs: Any, wishes: Wishes, places: Places, *, until: str | None = None) -> Plan:
    """Check a workflow and place its steps.

    Raises:
        PlanError: Duplicate, unknown or circular steps, a strategy for a step that does not exist.
        PlacementError: An executor that nobody knows.
    """
    steps = workflow.steps
    at = _numbers(workflow)
    check_map("execution_strategy", wishes.strategy, at)
    check_map(f"the strategy of workflow {workflow.name!r}", wishes.workflow_strategy, at)
    calls = tuple([_call(step, at, workflow) for step in steps])
    needs = tuple([_needs(workflow, i, call, at) for i, call in enumerate(calls)])
    if any(group and group[-1] >= i for i, group in enumerate(needs)):  # something points forward: look for a cycle
        _check_cycles(workflow, needs)
    distinct: dict[tuple[tuple[str, str, str], bool], tuple[int, Placement]] = {}
    place_of = []
    for step in steps:
        key = wish(step.name, step.executor, wishes), step.is_async
        found = distinct.get(key)
        if found is None:
            found = distinct[key] = len(distinct), place(step.name, key[0], places, is_async=step.is_async)
        place_of.append(found[0])
    made = Plan(
        workflow=workflow.name,
        inputs=inputs,
        names=tuple(at),
        needs=needs,
        places=tuple([p for _, p in distinct.values()]),
        place=tuple(place_of),
        functions=tuple([s.function for s in steps]),
        calls=calls,
        asynchronous=tuple([s.is_async for s in steps]),
        answer=len(steps) - 1,
    )
    return made if until is None else _until(made, until)


def _numbers(workflow: WorkflowDef) -> dict[str, int]:
    at: dict[str, int] = {}
    for i, step in enumerate(workflow.steps):
        if step.name in at:
            raise PlanError(_duplicate(workflow, workflow.steps[at[step.name]], step))
        at[step.name] = i
    return at


def _duplicate(workflow: WorkflowDef, first: StepDef, second: StepDef) -> str:
    if first.function is second.function:
        return (
            f"workflow {workflow.name!r} has a cycle: {first.name} comes back after itself. "
            "A step stands once in a timeline."
        )
    return (
        f"workflow {workflow.name!r} has two steps called {first.name!r}: {first.defined_at} and {second.defined_at}. "
        "Give one another name, @step(name='...')."
    )


def _call(step: StepDef, at: dict[str, int], workflow: WorkflowDef) -> Call:
    positional: list[int] = []
    keywords: list[tuple[str, int]] = []
    by_name = False
    for p in step.parameters:
        if p.kind == "context":
            source = CONTEXT
        elif p.kind == "inputs":
            source = INPUTS
        elif p.name in at:
            source = at[p.name]
        elif p.optional:
            by_name = True  # it keeps its default, so what follows goes by name
            continue
        else:
            raise PlanError(_unknown(step, p.name, at, workflow))
        if p.keyword or by_name:
            keywords.append((p.name, source))
        else:
            positional.append(source)
    return Call(tuple(positional), tuple(keywords))


def _unknown(step: StepDef, name: str, at: dict[str, int], workflow: WorkflowDef) -> str:
    others = [known for known in at if known != step.name]
    hint = nearest(name, others) or (" A step's first parameter is called context." if name in ("ctx", "self") else "")
    return (
        f"step {step.name!r} needs {name!r}, which is not a step in the timeline of {workflow.name!r}.{hint} "
        f"Steps there: {', '.join(list(at)[:12])}{', …' if len(at) > 12 else ''}."
    )


def _needs(workflow: WorkflowDef, task: int, call: Call, at: dict[str, int]) -> tuple[int, ...]:
    step, follows = workflow.steps[task], workflow.follows[task]
    data = [n for n in call.positional if n >= 0]
    if not call.keywords and not step.depends_on and not data:
        return follows if len(follows) < 2 else tuple(sorted(set(follows)))
    found = {*follows, *data}
    found.update(n for _, n in call.keywords if n >= 0)
    for name in step.depends_on:
        if name in at:
            found.add(at[name])
        elif not any(p.name == name and p.optional for p in step.parameters):
            raise PlanError(_unknown(step, name, at, workflow))
    return tuple(sorted(found))


def _check_cycles(workflow: WorkflowDef, needs: tuple[tuple[int, ...], ...]) -> None:
    try:
        TopologicalSorter(dict(enumerate(needs))).prepare()
    except CycleError as exc:
        names = [workflow.steps[i].name for i in exc.args[1]]
        if len(names) == 2 and names[0] == names[1]:
            raise PlanError(f"step {names[0]!r} needs itself; rename the parameter") from None
        raise PlanError(
            f"workflow {workflow.name!r} has a cycle: {' -> '.join(names)} (each must end before the next begins). "
            f"{_backwards(workflow, needs)}"
        ) from None


def _backwards(workflow: WorkflowDef, needs: tuple[tuple[int, ...], ...]) -> str:
    for task, group in enumerate(needs):
        for need in group:
            if need > task:
                later, earlier = workflow.steps[need].name, workflow.steps[task].name
                return f"{earlier!r} needs {later!r}, which the timeline puts after it: write {later} before {earlier}."
    return "Take one of them out."


def _until(made: Plan, until: str) -> Plan:
    if until not in made.names:
        raise PlanError(
            f"workflow {made.workflow!r} has no step {until!r} to stop at.{nearest(until, list(made.names))}"
        )
    last = made.number_of(until)
    keep = {last, *made.above(last)}
    return msgspec.structs.replace(made, answer=last, left_out=frozenset(set(range(len(made.names))) - keep))
