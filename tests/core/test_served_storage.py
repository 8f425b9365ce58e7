"""Large values of a served Core in storage that both sides reach: sealed by digest, by reference, gone when not needed."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from served_kit import ServedForTest

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.codec import Large, apart
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import PayloadRejected, WireError
from cerebelum_nb.wire.lent import Where
from cerebelum_nb.wire.storage import Storage, new_folder
from tests.disk_kit import small_disk

from remote_kit import Heard, attempt, cell, until  # isort: skip  by served_kit

MIB = 1 << 20
STEPS = cell("""
def make(mib):
    import numpy as np
    return np.ones(mib << 17)
def total(array, more=None): return float(array.sum()), array.flags.writeable
def first(mib=20):
    import numpy as np
    return {"of": np.zeros(mib << 17), "name": "x"}
""")
FLOW = """
@step(executor="distributed")
def make(context, inputs):
    import numpy as np
    return np.ones(inputs["mib"] << 17)

@step(executor="distributed")
def far(context, make): return float(make.sum())

@step(executor="local")
def near(context, make, far): return float(make.sum()) + far

@workflow
def by_storage(wf): wf.timeline(make >> far >> near)
"""


@pytest.fixture
def place(tmp_path):
    return tmp_path / "values"


@pytest_asyncio.fixture
async def kernel(tmp_path, place):
    """A kernel of a served Core whose worker is on another host, as far as it knows."""
    core = ServedForTest(tmp_path, slots=0)
    core.worker()
    made = core.kernel(values_url=f"file://{place}", limit_nbytes=8 * MIB)
    yield made
    await made.close()
    core.close()


async def run(kernel, function, *args):
    outcome = await asyncio.wait_for(kernel.run(attempt(function, *args), Heard()), 60)
    assert outcome.error is None, outcome.error
    return outcome


def stored(place):
    return sorted(path for path in place.glob("cerebelum-*/*"))


@pytest.mark.asyncio
async def test_large_values_go_by_storage_once_and_leave_it_when_nobody_needs_them(kernel, place):
    made = await run(kernel, STEPS["make"], 20)  # far above what may go over the line
    assert type(made.value) is Large
    assert made.nbytes == pytest.approx(20 * MIB, rel=0.01)
    assert len(stored(place)) == 1

    array = np.full(20 << 17, 2.0)
    for _ in range(2):
        assert (await run(kernel, STEPS["total"], made.value)).value == (20.0 * (1 << 17), False)
        assert (await run(kernel, STEPS["total"], array)).value == (40.0 * (1 << 17), False)
    assert len(stored(place)) == 2
    assert made.value.open().sum() == 20.0 * (1 << 17)
    assert (await run(kernel, STEPS["first"])).value.open()["name"] == "x"

    del made
    await until(lambda: len(stored(place)) <= 1)
    kernel.link.large.relieve()
    await until(lambda: stored(place) == [])


@pytest.mark.asyncio
async def test_small_values_go_over_the_line(kernel, place):
    assert (await run(kernel, STEPS["total"], np.ones(1 << 17))).value[0] == 1 << 17
    assert isinstance((await run(kernel, STEPS["make"], 2)).value, np.ndarray)
    assert stored(place) == []


@pytest.mark.asyncio
async def test_what_was_changed_there_is_not_read_on_either_side(kernel, place):
    made = await run(kernel, STEPS["make"], 20)
    (path,) = stored(place)
    with path.open("r+b") as file:
        file.seek(10 * MIB)
        file.write(b"!")

    far = await kernel.run(attempt(STEPS["total"], made.value), Heard())

    assert far.error.type == "PayloadRejected"
    assert "was changed, or is another one; nothing of it was read" in far.error.message
    with pytest.raises(PayloadRejected, match="nothing of it was read"):
        made.value.open()
    path.unlink()
    gone = await kernel.run(attempt(STEPS["total"], made.value), Heard())
    assert gone.error.message.startswith(f"a value of 20 MiB cannot be read from values_url, file://{place}/cerebelum-")


@pytest.mark.asyncio
async def test_storage_that_cannot_be_used_is_said_in_one_line(tmp_path):
    core = ServedForTest(tmp_path, slots=1)
    for url, why in (("file:///proc/no", "cannot be used: "), ("nosuch://x/y", "nosuch")):
        made = core.kernel(values_url=url)
        outcome = await asyncio.wait_for(made.run(attempt(STEPS["make"], 1), Heard()), 30)
        assert (outcome.error.type, outcome.delivered) == ("ExecutorError", False)
        assert outcome.error.message.startswith(f"values_url, {url}, ")
        assert why in outcome.error.message
        assert "\n" not in outcome.error.message
        await made.close()
    core.close()


def test_its_folder_goes_with_the_process_and_what_was_left_long_ago_with_the_next(place):
    place.mkdir()
    (place / "cerebelum-1-0123456789abcdef").mkdir()
    (place / "mine").mkdir()
    code = (
        "import sys\nfrom cerebelum_nb.codec import apart\nfrom cerebelum_nb.wire.storage import Storage, new_folder\n"
        "made = Storage(new_folder(sys.argv[1]), owns=True)\nmade.put(apart(bytes(1000)), 'it')\nprint(made.url)"
    )
    url = f"file://{place}"

    told = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60, check=True)

    assert told.stdout.startswith(f"{url}/cerebelum-")
    assert [path.name for path in place.iterdir()] == ["mine"]


def test_values_come_back_as_they_were_and_only_their_owner_can_enter(place):
    storage = Storage(new_folder(f"file://{place}"))
    value = {"a": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "b": b"x" * 100_001, "c": ("t", np.zeros(0))}

    where = storage.put(apart(value), "it")
    back = Storage(storage.url).value(where)

    np.testing.assert_array_equal(back["a"], value["a"])
    assert (back["b"], back["c"][0], back["a"].flags.f_contiguous) == (value["b"], "t", True)
    assert Path(storage.url.removeprefix("file://")).stat().st_mode & 0o077 == 0
    assert storage.holds(where, apart(value))
    assert not storage.holds(where, apart({**value, "c": ("u", np.zeros(0))}))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 64, f"{'a' * 64}.10.{'b' * 16}/..", ""])
def test_a_name_of_something_else_is_refused(place, name):
    storage = Storage(f"file://{place}")

    with pytest.raises(WireError, match="no value of ours"):
        storage.pieces(Where(0, name, "json", ((0, 4),)))


def test_a_descriptor_never_leads_past_the_end(place):
    storage = Storage(new_folder(f"file://{place}"))
    where = storage.put(apart(b"x" * 1000), "it")

    for pieces in (((0, 1 << 40),), ((-8, 16),), ((0, -1),)):
        with pytest.raises(PayloadRejected):
            storage.pieces(Where(0, where.name, where.codec, pieces))


def test_a_forked_child_removes_nothing(place):
    storage = Storage(new_folder(f"file://{place}"), owns=True)
    where = storage.put(apart(b"x" * 1000), "it")
    pid = os.fork()
    if pid == 0:
        storage.release(0, where.name)
        os._exit(0)
    os.waitpid(pid, 0)

    assert storage.value(where) == b"x" * 1000


@pytest.mark.asyncio
async def test_an_attempt_waits_for_room_there_on_either_side(tmp_path):
    with small_disk(32) as disk:
        core = ServedForTest(tmp_path, slots=0)
        core.worker()
        kernel = core.kernel(values_url=f"file://{disk}/values")
        for name, argument in (("make", 20), ("total", np.ones(20 << 17))):
            (disk / "filler").write_bytes(bytes(16 * MIB))
            signals = Heard()
            going = asyncio.create_task(kernel.run(attempt(STEPS[name], argument), signals))
            await until(lambda signals=signals: any(name == "held" for name, _ in signals.heard))
            text = next(text for name, text in signals.heard if name == "held")
            assert "takes 20 MiB, for which there is no room (file://" in text
            (disk / "filler").unlink()

            assert (await asyncio.wait_for(going, 60)).error is None

            del going
            await until(lambda: sum(path.stat().st_size for path in stored(disk / "values")) < 21 * MIB)
            kernel.link.large.relieve()
            await until(lambda: stored(disk / "values") == [])
        await kernel.close()
        core.close()


def test_a_run_hands_large_results_on_by_storage_and_what_goes_on_from_it_too(tmp_path, place):
    core = ServedForTest(tmp_path, slots=1)
    given = {"core_url": core.url, "core_pass": str(core.path), "values_url": f"file://{place}"}
    session = Session(Settings(home=tmp_path / "home", **given))
    space = {"__name__": "__main__", "step": step, "workflow": workflow}
    exec(FLOW, space)

    run = session.run(space["by_storage"], {"mib": 20})
    assert run.wait(60)
    assert run.status == "succeeded", run.error()
    again = run.rerun("far")
    assert again.wait(60)

    assert again.outputs["near"] == 40.0 * (1 << 17)
    assert type(run.scheduler.values[0]) is Large
    assert len(stored(place)) == 1
    assert session.free_memory() == 0
    del again
    held = [path for path in stored(place) if path.exists()]
    assert run.lost == {0}
    end = time.monotonic() + 60
    while any(path.exists() for path in held):
        assert time.monotonic() < end
        time.sleep(0.01)  # a poll, not a pause
    session.close()
    core.close()
