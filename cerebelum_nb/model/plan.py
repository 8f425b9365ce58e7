"""A plan: a workflow with inputs and wishes, checked and placed, ready to run."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from cerebelum_nb.model.events import Placement

CONTEXT: Final = -1  # in a `Call`: the step's context
INPUTS: Final = -2  # in a `Call`: the run's inputs


class Call(msgspec.Struct, frozen=True):
    """How a task's function is called: each number is a task whose result goes there, CONTEXT or INPUTS."""

    positional: tuple[int, ...]
    keywords: tuple[tuple[str, int], ...] = ()


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

    def number_of(self, step: str) -> int:
        """The task of a step.

        Raises:
            ValueError: No such step in this plan.
        """
        return self.names.index(step)

    def below(self, task: int) -> frozenset[int]:
        """All tasks that depend on a task, directly or not."""
        children: dict[int, list[int]] = {}
        for child, needs in enumerate(self.needs):
            for need in needs:
                children.setdefault(need, []).append(child)
        found: set[int] = set()
        todo = list(children.get(task, ()))
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
