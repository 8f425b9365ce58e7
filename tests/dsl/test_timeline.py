"""Every way to put steps in order, compared as a whole: names, and whom each one follows."""

import pytest

from cerebelum_nb import DefinitionError, PlanError, step, workflow


def make(name):
    return step(name=name)(lambda context: None)


a, b, c, d, e = (make(n) for n in "abcde")


def order_of(*calls):
    @workflow
    def w(wf):
        for items in calls:
            wf.timeline(*items)

    made = w.define()
    names = [s.name for s in made.steps]
    return {names[i]: "".join(names[j] for j in follows) for i, follows in enumerate(made.follows)}


@pytest.mark.parametrize(
    ("calls", "follows"),
    [
        ([(a,)], {"a": ""}),
        ([(a >> b >> c,)], {"a": "", "b": "a", "c": "b"}),
        ([(a >> [b, c] >> d,)], {"a": "", "b": "a", "c": "a", "d": "bc"}),
        ([([a, b] >> c,)], {"a": "", "b": "", "c": "ab"}),
        ([(a, b, c)], {"a": "", "b": "a", "c": "b"}),
        ([(a, [b, c], d)], {"a": "", "b": "a", "c": "a", "d": "bc"}),
        ([(a, b >> c, d)], {"a": "", "b": "a", "c": "b", "d": "c"}),
        ([(a >> [b >> c, d] >> e,)], {"a": "", "b": "a", "c": "b", "d": "a", "e": "cd"}),
        ([(a >> [b, c] >> [d, e],)], {"a": "", "b": "a", "c": "a", "d": "bc", "e": "bc"}),
        ([(a,), (b,)], {"a": "", "b": "a"}),
        ([([a, b, c],)], {"a": "", "b": "a", "c": "b"}),  # one flat list alone: as in files written for the SDK
        ([((a >> b) >> (c >> d),)], {"a": "", "b": "a", "c": "b", "d": "c"}),
    ],
)
def test_a_timeline_keeps_the_order_it_is_written_in(calls, follows):
    assert order_of(*calls) == follows


def test_a_chain_that_is_used_again_stays_as_it_was():
    chain = a >> b

    chain >> c

    assert repr(chain) == "a >> b"
    assert repr(chain >> [c, d >> e]) == "a >> b >> [c, d >> e]"


def test_a_variable_that_took_a_step_s_name_is_named():
    f = make("f")
    for f in ({"x": 1}, {"x": 2}):  # noqa: B007  as it happens
        pass

    with pytest.raises(DefinitionError, match=r"^'f', which is \{'x': 2\} here, is not a step.*run that step's cell"):
        order_of((a >> [b, f],))
    with pytest.raises(DefinitionError, match=r"^'f', which is \{'x': 2\} here, is not a step"):
        workflow(name="w")(lambda wf: wf.timeline(a, f)).define()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: a >> [], "an empty list stands in the timeline"),
        (lambda: a >> 3, "3 is not a step"),
        (lambda: a >> len, "builtin_function_or_method 'len' is not a step"),
        (lambda: order_of((a, "b")), "'b' is not a step"),
        (lambda: a >> workflow(name="w")(lambda wf: None), "'w' is a workflow: .* write w.as_step\\(\\)"),
    ],
)
def test_what_is_not_a_step_is_refused(wrong, message):
    with pytest.raises(DefinitionError, match=message):
        wrong()


def test_an_empty_timeline_is_refused():
    with pytest.raises(PlanError, match="workflow 'w' has no steps"):
        order_of()


def test_a_step_defined_again_takes_effect_without_redefining_the_workflow():
    space = {"__name__": "__main__"}
    exec("from cerebelum_nb import step, workflow\n@step(executor='local')\ndef load(context): ...", space)
    exec("@workflow\ndef w(wf): wf.timeline(load)\nchain = load >> load", space)
    exec("@step(executor='distributed')\ndef load(context): ...", space)

    assert [s.executor for s in space["w"].define().steps] == ["distributed"]


def test_a_chain_made_before_a_step_was_defined_again_holds_the_new_one():
    space = {"__name__": "__main__"}
    exec("from cerebelum_nb import step, workflow\n@step\ndef one(context): ...\n@step\ndef two(context): ...", space)
    exec("chain = one >> two\n@workflow\ndef w(wf): wf.timeline(chain)", space)
    exec("@step(executor='distributed')\ndef two(context): ...", space)

    assert [s.executor for s in space["w"].define().steps] == ["auto", "distributed"]


def test_steps_of_the_same_name_made_in_two_calls_stay_apart():
    def build(value):
        @step
        def answer(context):
            return value

        return workflow(name=f"w{value}")(lambda wf: wf.timeline(answer))

    first, second = build(1), build(2)

    assert [w.define().steps[0].function(None) for w in (first, second)] == [1, 2]
