"""The values of one run, while it lives and afterwards: in memory, or referred to on disk."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from cerebelum_nb.capture import versions
from cerebelum_nb.capture.kept import Codes
from cerebelum_nb.codec import Large, whole
from cerebelum_nb.model.events import AnyEvent, AttemptFinished, TaskFinished
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.protocols import Answer
from cerebelum_nb.store.results import (
    INPUTS_TASK,
    NONE,
    SEE,
    Archive,
    ResultRef,
    Stored,
    answers_task,
    gave_nothing,
    sent_task,
)

AT_ONCE: Final = 128  # results that are made ready for the disk before others may have the interpreter
BREATH_S: Final = 1e-6  # the shortest sleep there is: who waits for the interpreter would ask for it only after 5 ms


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
        self._kept: dict[int, Stored] = {}  # what is on disk of it, once it has ended and somebody has looked
        self._large: list[int] | None = None  # tasks whose values were in shared memory when the run ended
        self.codes: Codes | None = None  # how functions were sent
        self.cache: Keeper | None = None  # told of what has succeeded, where something may be served from it

    def __getitem__(self, task: int) -> Any:
        value = self._values[task]
        return self._archive.load(value) if type(value) is ResultRef else whole(value)

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
        values, tasks, nothing, failed = self._values, dict[int, str](), list[int](), list[Stored]()
        for e in batch:
            if type(e) is TaskFinished and e.status == "succeeded":
                if values[e.task] is None and e.task not in self._something:
                    nothing.append(e.task)  # told together: 10,000 of these are no reason to be late
                else:
                    tasks[e.task] = e.source
            elif type(e) is AttemptFinished and e.outcome == "error":
                failed += self._failed(e, plan)
        stored = [self._stored(task, source, plan.functions[task]) for task, source in _in_pieces(tasks)]
        if batch[0].seq == 0:
            stored.append(self._archive.stored(self.run, INPUTS_TASK, plan.inputs, None))
        for task, said in answers.items():
            told = [[a.approved, a.value, a.reason] for a in said]
            stored.append(self._archive.stored(self.run, answers_task(task), told, None))
        stored += failed
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

    def answers(self, task: int) -> list[Answer]:
        """What an attempt of a task was told by people, as far as that is on disk.

        Raises:
            CerebelumError: It cannot be read.
        """
        stored = self._archive.of_run(self.run).get(answers_task(task))
        said: list[list[Any]] = self._archive.load(ResultRef(self.run, stored)) if stored and stored.codec else []
        return [Answer(bool(ok), value, str(reason)) for ok, value, reason in said]

    def sent(self, task: int) -> dict[str, Any] | None:
        """What was sent to a worker for an attempt of a task that failed there, as `keep` has put it on disk.

        Raises:
            CerebelumError: It cannot be read.
        """
        stored = self._archive.of_run(self.run).get(sent_task(task))
        found: dict[str, Any] | None = (
            self._archive.load(ResultRef(self.run, stored)) if stored and stored.codec else None
        )
        return found

    def _failed(self, e: AttemptFinished, plan: Plan) -> list[Stored]:
        """What a later kernel needs to replay an attempt that failed on a worker."""
        code = self.codes.of(e.task, e.attempt) if self.codes is not None else None
        if code is None:
            return []
        call, asked = plan.calls[e.task], plan.options.get(e.task)
        told = {
            "attempt": e.attempt,
            "code": code,
            "made_with": versions.mine(),
            "positional": list(call.positional),
            "keywords": [[name, source] for name, source in call.keywords],
            "optional": sorted(call.optional),
            "inputs_of": plan.inputs_of.get(e.task),
            "once": asked is not None and asked.effects == "once",
            "undone": e.task in plan.undo,
        }
        return [self._archive.stored(self.run, sent_task(e.task), told, None)]

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

    def why_lost(self, task: int) -> str:
        """Why a value that `has` says no of is not there."""
        value = self._values[task]
        return (isinstance(value, ResultRef) and not value.stored.codec and value.stored.why) or "its file is gone"

    def large(self) -> dict[int, Large]:
        """Values in shared memory, by task. For a run that has ended: none comes to them."""
        if self._large is None:
            self._large = [task for task, value in enumerate(self._values) if type(value) is Large]
        return {task: value for task in self._large if type(value := self._values[task]) is Large}

    def is_on_disk(self, task: int) -> bool:
        """A value of this run, which has ended, can be read from disk."""
        return self._on_disk(task) is not None

    def _on_disk(self, task: int) -> Stored | None:
        if not self._kept:  # it may not have been readable just now
            self._kept = self._archive.of_run(self.run)
        stored = self._kept.get(task)
        return stored if stored is not None and self._archive.has(ResultRef(self.run, stored)) else None

    def let_go(self, task: int, why: str) -> None:
        """Let go of a value in shared memory; where it is not on disk it is lost, and that is why."""
        self._values[task] = ResultRef(self.run, self._on_disk(task) or Stored(task, "", b"", b"", why))

    def by_reference(self, task: int) -> Any:
        """The value itself; what stands for it where it is in shared memory, so that nobody reads it on the way."""
        value = self._values[task]
        return value if type(value) is Large else self[task]

    def spill(self) -> None:
        """Let go of every value that is on disk too, and of every one in shared memory."""
        for stored in self._archive.of_run(self.run).values():
            if stored.codec not in ("", NONE) and 0 <= stored.task < len(self._values):
                self._values[stored.task] = ResultRef(self.run, stored)
        for task, value in enumerate(self._values):
            if type(value) is Large:  # memory that all runs share
                why = f"it is {value.nbytes / 2**20:.0f} MiB, which is too much to be kept, and newer runs have ended"
                self.let_go(task, why)


def _in_pieces(tasks: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """Task and source of each, and now and then a moment for others who want the interpreter."""
    for count, found in enumerate(tasks.items(), 1):
        yield found
        if not count % AT_ONCE:
            time.sleep(BREATH_S)
