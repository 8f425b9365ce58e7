"""How to go on from a run that did not succeed, as a person says it in Python."""

from typing import Any

from cerebelum_nb.rules.once import how_to_go_on, in_the_way


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
    return asked_first(run) or f"with the step mended, {called}.rerun() goes on"
