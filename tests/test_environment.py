"""What a machine may do to a run: its clock jumps, its memory ends, its folder cannot be written."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from cerebelum_nb import PlanError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.helpers import sleep
from cerebelum_nb.store.journal import read
from tests.disk_kit import small_disk

DEADLINE = 30
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def clock(monkeypatch):
    """The wall clock of this process, which may be set: ``clock(-HOUR)``."""
    true, off = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: true() + off[0])

    def put(seconds):
        off[0] += seconds

    return put


def times_make_sense(run, longest_s=DEADLINE):
    """No event is before the one before it, nothing took less than no time, or longer than the test."""
    ats = [e.at for e in run.events]
    assert ats == sorted(ats)
    assert ats[-1] - ats[0] < longest_s
    assert 0 <= run.header().now < longest_s
    for row in run.rows():
        assert 0 <= (row.ms or 0) < longest_s * 1e3
        for segment in row.segments:
            assert segment.end is None or 0 <= segment.queued <= segment.end < longest_s


@pytest.mark.parametrize("jump", [-HOUR, DAY])
@pytest.mark.parametrize("executor", ["local", "distributed"])
def test_a_clock_that_is_set_during_a_run_changes_neither_durations_nor_timeouts_nor_sleeps(
    tmp_path, clock, jump, executor
):
    session, at_it = Session(Settings(home=tmp_path)), threading.Event()

    async def first(context):
        await sleep(300)
        return 1

    async def second(context, first):
        await sleep(300)
        return 2

    w = workflow(name="clock_w")(
        lambda wf: wf.timeline(
            step(name="first", executor=executor, timeout=20)(first)
            >> step(name="second", executor=executor, timeout=20, retries=1)(second)
        )
    )
    run = session.run(w)
    run.watch(lambda ended: at_it.set())
    while not run.state.paused and not run.done:
        run.wait(0.01)
    clock(jump)
    began = time.monotonic()

    assert run.result(DEADLINE).output == {"ok": 2}

    assert time.monotonic() - began < DEADLINE / 2
    times_make_sense(run)
    assert [row.status for row in run.rows()] == ["succeeded", "succeeded"]
    session.close()


@pytest.mark.parametrize("jump", [-HOUR, DAY])
def test_a_clock_that_is_set_between_a_run_and_its_resume_does_no_harm(tmp_path, clock, jump):
    ready = threading.Event()

    def defined():
        async def naps(context):
            await sleep(200)
            if not ready.is_set():
                raise OSError("not yet")
            return "rested"

        def one(context):
            return 1

        return workflow(name="clock_v")(lambda wf: wf.timeline(step(name="one")(one) >> step(name="naps")(naps)))

    first = Session(Settings(home=tmp_path))
    run = first.run(defined())
    run.wait(DEADLINE)
    other = first.run(defined())
    other.wait(DEADLINE)
    first.close()
    clock(jump)
    ready.set()

    second = Session(Settings(home=tmp_path))
    defined()
    began = time.monotonic()
    again = second.load(run.id).resume()
    assert again.result(DEADLINE).output == {"ok": "rested"}

    assert time.monotonic() - began < DEADLINE / 2
    times_make_sense(again)
    times_make_sense(second.load(run.id))
    assert [e.run for e in second.history.entries()] == [again.id, other.id, run.id]  # as they came, whatever they say
    assert second.history.unfinished() == other.id
    second.close()


NAP = """
import sys, time
from pathlib import Path
from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.helpers import sleep

off, true = float(sys.argv[2]), time.time
time.time = lambda: true() + off
session = Session(Settings(home=Path(sys.argv[1])))

@step
async def naps(context):
    await sleep(2_000)
    return "rested"

w = workflow(name="nap_w")(lambda wf: wf.timeline(naps))
if len(sys.argv) == 3:
    run = session.run(w)
    while not any(type(e).__name__ == "TaskPaused" for e in run.events):
        run.wait(0.01)
    print(run.id, flush=True)
    run.wait()
began = time.monotonic()
again = session.load(sys.argv[3]).resume()
print(again.result(20).output, time.monotonic() - began < 10)
session.close()
"""


@pytest.mark.parametrize("jump", [-HOUR, DAY])
def test_a_sleep_that_was_cut_off_is_never_longer_than_it_was_asked_whatever_the_clock_says(tmp_path, jump):
    with subprocess.Popen([sys.executable, "-c", NAP, str(tmp_path), "0"], stdout=subprocess.PIPE, text=True) as first:
        run_id = first.stdout.readline().strip()
        first.kill()

    told = subprocess.run(
        [sys.executable, "-c", NAP, str(tmp_path), str(jump), run_id],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
    )

    assert told.stdout == "{'ok': 'rested'} True\n", told.stderr


MEMORY = """
import resource, sys
from pathlib import Path
from cerebelum_nb import ExecutionError, Session, step, workflow
from cerebelum_nb.config import Settings

session = Session(Settings(home=Path(sys.argv[1])))

@step
def small(context):
    return [1]

KIND too_much(context, small):
    return len(bytearray(4 << 30))

small_w = workflow(name="small_w")(lambda wf: wf.timeline(small))
session.run(small_w).result(30)
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
w = workflow(name="memory_w")(lambda wf: wf.timeline(small >> step(name="too_much")(too_much)))
run = session.run(w)
run.wait(30)
print(run.details("too_much").error_type, [row.status for row in run.rows()], run.done)
print(session.run(small_w).result(30).output)
print([e.status for e in session.history.entries()])
session.close()
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc are Linux's")
def test_a_step_that_fills_the_memory_fails_and_the_kernel_goes_on(tmp_path, kind):
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY).replace("KIND", kind), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
    )

    assert told.stdout == (
        "MemoryError ['succeeded', 'failed'] True\n{'ok': [1]}\n['succeeded', 'failed', 'succeeded']\n"
    ), told.stderr


@contextlib.contextmanager
def read_only(path):
    """A folder where nothing can be written, also not by root: a small disk, mounted again."""
    if os.geteuid():
        path.chmod(0o500)
        try:
            yield
        finally:
            path.chmod(0o700)
        return
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(path)], check=True)


@pytest.fixture
def folder(tmp_path):
    if os.geteuid():
        path = tmp_path / "project"
        path.mkdir()
        yield path
        return
    with small_disk(8) as path:
        yield path


def one(name, value="[1]"):
    space = {}
    exec(f"def {name}(context): return {value}", space)
    return workflow(name=f"{name}_w")(lambda wf: wf.timeline(step(name=name)(space[name])))


@pytest.mark.parametrize("has_runs", [False, True])
def test_in_a_folder_that_cannot_be_written_runs_are_kept_elsewhere_and_earlier_ones_are_seen(folder, has_runs):
    before = []
    if has_runs:
        first = Session(Settings(home=folder / "home"))
        run = first.run(one("readable"))
        run.result(DEADLINE)
        before = [(run.id, "succeeded")]
        first.close()
    with read_only(folder):
        session = Session(Settings(home=folder / "home"))
        run = session.run(one("elsewhere"))

        with pytest.warns(UserWarning, match="journal .* cannot be used .*runs are kept in"):
            assert run.result(DEADLINE).output == {"ok": [1]}

        assert not session.journal_path.is_relative_to(folder)
        assert tuple(read(session.journal_path, run.id)) == run.events
        assert [(e.run, e.status) for e in session.history.entries()] == [(run.id, "succeeded"), *before]
        for run_id, status in before:
            loaded = session.load(run_id)
            assert (loaded.status, loaded.outputs) == (status, {"readable": [1]})
        session.close()
        shutil.rmtree(session.journal_path.parent)


# -- going on with other inputs


def doubling(ready):
    def doubled(context, inputs):
        return inputs["n"] * 2

    def plain():
        return 5

    def ends(doubled, plain):
        if not ready.is_set():
            raise OSError("not yet")
        return doubled + plain

    made = [step(name="doubled")(doubled), step(name="plain")(plain)] >> step(name="ends")(ends)
    return workflow(name="double_w")(lambda wf: wf.timeline(made))


def test_going_on_with_the_same_inputs_again_is_going_on(tmp_path):
    session, ready = Session(Settings(home=tmp_path)), threading.Event()
    run = session.run(doubling(ready), {"n": 2})
    run.wait(DEADLINE)
    ready.set()

    again = run.resume(inputs={"n": 2})

    assert again.result(DEADLINE).output == {"ok": 9}
    assert [row.status for row in again.rows()] == ["reused", "reused", "succeeded"]
    session.close()


def test_going_on_with_other_inputs_is_asked_about(tmp_path):
    session, ready = Session(Settings(home=tmp_path)), threading.Event()
    runs = [session.run(doubling(ready), {"n": 2, "m": 1}) for _ in range(2)]
    for run in runs:
        run.wait(DEADLINE)
    ready.set()

    with pytest.raises(PlanError, match=r"other inputs: n\. changed='run' runs every step again that takes inputs"):
        runs[0].resume(inputs={"n": 3, "m": 1})
    new = runs[0].resume(inputs={"n": 3, "m": 1}, changed="run")
    assert new.result(DEADLINE).output == {"ok": 11}
    assert [row.status for row in new.rows()] == ["succeeded", "reused", "succeeded"]
    assert new.plan.inputs == {"n": 3, "m": 1}
    own = runs[1].resume(inputs={"n": 3, "m": 1}, changed="keep")
    assert own.result(DEADLINE).output == {"ok": 9}
    assert [row.status for row in own.rows()] == ["reused", "reused", "succeeded"]
    session.close()


def test_inputs_that_are_not_known_any_more_can_be_given_again(tmp_path):
    first, ready = Session(Settings(home=tmp_path)), threading.Event()
    run = first.run(doubling(ready), {"n": 2, "lock": threading.Lock()})
    run.wait(DEADLINE)
    first.close()
    ready.set()
    session = Session(Settings(home=tmp_path))
    doubling(ready)
    loaded = session.load(run.id)

    with pytest.raises(PlanError, match="the inputs of run 1 are not known any more"):
        loaded.resume()
    with pytest.raises(PlanError, match="what the run was given is not known any more"):
        loaded.resume(inputs={"n": 2})
    again = loaded.resume(inputs={"n": 2}, changed="keep")

    assert again.result(DEADLINE).output == {"ok": 9}
    assert [row.status for row in again.rows()] == ["reused", "reused", "succeeded"]
    session.close()


# -- runs by their id


LOAD = """
import sys
import cerebelum_nb
assert "cerebelum_nb.session" not in sys.modules
run = cerebelum_nb.Run.load(sys.argv[1])
assert cerebelum_nb.Run.load(sys.argv[1][-6:]) is run is cerebelum_nb.runs[1]
print(run.status, run.outputs)
"""


def test_a_run_is_had_by_its_id_also_where_nothing_else_was_done(tmp_path):
    session = Session(Settings(home=tmp_path / ".cerebelum"))
    run = session.run(one("loaded", "{'a': (1, 2)}"))
    run.result(DEADLINE)
    session.close()

    told = subprocess.run(
        [sys.executable, "-c", LOAD, run.id],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert told.stdout == "succeeded {'loaded': {'a': (1, 2)}}\n", told.stderr


# -- many


MANY = """
import sys
from pathlib import Path
from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings

home, ready = Path(sys.argv[1]), Path(sys.argv[1]) / "ready"
session, steps = Session(Settings(home=home)), []
for i in range(1000):
    space = {"home": home}
    exec(f"def s{i}(context{f', s{i - 1}' if i else ''}):\\n    (home / 'ran').open('a').write('{i} ')\\n    return [{i}]", space)
    steps.append(step(name=f"s{i}")(space[f"s{i}"]))

@step
def last(context, s999):
    if not ready.exists():
        raise OSError("not ready")
    return s999

w = workflow(name="thousand_w")(lambda wf: wf.timeline(*steps, last))
if len(sys.argv) == 2:
    session.run(w).wait(60)
else:
    if sys.argv[2] == "ready":
        ready.touch()
    run = session.load(session.history.unfinished()).resume()
    run.wait(60)
    statuses = [row.status for row in run.rows()]
    print(statuses.count("reused"), statuses[-1], run.outputs.get("last"))
session.close()
"""


def test_of_a_thousand_completed_steps_none_runs_again_on_resume_nor_on_the_resume_of_that(tmp_path):
    told = [
        subprocess.run(
            [sys.executable, "-c", MANY, str(tmp_path), *more], capture_output=True, text=True, timeout=90, check=False
        )
        for more in ([], ["not ready"], ["ready"])
    ]

    assert [t.stdout for t in told] == ["", "1000 failed None\n", "1000 succeeded [999]\n"], [t.stderr for t in told]
    assert (tmp_path / "ran").read_text().split() == [str(i) for i in range(1000)]


FILE = """
from pathlib import Path
from cerebelum_nb import step, workflow

@step
def doubled(context, inputs):
    return inputs["n"] * 2

@step
def ends(context, doubled):
    if not Path("ready").exists():
        raise OSError("not yet")
    return doubled

@workflow
def again_w(wf):
    wf.timeline(doubled >> ends)
"""


def test_on_the_command_line_other_inputs_are_asked_about_too(tmp_path):
    (tmp_path / "file.py").write_text(FILE)

    def cerebelum(*words):
        told = subprocess.run(
            [sys.executable, "-m", "cerebelum_nb.cli", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return told.returncode, told.stdout, told.stderr

    assert cerebelum("run", "file.py", "--inputs", '{"n": 2}')[0] == 1
    (tmp_path / "ready").touch()

    code, _, error = cerebelum("resume", "file.py", "--inputs", '{"n": 3}')
    assert (code, "other inputs: n. --changed run runs every step again that takes" in error) == (2, True), error
    code, out, error = cerebelum("resume", "file.py", "--inputs", '{"n": 3}', "--changed", "run")
    assert (code, out.splitlines()[-1]) == (0, "6"), error
