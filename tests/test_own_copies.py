"""What a step does to an array is seen by nobody else, wherever the steps run."""

import numpy as np
import pytest

from cerebelum_nb import step, workflow

DEADLINE = 60


@step
def made(context, inputs):
    return {"array": np.zeros(inputs["n"])}


@step
def changes(context, made):
    made["array"] += 5
    return float(made["array"].sum())


@step
def sees(context, made, changes):
    return float(made["array"].sum())


def run_of(session, n, where):
    flow = workflow(name="flow")(lambda wf: wf.timeline(made >> changes >> sees))
    run = session.run(flow, {"n": n}, strategy={"default": where})
    run.wait(DEADLINE, echo=False)
    return run


@pytest.mark.parametrize("where", ["local", "distributed"])
def test_a_small_array_may_be_changed_and_is_the_steps_own(session, where):
    run = run_of(session, 1_000, where)
    assert (run.outputs["changes"], run.outputs["sees"]) == (5_000.0, 0.0)
    assert not run.outputs["made"]["array"].any()
    again = run.rerun("changes")
    again.wait(DEADLINE, echo=False)
    assert again.outputs["changes"] == 5_000.0


@pytest.mark.parametrize("where", ["local", "distributed"])
def test_a_large_array_is_shared_and_the_error_says_how_to_change_it(session, where):
    run = run_of(session, 1_000_000, where)
    assert run.status == "failed"
    assert str(run.error()).endswith("x = x.copy() makes one that can be changed")
    assert not run.outputs["made"]["array"].any()
