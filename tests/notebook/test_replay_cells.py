"""A failed remote step, replayed in a real kernel: the cell's own lines, the step's frames, the debugger."""

import re

import pytest

pytestmark = pytest.mark.kernel

CELLS = (
    "WEIGHT = 2",
    "%%cerebelum_step load\n[3, 4]",
    "%%cerebelum_step score --executor distributed\nprint('scoring', WEIGHT)\nshare = len(load) - WEIGHT\n\nsum(load) / share",
    "%%cerebelum_workflow wf\nload >> score",
)
INNERMOST = (
    "import sys, traceback\n"
    "frame, line = list(traceback.walk_tb(sys.last_traceback))[-1]\n"
    "(frame.f_code.co_name, line, frame.f_locals['share'], frame.f_locals['load'], frame.f_globals['WEIGHT'])"
)


@pytest.fixture
def nb(kernel):
    for cell in CELLS:
        kernel(cell)
    return kernel


def debugged(nb, *lines):
    """What `%debug` answers to some lines."""
    return nb(
        "class Said:\n"
        f"    def __init__(self): self.lines = {list(lines)!r}\n"
        "    def __call__(self, prompt=''): return self.lines.pop(0)\n"
        "import builtins\n"
        "old, builtins.input = builtins.input, Said()\n"
        "try:\n"
        "    %debug\n"
        "finally:\n"
        "    builtins.input = old\n"
    ).out


def test_a_failure_on_a_worker_names_the_line_that_replays_it_and_the_debugger_sees_the_step(nb):
    failed = nb.run("%cerebelum_run wf")
    (hint,) = [line for line in failed.traceback.splitlines() if line.endswith(" runs it again here, for %debug.")]
    line = hint.partition(" runs ")[0]
    nb("WEIGHT = 50")
    answer = nb.run(line)

    assert re.fullmatch(r"%cerebelum replay \d+ score", line)
    assert (answer.ename, answer.evalue) == ("ZeroDivisionError", "division by zero")
    assert re.match(r"Replays attempt 1 of score \(run \d+, distributed\) here\.\nscoring 2\n$", answer.out), answer.out
    first, place, code = answer.traceback.splitlines()[:3]
    assert first == "Traceback (most recent call last):"
    assert re.fullmatch(r"  Cell In\[\d+\], line 5, in score", place)
    assert code == "    sum(load) / share"
    assert "distributed): there it failed alike." in answer.traceback
    assert "a worker of distributed (pid " in answer.traceback
    assert "cerebelum_nb" not in answer.traceback
    assert nb(INNERMOST).value == "('score', 5, 0, [3, 4], 2)"


def test_without_a_run_it_is_the_newest_that_has_the_step(nb):
    number = int(nb.run("%cerebelum_run wf").traceback.partition("This is runs[")[2].partition("]")[0])
    nb("%%cerebelum_step other\n1")
    nb("%%cerebelum_workflow others\nother")
    nb("%cerebelum_run others")

    assert f"Replays attempt 1 of score (run {number}, distributed) here." in nb.run("%cerebelum replay score").out
    assert nb.run("%cerebelum replay last score").evalue == f"run {number + 1} has no step 'score'."


def test_debug_after_a_replay_is_in_the_steps_frame_also_after_an_earlier_error(nb):
    nb.run("1 / 0")
    nb.run("%cerebelum_run wf")
    nb.run("%cerebelum replay score")
    asked = debugged(nb, "p share, load", "w", "l", "q")

    assert "(0, [3, 4])" in asked, asked
    assert "sum(load) / share" in asked
    assert "cerebelum_nb" not in asked, "frames of ours are none of theirs"


def test_debug_after_one_of_our_errors_is_in_the_persons_own_frame(nb):
    nb("from cerebelum_nb import runs\nfrom cerebelum_nb.session import current")
    nb("def mine(number):\n    held = 7\n    return current().pools.drain('nowhere')")
    nb.run("1 / 0")
    refused = nb.run("mine(1)")
    asked = debugged(nb, "p held", "q")

    assert refused.ename == "PlanError"
    assert "current().pools.drain(" in asked, asked
    assert "7" in asked.splitlines(), asked
    assert "crew.py" not in asked


def test_an_enormous_message_is_shown_by_its_two_ends_also_in_a_replay(nb):
    nb("%%cerebelum_step huge\nraise ValueError('head' + 'x' * 5_000_000 + 'tail')")
    nb("%%cerebelum_workflow wf_huge\nhuge")
    nb.run("%cerebelum_run wf_huge")

    again = nb.run("%cerebelum replay huge").traceback

    assert len(again) < 30_000
    assert "ValueError: headxxx" in again
    assert "xxxtail" in again
    assert re.search(r"… \d{7} characters …", again)


def test_a_replay_by_python_hides_our_frames_and_one_that_succeeds_is_the_cells_value(nb):
    nb.run("%cerebelum_run wf")
    nb("from cerebelum_nb import runs")
    python = nb.run("runs[-1].replay('score')")
    value = nb("%cerebelum replay last load")

    assert python.traceback.startswith("Traceback (most recent call last):\n  Cell In[")
    assert "replay.py" not in python.traceback
    assert re.fullmatch(
        r"attempt 1 of load \(run \d+, local\), replayed here in \S+ ms: the same result", value.value
    ), value.value


def test_an_interrupt_of_a_replay_shows_where_the_step_was(nb):
    nb(
        "%%cerebelum_step stuck --executor distributed\nimport time\nif context.replay:\n    print('stuck')\n    time.sleep(60)\n1"
    )
    nb("%%cerebelum_workflow hangs\nstuck")
    nb("%cerebelum_run hangs")
    answer = nb.run("%cerebelum replay stuck", interrupt_at="stuck\n")

    assert answer.ename == "KeyboardInterrupt"
    assert answer.after_interrupt_s < 5
    assert "line 5, in stuck\n    time.sleep(60)" in answer.traceback
    assert nb("1 + 1").value == "2"


def test_refusals_say_what_to_type(nb):
    nb("%%cerebelum_step pay --effects once\n1")
    nb("%%cerebelum_workflow pays\npay")
    nb("%cerebelum_run pays")
    once = nb.run("%cerebelum replay pay")
    number = re.search(r"replay (\d+) pay --force` insists", once.traceback)[1]
    wrong = nb.run("%cerebelum replay")
    unknown = nb.run("%cerebelum replay 999 pay")

    assert "PlanError: step 'pay' says effects=\"once\"" in once.traceback
    assert nb(f"%cerebelum replay {number} pay --force").value.endswith(": the same result")
    assert "which step?" in wrong.traceback
    assert "there is no run '999'" in unknown.traceback


def test_completion_offers_steps_that_began(nb):
    nb.run("%cerebelum_run wf")
    offered = nb(
        "from cerebelum_nb.notebook.completion import offers\noffers('%cerebelum replay '), offers('%cerebelum replay last ')"
    )

    assert offered.value.startswith("(['load', 'score', ")
    assert offered.value.endswith("['load', 'score', '--attempt', '--executor', '--force'])")


def test_the_panel_gets_the_line_for_a_cell_or_why_there_is_none(nb):
    answer = nb.run("%cerebelum_run wf")
    (comm,) = answer.widgets
    nb.click(comm, {"kind": "replay", "request": 71, "step": "score"})
    line = nb.answer_to(comm, 71)
    nb.click(comm, {"kind": "replay", "request": 72, "step": "nope"})
    refused = nb.answer_to(comm, 72)

    assert re.fullmatch(r"%cerebelum replay \d+ score", line["code"])
    assert (line["kind"], line["step"]) == ("replay", "score")
    assert line["text"] == "Run this line in a cell: it raises there what score raises, and %debug shows where."
    assert (refused["kind"], refused["ok"]) == ("ack", False)
    assert "has no step 'nope'" in refused["text"]
