"""An interrupted cell gives the prompt back, says in one line what happened, and the next cell works."""

import pytest

pytestmark = pytest.mark.kernel

PROMPT_S = 3.0  # half a second on a quiet machine


@pytest.fixture(scope="module")
def nb(kernel):
    kernel("""
import asyncio, time
from cerebelum_nb import step, workflow

@step
def one(context): return 1

@step
async def local_async(context, one):
    print("begun")
    await asyncio.sleep(30)

@step
def local_sync(context, one):
    print("begun")
    time.sleep(30)

@step(executor="distributed")
def remote(context, one):
    print("begun")
    time.sleep(30)
""")
    for name in ("local_async", "local_sync", "remote"):
        kernel(f"%%cerebelum_workflow wf_{name}\none >> {name}")
    return kernel


@pytest.mark.parametrize(
    "cell",
    [
        "%cerebelum_run wf_STEP",
        "await wf_STEP.execute()",
        "run = wf_STEP.run()\nrun.result()",
        "run = wf_STEP.run()\nrun.wait()",
        "await wf_STEP.run()",
    ],
)
@pytest.mark.parametrize("step", ["local_async", "local_sync", "remote"])
def test_an_interrupted_cell_gives_the_prompt_back(nb, step, cell, record_property):
    answer = nb.run(cell.replace("STEP", step), interrupt_at="begun")
    following = nb("1 + 1")
    record_property("prompt_s", answer.after_interrupt_s)
    print(f"\n{step} {cell.split()[0]}: prompt after {answer.after_interrupt_s:.3f} s")

    assert answer.status == "error"
    assert answer.ename == "KeyboardInterrupt"
    assert len(answer.traceback.splitlines()) == 1
    assert "1 of 2 steps had finished" in answer.evalue
    assert f"%cerebelum_run wf_{step} --from {step} continues." in answer.evalue
    assert answer.after_interrupt_s <= PROMPT_S
    assert following.value == "2"
    assert following.took_s <= PROMPT_S


def test_an_interrupted_run_is_charted_as_cancelled_and_can_be_continued(nb):
    answer = nb.run("%cerebelum_run wf_local_async", interrupt_at="begun")
    nb("@step\nasync def local_async(context, one): return one + 1")
    nb("run = %cerebelum_run wf_local_async --from local_async")

    assert "cancelled" in answer.charts[-1]["text/plain"]
    assert nb("[row.status for row in run.rows()], run.outputs['local_async']").value == "(['reused', 'succeeded'], 2)"


def test_other_interrupts_look_as_they_always_do(nb):
    answer = nb.run("print('begun', flush=True)\nimport time\ntime.sleep(30)", interrupt_at="begun")

    assert answer.ename == "KeyboardInterrupt"
    assert "Traceback (most recent call last)" in answer.traceback
