"""What has been defined so far: the one live object at module level, since decorators run at import.

A step is known by its module, name and function, so two files may both have a ``load``; running a cell
again replaces what the same cell defined before. What a cell no longer defines is retired: who still holds the old
object in a timeline gets its heir, or an error, and never the old code.
"""

import sys
from collections.abc import Callable
from typing import Any

from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import DefinitionError, InternalError, PlanError

_Key = tuple[str, str, str]  # module, the step's name, the function's


class StepRegistry:
    """Steps and workflows by name, newest definition first.

    Attributes:
        on_step: Called with each step that is defined, after it is known.
    """

    def __init__(self) -> None:
        self._steps: dict[_Key, StepMetadata] = {}
        self._retired: dict[_Key, tuple[_Key | None, str]] = {}  # -> the step that took its place, or why there is none
        self._undone_by: dict[_Key, Callable[..., Any]] = {}
        self.on_step: list[Callable[[StepMetadata], None]] = []
        self.workflows: dict[str, Workflow] = {}
        self._open_runner: Callable[[], Any] | None = None

    def __reduce__(self) -> str:
        return "registry"  # a step that captures a workflow must not ship all that was ever defined

    @property
    def steps(self) -> dict[str, StepMetadata]:
        """The newest step of each name; the notebook's own before imported ones."""
        by_name = {step.name: step for step in self._steps.values() if step.module != "__main__"}
        return by_name | {step.name: step for step in self._steps.values() if step.module == "__main__"}

    def add_step(self, step: StepMetadata) -> None:
        """Remember a step; the same module and name replaces, and is undone as that was, where it does not say how.

        Raises:
            DefinitionError: It contradicts that.
        """
        step.home = self
        if _is_top_level(step):
            key = _key(step)
            if step.definition.undo is not None:
                self._undone_by.pop(key, None)
            elif key in self._undone_by:
                step.undo_with(self._undone_by[key])
            self._steps.pop(key, None)
            self._retired.pop(key, None)
            self._steps[key] = step
            for listener in self.on_step:
                listener(step)

    def is_undone_by(self, step: StepMetadata, function: Callable[..., Any] | None) -> None:
        """Remember what undoes a step, said apart from it: it stays so when the step is defined again."""
        self._undone_by.pop(_key(step), None)
        if function is not None and _is_top_level(step):
            self._undone_by[_key(step)] = function

    def retire(self, step: StepMetadata, *, heir: StepMetadata | None = None, why: str = "") -> None:
        """Forget a step, unless it has been defined again since.

        Args:
            heir: The step that timelines with the old one run from now on: the same name over another function.
            why: Without an heir, what the error of such a timeline says about it.
        """
        key = _key(step)
        if self._steps.get(key) is step and (heir is None or _key(heir) != key):
            del self._steps[key]
            self._retired[key] = (_key(heir) if heir is not None else None), why

    def add_workflow(self, workflow: Workflow) -> None:
        """Remember a workflow; the same name replaces."""
        self.workflows[workflow.name] = workflow

    def newest(self, step: StepMetadata) -> StepMetadata:
        """The newest definition of a step that a timeline holds: a cell that ran again counts at once.

        Raises:
            DefinitionError: The step was retired.
        """
        if not _is_top_level(step):
            return step
        key = _key(step)
        while key not in self._steps and key in self._retired:
            heir, why = self._retired[key]
            if heir is None:
                raise DefinitionError(
                    f"step {step.name!r} is gone: {why}. Take it out of the timeline, or define it again"
                )
            key = heir
        return self._steps.get(key, step)

    def runs_with(self, open_runner: Callable[[], Any]) -> None:
        """Tell how workflows get a session; called once by the package's front page."""
        self._open_runner = open_runner

    def runner(self) -> Any:
        """The session that runs workflows.

        Raises:
            PlanError: We are in a worker.
        """
        if "cerebelum_nb.worker.loop" in sys.modules:  # only workers load it
            raise PlanError(
                "a step on a worker cannot run workflows: call the step's function directly, or run the outer step "
                "locally"
            )
        if self._open_runner is None:
            raise InternalError("no session is known to the registry; import cerebelum_nb, not a part of it")
        return self._open_runner()


def _key(step: StepMetadata) -> "_Key":
    return step.module, step.name, getattr(step.function, "__qualname__", "")


def _is_top_level(step: StepMetadata) -> bool:
    # A step made inside a function belongs to that call: another call's step of the same name is another step.
    return "<locals>" not in getattr(step.function, "__qualname__", "<locals>")


registry = StepRegistry()
