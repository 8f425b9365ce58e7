"""`cerebelum workers` and `cerebelum core` in a shell: what kernels run here, and whom to ask for the rest."""

import os
import re
import time

import pytest
from click.testing import CliRunner

from cerebelum_nb import Session
from cerebelum_nb.cli.__main__ import cerebelum
from cerebelum_nb.config import Settings


def said(*words):
    result = CliRunner().invoke(cerebelum, words)
    return result.exit_code, result.output


def test_the_cores_and_workers_of_kernels_are_listed_and_their_log_can_be_read(tmp_path):
    session = Session(Settings(home=tmp_path, pools={"one": 1}))
    core = session.pools.start("one")
    end = time.monotonic() + 30
    while [worker.state for worker in session.pools.workers("one")] != ["idle"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    (worker,) = [worker.pid for worker in session.pools.workers("one")]

    listed = said("core", "status")[1].splitlines()
    workers = said("workers")[1].splitlines()
    code, log = said("core", "logs", str(core.pid))
    which = said("core", "logs", "1")[1]
    session.close()

    assert listed[0].split() == ["kernel", "pool", "Core", "since", "workers", "directory"]
    assert [re.split(r"\s{2,}", line)[4:] for line in listed if f" {core.pid} " in line] == [["1", core.directory]]
    assert [line.split()[:2] for line in listed if f" {core.pid} " in line] == [[str(os.getpid()), "one"]]
    (mine,) = [line.split() for line in workers if f" {worker} " in line]
    assert mine[:2] == [str(os.getpid()), "one"]
    assert f" {core.pid} (one)" in which
    assert code == 0
    assert f"worker 1 (pid {worker}) is ready" in log
    assert f" {core.pid} " not in said("core", "status")[1]


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (("workers", "add"), "type `%cerebelum workers add` in its notebook"),
        (("workers", "add", "--pool", "gpu", "--slots=2"), "type `%cerebelum workers add --pool gpu --slots=2` in its"),
        (("core", "stop"), "type `%cerebelum core stop` in its notebook"),
        (("core", "restart", "--pool", "gpu"), "type `%cerebelum core restart --pool gpu` in its notebook"),
    ],
)
def test_what_only_a_kernel_can_do_is_refused_with_how_it_is_done_there(words, how):
    code, text = said(*words)

    assert code == 2
    assert how in text
    assert "`cerebelum core serve --listen HOST:PORT`" in text
    assert len(text.splitlines()) == 1


def test_a_log_of_no_core_is_refused():
    code, text = said("core", "logs", "1")

    assert code == 2
    assert "there is no Core 1. Those of your kernels on this machine: " in text
