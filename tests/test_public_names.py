"""The front page shows what it says it shows, and stays light; the SDK's names are there, or say why they are not."""

import ast
import inspect
import subprocess
import sys

import pytest

import cerebelum_nb
import cerebelum_nb.dsl
from cerebelum_nb import ExecutionState, NotYet, step, workflow
from cerebelum_nb.dsl.compat import NOT_OFFERED

HEAVY = ("grpc", "IPython", "anywidget", "ipywidgets", "cloudpickle", "numpy", "asyncio", "sqlite3")
SDK = [
    "ActionType",
    "ApprovalInfo",
    "BlueprintSerializer",
    "BranchAction",
    "BranchBuilder",
    "BranchRule",
    "CerebelumError",
    "ConditionBranch",
    "Context",
    "DSLExecutionAdapter",
    "DSLLocalExecutor",
    "DSLSerializer",
    "DistributedExecutor",
    "DivergeBuilder",
    "DivergeRule",
    "ExecutionClient",
    "ExecutionContext",
    "ExecutionError",
    "ExecutionResult",
    "ExecutionState",
    "ExecutionStatus",
    "Executor",
    "LocalExecutor",
    "ParallelStepGroup",
    "PatternMatch",
    "ProgressReporter",
    "SleepInfo",
    "StepComposition",
    "StepFunction",
    "StepMetadata",
    "StepRef",
    "StepRegistry",
    "StepStatus",
    "ValidationError",
    "Worker",
    "WorkerError",
    "WorkflowBuilder",
    "WorkflowDefinition",
    "WorkflowRegistry",
    "__version__",
    "poll",
    "retry",
    "sleep",
    "step",
    "wait_for_approval",
    "workflow",
]
SDK_DSL = [
    "BranchRule",
    "Context",
    "DSLError",
    "DSLExecutionAdapter",
    "DSLLocalExecutor",
    "DSLSerializer",
    "DependencyAnalyzer",
    "DependencyError",
    "DependencyGraph",
    "DependencyNode",
    "DivergeRule",
    "InvalidReturnValueError",
    "ParallelStepGroup",
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
    "WorkflowRegistry",
    "WorkflowValidator",
    "poll",
    "retry",
    "sleep",
    "step",
    "wait_for_approval",
    "workflow",
]


def loaded_by(code):
    """Which heavy packages a piece of code loads."""
    code = f"import sys\n{code}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    return told.stdout.strip()


def test_every_public_name_can_be_had_and_the_list_is_sorted():
    assert cerebelum_nb.__all__ == sorted(cerebelum_nb.__all__)
    assert all(hasattr(cerebelum_nb, name) for name in cerebelum_nb.__all__)
    assert all(hasattr(cerebelum_nb.dsl, name) for name in cerebelum_nb.dsl.__all__)


def test_editors_are_shown_the_same_names():
    body = ast.parse(inspect.getsource(cerebelum_nb)).body
    (shown,) = [node for node in body if isinstance(node, ast.If)]

    assert sorted(alias.asname for node in shown.body for alias in node.names) == cerebelum_nb.__all__


@pytest.mark.parametrize(
    "code",
    [
        "import cerebelum_nb",
        "from cerebelum_nb import step, workflow",
        "from cerebelum_nb.dsl import step, StepDefinitionError",
    ],
)
def test_importing_and_defining_loads_nothing_heavy(code):
    assert loaded_by(code) == "[]"


def test_the_room_of_the_dsl_gives_the_decorators():
    assert (cerebelum_nb.dsl.step, cerebelum_nb.dsl.workflow) == (step, workflow)


def test_a_workflow_runs_in_a_file_that_imports_from_the_room_of_the_dsl_alone(tmp_path):
    file = tmp_path / "alone.py"
    file.write_text(
        "import asyncio\nfrom cerebelum_nb.dsl import step, workflow\n\n"
        "@step\nasync def one(context, inputs):\n    return inputs['n']\n\n"
        "@workflow\ndef flow(wf):\n    wf.timeline(one)\n\n"
        "print(asyncio.run(flow.execute({'n': 4})).output)\n"
    )

    told = subprocess.run([sys.executable, file], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert (told.stdout, told.stderr) == ("{'ok': 4}\n", "")


@pytest.mark.parametrize(
    ("module", "name"),
    [("cerebelum_nb", name) for name in SDK] + [("cerebelum_nb.dsl", name) for name in SDK_DSL],
)
def test_a_name_of_the_sdk_can_be_imported_or_says_in_one_line_what_stands_for_it(module, name):
    if name in _had(module):
        exec(f"from {module} import {name}", {})
        return
    with pytest.raises(ImportError) as refused:
        exec(f"from {module} import {name}", {})

    assert str(refused.value) == f"{module} has no {name}: it {NOT_OFFERED[name]}"


def _had(module):
    return cerebelum_nb.dsl.__all__ if module.endswith("dsl") else [*cerebelum_nb.__all__, "__version__"]


@pytest.mark.parametrize("module", [cerebelum_nb, cerebelum_nb.dsl])
def test_any_other_name_is_simply_not_there(module):
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018  asking is the test


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Worker", {"worker_id": "w", "core_url": "localhost:9090"}),
        ("ExecutionClient", {"core_url": "localhost:9090"}),
        ("ExecutionStatus", {}),
        ("StepStatus", {}),
        ("SleepInfo", {}),
        ("ApprovalInfo", {}),
    ],
)
def test_what_works_with_a_core_elsewhere_says_when_it_is_used_who_does_that(name, given):
    with pytest.raises(NotYet) as later:
        getattr(cerebelum_nb, name)(**given)

    assert str(later.value).startswith(
        f"{name} works with a Cerebelum Core elsewhere, which only the SDK's own does: `from cerebelum import {name}`"
    )
    assert "\n" not in str(later.value)


def test_states_can_be_named_before_there_is_anything_to_compare_them_with():
    assert ExecutionState("EXECUTION_RUNNING") is ExecutionState.RUNNING


async def _execute(**given):
    @step
    async def one(context): ...

    @workflow(core_url="localhost:9090")
    def flow(wf):
        wf.timeline(one)

    await flow.execute({}, **given)


@pytest.mark.asyncio
async def test_only_the_sdks_own_workflows_serve_a_core_elsewhere():
    with pytest.raises(NotYet, match="distributed=True makes this a worker of a Core elsewhere"):
        await _execute(distributed=True, max_reconnect_attempts=3, reconnect_max_delay=1.0)
