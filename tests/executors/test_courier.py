"""A run whose steps pause on workers, through the session; and how a courier shares its rounds."""

import asyncio
import os
import signal
import time
from itertools import groupby

import pytest

from cerebelum_nb import step, workflow
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptProgress,
    AttemptStarted,
    AttemptSubmitted,
    TaskFinished,
    TaskPaused,
    TaskResumed,
)
from cerebelum_nb.model.state import RunState
from cerebelum_nb.protocols import Answer, Outcome
from cerebelum_nb.store import journal

pytestmark = pytest.mark.timeout(90)
DEADLINE = 30


def flow(source):
    space = {"__name__": "__main__", "step": step, "workflow": workflow}
    exec(f"import os\nfrom cerebelum_nb.helpers import *\n{source}", space)
    return space["flow"]


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)  # a poll, not a pause


ASKS = """
@step(executor="distributed")
async def ask():
    print("before")
    ProgressReporter().update(50, "half")
    await sleep(100)
    return await wait_for_approval("go on?", data={"n": 1})
@workflow
def flow(wf): wf.timeline(ask)
"""


def test_a_remote_steps_pauses_and_progress_are_told_in_order_and_fold_to_the_live_state(session):
    run = session.run(flow(ASKS))
    until(lambda: run.approvals)
    (asked,) = run.approvals
    run.approve("ask", (1, 2))

    assert run.result(DEADLINE).outputs["ask"] == (1, 2)
    assert (asked.step, asked.type, asked.data, asked.until, asked.executor) == (
        "ask",
        "go on?",
        {"n": 1},
        0.0,
        "distributed",
    )
    told = [type(e) for e in run.events if getattr(e, "task", None) == 0]
    assert [kind for kind in told if kind.__name__ != "AttemptOutput"] == [
        AttemptSubmitted,
        AttemptStarted,
        AttemptProgress,
        TaskPaused,
        TaskResumed,
        TaskPaused,
        TaskResumed,
        AttemptFinished,
        TaskFinished,
    ]
    state = RunState()
    for event in journal.read(session.journal_path, run.id):
        state.apply(event)
    assert state == run.state


def test_an_answer_that_cannot_be_sent_is_told_and_the_step_asks_again(session):
    run = session.run(flow(ASKS))
    until(lambda: run.approvals)
    (first,) = run.approvals

    run.approve("ask", (n for n in "a"))
    until(lambda: run.approvals and run.approvals[0] is not first)
    run.approve("ask", "fits")

    assert run.result(DEADLINE).outputs["ask"] == "fits"
    (notice,) = [text for _, stream, text in run.printed()[1] if stream == "notice"]
    assert notice.startswith(
        "the answer did not reach the step, which waits for another: the value for step 'ask' is a"
    )


def test_an_answer_to_a_question_that_is_over_does_not_answer_the_next(session):
    source = """
@step(executor="distributed")
async def ask():
    try: await wait_for_approval("first", timeout_ms=200)
    except ApprovalTimeout: pass
    return await wait_for_approval("second")
@workflow
def flow(wf): wf.timeline(ask)
"""
    run = session.run(flow(source))
    until(lambda: run.approvals)
    (first,) = run.approvals
    until(lambda: [a.type for a in run.approvals] == ["second"])

    first.reply(Answer(True, "late"))
    run.reject("ask", "no")

    assert run.wait(DEADLINE)
    assert run.error().error == "'second' was rejected: no"


@pytest.mark.parametrize("how", ["killed", "cancelled"])
def test_who_is_killed_or_cancelled_while_it_waits_asks_no_more(session, how, tmp_path):
    source = f"""
@step(executor="distributed")
async def ask():
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    return await wait_for_approval("go on?")
@workflow
def flow(wf): wf.timeline(ask)
"""
    run = session.run(flow(source))
    until(lambda: run.approvals)
    if how == "killed":
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    else:
        run.cancel()

    assert run.wait(DEADLINE)
    until(lambda: run.approvals == ())
    assert run.status == ("failed" if how == "killed" else "cancelled")


class Narrow:
    """An executor with one place, in this process: `naps` pauses until the first of the others runs."""

    name, crosses_boundary, capacity = "core", True, 1

    def __init__(self):
        self.at_work = self.beside = 0
        self.woken = asyncio.Event()

    def _works(self, more):
        self.beside += more > 0 and self.at_work > 0
        self.at_work += more

    async def start(self):
        pass

    async def run(self, attempt, signals):
        self._works(+1)
        if attempt.step == "naps":
            signals.paused("sleep", None, "", None)
            self._works(-1)
            await self.woken.wait()
            self._works(+1)
            signals.resumed()
        self.woken.set()
        for _ in range(5):
            await asyncio.sleep(0)
        self._works(-1)
        return Outcome("ok", attempt.step)

    async def answer(self, run, task, number, answer):
        pass

    async def close(self):
        pass


def test_a_paused_attempt_lends_its_round_and_when_it_goes_on_no_more_are_taken_than_fit(session):
    session._remote["core"] = narrow = Narrow()
    names = ("naps", "a", "b", "c", "d")
    steps = "".join(f'@step(executor="distributed")\nasync def {name}(): pass\n' for name in names)

    steps += "@step\ndef start(): pass\n"

    made = flow(f"{steps}@workflow\ndef flow(wf): wf.timeline(start >> [{', '.join(names)}])\n")
    result = session.run(made).result(DEADLINE)

    assert {name: result.outputs[name] for name in names} == {name: name for name in names}
    assert narrow.beside == 1  # it woke beside the one that had its place; the others came one after the other


def test_more_steps_may_sleep_on_workers_than_the_executor_takes_at_once(session, tmp_path):
    session._remote["core"] = core = CoreExecutor(slots=1)
    core.capacity = 2
    source = f"""
import pathlib, uuid
folder = pathlib.Path({str(tmp_path / "here")!r})
@step
def start(): folder.mkdir()
async def nap():
    (folder / uuid.uuid4().hex).touch()
    while len(list(folder.iterdir())) < 5: await sleep(50)
naps = [step(name="nap%d" % n, executor="distributed")(nap) for n in range(5)]
@workflow
def flow(wf): wf.timeline(start >> naps)
"""

    result = session.run(flow(source)).result(DEADLINE)

    assert len(result.outputs) == 6  # none could end before all had begun


@pytest.fixture
def launches(session, monkeypatch):
    """Steps that were sent without a round. Core runs already, and takes eight attempts at once."""
    assert session.run(fan(1, "pass")).result(DEADLINE)
    launched, launch = [], CoreExecutor.launch

    def noted(self, attempt, signals, ended):
        take_back = launch(self, attempt, signals, ended)
        launched.extend([attempt.step] if take_back is not None else [])
        return take_back

    monkeypatch.setattr(CoreExecutor, "launch", noted)
    session._remote["core"].capacity = 8
    return launched


def fan(steps, body):
    """Remote steps side by side, after a local one."""
    names = [f"s{n}" for n in range(steps)]
    made = "".join(f'@step(executor="distributed")\nasync def {name}():\n    {body}\n' for name in names)
    return flow(
        f"{made}@step\ndef first(): pass\n@workflow\ndef flow(wf): wf.timeline(first >> [{', '.join(names)}])\n"
    )


def test_many_attempts_are_launched_no_more_at_once_than_fit_and_each_has_its_events_in_order(session, launches):
    run = session.run(fan(60, "print('hello')"))
    run.result(DEADLINE)

    assert sorted(launches) == sorted(f"s{n}" for n in range(60))
    out, most, told = set(), 0, {}
    for event in run.events:
        out |= {event.task} if isinstance(event, AttemptSubmitted) else set()
        out -= {event.task} if isinstance(event, AttemptFinished) else set()
        most = max(most, len(out))
        told.setdefault(getattr(event, "task", None), []).append(type(event).__name__)
    assert most == 8
    order = ["AttemptSubmitted", "AttemptStarted", "AttemptOutput", "AttemptFinished", "TaskFinished"]
    assert all([kind for kind, _ in groupby(told[task])] == order for task in range(1, 61))


def test_launched_attempts_that_pause_lend_their_places(session, launches):
    run = session.run(
        fan(12, "return await wait_for_approval('go on?')"),
    )

    until(lambda: len(run.approvals) == 12)
    for asked in run.approvals:
        asked.reply(Answer(True, asked.step))

    assert run.result(DEADLINE).outputs["s11"] == "s11"
    assert len(launches) == 12


@pytest.mark.parametrize("how", ["cancelled", "worker killed", "core killed"])
def test_launched_attempts_end_with_the_run_with_their_worker_or_with_core(session, launches, how, tmp_path):
    (ran := tmp_path / "ran").mkdir()
    run = session.run(fan(20, f"open({str(ran)!r} + f'/{{os.getpid()}}', 'w').close()\n    await sleep(60_000)"))
    until(lambda: len(list(ran.iterdir())) >= 2)
    core, worker = session._remote["core"].pids[0], int(next(ran.iterdir()).name)

    if how == "cancelled":
        run.cancel()
    else:
        os.kill(core if how == "core killed" else worker, signal.SIGKILL)
        until(lambda: any(row.status == "failed" for row in run.rows()))
        run.cancel()

    assert run.wait(DEADLINE)
    assert {row.status for row in run.rows()} <= {"succeeded", "cancelled", "failed", "skipped"}
    session._remote["core"].capacity = 8
    assert session.run(fan(3, "return 1")).result(DEADLINE).outputs["s2"] == 1
