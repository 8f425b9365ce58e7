"""A plan: a workflow with inputs and wishes, checked and placed, ready to run."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from cerebelum_nb.model.events import Group, Placement
from cerebelum_nb.model.options import StepOptions
from cerebelum_nb.model.workflow import Way

CONTEXT: Final = -1  # in a `Call`: the step's context
INPUTS: Final = -2  # in a `Call`: the run's inputs
OUTCOME: Final = -3  # in a `Call` of a task that undoes: "completed", or "unknown" where nobody knows


class Call(msgspec.Struct, frozen=True, gc=False):
    """How a task's function is called: a number is a task whose result goes there, or one of those above."""

    positional: tuple[int, ...]
    keywords: tuple[tuple[str, int], ...] = ()
    optional: frozenset[str] = frozenset()  # keywords that are left out where a route passed their task by


class Plan(msgspec.Struct, frozen=True):
    """Everything the scheduler needs; tuples by task number, in timeline order."""

    workflow: str
    inputs: Any
    names: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]
    places: tuple[Placement, ...]  # the distinct ones
    place: tuple[int, ...]  # task -> index in `places`
    functions: tuple[Callable[..., Any], ...]
    calls: tuple[Call, ...]
    asynchronous: tuple[bool, ...]
    answer: int  # the task whose result is the run's
    left_out: frozenset[int] = frozenset()  # not needed for what was asked (`until`)
    ways: Mapping[int, tuple[Way, ...]] = {}  # decision -> what it may choose
    groups: tuple[Group, ...] = ()
    options: Mapping[int, StepOptions] = {}  # tasks whose step asks for more than a name and a place
    inputs_of: Mapping[int, int] = {}  # tasks of a nested workflow -> the task whose result they get as inputs

    undo: tuple[int, ...] = ()  # what the last tasks undo, one for each
    undone_if: bool = True  # a run that fails or is cancelled is undone, as far as its steps say how
    fallbacks: Mapping[int, tuple[Placement, ...]] = {}  # where else a task may run, in this order
    cached: frozenset[int] = frozenset()  # tasks whose result may come from the cache
    careful: frozenset[int] = frozenset()  # their beginning is on disk before their code runs

    @property
    def steps(self) -> int:
        """How many tasks there are without those that undo, which come last."""
        return len(self.names) - len(self.undo)

    def number_of(self, step: str) -> int:
        """The task of a step.

        Raises:
            ValueError: No such step in this plan.
        """
        return self.names.index(step)

    def results(self) -> Iterator[tuple[str, int]]:
        """Names under which results are known, each with its task; nested workflows' at the end."""
        yield from zip(self.names[: self.steps], range(self.steps), strict=True)
        yield from ((group.name, group.stop - 1) for group in self.groups)

    def reads(self, task: int, source: int) -> bool:
        """Whether a task cannot run without another one's result."""
        call = self.calls[task]
        return source in call.positional or any(n == source for name, n in call.keywords if name not in call.optional)

    def below(self, *tasks: int) -> frozenset[int]:
        """All tasks that depend on some task, directly or not."""
        children: dict[int, list[int]] = {}
        for child, needs in enumerate(self.needs):
            for need in needs:
                children.setdefault(need, []).append(child)
        found: set[int] = set()
        todo = [child for task in tasks for child in children.get(task, ())]
        while todo:
            child = todo.pop()
            if child not in found:
                found.add(child)
                todo += children.get(child, ())
        return frozenset(found)

    def above(self, task: int) -> frozenset[int]:
        """All tasks that a task depends on, directly or not."""
        found: set[int] = set()
        todo = list(self.needs[task])
        while todo:
            need = todo.pop()
            if need not in found:
                found.add(need)
                todo += self.needs[need]
        return frozenset(found)
