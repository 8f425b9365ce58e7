"""Processes that are stopped or orphaned: who is named for it, what goes on elsewhere, and what is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import pytest_asyncio
from remote_kit import Heard, begin, cell, pid_in, run, sleeper, until
from test_core_lifelines import kernel, wait_until

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.executors.orphans import remove_orphans
from cerebelum_nb.notebook import workers
from cerebelum_nb.notebook.arguments import Arguments
from tests.process_kit import is_gone

pytestmark = pytest.mark.timeout(120)


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=1)
    yield executor
    await executor.close()


@pytest.mark.asyncio
async def test_a_core_that_is_given_up_loses_what_had_begun_and_what_had_not_runs_in_the_next_one(core, tmp_path):
    begun, _ = await begin(core, sleeper(), str(tmp_path / "pid"))
    worker = await pid_in(tmp_path / "pid")
    waits = asyncio.ensure_future(run(core, cell("def one(): return 1")["one"]))
    await asyncio.sleep(0)
    stopped = core.pids[0]
    os.kill(stopped, signal.SIGSTOP)

    assert await core.seats(0.1) is None
    await core.give_up()

    lost = await begun
    assert (lost.kind, lost.error.type, lost.delivered) == ("lost", "CoreLost", True)
    assert f"Core (pid {stopped}) did not answer, and was ended, while it had step 'nap'" in lost.error.message
    assert (await waits).value == 1
    assert is_gone(stopped)
    assert is_gone(worker)
    assert not core._died_at  # a person's wish says nothing against the next one


@pytest_asyncio.fixture
async def two():
    executor = CoreExecutor(slots=2, worker_silent_s=600)  # only what was given and not begun is looked after here
    await run(executor, ONE)
    await until(lambda: executor.workers == 2)
    seats = await executor.seats()
    while {seat.state for seat in seats.seats} != {"idle"}:
        seats = await executor.seats()
    yield executor
    await executor.close()


ONE = cell("def one(): return 1")["one"]
WHO = cell("import os\ndef who(*_): return os.getpid()")["who"]


@pytest.mark.asyncio
async def test_a_step_that_a_stopped_worker_was_given_is_done_by_a_free_one(two):
    stopped, other = two.link.workers[1], two.link.workers[2]
    os.kill(stopped, signal.SIGSTOP)

    heard = Heard()
    alone = (await run(two, WHO, heard=heard)).value
    several = await asyncio.gather(*(run(two, WHO) for _ in range(20)))

    assert alone == other
    assert (
        heard.text("notice")
        == f"worker 1 (pid {stopped}) does not answer: the step goes to the next one that is free\n"
    )
    assert {outcome.value for outcome in several} == {other}
    states = {seat.slot: seat.state for seat in (await two.seats()).seats}
    assert states == {1: "silent", 2: "idle"}
    assert f"worker 1 (pid {stopped}) does not answer: what it was given goes to others" in two.words
    assert not is_gone(stopped)


@pytest.mark.asyncio
async def test_a_worker_that_goes_on_does_not_begin_what_was_taken_from_it_and_gets_work_again(two, tmp_path):
    stopped, other = two.link.workers[1], two.link.workers[2]
    mark = cell("import os\ndef mark(path):\n    with open(path, 'a') as file: file.write(f'{os.getpid()}\\n')\n")[
        "mark"
    ]
    os.kill(stopped, signal.SIGSTOP)
    await run(two, mark, str(tmp_path / "marks"))
    os.kill(stopped, signal.SIGCONT)

    held, _ = await begin(two, sleeper(), str(tmp_path / "pid"))
    found = (await run(two, WHO)).value
    held.cancel()

    assert {found, await pid_in(tmp_path / "pid")} == {stopped, other}
    assert (tmp_path / "marks").read_text().split() == [str(other)]


@pytest.mark.asyncio
async def test_the_only_worker_is_waited_for_and_does_the_step_when_it_goes_on(core):
    await run(core, ONE)
    (_, worker) = core.pids
    os.kill(worker, signal.SIGSTOP)
    running = asyncio.ensure_future(run(core, WHO))
    seats = await core.seats()
    while seats.seats[0].state != "silent":
        seats = await core.seats()
    assert seats.waiting == 1

    os.kill(worker, signal.SIGCONT)

    assert (await running).value == worker


SEEN = []  # asked while a result is read


class Asks:
    """A result that asks something when it is read from disk."""

    def __setstate__(self, state):
        SEEN.append([ask() for ask in state["asks"]])


class HasWorkers:
    def __call__(self):
        end = time.monotonic() + 15
        while not (pids := current[0].pools.executor("core").pids) and time.monotonic() < end:
            time.sleep(0.01)
        return bool(pids)


current = []


def test_workers_start_while_a_resumed_run_reads_what_it_reuses(tmp_path):
    def first(context):
        made = Asks()
        made.asks = [HasWorkers()]
        return made

    def second(first):
        raise ValueError("not yet")

    steps = [step(name="first")(first), step(name="second", executor="distributed")(second)]
    flow = workflow(name="wf")(lambda wf: wf.timeline(steps))
    settings = Settings(home=tmp_path, workers=1)
    earlier = Session(settings)
    assert earlier.run(flow).wait(30, echo=False)
    earlier.close()
    SEEN.clear()

    current[:] = [later := Session(settings)]
    again = later.load("last").resume()
    seen = list(SEEN)
    again.cancel()
    later.close()

    assert seen == [[True]]


def test_a_kernel_that_is_killed_while_its_core_is_stopped_leaves_nothing():
    process, pids, directory = kernel()
    os.kill(pids[0], signal.SIGSTOP)

    process.kill()
    process.wait()

    wait_until(lambda: all(map(is_gone, pids)) and not directory.exists(), 10)


STOPPED_EARLY = """
import os, signal, sys
from pathlib import Path
from cerebelum_nb.executors import core_process
core_process.CoreProcess._say = lambda *_: None  # Core waits for its settings
core = core_process.CoreProcess(1, Path(sys.argv[1]))
os.kill(core.pid, signal.SIGSTOP)
print(core.pid, core.directory, flush=True)
sys.stdin.read()
"""


def test_the_next_core_ends_a_stopped_one_whose_kernel_is_gone_and_no_other(tmp_path):
    kernels = [
        subprocess.Popen(
            [sys.executable, "-c", STOPPED_EARLY, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    (orphan, its), (core, other) = (process.stdout.readline().split() for process in kernels)
    for pid in (orphan, core):  # a signal is heard when its process comes to run
        wait_until(lambda pid=pid: psutil.Process(int(pid)).status() == psutil.STATUS_STOPPED, 10)
    kernels[0].kill()
    kernels[0].wait()
    for directory in (its, other):
        os.utime(directory, (time.time() - 60,) * 2)
    assert not is_gone(int(orphan))

    remove_orphans(tmp_path)

    wait_until(lambda: is_gone(int(orphan)), 10)
    assert not os.path.exists(its)
    assert not is_gone(int(core))
    assert os.path.exists(other)
    os.kill(int(core), signal.SIGKILL)
    kernels[1].communicate()


def test_processes_that_a_step_has_left_are_shown_beside_its_worker_and_end_with_it(tmp_path):
    def leaves(context):
        return [subprocess.Popen(["sleep", "600"]).pid for _ in range(2)]

    session = Session(Settings(home=tmp_path, workers=1))
    try:
        flow = workflow(name="wf")(lambda wf: wf.timeline([step(name="leaves", executor="distributed")(leaves)]))
        left = session.run(flow).result(30).outputs["leaves"]
        (worker,) = session.pools.workers("distributed")
        shown = str(workers.workers(Arguments(), session.pools))
        session.pools.stop()
        wait_until(lambda: all(map(is_gone, left)), 10)
    finally:
        session.close()

    assert worker.others == 2
    assert "2 processes of its steps, which end with it" in shown
