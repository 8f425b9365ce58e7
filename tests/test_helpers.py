"""Sleep, approval, poll, retry and progress in local steps, and outside any run."""

import asyncio
import datetime as dt
import threading
import time

import pytest

from cerebelum_nb import ExecutionError, PlanError, step, workflow
from cerebelum_nb.helpers import (
    ApprovalRejected,
    ApprovalTimeout,
    PollExhausted,
    ProgressReporter,
    poll,
    retry,
    sleep,
    wait_for_approval,
)
from cerebelum_nb.model.events import AttemptProgress, TaskPaused, TaskResumed
from cerebelum_nb.model.state import RunState

DEADLINE = 20


def single(function):
    made = step(name="one")(function)
    return workflow(name="w")(lambda wf: wf.timeline(made))


def until(what):
    waiting = threading.Event()
    for _ in range(1000):
        if found := what():
            return found
        waiting.wait(0.01)
    raise AssertionError("it did not happen in time")


def told(run, *kinds):
    return [e for e in run.events if isinstance(e, kinds)]


def folded(run):
    state = RunState()
    for event in run.events:
        state.apply(event)
    return state


def test_a_sleeping_step_goes_on_where_it_stopped(session):
    begun = []

    async def one(context):
        begun.append(context.attempt)
        got = await sleep(dt.timedelta(milliseconds=60), data="rested")
        return got, len(begun)

    run = session.run(single(one))

    assert run.result(DEADLINE).output == {"ok": ("rested", 1)}
    (paused,), (resumed,) = told(run, TaskPaused), told(run, TaskResumed)
    assert (paused.kind, paused.task, paused.attempt, resumed.task) == ("sleep", 0, 1, 0)
    assert 0 < paused.until - paused.at <= 0.06
    assert resumed.at >= paused.until - 0.01
    assert folded(run) == run.state


def test_a_hundred_sleeping_steps_sleep_at_the_same_time(session):
    async def doze(context):
        await sleep(300)

    steps = [step(name=f"s{i}")(doze) for i in range(100)]
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(step(name="first")(lambda context: None), steps)))
    run.result(DEADLINE)

    assert run.header().now < 15  # one after the other takes 30 s
    assert len(told(run, TaskPaused)) == 100


def test_a_sleeping_step_is_shown_as_sleeping_and_can_be_cancelled(session):
    async def one(context):
        await sleep(3_600_000)

    run = session.run(single(one))
    row = until(lambda: next((r for r in run.rows() if r.status == "sleeping"), None))
    assert row.until == pytest.approx(3600, abs=5)

    run.cancel()

    assert run.wait(DEADLINE)
    assert (run.status, [r.status for r in run.rows()]) == ("cancelled", ["cancelled"])
    assert folded(run) == run.state


@pytest.mark.parametrize(
    ("reply", "output"),
    [
        (lambda run: run.approve("one"), "True"),
        (lambda run: run.approve("one", {"limit": 5}), "{'limit': 5}"),
        (lambda run: run.reject("one", "too dear"), "ApprovalRejected: 'spend 900' was rejected: too dear"),
        (lambda run: run.reject("one"), "ApprovalRejected: 'spend 900' was rejected"),
    ],
)
def test_a_waiting_step_gets_what_somebody_answers(session, reply, output):
    async def one(context):
        try:
            return str(await wait_for_approval("spend 900", {"amount": 900}))
        except ApprovalRejected as exc:
            return f"{type(exc).__name__}: {exc}"

    run = session.run(single(one))
    (waiting,) = until(lambda: run.approvals)
    assert (waiting.step, waiting.type, waiting.data, waiting.until, waiting.executor) == (
        *("one", "spend 900", {"amount": 900}, 0.0),
        "local",
    )
    assert [(r.status, r.doing, r.until) for r in run.rows()] == [("approval", "spend 900", None)]

    reply(run)

    assert run.result(DEADLINE).output == {"ok": output}
    assert run.approvals == ()
    assert folded(run) == run.state


def test_nobody_answers_in_time(session):
    async def one(context):
        await wait_for_approval("anybody?", timeout_ms=40)

    run = session.run(single(one))

    with pytest.raises(ExecutionError, match="nobody answered 'anybody\\?' within 40 ms") as failed:
        run.result(DEADLINE)

    assert failed.value.error_type == ApprovalTimeout.__name__


def test_a_step_is_answered_once_and_only_while_it_waits(session):
    async def one(context):
        return await wait_for_approval()

    run = session.run(single(one))
    until(lambda: run.approvals)
    run.approve("one")

    with pytest.raises(PlanError, match="step 'one' of run 1 (has ended|does not wait for approval yet)"):
        run.approve("one")
    with pytest.raises(PlanError, match="run 1 has no step 'won'. Did you mean 'one'?"):
        run.approve("won")
    run.result(DEADLINE)


def test_poll_asks_until_the_answer_is_good(session):
    answers, seen = iter([0, 1, 2, 3]), []

    async def one(context):
        async def ask():
            return next(answers)

        return await poll(
            ask, interval=30, success_condition=lambda n: n >= 2, on_attempt=lambda n, answer: seen.append((n, answer))
        )

    run = session.run(single(one))

    assert run.result(DEADLINE).output == {"ok": 2}
    assert seen == [(1, 0), (2, 1), (3, 2)]
    assert [e.text for e in told(run, TaskPaused)] == ["attempt 1 of 30", "attempt 2 of 30"]


def test_poll_awaits_what_a_lambda_gives():
    async def ask():
        return "yes"

    assert asyncio.run(poll(lambda: ask(), interval=1)) == "yes"  # noqa: PLW0108  a lambda is what people write


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": 2, "interval": 1}, "poll gave up after 2 attempts"),
        ({"timeout": 5, "interval": 50}, "poll gave up after 1 attempts: its timeout has passed"),
    ],
)
def test_poll_gives_up(options, message):
    with pytest.raises(PollExhausted, match=message):
        asyncio.run(poll(lambda: None, **options))


def test_retry_tries_again_and_waits_longer_each_time(session):
    tries, seen, errors = iter([ValueError("a"), OSError("b"), None]), [], []

    async def one(context):
        def work(n, *, plus):
            if (error := next(tries)) is not None:
                raise error
            return n + plus

        return await retry(
            work,
            1,
            plus=2,
            delay=30,
            backoff=2.0,
            on_error=errors.append,
            on_attempt=lambda n, last: seen.append((n, str(last))),
        )

    run = session.run(single(one))

    assert run.result(DEADLINE).output == {"ok": 3}
    assert seen == [(1, "None"), (2, "a"), (3, "b")]
    assert [type(e) for e in errors] == [ValueError, OSError]
    pauses = told(run, TaskPaused)
    assert [e.text for e in pauses] == ["attempt 1 of 3 failed", "attempt 2 of 3 failed"]
    assert all(e.until - e.at <= most for e, most in zip(pauses, (0.03, 0.06), strict=True))
    assert [r.at >= e.until - 0.01 for e, r in zip(pauses, told(run, TaskResumed), strict=True)] == [True, True]


def test_retry_gives_up_with_the_last_error():
    def work():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as failed:
        asyncio.run(retry(work, max_attempts=2, delay=1))

    assert failed.value.__notes__ == ["This is the last of 2 attempts that retry made."]


def test_progress_is_told_now_and_then_and_at_the_end(session):
    def one(context):
        reporter = ProgressReporter(context)
        for percent in range(5000):
            reporter.update(percent / 50, f"at {percent}")
        reporter.update(400)

    run = session.run(single(one))
    run.result(DEADLINE)

    events = told(run, AttemptProgress)
    assert 2 <= len(events) < 500
    assert (events[-1].done, events[-1].text) == (1.0, "")
    assert [(r.progress, r.doing) for r in run.rows()] == [(1.0, "")]
    assert folded(run) == run.state


def test_what_a_step_prints_before_it_sleeps_is_told_before(session):
    async def one(context):
        print("first")
        await sleep(60)
        print("second")

    run = session.run(single(one))
    run.result(DEADLINE)

    kinds = [e.text.strip() if hasattr(e, "stream") else type(e).__name__ for e in run.events]
    assert [k for k in kinds if k in ("first", "TaskPaused", "second")] == ["first", "TaskPaused", "second"]


def test_outside_a_run_sleeping_is_sleeping_and_nobody_can_approve():
    began = time.perf_counter()
    assert asyncio.run(sleep(30, "x")) == "x"
    assert time.perf_counter() - began >= 0.029
    ProgressReporter().update(50)
    with pytest.raises(ExecutionError, match="called outside a run, where nobody can answer"):
        asyncio.run(wait_for_approval())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sleep(-1), "sleep's duration_ms=-1 ms: it must be 0 or more"),
        (lambda: sleep("1"), "sleep's duration_ms is a number of milliseconds or a timedelta, not '1'"),
        (lambda: sleep(True), "sleep's duration_ms is a number of milliseconds or a timedelta, not True"),
        (lambda: sleep(float("nan")), "sleep's duration_ms is a number of milliseconds"),
        (lambda: sleep(dt.timedelta(days=3653)), "sleep.s duration_ms=315,619,200,000 ms: .* at most a year"),
        (lambda: wait_for_approval(3), "wait_for_approval's approval_type is text, not 3"),
        (lambda: wait_for_approval(timeout_ms=-5), "wait_for_approval's timeout_ms=-5 ms"),
        (lambda: poll(lambda: 1, interval=-1), "poll's interval=-1 ms"),
        (lambda: poll(lambda: 1, max_attempts=0), "poll's max_attempts is a number of times from 1, not 0"),
        (lambda: retry(lambda: 1, delay="1 s"), "retry's delay is a number of milliseconds"),
        (lambda: retry(lambda: 1, backoff=0), "retry's backoff is a factor from 1 to 1000, not 0"),
        (lambda: retry(lambda: 1, max_attempts=True), "retry's max_attempts is a number of times from 1, not True"),
    ],
)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match="^" + message):
        asyncio.run(call())


def test_a_step_may_sleep_and_wait_at_the_same_time(session):
    async def one(context):
        slept, said = await asyncio.gather(sleep(40, "slept"), wait_for_approval("both?"))
        return slept, said, await asyncio.gather(wait_for_approval("first?"), wait_for_approval("second?"))

    run = session.run(single(one))
    until(lambda: run.approvals and run.approvals[0].type == "both?")
    until(lambda: time.time() > run.state.started_at + 0.1)
    assert [r.status for r in run.rows()] == ["approval"]
    run.approve("one", 1)
    for question, answer in (("first?", 2), ("second?", 3)):
        until(lambda question=question: run.approvals and run.approvals[0].type == question)
        run.approve("one", answer)

    assert run.result(DEADLINE).output == {"ok": ("slept", 1, [2, 3])}
    assert folded(run) == run.state


def test_sleeping_is_not_work(session):
    async def one(context):
        await sleep(1000)

    run = session.run(single(one))
    run.result(DEADLINE)

    assert run.header().local_ms < 900
    assert run.rows()[0].ms >= 999
