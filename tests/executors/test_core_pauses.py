"""Steps on workers that sleep, wait for an answer, or say how far they are: real processes, real signals."""

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
from remote_kit import DEADLINE_S, MARK, Heard, attempt, cell, is_gone, pid_in, run, until

from cerebelum_nb.capture import ship
from cerebelum_nb.codec import encode
from cerebelum_nb.core import queue, service
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.errors import WireError
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.protocols import Answer, Outcome
from cerebelum_nb.seal import Address, new_key, seal
from cerebelum_nb.wire.frames import Code, Paused, Place, Printed, Submit

pytestmark = pytest.mark.asyncio
HERE = str(Path(__file__).parent)
ASK = (
    "from cerebelum_nb.helpers import wait_for_approval\n"
    "async def step(**more):\n"
    "    try: return await wait_for_approval('go on?', **more)\n"
    "    except Exception as exc: return type(exc).__name__ + ': ' + str(exc)\n"
)
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


async def paused(core, step, *args, **kwargs):
    """Start an attempt and wait until it pauses."""
    heard, tried = Heard(), attempt(step, *args, kwargs=kwargs)
    running = asyncio.ensure_future(core.run(tried, heard))
    await until(lambda: heard.waits.is_set() or running.done())
    assert not running.done(), running.result()
    return running, heard, tried


async def say(core, tried, answer):
    await core.answer(tried.run, tried.task, tried.number, answer)


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
        "    slept = await sleep(1500, 'slept')\n"
        "    open(path, 'a').write('after')\n"
        "    return slept, pid == os.getpid()\n"
    )
    running, heard, _ = await paused(one, cell(source)["step"], str(tmp_path / "log"))
    beside = await run(one, cell("def quick(): return 'quick'")["quick"])

    assert (beside.value, running.done()) == ("quick", False)
    assert (await running).value == ("slept", True)
    assert (tmp_path / "log").read_text() == "before after"
    assert heard.heard == [("started", "worker 1"), ("paused", ("sleep", 1.5, "", None)), ("resumed", None)]


async def test_a_worker_whose_place_was_taken_is_retired_after_its_step(one):
    step = cell(
        "import os\nfrom cerebelum_nb.helpers import sleep\nasync def step(): await sleep(500); return os.getpid()"
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
    assert gone_s < service.TERMINATE_AFTER_S


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
        "    return await asyncio.gather(sleep(600, 'slept'), wait_for_approval('a'), wait_for_approval('b'))\n"
    )
    running, heard, tried = await paused(one, cell(source)["step"])
    for question in ("a", "b"):
        await until(lambda question=question: heard.heard[-1] == ("paused", ("approval", None, question, None)))
        await say(one, tried, Answer(True, question.upper()))
    outcome = await asyncio.wait_for(running, DEADLINE_S)

    assert outcome.value == ["slept", "A", "B"]
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
    for module in (queue, service):
        monkeypatch.setattr(module, "ASIDE_MOST", 2)
    nursery, key = Nursery(), new_key()
    place = Place(tuple(map(os.fsencode, sys.path)), os.fsencode(tmp_path))
    served = service.Service(service.Settings("", key, place, tmp_path / "log", nursery), [nursery.spawn()])
    said = served._out._frames
    shipped = ship(cell(SLEEPER)["step"])
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


# approval ------------------------------------------------------------------------------------------------------------


async def test_a_question_tells_what_it_is_about_and_the_answers_value_comes_back(one):
    running, heard, tried = await paused(one, cell(ASK)["step"], data={"rows": (1, 2)}, timeout_ms=60_000)
    assert heard.heard[1] == ("paused", ("approval", 60.0, "go on?", {"rows": (1, 2)}))
    assert (await run(one, cell("def quick(): return 1")["quick"])).value == 1

    await say(one, tried, Answer(True, {"limit": (3, 4)}))

    assert (await asyncio.wait_for(running, DEADLINE_S)).value == {"limit": (3, 4)}
    assert heard.heard[-1] == ("resumed", None)


async def test_arrays_travel_with_question_and_answer(one):
    array = np.arange(1_000_000, dtype=np.int32)  # more than a socket holds
    running, heard, tried = await paused(one, cell(ASK)["step"], data=array)
    np.testing.assert_array_equal(heard.heard[1][1][3], array)

    await say(one, tried, Answer(True, array * 2))

    np.testing.assert_array_equal((await asyncio.wait_for(running, DEADLINE_S)).value, array * 2)


async def test_a_no_and_a_timeout_are_errors_in_the_step(one):
    running, _, tried = await paused(one, cell(ASK)["step"])
    await say(one, tried, Answer(False, object(), "too \ud800 dear"))
    said_no = await asyncio.wait_for(running, DEADLINE_S)
    nobody = await run(one, cell(ASK)["step"], kwargs={"timeout_ms": 100})

    assert said_no.value == "ApprovalRejected: 'go on?' was rejected: too ? dear"
    assert nobody.value == "ApprovalTimeout: nobody answered 'go on?' within 100 ms"


async def test_an_answer_that_nobody_waits_for_does_nothing_to_the_next_question(one):
    source = (
        "from cerebelum_nb.helpers import wait_for_approval, sleep, ApprovalTimeout\n"
        "async def step():\n"
        "    try: await wait_for_approval('first', timeout_ms=100)\n"
        "    except ApprovalTimeout: pass\n"
        "    await sleep(300)\n"
        "    return await wait_for_approval('second')\n"
    )
    running, heard, tried = await paused(one, cell(source)["step"])
    await until(lambda: heard.heard[-1] == ("paused", ("sleep", 0.3, "", None)))

    await say(one, tried, Answer(True, "late"))
    await until(lambda: heard.heard[-1] == ("paused", ("approval", None, "second", None)))
    await say(one, tried, Answer(True, "right"))
    outcome = await asyncio.wait_for(running, DEADLINE_S)
    await say(one, tried, Answer(True, "too late"))

    assert outcome.value == "right"


async def test_what_cannot_be_sent_is_named_on_either_side_and_the_question_stays_open(one):
    source = ASK.replace("**more):", "):").replace("**more)", "data=sqlite3.connect(':memory:'))")
    no_data = await run(one, cell("import sqlite3\n" + source)["step"])
    assert no_data.value.startswith("WireError: the data of wait_for_approval in step 'step' is a sqlite3.Connection")

    running, _, tried = await paused(one, cell(ASK)["step"])
    with pytest.raises(WireError, match="the value for step 'step' is a generator"):
        await say(one, tried, Answer(True, (n for n in "a")))
    await say(one, tried, Answer(True, "fits"))

    assert (await asyncio.wait_for(running, DEADLINE_S)).value == "fits"


async def test_a_value_that_cannot_be_read_on_the_other_side_is_told_and_harms_nobody(one):
    names = cell(
        "from cerebelum_nb.helpers import wait_for_approval\n"
        "def fail(): raise SystemExit\n"
        "class Bad:\n    def __reduce__(self): return fail, ()\n"
        "async def step():\n"
        "    try: return await wait_for_approval('go on?', data=Bad())\n"
        "    except Exception as exc: return type(exc).__name__ + ': ' + str(exc)\n"
    )
    running, heard, tried = await paused(one, names["step"])
    assert heard.text("notice") == "what step 'step' asks about cannot be read here: SystemExit: \n"

    await say(one, tried, Answer(True, names["Bad"]()))

    outcome = await asyncio.wait_for(running, DEADLINE_S)
    assert (
        outcome.value == "WireError: the value that came with the approval cannot be read on the worker: SystemExit: "
    )


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
    outcome = await asyncio.wait_for(running, 2)
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
    gone_s = await until(lambda: all(map(is_gone, pids)))
    process.kill()
    process.communicate()

    assert gone_s < 2
    assert not Path(directory).exists()
