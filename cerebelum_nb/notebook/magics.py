"""The magics: parse the line, one call into the session, show the outcome. Each has a Python twin."""

from collections.abc import Mapping
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class, no_var_expand

from cerebelum_nb.notebook import manual
from cerebelum_nb.notebook.arguments import (
    Arguments,
    UsageError,
    inputs_expression,
    read_line,
    seconds,
    whole,
)
from cerebelum_nb.notebook.claims import Claims
from cerebelum_nb.notebook.options import RUN_OPTIONS, STEP_OPTIONS, WORKFLOW_OPTIONS
from cerebelum_nb.notebook.stale import Seen


@magics_class
class CerebelumMagics(Magics):
    """Steps, workflows and runs as cells. What they need is imported at the first use."""

    def __init__(self, shell: Any, claims: Claims, seen: Seen) -> None:
        super().__init__(shell)
        self._claims, self._seen = claims, seen
        self._notebook: Any = None

    @property
    def notebook(self) -> Any:
        """What the magics do, apart from reading their line."""
        if self._notebook is None:
            from cerebelum_nb.notebook.work import Notebook  # noqa: PLC0415  keeps %load_ext quick

            self._notebook = Notebook(self.shell, self._claims, self._seen)
        return self._notebook

    def show(self, run: Any) -> bool:
        """Show a run that is a cell's value."""
        self.notebook.displays.show(run)
        return True

    @no_var_expand
    @cell_magic
    def cerebelum_step(self, line: str, cell: str) -> Any:
        """Make a step of this cell; see the text that stands here when loaded."""
        args = read_line(line, STEP_OPTIONS, manual.usage("step"))
        if len(args.words) > 1:
            raise UsageError(f"one name at most, got {' '.join(args.words)}.\n{manual.usage('step')}")
        if not cell.strip():
            print(manual.hint("step"))  # noqa: T201  a magic answers in its cell
            return None
        if "--inputs" in args.text and "--run" not in args.flags:
            raise UsageError(f"--inputs are for --run: add it, or leave them out.\n{manual.usage('step')}")
        if "--force" in args.flags and "--run" not in args.flags:
            raise UsageError(f"--force is for --run: add it, or leave it out.\n{manual.usage('step')}")
        name = args.words[0] if args.words else None
        source = self.notebook.source("cerebelum_step", line, cell)
        if (undone := args.text.get("--compensates")) is not None:
            if (args.text.keys() | args.names.keys() | args.flags) - {"--compensates"}:
                raise UsageError(f"--compensates makes no step, so it takes no other option.\n{manual.usage('step')}")
            print(self.notebook.compensation(source, name, undone))  # noqa: T201
            return None
        step, said = self.notebook.step(
            source, name, args.text.get("--executor"), args.names.get("--depends"), _step_options(args)
        )
        print(said)  # noqa: T201
        if "--run" not in args.flags:
            return None
        return self.notebook.try_step(step, args.text.get("--inputs", ""), force="--force" in args.flags)

    @no_var_expand
    @cell_magic
    def cerebelum_workflow(self, line: str, cell: str) -> None:
        """Make a workflow of this cell; see the text that stands here when loaded."""
        args = read_line(line, WORKFLOW_OPTIONS, manual.usage("workflow"))
        if len(args.words) != 1:
            wrong = "the workflow needs a name" if not args.words else f"one name, got {' '.join(args.words)}"
            raise UsageError(f"{wrong}.\n{manual.usage('workflow')}")
        if not cell.strip():
            print(manual.hint("workflow"))  # noqa: T201
            return
        source = self.notebook.source("cerebelum_workflow", line, cell)
        strategy: Mapping[str, str] | None = args.maps.get("--strategy")
        fallback = args.names.get("--fallback")
        executor = args.text.get("--executor", "auto")
        print(self.notebook.workflow(source, args.words[0], executor, strategy, fallback))  # noqa: T201

    @no_var_expand
    @line_cell_magic
    def cerebelum_run(self, line: str, cell: str | None = None) -> Any:
        """Run a workflow; see the text that stands here when loaded."""
        args = read_line(line, RUN_OPTIONS, manual.usage("run"))
        if not args.words:
            raise UsageError(f"which workflow? {self.notebook.known_workflows()}\n{manual.usage('run')}")
        workflow = self.notebook.find_workflow(args.words[0])
        if args.rest and cell is not None and cell.strip():
            raise UsageError(
                f"the inputs stand in the cell and again in its first line; leave one out.\n{manual.usage('run')}"
            )
        if cell is None or not cell.strip():
            text = inputs_expression(args.words[1:], manual.usage("run"))
            inputs = self.notebook.inputs_of_line(workflow.name, text)
        else:
            inputs = self.notebook.inputs_of_cell(workflow.name, self.notebook.source("cerebelum_run", line, cell))
        return self.notebook.run(
            workflow,
            inputs,
            strategy=args.maps.get("--strategy"),
            start_at=args.text.get("--from"),
            until=args.text.get("--until"),
            fresh="--fresh" in args.flags,
            on_failure=args.text.get("--on-failure"),
            detach="--detach" in args.flags,
        )

    @no_var_expand
    @line_magic
    def cerebelum(self, line: str) -> Any:
        """Look at steps, workflows and runs; see the text that stands here when loaded."""
        from cerebelum_nb.notebook.verbs import answer  # noqa: PLC0415  keeps %load_ext quick

        return answer(line, self.notebook)


def _step_options(args: Arguments) -> dict[str, Any]:
    """What the line says about a step besides name, place and order; as `@step` takes it."""
    usage = manual.usage("step")
    given = {
        "retries": whole("--retries", args.text.get("--retries"), usage),
        "timeout": seconds("--timeout", args.text.get("--timeout"), usage),
        "cache": True if "--cache" in args.flags else None,
        "version": args.text.get("--version"),
        "effects": args.text.get("--effects"),
        "fallback": args.names.get("--fallback"),
        "labels": list(args.names["--label"]) if "--label" in args.names else None,
    }
    return {name: value for name, value in given.items() if value is not None}


for _name in ("step", "workflow", "run"):
    getattr(CerebelumMagics, f"cerebelum_{_name}").__doc__ = manual.text(_name)
CerebelumMagics.cerebelum.__doc__ = manual.overview()
