"""Promises of the language held against random programs: order, data, edges, redefinition."""

import itertools
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.model.state import RunState
from cerebelum_nb.rules.placement import Places, Wishes
from cerebelum_nb.rules.planner import plan

DEADLINE = 20
PLACES = Places(remote=frozenset({"core"}), executors=("local", "core"))
held = settings(
    deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# A timeline as data: a leaf is True, ("then", parts) runs its parts one after the other, ("beside", parts) side by side.
shapes = st.recursive(
    st.just(True),
    lambda inner: st.tuples(st.sampled_from(["then", "beside"]), st.lists(inner, min_size=1, max_size=4)),
    max_leaves=12,
)


def built(shape, leaves):
    """The shape as a person writes it, each leaf being the next step."""
    if shape is True:
        return next(leaves)
    kind, parts = shape
    made = [built(part, leaves) for part in parts]
    if kind == "beside":
        return made
    chain = made[0]
    for part in made[1:]:
        # Two lists cannot stand on both sides of an arrow: Python would shift a list by a list.
        chain = (chain if hasattr(chain, "name") or not isinstance(chain, list) else nothing() >> chain) >> part
    return chain


numbers = itertools.count()


def nothing():
    return step(name=f"n{next(numbers)}")(lambda context: None)


def leaves_of(shape):
    return 1 if shape is True else sum(leaves_of(part) for part in shape[1])


def promised(shape, first=0):
    """Pairs (earlier, later) of leaves that the shape puts in order."""
    if shape is True:
        return set()
    kind, parts = shape
    pairs, groups, at = set(), [], first
    for part in parts:
        pairs |= promised(part, at)
        groups.append(range(at, at + leaves_of(part)))
        at += leaves_of(part)
    if kind == "then":
        for one, other in itertools.combinations(groups, 2):
            pairs |= set(itertools.product(one, other))
    return pairs


def closure(made):
    """All pairs (earlier, later) that a plan puts in order."""
    return {(above, task) for task in range(len(made.names)) for above in made.above(task)}


@held
@given(shapes)
def test_a_composition_is_a_plan_with_exactly_the_promised_order(shape):
    count = leaves_of(shape)
    steps = [step(name=f"s{i}")(lambda context: None) for i in range(count)]
    w = workflow(name="w")(
        lambda wf: wf.timeline([built(shape, iter(steps))] if shape is True else built(shape, iter(steps)))
    )

    made = plan(w.define(), {}, Wishes(), PLACES)

    # A list alone is a sequence, as in files written for the SDK.
    wanted = promised(("then", shape[1]) if shape is not True and shape[0] == "beside" else shape)
    number = {f"s{i}": i for i in range(count)}
    found = {
        (number[made.names[a]], number[made.names[b]])
        for a, b in closure(made)
        if made.names[a] in number and made.names[b] in number
    }
    assert found == wanted
    assert all(need < task for task, needs in enumerate(made.needs) for need in needs)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    made = Session(Settings(home=tmp_path_factory.mktemp("home")))
    yield made
    made.close()


@held
@given(shapes, st.data())
def test_a_run_keeps_the_order_and_hands_each_step_the_values_it_names(session, shape, data):
    count = leaves_of(shape)
    clock, spans = itertools.count(), {}
    earlier = [sorted(a for a, b in promised(shape) if b == i) for i in range(count)]
    reads = [data.draw(st.lists(st.sampled_from(above), unique=True, max_size=3)) if above else [] for above in earlier]
    sync = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))

    def make(i):
        def body(**given):
            begun = next(clock)
            assert given == {f"s{r}": f"value {r}" for r in reads[i]}
            spans[i] = (begun, next(clock))
            return f"value {i}"

        names = ", ".join(f"s{r}" for r in reads[i])
        passed = ", ".join(f"s{r}=s{r}" for r in reads[i])
        space = {"body": body}
        kind = "def" if sync[i] else "async def"
        exec(f"{kind} s{i}({', '.join(['context', *([names] if names else [])])}):\n    return body({passed})", space)
        return step(space[f"s{i}"])

    steps = [make(i) for i in range(count)]
    w = workflow(name="w")(lambda wf: wf.timeline(nothing(), built(shape, iter(steps))))

    run = session.run(w)
    outputs = run.result(DEADLINE).outputs

    assert {name: value for name, value in outputs.items() if name[0] == "s"} == {
        f"s{i}": f"value {i}" for i in range(count)
    }
    assert all(spans[a][1] < spans[b][0] for a, b in promised(shape))
    state = RunState()
    for event in run.events:
        state.apply(event)
    assert state == run.state


@held
@given(st.lists(st.booleans(), min_size=1, max_size=5), st.booleans())
def test_exactly_the_chosen_ways_run(session, answers, chained):
    """A chain of decisions; each one's true way and false way are steps of their own."""
    asks = [step(name=f"ask{i}")(lambda context, answer=answer: answer) for i, answer in enumerate(answers)]
    yes = [step(name=f"yes{i}")(lambda context: "yes") for i in range(len(answers))]
    no = [step(name=f"no{i}")(lambda context: "no") for i in range(len(answers))]

    def define(wf):
        wf.timeline(*asks) if chained else wf.timeline(nothing(), asks)
        for ask, one, other in zip(asks, yes, no, strict=True):
            wf.branch(after=ask, condition=lambda value: value, when_true=one, when_false=other)

    run = session.run(workflow(name="w")(define))
    run.wait(DEADLINE)

    status = {row.step: row.status for row in run.rows()}
    for i, answer in enumerate(answers):
        assert (status[f"yes{i}"], status[f"no{i}"]) == (
            ("succeeded", "skipped") if answer else ("skipped", "succeeded")
        )


changes = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "run", "rerun"]), st.booleans()), min_size=3, max_size=14)


@held
@given(changes)
def test_no_order_of_redefinitions_runs_old_code(session, done):
    space = {"__name__": "__main__", "step": step, "workflow": workflow}
    versions = dict.fromkeys("abc", 0)
    reads = {"a": "context", "b": "context, a", "c": "context, a, b"}

    def define(name, is_sync):
        versions[name] += 1
        kind = "def" if is_sync else "async def"
        exec(f"@step\n{kind} {name}({reads[name]}): return {versions[name]}", space)

    for name in "abc":
        define(name, False)
    exec("@workflow\ndef w(wf): wf.timeline(a >> b >> c)", space)
    last = None
    for what, is_sync in done:
        if what in versions:
            define(what, is_sync)
            continue
        last = last.rerun() if what == "rerun" and last is not None else session.run(space["w"])
        assert last.result(DEADLINE).outputs == versions


def test_a_step_that_is_defined_again_during_a_run_does_not_change_that_run(session):
    begun, go = threading.Event(), threading.Event()
    space = {"__name__": "__main__", "step": step, "workflow": workflow, "begun": begun, "go": go}
    exec("@step\ndef a(context): begun.set(); go.wait(20); return 'old a'", space)
    exec("@step\ndef b(context, a): return a + ', old b'", space)
    exec("@workflow\ndef w(wf): wf.timeline(a >> b)", space)
    run = session.run(space["w"])
    assert begun.wait(DEADLINE)

    exec("@step\ndef b(context, a): return 'new'", space)
    go.set()

    assert run.result(DEADLINE).output == {"ok": "old a, old b"}
    assert session.run(space["w"]).result(DEADLINE).output == {"ok": "new"}
