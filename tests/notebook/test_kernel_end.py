"""However a kernel ends, nothing of it stays behind."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from kerneldriver import Kernel

from tests.process_kit import is_gone

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(60)]
PROMISED_S = 2.0

STEPS = """
import time, json
from cerebelum_nb import step, workflow
from cerebelum_nb.session import current

@step(executor="distributed")
def busy(context, inputs):
    print("busy", flush=True)
    while True:
        time.sleep(0.01)

@workflow
def endless(wf):
    wf.timeline(busy)
"""
START = """
run = endless.run({})
while not run.printed()[1]:
    run.wait(0.05)
core = current()._remote["core"]
print(json.dumps({"pids": core.pids, "socket": str(core._link.process.socket)}))
"""


@pytest.fixture
def working(tmp_path):
    """A kernel with a step running on a worker: the kernel, its children's pids, Core's socket."""
    kernel = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path)})
    kernel(STEPS)
    told = json.loads(kernel(START).out.strip().splitlines()[-1])
    processes = [psutil.Process(pid) for pid in told["pids"]]
    assert len(processes) == 3  # Core and two workers
    assert Path(told["socket"]).exists()
    yield kernel, processes, Path(told["socket"])
    kernel.stop()


def left_after(processes, socket, began):
    until = began + PROMISED_S
    while time.monotonic() < until:
        left = [p for p in processes if p.is_running() and not is_gone(p.pid)]
        if not left and not socket.parent.exists():
            return []
        time.sleep(0.02)
    return [*left, *([socket] if socket.parent.exists() else [])]


def test_a_killed_kernel_leaves_no_process_and_no_socket(working):
    kernel, processes, socket = working
    began = time.monotonic()

    os.kill(kernel.manager.provisioner.process.pid, signal.SIGKILL)

    assert left_after(processes, socket, began) == []


def test_a_kernel_that_is_shut_down_leaves_no_process_and_no_socket(working):
    kernel, processes, socket = working

    kernel.manager.shutdown_kernel(now=False)
    began = time.monotonic()

    assert left_after(processes, socket, began) == []


def test_a_restarted_kernel_starts_with_nothing_of_the_old_one(working):
    kernel, processes, socket = working

    kernel.manager.restart_kernel(now=True)
    began = time.monotonic()

    assert left_after(processes, socket, began) == []
