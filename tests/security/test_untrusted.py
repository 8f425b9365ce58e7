"""A hostile worker: it has its own key, and nothing that it makes of it runs code here or speaks for another one."""

import os

import pytest
import pytest_asyncio
from served_kit import ServedForTest  # noqa: F401  it makes remote_kit importable

from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.executors.distrust import ERROR_NBYTES, OUTPUT_LIMIT, RESULT_NBYTES, Distrust
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.seal import key_to_workers, new_key, worker_key
from cerebelum_nb.wire.frames import Finished, Lost, Paused, Printed, Progress

from remote_kit import Heard, begin, cell, pid_in, run  # isort: skip  by served_kit

pytestmark = pytest.mark.asyncio

# What somebody who has taken over a worker can do: all that its process can, its own keys and line included.
TAKEN = """
import gc, os, pickle, struct
from cerebelum_nb.seal import Address, seal
from cerebelum_nb.wire.frames import *

def mine():
    from cerebelum_nb.worker.loop import Worker
    worker = next(o for o in gc.get_objects() if isinstance(o, Worker))
    report = worker._reporter.report
    return worker, report._submit

def finish(codec, body, **more):
    worker, submit = mine()
    address = Address(submit.run, submit.task, submit.number, "to kernel", codec)
    worker._reporter.send(Finished(more.get("id", submit.id), codec, seal(worker._own, address, body), 0.0))

class Bomb:
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (self.path, "w")
"""


def taken(source):
    space = cell(TAKEN)
    exec(source, space)
    return space["step"]


@pytest_asyncio.fixture
async def pool():
    executor = CoreExecutor(slots=1, name="partner", pool=Pool("partner", 1, trust="untrusted"))
    yield executor
    await executor.close()


@pytest_asyncio.fixture
async def two():
    executor = CoreExecutor(slots=2)
    yield executor
    await executor.close()


async def test_plain_data_and_arrays_come_back_from_an_untrusted_pool(pool):
    numpy = pytest.importorskip("numpy")
    step = cell("import numpy\ndef step(): return {'a': (1, b'x', {2.5}), 'b': numpy.arange(6).reshape(2, 3)}")["step"]

    value = (await run(pool, step)).value

    assert value["a"] == (1, b"x", {2.5})
    numpy.testing.assert_array_equal(value["b"], numpy.arange(6).reshape(2, 3))


async def test_a_pickle_bomb_does_not_go_off(pool, tmp_path):
    path = str(tmp_path / "ran")

    outcome = await run(pool, taken("def step(path): return Bomb(path)"), path)

    assert (outcome.kind, outcome.error.type) == ("error", "PayloadRejected")
    assert "which can run code, from a place that is not trusted" in outcome.error.message
    assert not os.path.exists(path)


@pytest.mark.parametrize("codec", ["pickle", "pickle5", "json", "json+", "numpy", "error", "cancelled", "", "x" * 1000])
async def test_a_bomb_under_any_name_does_not_go_off(pool, tmp_path, codec):
    path = str(tmp_path / "ran")
    source = "def step(path, codec):\n    finish(codec, pickle.dumps(Bomb(path)))\n    import time; time.sleep(9)"

    outcome = await run(pool, taken(source), path, codec)

    assert outcome.kind == "cancelled" if codec == "cancelled" else outcome.kind == "error"
    assert outcome.error.type in {"PayloadRejected", "UnreadableResult", "Cancelled"}
    assert "\n" not in outcome.error.message
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"$int":"0x' + b"f" * 2_000_000 + b'"}',
        b'{"$tuple":' * 2_000 + b"[]" + b"}" * 2_000,
        b"",
        b"\xff" * 1000,
    ],
    ids=["open lists", "deep objects", "deep lists", "a huge number", "deep tags", "nothing", "noise"],
)
@pytest.mark.parametrize("codec", ["json", "json+"])
async def test_deep_and_damaged_payloads_are_errors_and_nothing_else(pool, body, codec):
    source = "def step(body, codec):\n    finish(codec, body)\n    import time; time.sleep(9)"

    outcome = await run(pool, taken(source), body, codec)

    if outcome.kind == "ok":  # small enough to be a value, and it is one
        assert body.startswith((b"[", b"{"))
    else:
        assert (outcome.kind, outcome.error.type) == ("error", "PayloadRejected")
        assert len(outcome.error.message) < 1000


async def test_too_much_is_refused_unread(pool):
    outcome = await run(pool, cell("def step(n): return bytes(n)")["step"], RESULT_NBYTES)

    assert (outcome.kind, outcome.error.type) == ("lost", "PayloadRejected")
    assert "at most 16 MiB are taken; nothing in it was read" in outcome.error.message


async def test_rich_output_of_an_untrusted_pool_is_text(pool):
    heard = Heard()
    source = (
        "def step():\n    worker, submit = mine()\n"
        "    worker._reporter.send(Displayed(submit.id, {'text/html': b'<script>alert(1)</script>', 'text/plain': b'hello'}))\n"
        "    worker._reporter.send(Displayed(submit.id, {}))\n"
    )
    assert (await run(pool, taken(source), heard=heard)).kind == "ok"
    assert [name for name, _ in heard.heard] == ["started", "stdout"]
    assert heard.text() == "hello\n"


async def test_numbers_that_are_none_and_endless_text_are_bounded():
    seen = Distrust("p").seen
    inf, nan = float("inf"), float("nan")

    assert seen(Finished(1, "json", b"", nan, -1.0, inf)) == Finished(1, "json", b"", 0.0, 0.0, 0.0)
    assert seen(Progress(1, nan, "x" * 5000)) == Progress(1, 0.0, "x" * 1000)
    assert seen(Progress(1, 7.0, "")) == Progress(1, 1.0, "")
    assert seen(Paused(1, 1, "sleep", inf, "t" * 9999, "json", bytes(2 << 20))) == Paused(
        1, 1, "sleep", 0.0, "t" * 1000
    )
    assert isinstance(seen(Finished(1, "error", bytes(ERROR_NBYTES + 1), 0.0)), Lost)
    printed = Distrust("p")
    assert sum(len(printed.seen(Printed(1, "stdout", "x" * 3_000_000)).text) for _ in range(5)) == OUTPUT_LIMIT


# one worker among others, in any pool --------------------------------------------------------------------------------


async def test_a_worker_cannot_end_or_speak_for_another_ones_attempt(two, tmp_path):
    source = "import time, os\ndef step(path):\n    open(path, 'w').write('1')\n    while not os.path.exists(path + '.go'): time.sleep(0.01)\n    return 'mine'"
    victim, heard = await begin(two, cell(source)["step"], str(tmp_path / "pid"))
    await pid_in(tmp_path / "pid")
    attack = taken(
        "def step():\n    worker, submit = mine()\n"
        "    for n in range(submit.id + 5):\n"
        "        if n == submit.id: continue\n"
        "        finish('json', b'\"forged\"', id=n)\n"
        "        worker._reporter.send(Printed(n, 'stdout', 'forged'), Progress(n, 1.0, 'forged'), Resumed(n),\n"
        "            Paused(n, 1, 'approval', None, 'forged'), Displayed(n, {'text/plain': b'forged'}))\n"
        "        from cerebelum_nb.model.events import ErrorInfo\n"
        "        worker._reporter.send(Lost(n, ErrorInfo('Forged', 'forged')), Started(n, 'forged'), Joined(7, 1), Left(1))\n"
        "    return 'done'\n"
    )
    assert (await run(two, attack)).value == "done"
    assert set(two._link.workers) == {1, 2}
    (tmp_path / "pid.go").touch()

    assert (await victim).value == "mine"
    assert [name for name, _ in heard.heard] == ["started"]


@pytest.mark.parametrize("place", ["0", "31", "32", "-1"], ids=["tag", "end of the tag", "body", "end"])
async def test_a_flipped_byte_in_a_result_is_refused(two, tmp_path, place):
    source = (
        "def step(place, path):\n    worker, submit = mine()\n"
        "    address = Address(submit.run, submit.task, submit.number, 'to kernel', 'pickle')\n"
        "    sealed = bytearray(seal(worker._own, address, pickle.dumps(Bomb(path))))\n"
        "    sealed[place] ^= 1\n"
        "    worker._reporter.send(Finished(submit.id, 'pickle', bytes(sealed), 0.0))\n"
        "    import time; time.sleep(9)"
    )
    outcome = await run(two, taken(source), int(place), str(tmp_path / "ran"))

    assert (outcome.kind, outcome.error.type) == ("error", "PayloadRejected")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("other", ["run='x'", "task=10**6", "attempt=9", "direction='to worker'", "codec='json+'"])
async def test_an_envelope_that_was_made_for_something_else_is_refused(two, other):
    source = (
        "def step():\n    worker, submit = mine()\n"
        f"    address = Address(submit.run, submit.task, submit.number, 'to kernel', 'json')._replace({other})\n"
        "    worker._reporter.send(Finished(submit.id, 'json', seal(worker._own, address, b'1'), 0.0))\n"
        "    import time; time.sleep(9)"
    )
    outcome = await run(two, taken(source))

    assert (outcome.kind, outcome.error.type) == ("error", "PayloadRejected")


async def test_an_envelope_that_is_sent_again_for_the_next_attempt_is_refused(two):
    keep = (
        "def step():\n    import builtins\n    worker, submit = mine()\n"
        "    address = Address(submit.run, submit.task, submit.number, 'to kernel', 'json')\n"
        "    builtins.kept = getattr(builtins, 'kept', None) or seal(worker._own, address, b'\"old\"')\n"
        "    worker._reporter.send(Finished(submit.id, 'json', builtins.kept, 0.0))\n"
        "    import time; time.sleep(0.2)"
    )
    one = CoreExecutor(slots=1)
    try:
        first, again = await run(one, taken(keep)), await run(one, taken(keep))
    finally:
        await one.close()

    assert (first.kind, first.value) == ("ok", "old")
    assert (again.kind, again.error.type) == ("error", "PayloadRejected")


async def test_each_worker_seals_with_a_key_of_its_own(two):
    key = new_key()
    assert len({worker_key(key, f"worker {n}") for n in range(300)} | {key}) == 301
    assert worker_key(key, "worker 1") != worker_key(new_key(), "worker 1")
    step = taken("def step():\n    worker, _ = mine()\n    return worker._key, worker._own")

    opens, own = (await run(two, step)).value

    key = two._link.process.key
    assert opens == key_to_workers(key)
    assert own in {worker_key(key, "worker 1"), worker_key(key, "worker 2")}
