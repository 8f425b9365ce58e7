"""``cerebelum replay``: an attempt of an earlier process, run again."""

import re

import nbformat
import pytest

FLOW = """\
import os
from cerebelum_nb import step, workflow


@step
def load(context, inputs):
    return {"n": inputs["n"]}


@step(executor="distributed")
def score(context, load):
    print("scoring", load, context.replay)
    return 1 / load["n"]


@step(effects="once")
def pay(context, score):
    return score * 2


@workflow
def flow(wf):
    wf.timeline(load >> score >> pay)
"""


def ran(cli, inputs, file="flow.py"):
    code, _, err = cli("run", file, "--inputs", inputs)
    return code, re.search(r"\S+-\S+", cli("runs")[1].splitlines()[1])[0], err


@pytest.fixture
def failed(cli):
    cli.write("flow.py", FLOW)
    code, run, _ = ran(cli, '{"n": 0}')
    assert code == 1
    return run


def test_a_failed_remote_attempt_fails_again_in_the_shell_with_its_own_frames(cli, failed):
    code, out, err = cli("replay", failed, "score")

    assert code == 1
    assert out == f"Replays attempt 1 of score (run {failed}, distributed) here.\nscoring {{'n': 0}} True\n"
    first, place, line, *rest = err.splitlines()
    assert (first, line) == ("Traceback (most recent call last):", '    return 1 / load["n"]')
    assert place.endswith('flow.py", line 13, in score')
    assert "ZeroDivisionError: division by zero" in rest
    assert any(line.endswith("distributed): there it failed alike.") for line in rest)
    assert [r for r in cli("runs")[1].splitlines()[1:] if r] == [cli("runs")[1].splitlines()[1]], "it is no run"


def test_what_succeeded_is_compared_and_needs_its_file(cli, failed):
    bare = cli("replay", failed, "load")
    code, out, err = cli("replay", failed, "load", "--file", "flow.py")

    assert (bare[0], bare[1]) == (2, "")
    assert f"name its file: `cerebelum replay {failed} load --file FILE`" in bare[2]
    assert (code, err) == (0, "")
    assert re.search(rf"\nattempt 1 of load \(run {failed}, local\), replayed here in .* ms: the same result\n", out), (
        out
    )
    assert "today's load runs, which has the same code" in out


def test_what_a_notebooks_step_was_sent_with_is_enough(cli):
    nb = nbformat.v4.new_notebook()
    cells = ("%load_ext cerebelum_nb", "N = 0", "%%cerebelum_step score --executor distributed\n1 / N")
    nb.cells = [nbformat.v4.new_code_cell(c) for c in (*cells, "%%cerebelum_workflow flow\nscore")]
    cli.write("book.ipynb", nbformat.writes(nb))
    code, run, _ = ran(cli, "{}", "book.ipynb")
    assert code == 1
    code, _, err = cli("replay", run, "score")

    assert code == 1
    assert ", line 2, in score\n    1 / N\n" in err, err
    assert "ZeroDivisionError" in err
    told = cli("replay", run, "score", "--file", "book.ipynb")
    assert (told[0], "is a notebook: run its cells in Jupyter" in told[2]) == (2, True)


def test_what_cannot_be_replayed_is_refused_in_one_line(cli):
    cli.write("flow.py", FLOW)
    code, run, _ = ran(cli, '{"n": 2}')
    assert code == 0
    for asked, said in (
        (("nope", "score"), "the journal has no run 'nope'"),
        ((run, "scor"), f"run {run} has no step 'scor'. Did you mean 'score'?"),
        ((run, "pay", "--file", "flow.py"), f"`cerebelum replay {run} pay --force` insists"),
        ((run, "load", "--attempt", "3"), "had 1 attempt: there is no attempt 3"),
    ):
        code, out, err = cli("replay", *asked)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert said in err
    assert cli("replay", run, "pay", "--file", "flow.py", "--force")[0] == 0
