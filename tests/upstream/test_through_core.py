"""Steps through a Core of Cerebelum's makers: a stand-in that has its faults."""

import asyncio
import contextlib
import os
import time

import pytest

from cerebelum_nb import Session
from cerebelum_nb.config import Settings
from cerebelum_nb.dsl.decorators import step, workflow
from cerebelum_nb.errors import PlanError
from cerebelum_nb.executors.upstream import UpstreamExecutor
from cerebelum_nb.model.pools import Pool, pool_of
from cerebelum_nb.upstream import gate, serve_upstream
from cerebelum_nb.upstream.schema import Number
from tests.executors.remote_kit import Heard, attempt, begin, cell, run, sleeper, until
from tests.upstream.kit import Worker
from tests.upstream.stand_in import StandIn

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


@contextlib.asynccontextmanager
async def beside(core, slots=2):
    made = UpstreamExecutor(url=core if isinstance(core, str) else core.url, slots=slots, name="theirs")
    try:
        await made.start()
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def both(slots=2, **faults):
    core = await StandIn(**faults).start()
    try:
        async with beside(core, slots) as made:
            yield core, made
    finally:
        await core.stop()


async def test_a_step_gives_its_result_and_prints_and_core_learns_only_its_name():
    async with both() as (core, made):
        step = cell("def secretive(x):\n    print('printed-secret')\n    return [x, (1, 2), float('nan'), b'b']")[
            "secretive"
        ]
        heard = Heard()

        outcome = await run(made, step, "input-secret", heard=heard)

        assert outcome.error is None, outcome.error
        assert repr(outcome.value) == "['input-secret', (1, 2), nan, b'b']"
        assert heard.text() == "printed-secret\n"
        await until(lambda: core.executions)
        told = b"".join(core.heard)
        assert b"cnb/secretive#" in told
        assert b"secret\n" not in told
        assert b"-secret" not in told
        assert [(status, kind) for _, status, kind in core.results] == [(Number.SUCCESS, "")]


async def test_an_error_comes_back_with_its_traceback_and_core_learns_that_there_was_one():
    async with both() as (core, made):
        outcome = await run(made, cell("def fails():\n    raise KeyError('private')")["fails"])

        assert (outcome.kind, outcome.error.type) == ("error", "KeyError")
        assert "raise KeyError('private')" in outcome.error.traceback
        await until(lambda: core.executions)
        assert core.results[0][1:] == (Number.FAILED, "step")
        assert b"private" not in b"".join(core.heard)


async def test_steps_run_side_by_side(tmp_path):
    async with both(slots=3) as (core, made):
        meet = cell(
            "import pathlib, time\n"
            "def meet(folder, me):\n"
            "    pathlib.Path(folder, me).touch()\n"
            "    until = time.monotonic() + 20\n"
            "    while len(list(pathlib.Path(folder).iterdir())) < 3:\n"
            "        assert time.monotonic() < until\n"
            "        time.sleep(0.005)\n"
            "    return me\n"
        )["meet"]
        outcomes = await asyncio.gather(*(run(made, meet, str(tmp_path), str(n)) for n in range(3)))
        assert [outcome.value for outcome in outcomes] == ["0", "1", "2"]
        await until(lambda: len(core.executions) == 3)
        assert not core.crashes


async def test_a_hundred_quick_steps_all_come_back_though_core_is_deaf_at_first():
    async with both(slots=2, deaf_s=0.004, patience_s=3) as (core, made):
        core.disorderly = True
        one = cell("def one(n):\n    return n")["one"]
        outcomes = await asyncio.gather(*(run(made, one, n) for n in range(100)))
        assert [outcome.value for outcome in outcomes] == list(range(100))
        await until(lambda: len(core.executions) == 100)
        assert not core.crashes


async def test_a_step_may_take_longer_than_cores_patience_and_runs_once(monkeypatch, tmp_path):
    monkeypatch.setattr(gate, "HOLD_S", 0.3)
    async with both(patience_s=0.6) as (core, made):
        marks = tmp_path / "marks"
        slow = cell(
            "import time\ndef slow(path):\n    open(path, 'a').write('x')\n    time.sleep(1.5)\n    return 'done'"
        )["slow"]

        outcome = await run(made, slow, str(marks))

        assert (outcome.value, marks.read_text(), core.crashes) == ("done", "x", [])
        assert [how for _, how in core.executions] == ["completed"]


async def test_a_task_that_comes_again_does_not_run_again(tmp_path):
    async with both(patience_s=0.4) as (core, made):  # shorter than ours: it begins again while the step runs
        marks, go = tmp_path / "marks", tmp_path / "go"
        slow = cell(
            "import os, time\ndef slow(path, go):\n    open(path, 'a').write('x')\n"
            "    while not os.path.exists(go): time.sleep(0.005)\n    return 'done'"
        )["slow"]
        quick = cell("def quick(): return 1")["quick"]

        running = asyncio.ensure_future(run(made, slow, str(marks), str(go)))
        await until(lambda: core.crashes)
        assert (await run(made, quick)).value == 1  # whoever polls for this one gets the old task too
        await until(lambda: "not_mine" in {kind for _, _, kind in core.results})
        go.touch()
        assert ((await running).value, marks.read_text()) == ("done", "x")


async def test_two_kernels_take_each_others_tasks_and_lose_nothing():
    async with both() as (core, made), beside(core) as other:
        one = cell("def one(n):\n    return n")["one"]
        outcomes = await asyncio.gather(*(run(made if n % 2 else other, one, n) for n in range(20)))
        assert [outcome.value for outcome in outcomes] == list(range(20))
        assert not core.crashes


async def test_a_stranger_that_takes_our_tasks_costs_time_only():
    async with both() as (core, made):
        stranger = await Worker(core.port).register("theirs")
        took = []

        async def steal():
            while True:
                task = await stranger.poll(2_000)
                if task.task_id:
                    took.append(task)
                    await asyncio.sleep(0.005)
                    error = {"kind": "not_found", "message": f"Step '{task.step_name}' not registered"}
                    await stranger.answer(task, status=Number.FAILED, error=error)

        stealing = asyncio.ensure_future(steal())
        one = cell("def one(n):\n    return n")["one"]
        for n in range(8):
            assert (await run(made, one, n)).value == n
        assert took
        stealing.cancel()
        await stranger.close()


async def test_where_a_stranger_takes_every_task_the_step_says_so(monkeypatch):
    monkeypatch.setattr(gate, "TRIES", 3)
    async with both() as (core, made):
        core.robbed = True
        outcome = await run(made, cell("def one():\n    return 1")["one"])
        assert (outcome.kind, outcome.delivered) == ("error", False)
        assert outcome.error.message.startswith(f"Core {core.url} gave step 'one' to other workers 3 times")


async def test_a_task_that_a_dead_poll_swallowed_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(gate, "CLAIM_S", 0.3)
    async with both() as (core, made):
        gone = await Worker(core.port).register("theirs")
        polling = asyncio.ensure_future(gone.poll(20_000))
        await until(lambda: core.polls == 1)
        polling.cancel()
        await gone.close()

        assert (await run(made, cell("def one():\n    return 1")["one"])).value == 1


async def test_a_router_that_falls_with_all_that_waits_there_costs_time_only(monkeypatch):
    monkeypatch.setattr(gate, "CLAIM_S", 0.3)
    async with both() as (core, made):
        core.holds = True
        one = cell("def one(n):\n    return n")["one"]
        running = asyncio.gather(*(run(made, one, n) for n in range(4)))
        await until(lambda: len(core.queue) == 4 and core.polls)
        core.lose_all()
        core.holds = False

        assert [outcome.value for outcome in await running] == list(range(4))


async def test_a_blueprint_that_core_has_forgotten_is_sent_again():
    async with both() as (core, made):
        core.forgets = 2
        assert (await run(made, cell("def one():\n    return 1")["one"])).value == 1
        assert core.forgets == 0
        await until(lambda: [how for _, how in core.executions] == ["completed"])


async def test_core_gets_short_plain_names_and_one_atom_for_all_of_them():
    async with both() as (core, made):
        for name in ("plain", "größe", "x" * 300, "a#b\nc"):
            assert (await run(made, cell("def one():\n    return 1")["one"], step=name)).value == 1

        names = [name.partition("#")[0] for name in core.blueprints]
        assert names == ["cnb/plain", "cnb/gr??e", f"cnb/{'x' * 80}", "cnb/a"]
        assert all(name.isascii() and name.isprintable() and len(name) < 120 for name in core.blueprints)
        atoms = {step.name for blueprint in core.blueprints.values() for step in blueprint.definition.timeline}
        assert len(atoms) == 1  # such a Core never frees them, and falls over one of more than 255 characters


async def test_a_task_of_somebody_else_is_refused_and_not_run():
    async with both() as (core, made):
        client = Worker(core.port)
        await client.submit("their own", "their_step")
        executing = asyncio.ensure_future(client.call("ExecuteWorkflow", workflow_module="their own"))
        await until(lambda: core.queue)

        assert (await run(made, cell("def one():\n    return 1")["one"])).value == 1
        await executing
        assert ("their own", Number.FAILED, "not_mine") in core.results
        await client.close()


async def test_nobody_polls_while_there_is_nothing_to_do():
    async with both() as (core, made):
        assert (await run(made, cell("def one():\n    return 1")["one"])).value == 1
        assert core.polls == 0
        await until(lambda: core.executions)


async def test_a_step_that_is_stopped_ends_and_core_hears_a_word_that_it_survives(tmp_path):
    async with both() as (core, made):
        running, _ = await begin(made, sleeper(), str(tmp_path / "pid"))
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

        await until(lambda: core.executions)
        assert (core.results[0][1:], core.crashes) == ((Number.FAILED, "step"), [])
        assert (await run(made, cell("def one():\n    return 1")["one"])).value == 1


async def test_a_step_that_is_stopped_before_core_let_it_begin_leaves_no_task_there():
    async with both() as (core, made):
        core.holds = True
        running = asyncio.ensure_future(made.run(attempt(cell("def one():\n    return 1")["one"]), Heard()))
        await until(lambda: core.queue)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        core.release()

        await until(lambda: core.executions)
        assert core.results[0][1:] == (Number.FAILED, "not_mine")


async def test_an_attempt_can_be_taken_back_until_core_lets_it_begin():
    async with both() as (core, made):
        core.holds = True
        tried = attempt(cell("def one():\n    return 1")["one"])
        running = asyncio.ensure_future(made.run(tried, Heard()))
        await until(lambda: core.queue)
        made.withdraw(tried.run, tried.task, tried.number)
        outcome = await running
        assert (outcome.kind, outcome.delivered) == ("lost", False)


async def test_without_a_core_the_message_says_so():
    made = UpstreamExecutor(url="grpc://127.0.0.1:1", slots=1, name="theirs")
    try:
        outcome = await run(made, cell("def one():\n    return 1")["one"])
        assert (outcome.kind, outcome.delivered) == ("error", False)
        assert outcome.error.message.startswith("there is no Core at grpc://127.0.0.1:1, or it does not answer")
    finally:
        await made.close()


async def test_a_core_that_ends_while_a_step_runs_does_no_harm_and_its_successor_is_used():
    core = await StandIn().start()
    async with beside(core) as made:
        nap = cell("import time\ndef nap():\n    time.sleep(0.8)\n    return 'slept'")["nap"]
        running, _ = await begin(made, nap)
        await core.stop()
        assert (await running).value == "slept"

        again = await StandIn().start(core.port)
        try:
            assert (await run(made, nap)).value == "slept"
        finally:
            await again.stop()


async def test_our_own_core_that_speaks_the_protocol_does_as_well():
    port = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve_upstream(port=0, ready=port.set_result, say=lambda line: None))
    one = cell("def one(n):\n    return n")["one"]
    url = f"grpc://127.0.0.1:{await port}"
    async with beside(url) as made, beside(url) as other:
        outcomes = await asyncio.gather(*(run(made if n % 2 else other, one, n) for n in range(20)))
        assert [outcome.value for outcome in outcomes] == list(range(20))
    serving.cancel()


async def test_it_ends_at_once_and_leaves_no_poll_behind():
    core = await StandIn().start()
    async with beside(core) as made:
        core.holds = True
        running = asyncio.ensure_future(made.run(attempt(cell("def one():\n    return 1")["one"]), Heard()))
        await until(lambda: core.queue)
        began = time.monotonic()
        await made.close()
        assert time.monotonic() - began < 10
        await until(lambda: core.polls == 0, 10)
        running.cancel()
    await core.stop()


@pytest.mark.parametrize("where", ["theirs", "distributed"])
async def test_a_run_takes_a_pool_that_is_behind_such_a_core_or_has_it_for_all(where, tmp_path):
    core = await StandIn().start()
    given = {"core_url": core.url} if where == "distributed" else {"pools": {where: Pool(where, 2, core=core.url)}}

    def ran():
        session = Session(Settings(home=tmp_path / "home", **given))
        namespace = cell(
            "import os\n"
            "def fetch(inputs):\n    return inputs['n']\n"
            "def away(fetch):\n    return fetch + 1, os.getpid()\n"
        )

        fetch, away = step(namespace["fetch"]), step(executor=where)(namespace["away"])

        @workflow
        def flow(wf):
            wf.timeline(fetch >> away)

        try:
            run = session.run(flow, {"n": 1})
            run.wait(30)
            return run.status, run.result(30).output["ok"]
        finally:
            session.close()

    status, (value, pid) = await asyncio.to_thread(ran)
    assert (status, value) == ("succeeded", 2)
    assert pid != os.getpid()
    assert core.executions
    await core.stop()


async def test_a_pool_behind_such_a_core_says_how_many_workers_of_ours_it_has():
    with pytest.raises(PlanError, match="needs its number of workers"):
        pool_of("theirs", {"core": "grpc://host:1"}, "here")
