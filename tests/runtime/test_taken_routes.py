"""Routes in whole runs: who runs, who is passed by, what goes back, and what a re-run keeps."""

import threading

import pytest

from cerebelum_nb import ExecutionError, step, workflow
from cerebelum_nb.dsl.routes import back_to
from cerebelum_nb.model.state import RunState

DEADLINE = 20


@step
async def check(context, inputs):
    return inputs["kind"]


@step
def ship(context, check):
    return "shipped"


@step
async def pack(context, ship):
    return f"{ship} and packed"


@step(executor="distributed")
async def refund(context):
    return "refunded"


@step
async def notify(context, ship=None, refund=None):
    return ship or refund


@step
async def label(context, pack):
    return pack


@workflow
def orders(wf):
    wf.timeline(check >> notify >> label)
    wf.diverge(check, {"good": ship >> pack, "bad": refund})


def rows(run):
    return [(row.step, row.status, row.note) for row in run.rows()]


def folded(run):
    state = RunState()
    for event in run.events:
        state.apply(event)
    return state


def test_the_chosen_way_runs_the_others_are_passed_by_and_the_rest_goes_on(session):
    run = session.run(orders, {"kind": "good"})

    assert run.result(DEADLINE).output == {"ok": "shipped and packed"}
    assert rows(run) == [
        ("check", "succeeded", ""),
        ("check?", "succeeded", "took 'good'"),
        ("ship", "succeeded", ""),
        ("pack", "succeeded", ""),
        ("refund", "skipped", "check? took 'good'"),
        ("notify", "succeeded", ""),
        ("label", "succeeded", ""),
    ]
    assert (run.header().done, run.header().total) == (5, 5)
    assert folded(run) == run.state


def test_what_needs_a_step_that_was_not_taken_is_skipped_with_the_reason(session):
    run = session.run(orders, {"kind": "bad"}, strategy={"refund": "local"})

    assert run.result(DEADLINE).output == {"ok": "refunded"}
    assert rows(run)[2:] == [
        ("ship", "skipped", "check? took 'bad'"),
        ("pack", "skipped", "check? took 'bad'"),
        ("refund", "succeeded", ""),
        ("notify", "succeeded", ""),
        ("label", "skipped", "pack, which it needs, was not taken"),
    ]
    assert run.outputs == {"check": "bad", "refund": "refunded", "notify": "refunded"}
    assert folded(run) == run.state


def test_a_value_without_a_way_fails_the_run_and_says_which_patterns_there_are(session):
    with pytest.raises(ExecutionError) as failed:
        session.run(orders, {"kind": "odd"}).result(DEADLINE)

    assert failed.value.told == (
        "step 'check?' failed (local, attempt 1): NoRoute: check gave 'odd', which no pattern of "
        "diverge(check, ...) matches: 'good', 'bad'. Add '_' for all the rest."
    )


def test_a_condition_that_raises_fails_the_decision_with_its_own_error(session):
    broken = workflow(name="broken")(lambda wf: wf.timeline(check).branch(check, lambda kind: 1 / 0, ship))

    with pytest.raises(ExecutionError) as failed:
        session.run(broken, {"kind": "good"}).result(DEADLINE)

    assert (failed.value.step_name, failed.value.error_type) == ("check?", "ZeroDivisionError")


def test_a_way_back_runs_everything_from_there_again_until_it_is_good(session):
    seen = []

    @step
    async def fetch(context):
        return context.attempt

    @step
    def judge(context, fetch):
        seen.append(fetch)
        return fetch

    looped = workflow(name="looped")(
        lambda wf: wf.timeline(fetch >> judge >> refund).branch(judge, lambda n: n >= 3, None, back_to(fetch))
    )
    run = session.run(looped, strategy={"refund": "local"})

    assert run.result(DEADLINE).output == {"ok": "refunded"}
    assert seen == [1, 2, 3]
    assert [(r.step, r.attempt, r.note, len(r.segments)) for r in run.rows()] == [
        ("fetch", 3, "", 3),
        ("judge", 3, "", 3),
        ("judge?", 3, "took true", 3),
        ("refund", 1, "", 1),
    ]
    assert folded(run) == run.state


def test_a_way_back_has_a_limit(session):
    endless = workflow(name="endless")(
        lambda wf: wf.timeline(check >> ship).branch(check, lambda _: False, None, back_to(check, limit=2))
    )

    with pytest.raises(ExecutionError, match="went back to 'check' 2 times, which is the limit") as failed:
        session.run(endless, {"kind": "good"}).result(DEADLINE)

    run = failed.value.run
    assert [(r.step, r.status, r.attempt) for r in run.rows()] == [
        ("check", "succeeded", 3),
        ("check?", "failed", 3),
        ("ship", "skipped", 0),
    ]


def test_a_way_back_stops_what_runs_below_and_runs_it_again(session):
    gone = threading.Event()
    begun = []

    @step
    async def first(context):
        return context.attempt

    @step
    def slow(context, first):
        begun.append(first)
        if first == 1:
            gone.wait(DEADLINE)
        return first

    @step
    async def quick(context, first):
        return first

    @step
    async def last(context, slow, quick):
        return (slow, quick)

    raced = workflow(name="raced")(
        lambda wf: wf.timeline(first >> [slow, quick] >> last).branch(quick, lambda n: n > 1, None, back_to(first))
    )
    run = session.run(raced)

    try:
        assert run.result(DEADLINE).output == {"ok": (2, 2)}
    finally:
        gone.set()
    assert set(begun) <= {1, 2}
    assert folded(run) == run.state


def test_a_re_run_below_a_decision_keeps_the_choice(session):
    first = session.run(orders, {"kind": "good"})
    first.result(DEADLINE)

    again = first.rerun("notify")

    assert again.result(DEADLINE).output == {"ok": "shipped and packed"}
    assert [(r.step, r.status) for r in again.rows()] == [
        ("check", "reused"),
        ("check?", "reused"),
        ("ship", "reused"),
        ("pack", "reused"),
        ("refund", "skipped"),
        ("notify", "succeeded"),
        ("label", "succeeded"),
    ]
    assert folded(again) == again.state


def test_a_re_run_of_the_deciding_step_chooses_anew(session):
    kinds = iter(["good", "bad"])

    @step
    async def turn(context):
        return next(kinds)

    swapped = workflow(name="swapped")(lambda wf: wf.timeline(turn).diverge(turn, {"good": pack2, "bad": refund}))
    pack2 = step(name="pack2")(lambda context: "packed")
    first = session.run(swapped, strategy={"refund": "local"})
    assert first.result(DEADLINE).output == {"ok": "packed"}

    again = first.rerun("turn")

    assert again.result(DEADLINE).output == {"ok": "refunded"}
    assert [(r.step, r.status) for r in again.rows()] == [
        ("turn", "succeeded"),
        ("turn?", "succeeded"),
        ("pack2", "skipped"),
        ("refund", "succeeded"),
    ]


def test_a_nested_workflow_may_be_a_way_and_is_passed_by_as_a_whole(session):
    inner = workflow(name="inner")(
        lambda wf: wf.timeline(ship >> pack).diverge(pack, {"_": step(name="seal")(lambda context: "sealed")})
    )
    outer = workflow(name="outer")(
        lambda wf: wf.timeline(check >> notify).diverge(check, {"good": inner.as_step(), "_": refund})
    )

    good = session.run(outer, {"kind": "good"}, strategy={"refund": "local"})
    good.result(DEADLINE)
    bad = session.run(outer, {"kind": "bad"}, strategy={"refund": "local"})
    bad.result(DEADLINE)

    assert [(r.step, r.status) for r in good.rows() if r.group] == [
        ("inner/ship", "succeeded"),
        ("inner/pack", "succeeded"),
        ("inner/pack?", "succeeded"),
        ("inner/seal", "succeeded"),
    ]
    assert {r.status for r in bad.rows() if r.group} == {"skipped"}
    assert (good.outputs["inner"], bad.outputs.get("inner")) == ("sealed", None)
    assert folded(bad) == bad.state


def test_until_a_step_leaves_out_the_ways_that_do_not_lead_there(session):
    run = session.run(orders, {"kind": "good"}, until="check")

    assert run.result(DEADLINE).output == {"ok": "good"}
    assert {r.step for r in run.rows() if r.status == "skipped"} == {
        *("check?", "ship", "pack", "refund", "notify", "label")
    }


def test_a_moved_step_above_a_decision_chooses_anew_in_the_same_run(session):
    hold, chosen = threading.Event(), iter(["good", "bad"])

    @step
    def pick(context):
        return next(chosen)

    @step
    def wait(context):
        hold.wait(DEADLINE)

    live = workflow(name="live")(
        lambda wf: wf.timeline([pick, wait]).timeline(label2).diverge(pick, {"good": good2, "bad": bad2})
    )
    label2, good2, bad2 = (step(name=n)(lambda context: None) for n in ("label2", "good2", "bad2"))
    run = session.run(live)
    assert until(lambda: run.state.passed)
    run.move("pick", "local")
    assert until(lambda: run.rows()[1].note == "took 'bad'")
    hold.set()
    run.result(DEADLINE)

    assert {r.step: r.status for r in run.rows()} == {
        "pick": "succeeded",
        "pick?": "succeeded",
        "good2": "skipped",
        "bad2": "succeeded",
        "wait": "succeeded",
        "label2": "succeeded",
    }
    assert folded(run) == run.state


def until(what):
    waiting = threading.Event()
    for _ in range(400):
        if what():
            return True
        waiting.wait(0.02)
    return False
