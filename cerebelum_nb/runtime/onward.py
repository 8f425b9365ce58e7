"""How to go on from a run that did not succeed, as a person says it in Python."""

import re
from typing import Any, Final

from cerebelum_nb.model.state import FAILED
from cerebelum_nb.rules.once import how_to_go_on, in_the_way

_OF_THE_PLACE: Final = frozenset(  # what is not the step's own fault
    {"CoreLost", "ExecutorClosed", "ExecutorError", "NoRoom", "NoWorker", "WorkersDoNotStart"}
)
_PLAIN: Final = r"[\w/.-]+"  # a name that stands on a magic's line as it is
_REPLAY: Final = re.compile(
    rf"runs\[\d+\]\.replay\('(?P<step>{_PLAIN})'(?:, executor='(?P<executor>{_PLAIN})')?"
    r"(?P<force>, force=True)?\)"
)


def asked_first(run: Any) -> str:
    """What there is to look at before a run is gone on from, and what to say then; empty for nothing.

    That is a step which never runs twice, and of which nobody knows what it did.
    """
    name = run.scheduler.read(lambda state: in_the_way(run.plan, state, run.ran_before))
    return f"look whether {name!r} had its effect: {how_to_go_on(name, f'runs[{run.number}]')}" if name else ""


def onward(run: Any) -> str:
    """How to go on from a run that has ended badly, in one line without its end."""
    called = f"runs[{run.number}]"
    if run.status == "compensation_failed":
        return f"{called}.compensate() tries again"
    if first := asked_first(run):
        return first
    state = run.state
    kinds = {error.type for task, error in state.errors.items() if state.phase[task] == FAILED}
    if kinds == {"NoWorker"}:
        return f"with a worker there, {called}.rerun() goes on"
    mended = "" if kinds and kinds <= _OF_THE_PLACE else "with the step mended, "
    return f"{mended}{called}.rerun() {'goes on' if mended else 'tries again'}"


def replays(run: Any, step: str) -> bool:
    """Whether a failure on a worker is one to look at by a replay here."""
    if step not in run.plan.names:
        return False
    task = run.plan.number_of(step)
    (row,) = run.rows([task])
    asked = run.plan.options.get(task)
    changes = task in run.plan.undo or (asked is not None and asked.effects == "once")
    last = row.segments[-1] if row.segments else None
    began = last is not None and last.start is not None and last.outcome == "error"
    return bool(began and row.remote and row.kind == "step" and row.status == "failed" and not changes)


def replay_line(number: int, step: str) -> str:
    """What to write into a cell: the magic, or Python where a name does not stand on a magic's line."""
    plain = re.fullmatch(_PLAIN, step) is not None
    return f"%cerebelum replay {number} {step}" if plain else f"runs[{number}].replay({step!r})"


def as_typed(text: str, before: str) -> str:
    """A refusal's line of Python as a line that is typed.

    Args:
        before: What stands before the step's name: ``%cerebelum replay 3``.
    """

    def line(found: re.Match[str]) -> str:
        executor = f" --executor {found['executor']}" if found["executor"] else ""
        force = " --force" if found["force"] else ""
        return f"`{before} {found['step']}{executor}{force}`"

    return _REPLAY.sub(line, text)
