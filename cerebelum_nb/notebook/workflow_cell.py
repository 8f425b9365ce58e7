"""What a workflow cell says: a timeline, kept as text and looked up anew for every run. No IPython.

At the outer level ``>>``, a comma and a new line all mean "then", so the cell is cut there into elements; each element
(a name, a list, a chain in brackets) is a Python expression of its own.
"""

import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

from cerebelum_nb.dsl.nested import SubWorkflow
from cerebelum_nb.dsl.registry import StepRegistry
from cerebelum_nb.dsl.routes import back_to
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.timeline import Chainable, Composition, Stage, stages_of
from cerebelum_nb.dsl.workflow import Workflow, WorkflowBuilder
from cerebelum_nb.errors import DefinitionError
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.typed import counted, nearest
from cerebelum_nb.model.workflow import Way
from cerebelum_nb.notebook.cell import parse, refuse_magic

_SKIP: Final = (tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
_ROUTE: Final = re.compile(r"(?:wf\.)?(?:diverge|branch)\s*\(")
_BUILDER: Final = re.compile(r"wf\.\w+\s*\(")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the timeline, or a ``diverge`` or ``branch`` line."""

    line: int  # in the cell
    text: str
    code: CodeType
    is_route: bool = False


def read_timeline(source: str, *, first_line: int, filename: str) -> tuple[Element, ...]:
    """Cut a workflow cell into its elements.

    Args:
        source: The cell without its magic line.
        first_line: The number, in the cell, of the first line of `source`; 2 or more.
        filename: What errors call the cell.

    Raises:
        SyntaxError: An element is not Python; the line number is the cell's.
        DefinitionError: ``>>`` with nothing on one of its sides, or something that is no expression.
    """
    elements: list[Element] = []
    arrow: int | None = None  # the line of a `>>` that waits for its right side
    for line, piece in _pieces(source, first_line, filename):
        if isinstance(piece, str):
            if piece == ">>":
                if arrow is not None or not elements or elements[-1].is_route:
                    raise DefinitionError(f"line {line}: there is no step before this >>")
                arrow = line
            continue
        try:
            elements.append(_element(line, piece[0], piece[1], filename))
        except SyntaxError as exc:
            refuse_magic(source, at=exc.lineno, first_line=first_line, what="a timeline")
            raise
        if elements[-1].is_route and arrow is not None:
            raise DefinitionError(f"line {line}: a choice stands in a line of its own, not after >>")
        arrow = None
    if arrow is not None:
        raise DefinitionError(f"line {arrow}: there is no step after this >>")
    return tuple(elements)


def _pieces(source: str, first_line: int, filename: str) -> Iterator[tuple[int, str | tuple[int, str]]]:
    """Separators as text, elements as (column, text), each with its line in the cell."""
    # In brackets a new line is no end and an indent means nothing; the bracket takes the magic's own line.
    text = "\n" * (first_line - 2) + "(\n" + source + "\n"
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text + ")").readline))
    except (tokenize.TokenError, SyntaxError):
        parse(source, first_line=first_line, filename=filename, what="a timeline")
        raise DefinitionError(
            "this timeline cannot be read: look for a bracket or a quote that is not closed"
        ) from None
    lines = text.splitlines(keepends=True)
    depth, start, end = 0, (0, 0), (0, 0)
    for token in tokens:
        if token.type == tokenize.OP and token.string in "([{":
            depth += 1
            if depth == 1:
                continue
        elif token.type == tokenize.OP and token.string in ")]}":
            depth -= 1
            if depth == 0 and token.start[0] <= len(lines):
                raise DefinitionError(f"line {token.start[0]}: {token.string!r} closes nothing")
        if token.type in _SKIP:
            continue
        separator = depth == 0 or (depth == 1 and (token.type == tokenize.NL or token.string in (">>", ",", ";")))
        if separator:
            if start != (0, 0):
                yield start[0], (start[1], _between(lines, start, end))
                start = (0, 0)
            yield token.start[0], token.string
        else:
            start = token.start if start == (0, 0) else start
            end = token.end


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])


def _element(line: int, column: int, text: str, filename: str) -> Element:
    is_route = _ROUTE.match(text) is not None
    if not is_route and _BUILDER.match(text):
        raise DefinitionError(f"line {line}: the cell is the timeline itself; write the steps without wf.timeline(...)")
    padded = "\n" * (line - 2) + "(\n" + " " * column + text + "\n)"
    return Element(line, text, compile(padded, filename, "eval", dont_inherit=True), is_route)


class _Names(Mapping[str, Any]):
    """What an element's names stand for: the notebook's own first, unless it plainly cannot stand in a timeline."""

    def __init__(
        self, namespace: Mapping[str, Any], registry: StepRegistry, given: Mapping[str, Any] | None = None
    ) -> None:
        self._namespace, self._steps, self._given = namespace, registry.steps, given or {}

    def __getitem__(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        mine = self._namespace.get(name)
        if name in self._steps and not (isinstance(mine, Chainable | list | tuple) or callable(mine)):
            return self._steps[name]
        return self._namespace[name]

    def __iter__(self) -> Iterator[str]:
        steps = (name for name, value in self._namespace.items() if isinstance(value, StepMetadata))
        return iter(dict.fromkeys([*self._steps, *steps]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def timeline(elements: Sequence[Element], namespace: dict[str, Any], registry: StepRegistry) -> Composition:
    """Look the elements up as they stand now.

    Raises:
        DefinitionError: A name nobody knows, or something that is no step; says in which line of the cell.
    """
    names = _Names(namespace, registry)
    stages: list[Stage] = []
    for element in elements:
        if not element.is_route:
            stages += _looked_up(element, namespace, names, stages_of)
    return Composition(tuple(stages))


def _looked_up(
    element: Element, namespace: dict[str, Any], names: _Names, then: Callable[[Any], tuple[Stage, ...]] | None = None
) -> tuple[Stage, ...]:
    """What an element stands for just now; with a message that says in which line of the cell it stands."""
    try:
        value = eval(element.code, namespace, names)  # noqa: S307  the person's own cell
        return then(value) if then is not None else ()
    except NameError as exc:
        name = exc.name or element.text
        near = nearest(name, names)
        raise DefinitionError(
            f"line {element.line}: there is no step {name!r}.{near} Run its cell first, or fix the name."
        ) from None
    except DefinitionError as exc:
        raise DefinitionError(f"line {element.line}: {exc}") from None
    except Exception as exc:
        text = " ".join(element.text.split())
        raise DefinitionError(f"line {element.line}: {text[:60]!r} gives {type(exc).__name__}: {exc}") from exc


def make_workflow(  # noqa: PLR0913  each is a part of the cell
    name: str,
    elements: Sequence[Element],
    namespace: dict[str, Any],
    registry: StepRegistry,
    *,
    executor: str,
    strategy: Mapping[str, str] | None,
    fallback: Sequence[str] | None = None,
) -> Workflow:
    """A workflow whose timeline is asked anew for every run, so that a step's new definition counts at once."""

    def define(wf: WorkflowBuilder) -> None:
        for stage in timeline(elements, namespace, registry).stages:
            wf.order.then(list(stage))
        given = {"wf": wf, "diverge": wf.diverge, "branch": wf.branch, "back_to": back_to}
        for element in elements:
            if element.is_route:
                _looked_up(element, namespace, _Names(namespace, registry, given))

    define.__module__ = "__main__"
    return Workflow(name, define, registry, executor=executor, execution_strategy=strategy, fallback=fallback)


def describe(composition: Composition, plan: Plan) -> str:
    """A timeline as one line of text, each step with the place it will run, and a line for each decision."""
    where = {step: plan.places[plan.place[task]].label for task, step in enumerate(plan.names[: plan.steps])}
    steps = {label for task, label in enumerate(where.values()) if task not in plan.ways}
    alike = f"  (all {steps.pop()})" if len(steps) == 1 and plan.steps > 1 else ""
    if alike:
        where = dict.fromkeys(where, "")
    lines = [f"{show(composition, where)}{alike}"]
    for decision, ways in plan.ways.items():
        told = ", ".join(f"{way.label}: {_show_way(way, plan, where)}" for way in ways)
        lines.append(f"  {plan.names[decision]} {told}")
    return "\n".join(lines)


def _show_way(way: Way, plan: Plan, where: Mapping[str, str]) -> str:
    if way.back_to:
        often = "once" if way.limit == 1 else f"{way.limit} times"
        return f"back to {plan.names[way.back_to[0]]} (at most {often})"
    names = [plan.names[task] for task in way.steps]
    return ", ".join(f"{name} ({where[name]})" if where[name] else name for name in names) or "goes on"


def show(composition: Composition, where: Mapping[str, str]) -> str:
    """A timeline as one line of text, each step with the place it will run."""
    return " >> ".join(_show_stage(stage, where) for stage in composition.stages)


def _show_stage(stage: Stage, where: Mapping[str, str]) -> str:
    shown = [show(m, where) if isinstance(m, Composition) else _show_step(m, where) for m in stage]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def _show_step(step: Chainable, where: Mapping[str, str]) -> str:
    name = str(getattr(step, "name", step))
    if isinstance(step, SubWorkflow):
        inside = [n for n in where if n.startswith(f"{name}/") and not n.endswith("?")]
        return f"{name} ({counted(len(inside), 'step')})"
    return f"{name} ({where[name]})" if where.get(name) else name
