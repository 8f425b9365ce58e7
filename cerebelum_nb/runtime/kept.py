"""Which results of an earlier run a new one keeps: only what nothing has touched since. Pure."""

import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import SUCCEEDED, RunState
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.model.workflow import Way


class Kept(msgspec.Struct, frozen=True):
    """What a re-run does, by task number of the new plan."""

    runs: tuple[int, ...]
    reuses: tuple[int, ...]
    edited: tuple[str, ...]  # steps that run because their code changed
    names: tuple[str, ...]


def kept(made: Plan, before: Plan, state: RunState, again: str | None) -> Kept:
    """Take over what succeeded, but for `again`, for what was edited since, and for all that depends on these.

    Args:
        made: The new plan.
        before: The plan of the earlier run, and `state` how it ended.
        again: The step to run again; None for no more than must run.

    Raises:
        PlanError: The workflow has no step `again`.
    """
    old = {name: t for t, name in enumerate(before.names) if state.phase[t] == SUCCEEDED}
    edited = [
        t
        for t, name in enumerate(made.names)
        if name in old and is_edited(made.functions[t], before.functions[old[name]])
    ]
    edited += [t for t, ways in made.ways.items() if made.names[t] in old and _differ(ways, before, old[made.names[t]])]
    # What a route passed by is decided by its decision: again if that runs, and stays passed by if not.
    passed = {before.names[t] for t in state.passed}
    runs = {t for t, name in enumerate(made.names) if name not in old and name not in passed} | set(edited)
    if again is not None:
        if again not in made.names:
            near = nearest(again, made.names)
            raise PlanError(f"workflow {made.workflow!r} has no step {again!r} to run from.{near}")
        runs.add(made.number_of(again))
    for task in list(runs):
        runs |= made.below(task)
    runs -= made.left_out
    return Kept(
        runs=tuple(sorted(runs)),
        reuses=tuple(
            t for t, name in enumerate(made.names) if t not in runs and t not in made.left_out and name in old
        ),
        edited=tuple(made.names[t] for t in edited if t in runs),
        names=made.names,
    )


def _differ(ways: tuple[Way, ...], before: Plan, task: int) -> bool:
    return [way.label for way in ways] != [way.label for way in before.ways.get(task, ())]


def is_edited(new: Callable[..., Any], old: Callable[..., Any]) -> bool:
    """Whether two definitions of a step differ; comments, empty lines and its place in the cell do not count."""
    if new is old:
        return False
    text, before = _code(new), _code(old)
    if text is None or before is None:
        return True
    return not same_inputs(text, before)


def _code(function: Callable[..., Any]) -> tuple[Any, ...] | None:
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    return None if code is None else (bare(code), plain.__defaults__, plain.__kwdefaults__)


def bare(code: CodeType) -> tuple[Any, ...]:
    """What a function's code does, without where it stands."""
    given = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_code, code.co_exceptiontable, given, names, tuple(map(_bare_constant, code.co_consts)))


def _bare_constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return bare(value)
    if isinstance(value, tuple):
        return tuple(map(_bare_constant, value))
    if isinstance(value, frozenset):
        return tuple(sorted(map(repr, value)))
    return type(value).__name__, repr(value)  # 1, 1.0, True and -0.0 are different constants


def same_inputs(one: Any, other: Any) -> bool:
    """Whether two values are surely equal; those that cannot be compared are not."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  arrays and tables give no single answer; a person's __eq__ may do anything
        return False
