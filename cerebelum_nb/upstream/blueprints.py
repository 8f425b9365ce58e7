"""What a blueprint says: which step waits for which. Pure.

On the wire a timeline is flat: ``a >> [b, c]`` and ``a >> b >> c`` look the same. So steps run side by side where
their dependencies say that they may; a step without any keeps its place in the line, with all before it done and
nothing after it begun.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Listed(NamedTuple):
    """A step as a blueprint lists it."""

    name: str
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A workflow, ready to be run.

    Attributes:
        depends_on: For each step the steps whose results it is called with.
        after: For each step the numbers of those that must be done before it; None for all that stand before it.
    """

    name: str
    version: str
    steps: tuple[str, ...]
    depends_on: tuple[tuple[str, ...], ...]
    after: tuple[frozenset[int] | None, ...]


def read(message: Any) -> tuple[Blueprint | None, list[str]]:
    """Read a Blueprint message: the blueprint, or what is wrong with it, a line each."""
    definition = message.definition
    listed = [Listed(step.name, tuple(step.depends_on)) for step in definition.timeline]
    wrong = _wrong(message.workflow_module, listed)
    if choosing := {rule.from_step: None for rule in (*definition.diverge_rules, *definition.branch_rules)}:
        # Of a branch the condition's name travels, of a diverge each way's first step, and of none what it is called
        # with where it is not in the timeline.
        wrong.append(
            f"workflow {message.workflow_module!r} cannot choose its way after {', '.join(map(repr, choosing))}: of "
            "diverge and branch the SDK sends names only, no conditions, and not what the steps are called with. "
            "Choose inside a step, or import step and workflow from cerebelum_nb, where diverge and branch work"
        )
    if wrong:
        return None, wrong
    at = {step.name: number for number, step in enumerate(listed)}
    return Blueprint(
        message.workflow_module,
        message.version,
        tuple(at),
        tuple(step.depends_on for step in listed),
        tuple(_after(listed, at)),
    ), []


def _wrong(workflow: str, listed: Sequence[Listed]) -> list[str]:
    wrong: list[str] = []
    if not workflow:
        wrong.append("the blueprint has no workflow_module: give the workflow a name")
    if not listed:
        wrong.append(f"the timeline of workflow {workflow!r} is empty")
    names = {step.name for step in listed}
    seen: set[str] = set()
    for step in listed:
        if not step.name:
            wrong.append(f"a step of workflow {workflow!r} has no name")
        elif step.name in seen:
            wrong.append(f"step {step.name!r} is in the timeline of workflow {workflow!r} twice")
        for needed in step.depends_on:
            if needed not in names:
                wrong.append(f"step {step.name!r} needs {needed!r}, which workflow {workflow!r} does not have")
            elif needed not in seen:
                wrong.append(f"step {step.name!r} needs {needed!r}, which does not come before it in the timeline")
        seen.add(step.name)
    return wrong


def _after(listed: Sequence[Listed], at: dict[str, int]) -> Iterable[frozenset[int] | None]:
    alone: int | None = None  # the last step that keeps its place in the line
    for number, step in enumerate(listed):
        if not step.depends_on:
            alone = number
            yield None
        else:
            yield frozenset(at[needed] for needed in step.depends_on) | (frozenset() if alone is None else {alone})
