"""Definitions: what a step and a workflow are, before anybody runs them."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from cerebelum_nb.model.options import StepOptions

RESERVED = frozenset({"default", "inputs", "context"})


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a step's function that gets a value."""

    name: str
    kind: Literal["context", "inputs", "step"]
    keyword: bool = False  # keyword-only: passed by name
    optional: bool = False  # has a default: left out where no step of that name is in the timeline


class Undo(msgspec.Struct, frozen=True):
    """The function that undoes a step. Its parameters may also be `result`, the step's own, and `outcome`."""

    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    is_async: bool


class StepDef(msgspec.Struct, frozen=True):
    """A step: a function with a name, what it reads, and where it wants to run."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    depends_on: tuple[str, ...]  # names of steps, those it reads first, then those it only follows
    executor: str  # a wish: "auto" for none
    is_async: bool
    defined_at: str  # file or cell and line, for messages
    options: StepOptions = StepOptions()
    scope: str = ""  # the nested workflow it belongs to, as its name begins: "outer/inner"
    undo: Undo | None = None
    nested_wish: str = ""  # where that workflow wants it to run; empty for no wish


class Way(msgspec.Struct, frozen=True):
    """One way that a decision may take."""

    label: str  # as it is written in the workflow
    steps: tuple[int, ...] = ()  # these run only when it is taken
    back_to: tuple[int, ...] = ()  # these, and all below them, run again
    limit: int = 0  # how often it may go back


class Route(msgspec.Struct, frozen=True):
    """A decision and its ways; the decision's own result is the number of the way."""

    decision: int
    ways: tuple[Way, ...]


class GroupDef(msgspec.Struct, frozen=True):
    """A workflow as a step of another: its steps stand side by side."""

    name: str  # "outer/inner"
    first: int
    stop: int
    answer: int  # the step whose result is the group's
    inputs: str = ""  # the step whose result its steps get as `inputs`; empty for the run's


class WorkflowDef(msgspec.Struct, frozen=True):
    """A workflow: steps in timeline order, and which of them each one follows."""

    name: str
    steps: tuple[StepDef, ...]
    follows: tuple[tuple[int, ...], ...]  # step -> steps that the timeline puts directly before it
    executor: str = "auto"
    strategy: dict[str, str] = {}
    routes: tuple[Route, ...] = ()
    groups: tuple[GroupDef, ...] = ()  # outer before inner
