"""Runs that fail are undone: whole sessions, real files, workers, threads and killed processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cerebelum_nb import CompensationFailed, ExecutionError, PlanError, RunCancelled, Session, back_to, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.model.events import AttemptStarted, RunStarted
from cerebelum_nb.model.options import Backoff
from cerebelum_nb.model.state import SUCCEEDED, RunState
from cerebelum_nb.rules import planner
from cerebelum_nb.store import journal

pytestmark = pytest.mark.timeout(120)
DEADLINE = 30


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(planner, "UNDO_BACKOFF", Backoff(0.01))


@pytest.fixture
def log():
    """What steps did, in order."""
    return []


def flow(*elements, **options):
    return workflow(name="w", **options)(lambda wf: wf.timeline(*elements))


def does(name, log, *needs, fails=False, asynchronous=False, undo_fails=0, **options):
    """A step that notes what it did, and how it is undone: the first `undo_fails` times that fails."""
    tries = iter(range(10_000))

    def undo(context, result, outcome):
        log.append(f"undo {name}" if next(tries) >= undo_fails else f"undo {name} fails")
        if log[-1].endswith("fails"):
            raise ConnectionError(f"{name} is not reached")

    def do(context, **_read):
        log.append(name)
        if fails:
            raise ValueError(f"{name} does not work")
        return f"of {name}"

    async def do_later(context, **read):
        await asyncio.sleep(0)
        return do(context, **read)

    chosen = {"compensate": undo} if not fails else {}
    return step(name=name, depends_on=list(needs), **{**chosen, **options})(do_later if asynchronous else do)


def chain(log, **last):
    """reserve >> charge >> ship, which fails."""
    reserve = does("reserve", log, asynchronous=True)
    charge = does("charge", log, "reserve", **last)
    return flow(reserve >> charge >> does("ship", log, "charge", fails=True))


def fails_after(begun):
    def fails(context):
        begun.wait(DEADLINE)
        raise ValueError("no")

    return fails


def ended(run):
    assert run.wait(DEADLINE, echo=False), [(row.step, row.status) for row in run.rows()]
    state = RunState()
    for event in run.events:
        state.apply(event)
    assert state == run.state
    return run


def notes(error):
    return [note for note in getattr(error, "__notes__", ()) if not note.startswith("\n")]


# what happens -------------------------------------------------------------------------------------------------------


def test_a_run_that_fails_undoes_what_it_did_backwards_and_raises_what_failed(session, log):
    run = ended(session.run(chain(log)))

    assert log == ["reserve", "charge", "ship", "undo charge", "undo reserve"]
    assert (run.status, run.undone, run.leftovers) == ("compensated", ("charge", "reserve"), ())
    error = run.error()
    assert (type(error), error.step_name, notes(error)) == (ExecutionError, "ship", ["undone: charge, reserve"])
    assert [(row.step, row.status, row.kind) for row in run.rows()] == [
        ("reserve", "undone", "step"),
        ("charge", "undone", "step"),
        ("ship", "failed", "step"),
        ("undo reserve", "succeeded", "undo"),
        ("undo charge", "succeeded", "undo"),
    ]
    assert tuple(journal.read(session.journal_path, run.id)) == run.events


def test_a_run_that_succeeds_undoes_nothing(session, log):
    run = ended(session.run(flow(does("a", log) >> does("b", log))))

    assert (run.status, log, len(run.rows())) == ("succeeded", ["a", "b"], 2)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_undoes_gets_what_it_names(session, log, asynchronous):
    @step
    def order(context, inputs):
        return {"n": inputs["n"]}

    @step(name="pay")
    def pay(context, order):
        log.append(context.idempotency_key)
        return 7

    def refund(context, pay, result, inputs, order, outcome, more="left out"):
        log.append((context.idempotency_key, context.step_name, pay, result, inputs, order, outcome, more))

    async def later(context, pay, result, inputs, order, outcome, more="left out"):
        refund(context, pay, result, inputs, order, outcome, more)

    pay.compensate(later if asynchronous else refund)
    ended(session.run(flow(order >> pay >> does("end", [], fails=True)), {"n": 1}))

    key, told = log
    assert told == (key, "pay", 7, 7, {"n": 1}, {"n": 1}, "completed", "left out")


def test_undoing_that_fails_twice_succeeds_at_the_third_try(session, log):
    run = ended(session.run(chain(log, undo_fails=2)))

    assert log[3:] == ["undo charge fails"] * 2 + ["undo charge", "undo reserve"]
    assert (run.status, [s.outcome for s in run.rows()[-1].segments]) == ("compensated", ["error", "error", "ok"])


def test_undoing_that_always_fails_is_left_over_by_name_and_the_rest_is_undone(session, log):
    run = ended(session.run(chain(log, undo_fails=99, compensate_retries=1)))

    assert log[3:] == ["undo charge fails"] * 2 + ["undo reserve"]
    with pytest.raises(CompensationFailed) as caught:
        run.result(0)
    ((step_name, key, why),) = caught.value.leftovers
    assert (run.status, step_name, why) == (
        *("compensation_failed", "charge"),
        "ConnectionError: charge is not reached",
    )
    assert key in str(caught.value)
    cause = caught.value.__cause__
    assert (len(key), type(cause), cause.step_name) == (32, ExecutionError, "ship")
    assert [error.step_name for error in caught.value.errors.exceptions] == ["undo charge"]
    assert notes(caught.value) == ["undone: reserve"]


def test_a_try_of_undoing_that_takes_too_long_is_ended(session, log):
    def undo(context):
        log.append("begins")
        if len(log) == 1:
            time.sleep(1.2)

    one = step(name="one", compensate=undo, compensate_timeout=0.6)(lambda context: 1)
    run = ended(session.run(flow(one >> does("end", [], fails=True))))

    assert (run.status, log, [s.outcome for s in run.rows()[-1].segments]) == (
        *("compensated", ["begins", "begins"]),
        ["timeout", "ok"],
    )


def test_stop_leaves_all_as_it_is_and_says_so(session, log):
    for run in (
        session.run(chain(log), on_failure="stop"),
        session.run(flow(does("a", log) >> does("b", log, fails=True), on_failure="stop")),
    ):
        ended(run)
        assert (run.status, run.undone) == ("failed", ())
        (note,) = notes(run.error())
        assert note.endswith(f"runs[{run.number}].compensate() does it")
    assert not any(entry.startswith("undo") for entry in log)


def test_a_word_for_one_run_counts_more_than_the_workflows(session, log):
    made = flow(does("a", log) >> does("b", log, fails=True), on_failure="stop")

    assert ended(session.run(made, on_failure="compensate")).status == "compensated"


def test_another_word_is_refused_in_one_line(session, log):
    with pytest.raises(PlanError, match="^on_failure is 'compensate'.* or 'stop', which leaves it; not 'undo'$"):
        session.run(chain(log), on_failure="undo")
    with pytest.raises(Exception, match="workflow 'w': on_failure is 'compensate'"):
        flow(does("a", log), on_failure=True)
    assert log == []


def test_nothing_is_undone_past_the_point_of_no_return(session, log):
    made = flow(
        does("a", log) >> does("b", log, point_of_no_return=True, compensate=None) >> does("c", log, fails=True)
    )
    run = ended(session.run(made))

    assert (run.status, log) == ("failed", ["a", "b", "c"])
    assert notes(run.error()) == ["nothing is undone: b, its point of no return, has completed"]
    with pytest.raises(PlanError, match="is past its point of no return, b: nothing of it is undone; resume goes on"):
        run.compensate()


def test_what_undoes_is_not_undone_itself_and_its_result_is_no_output(session, log):
    one = step(name="one", compensate=lambda context: {"of": "undo"})(lambda context: 1)
    run = ended(session.run(flow(one >> does("end", log, fails=True))))

    assert (run.status, run.outputs) == ("compensated", {"one": 1})


# who is stopped first -------------------------------------------------------------------------------------------------


def test_an_async_step_that_runs_is_stopped_before_anything_is_undone(session, log):
    begun = threading.Event()

    async def waits(context):
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            log.append("stopped")

    beside = step(name="beside", compensate=lambda context: log.append("undo beside"))(waits)
    run = ended(session.run(flow(does("a", log), [beside, step(name="b")(fails_after(begun))])))

    assert log[-2:] == ["stopped", "undo a"]
    assert [row.status for row in run.rows()][:3] == ["undone", "cancelled", "failed"]
    assert notes(run.error()) == [
        "undone: a",
        "step 'beside' may have had its effect: it was stopped while it ran. compensate_unknown=True undoes such attempts",
    ]


def test_a_sync_step_that_runs_is_awaited_and_undone_with_its_result(session, log):
    begun, go = threading.Event(), threading.Event()

    def slow(context):
        begun.set()
        go.wait(DEADLINE)
        return "late"

    beside = step(name="beside", compensate=lambda context, result: log.append(result))(slow)
    run = session.run(flow(does("a", [], compensate=None) >> [beside, step(name="fails")(fails_after(begun))]))
    while not run.scheduler.is_undoing():
        assert not run.done
        time.sleep(0.01)
    go.set()
    ended(run)

    assert (run.status, log) == ("compensated", ["late"])


def test_a_sync_step_that_does_not_end_is_left_behind(session, log, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.runtime.scheduler.UNDO_GRACE_S", 0.2)
    monkeypatch.setattr("cerebelum_nb.runtime.moving.STOPPED_S", 0.2)
    begun, go = threading.Event(), threading.Event()

    def slow(context):
        begun.set()
        go.wait(DEADLINE)

    stuck = step(name="stuck", compensate=lambda context, outcome: log.append(outcome), compensate_unknown=True)(slow)
    run = ended(session.run(flow(does("a", [], compensate=None) >> [stuck, step(name="fails")(fails_after(begun))])))
    go.set()

    assert (run.status, log) == ("compensation_failed", [])
    assert [(left.step, left.error) for left in run.leftovers] == [("stuck", "not tried: its thread still runs here")]


def test_a_cancelled_run_is_undone(session, log):
    begun = threading.Event()

    async def waits(context, **_):
        begun.set()
        await asyncio.sleep(60)

    run = session.run(flow(does("a", log) >> step(name="waits")(waits)))
    assert begun.wait(DEADLINE)
    run.cancel()
    ended(run)

    assert (run.status, log) == ("compensated", ["a", "undo a"])
    assert type(run.error()) is RunCancelled
    assert str(run.error()) == "run 1 of w was cancelled while waits ran; 1 of 2 steps had finished"


def test_a_second_cancel_stops_the_undoing_and_compensate_goes_on_with_it(session, log):
    begun, go = threading.Event(), threading.Event()

    def slow(context):
        log.append("undo b begins")
        begun.set()
        go.wait(DEADLINE)

    made = flow(does("a", log) >> does("b", log, compensate=slow) >> does("c", log, fails=True))
    run = session.run(made)
    assert begun.wait(DEADLINE)
    run.cancel()
    ended(run)
    assert (run.status, [left.step for left in run.leftovers]) == ("compensation_failed", ["a", "b"])

    go.set()
    again = ended(run.resume())

    assert (again.status, again.undone, again.parent) == ("compensated", ("b", "a"), run)
    assert again.result(0).status == "compensated"
    assert log == ["a", "b", "c", "undo b begins", "undo b begins", "undo a"]


# several runs ---------------------------------------------------------------------------------------------------------


def test_compensate_undoes_a_run_that_was_left_as_it_was(session, log):
    run = ended(session.run(chain(log), on_failure="stop"))
    undoing = ended(run.compensate())

    assert log == ["reserve", "charge", "ship", "undo charge", "undo reserve"]
    assert (undoing.status, undoing.error(), undoing.undone) == ("compensated", None, ("charge", "reserve"))
    assert not any(isinstance(e, AttemptStarted) and e.task < undoing.plan.steps for e in undoing.events)
    with pytest.raises(PlanError, match="run 2 of w is undone already"):
        undoing.compensate()
    with pytest.raises(PlanError, match="nothing of run 1 of w is to be undone: what could be undone is undone$"):
        run.compensate()


def test_compensate_tries_only_what_is_left(session, log):
    made = chain(log, undo_fails=2, compensate_retries=0)
    run = ended(session.run(made))
    assert [left.step for left in run.leftovers] == ["charge"]
    second = ended(run.compensate())
    assert (second.status, [left.step for left in second.leftovers]) == ("compensation_failed", ["charge"])
    assert second.leftovers[0].key == run.leftovers[0].key
    third = ended(second.compensate())

    assert third.status == "compensated"
    assert log[3:] == ["undo charge fails", "undo reserve", "undo charge fails", "undo charge"]
    with pytest.raises(CompensationFailed) as caught:
        second.result(0)
    assert type(caught.value.__cause__) is CompensationFailed


def test_a_way_to_undo_may_be_said_after_the_run_has_failed(session, log):
    one = step(name="one")(lambda context: 1)
    run = ended(session.run(flow(one >> does("end", log, fails=True))))
    with pytest.raises(PlanError, match="nothing of run 1 of w is to be undone: no step that has completed says how"):
        run.compensate()

    @one.compensate
    def back(context, result):
        log.append(("back", result))

    ended(run.compensate())
    assert log == ["end", ("back", 1)]


def test_what_no_longer_says_how_it_is_undone_is_named(session, log):
    one = does("one", log)
    run = ended(session.run(flow(one >> does("end", log, fails=True)), on_failure="stop"))
    one.compensate(None)

    with pytest.raises(PlanError, match="one of run 1 of w no longer says how it is undone"):
        run.compensate()


def test_a_run_that_runs_or_has_succeeded_is_not_undone(session, log):
    go = threading.Event()
    run = session.run(flow(does("a", log) >> step(name="waits", depends_on=["a"])(lambda context: go.wait(DEADLINE))))
    with pytest.raises(PlanError, match=r"still runs; runs\[1\].cancel\(\) stops and undoes it"):
        run.compensate()
    go.set()
    with pytest.raises(PlanError, match="has succeeded: only what failed or was stopped is undone"):
        ended(run).compensate()


def test_a_resumed_run_runs_again_what_was_undone_with_another_key(session, log):
    keys, broken = [], [True]
    pay = step(name="pay", compensate=lambda context: keys.append(("undo", context.idempotency_key)))(
        lambda context: keys.append(("pay", context.idempotency_key))
    )

    def ship(context, pay):
        if broken:
            raise ValueError

    first = ended(session.run(flow(pay >> step(name="ship")(ship))))
    second = ended(first.resume())
    broken.clear()
    third = ended(second.resume())

    assert [run.status for run in (first, second, third)] == ["compensated", "compensated", "succeeded"]
    assert [what for what, _ in keys] == ["pay", "undo", "pay", "undo", "pay"]
    (a, a_undone), (b, b_undone), c = (keys[0][1], keys[1][1]), (keys[2][1], keys[3][1]), keys[4][1]
    assert (a, b) == (a_undone, b_undone)
    assert len({a, b, c}) == 3


def test_a_resumed_run_that_fails_undoes_what_the_first_one_did_too(session, log):
    made = chain(log)
    run = ended(session.run(made, on_failure="stop"))
    assert run.resume().plan.undone_if is False
    again = ended(session.runs[-1])
    assert again.status == "failed"

    undoing = ended(again.compensate())

    assert undoing.undone == ("charge", "reserve")
    assert log == ["reserve", "charge", "ship", "ship", "undo charge", "undo reserve"]


def test_a_rerun_from_a_step_undoes_only_what_it_did_itself_and_so_does_its_resume(session, log):
    broken = [False]

    def ship(context, charge):
        if broken:
            raise ValueError

    broken.clear()
    made = flow(does("reserve", log) >> does("charge", log, "reserve") >> step(name="ship")(ship))
    whole = ended(session.run(made))
    broken.append(True)
    rerun = ended(whole.rerun("charge"))
    assert (rerun.status, log) == ("compensated", ["reserve", "charge", "charge", "undo charge"])

    resumed = ended(rerun.resume())

    assert (resumed.status, resumed.undone) == ("compensated", ("charge",))
    assert "undo reserve" not in log


def test_what_a_step_that_is_to_run_again_had_done_is_undone_though_it_did_not_come_to_it(session, log):
    late = []

    def check(context):
        if late:
            raise ValueError("check")

    def more(context):
        if late:
            raise ValueError("more")
        return 1

    checked = step(name="check")(check)
    made = flow(checked >> does("charge", log, "check") >> does("ship", log, fails=True))
    run = ended(session.run(made, on_failure="stop"))
    late.append(1)
    step_before, checked.function = checked.definition, more
    checked.definition = step(name="check")(more).definition  # its cell was edited
    assert step_before is not checked.definition
    again = run.resume(changed="run")
    ended(again)
    assert (again.status, log) == ("failed", ["charge", "ship"])

    ended(again.compensate())

    assert log == ["charge", "ship", "undo charge"]


def test_a_step_that_the_workflow_goes_back_to_is_undone_once_with_its_last_result(session, log):
    def count(context):
        log.append("count")
        return len([entry for entry in log if entry == "count"])

    counted = step(name="count", compensate=lambda context, result: log.append(f"undo {result}"))(count)

    def layout(wf):
        wf.timeline(counted >> does("end", log, fails=True))
        wf.branch(counted, lambda n: n < 3, when_true=back_to(counted, limit=5))

    run = ended(session.run(workflow(name="w")(layout)))

    assert (run.status, log) == ("compensated", ["count", "count", "count", "end", "undo 3"])


def test_what_a_route_passes_by_is_not_undone_and_is_none_or_its_default_for_what_is(session, log):
    pick = step(name="pick")(lambda context: "b")
    a = does("a", log)

    def join(context, a="nothing", b=None):
        return "joined"

    join = step(name="join", compensate=lambda context, a, b, pick: log.append((a, b, pick)))(join)
    b = does("b", log)

    def layout(wf):
        wf.timeline(pick >> join >> does("end", log, fails=True))
        wf.diverge(pick, {"a": a, "b": b})

    run = ended(session.run(workflow(name="w")(layout)))

    assert (run.status, log) == ("compensated", ["b", "end", (None, "of b", "b"), "undo b"])


def test_steps_of_a_nested_workflow_are_undone_by_their_own_names(session, log):
    @step(name="pay")
    def pay(context, inputs):
        return inputs

    @pay.compensate
    def refund(context, pay, inputs):
        log.append((context.step_name, pay, inputs))

    made = step(name="make")(lambda context: {"n": 5})
    inner = workflow(name="inner")(lambda wf: wf.timeline(pay))
    outer = flow(made >> inner.as_step(inputs=made) >> does("end", log, fails=True))
    run = ended(session.run(outer))

    assert (run.undone, log) == (("inner/pay",), ["end", ("inner/pay", {"n": 5}, {"n": 5})])


# elsewhere ------------------------------------------------------------------------------------------------------------


def cell(source, **names):
    space = {"__name__": "__main__", "step": step, "workflow": workflow, **names}
    exec(source, space)
    return space


REMOTE = """
import os, time

def note(inputs, what):
    with open(inputs["log"], "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

def refund(context, result, inputs):
    note(inputs, f"refund {context.executor} {result} {context.idempotency_key}")

@step(executor="distributed", compensate=refund)
def pay(context, inputs):
    note(inputs, f"pay {context.executor} {context.idempotency_key}")
    return 7

def back(context, outcome, inputs):
    note(inputs, f"back {outcome}")

@step(executor="distributed", compensate=back, compensate_unknown=True)
def slow(context, inputs):
    note(inputs, "slow")
    try:
        time.sleep(60)
    finally:
        time.sleep(0.3)
        note(inputs, "gone")

@step
def begin(context): ...

@step
def fails(context, pay, inputs):
    while "slow" not in open(inputs["log"]).read():
        time.sleep(0.01)
    raise ValueError("no")

@workflow
def remote(wf):
    wf.timeline(begin >> [slow, pay >> fails])
"""


def test_what_ran_on_a_worker_is_undone_on_one_after_all_that_runs_there_is_gone(session, tmp_path):
    run = ended(session.run(cell(REMOTE)["remote"], {"log": str(tmp_path / "log")}))

    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    what = [line[0] for line in lines]
    assert run.status == "compensated", run.error()
    assert what.index("gone") < min(what.index("refund"), what.index("back"))
    pay, refund = (next(line for line in lines if line[0] == name) for name in ("pay", "refund"))
    assert refund[1:4] == ["distributed", "7", pay[2]]
    assert next(line for line in lines if line[0] == "back")[1] == "unknown"
    assert str(os.getpid()) not in {line[-1] for line in lines}


DYING = """
import os, signal

@step(executor="distributed", compensate_unknown=UNKNOWN, compensate=lambda context, outcome, result, inputs: open(
    inputs["log"], "a").write(f"{outcome} {result} {context.idempotency_key}"))
def pay(context, inputs):
    os.kill(os.getpid(), signal.SIGKILL)

@workflow
def dying(wf):
    wf.timeline(pay)
"""


@pytest.mark.parametrize("asked", [False, True])
def test_a_step_whose_worker_was_lost_is_undone_only_where_it_says_so(session, tmp_path, asked):
    log = tmp_path / "log"
    run = ended(session.run(cell(DYING, UNKNOWN=asked)["dying"], {"log": str(log)}))

    if asked:
        outcome, result, key = log.read_text().split()
        assert (run.status, outcome, result, len(key)) == ("compensated", "unknown", "None", 32)
    else:
        assert (run.status, log.exists()) == ("failed", False)
        assert notes(run.error()) == [
            "step 'pay' may have had its effect: its worker was lost. compensate_unknown=True undoes such attempts"
        ]


# a kernel's end -------------------------------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys
from pathlib import Path
from cerebelum_nb import PlanError, Session, step, workflow
from cerebelum_nb.config import Settings

ledger, kill_at = Path(sys.argv[2]), sys.argv[3]

def note(context, what):
    with ledger.open("a") as file:
        file.write(f"{what} {context.idempotency_key}\\n")
    if what == kill_at:
        os.kill(os.getpid(), 9)

def undo(context):
    note(context, f"undo {context.step_name}")

@step(compensate=undo)
def a(context): note(context, "a")

@step(compensate=undo)
async def b(context, a): note(context, "b")

@step(compensate=undo)
def c(context, b): note(context, "c")

@step
def d(context, c):
    note(context, "d")
    raise ValueError("no")

@workflow
def flow(wf): wf.timeline(a >> b >> c >> d)

session = Session(Settings(home=Path(sys.argv[1])))
verb = sys.argv[4]
if verb == "run":
    run = session.run(flow)
else:
    run = getattr(session.load(session.history.unfinished()), verb)()
run.wait(30, echo=False)
print(json.dumps([run.status, run.undone, run.undoes_only]))
session.close()
"""


def child(tmp_path, kill_at, verb):
    (tmp_path / "program.py").write_text(PROGRAM)
    words = [tmp_path / "home", tmp_path / "ledger", kill_at, verb]
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.mark.parametrize("verb", ["resume", "compensate"])
@pytest.mark.parametrize("kill_at", ["undo c", "undo b", "undo a"])
def test_a_kernel_that_is_killed_while_it_undoes_leaves_the_rest_to_the_next_one(tmp_path, kill_at, verb):
    assert child(tmp_path, kill_at, "run")[0] == -signal.SIGKILL

    code, told = child(tmp_path, "", verb)

    assert (code, told) == (0, ["compensated", told[1], True])
    lines = [line.split(" ") for line in (tmp_path / "ledger").read_text().splitlines()]
    undone = [line[1] for line in lines if line[0] == "undo"]
    assert sorted(set(undone)) == ["a", "b", "c"]
    assert [line[0] for line in lines if line[0] != "undo"] == ["a", "b", "c", "d"]
    assert len({line[-1] for line in lines}) == 4  # each step's undoing has the step's own key
    assert undone == sorted(undone, reverse=True)  # what was undone twice had not been known to be done


@pytest.mark.parametrize("kill_at", ["c", "d"])
def test_a_kernel_that_is_killed_before_undoes_nothing_until_somebody_says_so(tmp_path, kill_at):
    assert child(tmp_path, kill_at, "run")[0] == -signal.SIGKILL
    assert "undo" not in (tmp_path / "ledger").read_text()

    code, told = child(tmp_path, "", "compensate")

    assert (code, told[0], told[2]) == (0, "compensated", True)
    assert told[1] in (["b", "a"], ["c", "b", "a"][kill_at == "c" :])  # that it had ended may not be on disk


def test_a_run_that_is_resumed_after_its_kernels_end_undoes_all_when_it_fails(tmp_path):
    assert child(tmp_path, "c", "run")[0] == -signal.SIGKILL

    assert child(tmp_path, "", "resume") == (0, ["compensated", ["c", "b", "a"], False])


def test_compensating_that_is_killed_is_gone_on_with(tmp_path):
    child(tmp_path, "c", "run")
    assert child(tmp_path, "undo b", "compensate")[0] == -signal.SIGKILL

    assert child(tmp_path, "", "resume") == (0, ["compensated", ["b", "a"], True])


def test_a_session_that_is_closed_gives_the_undoing_a_moment(tmp_path, log):
    session = Session(Settings(home=tmp_path / "home"))
    begun = threading.Event()

    def slow(context):
        begun.set()
        time.sleep(0.3)
        log.append("undone")

    one = step(name="one", compensate=slow)(lambda context: 1)
    run = session.run(flow(one >> does("end", [], fails=True)))
    assert begun.wait(DEADLINE)
    session.close()

    assert (run.status, log) == ("compensated", ["undone"])


# properties -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_fails_exactly_what_completed_is_undone_after_what_read_it(session, data):
    n = data.draw(st.integers(2, 7))
    reads = [data.draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else set() for i in range(n)]
    fails = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=2))
    asynchronous = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    log = []
    steps = [
        does(f"s{i}", log, *(f"s{j}" for j in sorted(reads[i])), fails=i in fails, asynchronous=asynchronous[i])
        for i in range(n)
    ]
    begin = does("begin", [], compensate=None)
    run = ended(session.run(flow(begin >> steps)))

    phases = run.state.phase
    done = {i for i in range(n) if phases[i + 1] == SUCCEEDED}
    undone = [int(entry.removeprefix("undo s")) for entry in log if entry.startswith("undo")]
    assert sorted(undone) == sorted(done)
    assert run.status == ("compensated" if done else "failed")
    for i in done:
        for j in reads[i] & done:
            assert undone.index(i) < undone.index(j)
    assert next(e for e in run.events if isinstance(e, RunStarted)).undo == tuple(
        i + 1 for i in range(n) if i not in fails
    )


# as it is read later --------------------------------------------------------------------------------------------------


def test_another_session_sees_what_was_undone_and_what_is_left_with_the_same_keys(tmp_path, log):
    first = Session(Settings(home=tmp_path / "home"))
    undone = ended(first.run(chain(log)))
    resumed = ended(undone.resume())
    left = ended(first.run(chain(log, undo_fails=99, compensate_retries=0)))
    keys = [leftover.key for leftover in left.leftovers]
    first.close()

    second = Session(Settings(home=tmp_path / "home"))
    try:
        again, other, third = (second.load(run.id) for run in (undone, left, resumed))
        assert (again.status, again.undone, repr(again)) == (
            *("compensated", ("charge", "reserve")),
            "<run 1 of w: compensated, 2 of 3 steps, 2 of 2 undone: ship failed>",
        )
        assert notes(again.error()) == ["undone: charge, reserve"]
        assert (other.status, [leftover.key for leftover in other.leftovers]) == ("compensation_failed", keys)
        assert type(other.error()) is CompensationFailed
        assert third.keys == {"reserve": resumed.id, "charge": resumed.id} == resumed.keys
        assert [entry.status for entry in second.history.entries()] == [
            *("compensation_failed", "compensated", "compensated"),
        ]
    finally:
        second.close()


def test_results_that_are_not_kept_leave_the_step_over_by_name_and_the_rest_is_undone(tmp_path, log):
    first = Session(Settings(home=tmp_path / "home", keep_results=False))
    read = step(name="read", compensate=lambda context, result: log.append("undo read"))(lambda context: 1)
    blind = step(name="blind", depends_on=["read"], compensate=lambda context: log.append("undo blind"))(
        lambda context: 2
    )

    @workflow(name="unkept")
    def unkept(wf):
        wf.timeline(read >> blind >> does("end", [], fails=True))

    run = ended(first.run(unkept, on_failure="stop"))
    first.close()
    second = Session(Settings(home=tmp_path / "home", keep_results=False))
    try:
        recalled = second.load(run.id)
        with pytest.raises(PlanError, match="inputs of run 1 are not known"):
            recalled.compensate()
        recalled.without_inputs = ""
        undoing = ended(recalled.compensate())
        ((name, _, why),) = undoing.leftovers
        assert (log, name) == (["undo blind"], "read")
        assert why.startswith("ResultLost: the result of 'read' is not kept: ")
    finally:
        second.close()
