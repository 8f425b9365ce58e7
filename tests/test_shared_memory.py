"""Large results of runs: sent again by reference, let go of when nobody needs them, waited for where there is no room."""

import logging
import re
import subprocess
import threading
import time

import numpy as np
import psutil
import pytest

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.codec import Large
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import ExecutorError, PlanError, ResultLost
from tests.disk_kit import small_disk

pytestmark = pytest.mark.timeout(120)
DEADLINE = 60
MIB = 1 << 17  # numbers of 8 bytes
FLOW = """
@step(executor="distributed", retries=3)
def make(context, inputs):
    import numpy as np
    return np.arange(inputs["n"])

@step(executor="distributed")
def far(context, make, inputs): return float(make.sum() + inputs["more"].sum())

@step(executor="distributed")
def also(context, make, inputs): return float(make.sum() - inputs["more"].sum())

@step(executor="local")
def near(context, far, also): return far + also

@workflow
def shared(wf): wf.timeline(make >> [far, also] >> near)
"""


def flow():
    space = {"__name__": "__main__", "step": step, "workflow": workflow}
    exec(FLOW, space)
    return space["shared"]


def ran(run):
    assert run.wait(DEADLINE)
    assert run.status == "succeeded", run.error()
    return run


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)  # a poll, not a pause


def used(session):
    return session.shared_memory()[0]


def test_runs_that_go_on_from_others_take_no_more_memory_and_the_kernel_reads_nothing(session):
    more = np.ones(8 * MIB)
    run = ran(session.run(flow(), {"n": 32 * MIB, "more": more}))
    taken, before = used(session), psutil.Process().memory_info().rss

    for _ in range(3):
        run = ran(run.rerun("far"))
    ran(run.rerun("near"))

    assert used(session) == taken < 50 << 20
    assert psutil.Process().memory_info().rss - before < 24 << 20
    assert run.outputs["near"] == 2.0 * np.arange(32 * MIB).sum()


def test_memory_of_ended_runs_is_freed_and_what_is_kept_is_read_from_disk(session):
    inputs = {"more": np.ones(2 * MIB)}
    kept, large = (ran(session.run(flow(), {**inputs, "n": n * MIB})) for n in (4, 32))
    assert session.in_memory.nbytes() == pytest.approx(36 << 20, rel=0.01)
    assert session.in_memory.lost_if_freed() == pytest.approx(32 << 20, rel=0.01)

    freed = session.free_memory()

    assert freed >= 36 << 20
    assert session.shared_memory() == (0, 0)
    assert kept.results[0][-1] == 4 * MIB - 1
    assert (kept.lost, large.lost) == (frozenset(), {0})
    with pytest.raises(ExecutorError, match=r"was not kept: it is 32 MiB, .* and somebody wanted its memory"):
        _ = large.results[0]
    assert ran(kept.rerun("far")).outputs["far"] == kept.outputs["far"]
    assert list(large.outputs) == ["far", "also", "near"], "the others are there"
    why = r"the result of 'make' of run 2 is not there any more: it is 32 MiB, .*; runs\[2\]\.rerun\('make'\) makes it"
    with pytest.raises(ResultLost, match=why):
        _ = large.outputs["make"]
    assert re.search(why, repr(large.outputs))
    with pytest.raises(KeyError, match="mkae"):
        _ = large.outputs["mkae"]


def test_memory_is_freed_of_what_is_on_disk_though_nobody_has_asked_before_what_would_be_lost(session):
    run = ran(session.run(flow(), {"more": np.ones(2 * MIB), "n": 4 * MIB}))

    session.free_memory()

    assert run.lost == frozenset()
    assert run.outputs["make"][-1] == 4 * MIB - 1


def test_removing_a_run_frees_its_memory_and_no_other_run_s(session):
    inputs = {"more": np.ones(2 * MIB)}
    one, two = (ran(session.run(flow(), {**inputs, "n": n * MIB})) for n in (24, 32))
    child = ran(one.rerun("near"))

    session.purge(one.id)
    assert child.results[0][-1] == 24 * MIB - 1
    freed = session.purge(child.id)

    assert freed >= 24 << 20
    assert used(session) >= 32 << 20
    assert two.results[0][-1] == 32 * MIB - 1


def test_a_run_that_has_not_ended_is_not_removed(session):
    go = threading.Event()
    asks = step(name="asks")(lambda context: go.wait(DEADLINE))
    run = session.run(workflow(name="asks_w")(lambda wf: wf.timeline(asks)))

    with pytest.raises(PlanError, match=f"run {run.id} still runs"):
        session.purge(run.id)
    go.set()
    run.result(DEADLINE)


def test_older_results_are_let_go_of_where_they_take_more_than_they_may(tmp_path):
    session = Session(Settings(home=tmp_path / "home", workers=1, shared_mib=40))
    work, more = flow(), np.ones(10)
    runs = [ran(session.run(work, {"n": n * MIB, "more": more})) for n in (24, 4, 32)]

    assert type(runs[2].scheduler.values[0]) is Large
    assert [run.lost for run in runs] == [{0}, set(), set()]
    assert runs[1].results[0][-1] == 4 * MIB - 1
    until(lambda: used(session) < 40 << 20)
    session.close()


@pytest.fixture
def cramped(tmp_path, monkeypatch):
    """A session whose workers' memory and files are on one disk of 24 MiB."""
    with small_disk(24) as disk:
        (disk / "memory").mkdir()
        monkeypatch.setattr("cerebelum_nb.executors.core_process._MEMORY", disk / "memory")
        monkeypatch.setattr("cerebelum_nb.executors.core_process._bases", lambda: [disk])
        session = Session(Settings(home=tmp_path / "home", workers=1))
        yield session, disk
        session.close()


def test_a_run_without_room_for_a_result_is_held_and_goes_on_when_somebody_makes_some(cramped, caplog):
    session, disk = cramped
    (disk / "filler").write_bytes(bytes(20 << 20))
    work, inputs = flow(), {"n": 8 * MIB, "more": np.ones(10)}
    with caplog.at_level(logging.WARNING, "cerebelum_nb"):
        run = session.run(work, inputs)
        until(lambda: run.note)
        note = run.header().note
        assert note.startswith("held: the result of step 'make' takes 8 MiB, for which there is no room (")
        assert "No space left on device" in note
        assert not run.done
        (disk / "filler").unlink()
        ran(run)

    assert run.note == ""
    assert [row.attempt for row in run.rows()] == [1, 1, 1, 1]
    assert caplog.messages == [f"run 1 is {note}", "run 1 goes on: there is room again"]


def test_a_run_makes_room_by_itself_where_ended_ones_hold_what_is_on_disk_too(cramped):
    session, _ = cramped
    work, more = flow(), np.ones(10)
    earlier = ran(session.run(work, {"n": 12 * MIB, "more": more}))

    ran(session.run(work, {"n": 14 * MIB, "more": more}))

    assert earlier.results[0][-1] == 12 * MIB - 1
    assert not earlier.lost


def test_a_run_that_never_gets_room_ends_in_one_line_and_is_resumed_without_loss(cramped, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.executors.room.ROOM_S", 0.5)
    session, disk = cramped
    run = session.run(flow(), {"n": MIB // 2, "more": np.ones(30 * MIB)})
    assert run.wait(DEADLINE)

    assert run.status == "failed"
    assert next(row.status for row in run.rows()) == "failed"
    text = str(run.error())
    assert "the input of step 'make' takes 30 MiB, for which there is no room (" in text
    assert text.count("\n") == 0
    assert "then resume the run" in text
    assert next(row.attempt for row in run.rows()) == 1

    subprocess.run(["mount", "-o", "remount,size=80m", str(disk)], check=True)
    ran(run.resume())
