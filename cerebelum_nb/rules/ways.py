"""What follows from a decision: who is passed by, and whether it may go back once more. Pure."""

from collections.abc import Iterable

from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import READY, WAITING, RunState
from cerebelum_nb.model.workflow import Way


def passed_by(plan: Plan, state: RunState, decision: int, way: Way) -> list[tuple[int, str]]:
    """Tasks that the choice of a way skips, with the reason, in timeline order.

    These are the steps of the other ways, what cannot run without their results, and what a decision among them
    would have chosen from. All else goes on as if they had ended.
    """
    others = {task for other in plan.ways[decision] for task in other.steps}.difference(way.steps)
    reasons = dict.fromkeys(others, f"{plan.names[decision]} took {way.label}")
    todo = list(others)
    while todo:
        task = todo.pop()
        for lost in _lost_without(plan, state, task):
            if lost not in reasons:
                reasons[lost] = f"{plan.names[task]}, which it needs, was not taken"
                todo.append(lost)
    return [(task, reasons[task]) for task in sorted(reasons) if state.phase[task] in (WAITING, READY)]


def _lost_without(plan: Plan, state: RunState, task: int) -> Iterable[int]:
    yield from (child for child in state.children[task] if plan.reads(child, task))
    yield from (step for way in plan.ways.get(task, ()) for step in way.steps)


def too_often(plan: Plan, state: RunState, decision: int, way: Way) -> ErrorInfo | None:
    """Why a decision may not go back again; None where it may, or where the way leads on."""
    if not way.back_to or state.loops.get(decision, 0) < way.limit:
        return None
    often = "once" if way.limit == 1 else f"{way.limit} times"
    target = plan.names[way.back_to[0]]
    return ErrorInfo(
        "LoopLimit", f"it went back to {target!r} {often}, which is the limit of back_to(..., limit={way.limit})"
    )
