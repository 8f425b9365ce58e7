"""What the magics do once their line is read: cells become steps and workflows, workflows become runs."""

import builtins
import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cerebelum_nb.dsl.decorators import step as make_step
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import CerebelumError, DefinitionError, NotActiveYet, PlacementError, PlanError
from cerebelum_nb.model.lines import duration
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.notebook.cell import GIVEN, StepCell, read_cell, wrong_in
from cerebelum_nb.notebook.claims import Claims
from cerebelum_nb.notebook.display import Displays
from cerebelum_nb.notebook.failures import cell_number, folded, line_in, refuse_syntax
from cerebelum_nb.notebook.stale import Seen
from cerebelum_nb.notebook.workflow_cell import describe, make_workflow, read_timeline, timeline
from cerebelum_nb.rules.kept import as_options
from cerebelum_nb.rules.placement import who_else
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.session import Session, current

UNDO_GIVEN: Final = (*GIVEN, "result", "outcome")  # what a cell that undoes a step may read besides


@dataclass(frozen=True, slots=True)
class Source:
    """A cell's body, and where it stands."""

    body: str
    first_line: int
    filename: str


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What `@step` warns of is told in the answer's own line, not with a file's; other warnings go their way."""
    notes: list[str] = []
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, NotActiveYet):
            notes.append(str(message))
        else:
            shown(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield notes
    finally:
        if warnings.showwarning is show:  # else the cell has put its own there
            warnings.showwarning = shown


class Notebook:
    """One notebook: its namespace, its session, what it shows."""

    def __init__(self, ip: Any, claims: Claims, seen: Seen) -> None:
        self._ip = ip
        self.displays = Displays(ip)
        ip.events.register("post_run_cell", self.displays.catch_up)
        self.claims, self.seen = claims, seen

    @property
    def session(self) -> Session:
        """The session that runs its workflows."""
        return current()

    @property
    def names(self) -> dict[str, Any]:
        """The notebook's variables."""
        names: dict[str, Any] = self._ip.user_ns
        return names

    def source(self, magic: str, line: str, cell: str) -> Source:
        """Make the whole cell known under a file name, so that tracebacks count its lines as the person does."""
        whole = f"%%{magic} {line}\n{cell}"
        sent = self._ip.get_parent() if hasattr(self._ip, "get_parent") else {}
        code = str((sent.get("content") or {}).get("code", ""))
        if code.rstrip().endswith(cell.rstrip()) and f"%%{magic}" in code:
            whole = code  # there may be empty lines or comments above the magic
        body = cell.rstrip()
        first_line = whole.rstrip()[: len(whole.rstrip()) - len(body)].count("\n") + 1
        filename = self._ip.compile.cache(whole, cell_number(self._ip), raw_code=whole)
        return Source(cell, max(2, first_line), filename)

    # -- steps

    def step(
        self,
        source: Source,
        name: str | None,
        executor: str | None,
        depends: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> tuple[StepMetadata, str]:
        """Make a step of a cell, and say so in one line.

        Args:
            options: Further options, as `@step` takes them.

        Raises:
            DefinitionError: The cell makes no step.
            PlacementError: Nobody knows the executor.
        """
        if executor is not None:
            self._check_executor(executor)
        try:
            cell = read_cell(
                source.body,
                name=name,
                known=self._step_behind,
                depends=depends,
                first_line=source.first_line,
                filename=source.filename,
            )
            code = self._ip.compile(cell.tree, source.filename, "exec")
        except SyntaxError as exc:
            refuse_syntax(exc)
        made: dict[str, Any] = {}
        with _heard() as notes:
            try:
                exec(code, self.names, made if cell.statements else self.names)  # noqa: S102  the person's own cell
            except BaseException as exc:
                folded(exc, source.filename, self._ip)
                raise
            function = (made if cell.statements else self.names)[cell.function]
            with warnings.catch_warnings():
                warnings.simplefilter("always", NotActiveYet)
                step = self._decorated(function, cell, name, executor, depends, options)
        self.names[cell.function] = step
        if step.name.isidentifier():
            self.names[step.name] = step
        said = dict.fromkeys(note.removeprefix(f"step {step.name!r}: ") for note in notes)
        return step, ". ".join([self._describe(step, cell), *said])

    def compensation(self, source: Source, name: str | None, undone: str) -> str:
        """Make of a cell what undoes a step, and say so in one line.

        Args:
            name: What it is called, where the cell is no function.
            undone: The step.

        Raises:
            DefinitionError: There is no such step, or the cell cannot undo it.
        """
        behind = self._step_behind(undone)
        if behind is None:
            raise DefinitionError(f"there is no step {undone!r} to be undone.{nearest(undone, registry.steps)}")
        try:
            cell = read_cell(
                source.body,
                name=name,
                known=self._step_behind,
                first_line=source.first_line,
                filename=source.filename,
                given=UNDO_GIVEN,
            )
            code = self._ip.compile(cell.tree, source.filename, "exec")
        except SyntaxError as exc:
            refuse_syntax(exc)
        made: dict[str, Any] = {}
        try:
            exec(code, self.names, made if cell.statements else self.names)  # noqa: S102  the person's own cell
        except BaseException as exc:
            folded(exc, source.filename, self._ip)
            raise
        function = (made if cell.statements else self.names)[cell.function]
        self.names[cell.function] = registry.steps[behind].compensate(function)
        return f"{cell.function} undoes step {behind} when a run fails after it"

    def _decorated(  # noqa: PLR0913, PLR0917  what the magic's line says
        self,
        function: Any,
        cell: StepCell,
        name: str | None,
        executor: str | None,
        depends: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> StepMetadata:
        if not isinstance(function, StepMetadata):
            wish = executor or "auto"
            return make_step(name=cell.name, executor=wish, depends_on=cell.depends_on, **options)(function)
        if options:
            raise DefinitionError(
                f"the cell has an @step of its own: write {', '.join(f'{k}={v!r}' for k, v in options.items())} there, "
                "or leave the @step out"
            )
        said = {"NAME": (name, function.name), "--executor": (executor, function.executor)}
        for option, (here, there) in said.items():
            if here is not None and here != there:
                raise DefinitionError(
                    f"{option} says {here!r} and the cell's own @step says {there!r}: keep one of them"
                )
        if depends is not None and not set(depends) <= set(function.depends_on):
            raise DefinitionError("--depends and the cell's own @step contradict each other: keep one of them")
        return function

    def _describe(self, step: StepMetadata, cell: StepCell) -> str:
        parts = [step.executor]
        if step.depends_on:
            parts.append(f"needs {', '.join(step.depends_on)}")
        if asks := str(step.options):
            parts.append(asks)
        if cell.valueless:
            parts.append("gives None (its last line is no expression)")
        steps = registry.steps
        others = [name for name in steps if name != step.name]
        missing = [name for name in step.depends_on if name not in steps]
        parts += [f"{name!r} is not defined yet.{nearest(name, others)}".rstrip(".") for name in missing]
        unknown = [name for name in cell.unknown if name not in self.names and not hasattr(builtins, name)]
        parts += [f"nothing is called {name!r} yet.{hint}" for name in unknown if (hint := nearest(name, others))]
        if hasattr(builtins, step.name):
            parts.append(f"it hides Python's own {step.name!r} in this notebook")
        return f"step {step.name}: {', '.join(parts)}"

    def _step_behind(self, name: str) -> str | None:
        if name in self.names:
            value = self.names[name]
            return value.name if isinstance(value, StepMetadata) else None
        return name if name in registry.steps else None

    def _check_executor(self, name: str) -> None:
        places = self.session.places
        if name == "auto":
            return
        try:
            places.resolve(name)
        except KeyError:
            raise PlacementError(f"there is no executor {name!r}.{who_else(name, places)}") from None

    def try_step(self, step: StepMetadata, inputs: str = "", *, force: bool = False) -> Any:
        """Run one step on the latest results of what it needs, show the run, and give the step's value.

        Args:
            inputs: A Python expression; empty for the inputs of the run that the results come from.
            force: Also where it has begun before and never runs twice.

        Raises:
            PlanError: Something that it needs has no result yet, or it never runs twice; nothing has run.
            ExecutionError: The step failed.
        """
        try:
            run = self.session.try_step(step, self.inputs_of_line(step.name, inputs), force=force)
        except PlanError as exc:
            raise PlanError(as_options(str(exc))) from None
        self.show(run)
        *given, mine = run.rows()
        sources = "".join(f", {row.step} is the {row.note}" for row in given)
        print(f"{step.name}: {duration(mine.ms or 0.0, ' ')}{sources}")  # noqa: T201  a magic answers in its cell
        return run.results[run.plan.answer]

    # -- workflows

    def workflow(
        self,
        source: Source,
        name: str,
        executor: str,
        strategy: Mapping[str, str] | None,
        fallback: Sequence[str] | None = None,
    ) -> str:
        """Make a workflow of a cell, check it, and show its timeline as one line.

        Raises:
            DefinitionError: The cell is no timeline.
            PlanError: The workflow could not run.
        """
        self._check_executor(executor)
        try:
            elements = read_timeline(source.body, first_line=source.first_line, filename=source.filename)
        except SyntaxError as exc:
            refuse_syntax(exc)
        made = make_workflow(
            name, elements, self.names, registry, executor=executor, strategy=strategy, fallback=fallback
        )
        plan = self.session.plan(made)
        if name in plan.names:
            raise DefinitionError(f"workflow {name!r} has a step of the same name: give the workflow another one")
        registry.add_workflow(made)
        if name.isidentifier():
            self.names[name] = made
        return f"{name}: {describe(timeline(elements, self.names, registry), plan)}"

    def find_workflow(self, name: str) -> Workflow:
        """The workflow of a name: the notebook's variable, or the registry's.

        Raises:
            PlanError: There is none; names the nearest.
        """
        mine = self.names.get(name)
        if isinstance(mine, Workflow):
            return mine
        if name in registry.workflows:
            return registry.workflows[name]
        what = (
            "is a step, not a workflow" if isinstance(mine, StepMetadata) or name in registry.steps else "is not known"
        )
        raise PlanError(f"workflow {name!r} {what}.{nearest(name, registry.workflows)} {self.known_workflows()}")

    def known_workflows(self) -> str:
        """The names to choose from, as a sentence."""
        if not registry.workflows:
            return "There is no workflow yet: make one with %%cerebelum_workflow NAME."
        return f"Workflows: {', '.join(registry.workflows)}."

    # -- runs

    def inputs_of_line(self, workflow: str, text: str) -> Any:
        """What the expression on a magic's line gives; None for no expression.

        Raises:
            PlanError: It is no expression, or it raises.
        """
        if not text:
            return None
        try:
            code = compile(text, "<inputs>", "eval", dont_inherit=True)
        except (SyntaxError, ValueError) as exc:
            why = exc.msg if isinstance(exc, SyntaxError) else exc
            raise PlanError(
                f"the inputs of {workflow} are no Python expression ({why}): {text[:80]}\n"
                'Write a dict, or pairs like who="Ann" n=3; for several lines a cell of its own under %%cerebelum_run.'
            ) from None
        return self._evaluate(workflow, code, "")

    def inputs_of_cell(self, workflow: str, source: Source) -> Any:
        """What the expression in a cell gives.

        Raises:
            PlanError: It raises.
            CellSyntaxError: It is no expression.
        """
        padded = "\n" * (source.first_line - 2) + "(\n" + source.body + "\n)"
        try:
            code = compile(padded, source.filename, "eval", dont_inherit=True)
        except SyntaxError as exc:
            refuse_syntax(wrong_in(source.body, source.first_line, source.filename, exc))
        return self._evaluate(workflow, code, source.filename)

    def _evaluate(self, workflow: str, code: Any, filename: str) -> Any:
        try:
            return eval(code, self.names)  # noqa: S307  the person's own expression
        except CerebelumError:
            raise
        except Exception as exc:
            own = [name for name in self.names if name not in self._ip.user_ns_hidden]
            hint = nearest(exc.name or "", own) if isinstance(exc, NameError) else ""
            line = line_in(exc, filename)
            at = f" (line {line})" if line else ""
            raise PlanError(f"the inputs of {workflow} give {type(exc).__name__}: {exc}{at}.{hint}") from exc

    def run(  # noqa: PLR0913  the options of the magic, each by name
        self,
        workflow: Workflow,
        inputs: Any,
        *,
        strategy: Mapping[str, str] | None = None,
        start_at: str | None = None,
        until: str | None = None,
        fresh: bool = False,
        on_failure: str | None = None,
        detach: bool = False,
    ) -> Run:
        """Start a run and show it; wait for its end unless it is detached.

        Raises:
            PlanError: It cannot run as asked; nothing has run.
            ExecutionError: A step failed.
        """
        run = self.session.run(
            workflow,
            inputs,
            strategy=strategy,
            start_at=start_at,
            until=until,
            fresh=fresh,
            on_failure=on_failure,
        )
        self.show(run, detach=detach)
        return run

    def show(self, run: Run, *, detach: bool = False) -> None:
        """Show a run that has just started."""
        if detach:
            self.displays.show(run)
        else:
            self.displays.wait(run)
