"""`%cerebelum steps`: the steps that are known; of one step where it comes from and what it closes over."""

import contextlib
import hashlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from cerebelum_nb.codec import encode, pickled
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.identity.seen import Item, closes_over
from cerebelum_nb.model.lines import columns
from cerebelum_nb.notebook.claims import Claims
from cerebelum_nb.notebook.stale import Seen


def place(step: StepMetadata, claims: Claims) -> str:
    """Where a step was defined: ``cell [3]``, a module, or the notebook where nobody knows the cell."""
    cell = claims.cell_of(step)
    if cell is not None:
        return str(cell)
    return step.module if step.module != "__main__" else "notebook"


def steps(known: Sequence[StepMetadata], claims: Claims) -> list[str]:
    """All steps, a line for each."""
    rows = [(s.name, s.executor, ", ".join(s.depends_on) or "-", place(s, claims)) for s in known]
    return columns(("step", "executor", "needs", "defined in"), rows)


def one(step: StepMetadata, claims: Claims, seen: Seen) -> list[str]:
    """One step: where it comes from, its options, and what it closes over."""
    needs = f"needs {', '.join(step.depends_on)}" if step.depends_on else ""
    parts = [place(step, claims), f"executor {step.executor}", needs, str(step.options)]
    head = f"{step.name}: {'; '.join(filter(None, parts))}"
    items = closes_over(step.function)
    if not items:
        return [head, "It closes over nothing."]
    last = seen.of_step(step.name)
    rows = [(*_row(item), _changed(item, last)) for item in items]
    since = f"changed since run {last[0]}" if last is not None else "changed"
    return [head, "It closes over:", *columns(("kind", "name", "type", "size", "digest", since), rows)]


def _row(item: Item) -> tuple[str, str, str, str, str]:
    name = f"{item.name} (by {item.via[-1]})" if item.via else item.name
    digest = item.digest if item.exact else _digest(item.value)
    return item.kind, name, _type(item), _size(item), digest


def _type(item: Item) -> str:
    if isinstance(item.value, ModuleType):
        return item.value.__name__
    if item.kind == "module":
        return f"from {item.value.__module__}"
    return type(item.value).__name__ if item.kind != "helper" else "function"


def _size(item: Item) -> str:
    if item.kind == "module":
        return "by name"
    try:
        return human(len(pickled(item.value)))
    except BaseException:  # noqa: BLE001  what it holds may do anything when it is pickled
        return "cannot be sent"


def _digest(value: Any) -> str:
    with contextlib.suppress(CerebelumError):
        return hashlib.sha256(encode(value).data).hexdigest()[:8]
    return "-"


def _changed(item: Item, last: tuple[int, dict[str, str]] | None) -> str:
    if last is None:
        return "-"
    return "no" if last[1].get(item.label) == item.digest else "yes"


def human(nbytes: int) -> str:
    """A size as people read it."""
    if nbytes < 1024:
        return f"{nbytes} B"
    return f"{nbytes / 1024:.1f} KiB" if nbytes < 1 << 20 else f"{nbytes / (1 << 20):.1f} MiB"
