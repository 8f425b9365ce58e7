"""Workers and agents of other hosts that are stopped: told of, and lost in time."""

import os
import signal
import socket

import pytest
import pytest_asyncio
from served_kit import ServedForTest

from remote_kit import begin, cell, pid_in, run, sleeper, until  # isort: skip  by served_kit
from tests.process_kit import is_gone

pytestmark = pytest.mark.asyncio
ONE = "def step():\n    return 1"


@pytest_asyncio.fixture
async def hosted(tmp_path):
    made = []

    def serve(*options, **more):
        core = ServedForTest(tmp_path, *options)
        kernel, agent = core.kernel(**more), core.worker()
        made.append((core, kernel))
        return core, kernel, agent

    yield serve
    for core, kernel in made:
        await kernel.close()
        core.close()


async def test_a_worker_that_is_stopped_on_another_host_is_told_of_and_lost_as_the_kernel_says(hosted, tmp_path):
    _, kernel, agent = hosted(worker_silent_s=2.0)
    running, heard = await begin(kernel, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    os.kill(pid, signal.SIGSTOP)
    outcome = await running

    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert "(its process was stopped), and was ended, while running step 'nap'" in outcome.error.message
    assert "its process is stopped, by a signal or a debugger" in heard.text("notice")
    assert "its process is stopped" in agent.said()
    await until(lambda: is_gone(pid), 10)
    assert (await run(kernel, cell(ONE)["step"])).value == 1


async def test_an_agent_that_is_stopped_is_lost_with_its_steps_and_joins_again_when_it_goes_on(hosted, tmp_path):
    core, kernel, agent = hosted("--grace", "0.5")
    running, _ = await begin(kernel, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    agent.process.send_signal(signal.SIGSTOP)
    try:
        outcome = await running
    finally:
        agent.process.send_signal(signal.SIGCONT)

    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert "of which nothing was heard for 12 s, nor for 0.5 s after that, while running" in outcome.error.message
    await until(lambda: is_gone(pid), 20)
    assert (await run(kernel, cell(ONE)["step"])).value == 1
    its = f"`cerebelum worker` on host {socket.gethostname()!r}"
    assert f" nothing was heard of {its} for 12 s: it has 0.5 s to come back\n" in core.program.said()
