"""What a re-run means for each step, in words and in seconds. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cerebelum_nb.model import view
from cerebelum_nb.model.plan import Plan


def reasons(plan: Plan, runs: Iterable[int], chosen: Collection[int], known: Mapping[int, str]) -> dict[str, str]:
    """Why each of some tasks runs, by step name.

    Args:
        runs: The tasks that run, those above before those below.
        chosen: What a person asked for.
        known: What is to be said of a task itself; of the others it is said which task makes them run.
    """
    running, found = set(runs), dict[str, str]()
    for task in sorted(running):
        above = next((plan.names[need] for need in plan.needs[task] if need in running), "")
        said = "chosen" if task in chosen else known.get(task, f"needs {above}" if above else "has no result yet")
        found[plan.names[task]] = said
    return found


def measured_s(run: Any, names: Iterable[str]) -> tuple[float | None, int]:
    """Seconds that some steps took when they last ran, together, and how many of them nobody has timed.

    Args:
        run: Looked at first, then the runs that it reuses.

    Returns:
        None for the seconds where nothing is known.
    """
    total, untimed, any_known = 0.0, 0, False
    for name in names:
        took = _took_s(run, name)
        any_known |= took is not None
        total += took or 0.0
        untimed += took is None
    return (total if any_known else None), untimed


def _took_s(run: Any, name: str) -> float | None:
    while run is not None:
        if name in run.plan.names:
            task = run.plan.number_of(name)
            seconds = view.duration_s(run.state, task)
            if seconds:
                return seconds
        run = run.parent
    return None
