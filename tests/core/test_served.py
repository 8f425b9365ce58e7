"""A Core that is served by hand: several kernels, workers that join, connections that break."""

import asyncio
import os
import signal
import socket

import psutil
import pytest
from served_kit import Program, ServedForTest

from cerebelum_nb import Session
from cerebelum_nb.config import Settings
from cerebelum_nb.testing.chaos.proxy import Proxy

from remote_kit import Heard, attempt, begin, cell, pid_in, run, sleeper, until  # isort: skip  by served_kit
from tests.process_kit import is_gone

pytestmark = pytest.mark.asyncio
STEP = "import os\ndef step(x):\n    print('hi', x)\n    return x + 1, os.getpid(), os.getppid()"


async def test_steps_run_on_cores_own_workers_and_on_those_that_join(serving):
    core = serving(slots=1)
    agent = core.worker(slots=1)
    kernel, heard = serving.kernel(core), Heard()
    step = cell(
        "import os, time\ndef step(x):\n    print('hi', x)\n    time.sleep(0.3)\n    return x + 1, os.getppid()"
    )["step"]

    outcomes = await asyncio.gather(*(run(kernel, step, n, heard=heard) for n in range(4)))

    assert [outcome.value[0] for outcome in outcomes] == [1, 2, 3, 4]
    assert {outcome.value[1] for outcome in outcomes} == {core.program.pid, agent.pid}
    assert sorted(heard.text().split("\n")) == ["", "hi 0", "hi 1", "hi 2", "hi 3"]


async def test_kernels_share_a_core_and_the_end_of_one_is_nothing_to_the_others(serving, tmp_path):
    core = serving(slots=2)
    first, second = serving.kernel(core), serving.kernel(core)
    mine, theirs = cell("def step(x): return 'mine', x")["step"], cell("def step(x): return 'theirs', x")["step"]

    ours = [run(kernel, step, n) for n in range(20) for kernel, step in ((first, mine), (second, theirs))]
    outcomes = await asyncio.gather(*ours)
    running, _ = await begin(first, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")
    await first.close()

    assert [outcome.value for outcome in outcomes] == [(who, n) for n in range(20) for who in ("mine", "theirs")]
    assert (await running).kind == "cancelled"
    await until(lambda: is_gone(pid), 2)
    assert (await run(second, theirs, 1)).value == ("theirs", 1)


async def test_one_worker_serves_kernels_in_turns_each_with_a_process_of_its_own(serving):
    core = serving(slots=1)
    first, second = serving.kernel(core), serving.kernel(core)
    step = cell("import os, time\ndef step():\n    time.sleep(0.15)\n    return os.getpid()")["step"]

    long = [asyncio.ensure_future(run(first, step)) for _ in range(20)]
    await until(long[0].done)
    quick = await asyncio.gather(*(run(second, step) for _ in range(3)))
    before = sum(task.done() for task in long)
    pids = {(await task).value for task in long}

    assert before < 18  # it need not wait until the other has done all it has
    assert not pids & {outcome.value for outcome in quick}


async def test_what_a_kernel_does_not_need_another_one_gets(serving, tmp_path):
    core = serving(slots=2)
    idle, busy = serving.kernel(core), serving.kernel(core)
    await idle.start()
    await until(lambda: idle.workers == 2)

    naps = [await begin(busy, sleeper(), str(tmp_path / f"pid{n}")) for n in range(2)]

    assert all(heard.begun.is_set() for _, heard in naps)


async def test_a_pool_without_workers_says_so_and_the_step_runs_when_one_joins(serving):
    core = serving()
    core.worker("--pool", "other")
    kernel, heard = serving.kernel(core, "gpu"), Heard()
    waiting = asyncio.ensure_future(run(kernel, cell(STEP)["step"], 1, heard=heard))
    await until(lambda: heard.text("notice"))
    agent = core.worker("--pool", "gpu")

    assert (await waiting).value[::2] == (2, agent.pid)
    assert heard.text("notice") == (
        f"no worker for pool 'gpu' at Core {core.url} (pools there: 'other'), so the step waits: "
        f"cerebelum worker --core 127.0.0.1:{core.port} --pool gpu\n"
    )


async def test_a_step_outlives_a_broken_connection_of_its_host_and_nothing_it_says_is_lost(serving, tmp_path):
    core = serving()
    proxy = Proxy(("127.0.0.1", core.port))
    agent = core.worker("--core", f"127.0.0.1:{proxy.address[1]}", slots=2)
    kernel, heard = serving.kernel(core), Heard()
    go = tmp_path / "go"
    step = cell(
        "import os, time\ndef step(go):\n    n = 0\n    while not os.path.exists(go):\n        print(n)\n        n += 1\n"
        "        time.sleep(0.01)\n    return n, bytes(3_000_000)"
    )["step"]
    running = asyncio.ensure_future(run(kernel, step, str(go), heard=heard))
    await until(lambda: "5\n" in heard.text())

    for _ in range(3):
        said = len(heard.text())
        proxy.reset()
        await until(lambda: len(heard.text()) > said + 20)  # noqa: B023  within the turn
    go.touch()
    proxy.reset()
    n, result = (await running).value

    assert [int(line) for line in heard.text().split()] == list(range(n))
    assert len(result) == 3_000_000
    assert "back at Core" in agent.said()
    proxy.close()


async def test_workers_of_a_host_that_does_not_come_back_are_lost_in_time_and_end_there_too(serving, tmp_path):
    core = serving("--grace", "0.5")
    proxy = Proxy(("127.0.0.1", core.port))
    agent = core.worker("--core", f"127.0.0.1:{proxy.address[1]}")
    kernel = serving.kernel(core)
    running, _ = await begin(kernel, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    proxy.close()
    outcome = await running

    assert (outcome.kind, outcome.error.type, outcome.delivered) == ("lost", "WorkerLost", True)
    assert "was lost with its `cerebelum worker` on host " in outcome.error.message
    assert "whose connection broke and did not come back for 0.5 s, while running step" in outcome.error.message
    await until(lambda: is_gone(pid), 10)
    assert agent.process.poll() is None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_an_agent_that_ends_takes_its_workers_with_it_and_their_steps_are_lost(serving, tmp_path, how):
    core = serving("--grace", "0.5")
    agent, its = core.worker(), f"`cerebelum worker` on host {socket.gethostname()!r}"
    kernel = serving.kernel(core)
    running, _ = await begin(kernel, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    code = agent.end(how)
    outcome = await running

    assert code == (-9 if how == signal.SIGKILL else 0)
    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert f" with its {its}" in outcome.error.message
    assert outcome.error.message.endswith(f"(attempt 1). No worker takes its place there before {its} is back.")
    await until(lambda: is_gone(pid), 2)
    core.worker()
    assert (await run(kernel, cell(STEP)["step"], 1)).kind == "ok"


async def test_a_worker_that_dies_on_another_host_is_told_and_replaced(serving, tmp_path):
    core = serving()
    core.worker()
    kernel = serving.kernel(core)
    running, _ = await begin(kernel, sleeper(), str(tmp_path / "pid"))

    os.kill(await pid_in(tmp_path / "pid"), signal.SIGKILL)
    outcome = await running

    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert "was killed by SIGKILL while running step 'nap'" in outcome.error.message
    assert outcome.error.message.endswith("A new worker has taken its place.")
    assert (await run(kernel, cell(STEP)["step"], 1)).kind == "ok"


@pytest.mark.parametrize("body", ["    time.sleep(60)", "    sum(range(10**12))"], ids=["sleep", "c code"])
async def test_cancel_reaches_a_step_on_another_host(serving, tmp_path, body):
    core = serving()
    core.worker()
    kernel = serving.kernel(core)
    source = f"import os, time\ndef step(path):\n    open(path, 'w').write(str(os.getpid()))\n{body}"
    running, _ = await begin(kernel, cell(source)["step"], str(tmp_path / "pid"))
    await pid_in(tmp_path / "pid")

    running.cancel()

    async with asyncio.timeout(20):
        assert (await run(kernel, cell(STEP)["step"], 1)).kind == "ok"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_outlives_a_served_core(serving, tmp_path, how):
    core = serving("--grace", "0.5", slots=1)
    agent = core.worker()
    kernel = serving.kernel(core)
    naps = [await begin(kernel, sleeper(), str(tmp_path / f"pid{n}")) for n in range(2)]
    pids = [await pid_in(tmp_path / f"pid{n}") for n in range(2)]

    core.program.end(how)

    assert "spawn" not in core.program.said()
    assert "could not be started" not in core.program.said()
    for running, _ in naps:
        outcome = await running
        assert (outcome.kind, outcome.error.type, outcome.delivered) == ("lost", "CoreLost", True)
        ended = "was ended where it is served" if how == signal.SIGTERM else "could not be reached any more for 0.5 s"
        assert f"Core {core.url} {ended} while it had step 'nap'" in outcome.error.message
    await until(lambda: all(map(is_gone, pids)), 20)
    assert "Traceback" not in core.program.said()
    assert core.path.exists() == (how == signal.SIGKILL)
    assert agent.process.poll() is None
    await until(lambda: not psutil.Process(agent.pid).children(), 20)


async def test_an_agent_that_waits_comes_to_the_next_core_with_the_same_address_and_pass(serving, tmp_path):
    core = serving("--grace", "0.5")
    agent = core.worker()
    core.program.end()
    agent.wait_for("Core has ended where it was served: its pass")
    agent.wait_for("is gone; trying again")

    again = ServedForTest(tmp_path, "--listen", f"127.0.0.1:{core.port}")

    try:
        agent.wait_for(f"joined Core {core.url} with 1 worker for every pool\n", 20)
        await until(lambda: agent.said().count("joined Core") == 2)
        kernel = serving.kernel(again)
        assert (await run(kernel, cell(STEP)["step"], 1)).value[2] == agent.pid
    finally:
        again.close()


async def test_a_host_whose_packages_differ_in_what_matters_is_refused_with_a_table(serving, tmp_path):
    core = serving()
    fake = tmp_path / "msgspec-9.9.9.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: msgspec\nVersion: 9.9.9\n")
    path = os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH", "")])))
    refused = Program("worker", "--pass", core.workers_path, env={"PYTHONPATH": path})

    assert refused.process.wait(20) == 2
    first, *table = refused.said().splitlines()
    assert "does not take workers of host" in first
    assert "it has msgspec 9.9.9, Core has " in first
    assert [line.split()[:2] for line in table if "msgspec" in line] == [["*", "msgspec"]]
    assert table[0].split() == ["what", "Core", "worker"]


async def test_a_step_that_pauses_lends_its_place_on_a_shared_core_too(serving, tmp_path):
    core = serving(slots=1)
    kernel, heard = serving.kernel(core), Heard()
    pause = cell(
        "from cerebelum_nb import sleep\nimport os\nasync def step():\n    await sleep(2_000)\n    return os.getpid()"
    )["step"]
    resting = asyncio.ensure_future(kernel.run(attempt(pause), heard))
    await until(heard.waits.is_set)

    other = await run(kernel, cell(STEP)["step"], 1)

    assert not resting.done()
    assert other.value[1] != (await resting).value


async def test_the_session_goes_to_a_served_core_by_its_settings(serving, tmp_path):
    core = serving(slots=1)
    core.worker("--pool", "big")
    pool = {"core": core.url, "pass": str(core.path)}
    settings = Settings(home=tmp_path / "home", core_url=core.url, core_pass=str(core.path), pools={"big": pool})
    session = Session(settings)
    source = "from cerebelum_nb import step, workflow\nimport os\n@step\ndef where():\n    return os.getppid()\n"
    try:
        space = cell(f"{source}@workflow\ndef flow(wf):\n    wf.timeline(where)\n", {"__name__": "__main__"})
        found = [
            await asyncio.to_thread(
                lambda p=place: session.run(space["flow"], strategy={"where": p}).result().output["ok"]
            )
            for place in ("distributed", "big")
        ]
    finally:
        await asyncio.to_thread(session.close)

    assert found == [core.program.pid, core.programs[1].pid]
