"""Whole runs of local steps: values, order, cancel, move, re-run, journal."""

import asyncio
import contextlib
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

from cerebelum_nb import (
    DefinitionError,
    DistributedExecutor,
    DSLLocalExecutor,
    ExecutionError,
    HybridExecutor,
    PlanError,
    RunCancelled,
    Session,
    engine,
    step,
    workflow,
)
from cerebelum_nb.config import Settings
from cerebelum_nb.model.events import AttemptFinished, AttemptStarted, RunStarted
from cerebelum_nb.model.state import RunState
from cerebelum_nb.store import journal

DEADLINE = 20


@step
async def load(context, inputs):
    print("loading")
    return {"n": inputs["n"]}


@step
def double(context, load):
    return load["n"] * 2


@step
async def triple(context, load):
    await asyncio.sleep(0)
    return load["n"] * 3


@step
async def total(context, double, triple):
    return double + triple


@workflow
def sums(wf):
    wf.timeline(load >> [double, triple] >> total)


def one(function, name="one"):
    made = step(name=name)(function)
    return workflow(name="w")(lambda wf: wf.timeline(made))


def test_a_run_gives_every_steps_value_and_the_last_one_in_its_envelope(session):
    result = session.run(sums, {"n": 2}).result(DEADLINE)

    assert (result.status, result.output, result.error) == ("completed", {"ok": 10}, None)
    assert result.outputs == {"load": {"n": 2}, "double": 4, "triple": 6, "total": 10}
    assert result.started_at < result.completed_at


def test_execute_and_await_give_the_same(session):
    async def both():
        return await session.execute(sums, {"n": 1}), await session.run(sums, {"n": 1})

    first, second = asyncio.run(both())

    assert first.outputs == second.outputs == {"load": {"n": 1}, "double": 2, "triple": 3, "total": 5}


def test_the_journal_folds_to_the_live_state(session):
    run = session.run(sums, {"n": 2})
    run.wait(DEADLINE)

    state = RunState()
    for event in journal.read(session.journal_path, run.id):
        state.apply(event)

    assert state == run.state
    assert tuple(journal.read(session.journal_path, run.id)) == run.events


def test_journal_and_its_folder_are_the_owners_alone(session):
    session.run(sums, {"n": 2}).wait(DEADLINE)

    assert stat.S_IMODE(session.journal_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(session.journal_path.parent.stat().st_mode) == 0o700


def test_no_value_is_in_the_journal(session):
    secret = "canary-7f3a"
    session.run(one(lambda context, inputs: inputs["key"] + "!"), {"key": secret}).result(DEADLINE)
    session.close()

    assert secret.encode() not in session.journal_path.read_bytes()


def test_a_journal_that_cannot_be_written_does_not_hang_the_run_and_is_told_once(tmp_path, caplog):
    (tmp_path / "home").write_text("a file stands where the folder should be")
    session = Session(Settings(home=tmp_path / "home"))

    with pytest.warns(UserWarning, match="cannot be used .*runs are kept in .*, results in memory only") as told:
        result = session.run(sums, {"n": 2}).result(DEADLINE)

    assert result.output == {"ok": 10}
    session.close()
    assert (sum(w.category is UserWarning for w in told), caplog.messages) == (1, [])


def test_a_corrupt_journal_is_set_aside_and_work_goes_on(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "journal.db").write_bytes(b"not a database" * 100)
    session = Session(Settings(home=tmp_path / "home"))

    with pytest.warns(UserWarning, match="file is not a database.*set aside as journal.db.corrupt-"):
        result = session.run(sums, {"n": 2}).result(DEADLINE)
    session.close()

    (aside,) = (tmp_path / "home").glob("journal.db.corrupt-*")
    assert result.output == {"ok": 10}
    assert aside.read_bytes() == b"not a database" * 100
    assert len(list(journal.read(session.journal_path, result.execution_id))) > 5


def test_a_newer_journal_is_left_as_it_is(tmp_path):
    (tmp_path / "home").mkdir()
    newer = tmp_path / "home" / "journal.db"
    with contextlib.closing(sqlite3.connect(newer)) as db:
        db.execute("pragma user_version=99")
    before = newer.read_bytes()
    session = Session(Settings(home=tmp_path / "home"))

    with pytest.warns(UserWarning, match="written by a newer cerebelum_nb"):
        assert session.run(sums, {"n": 2}).result(DEADLINE).output == {"ok": 10}

    session.close()
    assert newer.read_bytes() == before


def test_a_change_of_directory_moves_neither_journal_nor_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = Session(Settings(runs_in_memory=1))
    runs = [session.run(sums, {"n": n}) for n in range(3)]
    for run in runs:
        run.wait(DEADLINE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    values = [run.outputs["total"] for run in runs]
    more = session.run(sums, {"n": 3}).result(DEADLINE).output
    session.close()

    assert (values, more) == ([0, 5, 10], {"ok": 15})
    assert session.journal_path == tmp_path / ".cerebelum" / "journal.db"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_forked_child_leaves_its_parents_results_alone_and_can_run_itself(tmp_path):
    code = f"""
import os, sys
os.environ["CEREBELUM_HOME"] = {str(tmp_path / "home")!r}
from cerebelum_nb import step, workflow
from cerebelum_nb.session import current
one = step(name="one")(lambda context, inputs: inputs["n"])
w = workflow(name="w")(lambda wf: wf.timeline(one))
runs = [w.run({{"n": n}}) for n in range(25)]
[r.wait() for r in runs]
child = os.fork()
if child == 0:
    assert w.run({{"n": 7}}).result(10).output == {{"ok": 7}}
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print([r.outputs["one"] for r in runs] == list(range(25)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (told.stdout, told.returncode) == ("True\n", 0), told.stderr


def test_runs_that_start_at_the_same_moment_have_numbers_of_their_own(session, monkeypatch):
    both, made = threading.Barrier(2, timeout=20), engine.Run

    def make(*args, **more):
        both.wait()
        return made(*args, **more)

    monkeypatch.setattr(engine, "Run", make)
    flow = one(lambda context: 1)
    threads = [threading.Thread(target=session.run, args=(flow,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert [run.number for run in session.runs] == [1, 2]
    assert [run.result(20) and run.status for run in session.runs] == ["succeeded", "succeeded"]


def test_steps_that_wait_for_runs_may_be_nested_deeper_than_there_are_threads(session):
    leaf = workflow(name="leaf")(lambda wf: wf.timeline(step(name="leaf_step")(lambda context: "leaf")))

    def nest(depth):
        if depth == 0:
            return leaf
        inner = nest(depth - 1)
        made = step(name=f"level{depth}")(lambda context: session.run(inner, {}).result(DEADLINE).output["ok"])
        return workflow(name=f"w{depth}")(lambda wf: wf.timeline(made))

    assert session.run(nest(12), {}).result(DEADLINE).output == {"ok": "leaf"}


def test_an_async_step_that_blocks_on_a_run_is_told_to_await_it(session):
    async def outer(context):
        return session.run(sums, {"n": 1}).result(DEADLINE)

    with pytest.raises(ExecutionError, match="write `await run`, or make the step a plain def"):
        session.run(one(outer), {}).result(DEADLINE)


def test_a_step_that_stops_its_loop_does_not_stop_later_steps(session):
    async def stops(context):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "went on"

    assert session.run(one(stops), {}).result(DEADLINE).output == {"ok": "went on"}
    assert session.run(sums, {"n": 2}).result(DEADLINE).output == {"ok": 10}


class Deadly(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class Unshowable:
    def __repr__(self):
        raise SystemExit(1)


def chained():
    exc = ValueError("first")
    for n in range(3000):
        following = ValueError(n)
        following.__cause__ = exc
        exc = following
    return exc


def grouped():
    exc = ValueError("inner")
    for _ in range(1500):
        exc = ExceptionGroup("g", [exc])
    return exc


@pytest.mark.parametrize("make", [Deadly, lambda: SystemExit(Unshowable()), chained, grouped])
def test_no_exception_is_too_strange_to_be_told(session, make):
    async def bad(context):
        raise make()

    with pytest.raises(ExecutionError, match="Execution failed at step 'one'"):
        session.run(one(bad), {}).result(DEADLINE)
    assert session.run(sums, {"n": 2}).result(DEADLINE).output == {"ok": 10}


def test_a_step_that_cancels_itself_has_failed_and_the_run_was_not_cancelled(session):
    async def gives_up(context):
        asyncio.current_task().cancel()
        await asyncio.sleep(DEADLINE)

    with pytest.raises(ExecutionError, match="CancelledError"):
        session.run(one(gives_up), {}).result(DEADLINE)
    assert session.run(sums, {"n": 2}).result(DEADLINE).output == {"ok": 10}


def test_a_hundred_thousand_lines_are_a_few_events(session):
    def talks(context):
        for n in range(100_000):
            print(n % 10)

    run = session.run(one(talks), {})
    assert run.wait(60)

    pieces = run.printed()[1]
    assert "".join(text for _, _, text in pieces) == "".join(f"{n % 10}\n" for n in range(100_000))
    assert len(pieces) < 1000


def test_values_nested_deeper_than_python_can_copy_go_on_as_they_are(session):
    def deep(context):
        value = []
        for _ in range(50_000):
            value = [value]
        return value

    made = step(name="deep")(deep)
    look = step(name="look")(lambda context, deep: len(deep))

    assert session.run(workflow(name="w")(lambda wf: wf.timeline(made >> look)), {}).result(DEADLINE).output == {
        "ok": 1
    }


def test_a_step_may_be_moved_more_often_than_a_byte_can_count(session):
    let_go = threading.Event()
    gate = step(name="gate")(lambda context: let_go.wait(0.001))
    hold = step(name="hold")(lambda context: let_go.wait(DEADLINE))
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(load, [gate, hold])), {"n": 1})

    for _ in range(300):
        run.move("load", "local")
        until = time.monotonic() + DEADLINE
        while "load" not in run.outputs and time.monotonic() < until:
            run.wait(0.001)
    let_go.set()

    assert run.result(DEADLINE).status == "completed"
    assert run.state.attempt[0] > 256


def test_a_workflow_function_that_is_wrong_is_refused_in_one_line(session):
    with pytest.raises(
        DefinitionError, match=r"the function of workflow 'none' raised TypeError: .* takes 0 positional"
    ):
        session.run(workflow(name="none")(lambda: None), {})
    with pytest.raises(DefinitionError, match="the function of workflow 'typo' raised NameError"):
        session.run(workflow(name="typo")(lambda wf: wf.timeline(nowhere)), {})  # noqa: F821
    with pytest.raises(DefinitionError, match=r"has no attribute 'timline'\. Did you mean 'timeline'\?$"):
        session.run(workflow(name="typo")(lambda wf: wf.timline(load)), {})


def test_a_range_that_ends_before_it_begins_is_refused(session):
    run = session.run(sums, {"n": 1})
    assert run.wait(DEADLINE)
    told = "step 'total' does not come before 'double', so up to there nothing would run again"

    with pytest.raises(PlanError, match=told):
        session.rerun(run, "total", None, until="double")
    with pytest.raises(PlanError, match=told):
        session.would_rerun(run, "total", None, until="double")
    assert session.rerun(run, "double", None, until="double").wait(DEADLINE)


def test_a_step_that_raises_is_told_with_its_own_lines_only(session):
    async def broken(context, inputs):
        raise ValueError("Empty order")

    with pytest.raises(ExecutionError) as failed:
        session.run(one(broken), {}).result(DEADLINE)

    assert str(failed.value) == "Execution failed at step 'one': Step 'one' returned error: Empty order"
    assert failed.value.told == "step 'one' failed (local, attempt 1): ValueError: Empty order"
    assert (failed.value.step_name, failed.value.error_type, failed.value.executor) == ("one", "ValueError", "local")
    assert 'raise ValueError("Empty order")' in failed.value.traceback
    assert "cerebelum_nb/executors" not in failed.value.traceback


class Rude(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (SystemExit(3), "SystemExit: sys.exit(3) was called; a step ends with return or an exception"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
        (Rude(), "Rude: <Rude whose text raised RuntimeError>"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_whatever_a_step_raises_fails_the_step_and_nothing_else(session, raised, message, kind):
    async def bad(context):
        raise raised

    def bad_sync(context):
        raise raised

    with pytest.raises(ExecutionError) as failed:
        session.run(one(bad if kind == "async" else bad_sync), {}).result(DEADLINE)

    assert failed.value.told == f"step 'one' failed (local, attempt 1): {message}"
    assert session.run(sums, {"n": 2}).result(DEADLINE).output == {"ok": 10}


def test_a_timeline_is_a_promise_even_where_no_data_goes(session):
    seen = []
    first = step(name="first")(lambda context: (time.sleep(0.05), seen.append("first")))
    second = step(name="second")(lambda context: seen.append("second"))

    session.run(workflow(name="w")(lambda wf: wf.timeline(first >> second)), {}).result(DEADLINE)

    assert seen == ["first", "second"]


def test_what_a_step_does_to_its_input_is_seen_by_nobody_else(session):
    made = step(name="made")(lambda context, inputs: {"items": [1]})

    @step
    def spoil(context, inputs, made):
        made["items"].append(2)
        inputs["n"] = 99
        context.inputs["n"] = 98

    look = step(name="look")(lambda context, inputs, made: (made, inputs, context.inputs))
    given = {"n": 1}

    result = session.run(workflow(name="w")(lambda wf: wf.timeline(made >> spoil >> look)), given).result(DEADLINE)

    assert result.outputs["look"] == ({"items": [1]}, {"n": 1}, {"n": 1})
    assert result.outputs["made"] == {"items": [1]}
    assert given == {"n": 1}


def test_a_blocking_async_step_is_named_and_holds_up_neither_sync_steps_nor_cancel(session):
    let_go, sync_ran = threading.Event(), threading.Event()

    @step
    async def blocks(context):
        let_go.wait(DEADLINE)

    quick = step(name="quick")(lambda context: sync_ran.set())
    start = step(name="start")(lambda context: None)
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(start >> [blocks, quick])), {})
    assert sync_ran.wait(DEADLINE)
    until = time.monotonic() + DEADLINE
    while not run.printed()[1] and time.monotonic() < until:
        run.wait(0.05)

    began = time.monotonic()
    run.cancel()
    assert run.wait(DEADLINE)
    took = time.monotonic() - began
    after = session.run(sums, {"n": 2}).result(DEADLINE).output
    let_go.set()

    name, stream, text = run.printed()[1][0]
    assert (name, stream) == ("blocks", "notice")
    assert "step 'blocks' blocks the other async local steps" in text
    assert "let_go.wait(DEADLINE)" in text
    assert took < DEADLINE / 2  # else it would have waited until the step lets go
    assert run.status == "cancelled"
    assert after == {"ok": 10}


def test_cancel_stops_an_async_step_and_says_how_far_it_came(session):
    begun = threading.Event()

    @step
    async def sleeps(context, load):
        begun.set()
        await asyncio.sleep(DEADLINE)

    run = session.run(workflow(name="w")(lambda wf: wf.timeline(load >> sleeps >> double)), {"n": 1})
    assert begun.wait(DEADLINE)
    run.cancel()

    with pytest.raises(RunCancelled, match="run 1 of w was cancelled while sleeps ran; 1 of 3 steps had finished"):
        run.result(DEADLINE)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_step_that_does_not_stop_is_told_of_for_as_long_as_it_runs(session, is_async):
    begun, let_go = threading.Event(), threading.Event()

    def holds(context):
        begun.set()
        let_go.wait(DEADLINE)

    async def blocks(context):
        holds(context)

    stuck = step(name="stuck")(blocks if is_async else holds)
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(stuck)), {})
    assert begun.wait(DEADLINE)
    run.cancel()
    assert run.wait(DEADLINE)
    told = [e.error.message for e in run.events if isinstance(e, AttemptFinished)]
    left = session.left_behind
    let_go.set()

    thread = "it" if is_async else "its thread"
    end = "until it ends or the kernel is restarted; whatever it still does is ignored"
    assert told == [f"it did not stop when asked: {thread} still runs here, {end}"]
    assert left == [(run.id, "stuck")]
    until = time.monotonic() + DEADLINE
    while session.left_behind and time.monotonic() < until:
        time.sleep(0.01)  # for its thread
    assert session.left_behind == []


def test_moving_a_finished_step_in_a_live_run_runs_it_and_its_dependants_again(session):
    let_go, counts = threading.Event(), {"a": 0, "b": 0}

    @step
    def a(context):
        counts["a"] += 1
        return counts["a"]

    @step
    def b(context, a):
        counts["b"] += 1
        return a * 10

    @step
    def gate(context, b):
        let_go.wait(DEADLINE)
        return b

    run = session.run(workflow(name="w")(lambda wf: wf.timeline(a >> b >> gate)), {})
    until = time.monotonic() + DEADLINE
    while "b" not in run.outputs and time.monotonic() < until:
        run.wait(0.02)

    preview = run.preview("b", "local")
    same = run.apply("b", "local")
    let_go.set()

    assert (preview.runs, preview.reuses, preview.code) == (("b", "gate"), ("a",), 'runs[1].move("b", "local")')
    assert preview.lost.startswith("Stops what runs: gate (")
    assert same is run
    assert run.result(DEADLINE).output == {"ok": 10}
    assert counts == {"a": 1, "b": 2}
    assert [run.state.attempt[t] for t in range(3)] == [1, 2, 2]


def test_rerunning_a_step_reuses_exactly_what_does_not_depend_on_it(session):
    first = session.run(sums, {"n": 2})
    first.result(DEADLINE)

    preview = first.preview("double", "local")
    again = first.apply("double", "local")
    result = again.result(DEADLINE)

    assert (preview.runs, preview.reuses) == (("double", "total"), ("load", "triple"))
    assert preview.code == 'runs[1].rerun("double", executor="local")'
    assert again.parent is first
    assert [r.status for r in again.rows()] == ["reused", "succeeded", "reused", "succeeded"]
    assert result.outputs == first.outputs
    assert [e.task for e in again.events if type(e) is AttemptStarted] == [1, 3]
    assert [r.reason for r in again.rows() if r.step == "double"] == ["you moved it to 'local'"]


def test_rerunning_a_failed_run_runs_only_what_did_not_succeed(session):
    fail = [True]

    @step
    def shaky(context, load):
        if fail.pop():
            raise OSError("gone")
        return load["n"]

    w = workflow(name="w")(lambda wf: wf.timeline(load >> shaky))
    run = session.run(w, {"n": 3})
    run.wait(DEADLINE)
    fail.append(False)

    again = run.rerun()

    assert again.result(DEADLINE).outputs == {"load": {"n": 3}, "shaky": 3}
    assert [r.status for r in again.rows()] == ["reused", "succeeded"]


def test_from_a_step_on_and_until_a_step(session):
    session.run(sums, {"n": 2}).result(DEADLINE)

    onward = session.run(sums, start_at="triple")
    partly = session.run(sums, {"n": 5}, until="double")

    assert onward.result(DEADLINE).output == {"ok": 10}
    assert [r.status for r in onward.rows()] == ["reused", "reused", "succeeded", "succeeded"]
    assert partly.result(DEADLINE).output == {"ok": 10}
    assert [r.status for r in partly.rows()] == ["succeeded", "succeeded", "skipped", "skipped"]


def test_until_gives_the_value_of_the_step_it_names(session):
    @step
    def second(context): ...

    @step
    def first(context, second):
        return "first"

    w = workflow(name="w")(lambda wf: wf.timeline(load, [first, second]))

    assert session.run(w, {"n": 1}, until="second").result(DEADLINE).output == {"ok": None}
    assert session.run(w, {"n": 1}, until="first").result(DEADLINE).output == {"ok": "first"}


def test_a_rerun_runs_what_was_edited_since_and_says_so_before(session):
    space = {"__name__": "__main__"}
    define = "from cerebelum_nb import step, workflow\n@step\ndef base(context): return {n}\n"
    exec(define.format(n=1), space)
    exec("@step\ndef above(context, base): return base * 10\n@step\ndef side(context): return 7", space)
    exec("@workflow\ndef w(wf): wf.timeline(base, [above, side])", space)
    first = session.run(space["w"], {})
    first.result(DEADLINE)

    exec(define.format(n=1), space)  # the same cell again, unchanged
    unchanged = first.preview("side")
    exec(define.format(n=2), space)
    edited = first.preview("side")

    assert (unchanged.runs, unchanged.reuses, unchanged.edited) == (("side",), ("base", "above"), ())
    assert (edited.runs, edited.reuses, edited.edited) == (("base", "above", "side"), (), ("base",))
    assert first.rerun().result(DEADLINE).outputs == {"base": 2, "above": 20, "side": 7}


def test_going_on_with_other_inputs_is_refused(session):
    session.run(sums, {"n": 2}).result(DEADLINE)

    with pytest.raises(PlanError, match="reuses results of run 1, which had other inputs"):
        session.run(sums, {"n": 3}, start_at="total")

    assert session.run(sums, {"n": 2}, start_at="total").result(DEADLINE).output == {"ok": 10}


def test_an_error_holds_the_run_that_ended_so(session):
    def broken(context):
        raise ValueError("no")

    run = session.run(one(broken), {})

    with pytest.raises(ExecutionError) as failed:
        run.result(DEADLINE)

    assert failed.value.run is run


def test_the_header_counts_what_succeeded_of_what_was_asked_for(session):
    def broken(context):
        raise ValueError("no")

    bad = step(name="bad")(broken)
    after = step(name="after")(lambda context: None)
    failed = session.run(workflow(name="w")(lambda wf: wf.timeline(load >> bad >> after)), {"n": 1})
    partly = session.run(sums, {"n": 1}, until="double")
    failed.wait(DEADLINE)
    partly.wait(DEADLINE)

    assert [(r.header().done, r.header().total) for r in (failed, partly)] == [(1, 3), (2, 2)]


def test_going_on_without_an_earlier_run_is_refused(session):
    with pytest.raises(PlanError, match="no earlier run of 'sums' has ended in this session"):
        session.run(sums, {"n": 2}, start_at="double")


def test_prints_are_kept_in_order_with_their_step(session):
    def talks(context):
        print("one")
        print("two", end="")
        print(" and a half")
        print("three", end="")

    run = session.run(one(talks), {})
    run.wait(DEADLINE)

    _, pieces = run.printed()
    assert "".join(text for _, _, text in pieces) == "one\ntwo and a half\nthree"
    assert {(name, stream) for name, stream, _ in pieces} == {("one", "stdout")}


def test_views_are_told_of_rows_and_once_of_the_end(session):
    told, ended = [], threading.Event()
    run = session.run(sums, {"n": 2})
    run.watch(lambda end: (told.append(end), ended.set() if end else None))

    assert ended.wait(DEADLINE)
    assert told[-1] is True
    assert told.count(True) == 1


def test_many_runs_at_once_stay_apart(session):
    runs = [session.run(sums, {"n": n}) for n in range(20)]

    assert [r.result(DEADLINE).output["ok"] for r in runs] == [n * 5 for n in range(20)]


def test_a_step_may_run_another_workflow(session):
    @step
    async def outer(context):
        return (await session.execute(sums, {"n": 2})).output

    # An envelope in an envelope is opened once: what other steps would see is 10.
    assert session.run(workflow(name="w")(lambda wf: wf.timeline(outer)), {}).result(DEADLINE).output == {"ok": 10}


@pytest.mark.parametrize("inputs", [[1], "text", 3])
def test_inputs_that_are_no_dict_are_refused(session, inputs):
    with pytest.raises(PlanError, match="inputs is a dict like"):
        session.run(sums, inputs)


def run_execute(session, **given):
    return asyncio.run(session.execute(sums, {"n": 1}, **given))


def test_the_specifications_arguments_place_every_step(session):
    with pytest.warns(DeprecationWarning, match="use_local is deprecated"):
        result = run_execute(session, use_local=True)
    hybrid = run_execute(session, executor=HybridExecutor(DSLLocalExecutor(), DistributedExecutor(), {"load": "local"}))

    assert result.output == hybrid.output == {"ok": 5}
    assert [r.rule for r in hybrid.run.state.places] == ["strategy", "session", "session", "session"]


def test_arguments_that_contradict_each_other_are_named(session):
    with pytest.raises(PlanError, match=r"use_local=True and execution_strategy=\{'load': 'local'\} contradict"):
        run_execute(session, use_local=True, strategy={"load": "local"})
    with pytest.raises(PlanError, match="is not an executor object"):
        run_execute(session, executor="local")
    with pytest.raises(PlanError, match="core_url='http://x:1': a Core is written host:port or grpc://host:port"):
        DistributedExecutor("http://x:1")


def test_a_closed_session_refuses_to_run_and_closes_twice(session):
    session.close()
    session.close()

    with pytest.raises(PlanError, match="this session is closed"):
        session.run(sums, {"n": 1})


def test_the_first_event_says_what_was_placed_where(session):
    run = session.run(sums, {"n": 1})
    run.wait(DEADLINE)

    first, *rest = run.events
    assert type(first) is RunStarted
    assert first.names == ("load", "double", "triple", "total")
    assert [first.places[i].lane for i in first.place] == ["local", "threads", "local", "local"]
    assert {e.outcome for e in rest if type(e) is AttemptFinished} == {"ok"}


def test_runs_are_loaded_by_name_or_as_the_newest(session):
    one = step(name="one")(lambda context: 1)
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(one)))
    run.result(DEADLINE)

    assert session.load("last") is run
    with pytest.raises(PlanError, match=r"a run is loaded by its id, a part of that, or 'last'; not by \[\]"):
        session.load([])


def test_a_nested_workflow_runs_again_as_all_its_steps(session):
    ran = []
    inner = [step(name=name)(lambda context, name=name: ran.append(name)) for name in ("a", "b")]
    nested = workflow(name="n1")(lambda wf: wf.timeline(inner[0] >> inner[1]))
    first, last = step(name="first")(lambda context: 1), step(name="last")(lambda context: 2)
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(first >> nested.as_step() >> last)))
    run.result(DEADLINE)

    again = run.rerun("n1")
    again.result(DEADLINE)
    assert {row.step: row.status for row in again.rows()} == {
        "first": "reused",
        "n1/a": "succeeded",
        "n1/b": "succeeded",
        "last": "succeeded",
    }
