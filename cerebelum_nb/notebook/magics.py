"""The magics: parse the line, one call into the session, show the outcome. Each has a Python twin."""

from collections.abc import Mapping
from typing import Any, Final

from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class, no_var_expand

from cerebelum_nb.notebook import manual
from cerebelum_nb.notebook.arguments import Option, UsageError, read_line

STEP_OPTIONS: Final = (
    Option("--executor"),
    Option("--depends", "names"),
    *(Option(f"--{name}", later=True) for name in ("retries", "timeout", "cache", "label", "run")),
)
WORKFLOW_OPTIONS: Final = (Option("--executor"), Option("--strategy", "map"))
RUN_OPTIONS: Final = (Option("--strategy", "map"), Option("--from"), Option("--until"), Option("--detach", "flag"))


@magics_class
class CerebelumMagics(Magics):
    """Steps, workflows and runs as cells. What they need is imported at the first use."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._notebook: Any = None

    @property
    def notebook(self) -> Any:
        """What the magics do, apart from reading their line."""
        if self._notebook is None:
            from cerebelum_nb.notebook.work import Notebook  # noqa: PLC0415  keeps %load_ext quick

            self._notebook = Notebook(self.shell)
        return self._notebook

    def show(self, run: Any) -> bool:
        """Show a run that is a cell's value."""
        self.notebook.displays.show(run)
        return True

    @no_var_expand
    @cell_magic
    def cerebelum_step(self, line: str, cell: str) -> None:
        """Make a step of this cell; see the text that stands here when loaded."""
        args = read_line(line, STEP_OPTIONS, manual.usage("step"))
        if len(args.words) > 1:
            raise UsageError(f"one name at most, got {' '.join(args.words)}.\n{manual.usage('step')}")
        if not cell.strip():
            print(manual.hint("step"))  # noqa: T201  a magic answers in its cell
            return
        name = args.words[0] if args.words else None
        source = self.notebook.source("cerebelum_step", line, cell)
        print(self.notebook.step(source, name, args.text.get("--executor"), args.names.get("--depends")))  # noqa: T201

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
        print(self.notebook.workflow(source, args.words[0], args.text.get("--executor", "auto"), strategy))  # noqa: T201

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
            inputs = self.notebook.inputs_of_line(workflow, args.rest)
        else:
            inputs = self.notebook.inputs_of_cell(workflow, self.notebook.source("cerebelum_run", line, cell))
        return self.notebook.run(
            workflow,
            inputs,
            strategy=args.maps.get("--strategy"),
            start_at=args.text.get("--from"),
            until=args.text.get("--until"),
            detach="--detach" in args.flags,
        )

    @no_var_expand
    @line_magic
    def cerebelum(self, line: str) -> Any:
        """Look at steps, workflows and runs; see the text that stands here when loaded."""
        from cerebelum_nb.notebook.verbs import answer  # noqa: PLC0415  keeps %load_ext quick

        return answer(line, self.notebook)


for _name in ("step", "workflow", "run"):
    getattr(CerebelumMagics, f"cerebelum_{_name}").__doc__ = manual.text(_name)
CerebelumMagics.cerebelum.__doc__ = manual.overview()
