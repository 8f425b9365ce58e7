"""What a widget's panel asks and gets, beside what moves or ends a run: looks, choices, files, choices that stay.

Each answer is a plain dict for one message. Nothing in here is a trait: what holds a person's data is not saved.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from IPython.core.getipython import get_ipython

from cerebelum_nb.errors import CerebelumError, PlanError
from cerebelum_nb.notebook import keeping, page, peek
from cerebelum_nb.rules.kept import listed_steps
from cerebelum_nb.runtime.onward import replay_line
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.session import current

CellName = Callable[[str], str]
FILES: Final = ("svg", "trace", "html")


def look(run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    """One tab of a step's panel.

    Raises:
        CerebelumError: There is nothing to look at.
    """
    step, tab = str(content.get("step", "")), str(content.get("tab", ""))
    run.details(step)  # refuses a step that the run has not
    found: dict[str, Any] = {"step": step, "tab": tab}
    if tab == "result":
        return {**found, **peek.values(run, step)}
    if tab == "value":
        of = str(content.get("of", ""))
        return {**found, "of": of, "text": peek.preview(run, step, of)}
    if tab == "carried":
        return {**found, **peek.carried(run, step)}
    if tab == "shown":
        of = str(content.get("of", ""))
        return {**found, "of": of, "bundle": peek.shown(run, step, of)}
    if tab == "events":
        return {**found, "lines": peek.events(run, step)}
    raise PlanError(f"this kernel does not know the tab {tab!r}")


def choices(run: Run, content: Mapping[str, Any], executors: Sequence[str]) -> dict[str, Any]:
    """Which executors would be refused for a step, and why."""
    steps, refused = steps_of(content), dict[str, str]()
    for executor in executors:
        try:
            found = run.preview(steps, executor)
        except CerebelumError as exc:
            refused[executor] = str(exc)
            continue
        why = getattr(found, "refused", "")
        if why:
            refused[executor] = str(why)
    return {"step": str(content.get("step", "")), "refused": refused}


def replay(run: Run, content: Mapping[str, Any]) -> dict[str, str]:
    """The line that replays a step in a cell, where what it raises and the debugger belong; no click can write there.

    Raises:
        PlanError: It cannot be replayed.
    """
    step = str(content.get("step", ""))
    run.check_replay(step)
    shell: Any = get_ipython()
    if shell is None or shell.find_line_magic("cerebelum") is None:
        code, then = f"runs[{run.number}].replay({step!r})", ""
    else:
        code, then = replay_line(run.number, step), ", and %debug shows where"
    return {"step": step, "code": code, "text": f"Run this line in a cell: it raises there what {step} raises{then}."}


def file(run: Run, content: Mapping[str, Any]) -> dict[str, str]:
    """A run as a file, for the browser to save.

    Raises:
        PlanError: Another kind of file.
    """
    kind = str(content.get("what", ""))
    if kind not in FILES:
        raise PlanError(f"a run is not saved as {kind!r}; there are {', '.join(FILES)}")
    return page.file_of(kind, run.header(), run.rows())


def keep(run: Run, content: Mapping[str, Any], cell_name: CellName) -> dict[str, Any]:
    """How a choice of executor can be kept; the configuration is written once it is confirmed.

    Raises:
        PlanError: No such step, or the file cannot be changed.
    """
    steps, executor = listed_steps(steps_of(content)), str(content.get("executor") or "")
    for step in steps:
        run.preview(step, executor)  # refuses what is no step, and no executor
    if content.get("where") == "cell":
        return {"lines": [msgspec.to_builtins(_line(run, step, executor, cell_name)) for step in steps], "text": ""}
    environment = os.environ.get("CEREBELUM_ENV", "")
    strategy = dict.fromkeys(steps, executor)
    path, table = keeping.nearest_file(Path.cwd()), keeping.table_name(environment)
    text = "\n".join([f"[{table}]", *keeping.lines_for(strategy)])
    if path is None:
        told = "There is no pyproject.toml here or above: make one with these lines."
        return {"path": "", "code": text, "text": told, "done": False}
    if not content.get("confirmed"):
        keeping.with_strategy(path.read_bytes().decode("utf-8"), strategy, environment)  # it could be done
        return {"path": str(path), "code": text, "text": "", "done": False}
    keeping.write(path, strategy, environment)
    session = current()
    session.settings = msgspec.structs.replace(session.settings, strategy={**session.settings.strategy, **strategy})
    return {"path": str(path), "code": text, "text": "Written. From the next run on it counts.", "done": True}


def steps_of(content: Mapping[str, Any]) -> str | list[str]:
    """The step, or steps, that a message is about."""
    many = content.get("steps")
    return [str(step) for step in many] if isinstance(many, list) and many else str(content.get("step", ""))


def _line(run: Run, step: str, executor: str, cell_name: CellName) -> keeping.Line:
    try:
        function = run.definition.define()
        newest = next((s.function for s in function.steps if s.name == step), None)
    except CerebelumError:
        newest = None
    return keeping.line_in_cell(newest or run.plan.functions[run.plan.number_of(step)], executor, cell_name)
