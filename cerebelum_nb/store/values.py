"""The values of one run, while it lives and afterwards: in memory, or referred to on disk."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from cerebelum_nb.model.events import AnyEvent, TaskFinished
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.protocols import Answer
from cerebelum_nb.store.results import INPUTS_TASK, NONE, SEE, Archive, ResultRef, Stored, answers_task, gave_nothing


class Keeper(Protocol):
    """Who else keeps results; see `lookups.Lookups`."""

    def keep(self, batch: Sequence[AnyEvent]) -> None:
        """Keep the results that these events tell of."""

    def tidy(self) -> None:
        """The run is over and everybody knows."""


class Results:
    """The values of one run, by task number; a place holds a value or a `ResultRef`."""

    def __init__(
        self, archive: Archive, run: str, values: list[Any], origin: Mapping[int, tuple[str, int]] | None = None
    ) -> None:
        """Take a run's values on.

        Args:
            origin: Task -> run and task whose result it reuses.
        """
        self._archive, self.run, self._values, self._origin = archive, run, values, origin or {}
        self._nothing: list[int] = []  # tasks whose result is None, and that have no entry of their own
        self._something: set[int] = set()  # tasks that have one
        self.cache: Keeper | None = None  # told of what has succeeded, where something may be served from it

    def __getitem__(self, task: int) -> Any:
        value = self._values[task]
        return self._archive.load(value) if type(value) is ResultRef else value

    def keep(
        self,
        batch: Sequence[AnyEvent],
        plan: Plan,
        answers: Mapping[int, Sequence[Answer]],
        *,
        lasting: bool = False,
    ) -> None:
        """Put on disk what a batch of events tells of: results, the run's inputs, what people answered.

        Args:
            lasting: Return only when a power cut leaves it there.

        Raises:
            OSError: There is no room for it just now; the same batch may come again.
            sqlite3.Error: The same.
        """
        values, tasks, nothing = self._values, dict[int, str](), list[int]()
        for e in batch:
            if type(e) is TaskFinished and e.status == "succeeded":
                if values[e.task] is None and e.task not in self._something:
                    nothing.append(e.task)  # told together: 10,000 of these are no reason to be late
                else:
                    tasks[e.task] = e.source
        stored = [self._stored(task, source, plan.functions[task]) for task, source in tasks.items()]
        if batch[0].seq == 0:
            stored.append(self._archive.stored(self.run, INPUTS_TASK, plan.inputs, None))
        for task, said in answers.items():
            told = [[a.approved, a.value, a.reason] for a in said]
            stored.append(self._archive.stored(self.run, answers_task(task), told, None))
        if stored or nothing:
            stored.append(gave_nothing(nothing))
            self._archive.write(self.run, batch[-1].seq, stored, lasting=lasting)
        self._something.update(tasks)
        self._nothing += nothing
        if self.cache is not None:
            self.cache.keep(batch)

    def _stored(self, task: int, source: str, function: Callable[..., Any]) -> Stored:
        if source == "reused" and task in self._origin:
            run, there = self._origin[task]
            return Stored(task, SEE, b"", self._archive.digest(function), f"{run} {there}")
        return self._archive.stored(self.run, task, self._values[task], function)

    def keep_codes(self, last: int, plan: Plan) -> None:
        """Note which code gave nothing. Called when the run has ended and everybody knows."""
        if self.cache is not None:
            self.cache.tidy()
        tasks, self._nothing = self._nothing, []
        if tasks:
            codes = [Stored(task, NONE, b"", self._archive.digest(plan.functions[task])) for task in tasks]
            self._archive.write(self.run, last + 1, [*codes, gave_nothing(tasks)])

    def has(self, task: int) -> bool:
        """The value of a task that succeeded can be had."""
        value = self._values[task]
        return not isinstance(value, ResultRef) or self._archive.has(value)

    def spill(self) -> None:
        """Let go of every value that is on disk too."""
        for stored in self._archive.of_run(self.run).values():
            if stored.codec not in ("", NONE) and 0 <= stored.task < len(self._values):
                self._values[stored.task] = ResultRef(self.run, stored)
