"""Results of older runs go to files and come back as they were."""

import stat

import pytest

from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.runtime.results import ResultRef, Results, ResultStore


@pytest.fixture
def store(tmp_path):
    made = ResultStore(tmp_path / "results", in_memory=1)
    yield made
    made.close()


def files(tmp_path):
    return [p for p in (tmp_path / "results").rglob("*") if p.is_file()]


def test_the_oldest_runs_values_go_to_files_and_come_back_equal(store, tmp_path):
    values = [{"n": (1, 2.5, None)}, None, b"\x00", {3, 4}]
    old = Results(store, "old", list(values))

    store.ended(old)
    store.ended(Results(store, "new", [1]))

    assert [old[t] for t in range(4)] == values
    assert type(old._values[0]) is ResultRef
    assert {stat.S_IMODE(f.stat().st_mode) for f in files(tmp_path)} == {0o600}


def test_a_value_that_cannot_be_written_stays_in_memory(store):
    value = (n for n in range(3))
    results = Results(store, "r", [value])

    results.spill()

    assert results[0] is value


def test_a_file_that_was_changed_is_not_read(store, tmp_path):
    results = Results(store, "r", [{"n": 1}])
    results.spill()
    (file,) = files(tmp_path)
    body = bytearray(file.read_bytes())
    body[-1] ^= 1
    file.write_bytes(body)

    with pytest.raises(PayloadRejected):
        results[0]


def test_files_are_gone_when_the_session_ends(store, tmp_path):
    Results(store, "r", [{"n": 1}]).spill()

    store.close()

    assert files(tmp_path) == []


def test_what_a_killed_session_left_is_removed(tmp_path):
    left = tmp_path / "results" / "4194304" / "run"  # above any process id in use
    left.mkdir(parents=True)
    (left / "0").write_bytes(b"sealed with a key that nobody has")

    Results(ResultStore(tmp_path / "results", 1), "r", [1]).spill()

    assert not left.exists()
