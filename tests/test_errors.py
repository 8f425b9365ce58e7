"""One tree of errors, under the SDK's names too, with the SDK's text where its users read it."""

import copy
import pickle

import pytest

import cerebelum_nb
from cerebelum_nb import errors
from cerebelum_nb.errors import (
    CerebelumError,
    DSLError,
    ExecutionError,
    PlanError,
    RunCancelled,
    StepExecutionError,
)


def tree(kind, depth=0):
    """Every error below one, indented as at the top of the module."""
    yield "  " * depth + kind.__name__
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below, depth + 1)


def test_the_tree_is_the_one_that_is_drawn():
    drawn = [line for line in errors.__doc__.splitlines() if "──" in line]
    names = [line.split("── ")[1].split()[0] for line in drawn]

    assert sorted(names) == sorted({line.strip() for line in tree(CerebelumError)} - {"CerebelumError"})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("StepDefinitionError", "DefinitionError"),
        ("WorkflowDefinitionError", "PlanError"),
        ("DependencyError", "PlanError"),
        ("SerializationError", "CaptureError"),
        ("ValidationError", "PlanError"),
        ("WorkerError", "ExecutorError"),
    ],
)
def test_an_error_has_the_sdks_name_too(theirs, ours):
    assert getattr(errors, theirs) is getattr(errors, ours)


@pytest.mark.parametrize(
    "name",
    [
        "StepDefinitionError",
        "WorkflowDefinitionError",
        "DependencyError",
        "StepExecutionError",
        "StepTimeoutError",
        "RetryExhaustedError",
        "InvalidReturnValueError",
        "SerializationError",
    ],
)
def test_what_the_sdk_calls_a_dsl_error_is_one(name):
    kind = getattr(cerebelum_nb.dsl, name)

    assert issubclass(kind, DSLError)
    assert issubclass(kind, CerebelumError)
    assert kind("why").message == "why"


def failed(kind=ExecutionError):
    return kind(
        "Step 'x' returned error: why",
        "x",
        "why",
        attempt=2,
        executor="distributed",
        error_type="ValueError",
        traceback="File ...",
    )


def test_a_failed_step_reads_as_in_the_sdk_and_as_here():
    exc = failed()

    assert str(exc) == "Execution failed at step 'x': Step 'x' returned error: why"
    assert exc.told == "step 'x' failed (distributed, attempt 2): ValueError: why"
    assert (exc.message, exc.step_name, exc.error) == ("Step 'x' returned error: why", "x", "why")


def test_a_step_that_only_said_error_has_no_class_to_tell():
    assert (
        ExecutionError("m", "x", "why", attempt=1, executor="local").told == "step 'x' failed (local, attempt 1): why"
    )


def test_a_run_that_ended_otherwise_says_the_same_in_both_ways():
    exc = RunCancelled("run 3 was cancelled")

    assert (str(exc), exc.told, exc.message, exc.step_name) == (*3 * ("run 3 was cancelled",), None)


@pytest.mark.parametrize("again", [copy.copy, lambda exc: pickle.loads(pickle.dumps(exc))])
@pytest.mark.parametrize("kind", [ExecutionError, StepExecutionError])
def test_an_error_can_be_copied_and_sent(again, kind):
    one, other = failed(kind), again(failed(kind))

    assert (type(other), str(other), other.told, vars(other)) == (kind, str(one), one.told, vars(one))


def test_a_plan_error_lists_what_is_wrong():
    assert PlanError("no steps").errors == ["no steps"]
