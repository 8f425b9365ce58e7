"""What a chart asks to show an earlier run behind this one: which there are, and how one of them went.

Names, states and times only; it goes by message to whoever asks, and is not saved.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.compare import comparable_s, compare, took
from cerebelum_nb.model.lines import duration
from cerebelum_nb.model.view import Row
from cerebelum_nb.runtime.compared import told
from cerebelum_nb.runtime.run import Run

OTHERS_LIMIT: Final = 50


def others(run: Run) -> dict[str, Any]:
    """The runs that this one may be compared with, newest first, each with its name and a word about it."""
    found = run.earlier()[:OTHERS_LIMIT]
    runs = [{"run": other.id, "name": f"run {other.number}", "told": _told(other)} for other in found]
    return {"of": run.id, "runs": runs, "parent": run.parent.id if run.parent is not None else ""}


def beside(run: Run, content: Mapping[str, Any], most: int) -> dict[str, Any]:
    """How another run went.

    Args:
        content: Names it under "with".
        most: Rows that are shown at all.

    Raises:
        PlanError: It is no run that this one can be compared with.
    """
    wanted = str(content.get("with", ""))
    other = next((other for other in run.earlier() if other.id == wanted), None)
    if other is None:
        raise PlanError(f"run {run.number} cannot be compared with {wanted!r}: this session does not know it any more")
    mine, theirs = told(run), told(other)
    made = compare(mine, theirs)
    return {
        "of": run.id,
        "run": other.id,
        "name": theirs.name,
        "status": theirs.header.status,
        "seconds": theirs.header.now,
        "difference": made.difference_s,
        "note": made.caution,
        "rows": [_row(row) for row in theirs.rows[:most]],
    }


def _told(run: Run) -> str:
    state = run.state  # a header of each of them would be a lot to make
    time = duration(max(0.0, state.ended_at - state.started_at) * 1e3, " ")
    return time if run.status == "succeeded" else f"{time}, {run.status.replace('_', ' ')}"


def _row(row: Row) -> dict[str, Any]:
    return {
        "step": row.step,
        "status": row.status,
        "where": row.where,
        "remote": row.remote,
        "kind": row.kind,
        "group": row.group,
        "note": row.note,
        "seconds": comparable_s(took(row)),
        "segments": msgspec.to_builtins(row.segments),
    }
