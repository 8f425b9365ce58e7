"""`workflow.as_step()`: a workflow as one step of another."""

from typing import TYPE_CHECKING

from cerebelum_nb.dsl.timeline import Chainable

if TYPE_CHECKING:
    from cerebelum_nb.dsl.workflow import Workflow


class SubWorkflow(Chainable):
    """Stands in a timeline for all steps of a workflow; its result is that workflow's.

    Attributes:
        name: What other steps call its result; its steps are called ``name/step``.
        executor: Where its steps run unless they say otherwise; ``auto`` for what the workflow itself says.
        inputs: The step whose result its steps get as ``inputs``; empty for the run's own inputs.
    """

    def __init__(self, workflow: "Workflow", name: str, executor: str, inputs: str) -> None:
        self.workflow, self.name, self.executor, self.inputs = workflow, name, executor, inputs

    def __repr__(self) -> str:
        return f"<{self.workflow.name} as step {self.name}>"
