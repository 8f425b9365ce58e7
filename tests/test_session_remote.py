"""Whole hybrid runs: kernel, Core and workers, through the session."""

import asyncio
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from cerebelum_nb import ExecutionError, step, workflow
from cerebelum_nb.model.events import AttemptFinished, AttemptStarted, AttemptSubmitted, TaskFinished
from cerebelum_nb.model.state import RunState
from cerebelum_nb.store import journal

pytestmark = pytest.mark.timeout(90)
DEADLINE = 30


def cell(source, **names):
    """What a notebook's cell defines: by value, for no worker can import it."""
    space = {"__name__": "__main__", "step": step, "workflow": workflow, **names}
    exec(source, space)
    return space


ORDER = """
import asyncio, os
rate = 0.1

def taxed(amount):
    return amount + amount * rate

@step(executor="local")
async def validate(context, inputs):
    return inputs["order"]

@step(executor="distributed")
async def check(context, validate):
    print("querying", len(validate["items"]), "items")
    await asyncio.sleep(0.01)
    return {"available": True, "pid": os.getpid()}

@step
def tax(context, validate):
    return taxed(sum(validate["items"]))

@step(executor="distributed")
def pay(context, tax):
    return {"paid": taxed(tax), "pid": os.getpid(), "attempt": context.attempt, "where": context.executor}

@workflow
def order(wf):
    wf.timeline(validate >> [check, tax] >> pay)
"""
INPUTS = {"order": {"items": [10, 20]}}


def test_a_hybrid_run_gives_the_same_values_wherever_its_steps_run(session):
    order = cell(ORDER)["order"]

    hybrid = session.run(order, INPUTS).result(DEADLINE)
    local = session.run(order, INPUTS, everywhere="local").result(DEADLINE)
    remote = session.run(order, INPUTS, everywhere="distributed").result(DEADLINE)

    assert {r.outputs["pay"]["paid"] for r in (hybrid, local, remote)} == {36.3}
    assert [r.outputs["pay"]["where"] for r in (hybrid, local, remote)] == ["distributed", "local", "distributed"]
    assert local.outputs["pay"]["pid"] == os.getpid() != hybrid.outputs["pay"]["pid"]
    assert ("check", "stdout", "querying 2 items\n") in hybrid.run.printed()[1]


def test_globals_reach_a_worker_as_they_are_when_the_step_is_sent(session):
    space = cell(ORDER)
    session.run(space["order"], INPUTS).result(DEADLINE)

    space["rate"] = 1.0

    assert session.run(space["order"], INPUTS).result(DEADLINE).outputs["pay"]["paid"] == 120.0


def test_a_remote_steps_life_is_told_in_order_and_folds_to_the_live_state(session):
    run = session.run(cell(ORDER)["order"], INPUTS)
    run.result(DEADLINE)

    pay = [type(e) for e in run.events if getattr(e, "task", None) == 3]
    state = RunState()
    for event in journal.read(session.journal_path, run.id):
        state.apply(event)

    assert pay == [AttemptSubmitted, AttemptStarted, AttemptFinished, TaskFinished]
    assert state == run.state
    assert state.transfer_s.keys() == {1, 3}  # what ran remotely
    for task in state.transfer_s:
        (segment,) = run.rows([task])[0].segments
        assert segment.fetch > 0
        assert segment.send >= 0  # nothing, where it was sent while what comes before it still ran
        times = [segment.queued, segment.start - segment.send, segment.start, segment.end - segment.fetch, segment.end]
        assert times == sorted(times)


def test_a_remote_exception_carries_its_type_message_and_own_lines(session):
    made = step(name="bad", executor="distributed")(lambda context: {}["missing"])

    with pytest.raises(ExecutionError) as failed:
        session.run(workflow(name="w")(lambda wf: wf.timeline(made)), {}).result(DEADLINE)

    assert failed.value.told == "step 'bad' failed (distributed, attempt 1): KeyError: 'missing'"
    assert '{}["missing"]' in failed.value.traceback


def test_a_killed_worker_fails_its_step_within_a_second_and_the_next_run_works(session, tmp_path):
    space = cell(
        """
import os, time
@step(executor="distributed")
def doomed(context, inputs):
    open(inputs["pid"], "w").write(str(os.getpid()))
    time.sleep(60)
@workflow
def w(wf): wf.timeline(doomed)
"""
    )
    run = session.run(space["w"], {"pid": str(tmp_path / "pid")})
    until = time.monotonic() + DEADLINE
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < until:
        run.wait(0.02)

    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    began = time.monotonic()
    run.wait(DEADLINE)
    took_s = time.monotonic() - began

    assert took_s < 1
    assert "step 'doomed' failed (distributed, attempt 1): WorkerLost: worker" in run.error().told
    assert "was killed by SIGKILL while running step 'doomed'" in run.error().told
    assert session.run(cell(ORDER)["order"], INPUTS).result(DEADLINE).outputs["pay"]["paid"] == 36.3


def test_a_captured_value_that_cannot_travel_is_named_before_anything_is_sent(session):
    space = cell(
        """
import threading
lock = threading.Lock()
@step(executor="distributed")
def locked(context):
    with lock: return 1
@workflow
def w(wf): wf.timeline(locked)
"""
    )

    with pytest.raises(
        ExecutionError, match="step 'locked' uses the global 'lock', a _thread.lock, which cannot be sent"
    ):
        session.run(space["w"], {}).result(DEADLINE)
    assert session.run(space["w"], {}, everywhere="local").result(DEADLINE).output == {"ok": 1}


def test_a_running_remote_step_can_be_moved_into_the_kernel(session, tmp_path):
    go = tmp_path / "go"

    @step(executor="distributed")
    async def waits(context, inputs):
        while context.executor == "distributed" or not os.path.exists(inputs["go"]):
            await asyncio.sleep(0.01)
        return os.getpid()

    run = session.run(workflow(name="w")(lambda wf: wf.timeline(waits)), {"go": str(go)})
    until = time.monotonic() + DEADLINE
    while run.rows()[0].status != "running" and time.monotonic() < until:
        run.wait(0.02)
    preview = run.preview("waits", "local")
    run.move("waits", "local")
    go.touch()

    assert preview.lost.startswith("Stops what runs: waits (")
    assert run.result(DEADLINE).output == {"ok": os.getpid()}
    assert [(s.where, s.outcome) for s in run.rows()[0].segments] == [("distributed", "cancelled"), ("local", "ok")]


def test_a_blocking_local_step_does_not_hold_up_remote_ones(session):
    let_go = threading.Event()

    @step(executor="local")
    async def blocks(context):
        let_go.wait(DEADLINE)

    far = step(name="far", executor="distributed")(lambda context: "done")
    start = step(name="start")(lambda context: None)
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(start >> [blocks, far])), {})
    until = time.monotonic() + DEADLINE
    while "far" not in run.outputs and time.monotonic() < until:
        run.wait(0.02)

    assert run.outputs == {"start": None, "far": "done"}
    let_go.set()
    assert run.wait(DEADLINE)


def test_two_hundred_remote_steps_side_by_side_all_come_back(session):
    many = [step(name=f"s{n}", executor="distributed")(lambda context, n=n: n) for n in range(200)]
    first = step(name="first")(lambda context: None)

    outputs = session.run(workflow(name="w")(lambda wf: wf.timeline(first >> many)), {}).result(DEADLINE).outputs

    assert [outputs[f"s{n}"] for n in range(200)] == list(range(200))


def test_a_worker_with_another_cloudpickle_refuses_and_names_both_versions(session, tmp_path, monkeypatch):
    import cloudpickle  # noqa: PLC0415  this process has the real one

    other = tmp_path / "newer" / "cloudpickle"
    shutil.copytree(Path(cloudpickle.__file__).parent, other)
    page = other / "__init__.py"
    page.write_text(page.read_text("utf-8").replace(cloudpickle.__version__, "99.0.0"), "utf-8")
    monkeypatch.syspath_prepend(str(other.parent))  # as after `pip install --upgrade` in a running notebook
    far = cell("@step(executor='distributed', retries=2)\ndef far(context): return 1")["far"]

    with pytest.raises(ExecutionError) as failed:
        session.run(workflow(name="w")(lambda wf: wf.timeline(far))).result(DEADLINE)

    assert failed.value.told == (
        f"step 'far' failed (distributed, attempt 1): CaptureError: the worker has cloudpickle 99.0.0, where the "
        f"notebook has cloudpickle {cloudpickle.__version__}: it cannot read the step. Restart the kernel, so that "
        "both load the same."
    )
