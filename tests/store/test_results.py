"""Results on disk: kept with the events that tell of them, sealed, and read back as they were."""

import os
import stat
import threading

import numpy as np
import pytest

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import ExecutorError, PayloadRejected
from cerebelum_nb.store.ended import Ended
from cerebelum_nb.store.results import INLINE_NBYTES, NOTHING_TASK, Archive, ResultRef

DEADLINE = 20


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path, Ended(1))


def back(archive, stored):
    return archive.load(ResultRef("r", stored))


class Own:
    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        return isinstance(other, Own) and self.n == other.n

    __hash__ = None


@pytest.mark.parametrize(
    "value", [None, 0, 2.5, "text", {"n": (1, 2.5, None)}, b"\x00", {3, 4}, [float("inf")], Own(3), 10**30]
)
def test_a_value_comes_back_as_it_was(archive, value):
    found = back(archive, archive.stored("r", 0, value, None))

    assert (found, type(found)) == (value, type(value))


def test_an_array_comes_back_as_it_was(archive):
    value = np.arange(100_000.0)

    assert np.array_equal(back(archive, archive.stored("r", 0, value, None)), value)


@pytest.mark.parametrize(("nbytes", "files"), [(INLINE_NBYTES - 1000, 0), (INLINE_NBYTES + 1, 1)])
def test_a_large_value_has_a_file_of_its_own_that_only_its_owner_reads(archive, tmp_path, nbytes, files):
    stored = archive.stored("r", 0, np.zeros(nbytes, np.uint8), None)

    found = [p for p in (tmp_path / "results").rglob("*") if p.is_file()] if files else []
    assert [(p.name, stat.S_IMODE(p.stat().st_mode)) for p in found] == [("0", 0o600)] * files
    assert bool(stored.body) is not bool(files)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_what_is_too_large_or_cannot_be_written_says_why_and_harms_nobody(archive):
    huge = archive.stored("r", 0, np.zeros(17 << 20, np.uint8), None)
    lock = archive.stored("r", 1, threading.Lock(), None)

    assert (huge.codec, huge.why) == ("", "it is 17 MiB; at most 16 are kept")
    assert lock.codec == ""
    with pytest.raises(ExecutorError, match="the result of task 0 in run r was not kept: it is 17 MiB"):
        back(archive, huge)


@pytest.mark.parametrize("large", [False, True])
def test_what_somebody_changed_is_not_read(archive, tmp_path, large):
    stored = archive.stored("r", 0, b"x" * (300_000 if large else 10), None)
    if large:
        file = tmp_path / "results" / "r" / "0"
        body = bytearray(file.read_bytes())
        body[-1] ^= 1
        file.write_bytes(body)
    else:
        body = bytearray(stored.body)
        body[-1] ^= 1
        stored = type(stored)(stored.task, stored.codec, bytes(body), stored.code)

    with pytest.raises(PayloadRejected):
        back(archive, stored)


def test_a_result_of_another_project_is_not_read(archive, tmp_path):
    stored = archive.stored("r", 0, "text", None)
    other = Archive(tmp_path / "other", Ended(1))

    with pytest.raises(PayloadRejected):
        back(other, stored)


def test_a_file_that_is_gone_is_named(archive, tmp_path):
    stored = archive.stored("r", 0, b"x" * 300_000, None)
    archive.forget(["r"])

    with pytest.raises(ExecutorError, match="the result of task 0 in run r is gone"):
        back(archive, stored)


def test_the_oldest_runs_values_leave_memory_and_come_back(tmp_path):
    session = Session(Settings(home=tmp_path, runs_in_memory=1))
    lock = threading.Lock()
    value, kept = step(name="value")(lambda context: {"n": (1, 2)}), step(name="kept")(lambda context: lock)
    w = workflow(name="w")(lambda wf: wf.timeline(value, kept))

    first = session.run(w)
    first.result(DEADLINE)
    session.run(w).result(DEADLINE)

    assert [type(v) for v in first.scheduler.values] == [ResultRef, type(lock)]
    assert first.outputs == {"value": {"n": (1, 2)}, "kept": lock}
    session.close()


def test_where_the_journal_says_that_a_step_has_ended_its_result_is_there(session):
    one = step(name="one")(lambda context: 5)
    two = step(name="two")(lambda context, one: one + 1)
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(one >> two)))
    run.result(DEADLINE)
    again = run.rerun("two")
    again.result(DEADLINE)

    first, second = (session._archive.of_run(r.id) for r in (run, again))
    assert {t: (s.codec, bool(s.body), bool(s.code)) for t, s in first.items()} == {
        0: ("json", True, True),
        1: ("json", True, True),
        -1: ("json", True, False),  # the inputs
        NOTHING_TASK: ("none", False, False),  # no step gave None
    }
    assert (second[0].codec, second[0].why, second[0].code) == ("see", f"{run.id} 0", first[0].code)


def test_nothing_is_written_where_results_are_not_to_be_kept(tmp_path):
    session = Session(Settings(home=tmp_path, keep_results=False))
    run = session.run(workflow(name="w")(lambda wf: wf.timeline(step(name="one")(lambda context: "secret"))), {"k": 1})
    run.result(DEADLINE)
    session.close()

    assert run.outputs == {"one": "secret"}
    assert {p.name.partition("-")[0] for p in tmp_path.iterdir()} == {"journal.db"}
    assert b"secret" not in (tmp_path / "journal.db").read_bytes()


def test_two_kernels_that_begin_at_once_share_one_key(tmp_path):
    found, begin = [], threading.Barrier(8)

    def first():
        begin.wait(DEADLINE)
        one = Archive(tmp_path, Ended(1))
        found.append(one.stored("r", 0, "text", None).body)

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert len(set(found)) == 1
    assert [name for name in os.listdir(tmp_path) if name.startswith("key")] == ["key"]
