"""Nothing outlives Core or the kernel, and nobody else gets in: real signals to real processes."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
import pytest_asyncio
from remote_kit import C_CODE, Heard, begin, cell, pid_in, run, sleeper, until

from cerebelum_nb.core import service
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.seal import new_key
from cerebelum_nb.wire.channel import METHOD, SERVICE, TOKEN
from cerebelum_nb.wire.frames import Place
from cerebelum_nb.wire.ledger import NBYTES, Ledger
from tests.process_kit import is_gone

HERE = str(Path(__file__).parent)


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=2)
    yield executor
    await executor.close()


# Core ---------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_core_that_is_killed_is_told_and_replaced(core, tmp_path):
    running, _ = await begin(core, sleeper(), str(tmp_path / "pid"))
    await until(lambda: len(core.pids) == 3)
    pids, directory = core.pids, core._link.process.directory

    os.kill(pids[0], signal.SIGKILL)
    began = time.monotonic()
    outcome = await asyncio.wait_for(running, 30)
    took_s = time.monotonic() - began

    assert took_s < 1
    assert (outcome.kind, outcome.error.type) == ("lost", "CoreLost")
    assert f"Core (pid {pids[0]}) was killed by SIGKILL while it had step 'nap' (attempt 1)" in outcome.error.message
    await until(lambda: all(map(is_gone, pids)), 2)
    assert not directory.exists()
    assert (await run(core, cell("def step(): return 1")["step"])).value == 1
    assert not set(core.pids) & set(pids)


@pytest.mark.asyncio
async def test_workers_in_c_code_do_not_outlive_a_killed_core(core, tmp_path):
    step = cell(C_CODE)["step"]
    running, _ = await begin(core, step, str(tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")

    os.kill(core.pids[0], signal.SIGKILL)

    await until(lambda: is_gone(pid), 2)
    assert (await running).kind == "lost"


# the kernel ---------------------------------------------------------------------------------------------------------

KERNEL = f"""
import asyncio, os, sys, time
sys.path.insert(0, {HERE!r})
from remote_kit import Heard, attempt, cell
from cerebelum_nb.executors.core import CoreExecutor

async def main():
    core = CoreExecutor(slots=2)
    heard = [Heard(), Heard()]
    nap = cell("import time\\ndef nap(): time.sleep(60)")["nap"]
    busy = cell("def busy(): sum(range(10**12))")["busy"]
    tasks = [asyncio.ensure_future(core.run(attempt(f), h)) for f, h in zip((nap, busy), heard)]
    for each in heard:
        await each.begun.wait()
    if "fork" in sys.argv and (child := os.fork()) == 0:
        time.sleep(30)
        os._exit(0)
    print(*core.pids, core._link.process.directory, flush=True)
    if "leave" in sys.argv:
        return
    if "exit" in sys.argv:
        os._exit(3)
    await asyncio.gather(*tasks)

{{run}}
"""
MAIN = "asyncio.run(main())"
IN_A_THREAD = (
    "import threading\nloop = asyncio.new_event_loop()\nthreading.Thread(target=loop.run_forever, daemon=True).start()\n"
    "asyncio.run_coroutine_threadsafe(main(), loop).result()"
)


def kernel(*args, how=MAIN):
    """A process that holds a CoreExecutor with two running steps: the process, the pids under it, the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", KERNEL.replace("{run}", how), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    line = process.stdout.readline().split()
    assert len(line) == 4, process.stderr.read()
    return process, [int(pid) for pid in line[:3]], Path(line[3])


def wait_until(condition, deadline_s):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < deadline_s, f"not within {deadline_s} s"
        time.sleep(0.005)  # a poll, not a pause


@pytest.mark.parametrize("args", [(), ("fork",)], ids=["alone", "a forked child holds the pipe"])
def test_nothing_outlives_a_killed_kernel(args):
    process, pids, directory = kernel(*args)
    children = psutil.Process(process.pid).children()

    process.kill()
    process.wait()

    wait_until(lambda: all(map(is_gone, pids)) and not directory.exists(), 2)
    for child in children:
        if child.pid not in pids and child.is_running():
            child.kill()


STARTING = """
import asyncio, sys
from pathlib import Path
from cerebelum_nb.executors.core import CoreExecutor
asyncio.run(CoreExecutor(slots=4, run_dir=Path(sys.argv[1])).start())
"""


def processes_with(mark):
    """All processes, zombies aside, with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found += [int(path.parent.name)] if mark.encode() in path.read_bytes() else []
    return found


# Before there is a second process only the next start can tidy up: `test_core_orphans`.
@pytest.mark.parametrize("seen", [2, 3, 4, 5, 6])
def test_a_kernel_that_is_killed_while_core_starts_leaves_no_process_and_no_directory(tmp_path, seen):
    env = os.environ | {"A_MARK_OF_THIS_TEST": str(tmp_path)}
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", STARTING, str(tmp_path)], env=env)
        wait_until(lambda: list(tmp_path.iterdir()) and len(processes_with(str(tmp_path))) >= seen, 20)

        process.kill()
        process.wait()

        wait_until(lambda: not list(tmp_path.iterdir()) and not processes_with(str(tmp_path)), 2)


@pytest.mark.parametrize(
    ("args", "how", "code"),
    [(("exit",), MAIN, 3), (("leave",), MAIN, 0), (("leave",), IN_A_THREAD, 0)],
    ids=["os._exit", "without close", "without close, loop in a daemon thread"],
)
def test_nothing_outlives_a_kernel_that_just_ends_and_it_ends_quietly(args, how, code):
    process, pids, directory = kernel(*args, how=how)

    _, said = process.communicate(timeout=30)

    assert (process.returncode, said) == (code, "")
    wait_until(lambda: all(map(is_gone, pids)) and not directory.exists(), 2)


def test_an_interrupt_of_the_kernels_process_group_does_not_reach_core_or_workers():
    process, pids, directory = kernel(how="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + MAIN)

    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)

    assert all(os.getsid(pid) == pids[0] for pid in pids)
    with pytest.raises(AssertionError):
        wait_until(lambda: any(map(is_gone, pids)), 0.5)
    process.kill()
    wait_until(lambda: all(map(is_gone, pids)) and not directory.exists(), 2)
    process.wait()


# secrets and doors --------------------------------------------------------------------------------------------------


def all_of(paths):
    return [path.read_bytes() for path in paths]


@pytest.mark.asyncio
async def test_secrets_are_in_no_command_line_environment_or_file(core):
    await run(core, cell("def step(): return 1")["step"])
    await until(lambda: len(core.pids) == 3)
    process = core._link.process
    secrets = [process.token.encode(), process.key, process.key.hex().encode()]

    seen = all_of([Path(f"/proc/{pid}/{name}") for pid in core.pids for name in ("cmdline", "environ")])
    seen += all_of(process.directory.glob("*.log"))

    assert len(seen) == 7
    assert not [secret for secret in secrets if any(secret in text for text in seen)]


@pytest.mark.asyncio
async def test_nothing_listens_on_the_network_and_the_directory_is_ours_alone(core):
    await run(core, cell("def step(): return 1")["step"])
    await until(lambda: len(core.pids) == 3)

    for pid in core.pids:
        assert psutil.Process(pid).net_connections(kind="inet") == []
    assert core._link.process.directory.stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(core._link.process.socket)) < 108


@pytest.mark.asyncio
async def test_a_wrong_or_missing_token_is_refused(core):
    await core.start()
    async with grpc.aio.insecure_channel(f"unix:{core._link.process.socket}") as channel:
        for metadata in ((), ((TOKEN, "wrong"),), ((TOKEN, ""),)):
            call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(metadata=metadata, timeout=20)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(metadata=((TOKEN, core._link.process.token),), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert (await run(core, cell("def step(): return 1")["step"])).value == 1


@pytest.mark.asyncio
async def test_a_damaged_envelope_is_refused_on_either_side_and_nothing_in_it_is_run(core, tmp_path):
    step = cell("def step(path): open(path, 'w')")["step"]
    await core.start()
    link = core._link
    good = link.process.key

    link.process.key = link._sending._key = bytes(32)  # what we seal no longer opens there
    there = await run(core, step, str(tmp_path / "ran"))

    assert (there.kind, there.error.type) == ("error", "PayloadRejected")  # ... and its answer no longer opens here
    assert not (tmp_path / "ran").exists()
    link.process.key = good


# where it starts ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_run_directory_that_cannot_be_used_is_refused_in_words(tmp_path):
    for place, text in (
        (tmp_path / "no", "No such file or directory"),
        (tmp_path / ("x" * 120), "at most 107 work"),
    ):
        executor = CoreExecutor(run_dir=place)
        outcome = await run(executor, cell("def step(): return 1")["step"])
        assert (outcome.kind, outcome.error.type) == ("error", "ExecutorError")
        assert text in outcome.error.message
        assert executor.pids == ()
        await executor.close()


@pytest.mark.asyncio
async def test_cancelling_one_of_those_who_wait_for_the_start_does_not_stop_the_start(core):
    first = asyncio.ensure_future(core.start())
    second = asyncio.ensure_future(core.start())
    await asyncio.sleep(0)

    first.cancel()
    await second

    assert first.cancelled() or first.done()
    assert core.pids


def break_module(monkeypatch, folder, module):
    """From here on `python -m module` ends at once."""
    text = f"import sys\nif {module!r} in sys.orig_argv: sys.exit('broken on purpose')"
    (folder / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.asyncio
async def test_a_core_that_does_not_start_says_its_last_words(tmp_path, monkeypatch):
    break_module(monkeypatch, tmp_path, "cerebelum_nb.core")
    executor = CoreExecutor(run_dir=tmp_path)

    outcome = await run(executor, cell("def step(): return 1")["step"])
    await executor.close()

    assert (outcome.kind, outcome.error.type) == ("error", "ExecutorError")
    assert outcome.error.message.startswith("Core ended with exit code 1 while it started. Its last words: ")
    assert outcome.error.message.endswith("broken on purpose")
    assert [path.name for path in tmp_path.glob("cerebelum-*")] == []


@pytest.mark.asyncio
async def test_workers_that_do_not_start_keep_nobody_waiting(core, tmp_path, monkeypatch):
    break_module(monkeypatch, tmp_path, "cerebelum_nb.worker")
    heard = Heard()

    outcome = await run(core, cell("def step(): return 1")["step"], heard=heard)

    assert (outcome.kind, outcome.error.type) == ("lost", "WorkersDoNotStart")
    assert "ended with exit code 1 before it was ready" in outcome.error.message
    assert "broken on purpose" in outcome.error.traceback
    assert heard.heard == []


FIRST_WORKER_STOPS = """
import os, signal, sys
if "cerebelum_nb.worker" in sys.orig_argv:
    try: os.close(os.open(os.environ["STOPPED_ONCE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError: pass
    else: os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def first_worker_stops(tmp_path, monkeypatch):
    """The first worker is stopped by SIGSTOP while its interpreter starts; yields the file that then exists."""
    (tmp_path / "sitecustomize.py").write_text(FIRST_WORKER_STOPS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(HERE).parents[1])]))
    monkeypatch.setenv("STOPPED_ONCE", str(tmp_path / "stopped"))
    return tmp_path / "stopped"


@pytest.mark.asyncio
async def test_a_worker_that_was_stopped_before_it_was_ready_does_not_survive_a_cancel(first_worker_stops):
    core = CoreExecutor(slots=1)
    step = cell("def step(): return 1")["step"]
    running = asyncio.ensure_future(run(core, step))
    await until(lambda: first_worker_stops.exists() and len(core.pids) == 2)
    stopped = core.pids[1]

    running.cancel()
    after = await run(core, step)

    assert after.value == 1
    await until(lambda: is_gone(stopped), 20)
    await core.close()


@pytest.mark.asyncio
async def test_a_worker_that_is_not_ready_in_time_is_replaced(first_worker_stops, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "READY_DEADLINE_S", 0.5)
    nursery = Nursery()
    place = Place(tuple(map(os.fsencode, sys.path)), os.fsencode(tmp_path))
    stopped = nursery.spawn()

    served = service.Service(
        service.Settings("", new_key(), place, tmp_path / "log", nursery, Ledger(bytearray(NBYTES))), [stopped]
    )
    await until(
        lambda: is_gone(stopped.pid) and not served._queue.is_starting(1) and served._slots[1].pid != stopped.pid
    )
    nursery.end()

    assert first_worker_stops.exists()


@pytest.fixture
def strange_directory(tmp_path):
    strange = tmp_path / os.fsdecode(b"caf\xe9")
    strange.mkdir()
    return strange


@pytest.mark.asyncio
async def test_a_directory_whose_name_is_not_text_is_no_obstacle(core, strange_directory, monkeypatch):
    monkeypatch.chdir(strange_directory)

    outcome = await run(core, cell("import os\ndef step(): return os.getcwdb()")["step"])

    assert outcome.value == os.fsencode(strange_directory)


def test_importing_the_executor_loads_neither_grpc_nor_cloudpickle():
    code = "import sys, cerebelum_nb.executors.core; print([m for m in ('grpc', 'cloudpickle', 'numpy') if m in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.strip() == "[]"
