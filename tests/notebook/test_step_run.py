"""`%%cerebelum_step --run` and a step's options, in a real kernel."""

import pytest

pytestmark = pytest.mark.kernel

CELLS = """
from cerebelum_nb import step, workflow

@step
def load(context, inputs):
    print("loading")
    return inputs["rows"]

@step
async def total(context, load):
    return sum(load)
"""


@pytest.fixture(scope="module")
def nb(kernel):
    kernel(CELLS)
    kernel("%%cerebelum_workflow wf\nload >> total")
    kernel("%cerebelum_run wf rows=[1,2]")
    return kernel


def test_a_step_runs_on_the_latest_results_of_what_it_needs_and_its_value_is_the_cells(nb):
    answer = nb(
        "%%cerebelum_step mean --run\nprint('hello')\nwho = inputs.get('who', 'nobody')\ntotal / len(load), who"
    )

    assert answer.value == "(1.5, 'nobody')"
    assert answer.out.startswith("step mean: auto, needs total, load\n")
    assert "mean | hello\n" in answer.out
    assert "loading" not in answer.out
    assert " ms" in answer.out.splitlines()[-1]
    assert "of run" in answer.out.splitlines()[-1]
    assert len(answer.widgets) == len(answer.charts) == 1


def test_running_the_cell_again_runs_the_new_code_on_newer_results(nb):
    nb("%%cerebelum_step again --run\ntotal + 1")
    nb("%cerebelum_run wf rows=[5]")
    answer = nb("%%cerebelum_step again --run\ntotal + 2")

    assert answer.value == "7"


def test_inputs_may_be_given(nb):
    answer = nb("%%cerebelum_step given --run --inputs {'n': 40}\ninputs['n'] + 2")

    assert answer.value == "42"


@pytest.mark.parametrize("form", ["statements", "function", "decorated", "async"])
def test_every_form_of_a_step_runs(nb, form):
    cells = {
        "statements": "total * 10",
        "function": "def form_function(context, total):\n    return total * 10",
        "decorated": "@step\ndef form_decorated(context, total):\n    return total * 10",
        "async": "import asyncio\nawait asyncio.sleep(0)\ntotal * 10",
    }
    nb("%cerebelum_run wf rows=[1,2]")

    assert nb(f"%%cerebelum_step form_{form} --run\n{cells[form]}").value == "30"


def test_a_step_runs_on_a_worker_too(nb):
    nb("%cerebelum_run wf rows=[1,2]")

    assert nb("%%cerebelum_step far --run --executor distributed\nimport os\ntotal, os.getpid()").value.startswith(
        "(3, "
    )


def test_a_value_of_none_shows_nothing(nb):
    answer = nb("%%cerebelum_step silent --run\nx = total")

    assert answer.value is None
    assert "gives None (its last line is no expression)" in answer.out


def test_a_step_that_needs_a_result_that_nobody_has_says_which(nb):
    nb("%%cerebelum_step never_ran\n1")
    answer = nb.run("%%cerebelum_step hungry --run\nnever_ran + 1")

    assert answer.ename == "PlanError"
    assert "'hungry' reads never_ran" in answer.evalue
    assert "--until never_ran" in answer.evalue
    assert len(answer.traceback.splitlines()) == 1
    assert nb("hungry(1)").value == "2"


def test_a_failing_step_shows_the_lines_of_its_cell_and_has_no_value(nb):
    answer = nb.run("%%cerebelum_step bad --run\nx = 0\n1 / x")

    assert answer.ename == "ExecutionError"
    assert "line 3, in bad\n    1 / x" in answer.traceback
    assert "ZeroDivisionError" in answer.traceback
    assert answer.value is None
    assert "cerebelum_nb/" not in answer.traceback


def test_options_are_kept_with_the_step_and_what_does_nothing_yet_is_said_in_the_same_line(nb):
    answer = nb("%%cerebelum_step optional --retries 3 --timeout 2.5 --cache --label pii --label a,b\n1")

    assert answer.out.startswith("step optional: auto, retries=3, timeout=2.5s, cache=True, labels=pii+a+b")
    assert answer.out.count("\n") == 1
    assert answer.err == ""
    assert nb("(lambda o: (o.retries, o.timeout, o.cache, o.labels))(optional.options)").value == (
        "(3, 2.5, True, ('pii', 'a', 'b'))"
    )
    assert "retries=3" in nb("%cerebelum steps optional").out


def test_an_option_in_the_cells_own_decorator_is_said_in_the_same_line(nb):
    answer = nb(
        "%%cerebelum_step\nimport warnings\nnoise = warnings.warn('mine')\n"
        "@step(retries=3)\ndef own_options(context): return 1"
    )

    assert answer.out.startswith("step own_options: auto, retries=3")
    assert answer.out.count("\n") == 1
    assert "retries" not in answer.err
    assert "UserWarning: mine" in answer.err


def test_debug_after_calling_a_step_shows_the_cells_own_line(nb):
    nb("%%cerebelum_step debugged\nx = 1\n\nx / total")
    nb.run("debugged(0)")
    shown = nb(
        "import sys, linecache\n"
        "tb = sys.last_traceback\n"
        "while tb.tb_next: tb = tb.tb_next\n"
        "code = tb.tb_frame.f_code\n"
        "(tb.tb_lineno, linecache.getline(code.co_filename, tb.tb_lineno).strip(), tb.tb_frame.f_locals)"
    ).value

    assert shown == "(4, 'x / total', {'total': 0, 'x': 1})"
