"""Values of a served Core that are too long for one message: they go in pieces, and hold nobody up."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from cerebelum_nb.testing.chaos.proxy import Proxy

from remote_kit import Heard, attempt, cell, run, until  # isort: skip  by served_kit

pytestmark = pytest.mark.asyncio
MIB = 1 << 20
ECHO = "def step(data):\n    return data[::-1]"
BIG = "def step(mib):\n    return bytes(range(256)) * (mib << 12)"


@pytest.mark.parametrize("where", ["its own", "another host's"])
async def test_values_of_more_than_a_message_holds_go_both_ways(serving, where):
    core = serving(slots=int(where == "its own"))
    if where != "its own":
        core.worker()
    kernel, data = serving.kernel(core), bytes(range(256)) * (100 << 12) + b"x"

    outcome = await run(kernel, cell(ECHO)["step"], data)

    assert outcome.value == data[::-1]
    assert outcome.nbytes > len(data)
    for program in core.programs:  # each holds it about twice at most: once it waits, once it is sent
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{program.pid}/status").read_text())[1]
        assert int(peak) << 10 < 2.5 * len(data) + 120 * MIB


async def test_what_is_too_long_is_refused_on_both_ends_with_what_lets_it_pass(serving):
    core = serving(slots=1)
    kernel = serving.kernel(core, limit_nbytes=8 * MIB)

    sent = await run(kernel, cell(ECHO)["step"], bytes(9 * MIB))
    got = await run(kernel, cell(BIG)["step"], 9)
    fits = await run(kernel, cell(BIG)["step"], 7)

    for outcome, what in ((sent, "the input of step 'step'"), (got, "the result of step 'step'")):
        assert outcome.kind == "error"
        assert f"{what} is 9.0 MiB when encoded; at most 8 MiB can be sent to or from a worker" in outcome.error.message
        assert "(transfer_mib = 10 in [tool.cerebelum] lets it pass)" in outcome.error.message
    assert len(fits.value) == 7 * MIB


async def test_while_a_long_value_is_on_its_way_short_ones_pass_it_and_a_cancel_does(serving):
    core = serving(slots=1)
    core.worker()
    kernel, small = serving.kernel(core), cell("def step(x):\n    return x")["step"]
    assert (await run(kernel, small, 0)).value == 0
    long = asyncio.ensure_future(run(kernel, cell(ECHO)["step"], bytes(300 * MIB)))
    await until(lambda: kernel.link._outbox.slow)

    passed = [(await run(kernel, small, n)).value for n in range(5)]
    assert not long.done()
    on_its_way = bool(kernel.link._outbox.slow)
    long.cancel()
    began = time.monotonic()
    after = await asyncio.gather(*(run(kernel, small, n) for n in range(5)))

    assert passed == [outcome.value for outcome in after] == list(range(5))
    assert on_its_way
    assert not kernel.link._outbox.slow
    assert time.monotonic() - began < 10


async def test_what_is_taken_back_while_it_is_on_its_way_was_not_begun(serving):
    core = serving()
    kernel, tried = serving.kernel(core), attempt(cell(ECHO)["step"], bytes(300 * MIB))
    await kernel.start()
    running = asyncio.ensure_future(kernel.run(tried, Heard()))
    await until(lambda: kernel.link._outbox.slow)

    kernel.withdraw(tried.run, tried.task, tried.number)
    outcome = await running

    assert (outcome.kind, outcome.error.type, outcome.delivered) == ("lost", "NoWorker", False)
    assert not kernel.link._outbox.slow


async def test_a_long_argument_outlives_the_worker_that_did_not_begin_with_it(serving):
    core = serving("--grace", "0.5")
    first, kernel = core.worker(), serving.kernel(core)
    assert (await run(kernel, cell("def step():\n    return 1")["step"])).value == 1
    first.end()
    waiting = asyncio.ensure_future(run(kernel, cell(ECHO)["step"], b"x" * (70 * MIB)))
    core.worker()

    assert (await waiting).value == b"x" * (70 * MIB)


async def test_a_long_value_outlives_broken_connections_of_its_host(serving):
    core = serving()
    proxy = Proxy(("127.0.0.1", core.port))
    core.worker("--core", f"127.0.0.1:{proxy.address[1]}")
    kernel, heard = serving.kernel(core), Heard()
    step = cell("def step(data):\n    print('here')\n    return data * 2")["step"]
    running = asyncio.ensure_future(kernel.run(attempt(step, bytes(range(256)) * (60 << 12)), heard))
    try:
        await heard.begun.wait()
        proxy.reset()
        await until(lambda: heard.text() or running.done())
        proxy.reset()
        outcome = await running
    finally:
        proxy.close()

    assert outcome.kind == "ok", outcome.error
    assert outcome.value == bytes(range(256)) * (120 << 12)
