"""Which cell made which step, for magics and plain ``@step`` alike.

Running a cell again replaces its steps; two cells that claim one name are told apart; what a cell no longer defines is
retired. Front ends that send no cell ids leave steps to their names alone, and a deleted cell is known only where the
front end says so.
"""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cerebelum_nb.dsl.registry import StepRegistry
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.notebook.failures import cell_number


@dataclass(slots=True, eq=False)
class Cell:
    """A cell that has run.

    Attributes:
        number: What stands in its ``In[..]``.
        steps: Steps that it made and that nobody else has claimed since, by name.
    """

    id: str
    number: int = 0
    steps: dict[str, StepMetadata] = field(default_factory=dict)
    deleted: bool = False

    def __str__(self) -> str:
        return f"cell [{self.number}]{' (deleted)' if self.deleted else ''}"


@dataclass(slots=True)
class _Running:
    cell: Cell
    made: dict[str, StepMetadata] = field(default_factory=dict)


class Claims:
    """Listens to cells and to the registry, and keeps the two together."""

    def __init__(self, ip: Any, registry: StepRegistry) -> None:
        self._ip, self._registry = ip, registry
        self._cells: dict[str, Cell] = {}  # by the front end's id
        self._owner: dict[str, Cell] = {}  # by step name
        self._here = threading.local()  # a cell may run cells, and subshells run them in threads of their own

    def install(self) -> None:
        """Begin to listen."""
        self._ip.events.register("pre_run_cell", self._begin)
        self._ip.events.register("post_run_cell", self._end)
        self._registry.on_step.append(self._made)

    def cell_of(self, step: StepMetadata) -> Cell | None:
        """The cell that made a step, if one did while we listened."""
        owner = self._owner.get(step.name)
        return owner if owner is not None and owner.steps.get(step.name) is step else None

    @property
    def _running(self) -> list[_Running]:
        """The cells that run in this thread, the innermost last."""
        found: list[_Running] = self._here.__dict__.setdefault("cells", [])
        return found

    # -- listening

    def _begin(self, info: Any) -> None:
        self._note_deleted()
        name = getattr(info, "cell_id", None) or ""
        if not name and self._running:
            cell = self._running[-1].cell  # run by the cell that runs
        else:
            cell = self._cells.get(name) or Cell(name)
            cell.number, cell.deleted = cell_number(self._ip, begun=False), False
        self._running.append(_Running(cell))

    def _note_deleted(self) -> None:
        sent = self._ip.get_parent() if hasattr(self._ip, "get_parent") else {}
        for name in (sent.get("metadata") or {}).get("deletedCells") or ():
            if name in self._cells:
                self._cells[name].deleted = True

    def _made(self, step: StepMetadata) -> None:
        running = self._running[-1] if self._running else None
        if running is not None and step.module == "__main__":
            running.made.pop(step.name, None)
            running.made[step.name] = step

    def _end(self, result: Any) -> None:
        if not self._running:
            return  # the cell that loaded us
        ended = self._running.pop()
        if self._running and self._running[-1].cell is ended.cell:
            self._running[-1].made.update(ended.made)
            return
        for line in self._claim(ended):
            print(line, file=sys.stderr)  # noqa: T201  a cell is told in its own output
        if getattr(result, "success", False) and ended.cell.id:
            for line in self._retire(ended):
                print(line)  # noqa: T201

    # -- deciding

    def _claim(self, ended: _Running) -> Iterator[str]:
        cell = ended.cell
        if cell.id and ended.made:
            self._cells[cell.id] = cell
        for name, step in ended.made.items():
            owner = self._owner.get(name)
            before = owner.steps.pop(name, None) if owner is not None else None
            if before is not None:
                self._registry.retire(before, heir=step)
            if owner is not None and owner is not cell and owner.id and cell.id and not owner.deleted:
                yield f"step {name!r}: {owner} and {cell} both define it; {cell}, the newer, counts"
            self._owner[name], cell.steps[name] = cell, step

    def _retire(self, ended: _Running) -> Iterator[str]:
        cell = ended.cell
        for name in [name for name in cell.steps if name not in ended.made]:
            step = cell.steps.pop(name)
            del self._owner[name]
            self._registry.retire(step, why=f"{cell}, which made it, ran again without it")
            for variable in {name, step.__name__}:
                if self._ip.user_ns.get(variable) is step:
                    del self._ip.user_ns[variable]
            yield f"step {name!r} is gone: {cell} no longer defines it"
