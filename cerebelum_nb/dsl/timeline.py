"""`a >> [b, c] >> d`: how steps are put in order. Knows nothing of what a step is.

A composition is a tuple of stages; a stage is a tuple of members that run side by side; a member is a step or a
composition again. Everything is frozen: `chain >> c` leaves `chain` as it was.
"""

import sys
from typing import Final, Self

from cerebelum_nb.errors import DefinitionError

_OWN: Final = __name__.partition(".")[0]


class Chainable:
    """Anything that can stand left or right of ``>>``."""

    __slots__ = ()

    def __rshift__(self, other: object) -> "Composition":
        return Composition((*stages_of(self), *stages_of(other)))

    def __rrshift__(self, other: object) -> "Composition":
        return Composition((*stages_of(other), *stages_of(self)))


Stage = tuple[Chainable, ...]


class Composition(Chainable):
    """Stages, one after the other."""

    __slots__ = ("stages",)

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        self.stages = stages

    def __repr__(self) -> str:
        return " >> ".join(_show_stage(stage) for stage in self.stages)


def _show_stage(stage: Stage) -> str:
    shown = [repr(m) if isinstance(m, Composition) else str(getattr(m, "name", m)) for m in stage]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def stages_of(item: object) -> tuple[Stage, ...]:
    """What one operand of ``>>`` stands for.

    Raises:
        DefinitionError: It is no step, composition or list of them.
    """
    if isinstance(item, Composition):
        return item.stages
    if isinstance(item, Chainable):
        return ((item,),)
    if isinstance(item, list | tuple):
        if not item:
            raise DefinitionError("an empty list stands in the timeline: put steps in it or remove it")
        members = tuple(_member(m) for m in item)
        return (members,)
    if hasattr(item, "as_step"):
        name = getattr(item, "name", "it")
        raise DefinitionError(f"{name!r} is a workflow: to run it as a part of another, write {name}.as_step()")
    raise DefinitionError(
        f"{_name_it(item)} is not a step. A timeline holds steps, lists of steps and chains of them; "
        "decorate the function with @step, or start its cell with %%cerebelum_step; where a variable took a step's "
        "name, run that step's cell again."
    )


def _member(item: object) -> Chainable:
    stages = stages_of(item)
    return stages[0][0] if len(stages) == 1 and len(stages[0]) == 1 else Composition(stages)


def _name_it(item: object) -> str:
    name = getattr(item, "__name__", None)
    if isinstance(name, str):
        return f"{type(item).__name__} {name!r}"
    variable = _variable_of(item)
    return f"{variable!r}, which is {item!r:.60} here," if variable else f"{item!r:.60}"


def _variable_of(item: object) -> str:
    """The name by which the nearest code that is not ours has it; empty where there is none."""
    frame = sys._getframe()  # noqa: SLF001  of this thread, and only on the way to an error
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == _OWN:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return ""
    there = {**frame.f_globals, **frame.f_locals}
    code = frame.f_code
    used = (*code.co_varnames, *code.co_freevars, *code.co_cellvars, *code.co_names)
    return next((name for name in used if name in there and there[name] is item), "")


class Order:
    """Steps in the order they are written, and which others each one directly follows."""

    def __init__(self) -> None:
        self.items: list[object] = []  # as they were written
        self.steps: list[Chainable] = []
        self.follows: list[tuple[int, ...]] = []
        self._last: tuple[int, ...] = ()

    def then(self, item: object) -> Self:
        """Append an operand after everything so far."""
        self.items.append(item)
        for stage in stages_of(item):
            self._last = self._stage(stage, self._last)
        return self

    def _stage(self, stage: Stage, before: tuple[int, ...]) -> tuple[int, ...]:
        tails: list[int] = []
        for member in stage:
            if isinstance(member, Composition):
                after = before
                for inner in member.stages:
                    after = self._stage(inner, after)
                tails.extend(after)
            else:
                tails.append(len(self.steps))
                self.steps.append(member)
                self.follows.append(before)
        return tuple(tails)
