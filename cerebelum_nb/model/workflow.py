"""Definitions: what a step and a workflow are, before anybody runs them."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

RESERVED = frozenset({"default", "inputs", "context"})


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a step's function that gets a value."""

    name: str
    kind: Literal["context", "inputs", "step"]
    keyword: bool = False  # keyword-only: passed by name
    optional: bool = False  # has a default: left out where no step of that name is in the timeline


class StepDef(msgspec.Struct, frozen=True):
    """A step: a function with a name, what it reads, and where it wants to run."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    depends_on: tuple[str, ...]  # names of steps, those it reads first, then those it only follows
    executor: str  # a wish: "auto" for none
    is_async: bool
    defined_at: str  # file or cell and line, for messages


class WorkflowDef(msgspec.Struct, frozen=True):
    """A workflow: steps in timeline order, and which of them each one follows."""

    name: str
    steps: tuple[StepDef, ...]
    follows: tuple[tuple[int, ...], ...]  # step -> steps that the timeline puts directly before it
    executor: str = "auto"
    strategy: dict[str, str] = {}
