"""Large values stay in shared memory: between workers, past the kernel, and whatever happens to who made them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from remote_kit import Heard, attempt, begin, cell, pid_in, until

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.codec import Large
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.model.pools import Pool
from tests.disk_kit import small_disk
from tests.process_kit import is_gone

pytestmark = pytest.mark.timeout(90)
DEADLINE = 60
MIB = 1 << 17  # numbers of 8 bytes
STEPS = cell("""
import os
def make(n, value=1.0):
    import numpy as np
    return np.full(n, value)
def both(a, b, c=1): return float(a.sum() + b["a"].sum()) + c
def late(seconds, array):
    import time
    time.sleep(seconds)
    return float(array.sum())
def total(array): return float(array.sum()), os.getpid()
def write(array):
    array[0] = 7
def change_what_holds_it(value):
    value["more"], value["list"][0] = 1, "mine"
    return float(value["a"].sum())
kept = None
def keep(array):
    import sys
    sys.kept_by_a_test = array
def look(n):
    import sys
    return float(sys.kept_by_a_test.sum()), os.getpid()
def pid(): return os.getpid()
def die(path, n):
    import numpy as np
    array = np.ones(n)
    open(path, "w").write(str(os.getpid()))
    return array
def nap(path, array):
    import time
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)
""")


async def run(core, name, *args, **kwargs):
    async with asyncio.timeout(DEADLINE):
        outcome = await core.run(attempt(STEPS[name], *args, kwargs=kwargs), Heard())
    assert outcome.error is None, outcome.error
    return outcome


def segments(core):
    """The folder of segments in memory; of the run directory where there is none."""
    return core._link.process.segments[0]


def used(core):
    return sorted(name for name in os.listdir(segments(core)) if name.startswith("used."))


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=2)
    yield executor
    await executor.close()


@pytest.mark.asyncio
async def test_a_result_goes_to_another_worker_and_the_kernel_reads_none_of_it(core):
    made = await run(core, "make", 64 * MIB)
    maker = int(used(core)[0].split(".")[3][1:])
    before = psutil.Process().memory_full_info()

    pids = set()
    while len(pids) < 2:
        told = await asyncio.gather(*[run(core, "total", made.value) for _ in range(4)])
        assert {outcome.value[0] for outcome in told} == {64.0 * MIB}
        pids |= {outcome.value[1] for outcome in told}

    after = psutil.Process().memory_full_info()
    assert type(made.value) is Large
    assert made.nbytes == pytest.approx(64 << 20, abs=200)
    assert pids > {maker}
    assert after.rss - before.rss < 2 << 20
    assert len(used(core)) == 1


@pytest.mark.asyncio
async def test_small_values_go_as_they_did(core):
    assert isinstance((await run(core, "make", MIB // 2)).value, np.ndarray)
    assert type((await run(core, "make", MIB + 1)).value) is Large


@pytest.mark.asyncio
async def test_a_segment_is_free_when_nothing_needs_its_value_and_is_used_again(core):
    array = np.ones(4 * MIB)
    for _ in range(5):
        made = await run(core, "make", 4 * MIB)
        assert (await run(core, "total", array)).value[0] == 4.0 * MIB
        await until(lambda: len(used(core)) == 1)
        del made
        await until(lambda: used(core) == [])
    assert len(list(segments(core).iterdir())) <= 3


@pytest.mark.asyncio
async def test_a_step_cannot_change_what_others_see(core):
    made = await run(core, "make", 4 * MIB)

    refused = await core.run(attempt(STEPS["write"], made.value), Heard())
    inside = {"a": np.ones(4 * MIB), "list": ["yours"]}

    assert (refused.kind, refused.error.type) == ("error", "ValueError")
    assert "read-only" in refused.error.message
    assert (await run(core, "change_what_holds_it", inside)).value == 4.0 * MIB
    assert list(inside) == ["a", "list"]
    assert inside["list"] == ["yours"]
    assert made.value.open()[0] == 1


@pytest.mark.asyncio
async def test_what_a_step_has_kept_of_its_input_stays_as_it_was():
    core = CoreExecutor(slots=1)
    made = await run(core, "make", 4 * MIB, 3.0)
    await run(core, "keep", made.value)
    del made
    await until(lambda: used(core) == [])
    for n in range(4):
        await run(core, "make", 4 * MIB, float(n))

    assert (await run(core, "look", 0)).value[0] == 12.0 * MIB
    await core.close()


@pytest.mark.asyncio
async def test_what_the_kernel_looks_at_stays_as_it_was(core):
    array = (await run(core, "make", 4 * MIB, 3.0)).value.open()
    await until(lambda: used(core) == [])  # nobody refers to it any more, and the kernel still looks into it
    for n in range(4):
        await run(core, "make", 4 * MIB, float(n))

    assert array.sum() == 12.0 * MIB
    assert not array.flags.writeable


@pytest.mark.asyncio
async def test_the_same_value_is_sent_by_reference_and_one_that_was_changed_in_place_is_not(core):
    array = np.ones(4 * MIB)
    for _ in range(3):
        assert (await run(core, "total", array)).value[0] == 4.0 * MIB
    assert (await run(core, "total", array.copy())).value[0] == 4.0 * MIB
    assert len(used(core)) == 1

    array[3 * MIB] = 8
    assert (await run(core, "total", array)).value[0] == 4.0 * MIB + 7
    assert len(used(core)) == 2

    core.link.large.relieve()
    await until(lambda: used(core) == [])


@pytest.mark.asyncio
async def test_each_large_argument_is_in_memory_once_wherever_it_stands(core):
    array, table = np.ones(4 * MIB), {"a": np.full(4 * MIB, 2.0)}

    assert (await run(core, "both", array, table)).value == 12.0 * MIB + 1
    assert (await run(core, "both", array, b=table, c=2)).value == 12.0 * MIB + 2
    assert len(used(core)) == 2
    assert (await run(core, "total", array)).value[0] == 4.0 * MIB
    assert len(used(core)) == 2


@pytest.mark.asyncio
async def test_what_was_looked_at_here_goes_back_by_reference(core):
    made = (await run(core, "make", 4 * MIB)).value
    array = made.open()

    assert (await run(core, "total", array)).value[0] == 4.0 * MIB

    assert len(used(core)) == 1


@pytest.mark.asyncio
async def test_when_a_large_value_was_seen_memory_is_made_ready_for_the_next_and_given_back_later(core, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.executors.large.LOOK_S", 0.2)
    made = await run(core, "make", 4 * MIB)

    def free():
        return [path for path in segments(core).iterdir() if path.name.startswith("free.")]

    await until(lambda: len(free()) == 1)
    assert free()[0].stat().st_size >= made.value.nbytes
    monkeypatch.setattr("cerebelum_nb.executors.large.IDLE_S", 0.0)
    await until(lambda: not free())


@pytest_asyncio.fixture
async def other():
    executor = CoreExecutor(slots=1, name="other", pool=Pool("other", 1))
    yield executor
    await executor.close()


@pytest.mark.asyncio
async def test_a_value_goes_to_the_workers_of_another_pool_as_it_is(core, other):
    made = (await run(core, "make", 32 * MIB, 3.0)).value
    await other.start()
    before = psutil.Process().memory_info().rss

    for _ in range(2):
        assert (await run(other, "total", made)).value[0] == 96.0 * MIB

    assert psutil.Process().memory_info().rss - before < 2 << 20
    (theirs,) = [path for path in segments(core).iterdir() if path.name.startswith("used.")]
    assert theirs.stat().st_nlink <= 2
    assert other.link.large.segments.held()[0] == 0  # not taken twice
    await until(lambda: used(other) == [])
    assert made.open().sum() == 96.0 * MIB


@pytest.mark.asyncio
async def test_a_value_that_another_pool_has_is_not_filled_again_before_that_is_done_with_it(core, other, tmp_path):
    made = (await run(core, "make", 4 * MIB, 3.0)).value
    running, _ = await begin(other, STEPS["nap"], str(tmp_path / "pid"), made)
    await pid_in(tmp_path / "pid")
    del made
    assert len(used(core)) == len(used(other)) == 1
    for n in range(3):
        await run(core, "make", 4 * MIB, float(n))
    lent = other.link.large._remembered
    assert [large.open()[0] for large in lent] == [3.0]

    running.cancel()
    await asyncio.wait([running])
    del running

    await until(lambda: used(core) == used(other) == [])


@pytest.mark.asyncio
async def test_a_value_that_another_pool_has_outlives_its_own_core(core, other):
    made = (await run(core, "make", 4 * MIB, 3.0)).value
    running = asyncio.create_task(run(other, "late", 0.5, made))
    await until(lambda: other.link is not None and used(other) != [])
    await core.close()

    assert (await running).value == 12.0 * MIB
    assert (await run(other, "total", made)).value[0] == 12.0 * MIB


# deaths -------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_value_outlives_its_worker_its_core_and_its_executor(core):
    made = await run(core, "make", 4 * MIB)
    maker = int(used(core)[0].split(".")[3][1:])
    os.kill(maker, signal.SIGKILL)
    await until(lambda: maker not in core.pids and len(core.pids) == 3)
    assert (await run(core, "total", made.value)).value[0] == 4.0 * MIB

    process, core_pid = core._link.process, core.pids[0]
    os.kill(core_pid, signal.SIGKILL)
    await until(lambda: not core._link.alive and not process.segments[0].exists())
    assert made.value.open().sum() == 4.0 * MIB
    assert (await run(core, "total", made.value)).value[0] == 4.0 * MIB  # with the next Core
    folder = segments(core)
    await core.close()

    assert not folder.exists()
    assert made.value.open().sum() == 4.0 * MIB


@pytest.mark.asyncio
async def test_workers_killed_while_they_fill_a_segment_leave_none(core, tmp_path):
    await run(core, "make", 16 * MIB)
    for n in range(12):
        path = tmp_path / str(n)
        running, _ = await begin(core, STEPS["die"], str(path), 16 * MIB)
        pid = await pid_in(path)
        await asyncio.sleep(n * 0.002)  # at another moment each time
        os.kill(pid, signal.SIGKILL)
        outcome = await asyncio.wait_for(running, DEADLINE)
        assert outcome.kind in {"lost", "ok"}
        if outcome.kind == "ok":
            assert outcome.value.open().sum() == 16.0 * MIB
        await until(lambda pid=pid: is_gone(pid) and pid not in core.pids)
        del running, outcome
        await until(lambda: used(core) == [])
    assert len(list(segments(core).iterdir())) <= 3
    assert (await run(core, "total", np.ones(16 * MIB))).value[0] == 16.0 * MIB


@pytest.mark.asyncio
async def test_what_a_stopped_step_was_given_and_what_nobody_waited_for_is_free_again(core, tmp_path):
    running, _ = await begin(core, STEPS["nap"], str(tmp_path / "pid"), np.ones(4 * MIB))
    await pid_in(tmp_path / "pid")
    assert len(used(core)) == 1

    running.cancel()
    await asyncio.wait([running])
    del running
    core.link.large.relieve()  # it is not kept for the next one either

    await until(lambda: used(core) == [])


KERNEL = f"""
import asyncio, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from remote_kit import Heard, attempt, cell
from cerebelum_nb.executors.core import CoreExecutor

def make(n): return [n] * n

async def main():
    core = CoreExecutor(slots=2)
    one = await core.run(attempt(cell("def make(n): return bytes(n)")["make"], 8 << 20), Heard())
    process = core._link.process
    print(*core.pids, process.directory, process.segments[0], flush=True)
    while True:
        await core.run(attempt(cell("def size(x): return len(x)")["size"], bytes(8 << 20)), Heard())

asyncio.run(main())
"""


def kernel():
    process = subprocess.Popen([sys.executable, "-c", KERNEL], stdout=subprocess.PIPE, text=True)
    *pids, directory, folder = process.stdout.readline().split()
    return process, [int(pid) for pid in pids], Path(directory), Path(folder)


def wait_until(condition, deadline_s=DEADLINE):
    until_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)  # a poll, not a pause


def gone(pids, *paths):
    wait_until(lambda: all(map(is_gone, pids)) and not any(path.exists() for path in paths), 20)


def test_no_shared_memory_outlives_a_killed_kernel():
    process, pids, directory, folder = kernel()
    assert list(folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700

    process.kill()
    process.wait()

    gone(pids, directory, folder)


def test_what_a_kernel_left_that_was_killed_with_its_core_is_removed_by_the_next_one():
    process, pids, _, folder = kernel()
    os.kill(process.pid, signal.SIGSTOP)  # neither of them can tidy up after the other
    os.kill(pids[0], signal.SIGKILL)
    process.kill()
    process.wait()
    gone(pids[1:])
    os.utime(folder, (0, 0))

    other, pids, directory, theirs = kernel()

    assert not folder.exists()
    assert theirs.exists()
    other.kill()
    other.wait()
    gone(pids, directory, theirs)


@pytest.mark.asyncio
async def test_a_pool_that_is_not_trusted_shares_no_memory():
    core = CoreExecutor(slots=1, pool=Pool("strangers", 1, trust="untrusted"))
    made = await run(core, "make", 2 * MIB)

    assert isinstance(made.value, np.ndarray)
    assert core._link.process.segments == ()
    await core.close()


@pytest.mark.asyncio
async def test_there_is_a_place_in_files_where_memory_is_too_small(core, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.wire.memory.available", lambda: 0)
    await core.start()

    assert (await run(core, "total", np.ones(4 * MIB))).value[0] == 4.0 * MIB
    assert len(list(core._link.process.segments[1].iterdir())) == 1
    assert not list(segments(core).iterdir())


@pytest_asyncio.fixture
async def cramped(tmp_path, monkeypatch):
    """A Core whose memory and files are on one small disk."""
    with small_disk(4) as disk:
        (disk / "memory").mkdir()
        monkeypatch.setattr("cerebelum_nb.executors.core_process._MEMORY", disk / "memory")
        executor = CoreExecutor(slots=1, run_dir=disk)
        yield executor, disk
        await executor.close()
        assert {path.name for path in disk.rglob("*")} <= {"memory", "filler"}


async def held(signals):
    """What an attempt waits for, when it does."""
    await until(lambda: any(name == "held" for name, _ in signals.heard))
    return next(text for name, text in signals.heard if name == "held")


@pytest.mark.asyncio
async def test_an_attempt_waits_for_room_and_goes_on_where_it_was(cramped, tmp_path):
    core, disk = cramped
    await run(core, "total", np.ones(10))
    (disk / "filler").write_bytes(bytes(3 << 20))
    for name, args, what in (
        ("make", (2 * MIB,), "the result of step 'make'"),
        ("total", (np.ones(2 * MIB),), "the input of step 'total'"),
    ):
        signals = Heard()
        going = asyncio.create_task(core.run(attempt(STEPS[name], *args), signals))
        text = await held(signals)
        assert text.startswith(f"held: {what} takes 2 MiB, for which there is no room ({disk}")
        assert text.count("No space left on device") == 2
        assert text.endswith(
            "; it goes on when there is room: `%cerebelum purge --memory` lets go of what ended runs hold"
        )
        assert not going.done()
        (disk / "filler").unlink()

        outcome = await asyncio.wait_for(going, DEADLINE)

        assert outcome.kind == "ok"
        assert [text for name, text in signals.heard if name == "held"] == [text, ""]
        assert [name for name, _ in signals.heard].count("started") == 1
        del outcome, going
        await until(lambda: core.link.large.free() >= 0 and core.link.large.segments.held() == (0, 0))
        (disk / "filler").write_bytes(bytes(3 << 20))


@pytest.mark.asyncio
async def test_where_there_never_is_room_an_attempt_ends_in_words_and_its_worker_goes_on(cramped, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.executors.room.ROOM_S", 0.5)
    core, _ = cramped

    result = await asyncio.wait_for(core.run(attempt(STEPS["make"], 8 * MIB), Heard()), DEADLINE)
    given = await asyncio.wait_for(core.run(attempt(STEPS["total"], np.ones(8 * MIB)), Heard()), DEADLINE)

    assert (result.error.type, given.error.type) == ("NoRoom", "NoRoom")
    assert result.error.message.startswith("the result of step 'make' takes 8 MiB, for which there is no room (")
    assert given.error.message.startswith("the input of step 'total' takes 8 MiB, for which there is no room (")
    assert result.error.message.count("No space left on device") == 2
    assert "and in 0.5 s there came none. Make some (" in result.error.message
    assert (await run(core, "total", np.ones(2 * MIB))).value[0] == 2.0 * MIB


@pytest.mark.asyncio
async def test_an_attempt_that_waits_for_room_can_be_stopped(cramped):
    core, _ = cramped
    signals = Heard()
    going = asyncio.create_task(core.run(attempt(STEPS["make"], 8 * MIB), signals))
    await held(signals)

    going.cancel()
    await asyncio.wait([going])

    assert (await run(core, "pid")).value in core.pids


# whole runs ---------------------------------------------------------------------------------------------------------

FLOW = """
import os
@step(executor="distributed")
def make(context, inputs):
    import numpy as np
    return {"array": np.arange(inputs["n"]), "name": "x"}

@step(executor="distributed")
def far(context, make): return float(make["array"].sum()), os.getpid()

@step(executor="local")
def near(context, make):
    make["name"] = "changed"
    return float(make["array"].sum())

@step(executor="local")
async def after(context, make, far, near): return make["name"], far[0] == near

@workflow
def large(wf): wf.timeline(make >> [far, near] >> after)
"""


def flow():
    space = {"__name__": "__main__", "step": step, "workflow": workflow}
    exec(FLOW, space)
    return space["large"]


def test_a_run_reads_large_results_where_somebody_looks_and_keeps_those_it_can(session):
    for n, kept in ((MIB, True), (3 * MIB, False)):
        run = session.run(flow(), {"n": n * 2})
        run.wait(DEADLINE)
        assert run.outputs["after"] == ("x", True)
        assert type(run.scheduler.values[0]) is Large
        array = run.outputs["make"]["array"]
        assert (array[-1], array.flags.writeable, run.outputs["make"]["name"]) == (2 * n - 1, False, "x")
        again = Session(Settings(home=session.settings.home)) if kept else None
        if again is not None:
            np.testing.assert_array_equal(again.load(run.id).outputs["make"]["array"], array)
            again.close()


def test_a_run_is_resumed_and_its_steps_are_run_again_with_large_results(session):
    work = flow()
    first = session.run(work, {"n": 4 * MIB})
    first.wait(DEADLINE)

    again = first.rerun("far")
    again.wait(DEADLINE)

    assert again.outputs["far"][0] == first.outputs["far"][0]
    assert next(row.status for row in again.rows()) in {"reused", "succeeded"}


def test_a_large_result_is_free_when_newer_runs_have_ended(tmp_path):
    session = Session(Settings(home=tmp_path, workers=1, runs_in_memory=1))
    first = session.run(flow(), {"n": 32 * MIB})
    first.wait(DEADLINE)
    name = first.scheduler.values[0].where.name
    (path,) = Path("/dev/shm").glob(f"cerebelum-*/{name}") if Path("/dev/shm").exists() else [Path()]
    assert first.outputs["make"]["name"] == "x"

    for _ in range(2):
        session.run(flow(), {"n": 10}).wait(DEADLINE)

    wait_until(lambda: first.lost == {0} and not path.exists())
    with pytest.raises(ExecutorError, match="was not kept: it is 32 MiB, which is too much to be kept, and newer runs"):
        _ = first.results[0]
    assert first.outputs["far"][0] == 16 * MIB * (32 * MIB - 1)
    session.close()


def test_the_cache_knows_large_inputs_and_keeps_large_results(session):
    source = (
        FLOW.replace('return float(make["array"].sum()), os.getpid()', "return make['array'] * 2")
        .replace('executor="distributed"', 'executor="distributed", cache=True')
        .replace("far[0] == near", "float(far.sum()) == 2 * near")
    )
    space = {"__name__": "__main__", "step": step, "workflow": workflow}
    exec(source, space)
    runs = []
    for _ in range(2):
        runs.append(session.run(space["large"], {"n": 2 * MIB}))
        runs[-1].wait(DEADLINE)
    for run in runs:
        assert run.outputs["after"] == ("x", True)
    assert [row.status for row in runs[1].rows()][:2] == ["cached", "cached"]


@pytest.mark.parametrize(("kib", "kind"), [(64, Large), (8192, np.ndarray)])
def test_how_large_a_large_value_is_can_be_set(tmp_path, kib, kind):
    session = Session(Settings(home=tmp_path, workers=1, large_kib=kib, keep_results=False))
    alone = step(name="alone", executor="distributed")(
        cell("def alone(context, inputs): return inputs['a'] + 1")["alone"]
    )
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(alone)), {"a": np.zeros(MIB * 2)})
    run.wait(DEADLINE)

    assert type(run.scheduler.values[0]) is kind
    assert run.outputs["alone"].sum() == 2 * MIB
    session.close()
