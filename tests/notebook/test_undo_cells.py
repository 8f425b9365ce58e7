"""Undoing in a notebook: cells that undo a step, runs that are stopped with the interrupt key, the line to undo one."""

import re

import pytest

pytestmark = pytest.mark.kernel

STEPS = """
import asyncio, threading, time
from cerebelum_nb import step, workflow
log, go = [], threading.Event()

@step
def {0}_charge(context):
    return "c1"

@step
async def {0}_ship(context, {0}_charge):
    print("begun")
    await asyncio.sleep({1})
    raise ValueError("no ship")

@workflow
def {0}(wf):
    wf.timeline({0}_charge >> {0}_ship)
"""


def test_a_cell_of_statements_undoes_a_step_that_is_in_a_timeline_already(kernel):
    kernel(STEPS.format("a", 0))
    said = kernel("%%cerebelum_step refund --compensates a_charge\nlog.append((result, outcome, a_charge))")
    failed = kernel.run("%cerebelum_run a")

    assert said.out == "refund undoes step a_charge when a run fails after it\n"
    assert "Undone: a_charge" in failed.traceback
    assert kernel("log").value == "[('c1', 'completed', 'c1')]"
    assert kernel("callable(refund), type(refund).__name__").value == "(True, 'function')"
    assert re.search(r"\n\d+ +a +compensated +1/2", kernel("%cerebelum runs").out)


def test_it_holds_for_the_step_as_it_is_defined_again(kernel):
    kernel(STEPS.format("b", 0))
    kernel("%%cerebelum_step back --compensates b_charge\nasync def back(context, result): log.append(result)")
    kernel("%%cerebelum_step b_charge\n'c2'")
    kernel("log.clear()")
    kernel.run("%cerebelum_run b")

    assert kernel("log").value == "['c2']"
    assert "compensate=back" in kernel("b_charge").value


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("%%cerebelum_step x --compensates no_such\n1", "there is no step 'no_such' to be undone"),
        ("%%cerebelum_step x --compensates a_charge --retries 2\n1", "--compensates makes no step"),
        ("%%cerebelum_step --compensates a_charge\n1 + result", "needs a name"),
        ("%cerebelum_run a --on-failure undo", "on_failure is 'compensate'"),
        ("%cerebelum compensate", "which run?"),
    ],
)
def test_a_line_that_cannot_be_meant_says_why(kernel, cell, why):
    kernel(STEPS.format("a", 0))

    assert why in kernel.run(cell).traceback


def test_a_line_undoes_a_run_that_was_left_as_it_was(kernel):
    kernel(STEPS.format("d", 0))
    kernel("%%cerebelum_step undo_d --compensates d_charge\nlog.append(result)")
    kernel("log.clear()")
    left = kernel.run("%cerebelum_run d --on-failure stop")
    assert "Not undone, as on_failure='stop' says: d_charge" in left.traceback
    assert kernel("log").value == "[]"

    kernel("undoing = %cerebelum compensate last")

    assert kernel("undoing.status, undoing.undone, log").value == "('compensated', ('d_charge',), ['c1'])"


@pytest.mark.parametrize("cell", ["%cerebelum_run e", "e.run().result()", "await e.run()"])
def test_an_interrupted_cell_gives_the_prompt_back_while_its_run_is_undone(kernel, cell):
    kernel(STEPS.format("e", 30))
    kernel("%%cerebelum_step slowly --compensates e_charge\ngo.wait(20)\nlog.append('undone')")
    kernel("log.clear(); go.clear()\nimport cerebelum_nb")

    answer = kernel.run(cell, interrupt_at="begun")

    assert (answer.ename, len(answer.traceback.splitlines())) == ("KeyboardInterrupt", 1)
    assert "is stopped, and what it did is undone in the background; runs[" in answer.evalue
    assert answer.after_interrupt_s < 4.0
    kernel("go.set()\nlast = cerebelum_nb.runs[-1]\nlast.wait(10)")
    assert kernel("last.status, log").value == "('compensated', ['undone'])"


def test_an_interrupt_while_one_waits_for_the_undoing_does_not_stop_it(kernel):
    kernel(STEPS.format("f", 0))
    kernel("%%cerebelum_step again --compensates f_charge\nprint('undoing')\ngo.wait(20)")
    kernel("go.clear()\nimport cerebelum_nb")
    answer = kernel.run("%cerebelum_run f", interrupt_at="undoing")
    assert "is undone in the background" in answer.evalue
    kernel("go.set()\nlast = cerebelum_nb.runs[-1]\nlast.wait(10)")

    assert kernel("last.status").value == "'compensated'"


def test_an_interrupt_says_which_step_is_waited_for_and_the_run_is_undone_though_that_completes(kernel):
    kernel(STEPS.format("g", 0))
    kernel("%%cerebelum_step g_ship\nprint('begun')\ngo.wait(20)")
    kernel("%%cerebelum_step unpay --compensates g_charge\nlog.append('undone')")
    kernel("log.clear(); go.clear()\nimport cerebelum_nb")

    answer = kernel.run("%cerebelum_run g", interrupt_at="begun")

    assert "is being stopped: waiting up to 5 s for step 'g_ship' to stop, then it is undone; runs[" in answer.evalue
    kernel("go.set()\nlast = cerebelum_nb.runs[-1]\nlast.wait(10)")
    assert kernel("last.status, log, last.outputs.keys() >= {'g_ship'}").value == "('compensated', ['undone'], True)"


def test_a_line_that_runs_again_what_could_not_be_undone_says_so(kernel):
    kernel(STEPS.format("h", 0))
    kernel("%%cerebelum_step unbook --compensates h_charge\nraise TypeError('no way back')")
    kernel.run("%cerebelum_run h")
    kernel("import cerebelum_nb\nfirst = cerebelum_nb.runs[-1]\n(left,) = first.leftovers")

    out = kernel.run("%cerebelum rerun last h_charge").out

    told = kernel("f'h_charge is left over from run {first.number} (key {left.key})'").value
    assert told.strip("'\"") in out.splitlines()
