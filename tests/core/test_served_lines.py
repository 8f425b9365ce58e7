"""A kernel whose connection to a served Core breaks: it comes back to its steps, or they are lost in time."""

import asyncio
import signal

import pytest
import pytest_asyncio
from served_kit import ServedForTest

from cerebelum_nb.testing.chaos.proxy import Proxy

from remote_kit import Heard, begin, cell, pid_in, run, sleeper, until  # isort: skip  by served_kit
from tests.process_kit import is_gone

pytestmark = pytest.mark.asyncio
ONE = "def step(x):\n    return x"
COUNTS = """
import os, time
def step(go):
    n = 0
    while not os.path.exists(go):
        print(n)
        n += 1
        time.sleep(0.01)
    return n, bytes(9_000_000)
"""


@pytest_asyncio.fixture
async def behind(tmp_path):
    """Make a served Core, a proxy before it, and a kernel that goes there; all ended afterwards."""
    made = []

    def one(*options, **more):
        core = ServedForTest(tmp_path, *options, slots=1)
        proxy = Proxy(("127.0.0.1", core.port))
        kernel = core.kernel(url=f"tls://127.0.0.1:{proxy.address[1]}", **more)
        made.append((core, proxy, kernel))
        return made[-1]

    yield one
    for core, proxy, kernel in made:
        await kernel.close()
        proxy.close()
        core.close()


async def test_a_step_outlives_broken_connections_of_its_kernel_and_nothing_it_says_is_lost(behind, tmp_path):
    _, proxy, kernel = behind()
    heard, go = Heard(), tmp_path / "go"
    running = asyncio.ensure_future(run(kernel, cell(COUNTS)["step"], str(go), heard=heard))
    await until(lambda: "5\n" in heard.text())
    link = kernel.link

    for _ in range(3):
        said = len(heard.text())
        proxy.reset()
        await until(lambda: len(heard.text()) > said + 20)  # noqa: B023  within the turn
    go.touch()
    proxy.reset()
    n, result = (await running).value
    after = await run(kernel, cell(ONE)["step"], 7)

    assert [int(line) for line in heard.text().split()] == list(range(n))
    at = kernel.served[0]
    broke = f"the connection to Core {at} broke: it is tried again for 30 s, and steps go on meanwhile\n"
    assert heard.text("notice").startswith(broke + f"Core {at} is reached again\n")
    assert len(result) == 9_000_000
    assert after.value == 7
    assert kernel.link is link


async def test_what_is_sent_while_the_line_is_cut_runs_once_when_it_is_back(behind, tmp_path):
    _, proxy, kernel = behind()
    step = cell("def step(path, x):\n    open(path, 'a').write(f'{x} ')\n    return x")["step"]
    path = str(tmp_path / "ran")
    assert (await run(kernel, step, path, 0)).value == 0

    proxy.cut()
    running = [asyncio.ensure_future(run(kernel, step, path, n)) for n in range(1, 4)]
    await asyncio.sleep(0)
    proxy.reset()
    assert not any(one.done() for one in running)
    proxy.heal()
    values = [(await one).value for one in running]

    assert values == [1, 2, 3]
    assert (tmp_path / "ran").read_text() == "0 1 2 3 "


async def test_a_kernel_that_stays_away_loses_its_steps_in_time_on_both_ends_and_may_come_again(behind, tmp_path):
    _, proxy, kernel = behind("--grace", "0.5")
    running, _ = await begin(kernel, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    proxy.cut()
    proxy.reset()
    outcome = await running
    await until(lambda: is_gone(pid))
    proxy.heal()
    again = await run(kernel, cell(ONE)["step"], 1)

    assert (outcome.kind, outcome.error.type, outcome.delivered) == ("lost", "CoreLost", True)
    assert "could not be reached any more for 0.5 s while it had step 'nap'" in outcome.error.message
    assert again.value == 1


async def test_a_line_on_which_nothing_is_heard_is_made_anew(behind):
    _, proxy, kernel = behind(silent_s=1.0)
    assert (await run(kernel, cell(ONE)["step"], 0)).value == 0

    proxy.lose()

    assert (await run(kernel, cell(ONE)["step"], 1)).value == 1


async def test_a_kernel_that_closes_is_gone_at_once_for_core(behind, tmp_path):
    _, _, kernel = behind()
    running, _ = await begin(kernel, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    await kernel.close()

    assert (await running).kind == "cancelled"
    await until(lambda: is_gone(pid), 10)


async def test_what_cannot_have_reached_a_core_that_is_gone_was_not_delivered(behind):
    core, _, kernel = behind("--grace", "0.5")
    assert (await run(kernel, cell(ONE)["step"], 0)).value == 0

    core.program.end(signal.SIGKILL)
    await until(lambda: kernel.link is None or not kernel.link._stream._there)
    outcomes = await asyncio.gather(run(kernel, cell(ONE)["step"], 1), run(kernel, cell(ONE)["step"], bytes(9 << 20)))

    for outcome in outcomes:
        assert (outcome.kind, outcome.error.type, outcome.delivered) == ("error", "ExecutorError", False)
        assert "Steps can run locally meanwhile." in outcome.error.message


async def test_a_kernel_goes_to_the_core_that_is_served_again_at_the_same_address(tmp_path):
    core = ServedForTest(tmp_path, slots=1)
    kernel = core.kernel()
    assert (await run(kernel, cell(ONE)["step"], 0)).value == 0
    core.program.end(signal.SIGKILL)
    await until(lambda: not kernel.link._stream._there)
    again = ServedForTest(tmp_path, "--listen", f"127.0.0.1:{core.port}", slots=1)
    try:
        assert (await run(kernel, cell(ONE)["step"], 1)).value == 1
    finally:
        await kernel.close()
        again.close()
        core.close()
