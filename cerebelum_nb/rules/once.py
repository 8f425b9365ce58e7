"""Steps that never run twice: what is known of those that have begun, and why one is not run again. Pure."""

import datetime as dt
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import SUCCEEDED, RunState
from cerebelum_nb.model.typed import nearest

Force = bool | str | Sequence[str]  # the steps that run again all the same; True for all
Verb = Literal["rerun", "move", "resume"]
How = Literal["succeeded", "failed", "unknown"]
NEVER_BEGAN: Final = "stopped before its code began"  # as an attempt ends that was not let begin
_NOT_TAKEN: Final = frozenset({"timeout", "error"})  # how an attempt ends that nobody had begun; else it may have been


class Ran(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That a step has begun once."""

    at: float  # UTC seconds
    run: str
    how: How


def has_begun(state: RunState, task: int) -> Ran | None:
    """What a run knows of a task's attempts that may have had their effect; None for nothing, or where it is undone."""
    if task in state.undone:
        return None
    tried = [(p.started, p.waited, p.outcome) for p in state.past.get(task, ())]
    error = state.errors.get(task)
    never = error is not None and (error.message == NEVER_BEGAN or error.type == "WorkersDoNotStart")
    if (state.started[task] or state.submitted[task]) and not never:
        ended = state.outcome_of(task) if state.ended[task] else "lost"  # nobody knows yet
        tried.append((state.started[task], state.submitted[task], ended))
    for started, waited, outcome in reversed(tried):
        if started or outcome not in _NOT_TAKEN:
            how: How = "succeeded" if outcome == "ok" else "failed" if outcome == "error" else "unknown"
            return Ran(started or waited, state.run, how)
    return None


def ran_before(  # noqa: PLR0913  all that is known
    made: Plan,
    state: RunState,
    steps: int,
    earlier: Mapping[str, Ran],
    again: Iterable[str] = (),
    *,
    undone: Collection[int] = (),
) -> dict[str, Ran]:
    """Which steps of a new run that run once have begun in the one that it goes on from, or before that.

    Args:
        state: How that run stands, and `steps` how many steps it has.
        earlier: What is known of the runs before it.
        again: Further steps to keep in mind.
        undone: Tasks that another run has undone.
    """
    once = {made.names[t] for t, asked in made.options.items() if asked.effects == "once" and t < made.steps}
    found = {name: ran for name, ran in earlier.items() if name in once or name not in made.names[: made.steps]}
    for task, name in enumerate(state.names[:steps]):
        if task in state.undone or task in undone:
            found.pop(name, None)
        elif name in once or name in again:
            ran = has_begun(state, task)
            if ran is not None:
                found[name] = ran
    return found


def refusal(  # noqa: PLR0913, PLR0917  whom, what is known, and who asks
    plan: Plan, tasks: Iterable[int], known: Callable[[int], Ran | None], force: Force, verb: Verb, code: str = ""
) -> str:
    """Why tasks must not run again, in one line that names the first of them; empty where they may.

    Args:
        known: What there is to know of a task.
        code: What runs it again all the same; for ``resume`` how the earlier run is called, as in ``runs[3]``.
    """
    named = (force,) if isinstance(force, str) else force if not isinstance(force, bool) else ()
    for task in tasks if force is not True else ():
        name, asked = plan.names[task], plan.options.get(task)
        if asked is None or asked.effects != "once" or name in named or (ran := known(task)) is None:
            continue
        what = f'step {name!r} says effects="once" and {_told(ran)}'
        if verb == "resume":
            look = "look whether it did; " if ran.how != "succeeded" else ""
            return f"{what}: {look}{how_to_go_on(name, code or 'run')}"
        return f"{what}: {code or f'{verb} with force=True'} runs it again"
    return ""


def check_force(plan: Plan, force: object) -> None:
    """Refuse what does not say which steps run again.

    Raises:
        PlanError: It is no such value, or names a step that is not there.
    """
    if isinstance(force, bool):
        return
    names = (force,) if isinstance(force, str) else force if isinstance(force, list | tuple | set | frozenset) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise PlanError(f"force is True, or the names of steps that run again, like ['pay']; not {force!r:.60}")
    for name in names:
        if name not in plan.names[: plan.steps]:
            near = nearest(name, plan.names[: plan.steps])
            raise PlanError(f"force names {name!r}, which is not a step of workflow {plan.workflow!r}.{near}")


def how_to_go_on(name: str, run: str) -> str:
    """What a person may say of a step that has begun and never runs twice.

    Args:
        run: The run as it is called: ``runs[3]``.
    """
    quoted = json.dumps(name, ensure_ascii=False)
    return f"{run}.resume(force=[{quoted}]) runs it, {run}.resume(results={{{quoted}: ...}}) states its result"


def in_the_way(plan: Plan, state: RunState, earlier: Mapping[str, Ran]) -> str:
    """The first step without a result that has begun and never runs twice: a run is not simply gone on from then.

    Args:
        earlier: What is known of the runs before it.
    """
    for task, asked in sorted(plan.options.items()):
        if asked.effects != "once" or task >= plan.steps or task in plan.left_out or task in state.passed:
            continue
        name = plan.names[task]
        if state.phase[task] != SUCCEEDED and (has_begun(state, task) or name in earlier):
            return name
    return ""


def _told(ran: Ran) -> str:
    when = dt.datetime.fromtimestamp(ran.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    where = f"{when} in run {ran.run}"
    match ran.how:
        case "succeeded":
            return f"ran at {where}"
        case "failed":
            return f"failed at {where}, perhaps after it had its effect"
    return f"began at {where}, and nobody knows its end"


def check_results(made: Plan, state: RunState, steps: int, given: Mapping[str, object]) -> None:
    """Refuse results that a person states for steps that have one, or that are none.

    Raises:
        PlanError: Names the step.
    """
    for name in given:
        if name not in made.names[: made.steps] or made.number_of(name) in made.ways:
            raise PlanError(f"results names {name!r}, which is not a step of workflow {made.workflow!r}")
        there = state.names[:steps]
        task = there.index(name) if name in there else -1
        if task >= 0 and state.phase[task] == SUCCEEDED and task not in state.undone:
            raise PlanError(f"step {name!r} has a result already: leave it out of results, or rerun it")
