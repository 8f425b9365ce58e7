"""The runs of a project from another terminal: list them, answer a step that waits."""

import json

import pytest

WAITING = """\
from cerebelum_nb import step, wait_for_approval, workflow


@step
async def ask(context, inputs):
    return await wait_for_approval("spend 900")


@workflow
def spend(wf):
    wf.timeline(ask)
"""


def listed(cli):
    head, *rows = (line.split() for line in cli("runs")[1].splitlines())
    return [dict(zip(head, row, strict=False)) for row in rows]


@pytest.fixture
def waiting(cli, line_of):
    """A run in another process that waits for somebody's word, and its id."""
    running = cli.start("run", cli.write("spend.py", WAITING))
    try:
        assert "spend 900" in line_of(running, "waits for approval")
        (run,) = listed(cli)
        assert (run["workflow"], run["status"]) == ("spend", "running")
        yield running, run["run"]
    finally:
        running.kill()
        running.communicate()


def end_of(running):
    out, err = running.communicate(timeout=60)
    return running.returncode, out, err


@pytest.mark.parametrize(
    ("given", "value"), [([], True), (['{"limit": 5}'], {"limit": 5}), (["fine by me"], "fine by me")]
)
def test_a_step_that_waits_elsewhere_gets_what_is_answered_here(cli, waiting, given, value):
    running, run = waiting

    assert cli("approve", run, "ask", *given) == (0, f"step ask of run {run} goes on\n", "")

    code, out, _ = end_of(running)
    assert code == 0
    assert json.dumps(value) in out or repr(value) in out
    assert [r["status"] for r in listed(cli)] == ["succeeded"]


def test_a_step_that_waits_elsewhere_is_told_no(cli, waiting):
    running, run = waiting

    assert cli("reject", run[-8:], "ask", "too dear") == (0, f"step ask of run {run} was told no\n", "")

    code, out, err = end_of(running)
    assert code == 1
    assert "'spend 900' was rejected: too dear" in out + err


def test_who_does_not_wait_is_not_answered(cli, waiting):
    running, run = waiting
    none = f"Error: step 'ask' of run {run} does not wait for approval. Waiting there: no step.\n"
    near = f"Error: step 'aks' of run {run} does not wait for approval. Did you mean 'ask'? Waiting there: ask.\n"

    assert cli("approve", run, "aks") == (2, "", near)
    assert cli("approve", "nothing", "ask") == (2, "", "Error: the journal has no run 'nothing'.\n")
    cli("approve", run, "ask")
    end_of(running)
    assert cli("approve", run, "ask") == (2, "", none)


def test_a_project_without_runs_says_so(cli):
    assert cli("runs") == (0, "Nothing has run yet in this project.\n", "")
