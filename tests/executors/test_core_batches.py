"""Light attempts that are launched together travel together. Each begins, ends, stops and is lost by itself all the same."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from itertools import groupby

import pytest
from remote_kit import C_CODE, Heard, attempt, cell, pid_in, until

from cerebelum_nb.seal import new_key
from cerebelum_nb.wire import batches
from cerebelum_nb.wire.frames import Ended
from cerebelum_nb.wire.gate import Left

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

SHORT = "def step(log=None, *_):\n    if log: open(log, 'a').write('x')\n    return 1"
LIMIT_S = 30


class Launched(Heard):
    """An attempt that was launched."""

    def __init__(self, core, one):
        super().__init__()
        self.one, self.outcome = one, asyncio.get_running_loop().create_future()
        self.take_back = core.launch(one, self, self.outcome.set_result)
        assert self.take_back is not None


def all_ended(launched):
    return all(one.outcome.done() for one in launched)


async def ends(launched):
    return await asyncio.wait_for(asyncio.gather(*(one.outcome for one in launched)), LIMIT_S)


async def used_to_short_ones(core):
    """So many short attempts that the next ones go together; and what they were told by."""
    heard, take = [], core.link._take
    core.link._take = lambda frame: (heard.append(frame), take(frame))
    step = cell(SHORT)["step"]
    for _ in range(20):
        await ends([Launched(core, attempt(step)) for _ in range(16)])
    assert Counter(type(frame) for frame in heard)[Ended] > 5
    heard.clear()
    return step, heard


async def test_what_is_launched_together_is_told_together_and_each_has_its_own_result(core):
    await used_to_short_ones(core)
    add = cell("def add(a, b): return a + b")["add"]

    launched = [Launched(core, attempt(add, number, 1)) for number in range(16)]
    outcomes = await ends(launched)

    assert [outcome.value for outcome in outcomes] == list(range(1, 17))
    assert [one.heard for one in launched] == [[("started", "worker 1")]] * 16
    assert all(outcome.run_s >= 0 and min(outcome.transfer_s) >= 0 for outcome in outcomes)


@pytest.mark.parametrize("slots", [2])
async def test_who_takes_long_is_told_of_at_once_and_holds_up_nobody(core, tmp_path):
    step, _ = await used_to_short_ones(core)
    endless = attempt(cell(C_CODE)["step"], str(tmp_path / "pid"))

    launched = [Launched(core, one) for one in (attempt(step), endless, *(attempt(step) for _ in range(30)))]
    await asyncio.wait_for(launched[1].begun.wait(), LIMIT_S)
    outcomes = await ends([launched[0], *launched[2:]])

    assert {outcome.kind for outcome in outcomes} == {"ok"}
    assert not launched[1].outcome.done()
    await pid_in(tmp_path / "pid")
    launched[1].take_back()


@pytest.mark.parametrize("slots", [2])
async def test_of_a_batch_one_is_stopped_before_it_begins_and_one_while_it_runs(core, tmp_path):
    step, _ = await used_to_short_ones(core)
    log = tmp_path / "log"
    naps = cell("import time\ndef naps(path):\n    open(path, 'w').write('1')\n    time.sleep(60)")["naps"]

    some = [attempt(step, str(log)), attempt(naps, str(tmp_path / "pid")), *(attempt(step, str(log)) for _ in range(6))]
    launched = [Launched(core, one) for one in some]
    stopped = launched[-1].take_back()
    await pid_in(tmp_path / "pid")
    napping = launched[1].take_back()
    first, last = await asyncio.wait_for(asyncio.gather(napping, stopped), LIMIT_S)

    assert (first.kind, last.kind) == ("cancelled", "lost")
    assert {outcome.kind for outcome in await ends([launched[0], *launched[2:-1]])} == {"ok"}
    assert log.read_text() == "x" * 6
    assert core.workers == 2


async def test_one_can_be_had_back_that_its_worker_has_not_begun(core, tmp_path):
    step, _ = await used_to_short_ones(core)
    endless = attempt(cell(C_CODE)["step"], str(tmp_path / "pid"))

    launched = [Launched(core, one) for one in (endless, *(attempt(step) for _ in range(8)))]
    await pid_in(tmp_path / "pid")
    wanted = launched[3].one
    core.withdraw(wanted.run, wanted.task, wanted.number)
    (outcome,) = await ends([launched[3]])

    assert (outcome.kind, outcome.delivered) == ("lost", False)
    assert not any(one.outcome.done() for one in launched if one is not launched[3])
    launched[0].take_back()


async def test_only_the_one_that_ran_is_lost_with_its_worker_and_each_other_one_runs_once(core, tmp_path):
    step, _ = await used_to_short_ones(core)
    log = tmp_path / "log"
    deadly = attempt(cell("import os, time\ndef step():\n    time.sleep(0.1)\n    os._exit(3)")["step"])

    before, behind = ([attempt(step, str(log)) for _ in range(6)] for _ in range(2))
    launched = [Launched(core, one) for one in (*before, deadly, *behind)]
    outcomes = await ends(launched)

    assert [outcome.kind for outcome in outcomes] == ["ok"] * 6 + ["lost"] + ["ok"] * 6
    assert outcomes[6].error.message.startswith("worker 1 (pid ")
    assert "ended with exit code 3 while running step 'step' (attempt 1)." in outcomes[6].error.message
    assert log.read_text() == "x" * 12


async def test_what_one_of_a_batch_says_comes_in_order_and_before_its_end(core):
    step, _ = await used_to_short_ones(core)
    source = "from cerebelum_nb import sleep, ProgressReporter\nasync def says():\n    print('one')\n"
    source += "    ProgressReporter().update(50, 'half')\n    await sleep(200)\n    print('two')\n    return 2"

    launched = [Launched(core, one) for one in (attempt(step), attempt(cell(source)["says"]), attempt(step))]
    says = launched[1]
    outcomes = await ends(launched)

    assert [outcome.value for outcome in outcomes] == [1, 2, 1]
    told = [name for name, _ in groupby(name for name, _ in says.heard)]  # a line may come in two pieces
    assert told == ["started", "stdout", "progress", "paused", "resumed", "stdout"]
    assert says.text() == "one\ntwo\n"
    assert [[name for name, _ in one.heard] for one in (launched[0], launched[2])] == [["started"]] * 2


async def test_those_that_fail_or_give_what_is_no_small_value_end_as_they_would_alone(core):
    step, _ = await used_to_short_ones(core)
    source = "def fails(): raise ValueError('no')\ndef opens(): return open('/dev/null')\n"
    source += "def much(): return 'x' * 100_000\ndef leaves(): raise SystemExit(3)\n"
    made = cell(source)
    names = ("fails", "opens", "much", "leaves")

    launched = [Launched(core, attempt(made[name], step=name)) for name in names]
    launched.append(Launched(core, attempt(step)))
    fails, opens, much, leaves, last = await ends(launched)

    assert (fails.kind, fails.error.type, fails.error.message) == ("error", "ValueError", "no")
    assert "in fails" in fails.error.traceback
    assert (opens.kind, opens.error.type) == ("error", "UnserializableResult")
    assert much.value == "x" * 100_000
    assert leaves.error.type == "SystemExit"
    assert last.value == 1


@pytest.mark.parametrize("slots", [2])
async def test_workers_that_are_killed_again_and_again_lose_what_they_ran_and_nothing_else(core, tmp_path):
    step, _ = await used_to_short_ones(core)
    (folder := tmp_path / "ran").mkdir()
    names = cell(f"def named(n):\n    open({str(folder)!r} + f'/{{n}}', 'a').write('x')\n    return n")["named"]

    launched = [Launched(core, attempt(names, number)) for number in range(250)]
    for _ in range(8):
        seen = len(list(folder.iterdir()))
        await until(lambda seen=seen, some=tuple(launched): len(list(folder.iterdir())) > seen or all_ended(some))
        with contextlib.suppress(ProcessLookupError):  # it has been, and its heir is not known yet
            os.kill(core.pids[1], signal.SIGKILL)
        await until(lambda: core.workers == 2)
        if all_ended(launched):
            launched += [Launched(core, attempt(names, number)) for number in range(len(launched), len(launched) + 100)]
    outcomes = await ends(launched)

    assert {outcome.kind for outcome in outcomes} <= {"ok", "lost"}
    assert all(outcome.value == number for number, outcome in enumerate(outcomes) if outcome.kind == "ok")
    ran = {int(path.name): len(path.read_text()) for path in folder.iterdir()}
    assert max(ran.values()) == 1, "none began twice"
    assert {number for number, outcome in enumerate(outcomes) if outcome.kind == "ok"} <= set(ran)
    assert [one.kind for one in await ends([Launched(core, attempt(step))])] == ["ok"]


async def test_a_batch_that_was_changed_on_its_way_is_refused_and_nothing_in_it_begins(core, tmp_path):
    step, _ = await used_to_short_ones(core)
    log = tmp_path / "log"
    link, put = core.link, core.link._outbox.put

    def changed(*frames):
        put(*(_flipped(frame) if type(frame) is batches.Batch else frame for frame in frames))

    link._outbox.put = changed
    launched = [Launched(core, attempt(step, str(log))) for _ in range(8)]
    outcomes = await ends(launched)

    assert {(outcome.kind, outcome.error.type) for outcome in outcomes} == {("lost", "PayloadRejected")}
    assert "has no valid seal" in outcomes[0].error.message
    assert not log.exists()


def _flipped(batch):
    return batches.Batch(batch.id, batch.run, batch.count, batch.digests, batch.sealed[:-1] + b"?")


@pytest.mark.parametrize("how", ["flipped", "another key", "other attempts", "fewer"])
async def test_ends_that_are_not_what_they_say_are_refused(core, how):
    step, _ = await used_to_short_ones(core)
    take = core.link._take

    def changed(frame):
        if type(frame) is Ended:
            sealed = {
                "flipped": frame.sealed[:-1] + b"?",
                "another key": batches.left(new_key(), "r", Left(frame.id, frame.count, b"")).sealed,
                "other attempts": frame.sealed,
                "fewer": frame.sealed,
            }[how]
            first = frame.id + (how == "other attempts")
            frame = Ended(first, frame.count - (how == "fewer"), sealed, frame.busy_s, frame.worker, frame.got)
        take(frame)

    core.link._take = changed
    launched = [Launched(core, attempt(step)) for _ in range(8)]
    await until(lambda: any(one.outcome.done() for one in launched))

    told = [one.outcome.result() for one in launched if one.outcome.done()]
    assert {(outcome.kind, outcome.error.type) for outcome in told} == {("error", "PayloadRejected")}
