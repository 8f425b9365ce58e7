"""Journal files: versions, damage, what a power cut leaves, and several kernels at once."""

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cerebelum_nb import ExecutorError, PlanError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptStarted,
    Placement,
    RunFinished,
    RunStarted,
    TaskFinished,
    encode_lines,
)
from cerebelum_nb.model.state import RunState
from cerebelum_nb.store import journal
from cerebelum_nb.store.journal import SCHEMA, About, Journal, open_or_set_aside, read, read_about, read_runs

DEADLINE = 30


def events(run="r", n=3):
    """A run of so many steps, one after the other."""
    place = Placement("local", "local", "local", False, "default", "")
    names, needs = tuple(f"s{i}" for i in range(n)), tuple((i - 1,) if i else () for i in range(n))
    made = [RunStarted(0, 1000.0, run, "w", names, needs, (place,), (0,) * n)]
    for task in range(n):
        made += [
            AttemptStarted(len(made), 1001.0 + task, task, 1, "kernel"),
            AttemptFinished(len(made) + 1, 1001.5 + task, task, 1, "ok"),
            TaskFinished(len(made) + 2, 1001.5 + task, task, "succeeded"),
        ]
    return [*made, RunFinished(len(made), 2000.0, "succeeded")]


def about(run="r"):
    return About(run, "w", 1000.0, os.getpid(), 0.0, {}, {}, root=run)


def written(path, run="r", n=3):
    """A journal with one run, a row for each event, closed."""
    book, said = Journal(path), events(run, n)
    for e in said:
        book.write(run, [e], about(run) if e.seq == 0 else None)
    book.close()
    return said


def first_version(path, said):
    """A file as the first version wrote it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma journal_mode=wal")
        db.execute("create table journal(run text, first integer, last integer, lines blob)")
        db.execute("create index journal_run on journal(run, first)")
        db.execute("pragma user_version=1")
        for run in said:
            for part in (said[run][:4], said[run][4:]):
                db.execute("insert into journal values(?,?,?,?)", (run, part[0].seq, part[-1].seq, encode_lines(part)))


def version(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("pragma user_version").fetchone()[0]


def test_a_file_of_the_first_version_is_brought_up_to_date_and_its_runs_are_listed(tmp_path):
    path = tmp_path / "journal.db"
    said = {"20250101-000000-aa": events("20250101-000000-aa"), "20250102-000000-bb": events("20250102-000000-bb")[:-1]}
    first_version(path, said)

    Journal(path).close()

    assert version(path) == SCHEMA
    assert [(a.run, a.workflow, a.at, status) for a, status in read_runs(path)] == [
        ("20250102-000000-bb", "w", 1000.0, ""),
        ("20250101-000000-aa", "w", 1000.0, "succeeded"),
    ]
    assert {run: list(read(path, run)) for run in said} == said
    session = Session(Settings(home=tmp_path, keep_days=100_000))
    assert [e.status for e in session.history.entries()] == ["interrupted", "succeeded"]
    assert session.load("20250101-000000-aa").status == "succeeded"
    session.close()


def test_a_file_of_the_second_version_keeps_what_it_knows(tmp_path):
    path = tmp_path / "journal.db"
    first_version(path, {"r": events()})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("create table runs(run text primary key, at real, status text, body blob)")
        db.execute("insert into runs values('r', 1000.0, 'failed', ?)", (journal._encode(about()),))
        db.execute("create table resumed(run text primary key, by text, pid integer, born real)")
        db.execute("insert into resumed values('q', 'r', 1, 2.0)")
        db.execute("pragma user_version=2")

    Journal(path).close()

    assert read_runs(path) == [(about(), "failed")]
    assert journal.read_claims(path) == {"q": "r"}
    assert list(read(path, "r")) == events()


def test_an_update_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "journal.db"
    first_version(path, {"r": events()})

    def breaks(db):
        raise sqlite3.OperationalError("power cut")

    monkeypatch.setattr(journal, "_STEPS", (*journal._STEPS[:2], breaks))
    with pytest.raises(sqlite3.OperationalError, match="power cut"):
        Journal(path)

    assert version(path) == 1
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert not db.execute("select 1 from sqlite_master where name='runs'").fetchone()
    assert list(read(path, "r")) == events()


def test_runs_of_a_newer_file_are_listed_and_looked_at_and_nothing_of_it_is_changed(tmp_path):
    path = tmp_path / "journal.db"
    written(path, "20250101-000000-aa")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("alter table journal add column later text")
        db.execute("create table further(x)")
        db.execute("pragma user_version=99")
    before = path.read_bytes()
    session = Session(Settings(home=tmp_path))
    one = step(name="one")(lambda context: 1)
    w = workflow(name="w")(lambda wf: wf.timeline(one))
    with pytest.raises(ExecutorError, match="written by a newer cerebelum_nb"):
        session.history.purge(["20250101-000000-aa"])

    run = session.run(w)
    with pytest.warns(UserWarning, match="written by a newer cerebelum_nb .schema 99.*earlier runs can be looked at"):
        run.result(DEADLINE)

    assert [(e.run, e.status) for e in session.history.entries()] == [
        (run.id, "succeeded"),
        ("20250101-000000-aa", "succeeded"),
    ]
    assert session.load("20250101-000000-aa").state.names == ("s0", "s1", "s2")
    session.close()
    assert path.read_bytes() == before


def test_a_damaged_row_is_told_and_never_believed(tmp_path):
    path = tmp_path / "journal.db"
    written(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        (lines,) = db.execute("select lines from journal where first=5").fetchone()
        db.execute("update journal set lines=? where first=5", (bytes(lines).replace(b"ok", b"no"),))

    with pytest.raises(ExecutorError, match=f"{path} is damaged: run r cannot be read from its event 5 on"):
        list(read(path, "r"))


def test_a_row_that_is_missing_is_told(tmp_path):
    path = tmp_path / "journal.db"
    written(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("delete from journal where first=5")

    with pytest.raises(ExecutorError, match="cannot be read from its event 5 on"):
        list(read(path, "r"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A journal of a few pages, and what it says."""
    path = tmp_path_factory.mktemp("sound") / "journal.db"
    written(path, "r", 60)
    return path


def is_prefix_or_told(path, said):
    """What can be read of a run is its first so many events; or it is told that it cannot be read."""
    found = []
    with contextlib.suppress(ExecutorError):
        found.extend(read(path, "r"))
    assert found == said[: len(found)]
    state = RunState()
    for e in found:
        state.apply(e)


def works_on(path):
    """A new run is written somewhere, and what was damaged is still there."""
    damaged = path.read_bytes()
    book, told = open_or_set_aside(path)
    asides = list(path.parent.glob("journal.db.corrupt-*"))
    if book.path != path:  # it seems to be of a later version, or another program's
        assert path.read_bytes() == damaged
    elif told:
        assert [aside.read_bytes() for aside in asides] == [damaged]
    try:
        book.write("new", events("new"), about("new"))
    except sqlite3.DatabaseError as exc:
        if not journal.is_damaged(exc):  # else the pump sets the file aside then, and writes to another
            raise
    else:
        assert list(read(book.path, "new")) == events("new")
    book.close()
    if book.path != path:
        shutil.rmtree(book.path.parent)


FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_journal_that_was_cut_short_is_read_as_far_as_it_goes_or_set_aside(sound, tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "journal.db"
    body = sound.read_bytes()
    path.write_bytes(body[: int(len(body) * cut)])

    is_prefix_or_told(path, events("r", 60))
    works_on(path)
    shutil.rmtree(path.parent)


@FEW
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), length=st.integers(1, 64))
def test_flipped_bytes_never_make_another_run_of_it(sound, tmp_path_factory, at, flip, length):
    path = tmp_path_factory.mktemp("flip") / "journal.db"
    body = bytearray(sound.read_bytes())
    where = int(len(body) * at)
    for i in range(where, min(where + length, len(body))):
        body[i] ^= flip
    path.write_bytes(body)

    is_prefix_or_told(path, events("r", 60))
    works_on(path)
    shutil.rmtree(path.parent)


def test_after_a_power_cut_a_run_is_its_first_so_many_batches(tmp_path):
    live, said = tmp_path / "live" / "journal.db", events("r", 20)
    book = Journal(live)
    for i in range(0, len(said), 3):
        book.write("r", said[i : i + 3], about() if i == 0 else None)
    db, wal = live.read_bytes(), live.with_name("journal.db-wal").read_bytes()
    book.close()
    lengths, cut = set(), tmp_path / "cut" / "journal.db"
    cut.parent.mkdir()

    for length in sorted({*range(0, len(wal), 509), *range(len(wal) - 40, len(wal) + 1)}):
        for old in cut.parent.iterdir():
            old.unlink()
        cut.write_bytes(db)
        cut.with_name("journal.db-wal").write_bytes(wal[:length])
        again = Journal(cut)
        found = list(read(cut, "r")) if read_about(cut, "r") else []
        again.close()
        assert found == said[: len(found)]
        assert len(found) % 3 == 0 or len(found) == len(said)
        lengths.add(len(found))

    assert lengths == {*range(0, len(said), 3), len(said)}


TWENTY = """
import sys
from pathlib import Path
from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings

home, name = Path(sys.argv[1]), sys.argv[2]
a = step(name="a")(lambda context, inputs: inputs["n"])
b = step(name="b")(lambda context, a: [name, a])
w = workflow(name=name)(lambda wf: wf.timeline(a >> b))
session = Session(Settings(home=home))
print("ready", flush=True)
sys.stdin.readline()
runs = [session.run(w, {"n": n}) for n in range(20)]
print([run.result(60).output["ok"] == [name, n] for n, run in enumerate(runs)].count(True), session.journal_path)
session.close()
"""


def test_two_kernels_at_once_lose_nothing_in_one_journal(tmp_path):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TWENTY, str(tmp_path / "home"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=DEADLINE * 2) for process in both]

    path = tmp_path / "home" / "journal.db"
    assert [out for out, _ in told] == [f"20 {path}\n"] * 2, told
    session = Session(Settings(home=tmp_path / "home"))
    entries = session.history.entries()
    assert (
        sorted((e.workflow, e.status) for e in entries) == [("one", "succeeded")] * 20 + [("other", "succeeded")] * 20
    )
    for e in entries:
        run = session.load(e.run)
        assert run.outputs == {"a": run.plan.inputs["n"], "b": [e.workflow, run.plan.inputs["n"]]}
    session.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)


def test_everything_in_the_folder_is_its_owners_alone_whatever_the_umask(tmp_path):
    home = tmp_path / "deep" / "home"
    before = os.umask(0)
    try:
        session = Session(Settings(home=home))
        big = step(name="big")(lambda context: b"x" * (400 * 1024))
        w = workflow(name="umask_w")(lambda wf: wf.timeline(big))
        run = session.run(w, {"n": 1})
        run.result(DEADLINE)
        with pytest.raises(PlanError):  # what asks for it writes too
            run.resume()
        while_open = [*home.rglob("*"), home]
        modes = {p.relative_to(home).name: stat.S_IMODE(p.stat().st_mode) for p in while_open}
        session.close()
        later = [*home.rglob("*"), home]
    finally:
        os.umask(before)

    assert {"journal.db", "journal.db-wal", "results.db", "key", run.id, "0"} <= set(modes)
    for p in {*while_open, *later}:
        if p.exists():
            assert stat.S_IMODE(p.stat().st_mode) == (0o700 if p.is_dir() else 0o600), p
    assert {name: mode for name, mode in modes.items() if mode not in (0o600, 0o700)} == {}


def test_a_schema_that_is_no_text_is_damage_too(tmp_path):
    path = tmp_path / "journal.db"
    Journal(path).close()
    body = bytearray(path.read_bytes())
    at = body.find(b"CREATE TABLE")
    body[at : at + 6] = b"\xff" * 6
    path.write_bytes(body)

    is_prefix_or_told(path, [])
    works_on(path)
