"""What outlives a cell and a kernel: a failed step's frames for the debugger, a run for the next kernel."""

import os
import re
import signal

import pytest
from kerneldriver import Kernel

pytestmark = pytest.mark.kernel

WAITING = """
from cerebelum_nb import step, workflow, sleep, wait_for_approval

@step
def load(context, inputs):
    print("load runs")
    return inputs["n"]

@step
async def publish(context, load):
    await sleep(30)
    return load, await wait_for_approval("publish?")

@workflow
def nightly(wf):
    wf.timeline(load >> publish)
"""


@pytest.fixture
def kernel(tmp_path):
    """Starts kernels of one notebook folder."""
    started = []

    def start():
        made = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home")})
        started.append(made)
        made(f"%cd {tmp_path}")
        return made

    yield start
    for made in started:
        made.stop()


def test_the_debugger_finds_the_frames_of_a_local_step_that_failed(kernel):
    nb = kernel()
    nb.run("%%cerebelum_step load\n[3, 4]")
    nb.run("%%cerebelum_step mean\nshare = len(load) - 2\nsum(load) / share")
    nb.run("%%cerebelum_workflow wf\nload >> mean")

    assert nb.run("%cerebelum_run wf").ename == "ExecutionError"

    walk = "import sys, traceback\nframe, line = list(traceback.walk_tb(sys.last_traceback))[-1]\n"
    assert nb(f"{walk}frame.f_code.co_name, line, frame.f_locals['share'], frame.f_locals['load']").value == (
        "('mean', 3, 0, [3, 4])"
    )


def test_a_run_goes_on_in_the_next_kernel(kernel):
    first = kernel()
    first(WAITING)
    first("live = %cerebelum_run nightly n=7 --detach")
    first(
        "import time\n"
        "while not any(getattr(e, 'kind', '') == 'approval' for e in live.events): time.sleep(0.02)"  # it is on disk
    )
    os.kill(int(first("import os\nos.getpid()").value), signal.SIGKILL)

    second = kernel()
    told = second("%cerebelum runs").out
    assert re.search(r"\n\S+ +nightly +interrupted +\d{4}-", told), told
    run = re.search(r"(\S+) +nightly", told)[1]
    early = second.run(f"%cerebelum resume {run}")
    assert (early.ename, "workflow 'nightly' is not defined in this kernel: run the cells" in early.traceback) == (
        *("PlanError", True),
    )
    second(WAITING)
    second("import threading, time, cerebelum_nb")
    second(
        "def approve():\n"
        "    while not (len(cerebelum_nb.runs) > 1 and cerebelum_nb.runs[-1].approvals): time.sleep(0.02)\n"
        "    cerebelum_nb.runs[-1].approve('publish', 'yes')\n"
        "threading.Thread(target=approve).start()"
    )
    answer = second(f"resumed = %cerebelum resume {run}")

    assert "load runs" not in answer.out
    assert second("resumed.outputs").value == "{'load': 7, 'publish': (7, 'yes')}"


def test_an_edited_step_is_asked_about(kernel):
    nb = kernel()
    nb("%load_ext cerebelum_nb")
    nb("%%cerebelum_step one\n1")
    nb("%%cerebelum_step two\nif not ready: raise ValueError('not yet')\none + 1")
    nb("%%cerebelum_workflow wf\none >> two")
    nb("ready = False")
    assert nb.run("%cerebelum_run wf").ename == "ExecutionError"
    nb("ready = True")
    nb("%%cerebelum_step one\n10")

    asked = nb.run("%cerebelum resume last")
    assert asked.ename == "PlanError"
    assert "edited since that run: one. --changed run runs them again" in asked.traceback
    kept = nb("kept = %cerebelum resume 1 --changed keep\nkept.outputs")
    assert kept.value == "{'one': 1, 'two': 2}"
    again = nb.run("%cerebelum resume 1 --changed run")
    assert (again.ename, "was resumed before, by run" in again.traceback) == ("PlanError", True)
    done = nb.run("%cerebelum resume last")
    assert (done.ename, "has succeeded" in done.traceback) == ("PlanError", True)


def test_purge_says_first_what_it_removes(kernel):
    nb = kernel()
    nb("%%cerebelum_step one\n1")
    nb("%%cerebelum_workflow wf\none")
    run = nb("first = %cerebelum_run wf\nfirst.id").value.strip("'")
    nb("%cerebelum_run wf")

    head, row, said = nb(f"%cerebelum purge {run}").out.splitlines()
    assert (head.split(), row.split()[:3]) == (["run", "workflow", "status", "started"], ["1", "wf", "succeeded"])
    assert said == "This removes 1 run, with results and prints, for good. Add --yes to do it."
    assert nb("%cerebelum purge 1 --yes").out == "1 run removed.\n"
    assert nb.run(f"%cerebelum purge {run}").ename == "PlanError"
    assert nb.run("%cerebelum purge 1").evalue == "run 1 is not kept on disk any more; this kernel has it until it ends"
    first, second = nb("%cerebelum runs").out.splitlines()[1:]
    assert first.endswith("not kept on disk; here until this kernel ends")
    assert "disk" not in second
    assert nb("%cerebelum purge --all --yes").out == "1 run removed.\n"
    assert nb.run("%cerebelum purge").ename == "UsageError"
    assert nb("again = %cerebelum_run wf\nagain.outputs").value == "{'one': 1}"


def test_a_run_that_runs_in_another_kernel_is_not_purged(kernel):
    first, other = kernel(), kernel()
    first(WAITING)
    first("import time\nlive = %cerebelum_run nightly n=7 --detach\nwhile len(live.events) < 2: time.sleep(0.02)")
    run = first("live.id").value.strip("'")

    refused = other.run(f"%cerebelum purge {run} --yes")
    said = f"run {run} still runs: cancel it first, or wait for its end"
    assert (refused.ename, refused.evalue) == ("PlanError", said)
    assert other("%cerebelum purge --all --yes").out == "There is no run to remove. 1 run still runs and stays.\n"
    assert first("live.done, live.cancel()").value == "(False, None)"


def test_a_step_that_never_runs_twice_is_hinted_at_and_forced_as_it_has_to_be(kernel):
    nb = kernel()
    nb("paid = []")
    nb("%%cerebelum_step order\n1")
    nb("%%cerebelum_step pay --effects once\npaid.append(order)\nlen(paid) / 0 if len(paid) == 1 else len(paid)")
    nb("%%cerebelum_workflow shop\norder >> pay")
    failed = nb.run("%cerebelum_run shop")
    hint = (
        "look whether 'pay' had its effect: runs[1].resume(force=[\"pay\"]) runs it, "
        'runs[1].resume(results={"pay": ...}) states its result'
    )
    assert f"This is runs[1]; {hint}." in failed.traceback
    status = nb("%cerebelum status").out
    assert (hint in status, "runs[1].rerun()" in status) == (True, False)
    rerun = nb.run("%cerebelum rerun 1 pay").evalue
    assert rerun.endswith(": %cerebelum rerun 1 pay --force runs it again")

    again = "%%cerebelum_step pay --effects once --run{}\npaid.append(order)\nlen(paid)"
    assert nb.run(again.format("")).evalue.endswith(": --force runs it again")
    assert nb("paid").value == "[1]"
    assert nb(again.format(" --force")).value == "2"
    assert nb.run("%cerebelum compensate last").ename == "PlanError"
