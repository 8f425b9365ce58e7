"""The workflow of a run of an earlier kernel: known by its name until its cells have run again."""

from collections.abc import Mapping

from cerebelum_nb.dsl.registry import StepRegistry
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.workflow import WorkflowDef


class Recalled:
    """Stands for a workflow that is looked up when it is needed.

    Attributes:
        name: The workflow's name.
    """

    def __init__(self, name: str, registry: StepRegistry) -> None:
        self.name, self._registry = name, registry

    def _found(self) -> Workflow:
        found = self._registry.workflows.get(self.name)
        if found is None:
            raise PlanError(
                f"workflow {self.name!r} is not defined in this kernel: run the cells that define it and its steps, "
                "then try again"
            )
        return found

    @property
    def executor(self) -> str:
        """Where its steps run unless something nearer says otherwise."""
        return self._found().executor

    @property
    def execution_strategy(self) -> Mapping[str, str]:
        """Its own map of step name or ``default`` to executor."""
        return self._found().execution_strategy

    @property
    def on_failure(self) -> str | None:
        """What becomes of its runs that fail."""
        return self._found().on_failure

    def define(self) -> WorkflowDef:
        """Its timeline as it stands now.

        Raises:
            PlanError: It is not defined yet in this kernel.
        """
        return self._found().define()
