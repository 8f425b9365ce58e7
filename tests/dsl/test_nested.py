"""`workflow.as_step()`: names, order and wishes of nested workflows."""

import pytest

from cerebelum_nb import PlanError, step, workflow
from cerebelum_nb.model.workflow import GroupDef
from cerebelum_nb.rules.placement import Places, Wishes
from cerebelum_nb.rules.planner import plan

PLACES = Places(remote=frozenset({"core"}), executors=("local", "core"))


def make(name, **options):
    return step(name=name, **options)(lambda context: None)


a, b, c, d = (make(n) for n in "abcd")
inner = workflow(name="inner")(lambda wf: wf.timeline([a, b] >> c))


def named(name, function, **options):
    return workflow(name=name, **options)(function)


def test_a_nested_workflow_stands_for_all_its_steps():
    made = named("outer", lambda wf: wf.timeline(d, inner.as_step(), make("e"))).define()

    names = [s.name for s in made.steps]
    assert {names[i]: [names[j] for j in group] for i, group in enumerate(made.follows)} == {
        "d": [],
        "inner/a": ["d"],
        "inner/b": ["d"],
        "inner/c": ["inner/a", "inner/b"],
        "e": ["inner/c"],
    }
    assert made.groups == (GroupDef("inner", 1, 4, 3),)


def test_workflows_nest_in_workflows():
    middle = named("middle", lambda wf: wf.timeline(d >> inner.as_step("twice")))

    made = named("outer", lambda wf: wf.timeline(middle.as_step() >> inner.as_step())).define()

    assert [s.name for s in made.steps] == [
        *("middle/d", "middle/twice/a", "middle/twice/b", "middle/twice/c"),
        *("inner/a", "inner/b", "inner/c"),
    ]
    assert [(g.name, g.first, g.stop, g.answer) for g in made.groups] == [
        ("middle", 0, 4, 3),
        ("middle/twice", 1, 4, 3),
        ("inner", 4, 7, 6),
    ]


def test_a_name_means_the_nearest_step():
    def read(context, load):
        return load

    load, first = make("load"), step(name="read")(read)
    own = named("own", lambda wf: wf.timeline(load >> first))
    outer_s = named("outer_s", lambda wf: wf.timeline(first))
    made = plan(
        named("w", lambda wf: wf.timeline(load, own.as_step(), outer_s.as_step())).define(), {}, Wishes(), PLACES
    )

    reads = {made.names[t]: [made.names[n] for n in call.positional if n >= 0] for t, call in enumerate(made.calls)}
    assert reads == {"load": [], "own/load": [], "own/read": ["own/load"], "outer_s/read": ["load"]}


def test_inputs_may_be_another_steps_result():
    def take(context, inputs):
        return inputs

    taker = named("taker", lambda wf: wf.timeline(step(name="take")(take)))
    made = plan(named("w", lambda wf: wf.timeline(a >> [b, taker.as_step(inputs=a)])).define(), {}, Wishes(), PLACES)

    assert (made.inputs_of, made.needs) == ({2: 0}, ((), (0,), (0,)))


@pytest.mark.parametrize(
    ("sub", "own", "outer", "wishes", "labels"),
    [
        ({}, {}, {}, {}, "local local"),
        ({}, {"executor": "distributed"}, {}, {}, "distributed local"),
        ({"executor": "distributed"}, {"executor": "local"}, {}, {}, "distributed local"),
        ({}, {"execution_strategy": {"x": "distributed"}}, {}, {}, "distributed local"),
        ({}, {"executor": "distributed"}, {"execution_strategy": {"sub": "local"}}, {}, "local local"),
        ({}, {}, {"execution_strategy": {"sub/x": "distributed"}}, {}, "distributed local"),
        ({}, {}, {"executor": "distributed"}, {}, "distributed local"),
        ({}, {}, {}, {"strategy": {"sub": "distributed"}}, "distributed distributed"),
        ({}, {}, {}, {"strategy": {"sub": "distributed", "sub/pinned": "local"}}, "distributed local"),
        ({}, {"executor": "local"}, {}, {"strategy": {"default": "distributed"}}, "distributed local"),
    ],
)
def test_the_strongest_wish_places_a_nested_step(sub, own, outer, wishes, labels):
    nested = named("sub", lambda wf: wf.timeline(make("x"), make("pinned", executor="local")), **own)
    outside = named("outer", lambda wf: wf.timeline(nested.as_step(**sub)), **outer)

    said = Wishes(workflow_executor=outside.executor, workflow_strategy=outside.execution_strategy, **wishes)
    made = plan(outside.define(), {}, said, PLACES)

    assert " ".join(made.places[p].label for p in made.place) == labels


def test_a_workflow_that_contains_itself_is_refused():
    space = {}
    space["x"] = named("x", lambda wf: wf.timeline(space["y"].as_step()))
    space["y"] = named("y", lambda wf: wf.timeline(space["x"].as_step()))

    with pytest.raises(PlanError, match="workflow 'x' contains itself: x -> y -> x"):
        space["x"].define()


def test_workflows_nested_too_deeply_are_refused():
    made = inner
    for i in range(8):
        made = named(f"w{i}", lambda wf, made=made: wf.timeline(made.as_step()))

    with pytest.raises(PlanError, match="nested more than 8 deep: w7 -> w6"):
        made.define()


def test_a_step_and_a_nested_workflow_of_one_name_are_refused():
    with pytest.raises(PlanError, match="a step and a nested workflow called 'a'"):
        plan(named("w", lambda wf: wf.timeline(a, inner.as_step("a"))).define(), {}, Wishes(), PLACES)


def test_inputs_from_nowhere_are_refused():
    with pytest.raises(PlanError, match="takes its inputs from 'bee', which is not a step of 'w'"):
        plan(named("w", lambda wf: wf.timeline(a, inner.as_step(inputs="bee"))).define(), {}, Wishes(), PLACES)
