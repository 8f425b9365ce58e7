import re

import pytest

from cerebelum_nb.dsl.registry import StepRegistry
from cerebelum_nb.dsl.step import make_step
from cerebelum_nb.errors import DefinitionError
from cerebelum_nb.notebook.workflow_cell import describe, make_workflow, read_timeline, show, timeline
from cerebelum_nb.rules.placement import Places, Wishes
from cerebelum_nb.rules.planner import plan


def names():
    namespace = {}
    for name in "abcde":
        exec(f"def {name}(context): return 1", namespace)
        namespace[name] = make_step(namespace[name], name=None, executor="auto", depends_on=())
    namespace["plain"] = len
    return namespace


def shown(source: str, registry=None) -> str:
    elements = read_timeline(source, first_line=2, filename="<cell>")
    return show(timeline(elements, names(), registry or StepRegistry()), {})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a >> b", "a >> b"),
        ("a >>\n[b, c] >>\nd", "a >> [b, c] >> d"),
        ("a\n>> [b, c]\n>> d", "a >> [b, c] >> d"),
        ("a,\nb,\n>>\nc,\n>>\nd", "a >> b >> c >> d"),
        ("a\n[b, c]\nd", "a >> [b, c] >> d"),
        ("a\n\n# then\n(b >> c)  # both\n", "a >> b >> c"),
        ("    a >>\n    [\n        b,\n        c,\n    ]\n    >> d", "a >> [b, c] >> d"),
        ("  a\nb\n    c", "a >> b >> c"),
        ("[a, b]", "[a, b]"),
        ("a >> [b >> c, d] >> e", "a >> [b >> c, d] >> e"),
        ("a; b", "a >> b"),
        ("[s for s in (a, b)] >> c", "[a, b] >> c"),
    ],
)
def test_arrows_commas_and_lines_all_mean_then(source, text):
    assert shown(source) == text


def test_a_name_that_only_the_registry_knows_is_found():
    registry = StepRegistry()
    step = make_step(eval("lambda: 1"), name="far", executor="auto", depends_on=())
    registry._steps["other", "far"] = step

    assert shown("a >> far", registry) == "a >> far"


def test_each_step_is_shown_with_its_place():
    elements = read_timeline("a >> [b, c]", first_line=2, filename="<cell>")

    text = show(timeline(elements, names(), StepRegistry()), {"a": "local", "b": "distributed"})

    assert text == "a (local) >> [b (distributed), c]"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a >>\n bb", "line 3: there is no step 'bb'. Did you mean 'b'?"),
        ("a >> >> b", "line 2: there is no step before this >>"),
        (">> a", "line 2: there is no step before this >>"),
        ("a\n>> b >>", "line 3: there is no step after this >>"),
        ("a >> plain", "line 2: builtin_function_or_method 'len' is not a step"),
        ("a >> 3", "line 2: 3 is not a step"),
        ("a\n[]", "line 3: an empty list stands in the timeline"),
        ("a\nwf.timeline(b)", "line 3: the cell is the timeline itself"),
        ("a\n!ls", "line 3: '!ls' is a magic or shell line"),
        ("a\n(1 / 0)", "line 3: '(1 / 0)' gives ZeroDivisionError"),
    ],
)
def test_a_wrong_timeline_says_what_and_where(source, said):
    with pytest.raises(DefinitionError) as caught:
        shown(source)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("source", "line"), [("a >> [b\n", 2), ("a\nx = 3", 3), ("a)\n", 2), ("a >>\nb +\nc", 4), ("a\n'x", 3)]
)
def test_a_syntax_error_has_the_line_of_the_cell(source, line):
    with pytest.raises(SyntaxError) as caught:
        shown(source)

    assert caught.value.lineno == line


def described(source: str) -> str:
    namespace, registry = names(), StepRegistry()
    elements = read_timeline(source, first_line=2, filename="<cell>")
    made = make_workflow("w", elements, namespace, registry, executor="auto", strategy=None)
    places = Places(remote=frozenset({"core"}), executors=("local", "core"))
    return describe(timeline(elements, namespace, registry), plan(made.define(), {}, Wishes(), places))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "a >> e\ndiverge(a, {'ok': b >> c, int: d, '_': None})",
            "a >> e  (all local)\n  a? 'ok': b, c, int: d, the rest: goes on",
        ),
        (
            "a\nwf.branch(after=a, condition=lambda x: x > 1,\n  when_true=b, when_false=c)\nd",
            "a >> d  (all local)\n  a? true: b, false: c",
        ),
        (
            "a >> b >> c\nbranch(b, bool, None, back_to(a, limit=2))",
            "a >> b >> c  (all local)\n  b? true: goes on, false: back to a (at most 2 times)",
        ),
    ],
)
def test_a_cell_may_choose_ways(source, text):
    assert described(source) == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\ndiverge(a)", "line 3: 'diverge(a)' gives TypeError: "),
        ("a\ndiverge(a, {})", "line 3: diverge(a, ...) takes a dict of pattern to step"),
        ("a\nbranch(a, 3, b)", "line 3: branch(after=a, ...) needs a condition"),
        ("a\nbranch(a, bool, bee)", "line 3: there is no step 'bee'"),
        ("branch(a, bool, b) >> c", "line 2: there is no step before this >>"),
        ("a >> branch(a, bool, b)", "line 2: a choice stands in a line of its own"),
    ],
)
def test_a_choice_that_is_written_wrongly_is_refused_with_its_line(source, message):
    with pytest.raises(DefinitionError, match=re.escape(message)):
        described(source)
