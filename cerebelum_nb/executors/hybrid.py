"""The specification's executor objects: plain words for where a run's steps go. The session does the work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cerebelum_nb.errors import NotYet


class _Runs:
    """Gives each of them ``await executor.execute(workflow, inputs)``."""

    async def execute(self, workflow: Any, inputs: Any = None) -> Any:
        """Run a workflow here; the same as ``workflow.execute(inputs, executor=self)``."""
        return await workflow.execute(inputs, executor=self)


@dataclass(frozen=True)
class DSLLocalExecutor(_Runs):
    """Every step in this process."""


@dataclass(frozen=True)
class DistributedExecutor(_Runs):
    """Every step on workers of the embedded Core, which starts by itself."""

    core_url: str | None = None

    def __post_init__(self) -> None:
        if self.core_url is not None:
            raise NotYet(
                f"core_url={self.core_url!r}: connecting to a Cerebelum Core elsewhere comes with a later version. "
                "Leave core_url out to use the embedded Core."
            )


@dataclass(frozen=True)
class HybridExecutor(_Runs):
    """Each step where its strategy, decorator or default says.

    Args:
        strategy: Step name or ``default`` to ``local`` or ``distributed``.
    """

    local_executor: DSLLocalExecutor = field(default_factory=DSLLocalExecutor)
    distributed_executor: DistributedExecutor = field(default_factory=DistributedExecutor)
    strategy: Mapping[str, str] | None = None
