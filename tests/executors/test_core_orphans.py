"""Directories of kernels that were killed before their Core ran: the next Core's start removes them, and no other."""

import fcntl
import os
import time

import pytest

from cerebelum_nb.executors.core_process import CoreProcess
from cerebelum_nb.executors.orphans import remove_orphans


def directory(base, name, *files, age_s=60.0):
    made = base / name
    made.mkdir()
    for file in files:
        (made / file).touch()
    os.utime(made, (time.time() - age_s,) * 2)
    return made


def test_what_nobody_holds_any_more_is_removed_and_nothing_else(tmp_path):
    orphans = [
        directory(tmp_path, "cerebelum-orphan", "core.log", "handed"),
        directory(tmp_path, "cerebelum-made-and-no-more"),
        directory(tmp_path, "cerebelum-before-its-log", "handed"),
    ]
    held = directory(tmp_path, "cerebelum-held", "core.log", "handed")
    others = [
        directory(tmp_path, "cerebelum-young", "core.log", "handed", age_s=0.0),
        directory(tmp_path, "cerebelum-journal", "journal.db"),
        directory(tmp_path, "cerebelum-of-an-earlier-version", "core.log", "core.sock"),
        directory(tmp_path, "cerebelum-just-made", age_s=0.0),
        directory(tmp_path, "something", "core.log", "handed"),
    ]

    with (held / "core.log").open() as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        remove_orphans(tmp_path)

    assert not any(orphan.exists() for orphan in orphans)
    assert all(other.exists() for other in (held, *others))


@pytest.mark.parametrize("clock_s", [0, 86_400])
def test_a_core_that_lives_keeps_its_directory_and_one_that_was_killed_does_not(tmp_path, clock_s):
    lives = CoreProcess(1, tmp_path)
    lives.wait_ready()
    os.utime(lives.directory, (time.time() + clock_s - 60,) * 2)
    dead = directory(tmp_path, "cerebelum-dead", "core.log", "handed")

    other = CoreProcess(1, tmp_path)
    try:
        assert lives.directory.exists()
        assert not dead.exists()
    finally:
        other.stop()
        lives.stop()
    assert list(tmp_path.iterdir()) == []
