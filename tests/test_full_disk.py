"""A disk that is full: a run is held, goes on when there is room, and where there never is can be gone on from."""

import contextlib
import subprocess
import sys
import textwrap
import time

import pytest

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.model.state import RunState
from cerebelum_nb.runtime import pump
from cerebelum_nb.store.journal import read, read_runs
from tests.disk_kit import small_disk

DEADLINE = 30

STEPS = """
import os, resource, sys, time
from pathlib import Path
from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.runtime import pump

disk, notes = Path(sys.argv[1]), Path(sys.argv[2])
pump.RETRY_S, pump.HOLD_S = 0.05, float(sys.argv[3])
session = Session(Settings(home=disk / "home"))

def note(text):
    with notes.open("a") as file:
        file.write(text + "\\n")

@step
def before(context):
    note("before")
    return [1]

@step(effects="once")
def pay(context, before):
    note("pay")
    return [2]

@step
def fills(context, pay):
    note("fills")
    if not disk.with_suffix(".again").exists():
        until(lambda: any(getattr(e, "task", 0) == 1 and type(e).__name__ == "TaskFinished" for e in run().events))
        fill()
        print("y" * 50_000)
        until(lambda: run().note)
    return b"z" * 100_000

@step
def after(context, fills):
    note("after")
    return len(fills)

@workflow
def disk_w(wf):
    wf.timeline(before >> pay >> fills >> after)

def run():
    return session.runs[-1]

def until(is_so):
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
"""
FILL = {
    "tmpfs": """
def fill():
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass

def make_room():
    (disk / "filler").unlink()
""",
    # No file of this process may grow beyond this: the same errors, without a disk of its own.
    "a limit on files": """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def fill():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

def make_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
""",
}
HELD = """
going = session.run(disk_w)
until(lambda: going.note)
assert "after" not in notes.read_text()
note(going.header().note)
until(lambda: going.state.phase[2] == 5)
assert "after" not in notes.read_text() and not going.done
make_room()
print("value", going.result(20).output["ok"], repr(going.note), going.id)
session.close()
"""
NEVER = """
going = session.run(disk_w)
going.wait(20)
note(str(going.error()))
print(going.id)
sys.stdout.flush()
os._exit(0)
"""
GO_ON = """
again = session.load(session.history.unfinished("disk_w")).resume()
print(again.result(20).output["ok"], [row.status for row in again.rows()])
session.close()
"""


@pytest.fixture(params=FILL)
def disk(request, tmp_path):
    """A place that can be filled, and how."""
    with small_disk(1) if request.param == "tmpfs" else contextlib.nullcontext(tmp_path) as whole:
        path = whole / "disk"
        path.mkdir()
        yield path, FILL[request.param]


def child(code, *args):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
    )


def test_a_run_on_a_full_disk_is_held_and_goes_on_when_there_is_room(disk, tmp_path):
    path, fill = disk
    told = child(STEPS + fill + HELD, path, tmp_path / "notes", 60)

    assert told.returncode == 0, told.stderr
    *notes, held, last = (tmp_path / "notes").read_text().splitlines()
    assert (notes, last) == (["before", "pay", "fills"], "after")
    assert held.startswith("held: the journal cannot be written (")
    assert held.endswith(f": {path / 'home' / 'journal.db'}); it goes on when there is room")
    assert told.stderr == f"run 1 is {held}\nrun 1 goes on: the journal can be written again\n"
    value, run_id = told.stdout.splitlines()[-1].rsplit(" ", 1)
    assert value == "value 100000 ''"
    session = Session(Settings(home=path / "home"))
    loaded = session.load(run_id)
    assert loaded.outputs == {"before": [1], "pay": [2], "fills": b"z" * 100_000, "after": 100_000}
    session.close()


def test_a_run_that_never_gets_room_ends_and_another_process_goes_on_from_it(disk, tmp_path):
    path, fill = disk
    told = child(STEPS + fill + NEVER, path, tmp_path / "notes", 0.3)
    assert told.returncode == 0, told.stderr
    *notes, why = (tmp_path / "notes").read_text().splitlines()
    assert notes == ["before", "pay", "fills"]
    assert why.startswith("run 1 of disk_w ended: its events cannot be kept (")
    assert why.endswith("runs[1].resume(), or with `cerebelum resume`")
    (path / "filler").unlink(missing_ok=True)
    path.with_suffix(".again").touch()

    told = child(STEPS + GO_ON, path, tmp_path / "notes", 60)

    assert (told.stdout, told.returncode) == (
        "100000 ['reused', 'reused', 'succeeded', 'succeeded']\n",
        0,
    ), told.stderr
    assert (tmp_path / "notes").read_text().splitlines() == [*notes, why, "fills", "after"]


def test_a_full_disk_at_the_first_run_holds_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr(pump, "RETRY_S", 0.05)
    with small_disk(1) as path:
        filler = path / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        session = Session(Settings(home=path / "home"))
        run = session.run(workflow(name="first_w")(lambda wf: wf.timeline(step(name="one")(lambda context: [1]))))
        end = time.monotonic() + DEADLINE
        while not run.note:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not run.done
        filler.unlink()

        assert run.result(DEADLINE).output == {"ok": [1]}

        session.close()
        assert session.journal_path == path / "home" / "journal.db"
        assert read_runs(session.journal_path)[0][1] == "succeeded"


def test_a_large_result_without_room_is_not_lost_but_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(pump, "RETRY_S", 0.05)
    with small_disk(1) as path:
        session = Session(Settings(home=path / "home"))
        session.run(workflow(name="warm_d")(lambda wf: wf.timeline(step(name="warm")(lambda context: [1])))).wait()
        filler = path / "filler"
        filler.write_bytes(b"x" * 600_000)
        big = step(name="big")(lambda context: b"y" * 400_000)
        run = session.run(workflow(name="big_w")(lambda wf: wf.timeline(big)))
        end = time.monotonic() + DEADLINE
        while not run.note:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert "No space left on device" in run.note
        filler.unlink()
        run.result(DEADLINE)
        session.close()

        later = Session(Settings(home=path / "home"))
        loaded = later.load(run.id)
        assert loaded.outputs == {"big": b"y" * 400_000}
        state = RunState()
        for e in read(later.journal_path, run.id):
            state.apply(e)
        assert state == run.state
        later.close()
