"""The specification's executor objects: plain words for where a run's steps go. The session does the work."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cerebelum_nb.dsl import compat
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.errors import NotYet, PlanError
from cerebelum_nb.model.options import ExecutorName
from cerebelum_nb.model.typed import nearest


def meaning(*, executor: Any, use_local: bool | None, strategy: Mapping[str, str] | None) -> tuple[str, Any]:
    """What `execute`'s arguments say together: one place for all steps (empty for none), and the strategy.

    Raises:
        PlanError: They contradict each other, or `executor` is no executor object.
    """
    given = {"executor": executor, "use_local": use_local, "execution_strategy": strategy}
    said = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    if len(said) > 1:
        raise PlanError(f"{' and '.join(said)} contradict each other: give one of them")
    if use_local is not None:
        everywhere = "local" if use_local else "distributed"
        warnings.warn(
            f'use_local is deprecated: write execution_strategy={{"default": "{everywhere}"}}, '
            "which leaves steps that name their executor where they are",
            DeprecationWarning,
            stacklevel=4,
        )
        return everywhere, None
    if isinstance(executor, DSLLocalExecutor):
        return "local", None
    if isinstance(executor, DistributedExecutor):
        return "distributed", None
    if isinstance(executor, HybridExecutor):
        return "", executor.strategy
    if executor is not None:
        raise PlanError(
            f"executor={executor!r:.60} is not an executor object: give HybridExecutor(...), DSLLocalExecutor() or "
            'DistributedExecutor(); for a name, write execution_strategy={"default": "distributed"}'
        )
    return "", strategy


class _Runs:
    """Gives each of them ``await executor.execute(workflow, inputs)``."""

    async def execute(self, workflow: Any, inputs: Any = None) -> Any:
        """Run a workflow here; the same as ``workflow.execute(inputs, executor=self)``.

        Args:
            workflow: A workflow, the name of one, or what the SDK's ``execute(inputs, executor=self)`` hands over.
            inputs: What its steps get as ``inputs``.

        Raises:
            PlanError: It is no workflow, or cannot run as it stands.
            ExecutionError: A step failed.
        """
        if compat.is_built(workflow):
            return await compat.execute(workflow, inputs, self)
        if isinstance(workflow, str):
            if workflow not in registry.workflows:
                raise PlanError(f"there is no workflow {workflow!r:.80}.{nearest(workflow, registry.workflows)}")
            workflow = registry.workflows[workflow]
        if not hasattr(workflow, "execute"):
            raise PlanError(f"{workflow!r:.60} is not a workflow: decorate a function that takes wf with @workflow")
        return await workflow.execute(inputs, executor=self)


@dataclass(frozen=True)
class DSLLocalExecutor(_Runs):
    """Every step in this process."""


@dataclass(frozen=True)
class DistributedExecutor(_Runs):
    """Every step on workers of the embedded Core, which starts by itself.

    Args:
        core_url: Not in this version: a Core elsewhere is named in pyproject.toml.
        worker_id: For files written for the SDK, which does not use it either.
        timeout: The same.
    """

    core_url: str | None = None
    worker_id: str = "python-executor"
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.core_url is not None:
            raise NotYet(
                f"core_url={self.core_url!r}: a Core elsewhere is not named here yet, but for the whole project: "
                f"core_url = {self.core_url!r} in [tool.cerebelum] of pyproject.toml. Leave it out here."
            )


@dataclass(frozen=True)
class HybridExecutor(_Runs):
    """Each step where its strategy, decorator or default says.

    Args:
        strategy: Step name or ``default`` to ``local`` or ``distributed``.
    """

    local_executor: DSLLocalExecutor = field(default_factory=DSLLocalExecutor)
    distributed_executor: DistributedExecutor = field(default_factory=DistributedExecutor)
    strategy: Mapping[str, ExecutorName] | None = None
