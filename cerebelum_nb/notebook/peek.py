"""What a step's panel asks for one piece at a time: its values' sizes, a preview, what it carried, its events.

All of it is a person's own data: it goes by message to whoever asks, as bounded text, and is never saved.
"""

import contextlib
import reprlib
from collections.abc import Iterator
from typing import Any, Final

from cerebelum_nb.errors import CerebelumError, PlanError
from cerebelum_nb.identity.code import PastCode
from cerebelum_nb.identity.seen import closes_over, digest_of
from cerebelum_nb.model import events as ev
from cerebelum_nb.model.lines import duration
from cerebelum_nb.model.plan import CONTEXT, INPUTS, OUTCOME
from cerebelum_nb.model.state import SUCCEEDED
from cerebelum_nb.notebook.wording import told
from cerebelum_nb.rich import checked, for_message
from cerebelum_nb.runtime.run import Run

RESULT: Final = "result"
RUN_INPUTS: Final = "inputs"
_MOST_LINES, _MOST_CHARS, _MOST_EVENTS, _MOST_ITEMS = 60, 6000, 200, 200


def values(run: Run, step: str) -> dict[str, Any]:
    """What a step was given and what it gave: type, size and digest of each."""
    found = [_described(of, shown, lambda task=task: _value(run, task)) for of, shown, task in _given(run, step)]
    task = run.plan.number_of(step)
    made = run.state.phase[task] == SUCCEEDED
    result = _described(RESULT, step, lambda: _value(run, task)) if made else None
    return {"inputs": found, "result": result}


def preview(run: Run, step: str, of: str) -> str:
    """A value as bounded plain text.

    Args:
        of: ``result``, or what the step calls the input.

    Raises:
        PlanError: It has no such value, or not yet.
    """
    task = run.plan.number_of(step) if of == RESULT else None
    for name, _, source in _given(run, step):
        if name == of:
            task = source
    if task is None:
        raise PlanError(f"step {step!r} has no input {of!r}")
    if task >= 0 and run.state.phase[task] != SUCCEEDED:
        raise PlanError(f"{run.plan.names[task]} has no result yet")
    return _text(_value(run, task))


def carried(run: Run, step: str) -> dict[str, Any]:
    """What a step closes over, as it is now."""
    task = run.plan.number_of(step)
    function = run.plan.functions[task]
    if task in run.plan.ways or isinstance(function, PastCode):
        why = "a decision carries nothing" if task in run.plan.ways else "not known for a run of an earlier session"
        return {"items": [], "note": why}
    items = closes_over(function)
    told_of = [
        {"name": item.label, "type": _type(item.value), "size": size_of(item.value), "digest": item.digest}
        for item in items[:_MOST_ITEMS]
    ]
    more = f"and {len(items) - _MOST_ITEMS} more" if len(items) > _MOST_ITEMS else ""
    return {"items": told_of, "note": more or ("" if items else "it carries nothing but its own code")}


def events(run: Run, step: str) -> list[tuple[float, str]]:
    """A step's events, each as seconds since the start and a line."""
    task = run.plan.number_of(step)
    found = [e for e in run.events if getattr(e, "task", -1) == task or task in getattr(e, "again", ())]
    lines = [(max(0.0, e.at - run.state.started_at), line) for e in found for line in _line(e, task, run.plan.names)]
    return lines[-_MOST_EVENTS:]


def shown(run: Run, step: str, of: str) -> dict[str, str]:
    """What a step displayed, by mime type: text, and images as base64.

    Args:
        of: Attempt and number, as they stand in the step's output: ``1.2``.

    Raises:
        PlanError: It is not kept.
    """
    attempt, _, number = of.partition(".")
    found = {}
    if run.files is not None and attempt.isdecimal() and number.isdecimal():
        found = run.files.shown(run.plan.number_of(step), int(attempt), int(number))
    if not found:
        raise PlanError(f"what step {step!r} displayed is not kept any more")
    return for_message(checked(found))


def size_of(value: Any) -> str:
    """How big a value is, in its own measure; empty where it has none that is cheap."""
    with contextlib.suppress(Exception):  # a person's __len__ may do anything
        if isinstance(value, str):
            return f"{len(value):,} characters"
        if isinstance(value, bytes | bytearray):
            return _bytes(len(value))
        shape, nbytes = getattr(value, "shape", None), getattr(value, "nbytes", None)
        if isinstance(shape, tuple):
            sides = " \u00d7 ".join(f"{side:,}" for side in shape) or "a single number"
            return f"{sides}, {_bytes(nbytes)}" if isinstance(nbytes, int) else sides
        if isinstance(value, dict | list | tuple | set | frozenset):
            return f"{len(value):,} item{'' if len(value) == 1 else 's'}"
    return ""


def _bytes(size: int) -> str:
    for unit, limit in (("bytes", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)):
        if size < limit * 1024 or unit == "GiB":
            return f"{size:,} bytes" if limit == 1 else f"{size / limit:.1f} {unit}"
    return ""


def _given(run: Run, step: str) -> Iterator[tuple[str, str, int]]:
    """What the step calls it, what it is, and the task whose result it is."""
    plan = run.plan
    task = plan.number_of(step)
    call = plan.calls[task]
    for name, source in (*((None, s) for s in call.positional), *call.keywords):
        if source in (CONTEXT, OUTCOME):
            continue
        if source == INPUTS:
            of = plan.inputs_of.get(task)
            yield RUN_INPUTS, "the run" if of is None else plan.names[of], INPUTS if of is None else of
        else:
            yield name or plan.names[source], plan.names[source], source


def _value(run: Run, task: int) -> Any:
    if task != INPUTS:
        return run.results[task]
    if run.without_inputs:
        raise PlanError(f"its inputs are not known any more: {run.without_inputs}")
    return run.plan.inputs


def _described(of: str, shown: str, value: Any) -> dict[str, str]:
    try:
        found = value()
    except CerebelumError as exc:
        return {"of": of, "name": shown, "type": "", "size": "", "digest": "", "note": str(exc)}
    digest, exact = digest_of(found)
    facts = {"type": _type(found), "size": size_of(found), "digest": digest if exact else ""}
    return {"of": of, "name": shown, **facts, "note": ""}


def _type(value: Any) -> str:
    kind = type(value)
    plain = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if plain else f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _text(value: Any) -> str:
    try:
        plain = isinstance(value, str | bytes | int | float | dict | list | tuple | set | frozenset | None)
        text = told(value) or "None" if plain else repr(value)
    except Exception as exc:  # noqa: BLE001  a person's __repr__ may do anything
        return f"its repr() raised {type(exc).__name__}: {reprlib.repr(str(exc))}"
    lines = text.splitlines()
    if len(lines) > _MOST_LINES:
        text = "\n".join([*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more lines"])
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"


def _line(e: ev.AnyEvent, task: int, names: tuple[str, ...]) -> list[str]:  # noqa: C901, PLR0911, PLR0912  one for each event
    match e:
        case ev.AttemptSubmitted():
            return [f"attempt {e.attempt} queued"]
        case ev.AttemptStarted():
            worker = f"worker {e.worker}" if e.worker.isdigit() else e.worker
            return [f"attempt {e.attempt} began" + ("" if e.worker == "kernel" else f" on {worker}")]
        case ev.AttemptOutput() if e.shown:
            return ["displayed something" if e.shown > 0 else "took back what it had shown"]
        case ev.AttemptOutput():
            return [f"printed {len(e.text):,} characters"] if e.stream != "notice" else [f"noted: {e.text}"]
        case ev.AttemptFinished():
            took = f", {duration(e.run_s * 1e3, ' ')}" if e.run_s else ""
            why = f": {e.error.type}" if e.error is not None else ""
            return [f"attempt {e.attempt} ended: {'ok' if e.outcome == 'ok' else e.outcome}{why}{took}"]
        case ev.AttemptProgress():
            return [f"{100 * e.done:.0f} %" + (f", {e.text}" if e.text else "")]
        case ev.TaskPaused():
            return [{"sleep": "sleeps", "approval": "waits for approval"}.get(e.kind, "waits") + _after(e.text)]
        case ev.TaskResumed():
            return ["goes on"]
        case ev.TaskRetrying():
            return [f"is tried again{_after(e.text)}"]
        case ev.RouteTaken():
            return [f"took {e.way!r}" if e.task == task else f"sent back by {names[e.task]}"]
        case ev.TaskMoved():
            return [f"moved to {e.placement.label}" if e.task == task else f"runs again: {names[e.task]} moved"]
        case ev.TaskLookedUp():
            return [f"cache {'hit' if e.hit else 'miss'}{_after(e.text)}"]
        case ev.TaskFinished():
            return [e.status + _after(e.reason)]
    return []


def _after(text: str) -> str:
    return f": {text}" if text else ""
