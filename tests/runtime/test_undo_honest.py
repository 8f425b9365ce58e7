"""What is undone is told as it is: threads that do not stop, functions that cannot travel, loops, steps that raise."""

import asyncio
import threading
import time

import pytest

from cerebelum_nb import CompensationFailed, PlanError, back_to, step, workflow
from cerebelum_nb.errors import StepTimeoutError
from cerebelum_nb.model.events import AttemptStarted, AttemptSubmitted, RunCompensating
from cerebelum_nb.model.options import Backoff
from cerebelum_nb.model.state import RunState
from cerebelum_nb.rules import planner

pytestmark = pytest.mark.timeout(120)
DEADLINE = 30


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(planner, "UNDO_BACKOFF", Backoff(0.01))


@pytest.fixture
def soon(monkeypatch):
    """Nobody waits long for what was stopped."""
    monkeypatch.setattr("cerebelum_nb.runtime.moving.STOPPED_S", 0.3)


@pytest.fixture
def log():
    """What was done, in order."""
    return []


class Stuck:
    """A step that does not stop when it is asked to, until it is let go; then it has its effect."""

    def __init__(self, log):
        self.log, self.begun, self.go = log, threading.Event(), threading.Event()

    def __call__(self, context):
        self.log.append("begins")
        self.begun.set()
        self.go.wait(DEADLINE)
        self.log.append("effect")

    def step(self, **options):
        def charge(context):
            self(context)

        def undo(context, outcome):
            self.log.append(f"undo {outcome}")

        asked = {"timeout": 1.0, "compensate": undo, "compensate_unknown": True, **options}
        return step(name="charge", **asked)(charge)


@pytest.fixture
def stuck(log):
    made = Stuck(log)
    yield made
    made.go.set()


def flow(*elements, **options):
    return workflow(name="w", **options)(lambda wf: wf.timeline(*elements))


def fails(name="end", **options):
    def raises(context):
        raise ValueError("no")

    return step(name=name, **options)(raises)


def ended(run):
    assert run.wait(DEADLINE, echo=False), [(row.step, row.status) for row in run.rows()]
    state = RunState()
    for event in run.events:
        state.apply(event)
    assert state == run.state
    return run


def soon_true(look, what):
    until = time.monotonic() + DEADLINE
    while not look():
        assert time.monotonic() < until, what
        time.sleep(0.005)


# a thread that goes on ----------------------------------------------------------------------------------------------


def test_a_step_that_took_too_long_is_undone_after_its_thread_has_ended(session, log, stuck):
    run = session.run(flow(stuck.step()))
    soon_true(run.scheduler.is_undoing, "the timeout did not come")
    time.sleep(0.3)  # the undo would have come by now
    assert (run.done, log) == (False, ["begins"])
    stuck.go.set()
    ended(run)

    assert (run.status, log) == ("compensated", ["begins", "effect", "undo unknown"])
    assert type(run.error()) is StepTimeoutError


def test_what_undoes_has_all_its_time_though_it_had_to_wait(session, log, stuck):
    run = session.run(flow(stuck.step(compensate_timeout=1, compensate_retries=0)))
    soon_true(run.scheduler.is_undoing, "the timeout did not come")
    time.sleep(1.2)  # longer than the undo may take
    stuck.go.set()

    assert (ended(run).status, log) == ("compensated", ["begins", "effect", "undo unknown"])


def test_a_cancelled_step_is_undone_after_its_thread_has_ended(session, log, stuck, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.runtime.awaited.UNDO_GRACE_S", 0.1)
    run = session.run(flow(stuck.step(timeout=None)))
    assert stuck.begun.wait(DEADLINE)
    run.cancel()
    soon_true(lambda: run.rows()[0].status == "cancelled", "it was not given up")
    assert (run.done, log) == (False, ["begins"])
    stuck.go.set()

    assert (ended(run).status, log) == ("compensated", ["begins", "effect", "undo unknown"])


@pytest.mark.usefixtures("soon")
def test_a_step_whose_thread_does_not_end_is_left_over_and_what_it_needs_is_undone(session, log, stuck):
    first = step(name="first", compensate=lambda context: log.append("undo first"))(lambda context: 1)
    run = ended(session.run(flow(first >> stuck.step())))

    assert (run.status, run.undone, log) == ("compensation_failed", ("first",), ["begins", "undo first"])
    with pytest.raises(CompensationFailed, match="charge .*: not tried: its thread still runs here") as caught:
        run.result(0)
    assert [left.step for left in caught.value.leftovers] == ["charge"]

    stuck.go.set()
    soon_true(lambda: "effect" in log, "the thread did not end")
    assert (ended(run.compensate()).status, log[2:]) == ("compensated", ["effect", "undo unknown"])


def test_compensating_waits_for_a_thread_that_an_earlier_run_has_left_behind(session, log, stuck):
    run = ended(session.run(flow(stuck.step()), on_failure="stop"))
    assert run.status == "failed"
    undoing = run.compensate()
    time.sleep(0.3)  # the undo would have come by now
    assert (undoing.done, log) == (False, ["begins"])
    stuck.go.set()

    assert (ended(undoing).status, log) == ("compensated", ["begins", "effect", "undo unknown"])


def test_an_async_step_that_does_not_stop_at_once_is_undone_after_it_has(session, log):
    async def slow(context):
        log.append("begins")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)
            log.append("effect")

    made = step(name="slow", timeout=0.2, compensate=lambda context: log.append("undo"), compensate_unknown=True)(slow)

    assert (ended(session.run(flow(made))).status, log) == ("compensated", ["begins", "effect", "undo"])


@pytest.mark.parametrize("undo", [True, False])
def test_a_cancel_ends_the_wait_and_what_is_not_undone_is_named(session, log, stuck, undo):
    first = step(name="first", compensate=lambda context: log.append("undo first"))(lambda context: 1)
    run = session.run(flow(first >> stuck.step()))
    soon_true(lambda: run.scheduler.stopping() == ("charge",) and run.scheduler.state.ended[1], "nobody waits")
    run.cancel(undo=undo)

    assert (ended(run).status, log) == ("failed", ["begins"])
    assert run.error().notes == [
        "step 'charge' may have had its effect: it took longer than it may. compensate_unknown=True undoes such attempts",
        "not undone, since that was stopped: first; runs[1].compensate() does it",
    ]


SLOW = """
from cerebelum_nb import step, workflow
import asyncio

def note(inputs, what):
    with open(inputs["log"], "a") as out:
        out.write(what + " ")

def undo(context, inputs, outcome):
    note(inputs, "undo")

@step(executor="distributed", timeout=0.3, compensate=undo, compensate_unknown=True)
async def slow(context, inputs):
    note(inputs, "begins")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.5)
        note(inputs, "effect")

@workflow
def far(wf): wf.timeline(slow)
"""


def test_a_step_that_took_too_long_on_a_worker_is_undone_after_it_has_ended_there(session, tmp_path):
    names = {"__name__": "__main__"}
    exec(SLOW, names)
    log = tmp_path / "log"
    run = ended(session.run(names["far"], {"log": str(log)}))

    assert (run.status, log.read_text().split()) == ("compensated", ["begins", "effect", "undo"])


# retries ------------------------------------------------------------------------------------------------------------


def test_a_sync_step_that_took_too_long_is_tried_again_only_when_its_thread_has_ended(session, log):
    at_once, most = [], []

    def slow(context):
        at_once.append(context.attempt)
        most.append(len(at_once))
        if context.attempt < 3:
            time.sleep(1.2)
        at_once.remove(context.attempt)
        return context.attempt

    run = ended(session.run(flow(step(name="slow", timeout=0.6, retries=2)(slow))))

    assert (run.status, run.outputs, most) == ("succeeded", {"slow": 3}, [1, 1, 1])
    assert [s.outcome for s in run.rows()[0].segments] == ["timeout", "timeout", "ok"]


@pytest.mark.usefixtures("soon")
def test_a_sync_step_whose_thread_does_not_end_is_not_tried_again_beside_it(session, log, stuck):
    run = ended(session.run(flow(stuck.step(retries=2, compensate=None, compensate_unknown=False))))

    assert (run.status, log) == ("failed", ["begins"])
    error = run.error()
    assert (type(error), error.error_type) == (StepTimeoutError, "StillRuns")
    assert "its thread still runs here, so it is not tried again beside that" in str(error)
    assert [type(e) for e in run.events if isinstance(e, AttemptStarted | AttemptSubmitted)] == [
        AttemptStarted,
        AttemptSubmitted,
    ]


@pytest.mark.parametrize("asked", [{"idempotent": True}, {"effects": "none"}])
def test_a_step_that_does_no_harm_twice_is_tried_again_beside_the_first(session, log, stuck, asked):
    def slow(context):
        if context.attempt == 1:
            stuck(context)
        return context.attempt

    run = ended(session.run(flow(step(name="slow", timeout=0.2, retries=1, **asked)(slow))))

    assert (run.outputs, log) == ({"slow": 2}, ["begins"])


# what cannot travel -------------------------------------------------------------------------------------------------

BOOKING = """
from cerebelum_nb import step, workflow
import threading
lock = threading.Lock()

def cancel_booking(context, inputs):
    with lock:
        pass

@step(executor="distributed", compensate=cancel_booking)
def book(context, inputs):
    with open(inputs["log"], "a") as out:
        out.write("booked\\n")

@workflow
def trip(wf): wf.timeline(book)
"""


def test_what_undoes_a_step_and_cannot_travel_is_found_before_the_step_does_anything(session, tmp_path):
    names = {"__name__": "__main__"}
    exec(BOOKING, names)
    log = tmp_path / "log"
    run = ended(session.run(names["trip"], {"log": str(log)}))

    error = run.error()
    assert (run.status, log.exists(), error.step_name, error.error_type) == ("failed", False, "book", "CaptureError")
    assert error.error == (
        "what undoes step 'book' cannot be sent to a worker, so the step did not begin: it uses the global 'lock', "
        "a _thread.lock. Define it without that, or run the step locally."
    )
    assert not [note for note in getattr(error, "__notes__", ()) if "effect" in note]


# many at once -------------------------------------------------------------------------------------------------------

MANY = """
from cerebelum_nb import step, workflow

def undo(context, inputs):
    with open(inputs["log"], "a") as out:
        out.write(f"undone {context.step_name}\\n")

def made(name):
    source = f"def {name}(context, inputs):\\n    import time; time.sleep(0.002)\\n"
    source += f"    with open(inputs['log'], 'a') as out: out.write('did {name}\\\\n')\\n"
    exec(source, globals())
    return step(executor="distributed", compensate=undo)(globals()[name])

steps = [made(f"s{n}") for n in range(300)]

@workflow
def many(wf): wf.timeline(steps)
"""


def test_of_many_steps_on_workers_that_are_cancelled_each_that_had_its_effect_is_undone_or_named(session, tmp_path):
    names = {"__name__": "__main__"}
    exec(MANY, names)

    for enough in (1, 20, 60):
        log = tmp_path / f"log {enough}"
        run = session.run(names["many"], {"log": str(log)})
        soon_true(lambda run=run, enough=enough: len(run.outputs) >= enough, "so many")
        run.cancel()
        ended(run)
        told = [line.split() for line in log.read_text().splitlines()]
        did, undone = ({name for what, name in told if what == kind} for kind in ("did", "undone"))
        named = {
            note.split("'")[1] for note in getattr(run.error(), "__notes__", ()) if "may have had its effect" in note
        }

        assert run.status == "compensated"
        assert did - undone <= named


# loops --------------------------------------------------------------------------------------------------------------


def test_a_step_that_completed_three_times_is_undone_once_and_that_is_said(session, log):
    def count(context):
        log.append("count")
        return len(log)

    counted = step(name="count", compensate=lambda context, result: log.append(f"undo {result}"))(count)

    def layout(wf):
        wf.timeline(counted >> fails())
        wf.branch(counted, lambda n: n < 3, when_true=back_to(counted, limit=5))

    run = ended(session.run(workflow(name="w")(layout)))

    assert (run.status, run.leftovers, log[3:]) == ("compensated", (), ["undo 3"])
    assert run.error().notes == [
        "undone: count",
        (
            "step 'count' completed 3 times, under one idempotency key: it was undone once, with its last result; what the "
            "earlier 2 did is undone only if that goes by the key"
        ),
    ]


# a step that raises -------------------------------------------------------------------------------------------------


def charging(log, **options):
    def charge(context):
        log.append("effect")
        raise ValueError("after it")

    def undo(context, result, outcome):
        log.append((result, outcome))

    return step(name="charge", compensate=undo, **options)(charge)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_step_that_raises_is_undone_where_it_says_so_since_it_may_have_had_its_effect(session, log, retries):
    run = ended(session.run(flow(charging(log, compensate_unknown=True, retries=retries, backoff=0.01))))

    assert (run.status, run.undone) == ("compensated", ("charge",))
    assert log == ["effect"] * (retries + 1) + [(None, "unknown")]


def test_a_step_that_raises_and_does_not_say_so_is_named(session, log):
    run = ended(session.run(flow(charging(log))))

    assert (run.status, log) == ("failed", ["effect"])
    assert run.error().notes == [
        "step 'charge' raised, perhaps after it had its effect. compensate_unknown=True undoes such attempts"
    ]


def test_a_step_that_was_never_reached_is_neither_undone_nor_named(session, log):
    undo = {"compensate": lambda context: log.append("undo"), "compensate_unknown": True}
    after = step(name="after", **undo)(lambda context: log.append("after"))
    run = ended(session.run(flow(fails("first") >> after)))

    assert (run.status, log, run.error().notes) == ("failed", [], [])
    assert not any(isinstance(e, RunCompensating) for e in run.events)


# nested -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inner_says", "outer_says"), [("stop", None), ("compensate", "stop")])
def test_a_nested_workflow_that_says_otherwise_what_failures_do_is_refused(session, log, inner_says, outer_says):
    made = step(name="pay", compensate=lambda context: None)(lambda context: log.append("pay"))
    inner = workflow(name="inner", on_failure=inner_says)(lambda wf: wf.timeline(made))
    outer = flow(inner.as_step() >> fails(), on_failure=outer_says)

    with pytest.raises(PlanError) as refused:
        session.run(outer)
    assert str(refused.value) == (
        f"nested workflow 'inner' says on_failure={inner_says!r}, but runs of 'w' go by {outer_says or 'compensate'!r}, "
        f"its steps too: say on_failure={inner_says!r} there, or take it away here"
    )
    assert log == []


@pytest.mark.parametrize("outer_says", [None, "stop"])
def test_a_nested_workflow_that_says_the_same_or_nothing_runs(session, outer_says):
    made = step(name="pay", compensate=lambda context: None)(lambda context: 1)
    inner = workflow(name="inner", on_failure=outer_says)(lambda wf: wf.timeline(made))
    run = ended(session.run(flow(inner.as_step() >> fails(), on_failure=outer_says)))

    assert run.status == ("failed" if outer_says else "compensated")
