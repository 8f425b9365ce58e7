"""How people write steps and workflows: what files written for the SDK import from ``cerebelum.dsl``.

``step`` and ``workflow`` are the decorators here, although two modules of this room are called so too.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cerebelum_nb.dsl.decorators import step, workflow
from cerebelum_nb.dsl.registry import StepRegistry, registry
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.timeline import Composition as StepComposition
from cerebelum_nb.dsl.workflow import ValidationReport, Workflow, WorkflowBuilder
from cerebelum_nb.errors import (
    DependencyError,
    DSLError,
    InvalidReturnValueError,
    RetryExhaustedError,
    SerializationError,
    StepDefinitionError,
    StepExecutionError,
    StepTimeoutError,
    WorkflowDefinitionError,
)

if TYPE_CHECKING:  # these live elsewhere, and are had from there when first used
    from cerebelum_nb.context import Context
    from cerebelum_nb.helpers import ProgressReporter, poll, retry, sleep, wait_for_approval

    DSLLocalExecutor: Any

WorkflowMetadata = Workflow  # the SDK's name

_ELSEWHERE = frozenset(
    {"Context", "DSLLocalExecutor", "ProgressReporter", "poll", "retry", "sleep", "wait_for_approval"}
)

__all__ = [
    "Context",
    "DSLError",
    "DSLLocalExecutor",
    "DependencyError",
    "InvalidReturnValueError",
    "ProgressReporter",
    "RetryExhaustedError",
    "SerializationError",
    "StepComposition",
    "StepDefinitionError",
    "StepExecutionError",
    "StepMetadata",
    "StepRegistry",
    "StepTimeoutError",
    "ValidationReport",
    "WorkflowBuilder",
    "WorkflowDefinitionError",
    "WorkflowMetadata",
    "poll",
    "retry",
    "sleep",
    "step",
    "wait_for_approval",
    "workflow",
]

# Definitions learn here who runs them: whoever defines something has imported this page.
registry.runs_with(lambda: _front_page().open_session())


def _front_page() -> Any:
    return importlib.import_module("cerebelum_nb")


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(_front_page(), name)
    importlib.import_module("cerebelum_nb.dsl.compat").refuse(name, __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
