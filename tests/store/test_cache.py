"""Results that are used again: what is served, what never is, what the bar says, and what is on disk."""

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cerebelum_nb import ExecutionError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.model.events import TaskFinished, TaskLookedUp
from cerebelum_nb.model.state import RunState
from cerebelum_nb.store import cache as cache_module
from cerebelum_nb.store import journal
from cerebelum_nb.store.cache import Cache, Made
from cerebelum_nb.store.memory import IN_MEMORY, IN_MEMORY_NBYTES, INLINE_NBYTES, Memory

DEADLINE = 30
FIRST = "miss: first time"
FRESH = "not looked up: --fresh"


@pytest.fixture
def start(tmp_path):
    """Starts sessions of one project."""
    made = []

    def begin(**settings):
        made.append(Session(Settings(home=tmp_path / "home", **settings)))
        return made[-1]

    yield begin
    for session in made:
        session.close()


def cell(source, **names):
    """What a notebook's cell defines."""
    space = {"__name__": "__main__", "step": step, **names}
    exec(source, space)
    return space


@pytest.fixture
def log(tmp_path):
    """A file to which steps write what they do: nothing that a step could carry tells whether it ran."""
    path = tmp_path / "log"
    path.touch()
    return path


def one(function):
    """A workflow of one step."""
    return workflow(name="w")(lambda wf: wf.timeline(function))


def done(session, work, inputs=None, **asked):
    """A run that has ended, and what the bars of its steps say."""
    run = session.run(work, inputs or {}, **asked)
    assert run.wait(DEADLINE)
    return run, {row.step: (row.status, row.cache) for row in run.rows()}


def hit(run):
    return ("cached", f"hit: same code, values and inputs as in run {run.id}")


PLAIN = """
@step(cache=True)
def slow(inputs):
    if log:
        with open(log, "a") as file:
            file.write(f"{inputs['n']} ")
    return {"n": inputs["n"] * factor}
factor = 2
log = ""
"""
ASYNC = PLAIN.replace("def slow", "async def slow")


def entries(session, what="count(*)"):
    with contextlib.closing(sqlite3.connect(session._home / "cache.db")) as db:
        return db.execute(f"select {what} from entries").fetchone()[0]


# served -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [PLAIN, ASYNC], ids=["sync", "async"])
def test_the_same_again_is_served_and_the_rest_is_told(session, source, log):
    names = cell(source)
    names["log"] = str(log)
    work = one(names["slow"])

    first, bars = done(session, work, {"n": 1})
    assert bars == {"slow": ("succeeded", FIRST)}
    second, bars = done(session, work, {"n": 1})
    assert bars == {"slow": hit(first)}
    assert second.result(DEADLINE).output == {"ok": {"n": 2}}
    assert done(session, work, {"n": 3})[1] == {"slow": ("succeeded", "miss: input 'n' changed")}
    names["factor"] = 5
    assert done(session, work, {"n": 3})[1] == {"slow": ("succeeded", "miss: global 'factor' changed")}
    assert log.read_text() == "1 3 3 "


def test_a_hit_is_an_attempt_with_its_events_and_the_journal_folds_to_the_live_state(session):
    work = one(cell(PLAIN)["slow"])
    done(session, work, {"n": 1})
    run, _ = done(session, work, {"n": 1})

    assert [type(e).__name__ for e in run.events] == [
        *("RunStarted", "AttemptStarted", "TaskLookedUp", "AttemptFinished", "TaskFinished", "RunFinished")
    ]
    assert [e.source for e in run.events if isinstance(e, TaskFinished)] == ["cache"]
    state = RunState()
    for event in journal.read(session.journal_path, run.id):
        state.apply(event)
    assert state == run.state


def test_other_steps_pay_nothing_and_hear_nothing(session):
    run, bars = done(session, one(step(name="plain")(lambda: 1)))

    assert bars == {"plain": ("succeeded", "")}
    assert run.results.cache is None
    assert not (session._home / "cache.db").exists()


def test_a_later_session_is_served(start, log):
    source = PLAIN.replace('log = ""', f"log = {str(log)!r}")
    first, _ = done(before := start(), one(cell(source)["slow"]), {"n": 1})
    before.close()

    run, bars = done(start(), one(cell(source)["slow"]), {"n": 1})

    assert bars == {"slow": hit(first)}
    assert run.result(DEADLINE).output == {"ok": {"n": 2}}
    assert log.read_text() == "1 "


def test_another_process_is_served(start, tmp_path, log):
    source = PLAIN.replace('log = ""', f"log = {str(log)!r}")
    program = tmp_path / "program.py"
    program.write_text(
        f"""
from pathlib import Path
from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
space = {{"__name__": "__main__", "step": step}}
exec({source!r}, space)
session = Session(Settings(home=Path({str(tmp_path / "home")!r})))
run = session.run(workflow(name="w")(lambda wf: wf.timeline(space["slow"])), {{"n": 1}})
run.wait(20)
print(run.id, run.rows()[0].status, run.outputs["slow"])
session.close()
"""
    )

    def process():
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split(maxsplit=2)

    run, *said = process()
    assert said == ["succeeded", "{'n': 2}\n"]
    assert process()[1:] == ["cached", "{'n': 2}\n"]
    _, bars = done(start(), one(cell(source)["slow"]), {"n": 1})
    assert bars["slow"] == ("cached", f"hit: same code, values and inputs as in run {run}")
    assert log.read_text() == "1 "


@pytest.mark.parametrize("first", ["local", "distributed"])
def test_what_a_worker_made_is_served_here_and_the_other_way_round(session, first):
    other = {"local": "distributed", "distributed": "local"}[first]
    source = """
import os
@step(cache=True)
def where(inputs): return os.getpid(), inputs["n"], {1: helper(2)}
def helper(x): return x
"""
    names = cell(source)
    work = one(names["where"])

    made, bars = done(session, work, {"n": 1}, strategy={"default": first})
    assert bars == {"where": ("succeeded", FIRST)}
    assert (made.outputs["where"][0] == os.getpid()) == (first == "local")
    again, bars = done(session, work, {"n": 1}, strategy={"default": other})
    assert bars == {"where": hit(made)}
    assert again.outputs == made.outputs
    assert done(session, work, {"n": 2}, strategy={"default": other})[1] == {
        "where": ("succeeded", "miss: input 'n' changed")
    }


def test_a_hit_asks_no_executor(start):
    class Refusing:
        name, crosses_boundary, capacity = "core", True, 1

        async def start(self):
            raise AssertionError("nobody needs it")

        async def close(self):
            pass

    work = one(cell("@step(cache=True)\ndef far(): return 1")["far"])
    first, _ = done(before := start(), work)
    before.close()
    session = start()
    session._remote["core"] = Refusing()

    assert done(session, work, strategy={"default": "distributed"})[1] == {"far": hit(first)}


def test_what_follows_a_hit_gets_the_same_result(session):
    source = """
@step(cache=True)
def load(inputs): return {"rows": [1, 2, inputs["n"]]}
@step(cache=True)
async def spoil(load):
    load["rows"].append(9)
    return len(load["rows"])
@step
def last(load, spoil): return load["rows"], spoil
"""
    names = cell(source)
    work = workflow(name="w")(lambda wf: wf.timeline(names["load"] >> names["spoil"] >> names["last"]))

    outputs = []
    for _ in range(3):
        run, bars = done(session, work, {"n": 3})
        outputs.append(run.outputs["last"])
        run.outputs["load"]["rows"].append("mine")
    assert outputs == [([1, 2, 3], 4)] * 3
    assert [bars[name][0] for name in bars] == ["cached", "cached", "succeeded"]


def test_what_others_do_to_a_result_is_not_kept(session):
    source = """
@step(cache=True)
async def load(): return np.zeros(3)
@step
async def spoil(load):
    load += 1
    return 0
"""
    names = cell(source, np=np)
    work = workflow(name="w")(lambda wf: wf.timeline(names["load"] >> names["spoil"]))

    for _ in range(3):
        done(session, work)
    run, bars = done(session, one(names["load"]))

    assert bars["load"][0] == "cached"
    assert run.outputs["load"].tolist() == [0, 0, 0]


def test_an_envelope_is_served_as_it_was_returned(session):
    work = one(cell("@step(cache=True)\ndef s(): return {'ok': {'ok': 1}}")["s"])

    outputs = [done(session, work)[0].result(DEADLINE).output for _ in range(2)]
    assert outputs == [{"ok": {"ok": 1}}] * 2
    assert session.runs[1].rows()[0].status == "cached"
    assert session.runs[1].outputs == session.runs[0].outputs == {"s": {"ok": 1}}


@pytest.mark.parametrize("value", [None, 0, -0.0, 2**70, "", b"\x00", (1, [2]), {1: {2}}, [1.5, None]], ids=repr)
def test_every_value_comes_back_as_what_it_was(start, value):
    work = one(cell("@step(cache=True)\ndef s(): return value", value=value)["s"])

    runs = [done(session := start(), work)[0]]
    runs.append(done(session, work)[0])
    session.close()
    runs.append(done(start(), work)[0])
    assert [run.rows()[0].status for run in runs] == ["succeeded", "cached", "cached"]
    assert [repr(run.outputs["s"]) for run in runs] == [repr(value)] * 3


def test_large_results_are_files_of_their_owner_alone(start):
    work = one(cell("@step(cache=True)\ndef s(): return np.arange(100_000)", np=np)["s"])
    done(session := start(), work)
    session.close()
    files = list((session._home / "cache").iterdir())

    run, bars = done(start(), work)
    assert bars["s"][0] == "cached"
    assert run.outputs["s"].tolist() == list(range(100_000))
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600]
    assert stat.S_IMODE((session._home / "cache.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((session._home / "cache").stat().st_mode) == 0o700


def test_a_loop_looks_each_round_up(session):
    source = """
from cerebelum_nb import back_to
@step(cache=True)
def count(inputs): return len(state)
@step
def more(count):
    state.append(1)
    return len(state)
"""
    names = cell(source, state=[])

    def define(wf):
        wf.timeline(names["count"] >> names["more"])
        wf.diverge(names["more"], {3: None, "_": names["back_to"](names["count"])})

    run, _ = done(session, workflow(name="w")(define))
    said = [e.text for e in run.events if isinstance(e, TaskLookedUp)]
    assert said == [FIRST, "miss: global 'state' changed", "miss: global 'state' changed"]
    assert run.outputs["count"] == 2


# never served -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError",
        "return {'error': 'no'}",
        "return some()",
    ],
)
def test_a_failed_step_leaves_nothing(session, body):
    work = one(cell(f"async def some(): pass\n@step(cache=True)\ndef s():\n  {body}")["s"])

    for _ in range(2):
        run, bars = done(session, work)
        assert run.status == "failed"
        assert bars["s"][0] == "failed"
        assert bars["s"][1].startswith(FIRST)
    assert not (session._home / "cache.db").exists() or entries(session) == 0


def test_only_the_attempt_that_succeeded_is_kept(session, log):
    source = """
import os
@step(cache=True, retries=2)
def s():
    with open(log, "a") as file:
        file.write("x")
    if (tried := os.path.getsize(log)) < 3:
        raise OSError
    return tried
"""
    work = one(cell(source, log=str(log))["s"])

    first, bars = done(session, work)
    assert bars == {"s": ("succeeded", FIRST)}
    again, bars = done(session, work)
    assert bars == {"s": hit(first)}
    assert again.outputs == {"s": 3}
    assert entries(session) == 1


def test_what_changed_what_it_carries_is_not_kept(session):
    names = cell("seen = []\n@step(cache=True)\ndef s():\n  seen.append(1)\n  return len(seen)")
    work = one(names["s"])

    assert done(session, work)[1] == {"s": ("succeeded", f"{FIRST}; not kept: global 'seen' changed while it ran")}
    assert done(session, work)[0].outputs == {"s": 2}


def test_an_attempt_that_ends_after_its_run_was_cancelled_leaves_nothing(session, monkeypatch):
    go, inside = threading.Event(), threading.Event()
    # What the step waits for is none of its values: it comes through a module that is not the person's own.
    monkeypatch.setattr(cache_module, "hold", lambda: (inside.set(), go.wait(DEADLINE)), raising=False)
    work = one(cell("@step(cache=True)\ndef s():\n  cache.hold()\n  return 1", cache=cache_module)["s"])

    run = session.run(work, {})
    assert inside.wait(DEADLINE)
    run.cancel()
    assert run.wait(DEADLINE)
    assert run.status == "cancelled"
    go.set()

    assert done(session, work)[1] == {"s": ("succeeded", FIRST)}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "import threading\nlock = threading.Lock()\n@step(cache=True)\ndef s(): return lock and 1",
            "not cached: it carries the global 'lock', whose content cannot be compared (it is or holds a _thread.lock);",
        ),
        (
            "@step(cache=True)\ndef s(context): return context.execution_id",
            "not cached: it reads context.execution_id, which is another one in each run",
        ),
        (
            "@step(cache=True)\ndef s(): return (i for i in 'ab')",
            f"{FIRST}; not kept: its result cannot be written down (TypeError: cannot pickle 'generator' object)",
        ),
        (
            "import numpy as np\n@step(cache=True)\ndef s(): return np.zeros(20 << 20, 'u1')",
            f"{FIRST}; not kept: its result is 20 MiB; at most 16 are cached",
        ),
    ],
    ids=["lock", "execution_id", "generator", "large"],
)
def test_what_cannot_be_cached_runs_each_time_and_says_why(session, source, told):
    work = one(cell(source)["s"])

    for _ in range(2):
        run, bars = done(session, work)
        assert run.status == "succeeded"
        assert bars["s"][0] == "succeeded"
        assert bars["s"][1].startswith(told)


def test_an_argument_that_cannot_be_compared_is_named(session):
    source = """
import threading
@step
def conn(): return [threading.Lock()]
@step(cache=True)
def s(conn): return 1
"""
    names = cell(source)
    work = workflow(name="w")(lambda wf: wf.timeline(names["conn"] >> names["s"]))

    assert done(session, work)[1]["s"] == (
        "succeeded",
        "not cached: argument 'conn' cannot be compared (it is or holds a _thread.lock)",
    )


# asked for ----------------------------------------------------------------------------------------------------------


def test_fresh_looks_nothing_up_and_keeps_anew(session, log):
    names = cell(PLAIN)
    names["log"] = str(log)
    work = one(names["slow"])
    done(session, work, {"n": 1})

    fresh, bars = done(session, work, {"n": 1}, fresh=True)
    assert bars == {"slow": ("succeeded", FRESH)}
    assert done(session, work, {"n": 1})[1] == {"slow": hit(fresh)}
    assert asyncio.run(session.execute(work, {"n": 1}, fresh=True)).outputs == {"slow": {"n": 2}}
    assert log.read_text() == "1 1 1 "


def test_a_step_that_is_run_again_by_name_is_not_served_and_what_depends_on_it_is(session):
    source = """
@step(cache=True)
def load(): return 7
@step(cache=True)
def total(load): return load + 1
"""
    names = cell(source)
    work = workflow(name="w")(lambda wf: wf.timeline(names["load"] >> names["total"]))
    first, _ = done(session, work)

    again = first.rerun("load")
    assert again.wait(DEADLINE)
    assert {row.step: row.status for row in again.rows()} == {"load": "succeeded", "total": "cached"}
    assert again.rows()[0].cache == "not looked up: it was asked to run again"


def test_a_declared_version_makes_others_of_earlier_results(session):
    def with_version(version):
        return one(cell(PLAIN.replace("cache=True", f"cache=True, version={version!r}"))["slow"])

    done(session, with_version("1"), {"n": 1})
    assert done(session, with_version("1"), {"n": 1})[1]["slow"][0] == "cached"
    assert done(session, with_version("2"), {"n": 1})[1]["slow"][1] == "miss: its version changed"


def test_nothing_is_written_where_results_are_not_kept(start):
    session, names = start(keep_results=False), cell(PLAIN)
    work = one(names["slow"])

    first, _ = done(session, work, {"n": 1})
    assert done(session, work, {"n": 1})[1] == {"slow": hit(first)}
    assert done(session, work, {"n": 2})[1]["slow"][1] == "miss: input 'n' changed"
    session.close()
    assert not (session._home / "cache.db").exists()


def test_purge_empties_it_and_leaves_runs(session):
    names = cell(PLAIN)
    work = one(names["slow"])
    first, _ = done(session, work, {"n": 1})

    assert session.cache.held() == "1 result (0.0 MiB)"
    session.cache.purge()
    assert session.cache.held() == ""
    assert done(session, work, {"n": 1})[1] == {"slow": ("succeeded", FIRST)}
    assert session.load(first.id).outputs == {"slow": {"n": 2}}


# on disk ------------------------------------------------------------------------------------------------------------


def damaged(session, statement, *values):
    with contextlib.closing(sqlite3.connect(session._home / "cache.db", isolation_level=None)) as db:
        db.execute(statement, values)


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("update entries set body=?", b"x" * 100),
        ("update entries set body=cast(substr(body, 1, 33) || ? as blob)", b"x"),
        ("update entries set codec=?", "pickle"),
        ("update entries set run=?", "another"),
    ],
)
def test_an_entry_that_was_changed_is_a_miss_that_says_so_and_is_removed(start, statement, value):
    names = cell(PLAIN)
    done(session := start(), one(names["slow"]), {"n": 1})
    session.close()
    damaged(session, statement, value)

    session = start()
    run, bars = done(session, one(names["slow"]), {"n": 1})
    assert bars["slow"] == (
        "succeeded",
        "miss: the earlier result was changed, or is of another project, and is removed",
    )
    assert done(session, one(names["slow"]), {"n": 1})[1] == {"slow": hit(run)}
    assert entries(session) == 1


def test_results_of_another_project_are_not_read(start):
    names = cell(PLAIN)
    done(session := start(), one(names["slow"]), {"n": 1})
    session.close()
    (session._home / "key").unlink()

    assert "of another project" in done(start(), one(names["slow"]), {"n": 1})[1]["slow"][1]


def test_a_file_that_is_gone_is_a_miss(start):
    work = one(cell("@step(cache=True)\ndef s(): return 'x' * 300_000")["s"])
    done(session := start(), work)
    session.close()
    (file,) = (session._home / "cache").iterdir()
    file.unlink()

    session = start()
    assert done(session, work)[1]["s"][1].startswith("miss: the earlier result cannot be read (FileNotFound")
    session.close()
    assert done(start(), work)[1]["s"][0] == "cached"


def test_a_damaged_database_is_set_aside(start, caplog):
    names = cell(PLAIN)
    work = one(names["slow"])
    (home := start()._home).mkdir()
    (home / "cache.db").write_bytes(b"no database" * 1000)

    session = start()
    with caplog.at_level(logging.WARNING):
        first, bars = done(session, work, {"n": 1})
        assert bars == {"slow": ("succeeded", FIRST)}
    assert "was set aside as cache.db.corrupt-" in caplog.text
    session.close()
    assert done(start(), work, {"n": 1})[1] == {"slow": hit(first)}


def test_a_newer_cache_is_left_alone_and_memory_serves(start, caplog):
    (home := start()._home).mkdir()
    with contextlib.closing(sqlite3.connect(home / "cache.db")) as db:
        db.execute("pragma user_version=99")
    before = (home / "cache.db").read_bytes()
    session, work = start(), one(cell(PLAIN)["slow"])

    with caplog.at_level(logging.WARNING):
        first, _ = done(session, work, {"n": 1})
        assert done(session, work, {"n": 1})[1] == {"slow": hit(first)}
        done(session, work, {"n": 2})
    assert caplog.text.count("was written by a newer cerebelum_nb") == 1
    assert (home / "cache.db").read_bytes() == before


def test_a_folder_in_which_nothing_can_be_written_harms_no_run(start, caplog):
    session, work = start(), one(cell("@step(cache=True)\ndef s(): return 'x' * 300_000")["s"])
    session._home.mkdir()
    (session._home / "cache").write_text("a file stands where the folder should be")

    with caplog.at_level(logging.WARNING):
        for n in range(3):
            assert done(session, work, {"n": n}, fresh=True)[0].status == "succeeded"
    assert caplog.text.count("results are not cached on disk") == 1


def test_a_removed_folder_is_made_again(session, tmp_path):
    work = one(cell(PLAIN)["slow"])
    done(session, work, {"n": 1})
    shutil.rmtree(tmp_path / "home")

    done(session, work, {"n": 2})
    done(session, work, {"n": 3})
    assert entries(session) >= 1


def filled(folder, limit_nbytes, sizes):
    """A cache of results, the first the one that was used least recently."""
    kept = Cache(folder, limit_nbytes, lambda: b"k" * 32)
    for i, nbytes in enumerate(sizes):
        kept.store([Made(bytes([i]) * 16, "s", f"run {i}", "json", b'"' + b"x" * (nbytes - 2) + b'"', ())])
        damaged_used = sqlite3.connect(folder / "cache.db", isolation_level=None)
        damaged_used.execute("update entries set used=? where key=?", (1000.0 + i, bytes([i]) * 16))
        damaged_used.close()
    return kept


def keys(folder):
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as db:
        return sorted(key[0] for (key,) in db.execute("select key from entries"))


def test_the_least_recently_used_make_room_when_a_session_first_writes(tmp_path):
    kept = filled(tmp_path, 10 << 20, [1 << 20] * 4)
    assert keys(tmp_path) == [0, 1, 2, 3]
    assert kept.find(b"\0" * 16) is not None
    kept._used[b"\0" * 16] = 0.0  # an hour has passed since it was made
    kept.tidy()
    kept.close()

    later = Cache(tmp_path, 3 << 20, lambda: b"k" * 32)
    later.store([Made(b"\x09" * 16, "s", "run 9", "json", b"1", ())])
    later.close()

    assert keys(tmp_path) == [0, 3, 9]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_limit_is_the_settings(start):
    work = one(cell("@step(cache=True)\ndef s(inputs): return 'x' * 400_000")["s"])
    session = start(cache_mib=1)
    for n in range(6):
        done(session, work, {"n": n})
    session.close()

    assert entries(session, "sum(nbytes)") <= 1 << 20
    assert done(start(cache_mib=1), work, {"n": 5})[1]["s"][0] == "cached"


def test_a_long_session_makes_room_too(tmp_path):
    kept = filled(tmp_path, 2 << 20, [1 << 19] * 8)
    kept.close()

    assert keys(tmp_path)[-1] == 7
    assert len(keys(tmp_path)) <= 4


def test_files_that_nobody_knows_go(tmp_path):
    filled(tmp_path, 10 << 20, [1 << 20]).close()
    old, young = tmp_path / "cache" / "left", tmp_path / "cache" / "young.half"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)

    later = Cache(tmp_path, 10 << 20, lambda: b"k" * 32)
    later.store([Made(b"\x09" * 16, "s", "run 9", "json", b"1", ())])
    later.close()
    assert not old.exists()
    assert young.exists()
    assert keys(tmp_path) == [0, 9]


def test_two_kernels_at_once_store_and_read(tmp_path):
    two = [Cache(tmp_path, 64 << 20, lambda: b"k" * 32) for _ in range(2)]
    failed = []

    def work(kept, mine):
        try:
            for i in range(60):
                key = bytes([i % 7]) * 16
                kept.store([Made(key, "s", f"run {mine}", "json", f'"{"x" * 300_000}"'.encode(), ())])
                kept.memory.clear()
                try:
                    found = kept.find(key)
                except cache_module.Broken:  # the other one replaced its file between row and file
                    kept._broken.clear()
                else:
                    assert found is None or len(found.outcome.value) == 300_000
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=work, args=(kept, i)) for i, kept in enumerate(two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for kept in two:
        kept.close()
    assert failed == []
    assert len(list((tmp_path / "cache").iterdir())) == len(keys(tmp_path)) == 7


# in memory ----------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_forgets_who_was_used_least_recently():
    memory = Memory()
    for i in range(IN_MEMORY + 10):
        memory.put(i.to_bytes(16, "big"), "json", b"1", "r")
        memory.find((0).to_bytes(16, "big"))

    assert memory.find((0).to_bytes(16, "big")) is not None
    assert memory.find((1).to_bytes(16, "big")) is None
    assert len(memory._kept) == IN_MEMORY
    for i in range(200):
        memory.put(i.to_bytes(16, "little"), "numpy", b"x" * INLINE_NBYTES, "r")
    assert memory._nbytes <= IN_MEMORY_NBYTES
    memory.put(b"large", "json", b"x" * (INLINE_NBYTES + 1), "r")
    assert memory.find(b"large") is None


def test_what_memory_gives_is_everybodys_own():
    memory = Memory()
    memory.put(b"k", "json", b"[1]", "r")

    memory.find(b"k").outcome.value.append(2)

    assert memory.find(b"k").outcome.value == [1]


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("at_once", "could not be looked up"),
        ("find", "could not be looked up"),
        ("newest", "could not be looked up"),
        ("store", "could not be kept in the cache"),
        ("tidy", "could not be tidied"),
    ],
)
def test_a_bug_in_the_cache_costs_no_run(session, monkeypatch, caplog, broken, told):
    work = one(cell(PLAIN)["slow"])

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(cache_module.Cache, broken, lambda *_: 1 / 0)
        run, _ = done(session, work, {"n": 1})
        assert run.result(DEADLINE).output == {"ok": {"n": 2}}
        assert done(session, work, {"n": 2})[0].status == "succeeded"  # also what is done after a run has been done
    assert told in caplog.text


def test_a_step_that_fails_after_a_hit_does_not_unserve_it(session):
    names = cell("@step(cache=True)\ndef a(): return 1\n@step\ndef b(a): raise ValueError")
    work = workflow(name="w")(lambda wf: wf.timeline(names["a"] >> names["b"]))
    done(session, work)

    with pytest.raises(ExecutionError):
        session.run(work, {}).result(DEADLINE)
    assert session.runs[-1].rows()[0].status == "cached"
