"""Steps on workers that sleep, or say how far they are: real processes, real signals."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from remote_kit import DEADLINE_S, MARK, Heard, cell, paused, pid_in, run, say, until

from cerebelum_nb.capture import ship
from cerebelum_nb.codec import encode
from cerebelum_nb.core import handing, queue, service, slots
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.protocols import Answer, Outcome
from cerebelum_nb.seal import Address, key_to_workers, new_key, seal
from cerebelum_nb.wire.frames import Code, Paused, Place, Printed, Submit
from cerebelum_nb.wire.ledger import NBYTES, Ledger
from tests.process_kit import is_gone

pytestmark = pytest.mark.asyncio
HERE = str(Path(__file__).parent)
SLEEPER = f"from cerebelum_nb.helpers import sleep\nasync def step(path):\n{MARK}    await sleep(600_000)\n"


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=2)
    yield executor
    await executor.close()


@pytest_asyncio.fixture
async def one():
    executor = CoreExecutor(slots=1)
    yield executor
    await executor.close()


async def settled(core, slots):
    await until(lambda: len(core.pids) == slots + 1)
    await until(lambda: len(psutil.Process(core.pids[0]).children()) == slots)


# sleeping ------------------------------------------------------------------------------------------------------------


async def test_a_sleeping_step_holds_no_slot_and_goes_on_where_it_stopped(one, tmp_path):
    source = (
        "import os\nfrom cerebelum_nb.helpers import sleep\n"
        "async def step(path):\n"
        "    open(path, 'a').write('before ')\n"
        "    pid = os.getpid()\n"
        "    slept = await sleep(4000, 'slept')\n"
        "    open(path, 'a').write('after')\n"
        "    return slept, pid == os.getpid()\n"
    )
    running, heard, _ = await paused(one, cell(source)["step"], str(tmp_path / "log"))
    beside = await run(one, cell("def quick(): return 'quick'")["quick"])

    assert (beside.value, running.done()) == ("quick", False)
    assert (await running).value == ("slept", True)
    assert (tmp_path / "log").read_text() == "before after"
    assert heard.heard == [("started", "worker 1"), ("paused", ("sleep", 4.0, "", None)), ("resumed", None)]


async def test_a_worker_whose_place_was_taken_is_retired_after_its_step(one):
    step = cell(
        "import os\nfrom cerebelum_nb.helpers import sleep\nasync def step(): await sleep(3000); return os.getpid()"
    )["step"]
    who = cell("import os\ndef who(): return os.getpid()")["who"]
    running, _, _ = await paused(one, step)
    successor = (await run(one, who)).value
    assert len(one.pids) == 3

    retired = (await running).value
    gone_s = await until(lambda: is_gone(retired))

    await settled(one, 1)
    assert one.pids[1:] == (successor,)
    assert (await run(one, who)).value == successor
    assert gone_s < slots.RETIRE_S  # else it was killed


async def test_a_worker_that_does_not_end_when_it_is_retired_is_killed(one):
    source = (
        "import asyncio, os, time\nfrom cerebelum_nb.helpers import sleep\n"
        "async def stubborn():\n    try: await asyncio.sleep(600)\n    finally: time.sleep(600)\n"
        "async def step():\n    asyncio.create_task(stubborn())\n    await sleep(3000)\n    return os.getpid()\n"
    )
    running, _, _ = await paused(one, cell(source)["step"])
    await run(one, cell("def quick(): return 1")["quick"])

    retired = (await running).value

    assert await until(lambda: is_gone(retired)) < slots.RETIRE_S + 5
    await settled(one, 1)


async def test_a_step_whose_place_nobody_took_keeps_its_worker_and_no_other_is_started(one):
    step = cell(
        "import os\nfrom cerebelum_nb.helpers import sleep\nasync def step(): await sleep(50); return os.getpid()"
    )["step"]

    pids = {(await run(one, step)).value for _ in range(5)}

    assert pids == set(one.pids[1:])
    await settled(one, 1)


async def test_many_steps_sleep_at_the_same_time_on_few_slots(core, tmp_path):
    source = (
        "import pathlib, uuid\nfrom cerebelum_nb.helpers import sleep\n"
        "async def step(directory):\n"
        "    (pathlib.Path(directory) / uuid.uuid4().hex).touch()\n"
        "    while len(list(pathlib.Path(directory).iterdir())) < 10: await sleep(100)\n"
        "    return 1\n"
    )
    step = cell(source)["step"]

    outcomes = await asyncio.gather(*[run(core, step, str(tmp_path)) for _ in range(10)])

    assert [o.value for o in outcomes] == [1] * 10  # none could end before all had begun
    await settled(core, 2)


async def test_a_short_sleep_is_told_to_nobody(one):
    step = cell("from cerebelum_nb.helpers import sleep\nasync def step(): return await sleep(5, 'data')")["step"]
    heard = Heard()

    outcome = await run(one, step, heard=heard)

    assert (outcome.value, heard.heard) == ("data", [("started", "worker 1")])


async def test_two_pauses_at_once_are_told_one_at_a_time_a_question_first(one):
    source = (
        "import asyncio\nfrom cerebelum_nb.helpers import sleep, wait_for_approval\n"
        "async def step():\n"
        "    return await asyncio.gather(sleep(3000, 'slept'), wait_for_approval('a'), wait_for_approval('b'))\n"
    )
    running, heard, tried = await paused(one, cell(source)["step"])
    began = time.monotonic()
    for question in ("a", "b"):
        await until(lambda question=question: heard.heard[-1] == ("paused", ("approval", None, question, None)))
        await until(lambda: time.monotonic() - began > 0.1)  # of the sleep, of which the rest is told
        await say(one, tried, Answer(True, question.upper()))
    outcome = await asyncio.wait_for(running, DEADLINE_S)

    assert outcome.value == ["slept", "A", "B"]
    assert heard.heard[-2][1][1] < 2.91 < heard.heard[1][1][1]
    told = [what[2] if name == "paused" else name for name, what in heard.heard]
    assert told == ["started", "", "resumed", "a", "resumed", "b", "resumed", "", "resumed"]


async def test_a_sync_step_that_runs_a_loop_of_its_own_sleeps_in_it_and_can_be_stopped(one, tmp_path):
    names = cell(
        "import asyncio\nfrom cerebelum_nb.helpers import sleep\n"
        f"def step(path, ms):\n{MARK}    return asyncio.run(sleep(ms, 'slept'))\n"
    )

    assert (await run(one, names["step"], str(tmp_path / "first"), 50)).value == "slept"
    running, _, _ = await paused(one, names["step"], str(tmp_path / "pid"), 600_000)
    running.cancel()

    assert (await run(one, cell("def quick(): return 1")["quick"])).value == 1
    await settled(one, 1)


async def test_poll_and_retry_sleep_between_their_attempts(one):
    source = (
        "from cerebelum_nb.helpers import poll, retry\n"
        "async def step():\n"
        "    tries = iter([0, 0, 7])\n"
        "    def flaky(seen=[]):\n"
        "        seen.append(1)\n"
        "        if len(seen) < 2: raise ValueError\n"
        "        return 'well'\n"
        "    return await poll(lambda: next(tries), interval=30), await retry(flaky, delay=30)\n"
    )
    heard = Heard()

    outcome = await run(one, cell(source)["step"], heard=heard)

    assert outcome.value == (7, "well")
    texts = [what[2] for name, what in heard.heard if name == "paused"]
    assert texts == ["attempt 1 of 30", "attempt 2 of 30", "attempt 1 of 3 failed"]


async def test_beyond_the_bound_a_paused_step_keeps_its_slot_and_says_so(monkeypatch, tmp_path):
    for module in (queue, handing):
        monkeypatch.setattr(module, "ASIDE_MOST", 2)
    nursery, key = Nursery(), new_key()
    place = Place(tuple(map(os.fsencode, sys.path)), os.fsencode(tmp_path))
    served = service.Service(
        service.Settings("", key, place, tmp_path / "log", nursery, Ledger(bytearray(NBYTES))), [nursery.spawn()]
    )
    said = served._out._frames
    shipped, key = ship(cell(SLEEPER)["step"]), key_to_workers(key)
    served._from_kernel(Code(shipped.digest, seal(key, Address("", 0, 0, "code", shipped.digest), shipped.payload)))

    for n in range(1, 5):
        body = encode([[str(tmp_path / str(n))], {}, {}, None])
        sealed = seal(key, Address("r", n, 1, "to worker", f"{shipped.digest} {body.codec}"), body.data)
        served._from_kernel(Submit(n, "r", n, 1, "step", shipped.digest, body.codec, sealed))
        served._hand_out()
    await until(lambda: any(isinstance(frame, Printed) for frame in said))

    text = "2 steps are paused on workers already: this one keeps its worker's place meanwhile\n"
    assert [frame for frame in said if isinstance(frame, Printed)] == [Printed(3, "notice", text)]
    assert [frame.id for frame in said if isinstance(frame, Paused)] == [1, 2, 3]
    nursery.end()


async def test_prints_and_pauses_arrive_in_order(one):
    step = cell(
        "from cerebelum_nb.helpers import sleep\n"
        "async def step():\n    print('one')\n    await sleep(100)\n    print('two')\n    await sleep(100)\n    print('three')\n"
    )["step"]
    heard = Heard()

    await run(one, step, heard=heard)

    nap = ("paused", ("sleep", 0.1, "", None))
    assert [what for what in heard.heard if what[0] != "started"] == [
        ("stdout", "one\n"),
        nap,
        ("resumed", None),
        ("stdout", "two\n"),
        nap,
        ("resumed", None),
        ("stdout", "three\n"),
    ]


# progress ------------------------------------------------------------------------------------------------------------


async def test_progress_arrives_while_the_step_runs_and_the_last_word_always(one, tmp_path):
    step = cell(
        "import pathlib, time\nfrom cerebelum_nb.helpers import ProgressReporter\n"
        "def step(path):\n"
        "    say = ProgressReporter().update\n"
        "    say(10, 'early \\ud800')\n"
        "    while not pathlib.Path(path).exists(): time.sleep(0.005)\n"
        "    for n in range(100_000): say(10 + 90 * n / 100_000, 'busy')\n"
        "    say(100, 'done ' + 'x' * 5000)\n"
    )["step"]
    heard = Heard()
    running = asyncio.ensure_future(run(one, step, str(tmp_path / "go"), heard=heard))
    await until(lambda: len(heard.heard) == 2)
    assert heard.heard[1] == ("progress", (0.1, "early ?"))

    (tmp_path / "go").touch()
    assert (await running).kind == "ok"

    assert heard.heard[-1] == ("progress", (1.0, "done " + "x" * 995 + "…"))
    assert len(heard.heard) < 1000


# ends ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [False, True], ids=["its place is free", "its place is taken"])
async def test_cancel_stops_a_sleeping_step_at_once(one, tmp_path, taken):
    source = SLEEPER.replace("    await", "    try: await") + "    finally: open(path + '.clean', 'w').write('x')\n"
    running, _, _ = await paused(one, cell(source)["step"], str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")
    if taken:
        await run(one, cell("def quick(): return 1")["quick"])

    began = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until((tmp_path / "pid.clean").exists)

    assert time.monotonic() - began < service.TERMINATE_AFTER_S
    await settled(one, 1)
    assert (pid in one.pids) is not taken
    assert (await run(one, cell("def quick(): return 1")["quick"])).value == 1


async def test_a_paused_step_that_ignores_its_stop_is_killed(one, tmp_path):
    source = (
        "import asyncio\nfrom cerebelum_nb.helpers import sleep\n"
        f"async def step(path):\n{MARK}"
        "    while True:\n        try: await sleep(60_000)\n        except asyncio.CancelledError: pass\n"
    )
    running, _, _ = await paused(one, cell(source)["step"], str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")
    await run(one, cell("def quick(): return 1")["quick"])

    running.cancel()

    assert await until(lambda: is_gone(pid)) < 3
    await settled(one, 1)


@pytest.mark.parametrize("taken", [False, True], ids=["its place is free", "its place is taken"])
async def test_a_worker_that_is_killed_while_its_step_sleeps_is_lost(one, tmp_path, taken):
    running, _, tried = await paused(one, cell(SLEEPER)["step"], str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")
    if taken:
        await run(one, cell("def quick(): return 1")["quick"])

    os.kill(pid, signal.SIGKILL)
    outcome = await asyncio.wait_for(running, 20)
    await say(one, tried, Answer(True, 1))

    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    await settled(one, 1)
    assert pid not in one.pids
    assert (await run(one, cell("def quick(): return 1")["quick"])).value == 1


async def test_closing_ends_sleeping_steps_and_all_their_workers(core, tmp_path):
    several = [await paused(core, cell(SLEEPER)["step"], str(tmp_path / str(n))) for n in range(4)]
    pids = core.pids
    assert len(pids) >= 5

    await core.close()

    ends = await asyncio.gather(*[running for running, _, _ in several])
    assert {type(o) for o in ends} == {Outcome}
    assert {o.kind for o in ends} == {"cancelled"}
    assert all(map(is_gone, pids))


KERNEL = f"""
import asyncio, sys
sys.path.insert(0, {HERE!r})
from remote_kit import Heard, attempt, cell
from cerebelum_nb.executors.core import CoreExecutor
SOURCE = {SLEEPER!r}

async def main():
    core = CoreExecutor(slots=1)
    many = []
    for n in range(4):
        heard = Heard()
        many.append(asyncio.ensure_future(core.run(attempt(cell(SOURCE)["step"], sys.argv[1] + str(n)), heard)))
        await heard.waits.wait()
    print(*core.pids, core._link.process.directory, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("whom", ["kernel", "core"])
async def test_nothing_outlives_a_kernel_or_core_that_is_killed_while_steps_sleep(tmp_path, whom):
    process = subprocess.Popen([sys.executable, "-c", KERNEL, str(tmp_path / "pid")], stdout=subprocess.PIPE, text=True)
    *pids, directory = process.stdout.readline().split()
    pids = [int(pid) for pid in pids]
    assert len(pids) == 5

    if whom == "kernel":
        process.kill()
    else:
        os.kill(pids[0], signal.SIGKILL)
    gone_s = await until(lambda: all(map(is_gone, pids)) and not Path(directory).exists())
    process.kill()
    process.communicate()

    assert gone_s < 2
