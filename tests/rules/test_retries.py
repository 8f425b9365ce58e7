"""Retries, timeouts and what a lost worker means: local and remote, with real threads and real processes."""

import os
import signal
import threading
import time

import pytest

from cerebelum_nb import ExecutionError, step, workflow
from cerebelum_nb.errors import StepTimeoutError
from cerebelum_nb.model.events import AttemptFinished, ErrorInfo, TaskRetrying
from cerebelum_nb.model.options import Backoff, StepOptions
from cerebelum_nb.model.state import RunState
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.retrying import pause_s

DEADLINE = 60


def single(function, **options):
    made = step(name="one", **options)(function)
    return workflow(name="w")(lambda wf: wf.timeline(made))


def folded(run):
    state = RunState()
    for event in run.events:
        state.apply(event)
    return state


def segments(run):
    return [(s.attempt, s.outcome) for s in run.rows()[0].segments]


def flaky(path, fails):
    """A step that raises the first times; its tries are counted in a file, so that it may run in any process."""

    def one(context):
        with path.open("a") as file:
            file.write(f"{context.attempt} {context.idempotency_key}\n")
        if context.attempt <= fails:
            raise ConnectionResetError(f"try {context.attempt}")
        return context.attempt

    return one


@pytest.mark.parametrize("executor", ["local", "distributed"])
def test_a_step_is_tried_again_until_it_succeeds(session, tmp_path, executor):
    run = session.run(single(flaky(tmp_path / "tries", 2), retries=3, backoff=0.02, executor=executor))

    assert run.result(DEADLINE).output == {"ok": 3}
    assert segments(run) == [(1, "error"), (2, "error"), (3, "ok")]
    assert [(e.attempt, e.text) for e in run.events if isinstance(e, TaskRetrying)] == [
        (1, "attempt 2 of 4 after ConnectionResetError"),
        (2, "attempt 3 of 4 after ConnectionResetError"),
    ]
    numbers, keys = zip(*(line.split() for line in (tmp_path / "tries").read_text().splitlines()), strict=True)
    assert (numbers, len(set(keys)), len(keys[0])) == (("1", "2", "3"), 1, 32)
    assert folded(run) == run.state


def test_the_last_error_is_told_when_all_tries_have_failed(session, tmp_path):
    with pytest.raises(ExecutionError) as failed:
        session.run(single(flaky(tmp_path / "tries", 9), retries=1)).result(DEADLINE)

    assert failed.value.told == "step 'one' failed (local, attempt 2): ConnectionResetError: try 2"
    assert segments(failed.value.run) == [(1, "error"), (2, "error")]


@pytest.mark.parametrize("executor", ["local", "distributed"])
@pytest.mark.parametrize(("kinds", "tries"), [(ConnectionError, 2), ((KeyError, OSError), 2), (KeyError, 1)])
def test_only_the_errors_that_are_named_are_tried_again(session, tmp_path, executor, kinds, tries):
    run = session.run(single(flaky(tmp_path / "tries", 9), retries=1, retry_on=kinds, executor=executor))
    run.wait(DEADLINE)

    assert len(segments(run)) == tries


def error(kind, *kinds, outcome="error"):
    return Outcome(outcome, error=ErrorInfo(kind, "", "", kinds))


@pytest.mark.parametrize(
    ("options", "tried", "outcome", "again"),
    [
        ({}, 0, error("OSError"), False),
        ({"retries": 1}, 0, error("OSError"), True),
        ({"retries": 1}, 1, error("OSError"), False),
        ({"retries": 1}, 0, error("Cancelled", outcome="cancelled"), False),
        ({"retries": 1}, 0, error("StepTimeout", outcome="timeout"), True),
        *(
            ({"retries": 9}, 0, error(k), False)
            for k in ("TypeError", "ImportError", "SystemExit", "UnserializableResult")
        ),
        ({"retries": 9, "retry_on": (TypeError,)}, 0, error("TypeError", "builtins.TypeError"), True),
        ({"retries": 9, "retry_on": (Exception,)}, 0, error("CaptureError", "builtins.Exception"), False),
        (
            {"retries": 9, "retry_on": (TimeoutError,)},
            0,
            error("StepTimeout", "builtins.TimeoutError", outcome="timeout"),
            True,
        ),
        ({}, 0, error("WorkerLost", outcome="lost"), False),
        ({"idempotent": True}, 0, error("WorkerLost", outcome="lost"), True),
        ({"idempotent": True}, 2, error("WorkerLost", outcome="lost"), False),
        ({"idempotent": True}, 0, error("OSError"), False),
        ({"retries": 1}, 0, error("WorkerLost", outcome="lost"), True),
    ],
)
def test_who_is_tried_again(options, tried, outcome, again):
    assert (pause_s(StepOptions(**options), tried, outcome) is not None) is again


def test_pauses_grow_up_to_a_limit_and_are_thrown_by_a_die():
    options = StepOptions(retries=9, backoff=Backoff(1.0, 2.0, 5.0))
    thrown = [[pause_s(options, tried, error("OSError")) for _ in range(200)] for tried in range(5)]

    assert [round(max(pauses)) for pauses in thrown] == [1, 2, 4, 5, 5]
    assert all(0 <= pause < 1 for pause in [min(pauses) for pauses in thrown])


def test_a_pause_before_another_try_is_shown_and_ends_with_a_cancel(session, tmp_path):
    run = session.run(single(flaky(tmp_path / "tries", 9), retries=3, backoff=(600, 1, 600)))
    waits = threading.Event()
    while run.rows()[0].status != "sleeping":
        assert not waits.wait(0.01)
        assert time.time() < run.state.started_at + DEADLINE
    row = run.rows()[0]
    assert (row.doing, 0 <= row.until <= 601) == ("attempt 2 of 4 after ConnectionResetError", True)

    run.cancel()

    assert run.wait(DEADLINE)
    assert (run.status, [r.status for r in run.rows()]) == ("cancelled", ["cancelled"])
    assert folded(run) == run.state


def test_a_paused_step_that_is_moved_runs_at_once(session, tmp_path):
    run = session.run(single(flaky(tmp_path / "tries", 1), retries=3, backoff=(600, 1, 600)))
    waits = threading.Event()
    while run.rows()[0].status != "sleeping":
        assert not waits.wait(0.01)

    run.move("one", "distributed")

    assert run.result(DEADLINE).output == {"ok": 2}
    assert folded(run) == run.state


def wait_here(context):
    threading.Event().wait(30)


def spin_here(context):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        pass


async def wait_async(context):
    import asyncio  # noqa: PLC0415  it runs on workers too

    await asyncio.sleep(30)


@pytest.mark.parametrize("executor", ["local", "distributed"])
@pytest.mark.parametrize("work", [wait_here, wait_async])
def test_an_attempt_that_takes_too_long_is_given_up(session, work, executor):
    run = session.run(single(work, timeout=0.3, executor=executor))

    with pytest.raises(StepTimeoutError) as failed:
        run.result(DEADLINE)

    assert failed.value.error == "it took longer than its timeout of 0.3 s"
    assert segments(run) == [(1, "timeout")]
    assert run.header().now < 10
    assert folded(run) == run.state


def test_a_step_that_spins_on_a_worker_is_stopped_and_its_worker_works_on(session):
    spins = single(spin_here, timeout=0.3, retries=1, executor="distributed")
    run = session.run(spins)
    run.wait(DEADLINE)
    assert segments(run) == [(1, "timeout"), (2, "timeout")]

    assert session.run(single(lambda context: 7, executor="distributed")).result(DEADLINE).output == {"ok": 7}


def test_steps_that_hang_in_threads_hold_nobody_up(session):
    hung = [step(name=f"h{i}", timeout=0.1)(wait_here) for i in range(12)]
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(step(name="first")(lambda context: 0), hung)))
    run.wait(DEADLINE)

    assert session.run(single(lambda context: 7)).result(15).output == {"ok": 7}


def test_a_late_result_of_an_attempt_that_was_given_up_is_dropped(session):
    go = threading.Event()

    def one(context):
        if context.attempt == 1:
            go.wait(DEADLINE)
        return context.attempt

    run = session.run(single(one, timeout=1, retries=1, idempotent=True))  # else the first one would be awaited
    try:
        assert run.result(DEADLINE).output == {"ok": 2}
    finally:
        go.set()
    assert [e.outcome for e in run.events if isinstance(e, AttemptFinished)] == ["timeout", "ok"]


def test_who_waits_too_long_for_a_worker_is_told(session):
    busy = [step(name=f"b{i}", executor="distributed")(lambda context: time.sleep(1.5)) for i in range(2)]
    late = step(name="late", executor="distributed", queue_timeout=0.2)(lambda context: 1)
    warm = session.run(single(lambda context: 0, executor="distributed"))
    warm.result(DEADLINE)
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(step(name="first")(lambda context: 0), [*busy, late])))
    run.wait(DEADLINE)

    assert {row.step: row.status for row in run.rows()} == {
        "first": "succeeded",
        "b0": "succeeded",
        "b1": "succeeded",
        "late": "failed",
    }
    assert run.error().error == "no worker in pool 'distributed' took it within 0.2 s (2 registered)"


@pytest.mark.parametrize(
    ("options", "ends"), [({}, "failed"), ({"idempotent": True}, "succeeded"), ({"retries": 1}, "succeeded")]
)
def test_a_lost_worker_costs_the_run_unless_the_step_may_run_twice(session, tmp_path, options, ends):
    mark = tmp_path / "killed"

    def one(context):
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    run = session.run(single(one, executor="distributed", **options))
    run.wait(DEADLINE)

    assert run.status == ends
    assert segments(run) == ([(1, "lost")] if ends == "failed" else [(1, "lost"), (2, "ok")])


def test_a_resumed_run_keeps_its_idempotency_keys_and_a_re_run_has_new_ones(session, tmp_path):
    ready = tmp_path / "ready"

    @step
    def key(context):
        return context.idempotency_key

    def one(context, key):
        if not ready.exists():
            raise OSError
        return context.idempotency_key, key

    last = step(name="last")(one)
    first = session.run(workflow(name="w")(lambda wf: wf.timeline(key >> last)))
    first.wait(DEADLINE)
    ready.touch()
    resumed = first.resume()
    again = resumed.rerun("key") if resumed.wait(DEADLINE) else None

    assert resumed.outputs["key"] == first.outputs["key"]
    assert resumed.root == first.id
    assert again.result(DEADLINE).outputs["key"] != first.outputs["key"]


async def parked(context):
    from cerebelum_nb import wait_for_approval  # noqa: PLC0415  it runs on workers too

    await wait_for_approval("anybody?")


@pytest.mark.parametrize("work", [spin_here, wait_here, parked])
def test_a_timeout_that_ends_the_run_frees_its_worker(session, work):
    for _ in range(4):  # twice as many as there are workers
        run = session.run(single(work, timeout=0.3, executor="distributed"))
        run.wait(DEADLINE)
        assert run.status == "failed"

    later = session.run(single(lambda context: 7, executor="distributed"))

    assert later.result(15).output == {"ok": 7}
    core = session._remote["core"]
    until = time.monotonic() + 15
    while len(core.pids) > 3 and time.monotonic() < until:  # Core and two workers
        threading.Event().wait(0.05)
    assert len(core.pids) == 3
