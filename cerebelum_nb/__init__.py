"""Hybrid workflows in notebooks: write a step in a cell, run it here or on workers, watch it, click to move it.

The layers, top down; imports only go down:

    cli, notebook, testing      front doors: command line; magics and widget; what tests need
    session                     where everything meets: executors, journal, results
    executors | core | worker   where attempts run; the embedded Core and its workers are processes of their own
    runtime | dsl               one run: plan, schedule, journal | how people write steps and workflows
    attempt, capture, wire      run user code once; ship functions; what crosses a process boundary
    codec, seal                 values to bytes; sealed envelopes
    protocols, model, errors    what may be replaced; frozen data and the fold; the tree of errors
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors; at run time each is imported when first used, so that the import stays quick
    from cerebelum_nb.context import Context as Context
    from cerebelum_nb.dsl.decorators import step as step
    from cerebelum_nb.dsl.decorators import workflow as workflow
    from cerebelum_nb.dsl.registry import StepRegistry as StepRegistry
    from cerebelum_nb.dsl.runs import runs as runs
    from cerebelum_nb.dsl.step import StepMetadata as StepMetadata
    from cerebelum_nb.dsl.workflow import Workflow as Workflow
    from cerebelum_nb.errors import CerebelumError as CerebelumError
    from cerebelum_nb.errors import DefinitionError as DefinitionError
    from cerebelum_nb.errors import ExecutionError as ExecutionError
    from cerebelum_nb.errors import ExecutorError as ExecutorError
    from cerebelum_nb.errors import NotYet as NotYet
    from cerebelum_nb.errors import PlacementError as PlacementError
    from cerebelum_nb.errors import PlanError as PlanError
    from cerebelum_nb.errors import RunCancelled as RunCancelled
    from cerebelum_nb.errors import StepFailed as StepFailed
    from cerebelum_nb.executors.hybrid import DistributedExecutor as DistributedExecutor
    from cerebelum_nb.executors.hybrid import DSLLocalExecutor as DSLLocalExecutor
    from cerebelum_nb.executors.hybrid import HybridExecutor as HybridExecutor
    from cerebelum_nb.runtime.answers import ExecutionResult as ExecutionResult
    from cerebelum_nb.runtime.run import Run as Run
    from cerebelum_nb.session import Session as Session

_WHERE = {
    "CerebelumError": "errors",
    "Context": "context",
    "DSLLocalExecutor": "executors.hybrid",
    "DefinitionError": "errors",
    "DistributedExecutor": "executors.hybrid",
    "ExecutionError": "errors",
    "ExecutionResult": "runtime.answers",
    "ExecutorError": "errors",
    "HybridExecutor": "executors.hybrid",
    "NotYet": "errors",
    "PlacementError": "errors",
    "PlanError": "errors",
    "Run": "runtime.run",
    "RunCancelled": "errors",
    "Session": "session",
    "StepFailed": "errors",
    "runs": "dsl.runs",
    "StepMetadata": "dsl.step",
    "StepRegistry": "dsl.registry",
    "Workflow": "dsl.workflow",
    "step": "dsl.decorators",
    "workflow": "dsl.decorators",
}
__all__ = sorted(_WHERE)  # noqa: PLE0605  a test holds it against the names above
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'cerebelum_nb' has no attribute {name!r}")
    if _WHERE[name].startswith("dsl."):
        _wire()
    value = getattr(importlib.import_module(f"cerebelum_nb.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__", "load_ipython_extension"]


def load_ipython_extension(ip: Any) -> None:
    """What ``%load_ext cerebelum_nb`` calls."""
    _wire()
    importlib.import_module("cerebelum_nb.notebook.extension").load(ip)


def _wire() -> None:
    """Tell definitions who runs them. Not at import: Core and workers import this page too, and define nothing."""
    importlib.import_module("cerebelum_nb.dsl.registry").registry.runs_with(_open_session)


def _open_session() -> Any:
    return importlib.import_module("cerebelum_nb.session").current()
