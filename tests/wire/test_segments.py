"""Segments of shared memory: never filled while somebody looks, never lost with a process, never past a full disk."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from cerebelum_nb.codec import apart, together
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire import memory
from cerebelum_nb.wire.lent import Where
from cerebelum_nb.wire.segments import Segments
from tests.disk_kit import small_disk

DEADLINE = 20


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "segments"
    path.mkdir()
    return path


def put(segments, value):
    return segments.put(apart(value), "it")


def ident(where):
    return where.name.split(".")[2]


@pytest.mark.parametrize("keeps", [False, True])
def test_a_value_is_read_without_a_copy_and_cannot_be_written_to(folder, keeps):
    mine, theirs = Segments([folder], "w1"), Segments([folder], "w2", keeps=keeps)

    where = put(mine, {"a": np.arange(100_000), "b": "x", "c": b"y" * 10_000})
    back = theirs.value(where)

    np.testing.assert_array_equal(back["a"], np.arange(100_000))
    assert (back["b"], back["c"]) == ("x", b"y" * 10_000)
    assert not back["a"].flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        back["a"][0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        back["a"].flags.writeable = True


@pytest.mark.parametrize("keeps", [False, True])
def test_a_segment_is_filled_again_only_when_nobody_looks_into_it(folder, keeps):
    kernel, worker = Segments([folder], "k"), Segments([folder], "w1", keeps=keeps)
    first = put(kernel, np.zeros(200_000))
    array = worker.value(first)
    kernel.release(first.folder, first.name)
    part = array[5:10]  # a step keeps this much of it
    del array
    worker.settle()

    second = put(kernel, np.ones(200_000))

    assert ident(second) != ident(first)
    assert part.sum() == 0
    del part
    worker.settle()
    third = put(kernel, np.full(200_000, 2.0))
    assert ident(third) == ident(first)
    assert worker.value(third)[0] == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("keeps", [False, True])
def test_a_descriptor_that_is_late_finds_nothing_and_never_another_value(folder, keeps):
    kernel, worker = Segments([folder], "k"), Segments([folder], "w1", keeps=keeps)
    first = put(kernel, np.zeros(200_000))
    worker.value(first)
    worker.settle()
    kernel.release(first.folder, first.name)
    with pytest.raises(WireError, match="is gone"):
        worker.value(first)

    assert ident(put(kernel, np.ones(200_000))) == ident(first)
    with pytest.raises(WireError, match=r"a value of 2 MiB is gone"):
        worker.value(first)


@pytest.mark.parametrize(
    "where",
    [
        Where(0, "../../etc/passwd", "json", ((0, 4),)),
        Where(0, "free.1000.0123456789abcdef", "json", ((0, 4),)),
        Where(7, "used.1000.0123456789abcdef.w1.0123456789abcdef", "json", ((0, 4),)),
        Where(-1, "used.1000.0123456789abcdef.w1.0123456789abcdef", "json", ((0, 4),)),
    ],
)
def test_a_descriptor_of_something_else_is_refused(folder, where):
    with pytest.raises(WireError, match="no segment of ours"):
        Segments([folder], "k").value(where)


@pytest.mark.parametrize("pieces", [((0, 1 << 40),), ((-8, 16),), ((0, -1),), ((1 << 62, 8),)])
def test_a_descriptor_never_leads_past_the_end(folder, pieces):
    segments = Segments([folder], "k")
    where = put(segments, np.zeros(200_000))

    with pytest.raises(WireError, match="is gone"):
        segments.value(Where(0, where.name, "json", pieces))


def test_a_link_in_the_place_of_a_segment_is_not_followed(folder, tmp_path):
    segments = Segments([folder], "k")
    where = put(segments, np.zeros(200_000))
    shutil.move(folder / where.name, tmp_path / "elsewhere")
    (folder / where.name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(WireError, match="is gone"):
        segments.value(where)


def child(source, *args):
    """A process that holds what it did until its stdin closes."""
    source = (
        "import sys\nimport numpy as np\nfrom pathlib import Path\nfrom cerebelum_nb.codec import apart\n"
        "from cerebelum_nb.wire.lent import Where\nfrom cerebelum_nb.wire.segments import Segments\n"
        f"segments = Segments([Path(sys.argv[1])], 'w2')\n{textwrap.dedent(source)}\n"
        "print('ready', flush=True)\nsys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", source, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_process_looked_into_can_be_filled_again(folder):
    kernel = Segments([folder], "k")
    where = put(kernel, np.zeros(200_000))
    source = "array = segments.value(Where(0, sys.argv[2], sys.argv[3], eval(sys.argv[4])))"
    reader = child(source, folder, where.name, where.codec, where.pieces)
    kernel.release(where.folder, where.name)
    assert ident(put(kernel, np.ones(200_000))) != ident(where)

    reader.kill()
    reader.communicate(timeout=DEADLINE)

    assert ident(put(kernel, np.ones(200_000))) == ident(where)


def test_what_a_killed_process_has_filled_is_known_by_its_owner(folder):
    writer = child("segments.put(apart(np.zeros(200_000)), 'it')", folder)
    writer.kill()
    writer.communicate(timeout=DEADLINE)
    kernel = Segments([folder], "k")

    ((number, name, owner),) = kernel.used()
    kernel.release(number, name)

    assert owner == "w2"
    assert ident(put(kernel, np.ones(200_000))) == name.split(".")[2]


def test_memory_is_given_back_although_another_process_has_it_mapped_for_being_filled(folder):
    kernel, worker = Segments([folder], "k"), Segments([folder], "w1")
    where = put(worker, np.zeros(200_000))
    kernel.release(where.folder, where.name)
    watched = os.open(folder / f"free.{where.name.split('.')[1]}.{ident(where)}", os.O_RDONLY)

    given = kernel.trim(0, 0)

    assert given > 1_600_000
    assert (os.fstat(watched).st_size, os.fstat(watched).st_nlink) == (0, 0)
    os.close(watched)
    assert put(worker, np.ones(200_000)).nbytes > 1_600_000
    assert not kernel.trim(0, 1 << 30)


def test_only_what_was_free_for_long_is_given_back(folder):
    segments = Segments([folder], "k")
    where = put(segments, np.zeros(200_000))
    segments.release(where.folder, where.name)

    assert segments.trim(0, 1 << 30, time.time() - 30) == 0
    assert segments.held()[1] > 0
    assert segments.trim(0, 1 << 30, time.time() + 1) > 0
    assert segments.held() == (0, 0)


def test_a_forked_child_frees_nothing(folder):
    segments = Segments([folder], "k")
    where = put(segments, np.zeros(200_000))
    pid = os.fork()
    if pid == 0:
        segments.release(where.folder, where.name)
        os._exit(0)
    os.waitpid(pid, 0)

    assert segments.value(where)[0] == 0


def test_a_full_disk_is_an_error_in_words_and_another_folder_is_taken_where_there_is_one(tmp_path):
    with small_disk(4) as small:
        segments = Segments([small / "s"], "k")
        with pytest.raises(WireError) as refused:
            put(segments, np.zeros(2_000_000))
        assert str(refused.value).startswith("it takes 15 MiB, for which there is no room (")
        assert "No space left on device, 4 MiB free)" in str(refused.value)
        assert not list((small / "s").iterdir())

        both = Segments([small / "s", tmp_path / "large"], "k")
        where = put(both, np.ones(2_000_000))
        assert (where.folder, both.value(where).sum()) == (1, 2_000_000)


def test_what_is_free_and_too_small_makes_room_where_the_disk_is_full(tmp_path):
    with small_disk(4) as small:
        segments = Segments([small], "k")
        for _ in range(2):
            where = put(segments, np.zeros(160_000))
            segments.release(where.folder, where.name)

        assert put(segments, np.zeros(400_000)).folder == 0


def test_a_process_that_fills_a_segment_has_it_alone(folder, monkeypatch):
    one, two = Segments([folder], "w1"), Segments([folder], "w2")
    where = put(one, np.zeros(200_000))
    one.release(where.folder, where.name)
    size = int(where.name.split(".")[1], 16)

    taken = one._take(0, ident(where), size)

    assert taken is not None
    assert two._take(0, ident(where), size) is None
    other = os.open(folder / taken[1], os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(other)
    os.close(taken[2])


def test_parts_are_put_together_again_wherever_they_lie(folder):
    segments = Segments([folder], "k")
    value = {"n": np.asfortranarray(np.ones((3, 4))), "e": np.zeros(0), "t": ("x",)}
    where = put(segments, value)
    head, *buffers = segments.pieces(where)

    back = together(where.codec, head, buffers)

    assert back["t"] == ("x",)
    assert back["n"].flags.f_contiguous
    assert all(start % 64 == 0 for start, _ in where.pieces)


def test_a_stopped_process_does_not_hold_anybody_up(folder):
    reader = child("where = segments.put(apart(np.zeros(200_000)), 'it')\narray = segments.value(where)", folder)
    os.kill(reader.pid, signal.SIGSTOP)
    try:
        kernel = Segments([folder], "k")
        ((number, name, _),) = kernel.used()
        kernel.release(number, name)
        began = time.monotonic()
        put(kernel, np.ones(200_000))
        assert time.monotonic() - began < 5
    finally:
        reader.kill()
        reader.communicate(timeout=DEADLINE)


def test_a_segment_whose_maker_was_killed_before_it_had_its_size_is_not_filled(folder):
    kernel = Segments([folder], "k")
    where = put(kernel, bytes(2_000_000))
    kernel.release(where.folder, where.name)
    (free,) = folder.iterdir()
    os.truncate(free, 0)

    other = Segments([folder], "w2")
    again = put(other, bytes(2_000_000))

    assert other.value(again) == bytes(2_000_000)
    assert not free.exists()


def test_a_value_is_known_again_only_where_all_of_it_is_the_same(folder):
    segments, other = Segments([folder], "k"), Segments([folder], "w1")
    array = np.arange(200_000.0)
    where = put(segments, {"a": array, "b": "x"})

    for holder in (segments, other):  # who has filled it, and who only looks
        assert holder.holds(where, apart({"a": array.copy(), "b": "x"}))
        assert not holder.holds(where, apart({"a": array, "b": "y"}))
        assert not holder.holds(where, apart({"a": array[:-1], "b": "x"}))
        assert not holder.holds(where, apart({"a": array.astype("i8"), "b": "x"}))
        for place in (0, 77_777, 199_999):
            changed = array.copy()
            changed[place] += 1
            assert not holder.holds(where, apart({"a": changed, "b": "x"}))
    assert segments.holds(where, apart({"a": array, "b": "x"}))


def test_a_segment_is_made_ready_for_the_next_value_once(folder, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.wire.segments._is_memory", lambda _: True)
    segments = Segments([folder], "k")

    assert segments.prepare(2 << 20)
    assert not segments.prepare(2 << 20)

    used, free = segments.held()
    assert (used, 2 << 20 <= free < 3 << 20) == (0, True)
    (ready,) = folder.iterdir()
    assert ident(put(segments, bytes((2 << 20) - 200))) == ready.name.split(".")[2]


def test_a_segment_that_is_being_made_ready_counts_for_nothing_and_nobody_takes_it_yet(folder, monkeypatch):
    monkeypatch.setattr("cerebelum_nb.wire.segments._is_memory", lambda _: True)
    segments, allocate, seen = Segments([folder], "k"), os.posix_fallocate, []

    def looked_at(*args):
        allocate(*args)
        if not seen:
            seen.append(segments.held())
            seen.append(put(Segments([folder], "w1"), bytes((2 << 20) - 200)))

    monkeypatch.setattr(os, "posix_fallocate", looked_at)
    assert segments.prepare(2 << 20)

    counted, theirs = seen
    assert counted == (0, 0)
    assert segments.held()[1] >= 2 << 20
    ready = {path.name.split(".")[2] for path in folder.iterdir()}
    assert len(ready) == 2
    assert ident(theirs) in ready


def test_none_is_made_ready_in_files_or_where_memory_is_short(folder, monkeypatch):
    segments = Segments([folder], "k")
    assert not segments.prepare(1 << 20)

    monkeypatch.setattr("cerebelum_nb.wire.segments._is_memory", lambda _: True)
    monkeypatch.setattr("cerebelum_nb.wire.memory.available", lambda: 300 << 20)

    assert not segments.prepare(40 << 20)
    assert not list(folder.iterdir())


def test_a_container_has_no_more_memory_than_it_may_take(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    machine = memory.available()
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > machine // 2

    (tmp_path / "memory.max").write_text(f"{100 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{70 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {20 << 20}\n")

    assert memory.available() == 50 << 20
