"""Events before actions, and what becomes of a run whose journal cannot be written: real files, real locks."""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import threading
import time

import pytest

from cerebelum_nb import ExecutionError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.model.events import AttemptStarted, AttemptSubmitted, RunFinished, TaskFinished
from cerebelum_nb.model.state import RunState
from cerebelum_nb.runtime import pump
from cerebelum_nb.store import database
from cerebelum_nb.store.journal import Journal, read, read_runs

DEADLINE = 30


def until(is_so, what="it"):
    """Wait for something, with a deadline."""
    end = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.005)


@pytest.fixture
def soon(monkeypatch):
    """Locks are given up, and held runs tried again, at once."""
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    monkeypatch.setattr(pump, "RETRY_S", 0.05)


@contextlib.contextmanager
def locked(path):
    """Another program holds the journal."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=DEADLINE)) as db:
        db.execute("begin immediate")
        try:
            yield
        finally:
            db.execute("rollback")


class Gate:
    """Steps of a workflow: `first`, then `gate`, which waits until it is opened, then `last`."""

    def __init__(self, session, name, **options):
        self.opened, self.begun = threading.Event(), []
        self.session = session

        def first(context):
            self.begun.append("first")
            return 1

        def gate(context, first):
            self.begun.append("gate")
            assert self.opened.wait(DEADLINE)
            return [first]

        def last(context, gate):
            self.begun.append("last")
            return [gate]

        made = step(name="first")(first) >> step(name="gate")(gate) >> step(name="last", **options)(last)
        self.workflow = workflow(name=name)(lambda wf: wf.timeline(made))

    def run(self):
        """A run whose gate has begun, and all that is so far is in the journal."""
        run = self.session.run(self.workflow)
        until(lambda: "gate" in self.begun and len(run.events) == run.state.seq + 1, "the gate")
        return run


def folded(session, run):
    state = RunState()
    for e in read(session.journal_path, run.id):
        state.apply(e)
    return state


# -- events before actions


def seen_of_itself(home, run, step_name):
    """What the journal knows of a step, read by the step's own code."""
    from pathlib import Path  # noqa: PLC0415  it is sent to a worker

    from cerebelum_nb.store.journal import read  # noqa: PLC0415

    kinds = []
    for e in read(Path(home) / "journal.db", run):
        if type(e).__name__ == "RunStarted":
            task = e.names.index(step_name)
        elif getattr(e, "task", None) == task:
            kinds.append(type(e).__name__)
    return kinds


@pytest.mark.parametrize(
    ("executor", "kind", "first"),
    [
        ("local", "def", "AttemptStarted"),
        ("local", "async def", "AttemptStarted"),
        ("distributed", "def", "AttemptSubmitted"),
    ],
)
def test_what_may_run_once_only_begins_when_its_beginning_is_in_the_journal(tmp_path, executor, kind, first):
    session = Session(Settings(home=tmp_path))
    space = {"home": str(tmp_path), "seen_of_itself": seen_of_itself}
    exec(f"{kind} pay(context): return seen_of_itself(home, context.execution_id, 'pay')", space)
    pay = step(name="pay", effects="once", executor=executor)(space["pay"])

    for _ in range(5):
        run = session.run(workflow(name="pay_w")(lambda wf: wf.timeline(pay)))
        assert run.result(DEADLINE).output["ok"][:1] == [first]
    session.close()


def test_what_undoes_a_step_begins_when_that_is_in_the_journal(tmp_path):
    session, seen = Session(Settings(home=tmp_path)), []

    def refund(context):
        seen.append(seen_of_itself(tmp_path, context.execution_id, "undo pay"))

    pay = step(name="pay", compensate=refund)(lambda context: 1)

    def breaks(context, pay):
        raise OSError("no")

    run = session.run(workflow(name="undo_w")(lambda wf: wf.timeline(pay >> step(name="breaks")(breaks))))
    run.wait(DEADLINE)

    assert (run.state.status, seen) == ("compensated", [["AttemptStarted"]])
    session.close()


def test_the_beginning_and_the_end_of_such_a_step_outlast_a_power_cut_at_once_and_others_wait_their_turn(
    tmp_path, monkeypatch
):
    written, write = [], Journal.write

    def recorded(self, run, batch, about=None, *, lasting=False):
        written.append((lasting, [type(e) for e in batch if getattr(e, "task", None) == 1]))
        write(self, run, batch, about, lasting=lasting)

    monkeypatch.setattr(Journal, "write", recorded)
    session, opened = Session(Settings(home=tmp_path)), threading.Event()

    def plain(context):
        return 1

    def pay(context, plain):
        return 2

    def after(context, pay):
        assert opened.wait(DEADLINE)

    made = step(name="plain")(plain) >> step(name="pay", effects="once")(pay) >> step(name="after")(after)
    run = session.run(workflow(name="lasting_w")(lambda wf: wf.timeline(made)))
    until(lambda: any(TaskFinished in kinds for _, kinds in written), "the end of `pay`")
    opened.set()
    run.result(DEADLINE)
    session.close()

    assert all(lasting for lasting, kinds in written if AttemptStarted in kinds or TaskFinished in kinds)
    assert [type(e) for e in run.events if getattr(e, "task", None) == 1 and type(e) is AttemptStarted]


def test_a_run_without_such_steps_writes_nothing_in_a_hurry(tmp_path, monkeypatch):
    hurried, write = [], Journal.write

    def recorded(self, run, batch, about=None, *, lasting=False):
        if lasting and not isinstance(batch[-1], RunFinished):
            hurried.append(batch)
        write(self, run, batch, about, lasting=lasting)

    monkeypatch.setattr(Journal, "write", recorded)
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "plain_w")
    run = gate.run()
    gate.opened.set()
    run.result(DEADLINE)
    session.close()

    assert hurried == []


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_such_a_step_never_begins_while_the_journal_cannot_be_written(tmp_path, soon, kind):
    session, begun = Session(Settings(home=tmp_path)), []
    session.run(workflow(name="warm_w")(lambda wf: wf.timeline(step(name="warm")(lambda context: 1)))).result(DEADLINE)
    space = {"begun": begun}
    exec(f"{kind} pay(context): begun.append(1); return 7", space)
    pay = step(name="pay", effects="once")(space["pay"])

    with locked(session.journal_path):
        run = session.run(workflow(name="once_w")(lambda wf: wf.timeline(pay)))
        until(lambda: run.note, "the hold")
        assert begun == []
    assert run.result(DEADLINE).output == {"ok": 7}

    assert begun == [1]
    session.close()


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_such_a_step_that_is_cancelled_before_that_does_not_run_at_all(tmp_path, monkeypatch, kind):
    session, begun = Session(Settings(home=tmp_path)), []
    session.run(workflow(name="warm_v")(lambda wf: wf.timeline(step(name="warm")(lambda context: 1)))).result(DEADLINE)
    space = {"begun": begun}
    exec(f"{kind} pay(context): begun.append(1); return 7", space)
    pay = step(name="pay", effects="once")(space["pay"])

    with locked(session.journal_path):  # for less than it takes to hold the run
        run = session.run(workflow(name="once_v")(lambda wf: wf.timeline(pay)))
        until(lambda: run.state.seq >= 1, "its beginning")
        run.cancel()
        until(lambda: not run.state.unfinished, "its end")
    assert run.wait(DEADLINE)

    assert (begun, run.status, run.rows()[0].status) == ([], "cancelled", "cancelled")
    session.close()


def test_a_run_whose_end_is_not_on_disk_yet_is_said_to_run_wherever_it_is_looked_at(tmp_path):
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "not_yet_w")
    run = gate.run()

    with locked(session.journal_path):  # for less than it takes to hold the run
        gate.opened.set()
        until(lambda: run.state.status == "succeeded", "its end")
        before = run.status, run.header().status, run.done
    assert run.wait(DEADLINE)

    assert before == ("running", "running", False)
    assert (run.status, run.header().status, run.done) == ("succeeded", "succeeded", True)
    session.close()


# -- held


def test_a_run_is_held_while_another_program_holds_the_journal_and_goes_on_without_a_gap(tmp_path, soon, caplog):
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "held_w")
    run = gate.run()

    with locked(session.journal_path), caplog.at_level(logging.WARNING):
        run.scheduler.printed(1, 1, "stdout", "x\n")
        until(lambda: run.note, "the hold")
        gate.opened.set()  # what runs goes on
        until(lambda: run.state.phase[1] == 5, "the gate's end")
        said = run.header().note
        assert gate.begun == ["first", "gate"]
        assert not run.done
    assert run.result(DEADLINE).output == {"ok": [[1]]}

    assert said == (
        f"held: the journal cannot be written (database is locked: {session.journal_path}); it goes on when there is room"
    )
    assert run.header().note == run.note == ""
    assert [r.message for r in caplog.records if r.name.endswith("pump")] == [
        f"run 1 is {said}",
        "run 1 goes on: the journal can be written again",
    ]
    assert folded(session, run) == run.state
    assert tuple(read(session.journal_path, run.id)) == run.events
    session.close()


def test_a_full_journal_holds_its_run_and_room_lets_it_go_on(tmp_path, soon):
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "full_w")
    run = gate.run()
    db = session._pump._journal._db
    (pages,) = db.execute("pragma page_count").fetchone()
    db.execute(f"pragma max_page_count={pages}")

    run.scheduler.printed(1, 1, "stdout", "x" * 200_000)
    until(lambda: run.note, "the hold")
    gate.opened.set()
    until(lambda: run.state.phase[1] == 5, "the gate's end")
    assert gate.begun == ["first", "gate"]
    assert "(database or disk is full: " in run.note
    db.execute("pragma max_page_count=1000000")

    assert run.result(DEADLINE).output == {"ok": [[1]]}
    assert folded(session, run) == run.state
    session.close()


def test_no_steps_of_a_held_run_are_lost_when_there_are_many(tmp_path, soon):
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "many_w")
    run = gate.run()
    wide = [step(name=f"wide{i}")(lambda context: 1) for i in range(200)]
    w = workflow(name="wide_w")(lambda wf: wf.timeline(wide >> step(name="end")(lambda context: 2)))
    with locked(session.journal_path):
        other = session.run(w)
        until(lambda: other.note, "the hold")
    assert other.result(DEADLINE).output == {"ok": 2}
    gate.opened.set()
    run.result(DEADLINE)
    assert folded(session, other) == other.state
    session.close()


def test_a_run_that_is_never_let_on_ends_and_says_how_to_go_on_from_it(tmp_path, soon, monkeypatch):
    monkeypatch.setattr(pump, "HOLD_S", 0.3)
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "given_up_w")
    run = gate.run()

    with locked(session.journal_path):
        run.scheduler.printed(1, 1, "stdout", "x\n")
        until(lambda: run.note, "the hold")
        gate.opened.set()
        assert run.wait(DEADLINE)
        with pytest.raises(ExecutionError, match=r"events cannot be kept .database is locked: .*runs.1..resume"):
            run.result()
        assert run.header().note == ""
    until(lambda: read_runs(session.journal_path)[0][1], "its log")  # it is written once that is possible

    assert gate.begun == ["first", "gate"]
    assert run.status == "failed"
    assert folded(session, run) == run.state
    assert run.state.status == "cancelled"
    again = run.resume()
    assert again.result(DEADLINE).output == {"ok": [[1]]}
    assert [row.status for row in again.rows()] == ["reused", "reused", "succeeded"]
    assert gate.begun == ["first", "gate", "last"]
    session.close()


def test_a_person_who_cancels_a_held_run_does_not_wait(tmp_path, soon):
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "cancel_w")
    run = gate.run()

    with locked(session.journal_path):
        run.scheduler.printed(1, 1, "stdout", "x\n")
        until(lambda: run.note, "the hold")
        began = time.monotonic()
        run.cancel()
        assert run.wait(DEADLINE)
        assert time.monotonic() - began < pump.HOLD_S / 4
    assert isinstance(run.error(), ExecutionError)
    gate.opened.set()
    session.close()


def test_such_a_step_of_a_run_that_is_given_up_never_runs(tmp_path, soon, monkeypatch):
    monkeypatch.setattr(pump, "HOLD_S", 0.3)
    session = Session(Settings(home=tmp_path))
    session.run(workflow(name="warm_u")(lambda wf: wf.timeline(step(name="warm")(lambda context: 1)))).result(DEADLINE)
    begun = []

    async def pay(context):
        begun.append("async")

    def pay_too(context):
        begun.append("sync")

    both = [step(name="pay", effects="once")(pay), step(name="pay_too", effects="once")(pay_too)]
    with locked(session.journal_path):
        run = session.run(workflow(name="once_u")(lambda wf: wf.timeline(both)))
        assert run.wait(DEADLINE)
    until(lambda: [row.status for row in run.rows()] == ["cancelled", "cancelled"], "the end of both")
    until(lambda: read_runs(session.journal_path)[0][1], "its log")

    assert begun == []
    session.close()


def test_a_journal_that_is_removed_meanwhile_is_written_anew_with_all_of_the_run(tmp_path):
    home = tmp_path / "home"
    session = Session(Settings(home=home))
    gate = Gate(session, "removed_w")
    run = gate.run()
    shutil.rmtree(home)
    gate.opened.set()
    run.result(DEADLINE)
    session.close()

    later = Session(Settings(home=home))
    loaded = later.load(run.id)
    assert (loaded.outputs, loaded.state) == (run.outputs, run.state)
    later.close()


def test_a_journal_that_is_damaged_meanwhile_is_set_aside_and_all_of_the_run_goes_to_another(tmp_path, caplog):
    session = Session(Settings(home=tmp_path))
    gate = Gate(session, "damaged_w")
    run = gate.run()
    path = session.journal_path
    db = session._pump._journal._db
    db.execute("pragma wal_checkpoint(truncate)")
    body = bytearray(path.read_bytes())
    body[4096:] = b"\xa5" * (len(body) - 4096)
    path.write_bytes(body)
    db.execute("pragma shrink_memory")
    gate.opened.set()
    run.result(DEADLINE)
    session.close()

    (aside,) = [p for p in tmp_path.glob("journal.db.corrupt-*") if not p.name.endswith(("-wal", "-shm"))]
    assert f"it was set aside as {aside.name}" in caplog.text
    later = Session(Settings(home=tmp_path))
    assert later.load(run.id).state == run.state
    later.close()


def test_a_step_that_waits_for_the_journal_does_not_stop_the_others(tmp_path, monkeypatch):
    session, ticks, stop = Session(Settings(home=tmp_path)), [], threading.Event()

    async def ticking(context):
        while not stop.is_set():
            ticks.append(1)
            await asyncio.sleep(0.001)

    async def pay(context):
        return "paid"

    beside = session.run(workflow(name="ticking_w")(lambda wf: wf.timeline(step(name="ticking")(ticking))))
    until(lambda: ticks and len(beside.events) == 2, "the first tick")
    w = workflow(name="paying_w")(lambda wf: wf.timeline(step(name="pay", effects="once")(pay)))
    with locked(session.journal_path):
        run = session.run(w)
        until(lambda: run.state.seq >= 1, "the taking of `pay`")
        before = len(ticks)
        until(lambda: len(ticks) > before + 20, "ticks")
        assert run.state.phase[0] == 3  # running, as far as anybody knows
    assert run.result(DEADLINE).output == {"ok": "paid"}
    stop.set()
    beside.result(DEADLINE)
    session.close()


def test_a_bug_in_writing_ends_the_run_at_once(tmp_path, monkeypatch):
    def breaks(*_args, **_named):
        raise TypeError("a bug")

    monkeypatch.setattr(Journal, "write", breaks)
    session = Session(Settings(home=tmp_path))
    run = session.run(workflow(name="bug_w")(lambda wf: wf.timeline(step(name="one")(lambda context: 1))))

    with pytest.raises(ExecutionError, match="its events cannot be kept: a bug"):
        run.result(DEADLINE)
    session.close()


def test_a_submitted_step_is_on_disk_before_it_is_sent(tmp_path, monkeypatch):
    session = Session(Settings(home=tmp_path))
    far = step(name="far", effects="once", executor="distributed")(lambda context: 5)
    run = session.run(workflow(name="far_w")(lambda wf: wf.timeline(far)))
    assert run.result(DEADLINE).output == {"ok": 5}
    assert [type(e) for e in run.events[1:3]] == [AttemptSubmitted, AttemptStarted]
    session.close()


@pytest.mark.parametrize("executor", ["local", "distributed"])
def test_the_end_of_a_step_that_took_long_is_written_at_once(tmp_path, monkeypatch, executor):
    monkeypatch.setattr(pump, "TICK_S", 3600.0)
    session = Session(Settings(home=tmp_path, workers=1))
    path = session.journal_path

    def slow(context):
        time.sleep(0.1)

    def after(context, slow):
        until(lambda: any(type(e) is TaskFinished for e in read(path, context.execution_id)), "its end on disk")

    both = [step(name="slow", executor=executor)(slow), step(name="after")(after)]
    assert session.run(workflow(name="slow_u")(lambda wf: wf.timeline(*both))).wait(DEADLINE)
