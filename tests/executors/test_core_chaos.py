"""What remains true when processes are killed, interrupted or stopped: real signals to real processes."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from remote_kit import MARK, Heard, attempt, begin, cell, pid_in, run, sleeper, until

from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.model.pools import Pool
from tests.process_kit import is_gone

HERE = str(Path(__file__).parent)


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=2)
    yield executor
    await executor.close()


# workers ------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_worker_killed_in_mid_step_is_lost_within_a_second_and_replaced(core, tmp_path):
    running, heard = await begin(core, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    outcome = await running
    took_s = time.monotonic() - began

    worker = heard.heard[0][1]
    assert took_s < 1
    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert outcome.error.message == (
        f"{worker} (pid {pid}) was killed by SIGKILL while running step 'nap' (attempt 1). A new worker has taken its "
        f"place."
    )
    answers = await asyncio.gather(
        *[run(core, cell("import os\ndef who(): return os.getpid()")["who"]) for _ in range(20)]
    )
    assert all(answer.kind == "ok" and answer.value != pid for answer in answers)
    await until(lambda: len(core.pids) == 3 and pid not in core.pids)


THREAD = "    import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()\n"


@pytest.mark.asyncio
async def test_a_worker_that_breaks_outside_the_step_ends_although_the_step_left_a_thread(core):
    source = f"def step():\n{THREAD}    import cerebelum_nb.worker.loop as loop\n    loop.seal = None"

    outcome = await run(core, cell(source)["step"])

    assert (outcome.kind, outcome.error.type) == ("lost", "WorkerLost")
    assert "ended with exit code 1 while running step 'step'" in outcome.error.message
    assert (await run(core, cell("def step(): return 1")["step"])).value == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(("room_mib", "trust"), [(10, "trusted"), (1, "untrusted")])
async def test_a_result_for_which_there_is_no_memory_is_an_error_although_the_step_left_a_thread(room_mib, trust):
    core = CoreExecutor(slots=2, pool=Pool("small", 2, trust=trust))  # in shared memory, or in pieces
    source = (
        f"import resource\ndef step():\n{THREAD}    value = b'x' * (15 << 20)\n"
        "    used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"    resource.setrlimit(resource.RLIMIT_AS, (used + ({room_mib} << 20), resource.RLIM_INFINITY))\n"
        "    return value"
    )

    outcome = await run(core, cell(source)["step"])

    assert (outcome.kind, outcome.error.type) == ("error", "UnserializableResult")
    assert "memory" in outcome.error.message.lower()
    assert (await run(core, cell("def step(): return 1")["step"])).value == 1
    await core.close()


@pytest.mark.asyncio
async def test_a_step_that_closes_its_line_to_core_is_lost(core):
    outcome = await run(
        core, cell("import os, time\ndef step():\n    os.closerange(3, 100)\n    time.sleep(60)")["step"]
    )

    assert outcome.kind == "lost"
    assert (await run(core, cell("def step(): return 1")["step"])).value == 1


@pytest.mark.asyncio
async def test_a_death_is_seen_although_a_child_of_the_worker_holds_its_socket(core, tmp_path):
    source = (
        "import os, time, subprocess\n"
        "def step(path):\n"
        "    child = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "    open(path, 'w').write(str(child.pid))\n"
        "    os.kill(os.getpid(), 9)\n"
    )

    outcome = await run(core, cell(source)["step"], str(tmp_path / "pid"))

    assert outcome.kind == "lost"
    child = int((tmp_path / "pid").read_text())
    await until(lambda: is_gone(child), 2)


@pytest.mark.asyncio
async def test_an_idle_worker_that_is_killed_is_replaced_and_nothing_is_lost(core):
    await core.start()
    await until(lambda: len(core.pids) == 3)
    idle = core.pids[1:]

    for pid in idle:
        os.kill(pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*[run(core, cell("def step(): return 1")["step"]) for _ in range(10)])

    # One may have been sent to a worker in its last moment; whoever runs on must be new.
    assert {o.kind for o in outcomes} <= {"ok", "lost"}
    assert sum(o.kind == "lost" for o in outcomes) <= 2
    await until(lambda: len(core.pids) == 3 and not set(idle) & set(core.pids))


@pytest.mark.asyncio
async def test_slots_survive_many_deaths(core):
    dies, lives = cell("import os\ndef dies(): os.kill(os.getpid(), 9)")["dies"], cell("def lives(): return 1")["lives"]

    outcomes = await asyncio.gather(*[run(core, dies if n % 4 == 0 else lives) for n in range(40)])

    assert [o.kind for o in outcomes] == ["lost" if n % 4 == 0 else "ok" for n in range(40)]
    core_process = psutil.Process(core.pids[0])
    await until(lambda: len(core_process.children()) == 2)
    assert not any(child.status() == psutil.STATUS_ZOMBIE for child in core_process.children())


# cancel -------------------------------------------------------------------------------------------------------------

SLEEPS = {
    "sync sleep": "import time\ndef step(path):\n{mark}    while True: time.sleep(0.01)",
    "one long sleep": "import time\ndef step(path):\n{mark}    time.sleep(600)",
    "async sleep": "import asyncio\nasync def step(path):\n{mark}    await asyncio.sleep(600)",
    "busy loop": "def step(path):\n{mark}    while True: pass",
}


async def cancelled(core, source, path):
    """Cancel a step that runs; the seconds until `run` returned, and its worker's pid."""
    step = cell(source.replace("{mark}", MARK))["step"]
    running, _ = await begin(core, step, str(path))
    pid = await pid_in(path)
    began = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return time.monotonic() - began, pid


@pytest.mark.asyncio
@pytest.mark.parametrize("source", SLEEPS.values(), ids=SLEEPS)
async def test_cancel_stops_the_step_at_once_and_its_worker_works_on(core, tmp_path, source):
    took_s, pid = await cancelled(core, source, tmp_path / "pid")
    who = cell("import os, time\ndef who(x):\n    time.sleep(0.02)\n    return os.getpid()")["who"]
    began, pids = time.monotonic(), set()
    while pid not in pids:  # the other worker may be quicker for a while
        assert time.monotonic() - began < 30, f"{pid} is gone" if is_gone(pid) else f"{pid} gets nothing"
        pids |= {o.value for o in await asyncio.gather(*[run(core, who, n) for n in range(6)])}

    assert took_s < 5  # its step sleeps for a minute


@pytest.mark.asyncio
async def test_a_cancelled_step_cleans_up_after_itself(core, tmp_path):
    for kind, pause in (("", "time.sleep(60)"), ("async ", "await asyncio.sleep(60)")):
        path = tmp_path / f"{kind}pid"
        source = f"import time, asyncio\n{kind}def step(path):\n{MARK}    try: {pause}\n    finally: open(path + '.clean', 'w')"
        await cancelled(core, source, path)
        await until(lambda path=path: Path(f"{path}.clean").exists(), 20)


@pytest.mark.asyncio
async def test_cancelling_an_attempt_that_waits_keeps_it_from_running(tmp_path):
    core = CoreExecutor(slots=1)
    first, _ = await begin(core, sleeper(), str(tmp_path / "pid"))
    touch = cell("def touch(path): open(path, 'w')")["touch"]
    waiting = [asyncio.ensure_future(core.run(attempt(touch, str(tmp_path / f"ran{n}")), Heard())) for n in range(3)]
    await pid_in(tmp_path / "pid")

    for task in (waiting[1], first):
        task.cancel()
    ended = await asyncio.wait_for(asyncio.gather(*waiting, first, return_exceptions=True), 30)
    await core.close()

    assert [type(e).__name__ for e in ended] == ["Outcome", "CancelledError", "Outcome", "CancelledError"]
    assert sorted(p.name for p in tmp_path.glob("ran*")) == ["ran0", "ran2"]


@pytest.mark.asyncio
async def test_a_stop_that_comes_as_the_step_ends_does_not_harm_the_worker(core):
    step = cell("import time\ndef step(s):\n    time.sleep(s)\n    return s")["step"]
    await asyncio.gather(*[run(core, step, 0.0) for _ in range(4)])
    await until(lambda: len(core.pids) == 3)
    pids = core.pids

    for n in range(150):
        running = asyncio.ensure_future(run(core, step, 0.002))
        await asyncio.wait([running], timeout=0.0015 + 0.00002 * n)
        running.cancel()
        await asyncio.wait([running])
        assert (await run(core, step, 0.0)).value == 0.0

    assert core.pids == pids


@pytest.mark.asyncio
async def test_an_interrupt_from_outside_is_the_steps_own_error_and_between_steps_nothing(core, tmp_path):
    running, _ = await begin(core, sleeper(), str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    os.kill(pid, signal.SIGINT)
    outcome = await running
    os.kill(pid, signal.SIGINT)

    assert (outcome.kind, outcome.error.type) == ("error", "KeyboardInterrupt")
    who = cell("import os, time\ndef who():\n    time.sleep(0.02)\n    return os.getpid()")["who"]
    assert pid in {o.value for o in await asyncio.gather(*[run(core, who) for _ in range(6)])}
