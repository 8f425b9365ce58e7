"""Kernels and workers killed at any moment, again and again. CEREBELUM_CHAOS=all: 200 times each; else 10."""

import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from cerebelum_nb.executors.core_process import _remove_unlocked
from cerebelum_nb.testing import chaos

TIMES, PARTS = (25, 8) if os.environ.get("CEREBELUM_CHAOS") == "all" else (10, 1)
GONE_S = 5.0
pytestmark = [pytest.mark.timeout(280), pytest.mark.parametrize("part", range(PARTS))]


@pytest.fixture
def kernels():
    with chaos.Kernels("killing_program") as made:
        yield made


@pytest.fixture
def shared():
    """A place of our own for shared memory, so that what others have there is none of our business."""
    path = Path(tempfile.mkdtemp(prefix="chaos-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def left_in(shared):
    """What is in shared memory after Core, and the next kernel, have had their time to remove it."""
    until = time.monotonic() + GONE_S
    while (found := sorted(path.name for path in shared.iterdir())) and time.monotonic() < until:
        time.sleep(0.02)  # a poll, not a pause
        _remove_unlocked(shared)
    return found


def test_nothing_is_left_of_kernels_that_are_killed_at_any_moment(kernels, shared, tmp_path, part):
    seed = random.randrange(10**6)
    dice, left = random.Random(seed), []

    for n in range(TIMES):
        after_s = dice.uniform(0.0, 2.0)
        ended = kernels.run("works_until_it_is_killed", str(tmp_path), str(shared), after_s)
        assert (ended.signal, ended.error) == (9, ""), (seed, n, ended)
        left += [(n, after_s, thing) for thing in (*ended.left, *left_in(shared))]

    assert not left, (seed, left)


def test_every_run_ends_and_the_next_one_works_whenever_a_worker_is_killed(kernels, shared, tmp_path, part):
    seed = random.randrange(10**6)

    ended = kernels.run("loses_workers", str(tmp_path), str(shared), seed, TIMES, timeout_s=240)

    assert (ended.said, ended.error, ended.left) == ([], "", ()), seed
    assert left_in(shared) == []
