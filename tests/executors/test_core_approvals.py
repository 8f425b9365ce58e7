"""Steps on workers that wait for somebody's answer, and the values that go along."""

import asyncio

import numpy as np
import pytest
import pytest_asyncio
from remote_kit import DEADLINE_S, cell, paused, run, say, until

from cerebelum_nb.codec import whole
from cerebelum_nb.errors import WireError
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.protocols import Answer

pytestmark = pytest.mark.asyncio
ASK = (
    "from cerebelum_nb.helpers import wait_for_approval\n"
    "async def step(**more):\n"
    "    try: return await wait_for_approval('go on?', **more)\n"
    "    except Exception as exc: return type(exc).__name__ + ': ' + str(exc)\n"
)


@pytest_asyncio.fixture
async def one():
    executor = CoreExecutor(slots=1)
    yield executor
    await executor.close()


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

    np.testing.assert_array_equal(whole((await asyncio.wait_for(running, DEADLINE_S)).value), array * 2)


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
        "    await sleep(2000)\n"
        "    return await wait_for_approval('second')\n"
    )
    running, heard, tried = await paused(one, cell(source)["step"])
    await until(lambda: heard.heard[-1] == ("paused", ("sleep", 2.0, "", None)))

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
