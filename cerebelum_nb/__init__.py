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
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors; at run time each is imported when first used, so that the import stays quick
    from cerebelum_nb.context import Context as Context
    from cerebelum_nb.dsl.compat import ApprovalInfo as ApprovalInfo
    from cerebelum_nb.dsl.compat import ExecutionClient as ExecutionClient
    from cerebelum_nb.dsl.compat import ExecutionState as ExecutionState
    from cerebelum_nb.dsl.compat import ExecutionStatus as ExecutionStatus
    from cerebelum_nb.dsl.compat import SleepInfo as SleepInfo
    from cerebelum_nb.dsl.compat import StepStatus as StepStatus
    from cerebelum_nb.dsl.compat import Worker as Worker
    from cerebelum_nb.dsl.decorators import step as step
    from cerebelum_nb.dsl.decorators import workflow as workflow
    from cerebelum_nb.dsl.registry import StepRegistry as StepRegistry
    from cerebelum_nb.dsl.routes import back_to as back_to
    from cerebelum_nb.dsl.runs import runs as runs
    from cerebelum_nb.dsl.step import StepMetadata as StepMetadata
    from cerebelum_nb.dsl.timeline import Composition as StepComposition  # noqa: F401  the SDK's name
    from cerebelum_nb.dsl.workflow import Workflow as Workflow
    from cerebelum_nb.errors import CerebelumError as CerebelumError
    from cerebelum_nb.errors import CompensationFailed as CompensationFailed
    from cerebelum_nb.errors import DefinitionError as DefinitionError
    from cerebelum_nb.errors import ExecutionError as ExecutionError
    from cerebelum_nb.errors import ExecutorError as ExecutorError
    from cerebelum_nb.errors import NotActiveYet as NotActiveYet
    from cerebelum_nb.errors import NotYet as NotYet
    from cerebelum_nb.errors import PlacementError as PlacementError
    from cerebelum_nb.errors import PlanError as PlanError
    from cerebelum_nb.errors import RunCancelled as RunCancelled
    from cerebelum_nb.errors import ValidationError as ValidationError
    from cerebelum_nb.errors import WorkerError as WorkerError
    from cerebelum_nb.executors.hybrid import DistributedExecutor as DistributedExecutor
    from cerebelum_nb.executors.hybrid import DSLLocalExecutor as DSLLocalExecutor
    from cerebelum_nb.executors.hybrid import HybridExecutor as HybridExecutor
    from cerebelum_nb.helpers import ApprovalRejected as ApprovalRejected
    from cerebelum_nb.helpers import ApprovalTimeout as ApprovalTimeout
    from cerebelum_nb.helpers import ProgressReporter as ProgressReporter
    from cerebelum_nb.helpers import poll as poll
    from cerebelum_nb.helpers import retry as retry
    from cerebelum_nb.helpers import sleep as sleep
    from cerebelum_nb.helpers import wait_for_approval as wait_for_approval
    from cerebelum_nb.runtime.answers import ExecutionResult as ExecutionResult
    from cerebelum_nb.runtime.run import Run as Run
    from cerebelum_nb.session import Session as Session

_WHERE = {
    "ApprovalInfo": "dsl.compat",
    "ApprovalRejected": "helpers",
    "ApprovalTimeout": "helpers",
    "CerebelumError": "errors",
    "CompensationFailed": "errors",
    "Context": "context",
    "DSLLocalExecutor": "executors.hybrid",
    "DefinitionError": "errors",
    "DistributedExecutor": "executors.hybrid",
    "ExecutionClient": "dsl.compat",
    "ExecutionError": "errors",
    "ExecutionResult": "runtime.answers",
    "ExecutionState": "dsl.compat",
    "ExecutionStatus": "dsl.compat",
    "ExecutorError": "errors",
    "HybridExecutor": "executors.hybrid",
    "NotActiveYet": "errors",
    "NotYet": "errors",
    "PlacementError": "errors",
    "PlanError": "errors",
    "ProgressReporter": "helpers",
    "Run": "runtime.run",
    "RunCancelled": "errors",
    "Session": "session",
    "SleepInfo": "dsl.compat",
    "StepMetadata": "dsl.step",
    "StepRegistry": "dsl.registry",
    "StepStatus": "dsl.compat",
    "ValidationError": "errors",
    "Worker": "dsl.compat",
    "WorkerError": "errors",
    "Workflow": "dsl.workflow",
    "back_to": "dsl.routes",
    "poll": "helpers",
    "retry": "helpers",
    "runs": "dsl.runs",
    "sleep": "helpers",
    "step": "dsl.decorators",
    "wait_for_approval": "helpers",
    "workflow": "dsl.decorators",
}
_OTHER_NAMES = {"StepComposition": ("dsl.timeline", "Composition")}  # the SDK's name for one of ours
__all__ = sorted([*_WHERE, *_OTHER_NAMES])  # noqa: PLE0605  a test holds it against the names above
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    where, called = _OTHER_NAMES.get(name) or (_WHERE.get(name), name)
    if where is None:
        if not name.startswith("_") and PathFinder.find_spec(f"{__name__}.{name}", __path__) is None:
            importlib.import_module("cerebelum_nb.dsl.compat").refuse(name, "cerebelum_nb")
        raise AttributeError(f"module 'cerebelum_nb' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"cerebelum_nb.{where}"), called)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__", "load_ipython_extension"]


def load_ipython_extension(ip: Any) -> None:
    """What ``%load_ext cerebelum_nb`` calls."""
    importlib.import_module("cerebelum_nb.notebook.extension").load(ip)


def open_session() -> Any:
    """The session of this process, opened when first asked for."""
    return importlib.import_module("cerebelum_nb.session").current()
