"""Short steps are sent to a worker several at once. What is sent so waits for nobody who takes long."""

import asyncio

import pytest
from remote_kit import C_CODE, Heard, attempt, cell, pid_in, run, until

from cerebelum_nb.protocols import Outcome

pytestmark = pytest.mark.asyncio

SHORT = "import os\ndef step(log=None):\n    if log: open(log, 'a').write('x')\n    return os.getpid()"


async def used_to_short_ones(core):
    """So many short steps that the next ones are sent ahead."""
    step = cell(SHORT)["step"]
    ended = await asyncio.gather(*(run(core, step) for _ in range(300)))
    assert {outcome.kind for outcome in ended} == {"ok"}
    return step


async def begin_with(core, first, others):
    """All in one message, the first one first."""
    tasks = [asyncio.ensure_future(core.run(each, Heard())) for each in (first, *others)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("slots", [2])
async def test_steps_behind_one_that_keeps_its_interpreter_to_itself_go_to_the_other_worker(core, tmp_path):
    step = await used_to_short_ones(core)

    endless, *short = await begin_with(
        core, attempt(cell(C_CODE)["step"], str(tmp_path / "pid")), [attempt(step) for _ in range(60)]
    )
    ended = await asyncio.wait_for(asyncio.gather(*short), 20)

    stuck = await pid_in(tmp_path / "pid")
    assert {outcome.value for outcome in ended} == set(core.pids[1:]) - {stuck} | ({stuck} & {o.value for o in ended})
    assert not endless.done()
    endless.cancel()
    await asyncio.gather(endless, return_exceptions=True)


async def test_a_step_that_waits_behind_a_long_one_in_its_worker_is_stopped_at_once_and_never_begins(core, tmp_path):
    step = await used_to_short_ones(core)
    log = tmp_path / "log"

    endless, short = await begin_with(
        core, attempt(cell(C_CODE)["step"], str(tmp_path / "pid")), [attempt(step, str(log))]
    )
    await pid_in(tmp_path / "pid")
    short.cancel()
    await asyncio.gather(short, return_exceptions=True)
    endless.cancel()
    await asyncio.gather(endless, return_exceptions=True)

    assert (await run(core, step)).kind == "ok"  # in another worker: the endless one had to be killed
    assert not log.exists()


async def test_a_step_that_waits_behind_a_long_one_in_its_worker_can_be_had_back(core, tmp_path):
    step = await used_to_short_ones(core)
    tried = attempt(step)

    endless, short = await begin_with(core, attempt(cell(C_CODE)["step"], str(tmp_path / "pid")), [tried])
    await pid_in(tmp_path / "pid")
    core.withdraw(tried.run, tried.task, tried.number)
    outcome: Outcome = await asyncio.wait_for(short, 10)

    assert (outcome.kind, outcome.delivered) == ("lost", False)
    endless.cancel()
    await asyncio.gather(endless, return_exceptions=True)


async def test_a_step_that_pauses_lends_its_place_also_where_others_were_sent_with_it(core):
    step = await used_to_short_ones(core)
    napping = cell("from cerebelum_nb import sleep\nasync def step():\n    await sleep(60_000)")["step"]

    nap, *short = await begin_with(core, attempt(napping), [attempt(step) for _ in range(10)])
    ended = await asyncio.wait_for(asyncio.gather(*short), 20)

    assert {outcome.kind for outcome in ended} == {"ok"}
    assert not nap.done()
    nap.cancel()
    await asyncio.gather(nap, return_exceptions=True)


async def test_of_many_sent_at_once_only_the_one_that_ran_is_lost_with_its_worker(core, tmp_path):
    step = await used_to_short_ones(core)
    log = tmp_path / "log"
    deadly = cell("import os\ndef step(): os._exit(3)")["step"]

    died, *short = await begin_with(core, attempt(deadly), [attempt(step, str(log)) for _ in range(20)])
    ended = await asyncio.wait_for(asyncio.gather(*short), 20)

    assert (await died).kind == "lost"
    assert [outcome.kind for outcome in ended] == ["ok"] * 20
    assert log.read_text() == "x" * 20, "each once"
    await until(lambda: len(core.pids) == 2)
