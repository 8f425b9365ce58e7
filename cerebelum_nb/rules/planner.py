"""From a workflow, inputs and wishes to a plan, or to one clear error before anything runs. Pure."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.events import Group, Placement
from cerebelum_nb.model.options import NOTHING, Backoff, StepOptions
from cerebelum_nb.model.plan import CONTEXT, INPUTS, OUTCOME, Call, Plan
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.model.workflow import GroupDef, Parameter, StepDef, WorkflowDef
from cerebelum_nb.rules.elsewhere import NOWHERE, places_for
from cerebelum_nb.rules.placement import Places, Wishes, check_map, place, wish
from cerebelum_nb.rules.quiet import collector_at_rest

HERE: Final = ("local", "route", "a decision is made here")
NONE: Final[frozenset[str]] = frozenset()
UNDO_BACKOFF: Final = Backoff(0.5, 2.0, 30.0)  # what undoes must get through: between its attempts


def plan(workflow: WorkflowDef, inputs: Any, wishes: Wishes, places: Places, *, until: str | None = None) -> Plan:
    """Check a workflow and place its steps.

    Raises:
        PlanError: Duplicate, unknown or circular steps, a strategy for a step that does not exist.
        PlacementError: An executor that nobody knows.
    """
    with collector_at_rest():
        made = _planned(workflow, inputs, wishes, places)
    return made if until is None else _until(made, until)


def _planned(workflow: WorkflowDef, inputs: Any, wishes: Wishes, places: Places) -> Plan:
    steps = workflow.steps
    at = _numbers(workflow)
    names = tuple(at)
    groups = {group.name: group for group in workflow.groups}
    for group in workflow.groups:
        if group.name in at:
            raise PlanError(f"workflow {workflow.name!r} has a step and a nested workflow called {group.name!r}")
        at[group.name] = group.answer
    check_map("execution_strategy", wishes.strategy, at)
    check_map(f"the strategy of workflow {workflow.name!r}", wishes.workflow_strategy, at)
    inputs_of = _inputs_of(workflow, groups, at) if groups else {}
    scope = _Scope(workflow, at, inputs_of, inputs)
    calls = tuple([_call(step, i, scope) for i, step in enumerate(steps)])
    needs = tuple([_needs(i, call, scope) for i, call in enumerate(calls)])
    if any(group and group[-1] >= i for i, group in enumerate(needs)):  # something points forward: look for a cycle
        _check_cycles(workflow, needs)
    distinct, place_of = _places(workflow, wishes, places)
    options = {i: step.options for i, step in enumerate(steps) if step.options is not NOTHING}
    made = Plan(
        workflow=workflow.name,
        inputs=inputs,
        names=names,
        needs=needs,
        places=distinct,
        place=place_of,
        functions=tuple([s.function for s in steps]),
        calls=calls,
        asynchronous=tuple([s.is_async for s in steps]),
        answer=len(steps) - 1,
        ways={route.decision: route.ways for route in workflow.routes},
        groups=tuple([Group(g.name, g.first, g.stop) for g in workflow.groups]),
        options=options,
        inputs_of=inputs_of,
        fallbacks=_fallbacks(workflow, options, [distinct[i] for i in place_of], places),
        cached=frozenset(i for i, asked in options.items() if asked.cache),
        careful=frozenset(i for i, asked in options.items() if asked.effects == "once" or asked.compensate is not None),
    )
    _check_ways_back(made)
    return _with_undo(made, workflow, scope) if any(step.undo is not None for step in steps) else made


def _fallbacks(
    workflow: WorkflowDef, options: Mapping[int, StepOptions], chosen: Sequence[Placement], places: Places
) -> dict[int, tuple[Placement, ...]]:
    """Where else tasks may run, in order. What keeps a step from a place is to take it out here."""
    found: dict[int, tuple[Placement, ...]] = {}
    for task, asked in options.items():
        step, names = workflow.steps[task], [name for name in asked.fallback if name != NOWHERE]
        if asked.max_queue is not None and not names:
            raise PlanError(
                f"step {step.name!r} says max_queue={asked.max_queue} and has no other place to go: "
                'add fallback="local", or a list of executors'
            )
        why = "the step's fallback"
        declared = [place(step.name, (name, "fallback", why), places, is_async=step.is_async) for name in names]
        if others := places_for(chosen[task].executor, declared):
            found[task] = others
    return found


def _check_ways_back(made: Plan) -> None:
    """A way back must not lead over a step that never runs twice."""
    for decision, ways in made.ways.items():
        for way in ways:
            over = {*way.back_to, *made.below(*way.back_to)} - made.below(decision) if way.back_to else ()
            for task in sorted(over):
                if task in made.options and made.options[task].effects == "once":
                    raise PlanError(
                        f"the way back from {made.names[decision]!r} to {made.names[way.back_to[0]]!r} would run "
                        f'{made.names[task]!r} again, which says effects="once": go back to a step after it'
                    )


def _with_undo(made: Plan, workflow: WorkflowDef, scope: "_Scope") -> Plan:
    """The same plan with a task at its end for each step that says how it is undone."""
    undo = [(task, step, step.undo) for task, step in enumerate(workflow.steps) if step.undo is not None]
    names = [f"undo {step.name}" for _, step, _ in undo]
    for name in names:
        if name in scope.at:
            raise PlanError(f"workflow {made.workflow!r} has a step {name!r}, which is what undoing another is called")
    options = {
        len(made.names) + i: StepOptions(
            retries=step.options.compensate_retries,
            backoff=UNDO_BACKOFF,
            timeout=step.options.compensate_timeout,
            queue_timeout=step.options.queue_timeout,
        )
        for i, (_, step, _) in enumerate(undo)
    }
    given = made.inputs_of
    inputs_of = {len(made.names) + i: given[task] for i, (task, _, _) in enumerate(undo) if task in given}
    return msgspec.structs.replace(
        made,
        names=(*made.names, *names),
        needs=(*made.needs, *[()] * len(undo)),
        place=(*made.place, *[made.place[task] for task, _, _ in undo]),
        functions=(*made.functions, *[how.function for _, _, how in undo]),
        calls=(*made.calls, *[_undo_call(made, task, how.parameters, scope) for task, _, how in undo]),
        asynchronous=(*made.asynchronous, *[how.is_async for _, _, how in undo]),
        options={**made.options, **options},
        inputs_of={**given, **inputs_of},
        undo=tuple(task for task, _, _ in undo),
        careful=made.careful | set(options),
    )


def _undo_call(made: Plan, task: int, parameters: tuple[Parameter, ...], scope: "_Scope") -> Call:
    """Everything by name: what the step gave, what the run was given, and results of steps before it."""
    step = scope.workflow.steps[task]
    mine = {"context", "inputs", "result", "outcome", step.name.rpartition("/")[2]}
    before = made.above(task) if any(p.name not in mine for p in parameters) else frozenset[int]()
    keywords: list[tuple[str, int]] = []
    for p in parameters:
        if p.kind == "context":
            keywords.append((p.name, CONTEXT))
        elif p.kind == "inputs":
            keywords.append((p.name, scope.inputs_of.get(task, INPUTS)))
        elif p.name in ("result", step.name.rpartition("/")[2]):
            keywords.append((p.name, task))
        elif p.name == "outcome":
            keywords.append((p.name, OUTCOME))
        elif (found := scope.find(p.name, step)) in before and found is not None:
            keywords.append((p.name, found))
        elif not p.optional:
            known = [*(made.names[n].rpartition("/")[2] for n in before), *mine]
            raise PlanError(
                f"what undoes step {step.name!r} needs {p.name!r}: it takes context, inputs, result, outcome, and "
                f"results of steps before that step.{nearest(p.name, known)}"
            )
    return Call((), tuple(keywords), frozenset(p.name for p in parameters if p.optional))


def _places(workflow: WorkflowDef, wishes: Wishes, places: Places) -> tuple[tuple[Placement, ...], tuple[int, ...]]:
    """The distinct placements, and for each step which of them."""
    decisions = {route.decision for route in workflow.routes}
    distinct: dict[tuple[tuple[str, str, str], bool], tuple[int, Placement]] = {}
    place_of = []
    for i, step in enumerate(workflow.steps):
        if i in decisions:
            key = HERE, True
        else:
            key = wish(step.name, step.executor, wishes, step.scope, step.nested_wish), step.is_async
        found = distinct.get(key)
        if found is None:
            found = distinct[key] = len(distinct), place(step.name, key[0], places, is_async=step.is_async)
        place_of.append(found[0])
    return tuple([p for _, p in distinct.values()]), tuple(place_of)


def _inputs_of(workflow: WorkflowDef, groups: Mapping[str, GroupDef], at: Mapping[str, int]) -> dict[int, int]:
    """Which tasks get another one's result as their inputs; the innermost nested workflow that says so counts."""
    found: dict[int, int] = {}
    for group in groups.values():  # outer before inner
        if group.inputs:
            parent = group.name.rpartition("/")[0]
            source = _lookup(group.inputs, parent, at)
            if source is None or group.first <= source < group.stop:
                raise PlanError(
                    f"nested workflow {group.name!r} takes its inputs from {group.inputs!r}, which is not a step of "
                    f"{workflow.name!r}.{nearest(group.inputs, at)}"
                )
            found.update(dict.fromkeys(range(group.first, group.stop), source))
    return found


def _comes_back(workflow: WorkflowDef, name: str) -> bool:
    """Whether the timeline puts a step somewhere after itself."""
    one, other = [i for i, step in enumerate(workflow.steps) if step.name == name][:2]
    todo, seen = [other], set[int]()
    while todo:
        for before in workflow.follows[todo.pop()]:
            if before == one:
                return True
            if before not in seen:
                seen.add(before)
                todo.append(before)
    return False


def _lookup(name: str, scope: str, at: Mapping[str, int]) -> int | None:
    """A step by its name, as a step of a nested workflow means it: its own workflow's first, then those around it."""
    while scope:
        if (found := at.get(f"{scope}/{name}")) is not None:
            return found
        scope = scope.rpartition("/")[0]
    return at.get(name)


def checked(inputs: Any) -> Any:
    """A run's inputs: a dict, or nothing.

    Raises:
        PlanError: Something else.
    """
    if inputs is None:
        return {}
    if not isinstance(inputs, Mapping):
        raise PlanError(f"inputs is a dict like {{'order': ...}}, not {type(inputs).__name__} {inputs!r:.40}")
    return inputs


def _numbers(workflow: WorkflowDef) -> dict[str, int]:
    at: dict[str, int] = {}
    for i, step in enumerate(workflow.steps):
        if step.name in at:
            raise PlanError(_duplicate(workflow, workflow.steps[at[step.name]], step))
        at[step.name] = i
    return at


def _duplicate(workflow: WorkflowDef, first: StepDef, second: StepDef) -> str:
    if first.function is second.function:
        how = "has a cycle: {0} comes back after itself" if _comes_back(workflow, first.name) else "has {0} twice"
        return f"workflow {workflow.name!r} {how.format(first.name)}. A step stands once in a timeline."
    return (
        f"workflow {workflow.name!r} has two steps called {first.name!r}: {first.defined_at} and {second.defined_at}. "
        "Give one another name, @step(name='...')."
    )


class _Scope:
    """What names mean in a workflow."""

    __slots__ = ("at", "inputs", "inputs_of", "routed", "workflow")

    def __init__(self, workflow: WorkflowDef, at: dict[str, int], inputs_of: Mapping[int, int], inputs: Any) -> None:
        self.workflow, self.at, self.inputs_of, self.inputs = workflow, at, inputs_of, inputs
        self.routed = bool(workflow.routes)

    def find(self, name: str, step: StepDef) -> int | None:
        return _lookup(name, step.scope, self.at) if step.scope else self.at.get(name)


def _call(step: StepDef, task: int, scope: _Scope) -> Call:
    positional: list[int] = []
    keywords: list[tuple[str, int]] = []
    optional: list[str] = []
    by_name = False
    for p in step.parameters:
        if p.kind == "context":
            source = CONTEXT
        elif p.kind == "inputs":
            source = scope.inputs_of.get(task, INPUTS) if scope.inputs_of else INPUTS
        elif (found := scope.find(p.name, step)) is not None:
            source = found
            if p.optional and scope.routed:  # a route may pass it by
                optional.append(p.name)
                by_name = True
        elif p.optional:
            by_name = True  # it keeps its default, so what follows goes by name
            continue
        else:
            raise PlanError(_unknown(step, p.name, scope))
        if p.keyword or by_name:
            keywords.append((p.name, source))
        else:
            positional.append(source)
    return Call(tuple(positional), tuple(keywords), frozenset(optional) if optional else NONE)


def _unknown(step: StepDef, name: str, scope: _Scope) -> str:
    at, workflow = scope.at, scope.workflow
    others = [known for known in at if known != step.name]
    hint = nearest(name, others) or (" A step's first parameter is called context." if name in ("ctx", "self") else "")
    if isinstance(scope.inputs, Mapping) and name in scope.inputs:
        hint = f" The run's inputs have it: take inputs as a parameter and read inputs[{name!r}]."
    return (
        f"step {step.name!r} needs {name!r}, which is not a step in the timeline of {workflow.name!r}.{hint} "
        f"Steps there: {', '.join(list(at)[:12])}{', …' if len(at) > 12 else ''}."
    )


def _needs(task: int, call: Call, scope: _Scope) -> tuple[int, ...]:
    step, follows = scope.workflow.steps[task], scope.workflow.follows[task]
    data = [n for n in call.positional if n >= 0]
    if not call.keywords and not step.depends_on and not data and not scope.inputs_of:
        return follows if len(follows) < 2 else tuple(sorted(set(follows)))
    found = {*follows, *data}
    found.update(n for _, n in call.keywords if n >= 0)
    if task in scope.inputs_of:  # also what only looks at `context.inputs`
        found.add(scope.inputs_of[task])
    for name in step.depends_on:
        if (need := scope.find(name, step)) is not None:
            found.add(need)
        elif not any(p.name == name and p.optional for p in step.parameters):
            raise PlanError(_unknown(step, name, scope))
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
    at = dict(made.results())
    if until not in at:
        raise PlanError(f"workflow {made.workflow!r} has no step {until!r} to stop at.{nearest(until, at)}")
    last = at[until]
    keep = {last, *made.above(last)}
    return msgspec.structs.replace(made, answer=last, left_out=frozenset(set(range(made.steps)) - keep))
