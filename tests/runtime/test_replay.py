"""A replay: an attempt again with what it was given, and nothing of the run changed."""

import asyncio
import contextlib
import os
import re
import secrets
import sys
import threading
import time
import traceback

import numpy as np
import pytest

from cerebelum_nb import sleep, step, wait_for_approval, workflow
from cerebelum_nb.capture import versions
from cerebelum_nb.capture.kept import Codes, Payloads
from cerebelum_nb.config import Settings
from cerebelum_nb.dsl.routes import back_to
from cerebelum_nb.errors import ExecutionError, PlacementError, PlanError, StepExecutionError
from cerebelum_nb.helpers import report_progress
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.runtime import surroundings
from cerebelum_nb.session import Session
from tests.executors.remote_kit import cell

CELL = """
from cerebelum_nb import step, workflow
WEIGHT = 2

class Share:
    def __init__(self, of):
        self.of = of
    def half(self):
        return self.of / WEIGHT

@step
def load(context, inputs):
    return {"share": Share(inputs["n"]), "rows": [1, 2]}

@step(executor="distributed")
def score(context, load, inputs):
    seen = (context.attempt, context.replay, context.idempotency_key, context.execution_id, inputs["n"])
    print("scoring", seen)
    load["rows"].append(3)
    assert isinstance(load["share"], Share)
    return sum(load["rows"]) / (load["share"].half() - 4)

@workflow
def flow(wf):
    wf.timeline(load >> score)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One session, with one Core, for tests that leave nothing behind."""
    made = Session(Settings(home=tmp_path_factory.mktemp("home"), workers=2))
    yield made
    made.close()


def ended(session, flow, inputs=None):
    run = session.run(flow, inputs or {})
    assert run.wait(30, echo=False)
    return run


def one_step(function, **options):
    made = step(**options)(function)

    @workflow
    def flow(wf):
        wf.timeline(made)

    return flow


def one_after(first, second):
    @workflow
    def flow(wf):
        wf.timeline(first >> second)

    return flow


def frames(exc):
    return [(frame.f_code.co_name, line) for frame, line in traceback.walk_tb(exc.__traceback__)]


def test_a_failed_remote_attempt_fails_here_again_with_the_values_and_globals_that_were_sent(shared, capsys):
    names = cell(CELL)
    run = ended(shared, names["flow"], {"n": 8})
    before = len(run.events), run.state.seq, run.scheduler.late, run.status
    names["WEIGHT"], methods = 100, dict(vars(names["Share"]))
    capsys.readouterr()
    with pytest.raises(ZeroDivisionError) as caught:
        run.replay("score")

    frame = list(traceback.walk_tb(caught.value.__traceback__))[-1][0]
    assert frames(caught.value)[-1] == ("score", 21)
    assert frame.f_locals["load"]["rows"] == [1, 2, 3]
    assert frame.f_globals["WEIGHT"] == 2
    said = run.replay("load")
    assert said.value["rows"] == [1, 2]
    key = frame.f_locals["seen"][2]
    assert frame.f_locals["seen"] == (1, True, key, run.id, 8)
    assert f"scoring (1, True, '{key}', '{run.id}', 8)" in capsys.readouterr().out
    assert run.details("score").output[0][1] == f"scoring (1, False, '{key}', '{run.id}', 8)\n"
    assert run.results[0]["rows"] == [1, 2]
    assert dict(vars(names["Share"])) == methods, "the person's own class is as it was"
    assert (len(run.events), run.state.seq, run.scheduler.late, run.status) == before
    first, *rest = caught.value.__notes__
    assert first.startswith("This is a replay of attempt 1 of score (run ")
    assert first.endswith("distributed): there it failed alike.")
    assert any("a worker of distributed (pid " in line for line in rest)


def test_what_succeeded_is_compared_here_and_on_another_executor(shared):
    names = cell(CELL)
    run = ended(shared, names["flow"], {"n": 10})
    names["WEIGHT"] = 5
    here, there = run.replay("score"), run.replay("score", executor="distributed")

    assert (here.value, here.same, here.differs, here.executor) == (6.0, True, (), "here")
    assert (there.value, there.same, there.executor, there.environment) == (6.0, True, "distributed", None)
    assert here.lines[0].endswith(": the same result")
    assert here.environment is not None
    assert "replayed on distributed" in str(there)


def test_another_result_says_where_it_differs(shared):
    def made(context):
        return {"xs": np.arange(3) + (10 if context.replay else 0)}

    run = ended(shared, one_step(made))
    told = run.replay("made")

    assert told.same is False
    assert told.lines[0].endswith("another result")
    assert told.differs[0].startswith("the result['xs']: Arrays are not equal; Mismatched elements: 3 / 3")


def test_a_result_here_where_it_failed_there_is_told(shared):
    def picky(context):
        if not context.replay:
            raise ValueError("only there")
        return "fine"

    told = ended(shared, one_step(picky, executor="distributed")).replay("picky")

    assert (told.value, told.same) == ("fine", None)
    assert told.lines[0].endswith(": a result here, 'fine'")
    assert told.lines[1] == "  there it failed with ValueError: only there"


def test_another_error_than_there_is_told(shared):
    def fickle(context):
        raise (KeyError if context.replay else ValueError)("x")

    run = ended(shared, one_step(fickle))
    with pytest.raises(KeyError) as caught:
        run.replay("fickle")

    assert "(run " in caught.value.__notes__[0]
    assert caught.value.__notes__[0].endswith("local): there it failed with ValueError: x.")


def test_an_async_step_is_awaited_in_a_loop_of_its_own_also_where_one_runs(shared):
    async def slow(context):
        await asyncio.sleep(0)
        raise ValueError(threading.current_thread().name)

    run = ended(shared, one_step(slow, executor="distributed"))

    async def asked():
        run.replay("slow")

    for ask in (lambda: run.replay("slow"), lambda: asyncio.run(asked())):
        with pytest.raises(ValueError, match="cerebelum-replay") as caught:
            ask()
        assert frames(caught.value)[-1][0] == "slow"
        assert not any(name == "_settled" for name, _ in frames(caught.value))


def test_a_plain_step_runs_in_the_callers_thread_and_sees_no_loop(shared):
    def loops(context):
        async def inside():
            return threading.current_thread().name

        return asyncio.run(inside())

    run = ended(shared, one_step(loops))

    async def asked():
        told = run.replay("loops").value
        return told, asyncio.get_running_loop() is not None

    assert asyncio.run(asked()) == (threading.current_thread().name, True)


def test_pauses_are_short_answers_the_old_ones_and_progress_is_printed(shared, capsys):
    async def waits(context):
        report_progress(0.5, "half")
        await sleep(3_600_000 if context.replay else 1)
        return await wait_for_approval("publish?")

    run = shared.run(one_step(waits), {})
    run.watch(lambda _: run.approve("waits", {"by": "Ann"}) if run.approvals else None)
    assert run.wait(20, echo=False)
    for executor in (None, "distributed"):
        capsys.readouterr()
        told = run.replay("waits", executor=executor)
        said = capsys.readouterr().out

        assert (told.value, told.same) == ({"by": "Ann"}, True)
        assert 0.9 < told.seconds < 20
        assert "waits: 50 %, half\n" in said
        assert said.count("replay: a sleep of 1 h") == 1
        assert "replay: 'publish?' is answered as it was\n" in said


def test_a_question_that_nobody_answered_is_not_asked_again(shared):
    async def asks(context):
        if not context.replay:
            raise ValueError("before it asked")
        return await wait_for_approval("publish?")

    run = ended(shared, one_step(asks))
    with pytest.raises(ExecutionError, match="'publish\\?', and nobody had answered it: a replay asks nobody"):
        run.replay("asks")
    with pytest.raises(ExecutionError, match="a replay asks nobody"):
        run.replay("asks", executor="distributed")


def test_sys_exit_ends_the_step_and_not_this_process(shared):
    def leaves(context):
        sys.exit(3)

    run = ended(shared, one_step(leaves))
    with pytest.raises(StepExecutionError, match="sys.exit") as caught:
        run.replay("leaves")
    assert frames(caught.value)[-1][0] == "leaves"


def test_a_failure_on_another_executor_has_the_steps_own_traceback(shared):
    def bad(context):
        raise ValueError("there")

    run = ended(shared, one_step(bad))
    with pytest.raises(ExecutionError) as caught:
        run.replay("bad", executor="distributed")

    assert caught.value.told == "step 'bad' failed (distributed, replay, attempt 1): ValueError: there"
    assert ", in bad" in caught.value.traceback
    assert caught.value.notes[0].endswith("local): there it failed alike.")


def test_an_earlier_attempt_is_replayed_by_its_number(shared):
    tries = []

    def shaky(context):
        tries.append(context.attempt)
        if context.attempt == 1:
            raise ValueError("first")
        return context.attempt

    run = ended(shared, one_step(shaky, retries=1))
    with pytest.raises(ValueError, match="first"):
        run.replay("shaky", attempt=1)

    assert run.replay("shaky").value == 2
    assert tries == [1, 2, 1, 2]


def test_what_changes_something_outside_is_replayed_only_where_somebody_insists(shared):
    done = []

    def pay(context):
        done.append(context.replay)

    once = ended(shared, one_step(pay, effects="once"))
    undone = ended(shared, one_step(pay, compensate=lambda result: None))
    with pytest.raises(PlanError, match=r'says effects="once".* runs\[\d+\].replay\(\'pay\', force=True\) insists'):
        once.replay("pay")
    with pytest.raises(PlanError, match="says what undoes it"):
        undone.replay("pay")
    assert done == [False, False]
    assert once.replay("pay", force=True).same
    assert undone.replay("pay", force=True).same
    assert done == [False, False, True, True]


def test_a_step_that_ended_its_worker_is_not_let_into_this_process(shared):
    def dies(context):
        os._exit(7)

    run = ended(shared, one_step(dies, executor="distributed"))
    with pytest.raises(PlanError, match=r"ended with its worker \(.*\), and could end this process too") as caught:
        run.replay("dies")
    assert "replay('dies', executor='distributed') replays it on a worker" in str(caught.value)
    with pytest.raises(ExecutionError, match="ended with exit code 7"):
        run.replay("dies", executor="distributed")


def test_what_cannot_be_replayed_is_said_in_one_line(shared):
    def first(context, inputs):
        if inputs["n"]:
            raise ValueError("no")

    def second(context, first):
        return 1

    made = [step(first), step(cache=True)(second)]

    @workflow
    def flow(wf):
        wf.timeline(made[0] >> made[1])

    failed = ended(shared, flow, {"n": 1})
    ended(shared, flow, {"n": 0})
    hit = ended(shared, flow, {"n": 0})
    again = hit.rerun("second")
    again.wait(10)
    wrong = [
        (failed, ("secnd",), "has no step 'secnd'. Did you mean 'second'?"),
        (failed, ("first", 2), "had 1 attempt: there is no attempt 2"),
        (failed, ("second",), "has never begun (first did not succeed): there is nothing to replay"),
        (hit, ("second",), "took its result from the cache: no code ran, so there is nothing to replay"),
        (again, ("first",), f"its result is reused: runs[{hit.number}].replay('first') replays it there"),
    ]
    for run, asked, said in wrong:
        with pytest.raises(PlanError) as caught:
            run.replay(*asked)
        assert said in str(caught.value), str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(PlacementError, match=r"^step 'first': there is no executor 'nowhere'\. "):
        failed.replay("first", executor="nowhere")


def test_a_step_that_could_not_be_sent_has_nothing_to_replay(shared):
    lock = threading.Lock()

    def holds(context):
        return lock

    run = ended(shared, one_step(holds, executor="distributed"))
    with pytest.raises(PlanError, match=r"never began \(CaptureError: .*there is nothing to replay"):
        run.replay("holds")


def test_what_an_earlier_attempt_got_is_not_guessed(shared):
    rounds = []

    @step
    def fetch(context):
        rounds.append(1)
        return len(rounds)

    @step
    def judge(context, fetch):
        return fetch

    @workflow
    def flow(wf):
        wf.timeline(fetch >> judge).branch(judge, lambda n: n >= 2, None, back_to(fetch))

    run = ended(shared, flow)
    rounds.clear()
    with pytest.raises(PlanError, match="the result of 'fetch' that it got is not kept: that step has run again since"):
        run.replay("judge", attempt=1)
    early = run.replay("fetch", attempt=1)

    assert (run.replay("judge").value, run.replay("judge").same) == (2, True)
    assert (early.value, early.same) == (1, None)
    assert "what attempt 1 gave is not kept" in early.lines[1]


def test_the_keywords_of_a_passed_route_keep_their_defaults(shared):
    @step
    def check(context):
        return "bad"

    @step
    def ship(context):
        return "shipped"

    @step
    def refund(context):
        return "refunded"

    @step
    def notify(context, check, ship="nothing"):
        return ship

    @workflow
    def flow(wf):
        wf.timeline(check >> notify)
        wf.diverge(check, {"good": ship, "bad": refund})

    run = ended(shared, flow)
    assert run.replay("notify").same, run.rows()


def test_a_later_kernel_replays_what_was_sent_and_else_says_whose_code_runs(tmp_path):
    first = Session(Settings(home=tmp_path))
    names = cell(CELL)
    try:
        run = ended(first, names["flow"], {"n": 8})
    finally:
        first.close()
    later = Session(Settings(home=tmp_path))
    try:
        past = later.load(run.id)
        with pytest.raises(ZeroDivisionError) as caught:
            past.replay("score")
        told = past.replay("load", force=True)
    finally:
        later.close()

    assert frames(caught.value)[-1] == ("score", 21)
    assert "no worker of distributed runs" in caught.value.__notes__[1]
    assert told.notes == ("its kernel has ended: today's load runs, which has the same code",)


def test_what_is_not_kept_is_named(tmp_path):
    first = Session(Settings(home=tmp_path, keep_results=False))
    names = cell(CELL)
    try:
        run = ended(first, names["flow"], {"n": 8})
    finally:
        first.close()
    later = Session(Settings(home=tmp_path))
    try:
        with pytest.raises(
            PlanError, match="of step 'score' of run 1 cannot be replayed, the result of 'load'"
        ) as caught:
            later.load(run.id).replay("score")
    finally:
        later.close()
    assert "no results were kept" in str(caught.value)


def test_what_was_sent_and_is_not_kept_any_more_is_said(shared):
    names = cell(CELL)
    run = ended(shared, names["flow"], {"n": 10})
    run.codes = Codes(Payloads(0))
    names["WEIGHT"] = 1
    told = run.replay("score")

    assert told.notes == ("what was sent to the worker is not kept: it runs with the globals of now",)
    assert (told.value, told.same) == (1.0, False)


def test_what_another_python_had_sent_is_not_read(tmp_path, monkeypatch):
    first = Session(Settings(home=tmp_path))
    names = cell(CELL)
    try:
        run = ended(first, names["flow"], {"n": 8})
    finally:
        first.close()
    monkeypatch.setattr(versions, "mine", lambda: {"Python": "2.7", "cloudpickle": "0.1"})
    later = Session(Settings(home=tmp_path))
    try:
        with pytest.raises(ZeroDivisionError) as caught:
            later.load(run.id).replay("score")
    finally:
        later.close()

    assert "it was made with Python 3." in caught.value.__notes__[1]
    assert caught.value.__notes__[1].endswith(": today's score runs, which has the same code")


def test_large_arrays_cannot_be_written_to_as_on_the_worker_and_the_runs_own_stay_as_they_are(shared):
    @step
    def load(context):
        return np.zeros(300_000)

    @step
    def here(context, load):
        load[0] += 1
        return float(load[0])

    @step(executor="distributed")
    def there(context, load):
        return np.append(load, 5)

    @step(executor="distributed")
    def writes(context, there):
        there[0] = 1

    @workflow
    def flow(wf):
        wf.timeline(load >> there >> writes >> here)

    run = ended(shared, flow)
    with pytest.raises(ValueError, match="read-only") as caught:
        run.replay("writes")
    elsewhere = run.replay("there", executor="distributed")

    hint, told = caught.value.__notes__[:2]
    assert hint == "Steps share arrays above 1 MiB: x = x.copy() makes one that can be changed"
    assert told.endswith("there it failed alike.")
    assert (run.replay("there").same, elsewhere.same, elsewhere.value[-1]) == (True, True, 5)

    run = ended(shared, one_after(load, here))
    first = run.results[0][0]
    run.replay("here")
    assert run.results[0][0] == first


def test_what_a_replay_prints_is_seen_also_while_another_run_keeps_its_prints(shared, capsys):
    gate = threading.Event()

    def says(context):
        print("said by the step")
        return gate

    def waits(context):
        print("kept by the run")
        gate.wait(20)

    run = ended(shared, one_step(says))
    live = shared.run(one_step(waits), {})
    try:
        capsys.readouterr()
        for executor in (None, "distributed"):
            with contextlib.suppress(ExecutionError):  # a worker cannot have the gate
                run.replay("says", executor=executor)
        seen = capsys.readouterr().out
    finally:
        gate.set()
        live.wait(10, echo=False)

    assert seen.splitlines()[0] == "said by the step"
    assert "kept by the run" not in seen


def test_a_decision_is_replayed_like_a_step(shared):
    @step
    def check(context):
        return 3

    @step
    def ship(context):
        return "shipped"

    @step
    def refund(context):
        return "refunded"

    @workflow
    def flow(wf):
        wf.timeline(check >> [ship, refund])
        wf.branch(check, lambda n: n > 2, ship, refund)

    run = ended(shared, flow)
    assert run.status == "succeeded", run.error()
    assert run.replay("check?").same


def test_what_is_other_on_the_worker_is_told_by_name_and_a_busy_pool_holds_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setenv("OTHER_THERE", "mine")
    monkeypatch.setattr(surroundings, "ASK_S", 2.0)
    pool = Pool("gpu", 1, env={"ONLY_THERE": "secret-of-theirs", "OTHER_THERE": "theirs"})
    gate = tmp_path / "gate"

    def quick(context):
        return 1

    def waits(context, inputs):
        while not os.path.exists(inputs["gate"]):
            time.sleep(0.01)

    session = Session(Settings(home=tmp_path / "home", pools={"gpu": pool}))
    try:
        run = ended(session, one_step(quick, executor="gpu"))
        monkeypatch.setenv("ONLY_HERE", "1")
        for name in ("MPLBACKEND", "JPY_PARENT_PID", "SERVER_PID", "TERM_PROGRAM"):
            monkeypatch.setenv(name, secrets.token_hex(4))
        monkeypatch.syspath_prepend(str(tmp_path))
        told = run.replay("quick")
        monkeypatch.setattr(surroundings, "ASK_S", 0.2)
        live = session.run(one_step(waits, executor="gpu"), {"gate": str(gate)})
        until(lambda: live.rows()[0].status == "running")
        busy = run.replay("quick")
        gate.touch()
        assert live.wait(20, echo=False)
    finally:
        session.close()

    assert told.environment is not None
    found = {d.what: (d.ours, d.theirs) for d in told.environment}
    assert (found["variable ONLY_THERE"], found["variable ONLY_HERE"]) == (("-", "yes"), ("yes", "-"))
    assert found["variable OTHER_THERE"] == ("one value", "another")
    assert "variable PATH" not in found
    assert not [what for what in found if re.search("MPLBACKEND|_PID|TERM", what)], "no result depends on these"
    assert any("a worker of gpu (pid " in line for line in told.lines)
    assert "secret-of-theirs" not in str(told)
    assert (busy.same, busy.environment) == (True, None)
    assert busy.lines[-1] == "  no worker of gpu said within 0.2 s what it runs in"


def test_whose_workers_share_memory_is_said_of_every_pool(tmp_path):
    pools = {
        "ours": 1,
        "theirs": {"slots": 1, "trust": "untrusted"},
        "far": {"core": "tls://there:1"},
        "gated": {"slots": 1, "core": "grpc://there:2"},
    }
    session = Session(Settings(home=tmp_path, core_url="tls://there:3", pools=pools))
    try:
        session.pools.reach("tls://there:4")
        found = {name for name in session.places.remote if session.shares(name)}
    finally:
        session.close()
    assert found == {"processes", "ours", "gated"}


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
