"""Runs of earlier kernels: listed, looked at, read, and gone on from after a real kill -9."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading

import msgspec
import pytest

from cerebelum_nb import PlanError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.dsl.recalled import Recalled
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.errors import ExecutorError, PayloadRejected
from cerebelum_nb.model.state import RunState
from cerebelum_nb.store.journal import About

DEADLINE = 30

STEPS = """
import sys
from pathlib import Path
from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.helpers import sleep, wait_for_approval

home = Path(sys.argv[1])

def note(text):
    with (home / "notes").open("a") as file:
        file.write(text + "\\n")

@step
async def load(context, inputs):
    note("load")
    return {"n": inputs["n"]}

@step(executor="EXECUTOR")
async def ask(context, load):
    note("ask")
    await sleep(SLEEP)
    note("slept")
    answer = await wait_for_approval("go on?")
    note(f"told {answer}")
    await sleep(600_000 if not (home / "second").exists() else 1)
    return load, answer

@step
def end(context, ask):
    return ask

@workflow
def recalled(wf):
    wf.timeline(load >> ask >> end)

session = Session(Settings(home=home))
"""
FIRST = """
run = session.run(recalled, {"n": (1, 2)})
while not any(getattr(event, "kind", "") == "approval" for event in run.events):  # events that are on disk
    run.wait(0.02)
UNTIL
print(run.id, flush=True)
run.wait()
"""
SECOND = """
(home / "second").touch()
run = session.load(sys.argv[2])
again = run.rerun()
while not again.done and not again.approvals:
    again.wait(0.02)
if again.approvals:
    again.approve("ask", "later")
print(again.result(30).output)
print([row.status for row in again.rows()])
session.close()
"""


def script(*parts, **words):
    text = "".join(map(textwrap.dedent, parts))
    for word, value in words.items():
        text = text.replace(word, value)
    return text


@contextlib.contextmanager
def started(code, *args):
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE)
        process.stdout.close()


def notes(home):
    return (home / "notes").read_text().split("\n")[:-1]


@pytest.mark.parametrize("executor", ["local", "distributed"])
@pytest.mark.parametrize(
    ("until", "before", "after", "output"),
    [
        ("", ["load", "ask", "slept"], ["ask", "slept", "told later"], "later"),
        (
            "run.approve('ask', {'x': 1})\nwhile not any(r.status == 'sleeping' for r in run.rows()): run.wait(0.02)\nrun.wait(0.2)",
            ["load", "ask", "slept", "told {'x': 1}"],
            ["ask", "slept", "told {'x': 1}"],
            "{'x': 1}",
        ),
    ],
)
def test_a_waiting_step_survives_its_kernel(tmp_path, executor, until, before, after, output):
    words = {"EXECUTOR": executor, "SLEEP": "50"}
    with started(script(STEPS, FIRST, UNTIL=until, **words), tmp_path) as first:
        run_id = first.stdout.readline().strip()
        os.kill(first.pid, signal.SIGKILL)
    assert notes(tmp_path) == before

    # What was slept is slept: this time the same sleep would take ten minutes.
    words["SLEEP"] = "600_000"
    with started(script(STEPS, SECOND, **words), tmp_path, run_id) as second:
        out, _ = second.communicate(timeout=DEADLINE)

    value = output if output.startswith("{") else repr(output)
    assert out == f"{{'ok': ({{'n': (1, 2)}}, {value})}}\n['reused', 'succeeded', 'succeeded']\n"
    assert notes(tmp_path) == [*before, *after]


def make(name, reads="", value="1"):
    space = {"__name__": "__main__"}
    exec(f"def {name}(context{reads}): return {value}", space)
    return step(space[name])


def test_a_run_of_an_earlier_session_is_as_it_was(tmp_path):
    w = workflow(name="kept_w")(lambda wf: wf.timeline(make("a", value="{'k': (1, b'x')}") >> make("b", ", a", "[a]")))
    first = Session(Settings(home=tmp_path))
    run = first.run(w, {"day": 3})
    run.result(DEADLINE)
    before = (run.rows(), run.outputs, run.state)
    first.close()

    second = Session(Settings(home=tmp_path))
    loaded = second.load(run.id[-8:])

    assert (loaded.rows(), loaded.outputs, loaded.state) == before
    assert (loaded.status, loaded.done, loaded.plan.inputs, loaded.error()) == ("succeeded", True, {"day": 3}, None)
    assert loaded.result().output == {"ok": [{"k": (1, b"x")}]}
    assert [(e.run, e.workflow, e.status) for e in second.history.entries()] == [(run.id, "kept_w", "succeeded")]
    assert second.load(run.id) is loaded
    second.close()


def test_a_re_run_of_a_loaded_run_reuses_what_nothing_has_touched(tmp_path):
    def defined(b):
        a = make("a", value="10")
        return workflow(name="kept_v")(lambda wf: wf.timeline(a >> b))

    first = Session(Settings(home=tmp_path))
    run = first.run(defined(make("b", ", a", "a + 1")))
    run.result(DEADLINE)
    first.close()

    second = Session(Settings(home=tmp_path))
    defined(make("b", ", a", "a + 1"))
    same = second.load(run.id).rerun()
    assert same.result(DEADLINE).output == {"ok": 11}
    assert [row.status for row in same.rows()] == ["reused", "reused"]
    defined(make("b", ", a", "a + 2"))
    edited = second.load(run.id).rerun()
    assert edited.result(DEADLINE).output == {"ok": 12}
    assert [row.status for row in edited.rows()] == ["reused", "succeeded"]
    state = RunState()
    for event in edited.events:
        state.apply(event)
    assert state == edited.state
    second.close()

    third = Session(Settings(home=tmp_path))
    assert third.load(edited.id).outputs == {"a": 10, "b": 12}  # one of them is kept with the first run
    third.close()


def test_a_result_that_was_not_kept_is_made_again(tmp_path):
    w = workflow(name="kept_u")(
        lambda wf: wf.timeline(make("a", value="b'x' * (17 << 20)") >> make("b", ", a", "len(a)"))
    )
    first = Session(Settings(home=tmp_path))
    run = first.run(w)
    run.result(DEADLINE)
    first.close()

    second = Session(Settings(home=tmp_path))
    loaded = second.load(run.id)
    assert loaded.outputs == {"b": 17 << 20}
    again = loaded.rerun()

    assert again.result(DEADLINE).output == {"ok": 17 << 20}
    assert [row.status for row in again.rows()] == ["succeeded", "succeeded"]
    second.close()


def test_a_choice_is_kept_with_the_run(tmp_path):
    def defined(patterns):
        a, b, c = make("a", value="'x'"), make("b"), make("c")
        return workflow(name="kept_r")(
            lambda wf: wf.timeline(a).diverge(a, {p: {"b": b, "c": c}[s] for p, s in patterns.items()})
        )

    first = Session(Settings(home=tmp_path))
    run = first.run(defined({"x": "b", "_": "c"}))
    run.result(DEADLINE)
    first.close()

    second = Session(Settings(home=tmp_path))
    defined({"x": "b", "_": "c"})
    same = second.load(run.id).rerun()
    same.result(DEADLINE)
    assert [row.status for row in same.rows()] == ["reused", "reused", "reused", "skipped"]
    defined({"y": "b", "_": "c"})
    other = second.load(run.id).rerun()
    other.result(DEADLINE)
    assert [row.status for row in other.rows()] == ["reused", "succeeded", "skipped", "succeeded"]
    second.close()


def test_what_cannot_be_loaded_says_why(tmp_path):
    first = Session(Settings(home=tmp_path))
    with pytest.raises(PlanError, match="the journal has no run 'nothing'"):
        first.load("nothing")
    run = first.run(workflow(name="kept_gone")(lambda wf: wf.timeline(make("a"))))
    run.result(DEADLINE)
    first.run(workflow(name="kept_gone")(lambda wf: wf.timeline(make("a")))).result(DEADLINE)
    with pytest.raises(PlanError, match="could be 20.*, 20.*: write more of the id$"):
        first.load("20")
    first.close()

    second = Session(Settings(home=tmp_path))
    loaded = second.load(run.id)
    registry.workflows.pop("kept_gone")
    with pytest.raises(PlanError, match="workflow 'kept_gone' is not defined in this kernel: run the cells"):
        loaded.rerun()
    second.close()


def test_a_run_that_another_kernel_runs_just_now_is_left_to_it(tmp_path):
    words = {"EXECUTOR": "local", "SLEEP": "50", "UNTIL": ""}
    with started(script(STEPS, FIRST, **words), tmp_path) as first:
        run_id = first.stdout.readline().strip()
        session = Session(Settings(home=tmp_path))
        assert [e.status for e in session.history.entries()] == ["running"]
        with pytest.raises(PlanError, match=f"run {run_id} still runs in another kernel \\(process {first.pid}\\)"):
            session.load(run_id)
        session.close()


def failing(session, home):
    """A run that fails until somebody makes the file `ready`."""
    ready = home / "ready"

    def last(context):
        if not ready.exists():
            raise OSError("not ready")
        return "done"

    run = session.run(workflow(name="kept_f")(lambda wf: wf.timeline(make("a") >> step(last))))
    run.wait(DEADLINE)
    return run, ready


def test_a_run_is_gone_on_from_once(tmp_path):
    session = Session(Settings(home=tmp_path))
    run, ready = failing(session, tmp_path)
    assert session.history.unfinished() == run.id

    second = run.resume()
    second.wait(DEADLINE)
    with pytest.raises(PlanError, match=f"was resumed before, by run {second.id}, which has failed: resume that one"):
        run.resume()
    assert session.history.unfinished("kept_f") == second.id
    ready.touch()
    third = second.resume()
    third.result(DEADLINE)
    with pytest.raises(PlanError, match=f"was resumed before, by run {third.id}, which has succeeded"):
        second.resume()
    with pytest.raises(PlanError, match="no run of 'kept_f' is left to be resumed"):
        session.history.unfinished("kept_f")
    session.close()


def test_of_many_who_go_on_at_once_one_does(tmp_path):
    session = Session(Settings(home=tmp_path))
    run, ready = failing(session, tmp_path)
    ready.touch()
    begin, made, refused = threading.Barrier(8), [], []

    def go_on():
        begin.wait(DEADLINE)
        try:
            made.append(run.resume())
        except PlanError as exc:
            refused.append(str(exc))

    threads = [threading.Thread(target=go_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert (len(made), len(refused)) == (1, 7)
    assert made[0].result(DEADLINE).output == {"ok": "done"}
    session.close()


def test_a_resume_that_could_not_begin_leaves_the_run_to_others(tmp_path):
    session = Session(Settings(home=tmp_path))
    run, ready = failing(session, tmp_path)
    ready.touch()
    registry.workflows.pop("kept_f")
    definition, run.definition = run.definition, Recalled("kept_f", registry)
    with pytest.raises(PlanError, match="is not defined in this kernel"):
        run.resume()
    run.definition = definition

    assert run.resume().result(DEADLINE).output == {"ok": "done"}
    session.close()


def test_a_folder_that_is_removed_is_made_again(tmp_path):
    session, _ = three_runs(tmp_path / "home")
    shutil.rmtree(tmp_path / "home")

    run = session.run(workflow(name="kept_t")(lambda wf: wf.timeline(make("kept_one", value="[1]"))))
    run.result(DEADLINE)
    session.close()

    later = Session(Settings(home=tmp_path / "home"))
    assert [e.run for e in later.history.entries()] == [run.id]
    assert later.load(run.id).outputs == {"kept_one": [1]}
    later.close()


@pytest.mark.parametrize("body", [b"", b"this is no database at all, only text that stands here"])
def test_a_damaged_journal_is_told_in_one_line(tmp_path, body):
    session = Session(Settings(home=tmp_path))
    (tmp_path / "journal.db").write_bytes(body)

    if body:
        with pytest.raises(ExecutorError, match="journal.db cannot be read .* the next run sets it aside"):
            session.history.entries()
    else:
        assert session.history.entries() == []
    session.close()


def test_a_key_that_is_none_is_told_once_and_another_key_opens_nothing(tmp_path, caplog):
    session, (first, *_) = three_runs(tmp_path)
    session.close()
    (tmp_path / "key").write_bytes(b"x" * 32)
    other = Session(Settings(home=tmp_path))
    with pytest.raises(PayloadRejected, match=f"what is kept of run {first} does not open with the key in"):
        other.load(first)
    other.close()
    (tmp_path / "key").write_bytes(b"short")

    third, _ = three_runs(tmp_path)
    third.close()

    told = [r.message for r in caplog.records if "results are not kept" in r.message]
    assert len(told) == 1
    assert "is not a key of 32 bytes" in told[0]


def test_a_run_that_was_cut_off_ends_where_its_journal_does(tmp_path):
    words = {"EXECUTOR": "local", "SLEEP": "50", "UNTIL": ""}
    with started(script(STEPS, FIRST, **words), tmp_path) as first:
        run_id = first.stdout.readline().strip()
        os.kill(first.pid, signal.SIGKILL)
    session = Session(Settings(home=tmp_path))

    loaded = session.load(run_id)

    assert loaded.header().now == pytest.approx(loaded.events[-1].at - loaded.events[0].at, abs=0.01)
    assert {loaded.status, loaded.header().status} == {e.status for e in session.history.entries()} == {"interrupted"}
    session.close()


def three_runs(home, **settings):
    session = Session(Settings(home=home, **settings))
    one = make("kept_one", value="'x' * 1000")
    ids = []
    for _ in range(3):
        run = session.run(workflow(name="kept_t")(lambda wf: wf.timeline(one)))
        run.result(DEADLINE)
        ids.append(run.id)
    return session, ids


def test_what_is_purged_is_gone_and_the_rest_is_there(tmp_path):
    session, ids = three_runs(tmp_path)
    session.history.purge(ids[:2])
    session.close()

    left = Session(Settings(home=tmp_path))
    assert [e.run for e in left.history.entries()] == [ids[2]]
    assert left.load(ids[2]).outputs == {"kept_one": "x" * 1000}
    assert set(left._archive.sizes()) == {ids[2]}
    with pytest.raises(PlanError, match="the journal has no run"):
        left.load(ids[0])
    left.close()


def test_outdated_are_old_runs_and_the_oldest_beyond_the_room(tmp_path):
    session, ids = three_runs(tmp_path)
    newest = session.history.entries()[0].at
    room = sum(session._archive.sizes()[i] for i in ids[1:])

    assert session.history.outdated(1, room, newest) == [ids[0]]
    assert session.history.outdated(1, 0, newest) == ids[::-1]
    assert session.history.outdated(1, 1 << 30, newest + 2 * 86_400) == ids[::-1]
    assert session.history.outdated(30, 1 << 30, newest) == []
    session.close()


def test_a_session_tidies_up_before_it_writes(tmp_path):
    first, _ = three_runs(tmp_path)
    path = first.journal_path
    first.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for run, body in db.execute("select run, body from runs").fetchall():
            about = msgspec.msgpack.decode(body, type=About)
            old = msgspec.structs.replace(about, at=about.at - 40 * 86_400)
            db.execute("update runs set at=?, body=? where run=?", (old.at, msgspec.msgpack.encode(old), run))

    second, ids = three_runs(tmp_path)

    assert {e.run for e in second.history.entries()} == set(ids)
    second.close()


def test_a_result_that_was_kept_with_a_run_that_is_gone_is_asked_about(tmp_path):
    session = Session(Settings(home=tmp_path))
    run, ready = failing(session, tmp_path)
    second = run.resume()
    second.wait(DEADLINE)
    session.history.purge([run.id])
    session.close()
    ready.touch()

    later = Session(Settings(home=tmp_path))
    failing(later, tmp_path)
    loaded = later.load(second.id)
    assert [loaded.plan.names[t] for t in loaded.lost] == ["a"]
    with pytest.raises(PlanError, match="without a result by now: a"):
        loaded.resume()
    assert loaded.resume(changed="run").result(DEADLINE).output == {"ok": "done"}
    later.close()


def test_a_result_whose_row_is_gone_is_lost_and_never_none(tmp_path):
    results = iter([5, None, "x"])
    steps = [step(name=f"s{i}")(lambda context, value=value: value) for i, value in enumerate(results)]

    @workflow
    def three(wf):
        wf.timeline(steps[0] >> steps[1] >> steps[2])

    first = Session(Settings(home=tmp_path))
    run = first.run(three)
    assert run.wait(DEADLINE, echo=False)
    first.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as db, db:
        db.execute("delete from results where last < (select max(last) from results)")  # what came last is of None

    second = Session(Settings(home=tmp_path))
    loaded = second.load(run.id)

    assert (loaded.lost, loaded.outputs) == ({0, 2}, {"s1": None})
    second.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b""], ids=["junk", "empty"])
def test_results_that_are_damaged_are_lost_set_aside_and_new_ones_are_kept(tmp_path, damage):
    one = step(name="one")(lambda context: [5])
    two = step(name="two")(lambda context, one: [*one, 6])
    pair = workflow(name="damaged_pair")(lambda wf: wf.timeline(one >> two))
    first = Session(Settings(home=tmp_path))
    run = first.run(pair)
    run.result(DEADLINE)
    first.close()
    for file in tmp_path.glob("results.db*"):
        file.unlink()
    (tmp_path / "results.db").write_bytes(damage)

    second = Session(Settings(home=tmp_path))
    loaded = second.load(run.id)
    assert (loaded.status, loaded.outputs, loaded.lost) == ("succeeded", {}, {0, 1})
    again = second.run(pair)
    again.result(DEADLINE)
    second.close()

    third = Session(Settings(home=tmp_path))
    assert third.load(again.id).outputs == {"one": [5], "two": [5, 6]}
    assert bool(list(tmp_path.glob("results.db.corrupt-*"))) == bool(damage)
    third.close()
