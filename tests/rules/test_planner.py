"""Plans, and the one clear line for each that cannot be made."""

import pytest

from cerebelum_nb import PlacementError, PlanError, step, workflow
from cerebelum_nb.model.plan import CONTEXT, INPUTS, Call
from cerebelum_nb.rules.placement import Places, Wishes
from cerebelum_nb.rules.planner import plan

PLACES = Places(remote=frozenset({"core"}), executors=("local", "core"))


@step(executor="local")
async def load(context, inputs): ...


@step(executor="distributed")
async def clean(context, load): ...


@step
def report(context, clean, *, load, limit=5): ...


def plan_of(*timeline, until=None, **wishes):
    made = workflow(name="w")(lambda wf: wf.timeline(*timeline))
    return plan(made.define(), {}, Wishes(**wishes), PLACES, until=until)


def test_a_plan_knows_needs_calls_and_places():
    made = plan_of(load >> clean >> report)

    assert made.needs == ((), (0,), (0, 1))
    assert made.calls == (Call((CONTEXT, INPUTS)), Call((CONTEXT, 0)), Call((CONTEXT, 1), (("load", 0),)))
    assert [made.places[i].lane for i in made.place] == ["local", "core", "threads"]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, ("local", "decorator", 'the step says executor="local"')),
        (
            {"strategy": {"load": "distributed"}},
            ("distributed", "strategy", "execution_strategy says 'distributed' for this step"),
        ),
        ({"strategy": {"default": "distributed"}}, ("local", "decorator", 'the step says executor="local"')),
        (
            {"person": {"load": "distributed"}, "strategy": {"load": "local"}},
            ("distributed", "person", "you moved it to 'distributed'"),
        ),
        ({"everywhere": "distributed"}, ("distributed", "strategy", "use_local puts every step on 'distributed'")),
    ],
)
def test_the_strongest_wish_places_a_step_that_has_its_own(wishes, expected):
    made = plan_of(load, **wishes)

    place = made.places[made.place[0]]
    assert (place.label, place.rule, place.reason) == expected


@step
def free(context): ...


@pytest.mark.parametrize(
    ("wishes", "label", "rule"),
    [
        ({}, "local", "session"),
        ({"session_default": "distributed"}, "distributed", "session"),
        ({"workflow_executor": "distributed"}, "distributed", "workflow"),
        ({"workflow_strategy": {"default": "distributed"}, "workflow_executor": "local"}, "distributed", "workflow"),
        ({"strategy": {"default": "distributed"}, "workflow_executor": "local"}, "distributed", "map-default"),
        (
            {"strategy": {"free": "auto", "default": "local"}, "workflow_executor": "distributed"},
            "local",
            "map-default",
        ),
    ],
)
def test_a_step_without_a_wish_goes_where_the_nearest_default_says(wishes, label, rule):
    made = plan_of(free, **wishes)

    place = made.places[made.place[0]]
    assert (place.label, place.rule) == (label, rule)


@step
def itself(context, itself): ...


@step
def ping(context, pong): ...


@step
def pong(context, ping): ...


@step
def typo(context, lod): ...


@step
def ctx_first(ctx): ...


@step(executor="distribued")
def nowhere(context): ...


@step(name="free")
def twin(context): ...


@pytest.mark.parametrize(
    ("timeline", "wishes", "kind", "message"),
    [
        ((clean >> load,), {}, PlanError, "has a cycle: clean -> load -> clean (each must end before the next begins). 'clean' needs 'load', which the timeline puts after it: write load before clean."),
        (([ping, pong] >> load,), {}, PlanError, "has a cycle: ping -> pong -> ping"),
        ((itself,), {}, PlanError, "step 'itself' needs itself"),
        ((load >> clean >> load,), {}, PlanError, "has a cycle: load comes back after itself"),
        ((free >> twin,), {}, PlanError, "has two steps called 'free'"),
        ((load >> typo,), {}, PlanError, "step 'typo' needs 'lod', which is not a step in the timeline of 'w'. Did you mean 'load'? Steps there: load, typo."),
        ((ctx_first,), {}, PlanError, "A step's first parameter is called context."),
        ((nowhere,), {}, PlacementError, "step 'nowhere': there is no executor 'distribued' (the step says executor=\"distribued\"). Did you mean 'distributed'? Known here: local, distributed."),
        ((load,), {"strategy": {"laod": "local"}}, PlanError, "execution_strategy names the step 'laod', which the workflow does not have. Did you mean 'load'?"),
        ((load,), {"strategy": {"load": "ray"}}, PlacementError, "there is no executor 'ray'"),
        ((load,), {"strategy": ["load"]}, PlanError, "execution_strategy is a dict of step name to executor, not ['load']"),
        ((load,), {"strategy": {"load": None}}, PlanError, "execution_strategy['load'] is None, not the name of an executor"),
        ((load,), {"until": "laod"}, PlanError, "has no step 'laod' to stop at. Did you mean 'load'?"),
    ],
)  # fmt: skip
def test_a_workflow_that_cannot_run_is_refused_in_one_clear_line(timeline, wishes, kind, message):
    with pytest.raises(kind) as refused:
        plan_of(*timeline, **wishes)

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_until_leaves_out_what_is_not_needed():
    assert plan_of(load >> [clean, free] >> report, until="clean").left_out == frozenset({2, 3})


def test_all_that_depends_on_a_step_is_found_whatever_the_order():
    made = plan_of(load >> [report, clean])  # report reads clean, which is written after it

    assert made.below(0) == {1, 2}
    assert made.below(2) == {1}
    assert made.above(1) == {0, 2}


def test_a_step_that_names_an_input_is_told_how_to_read_it():
    @step
    def check(context, order): ...

    made = workflow(name="w")(lambda wf: wf.timeline(check)).define()

    with pytest.raises(
        PlanError, match=r"The run's inputs have it: take inputs as a parameter and read inputs\['order'\]"
    ):
        plan(made, {"order": []}, Wishes(), PLACES)
