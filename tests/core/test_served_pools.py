"""Which pools the workers of a served Core are for, whose file a pass is in, and what a person is told."""

import asyncio
import os
import signal
import time
import tomllib

import pytest
from served_kit import Program, ServedForTest

from cerebelum_nb import DistributedExecutor, HybridExecutor, PlanError, Session
from cerebelum_nb.config import Settings
from cerebelum_nb.dsl.decorators import step, workflow
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.executors.crew import Crew
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.notebook import workers as verbs
from cerebelum_nb.notebook.arguments import Arguments

from remote_kit import begin, cell, run, sleeper  # isort: skip  by served_kit

STEP = cell("import os\ndef step():\n    return os.getppid()")["step"]


@pytest.fixture
def serve(tmp_path):
    made = []

    def one(*options, **more):
        made.append(ServedForTest(tmp_path, *options, **more))
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_workers_without_a_pool_run_the_steps_of_every_pool_and_named_ones_come_first(serve):
    async def main():
        core = serve(slots=1)
        agent = core.worker("--pool", "big")
        here = core.program.pid
        for name, pid in {"big": agent.pid, "distributed": here, "core": here, "other": here}.items():
            kernel = core.kernel(name)
            assert (await run(kernel, STEP)).value == pid, name
            await kernel.close()

    asyncio.run(main())


def test_a_kernel_calls_its_first_pool_as_people_do(serve):
    async def main():
        core = serve()
        agent = core.worker("--pool", "distributed")
        pool = Pool("distributed", 2, core=core.url)
        kernel = CoreExecutor(served=(core.url, core.path), name="core", pool=pool)
        assert (await run(kernel, STEP)).value == agent.pid
        await kernel.close()

    asyncio.run(main())


def test_pools_share_workers_that_are_everybodys_and_nobody_starves(serve, tmp_path):
    async def main():
        core = serve(slots=1)
        first, second, big = core.kernel("a"), core.kernel("b"), core.kernel("big")
        quick = cell("import time\ndef step():\n    time.sleep(0.1)\n    return 1")["step"]
        async with asyncio.timeout(90):
            done = await asyncio.gather(*(run(kernel, quick) for _ in range(8) for kernel in (first, second)))
            assert [outcome.value for outcome in done] == [1] * 16
            await first.close()
            await second.close()
            assert (await run(big, STEP)).value == core.program.pid  # on the worker that is everybody's
            agent = core.worker("--pool", "big")
            other = core.kernel("other")
            assert (await run(other, STEP)).value == core.program.pid  # it has it now: `big` has one of its own
            running, _ = await begin(other, sleeper(), str(tmp_path / "pid"))
            assert (await run(big, STEP)).value == agent.pid
            await other.close()
            assert (await running).kind == "cancelled"
        await big.close()

    asyncio.run(main())


def test_the_lines_that_it_prints_are_what_a_project_needs(serve, tmp_path):
    core = serve(slots=1)
    said = core.program.wait_for("cerebelum worker --core").splitlines()

    found = tomllib.loads("\n".join(line for line in said if " = " in line))

    assert found == {"core_url": core.url, "core_pass": str(core.path)}
    assert said[-1] == f"  cerebelum worker --core 127.0.0.1:{core.port} --pass {core.workers_path} --slots 2"
    Settings(home=tmp_path, **found)


def test_a_core_for_all_addresses_says_what_others_may_call_it(tmp_path):
    core = Program("core", "serve", "--listen", "0.0.0.0:0", "--slots", 0, "--pass", tmp_path / "p")
    said = core.wait_for("cerebelum worker --core")
    core.end()

    assert "others may call this host " in said
    assert "the certificate is good for each of them" in said


def test_the_pass_of_a_core_that_lives_is_not_overwritten_and_that_of_a_dead_one_is(serve):
    core = serve()
    before, spare = core.path.read_bytes(), core.path.with_name("spare")
    for option, path in (("--pass", core.path), ("--workers-pass", core.workers_path)):
        others = ("--pass", spare) if option == "--workers-pass" else ()
        second = Program("core", "serve", "--listen", "127.0.0.1:0", *others, option, path)
        assert second.process.wait(20) == 2
        said = second.said()
        assert said.startswith(f"Error: the pass {str(path)!r} belongs to a Core that is served now ({core.url}): ")
        assert f"by {option} FILE" in said
        assert said.count("\n") == 1
    assert core.path.read_bytes() == before
    assert not spare.exists()

    core.program.end(signal.SIGKILL)
    again = serve()
    assert again.path.read_bytes() != before


def test_a_copy_of_the_pass_of_a_core_that_answers_is_not_overwritten(serve, tmp_path):
    core = serve()
    copy = tmp_path / "copy"
    copy.touch(0o600)
    copy.write_bytes(core.path.read_bytes())

    second = Program("core", "serve", "--listen", "127.0.0.1:0", "--pass", copy)

    assert second.process.wait(20) == 2
    assert "belongs to a Core that is served now" in second.said()
    assert copy.read_bytes() == core.path.read_bytes()


def test_one_file_cannot_be_both_passes(tmp_path):
    paths = ("--pass", tmp_path / "p", "--workers-pass", tmp_path / "x" / ".." / "p")
    core = Program("core", "serve", "--listen", "127.0.0.1:0", *paths)

    assert core.process.wait(20) == 2
    assert "give it a file of its own" in core.said()


def test_what_is_said_of_a_core_of_somebody_else(serve, tmp_path, capsys):
    core = serve()
    loop = asyncio.new_event_loop()
    table = {"core": core.url, "pass": str(core.path)}
    crew = Crew(Settings(home=tmp_path, pools={"big": table}), loop, lambda: None)

    def say(word):
        return str(verbs.core(Arguments(words=(word,), text={"--pool": "big"}), crew))

    for word in ("stop", "restart", "logs"):
        say(word)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" is not this kernel's: ")[0] for line in said] == [f"big: Core {core.url}"] * 3
    for do in (crew.stop, crew.restart):
        with pytest.raises(PlanError, match=f"^pool 'big': Core {core.url} is not this session's: end it"):
            do("big")
    assert "served" in say("status")
    assert "not reached" not in say("status")
    core.program.end(signal.SIGKILL)
    assert "not reached" in say("status")
    assert f"big: nothing listens at {core.url}" in say("status")
    loop.close()


def test_workers_that_others_have_now_are_told_of_before_how_to_add_some(serve, tmp_path):
    core = serve("--pool", "first", slots=1)
    table = {"core": core.url, "pass": str(core.path)}
    session = Session(Settings(home=tmp_path, pools=dict.fromkeys(("first", "second"), table)))

    def say(pool):
        return str(verbs.workers(Arguments(text={"--pool": pool}), session.pools)).splitlines()

    for name in ("first", "second"):
        session.pools.start(name)
    nobody = say("second")
    core.worker()  # for every pool
    session.pools.start("first")
    end = time.monotonic() + 30
    while not any(" there " in line for line in say("second")):
        assert time.monotonic() < end
    third = Session(Settings(home=tmp_path / "third", pools={"second": table}))
    third.pools.start("second")
    told = verbs.workers(Arguments(text={"--pool": "second"}), third.pools)
    third.close()
    session.close()

    add = f"in a terminal: cerebelum worker --core {core.url[6:]} --pass {core.path} --pool second"
    assert nobody == [f"second: no worker; to add one, {add}"]
    assert str(told) == f"second: no worker now, and Core {core.url} has 1 worker for its steps; for more, {add}"


def test_a_core_that_is_silent_is_not_said_to_be_ended(serve, tmp_path):
    async def main():
        core = serve("--grace", "1", slots=1)
        kernel = core.kernel(silent_s=1.0)
        running, _ = await begin(kernel, sleeper(), str(tmp_path / "pid"))
        core.program.process.send_signal(signal.SIGSTOP)
        try:
            message = (await running).error.message
        finally:
            core.program.process.send_signal(signal.SIGCONT)
            await kernel.close()
        assert "could not be reached any more for 1 s while it had step 'nap'" in message

    asyncio.run(main())


def test_a_pass_for_the_workers_of_one_pool_lets_them_join_no_other(serve, tmp_path):
    async def main():
        path = tmp_path / "gpu.pass"
        core = serve("--pool-pass", "gpu", path, "--pool-pass", "other", tmp_path / "other.pass")
        for wanted in ("big", "distributed"):
            refused = Program("worker", "--pass", path, "--pool", wanted)
            assert refused.process.wait(20) == 2
            said = f"this pass is for workers of pool 'gpu', not of pool '{wanted}': --pool gpu"
            assert said in refused.said()
        agent = core.worker(path=path)
        assert "for pool 'gpu'" in agent.said()
        kernel = core.kernel("gpu")
        assert (await run(kernel, STEP)).value == agent.pid
        await kernel.close()
        stranger = CoreExecutor(served=(core.url, path))
        assert "this pass is for workers only" in (await run(stranger, STEP)).error.message
        await stranger.close()
        core.program.end()
        assert not path.exists()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["a b", "auto", ""])
def test_a_pass_for_a_pool_that_cannot_be_is_refused(tmp_path, name):
    core = Program("core", "serve", "--listen", "127.0.0.1:0", "--pool-pass", name, tmp_path / "p")

    assert core.process.wait(20) == 2
    assert core.said().startswith(f"Error: --pool-pass: a pool cannot be called {name!r}")


def test_executor_objects_that_name_a_served_core_send_steps_to_its_workers_and_leave_the_others_here(serve, tmp_path):
    core = serve(slots=1)
    made = cell("import os\ndef here(): return os.getpid()\ndef there(here): return here, os.getppid()")
    here, there = step(made["here"]), step(executor="distributed")(made["there"])
    flow = workflow(name="flow")(lambda wf: wf.timeline(here >> there))
    far = DistributedExecutor(core_url=core.url)  # the pass is where the project's are
    session = Session(Settings(home=tmp_path))
    try:
        both = asyncio.run(session.execute(flow, executor=HybridExecutor(distributed_executor=far)))
        all_there = asyncio.run(session.execute(flow, executor=far))
    finally:
        session.close()

    assert both.output["ok"] == (os.getpid(), core.program.pid)
    assert all_there.output["ok"][1] == core.program.pid
    assert all_there.output["ok"][0] != os.getpid()
