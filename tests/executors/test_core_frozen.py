"""Core stopped, killed or cut off in mid-run: it is noticed, nothing of it is left, and no step runs twice unasked."""

import asyncio
import os
import signal
import socket
import threading
import time

import psutil
import pytest
import pytest_asyncio
from remote_kit import Heard, attempt, begin, cell, pid_in, run, sleeper, until

from cerebelum_nb import ExecutionError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.executors import core_link
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.model.events import AttemptOutput
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.protocols import Outcome
from tests.process_kit import is_gone

pytestmark = pytest.mark.timeout(120)
DEADLINE = 60
SILENT_S = 2.0


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=2, silent_s=SILENT_S)
    yield executor
    await executor.close()


@pytest.fixture
def remote(tmp_path):
    made = Session(Settings(home=tmp_path / "home", workers=2, default_executor="distributed", core_silent_s=SILENT_S))
    yield made
    made.close()


def ledger(path, seconds):
    """Many steps that write their name and then take their time."""

    def made(name):
        def one(context):
            with os.fdopen(os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY), "w") as file:
                file.write(f"{name}\n")
            time.sleep(seconds)
            return name

        return one

    return made


def many(path, count=20, seconds=0.2, **options):
    first = step(name="first", executor="local")(lambda context: 0)
    write = ledger(path, seconds)
    steps = [step(name=f"s{n}", **options)(write(f"s{n}")) for n in range(count)]
    return workflow(name="w")(lambda wf: wf.timeline(first, steps))


def written(path):
    return path.read_text().split() if path.exists() else []


def soon(condition):
    end, pause = time.monotonic() + DEADLINE, threading.Event()
    while not condition():
        assert time.monotonic() < end, "not in time"
        pause.wait(0.005)


@pytest.mark.asyncio
async def test_a_stopped_core_is_noticed_and_all_of_it_is_gone(core, tmp_path):
    running, _ = await begin(core, sleeper(), str(tmp_path / "pid"))
    worker = await pid_in(tmp_path / "pid")
    pids = core.pids

    os.kill(pids[0], signal.SIGSTOP)
    began = time.monotonic()
    outcome = await asyncio.wait_for(running, 30)

    assert (outcome.kind, outcome.error.type, outcome.delivered) == ("lost", "CoreLost", True)
    assert (
        f"Core (pid {pids[0]}) did not answer for 2 s, and was ended, while it had step 'nap'" in outcome.error.message
    )
    assert time.monotonic() - began > SILENT_S * 0.9
    assert worker in pids
    await until(lambda: all(map(is_gone, pids)), 20)
    assert (await run(core, cell("def step(): return 1")["step"])).value == 1
    assert core.pids[0] != pids[0]


@pytest.mark.asyncio
async def test_a_stopped_core_with_nothing_to_do_is_replaced_before_the_next_step(core):
    await run(core, cell("def step(): return 1")["step"])
    stopped = core.pids[0]

    os.kill(stopped, signal.SIGSTOP)

    assert (await run(core, cell("def step(): return 2")["step"])).value == 2
    assert core.pids[0] != stopped
    assert is_gone(stopped)


@pytest.mark.asyncio
async def test_a_kernel_that_was_held_up_itself_does_not_take_core_for_silent():
    core = CoreExecutor(slots=1, silent_s=1.5)
    await run(core, cell("def step(): return 1")["step"])
    pids = core.pids

    time.sleep(3)  # on the very loop that looks: as a stopped process, or a machine that was suspended
    await asyncio.sleep(0.75)  # it looks several times meanwhile

    assert core.pids == pids
    await core.close()


class Cut:
    """A proxy for a unix socket that can go silent both ways, with both ends open."""

    def __init__(self, path):
        self.silent = asyncio.Event()
        self._behind = path.with_name("behind.sock")
        path.rename(self._behind)
        self._listening = socket.socket(socket.AF_UNIX)  # from now on: whoever connects meanwhile waits
        self._listening.bind(str(path))
        self._listening.listen()

    async def serve(self):
        self._server = await asyncio.start_unix_server(self._joined, sock=self._listening)

    async def _joined(self, reader, writer):
        there, back = await asyncio.open_unix_connection(str(self._behind))
        self._pipes = [asyncio.create_task(self._pass(*ends)) for ends in ((reader, back), (there, writer))]

    async def _pass(self, reader, writer):
        while data := await reader.read(65536):
            if self.silent.is_set():
                await asyncio.Event().wait()
            writer.write(data)

    def end(self):
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()


@pytest.mark.asyncio
async def test_a_connection_that_goes_silent_is_given_up_and_what_nobody_had_goes_to_the_next_core(
    core, tmp_path, monkeypatch
):
    cut = []
    link = core_link.Link

    def through_proxy(process, *args):
        if cut:
            return link(process, *args)
        cut.append(Cut(process.socket))
        made = link(process, *args)
        cut[0].starting = asyncio.ensure_future(cut[0].serve())
        return made

    monkeypatch.setattr(core_link, "Link", through_proxy)
    naps = [sleeper() for _ in range(2)]
    held = [(await begin(core, nap, str(tmp_path / f"pid{n}")))[0] for n, nap in enumerate(naps)]
    pids = core.pids
    heard = Heard()
    waiting = asyncio.ensure_future(core.run(attempt(cell("def step(): return 3")["step"]), heard))
    await asyncio.sleep(0)

    cut[0].silent.set()
    ended = await asyncio.wait_for(asyncio.gather(*held), 30)

    assert [(o.kind, o.error.type) for o in ended] == [("lost", "CoreLost")] * 2
    assert (await asyncio.wait_for(waiting, 30)).value == 3
    assert "It is sent to a new one." in heard.text("notice")
    await until(lambda: all(map(is_gone, pids)), 20)
    cut[0].end()


@pytest.mark.parametrize(("how", "retries"), [(signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGSTOP, 0)])
def test_what_a_dead_core_had_not_handed_out_runs_on_the_next_and_the_rest_is_lost(remote, tmp_path, how, retries):
    path = tmp_path / "ledger"
    run = remote.run(many(path, retries=retries))
    soon(lambda: len(written(path)) >= 4)

    os.kill(remote._executor("core").pids[0], how)
    run.wait(DEADLINE)

    names = written(path)
    failed = {row.step for row in run.rows() if row.status == "failed"}
    twice = {name for name in names if names.count(name) > 1}
    assert set(names) == {f"s{n}" for n in range(20)}
    if retries:
        assert (run.status, failed) == ("succeeded", set())
        assert len(twice) <= 4  # two that ran, and two whose ends Core had heard of and not passed on
    else:
        assert twice == set()
        assert 1 <= len(failed) <= 4
        assert run.error().error_type == "CoreLost"
        again = run.resume()
        assert again.result(DEADLINE)
        assert sorted(written(path)) == sorted([*names, *failed])


def test_a_second_death_in_short_order_ends_the_run_which_can_be_resumed(remote, tmp_path):
    path = tmp_path / "ledger"
    run = remote.run(many(path))
    core = remote._executor("core")
    soon(lambda: len(written(path)) >= 2)
    first = core.pids[0]
    os.kill(first, signal.SIGKILL)
    soon(lambda: len(written(path)) >= 6 and core.pids and core.pids[0] != first)
    os.kill(core.pids[0], signal.SIGKILL)

    with pytest.raises(ExecutionError) as failed:
        run.result(DEADLINE)

    assert failed.value.error_type == "CoreLost"
    said = [run.details(row.step).error for row in run.rows() if row.status == "failed"]
    assert any("Core ended twice within 60 s" in text for text in said)
    again = run.resume()
    assert len(again.result(DEADLINE).outputs) == 21
    assert set(written(path)) == {f"s{n}" for n in range(20)}


@pytest.mark.asyncio
async def test_what_waits_goes_to_a_new_core_whatever_cores_before_its_time_have_done(core, tmp_path):
    one = cell("def one(): return 1")["one"]
    await run(core, one)
    idle = core.pids[0]
    os.kill(idle, signal.SIGKILL)
    await until(lambda: core.link is None)

    for death in range(2):
        held = [(await begin(core, sleeper(), str(tmp_path / f"pid{death}{n}")))[0] for n in range(2)]
        heard = Heard()
        waits = asyncio.ensure_future(core.run(attempt(one), heard))
        await asyncio.sleep(0)
        os.kill(core.pids[0], signal.SIGKILL)

        assert (await asyncio.wait_for(waits, DEADLINE)).value == 1
        assert "It is sent to a new one." in heard.text("notice")
        assert [(await task).error.type for task in held] == ["CoreLost"] * 2


@pytest.mark.asyncio
async def test_an_attempt_that_sees_two_cores_die_is_not_sent_to_a_third_and_the_next_one_is():
    empty = CoreExecutor(slots=0, pool=Pool("empty", 0))
    one = cell("def one(): return 1")["one"]
    waits = asyncio.ensure_future(empty.run(attempt(one), Heard()))
    await until(lambda: empty.link and empty.link.sent)
    first = empty.pids[0]
    os.kill(first, signal.SIGKILL)
    await until(lambda: empty.pids and empty.pids[0] != first and empty.link.sent)
    os.kill(empty.pids[0], signal.SIGKILL)

    ended = await asyncio.wait_for(waits, DEADLINE)

    assert (ended.kind, ended.error.type, ended.delivered) == ("lost", "CoreLost", False)
    how = "Core ended twice within 60 s while step 'one' waited for a worker, so it was not sent to a third one."
    assert ended.error.message == how
    assert empty.link is None
    await empty.resize(1)
    assert (await run(empty, one)).value == 1
    await empty.close()


def test_a_step_that_runs_once_is_not_sent_again_although_no_worker_had_it(remote, tmp_path):
    path = tmp_path / "ledger"
    run = remote.run(many(path, effects="once"))
    soon(lambda: len(written(path)) >= 2)

    os.kill(remote._executor("core").pids[0], signal.SIGKILL)
    run.wait(DEADLINE)

    names = written(path)
    assert len(names) == len(set(names))
    assert not any("sent to a new one" in e.text for e in run.events if isinstance(e, AttemptOutput))
    assert len(names) < 20


@pytest.mark.asyncio
async def test_an_attempt_is_taken_back_exactly_when_no_worker_has_it(core, tmp_path):
    held = [(await begin(core, sleeper(), str(tmp_path / f"pid{n}")))[0] for n in range(2)]
    touch = cell("def touch(path): open(path, 'w')")["touch"]
    waits = attempt(touch, str(tmp_path / "touched"))
    waiting = asyncio.ensure_future(core.run(waits, Heard()))
    await asyncio.sleep(0)

    core.withdraw(waits.run, waits.task, waits.number)
    outcome = await asyncio.wait_for(waiting, 10)

    assert (outcome.kind, outcome.error.type, outcome.delivered) == ("lost", "NoWorker", False)
    running = attempt(touch, str(tmp_path / "other"))
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    done = asyncio.ensure_future(core.run(running, Heard()))
    await until((tmp_path / "other").exists)
    core.withdraw(running.run, running.task, running.number)
    assert isinstance(await asyncio.wait_for(done, 10), Outcome)
    assert (done.result().kind, (tmp_path / "touched").exists()) == ("ok", False)


def test_nothing_is_left_of_cores_that_were_killed_in_turn(remote, tmp_path):
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    run = remote.run(many(tmp_path / "ledger", count=4))
    core = remote._executor("core")
    soon(lambda: len(written(tmp_path / "ledger")) >= 1)
    pids, folder = core.pids, core._link.process.directory
    os.kill(pids[0], signal.SIGSTOP)
    run.wait(DEADLINE)
    remote.close()

    soon(lambda: all(map(is_gone, pids)))
    soon(lambda: {child.pid for child in me.children(recursive=True)} <= before)
    assert not folder.exists()
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(OSError, match="No such file"):
        client.connect(str(folder / "core.sock"))
