"""Routes: what a decision follows, what follows its ways, how values meet patterns, and what is refused."""

import asyncio
import enum

import pytest

from cerebelum_nb import DefinitionError, PlanError, step, workflow
from cerebelum_nb.dsl.routes import NoRoute, back_to, branching, diverging


def make(name):
    return step(name=name)(lambda context: None)


a, b, c, d, e = (make(n) for n in "abcde")


def defined(function):
    return workflow(name="w")(function).define()


def picture(function):
    """Each step with those it follows, and each decision with its ways."""
    made = defined(function)
    names = [s.name for s in made.steps]
    follows = {names[i]: sorted(names[j] for j in group) for i, group in enumerate(made.follows)}
    ways = {
        names[r.decision]: {w.label: [names[t] for t in (*w.steps, *w.back_to)] for w in r.ways} for r in made.routes
    }
    return list(follows.items()), ways


def test_the_ways_come_after_the_decision_and_the_rest_after_the_ways():
    follows, ways = picture(lambda wf: wf.timeline(a >> e).diverge(a, {"x": b >> c, "y": [d]}))

    assert follows == [
        ("a", []),
        ("a?", ["a"]),
        ("b", ["a?"]),
        ("c", ["b"]),
        ("d", ["a?"]),
        ("e", ["a", "a?", "c", "d"]),
    ]
    assert ways == {"a?": {"'x'": ["b", "c"], "'y'": ["d"]}}


def test_a_part_of_the_timeline_may_be_a_way():
    follows, ways = picture(lambda wf: wf.timeline(a >> b >> c >> d).branch(a, bool, b, c))

    assert follows == [("a", []), ("a?", ["a"]), ("b", ["a", "a?"]), ("c", ["a?", "b"]), ("d", ["c"])]
    assert ways == {"a?": {"true": ["b"], "false": ["c"]}}


def test_a_way_may_lead_to_another_decision():
    follows, ways = picture(lambda wf: wf.timeline(a).diverge(a, {"x": b, "_": None}).diverge(b, {1: c, "_": [d, e]}))

    assert follows == [
        ("a", []),
        ("a?", ["a"]),
        ("b", ["a?"]),
        ("b?", ["b"]),
        ("c", ["b?"]),
        ("d", ["b?"]),
        ("e", ["b?"]),
    ]
    assert ways == {"a?": {"'x'": ["b"], "the rest": []}, "b?": {"1": ["c"], "the rest": ["d", "e"]}}


def test_two_decisions_after_one_step_do_not_wait_for_each_other():
    follows, _ = picture(lambda wf: wf.timeline(a >> e).branch(a, bool, b).branch(a, bool, c))

    assert dict(follows) == {
        "a": [],
        "a?": ["a"],
        "b": ["a?"],
        "a?2": ["a"],
        "c": ["a?2"],
        "e": ["a", "a?", "a?2", "b", "c"],
    }


def test_a_way_back_names_where_it_goes_and_how_often():
    made = defined(lambda wf: wf.timeline(a >> b >> c).branch(b, bool, None, back_to("a", limit=5)))

    (route,) = made.routes
    assert [(w.label, w.steps, w.back_to, w.limit) for w in route.ways] == [("true", (), (), 0), ("false", (), (0,), 5)]


class Colour(enum.Enum):
    RED = "r"


@pytest.mark.parametrize(
    ("patterns", "value", "way"),
    [
        ({"ok": b, "bad": c}, "bad", 1),
        ({1: b, 2: c}, 2, 1),
        ({1: b, "_": c}, True, 1),
        ({"_": b, "ok": c}, "ok", 1),
        ({"_": b, "ok": c}, "else", 0),
        ({int: b, str: c}, "text", 1),
        ({int: b, "_": c}, True, 1),
        ({bool: b, int: c}, True, 0),
        ({Exception: b, "_": c}, ValueError(), 0),
        ({None: b, "_": c}, None, 0),
        ({"True": b, "False": c}, False, 1),
        ({"3": b, "_": c}, 3, 0),
        ({"RED": b, "_": c}, Colour.RED, 0),
        ({Colour.RED: b, "_": c}, Colour.RED, 0),
        ({(lambda n: n > 10): b, "_": c}, 11, 0),
        ({(1, 2): b, "_": c}, (1, 2), 0),
    ],
)
def test_a_value_takes_the_first_way_that_fits(patterns, value, way):
    raw = diverging(a, patterns)

    assert asyncio.run(raw.choose(value)) == way


def test_an_async_condition_is_awaited():
    async def is_large(n):
        await asyncio.sleep(0)
        return n > 3

    raw = branching(a, is_large, b, c)

    assert [asyncio.run(raw.choose(n)) for n in (4, 2)] == [0, 1]


def test_a_value_that_fits_nothing_is_named_with_the_patterns():
    raw = diverging(a, {"ok": b, int: c})

    with pytest.raises(
        NoRoute, match=r"a gave 'late', which no pattern of diverge\(a, \.\.\.\) matches: 'ok', int\. Add"
    ):
        asyncio.run(raw.choose("late"))


@pytest.mark.parametrize(
    ("define", "kind", "message"),
    [
        (lambda wf: wf.timeline(a).diverge(a, {}), DefinitionError, "takes a dict of pattern to step"),
        (lambda wf: wf.timeline(a).diverge(a, [b]), DefinitionError, "takes a dict of pattern to step"),
        (lambda wf: wf.timeline(a).diverge(a, {"x": 3}), DefinitionError, "3 is not a step"),
        (lambda wf: wf.timeline(a).branch(a, "x > 1", b), DefinitionError, "needs a condition"),
        (lambda wf: wf.timeline(a).branch(a, b, c), DefinitionError, "needs a condition"),
        (
            lambda wf: wf.timeline(a).branch(a, lambda: True, c),
            DefinitionError,
            "is called with one value, the result of a",
        ),
        (lambda wf: wf.timeline(a).diverge(b, {"x": c}), PlanError, "decides by 'b', which is not in its timeline"),
        (lambda wf: wf.timeline(a).diverge(a, {"x": "bee"}), PlanError, "leads to 'bee', which is not in its timeline"),
        (
            lambda wf: wf.timeline(a >> b).diverge(b, {"x": a}),
            PlanError,
            r"comes before it. To run it again, write back_to\(a\)",
        ),
        (lambda wf: wf.timeline(a >> b).branch(a, bool, back_to(b)), PlanError, "'b', which does not come before it"),
        (lambda wf: wf.timeline(a >> b).branch(b, bool, back_to(c)), PlanError, "goes back to 'c', which is not in"),
        (lambda wf: wf.timeline([a, b] >> d).branch(a, bool, c).branch(b, bool, c), PlanError, "'c' is a target of"),
        (lambda wf: back_to(a, limit=0), DefinitionError, "the limit is a whole number from 1"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(define, kind, message):
    with pytest.raises(kind, match=message):
        defined(define)
