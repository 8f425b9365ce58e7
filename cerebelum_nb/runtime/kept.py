"""Which results of an earlier run a new one keeps: only what nothing has touched since. Pure."""

import hashlib
import inspect
import re
from collections.abc import Callable, Collection, Sequence
from types import CodeType
from typing import Any, Literal, get_args

import msgspec

from cerebelum_nb.errors import InternalError, PlanError
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import SUCCEEDED, RunState
from cerebelum_nb.model.typed import listed, nearest

Changed = Literal["ask", "run", "keep"]
Steps = str | Sequence[str]  # one by its name, or several


class Kept(msgspec.Struct, frozen=True):
    """What a re-run does, by task number of the new plan."""

    runs: tuple[int, ...]
    reuses: tuple[int, ...]
    edited: tuple[str, ...]  # steps that run because their code changed
    names: tuple[str, ...]
    refused: str = ""  # why that is not done unless somebody insists


def kept(  # noqa: PLR0913  the two runs, and what a person may say of them
    made: Plan,
    before: Plan,
    state: RunState,
    again: Steps | None,
    lost: Collection[int] = frozenset(),
    *,
    keep_edited: bool = False,
    stated: Collection[str] = (),
) -> Kept:
    """Take over what succeeded, but for `again`, for what was edited since, and for all that depends on these.

    Args:
        made: The new plan.
        before: The plan of the earlier run, and `state` how it ended.
        again: The step, or steps, to run again; None for no more than must run.
        lost: Tasks of the earlier run whose results are not there any more.
        keep_edited: Take results also of steps that were edited since.
        stated: Steps that do not run because a person has said what they gave.

    Raises:
        PlanError: The workflow has no step `again`.
    """
    gone = {*lost, *state.undone}  # what has been undone must run again
    old = {
        name: t for t, name in enumerate(before.names[: before.steps]) if state.phase[t] == SUCCEEDED and t not in gone
    }
    names = made.names[: made.steps]
    edited = [
        t
        for t, name in enumerate(names)
        if not keep_edited and name in old and is_edited(made.functions[t], before.functions[old[name]])
    ]
    # What a route passed by is decided by its decision: again if that runs, and stays passed by if not.
    passed = {before.names[t] for t in state.passed}
    runs = {t for t, name in enumerate(names) if name not in old and name not in passed} | set(edited)
    for step in listed_steps(again):
        if step not in made.names:
            near = nearest(step, made.names)
            raise PlanError(f"workflow {made.workflow!r} has no step {step!r} to run from.{near}")
        runs.add(made.number_of(step))
    for task in list(runs):
        runs |= made.below(task)
    runs -= made.left_out | {t for t, name in enumerate(names) if name in stated}
    return Kept(
        runs=tuple(sorted(runs)),
        reuses=tuple(t for t, name in enumerate(names) if t not in runs and t not in made.left_out and name in old),
        edited=tuple(made.names[t] for t in edited if t in runs),
        names=made.names,
    )


def listed_steps(steps: Steps | None) -> tuple[str, ...]:
    """The steps of one name, of several, or of None."""
    return () if steps is None else (steps,) if isinstance(steps, str) else tuple(dict.fromkeys(steps))


def is_edited(new: Callable[..., Any], old: Callable[..., Any]) -> bool:
    """Whether two definitions of a step differ; comments, empty lines and its place in the cell do not count."""
    if new is old:
        return False
    if isinstance(old, PastCode):
        return bool(old.digest) and code_digest(new) != old.digest
    text, before = _code(new), _code(old)
    if text is None or before is None:
        return True
    return not same_inputs(text, before)


def _code(function: Callable[..., Any]) -> tuple[Any, ...] | None:
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    return None if code is None else (bare(code), plain.__defaults__, plain.__kwdefaults__)


def check_changed(found: Kept, gone: Sequence[str], changed: Changed) -> None:
    """Refuse to go on from a run when something of it has changed and nobody said what becomes of that.

    Args:
        found: What would run and be reused.
        gone: Steps that succeeded and whose results are not there any more.

    Raises:
        PlanError: Names what changed, and what to say.
    """
    if changed not in get_args(Changed):
        raise PlanError(f"changed={changed!r:.40}: it is 'ask', 'run' or 'keep'")
    if changed != "ask" or not (found.edited or gone):
        return
    said = [f"edited since that run: {listed(found.edited)}"] if found.edited else []
    said += [f"without a result by now: {listed(gone)}"] if gone else []
    keep = " changed='keep' takes the results of edited ones as they are." if found.edited else ""
    raise PlanError(f"{'; '.join(said)}. changed='run' runs them again, and what depends on them.{keep}")


def as_options(text: str) -> str:
    """What `check_changed` says, as it is typed on a line: ``--changed run``."""
    text = text.replace("changed='run'", "--changed run").replace("changed='keep'", "--changed keep")
    return re.sub(r"force=\['([^']*)'\]", r"--force \1", text).replace("force=True", "--force")


class PastCode(msgspec.Struct, frozen=True):
    """Stands for a function of which only this is known: a run of an earlier session."""

    digest: bytes  # empty where nothing is known

    def __call__(self, *_args: Any) -> None:
        """Nobody calls it: the run has ended."""
        raise InternalError("a function of an earlier session was called")


def code_digest(function: Callable[..., Any]) -> bytes:
    """What a function does, as 16 bytes that are the same in every process; empty for what has no code.

    Defaults count where they are plain values: others have no text that stays.
    """
    if isinstance(function, PastCode):
        return function.digest
    known = _code(function)
    if known is None:
        return b""
    code, defaults, named = known
    given = [d for d in (*(defaults or ()), *sorted((named or {}).items())) if _is_plain(d)]
    return hashlib.blake2b(repr((code, given)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in {bool, int, float, complex, str, bytes}


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
