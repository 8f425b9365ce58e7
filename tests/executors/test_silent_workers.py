"""Workers that are frozen, or busy in code that lets nobody else in: told, ended where nothing is lost by it."""

import os
import signal

import pytest
import pytest_asyncio
from remote_kit import C_CODE, begin, cell, pid_in, run, sleeper, until

from cerebelum_nb.executors.core import CoreExecutor
from tests.process_kit import is_gone

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]
SILENT_S = 1.5
HELD = (  # a call that keeps the interpreter's lock and does nothing
    "def step(path):\n    open(path, 'w').write(str(__import__('os').getpid()))\n"
    "    import ctypes\n    ctypes.PyDLL(None).sleep(60)"
)


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=1, worker_silent_s=SILENT_S)
    yield executor
    await executor.close()


async def test_a_stopped_worker_is_told_of_and_then_ended_and_its_step_is_lost(core, tmp_path):
    running, heard = await begin(core, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    os.kill(pid, signal.SIGSTOP)
    told_s = await until(lambda: heard.text("notice") != "")
    outcome = await running

    assert told_s < SILENT_S
    assert "worker 1 has not been heard of for 1 s: its process is stopped, by a signal" in heard.text("notice")
    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert "s (its process was stopped), and was ended, while running step 'nap'" in outcome.error.message
    assert is_gone(pid)
    assert (await run(core, cell("def one(): return 1")["one"])).value == 1


async def test_a_worker_that_goes_on_in_time_is_told_of_and_keeps_its_step(core, tmp_path):
    waits = cell(
        "import time, pathlib, os\ndef step(path):\n    pathlib.Path(path).write_text(str(os.getpid()))\n"
        "    while not pathlib.Path(path + '.go').exists(): time.sleep(0.01)\n    return 'done'"
    )["step"]
    running, heard = await begin(core, waits, str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    os.kill(pid, signal.SIGSTOP)
    await until(lambda: "has not been heard of" in heard.text("notice"))
    os.kill(pid, signal.SIGCONT)
    await until(lambda: "answers again" in heard.text("notice"))
    (tmp_path / "pid.go").touch()

    assert (await running).value == "done"


async def test_a_worker_that_computes_in_c_code_is_told_of_and_left_alone(core, tmp_path):
    running, heard = await begin(core, cell(C_CODE)["step"], str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    await until(lambda: "it uses the processor" in heard.text("notice"))
    with pytest.raises(AssertionError, match="not within"):
        await until(running.done, SILENT_S)

    assert not is_gone(pid)
    running.cancel()
    await until(lambda: is_gone(pid), 20)


async def test_a_worker_that_hangs_in_c_code_is_ended(core, tmp_path):
    running, heard = await begin(core, cell(HELD)["step"], str(tmp_path / "pid"))
    outcome = await running

    assert "it does nothing, in code that lets nobody else in" in heard.text("notice")
    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert "s, and was ended, while running step 'step'" in outcome.error.message


async def test_a_stopped_worker_that_has_nothing_to_do_is_replaced(core):
    await run(core, cell("def one(): return 1")["one"])
    (_, pid) = core.pids

    os.kill(pid, signal.SIGSTOP)

    await until(lambda: len(core.pids) == 2 and core.pids[1] != pid, 3 * SILENT_S)
    assert (await run(core, cell("def one(): return 1")["one"])).value == 1
