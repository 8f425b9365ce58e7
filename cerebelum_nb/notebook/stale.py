"""What has changed since the runs of this notebook: steps, what they close over, classes of their results."""

import contextlib
import sys
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Final

from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.typed import listed
from cerebelum_nb.runtime.onward import asked_first

LOOK_S: Final = 0.02  # what a look at a run's steps may take; what is not seen then stays unknown
Digests = dict[str, str]


class Seen:
    """Remembers what steps closed over when they last ran: of each workflow the latest run, of each step the last time.

    A run is looked at when it begins; the first one of a session, where nobody listens yet, when its cell has ended.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self._last = 0
        self._runs: dict[str, tuple[str, dict[str, Digests]]] = {}  # workflow -> run id, step -> digests
        self._steps: dict[str, tuple[int, Digests]] = {}  # step -> run number, digests

    def look(self, *_: Any) -> None:
        """Note the runs that nobody has told us of. Called after each cell."""
        module = sys.modules.get("cerebelum_nb.session")
        session = module.existing() if module is not None else None
        if session is None:
            return
        if session is not self._session:
            self._session, self._last = session, 0
            session.on_run.append(self.note)
        for run in [run for run in session.runs if run.number > self._last]:
            self.note(run)

    def note(self, run: Any) -> None:
        """Look at a run's steps."""
        from cerebelum_nb.identity.code import PastCode  # noqa: PLC0415  keeps %load_ext quick
        from cerebelum_nb.identity.seen import digests  # noqa: PLC0415

        if run.number <= self._last:
            return
        self._last = max(self._last, run.number)
        if any(isinstance(function, PastCode) for function in run.plan.functions[:1]):
            return  # a run of an earlier session: nobody knows what its steps closed over
        parent = self._runs.get(run.workflow)
        inherited = parent[1] if parent is not None and run.parent is not None and parent[0] == run.parent.id else {}
        until, found, reused = perf_counter() + LOOK_S, {}, set(run.state.reused)
        for task, name in enumerate(run.plan.names[: run.plan.steps]):
            if task in run.plan.ways:
                continue  # a decision is none of the person's functions
            if task in reused:
                if name in inherited:
                    found[name] = inherited[name]
            elif perf_counter() < until:
                with contextlib.suppress(Exception):  # a look must never cost a run
                    found[name] = digests(run.plan.functions[task])
                    self._steps[name] = run.number, found[name]
        self._runs[run.workflow] = run.id, found

    def of_step(self, name: str) -> tuple[int, Digests] | None:
        """The number of the run in which a step last ran, and what it closed over then."""
        return self._steps.get(name)

    def of_run(self, run: Any) -> Mapping[str, Digests]:
        """What a run's steps closed over, as far as it is known."""
        known = self._runs.get(run.workflow)
        return known[1] if known is not None and known[0] == run.id else {}


def report(session: Any, seen: Seen, registry: Any, names: Mapping[str, Any]) -> list[str]:
    """Of each workflow its latest run: what has changed since, and what a re-run would run and reuse."""
    latest = {run.workflow: run for run in session.runs if run.workflow in registry.workflows}
    return [line for run in latest.values() for line in _about(run, session, seen, registry, names)]


def _about(run: Any, session: Any, seen: Seen, registry: Any, names: Mapping[str, Any]) -> list[str]:
    called = f"{run.workflow}, run {run.number}"
    try:
        found = session.would_rerun(run, None, None)
        newest = run.definition.define()
        now = registry.workflows.get(run.workflow, run.definition).define()
    except CerebelumError as exc:
        return [f"{called} ({run.status}): cannot run as it is now: {str(exc).splitlines()[0]}"]
    functions = {step.name: step.function for step in newest.steps}
    again = [found.names[task] for task in found.runs]
    moved = _changed_captures(run, seen, functions, set(found.edited))
    why = [f"{name} (edited)" for name in found.edited] + [f"{name} ({what})" for name, what in moved.items()]
    retimed = (now.follows, [step.name for step in now.steps]) != (newest.follows, list(functions))
    if not run.done:
        edited = _edited_meanwhile(run, functions)
        return [f"{called}: edited since it began, and it keeps the old code: {listed(edited)}"] if edited else []
    lines = [f"{called} ({run.status}): " + (f"changed since: {listed(why)}" if why else "nothing has changed since")]
    if again and found.refused:
        lines.append(f"    {asked_first(run) or found.refused}")
    elif again:
        reuses = [found.names[task] for task in found.reuses]
        tail = f" and reuses {listed(reuses)}" if reuses else ""
        lines.append(f"    runs[{run.number}].rerun() runs {listed(again)}{tail}")
    also = [name for name in moved if name not in again]
    if also:
        lines.append(f'    runs[{run.number}].rerun("{also[0]}") runs {also[0]} and what depends on it again')
    if retimed:
        lines.append(f"    its timeline is another one now: %cerebelum_run {run.workflow} runs that")
    return lines + [f"    {line}" for line in old_classes(run, names)]


def _changed_captures(run: Any, seen: Seen, functions: Mapping[str, Any], edited: set[str]) -> dict[str, str]:
    from cerebelum_nb.identity.seen import changed, digests  # noqa: PLC0415  keeps %load_ext quick

    found: dict[str, str] = {}
    for name, before in seen.of_run(run).items():
        if name in functions and name not in edited:
            labels = changed(before, digests(functions[name]))
            if labels:
                found[name] = labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"
    return found


def _edited_meanwhile(run: Any, functions: Mapping[str, Any]) -> list[str]:
    from cerebelum_nb.identity.code import is_edited  # noqa: PLC0415  keeps %load_ext quick

    began = dict(zip(run.plan.names, run.plan.functions, strict=True))
    return [name for name, function in functions.items() if name in began and is_edited(function, began[name])]


def old_classes(run: Any, names: Mapping[str, Any]) -> list[str]:
    """Results that hold objects of a notebook's class as it was before it was defined again: no longer instances."""
    lines = []
    for step, value in zip(run.plan.names, list(run.scheduler.values), strict=False):
        for kind in _classes_in(value):
            now = names.get(kind.__name__)
            if kind.__module__ == "__main__" and isinstance(now, type) and now is not kind:
                lines.append(
                    f"the result of {step!r} holds {kind.__name__} as it was before that class was defined again: "
                    f'isinstance() is False for it; runs[{run.number}].rerun("{step}") makes it anew'
                )
                break
    return lines


def _classes_in(value: Any) -> list[type]:
    inside = list(value)[:3] if isinstance(value, list | tuple) else []
    inside = list(value.values())[:3] if isinstance(value, dict) else inside
    return [type(value), *map(type, inside)]
