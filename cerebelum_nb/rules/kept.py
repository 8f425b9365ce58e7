"""Which results of an earlier run a new one keeps: only what nothing has touched since. Pure."""

import re
from collections.abc import Collection, Sequence
from typing import Final, Literal, get_args

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.identity.code import is_edited
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


def check_range(made: Plan, first: Steps | None, last: str | None) -> None:
    """See that what runs again comes before where it is to end.

    Raises:
        PlanError: It does not, so that nothing would run.
    """
    known = dict(made.results())
    for name in listed_steps(first) if last is not None else ():
        if known.get(name) in made.left_out:
            raise PlanError(
                f"step {name!r} does not come before {last!r}, so up to there nothing would run again. Name a step "
                f"before {last!r}, or leave one of the two out."
            )


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
    text = re.sub(r'runs\[(\d+)\]\.resume\(force=\["([^"]*)"\]\)', r"%cerebelum resume \1 --force \2", text)
    return _RERUN.sub(_rerun_line, text).replace("force=True", "--force")


def _rerun_line(found: re.Match[str]) -> str:
    number, step, executor = found.groups()
    placed = ["--executor", executor] if executor else []
    return " ".join(["%cerebelum rerun", number, *([step] if step else []), *placed, "--force"])


_RERUN: Final = re.compile(r'runs\[(\d+)\]\.rerun\((?:"([^"]+)", )?(?:executor="([^"]+)", )?force=True\)')


def as_arguments(steps: Steps | None) -> str:
    """Steps as the first argument of a call, with what parts it from the next."""
    names = [f'"{name}"' for name in listed_steps(steps)]
    return "" if not names else f"{names[0]}, " if len(names) == 1 else f"[{', '.join(names)}], "
