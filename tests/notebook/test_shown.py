"""What steps display in a real notebook: it goes to the step's panel, by message to whoever asks; and stops from there."""

import json
import os
import time

import pytest

from tests.process_kit import is_gone

pytestmark = pytest.mark.kernel

STEPS = """
import os, signal, time
from cerebelum_nb import step, workflow

class Table:
    def __repr__(self): return "a table"
    def _repr_html_(self): return "<b>canary-bold</b>"

@step
def shows_here(context):
    print("before")
    display(Table())
    print("after")

@step(executor="distributed")
def shows_there(context, shows_here):
    from IPython.display import clear_output
    print("gone")
    clear_output()
    display(Table())

@workflow
def shows(wf): wf.timeline(shows_here >> shows_there)

@step(executor="distributed")
def stubborn(context, inputs):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("pid", os.getpid(), "begun", flush=True)
    sum(range(10**12))

@workflow
def stays(wf): wf.timeline(stubborn)
"""
STOPPED_S = 5.0


@pytest.fixture(scope="module")
def nb(kernel):
    kernel("%load_ext cerebelum_nb")
    kernel(STEPS)
    return kernel


def test_what_steps_display_is_told_by_message_alone_wherever_they_run(nb):
    answer = nb("run = %cerebelum_run shows")
    (comm,) = answer.widgets
    asked = [
        {"kind": "details", "step": "shows_here"},
        {"kind": "details", "step": "shows_there"},
        {"kind": "look", "tab": "shown", "step": "shows_here", "of": "1.1"},
        {"kind": "look", "tab": "shown", "step": "shows_there", "of": "1.1"},
        {"kind": "look", "tab": "shown", "step": "shows_there", "of": "1.9"},
        {"kind": "look", "tab": "shown", "step": "shows_there", "of": "../../key"},
    ]
    answers = []
    for number, message in enumerate(asked, 900):
        nb.click(comm, {"request": number, **message})
        answers.append(nb.answer_to(comm, number))
    here, there, *bundles = answers

    assert here["output"] == [["stdout", "before\n"], ["shown 1.1", "a table\n"], ["stdout", "after\n"]]
    assert there["output"] == [["stdout", ""], ["shown 1.1", "a table\n"]]
    bundle = {"text/plain": "a table", "text/html": "<b>canary-bold</b>"}
    assert [b.get("bundle") for b in bundles] == [bundle, bundle, None, None]
    assert [b["text"] for b in bundles[2:]] == ["what step 'shows_there' displayed is not kept any more"] * 2
    assert "canary-bold" not in json.dumps(nb.comms[comm])
    assert "canary-bold" not in json.dumps([answer.charts, answer.out])


WHERE = "displayed more than text: click a step's bar, or show it in a cell: runs"


def test_the_cell_says_once_where_to_look_and_shows_it_only_when_asked(nb):
    answer = nb("run = %cerebelum_run shows")
    number = nb("run.number").value
    again = nb("run.wait()").out
    awaited = nb("(await shows.execute({})).output").out

    last = f"shows_here, shows_there {WHERE}[{number}].displayed('shows_here')"
    assert answer.out.splitlines()[-1] == last
    assert again == ""
    assert awaited.splitlines()[-1].startswith(f"shows_here, shows_there {WHERE}")
    asked = nb("display(run.displayed('shows_there'))").shown
    assert asked == [{"text/plain": "a table", "text/html": "<b>canary-bold</b>"}]
    assert nb("repr(run.displayed('shows_here'))").value == "'a table'"
    assert "has no step 'shows_her'. Did you mean 'shows_here'?" in nb.run("run.displayed('shows_her')").evalue


def test_what_a_reused_step_displayed_is_in_the_run_that_it_is_of(nb):
    nb("run = %cerebelum_run shows")
    nb("more = run.rerun('shows_there')\nmore.wait()")

    assert nb("[row.status for row in more.rows()][0], more.displayed('shows_here')[0]").value == "('reused', a table)"


def test_html_of_an_earlier_kernel_is_framed(nb):
    run = nb("run = %cerebelum_run shows\nrun.id").value
    shown = nb(
        "import pathlib\nfrom cerebelum_nb import Session\nfrom cerebelum_nb.config import from_environment\n"
        f"other = Session(from_environment())\npast = other.load({run})\n"
        "display(past.displayed('shows_there'))\nother.close()"
    ).shown

    assert "<iframe sandbox" in shown[0]["text/html"]
    assert "<b>" not in shown[0]["text/html"]


def test_pyplot_shows_figures_of_a_worker_in_a_notebook_too(nb):
    pytest.importorskip("matplotlib")
    nb(
        "@step(executor='distributed')\ndef plots(context):\n    import matplotlib.pyplot as plt\n"
        "    plt.plot([1, 2])\n    plt.show()\n"
        "@workflow\ndef plotting(wf): wf.timeline(plots)"
    )
    nb("run = %cerebelum_run plotting")

    assert nb("[sorted(shown) for shown in run.displayed('plots')]").value == "[['image/png', 'text/plain']]"


def begun(nb, printed):
    """The worker that runs the stubborn step."""
    (line,) = [line for line in printed.splitlines() if "begun" in line]
    return int(line.split("pid ")[1].split()[0])


@pytest.mark.parametrize("how", ["cancel of the widget", "interrupt", "run.cancel", "timeout"])
def test_a_step_that_does_not_want_to_stop_is_gone_soon(nb, how):
    nb(f"stubborn = step(name='stubborn', executor='distributed', timeout={2 if how == 'timeout' else None})(stubborn)")
    if how == "interrupt":
        answer = nb.run("%cerebelum_run stays", interrupt_at="begun")
        pid = begun(nb, answer.out)
        since = time.monotonic()
    else:
        answer = nb("run = %cerebelum_run stays --detach")
        said = nb("t = time.monotonic() + 20\nwhile 'begun' not in run.output('stubborn') and time.monotonic() < t:"
                  " time.sleep(0.01)\nprint(run.output('stubborn'))")  # fmt: skip
        pid = begun(nb, said.out)
        since = time.monotonic()
        if how == "cancel of the widget":
            nb.click(answer.widgets[0], {"kind": "cancel", "request": 950})
            assert nb.answer_to(answer.widgets[0], 950)["ok"]
        elif how == "run.cancel":
            nb("run.cancel()")
    while not is_gone(pid):
        assert time.monotonic() - since < STOPPED_S + 2 * (how == "timeout")
        time.sleep(0.01)

    status = nb("run = __import__('cerebelum_nb').session.current().runs[-1]\nrun.wait(5), run.status").value
    assert status == ("(True, 'failed')" if how == "timeout" else "(True, 'cancelled')")
    assert pid != os.getpid()
