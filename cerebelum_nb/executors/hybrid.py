"""The specification's executor objects: plain words for where a run's steps go. The session does the work."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cerebelum_nb.dsl import compat
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.options import ExecutorName
from cerebelum_nb.model.pools import core_url
from cerebelum_nb.model.typed import nearest


def meaning(*, executor: Any, use_local: bool | None, strategy: Mapping[str, str] | None) -> tuple[str, Any, str]:
    """What `execute`'s arguments say together: one place for all steps (empty for none), the strategy, the Core's URL.

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
        return everywhere, None, ""
    if isinstance(executor, DSLLocalExecutor):
        return "local", None, ""
    if isinstance(executor, DistributedExecutor):
        return "distributed", None, executor.url
    if isinstance(executor, HybridExecutor):
        return "", executor.strategy, executor.distributed_executor.url
    if executor is not None:
        raise PlanError(
            f"executor={executor!r:.60} is not an executor object: give HybridExecutor(...), DSLLocalExecutor() or "
            'DistributedExecutor(); for a name, write execution_strategy={"default": "distributed"}'
        )
    return "", strategy, ""


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
                elsewhere = (
                    " One that only workers elsewhere know is started by the SDK's own DistributedExecutor."
                    if getattr(self, "core_url", None)
                    else ""
                )
                near = nearest(workflow, registry.workflows)
                raise PlanError(f"there is no workflow {workflow!r:.80} here.{near}{elsewhere}")
            workflow = registry.workflows[workflow]
        if not hasattr(workflow, "execute"):
            raise PlanError(f"{workflow!r:.60} is not a workflow: decorate a function that takes wf with @workflow")
        return await workflow.execute(inputs, executor=self)


@dataclass(frozen=True)
class DSLLocalExecutor(_Runs):
    """Every step in this process."""


@dataclass(frozen=True)
class DistributedExecutor(_Runs):
    """Every step on worker processes of this machine, by the embedded Core, which starts by itself, or one elsewhere.

    With `core_url` a Core of Cerebelum's makers says when each step may begin, and learns no more than its name. It
    carries neither functions nor values, so that steps run here and not on the workers that others have registered
    there, and the result is the run's, awaited: never the SDK's "running" without an output. Such a Core knows no
    pools, priorities or cancel, and gives any task to whoever polls: leave it to one kernel. With ``tls://`` it is a
    Core that ``cerebelum core serve --listen`` serves, whose workers do run the steps, on whatever machines they are.

    To start a workflow that SDK workers elsewhere serve, use the SDK's own `DistributedExecutor`.

    Args:
        core_url: ``localhost:9090`` or ``grpc://host:port``, and ``grpcs://host:port`` with TLS, which need the extra
            ``upstream``; or ``tls://host:port``, with the pass ``.cerebelum/core.pass``. A pool of pyproject.toml that
            names the same Core lends its number of workers, its certificates or its pass; else there are as many
            workers as ``workers`` in the configuration says. None for the session's.
        worker_id: For files written for the SDK, which does not use it either.
        timeout: The same.

    Raises:
        PlanError: `core_url` is no such address.
    """

    core_url: str | None = None
    worker_id: str = "python-executor"
    timeout: float = 30.0

    def __post_init__(self) -> None:
        self.url  # noqa: B018  an address that is none is told where it is written

    @property
    def url(self) -> str:
        """The Core's address in full; empty for the session's."""
        return "" if self.core_url is None else core_url(self.core_url, f"core_url={self.core_url!r:.80}")

    def close(self) -> None:
        """Nothing: workers are the session's, and end with it. For files written for the SDK."""

    def __enter__(self) -> Self:
        """The same."""
        return self

    def __exit__(self, *_args: object) -> None:
        """The same."""


@dataclass(frozen=True)
class HybridExecutor(_Runs):
    """Each step where its strategy, decorator or default says.

    Args:
        distributed_executor: What ``distributed`` means, where it names a Core.
        strategy: Step name or ``default`` to ``local`` or ``distributed``.
    """

    local_executor: DSLLocalExecutor = field(default_factory=DSLLocalExecutor)
    distributed_executor: DistributedExecutor = field(default_factory=DistributedExecutor)
    strategy: Mapping[str, ExecutorName] | None = None
