"""The runs of a project from another terminal: list them, answer a step that waits."""

import contextlib
import json
import sqlite3

import nbformat
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


FRAGILE = """\
import pathlib

from cerebelum_nb import step, workflow


@step
def first(context, inputs):
    print("first runs")
    return inputs["n"] + 1


@step
def second(context, first):
    if not pathlib.Path("mended").exists():
        raise OSError("the tape is torn")
    return first * 10


@workflow
def fragile(wf):
    wf.timeline(first >> second)
"""


def test_a_run_that_failed_goes_on_in_another_process(cli, tmp_path):
    cli.write("fragile.py", FRAGILE)
    code, out, err = cli("run", "fragile.py", "--inputs", '{"n": 4}')
    assert (code, "first runs" in out, "the tape is torn" in err) == (1, True, True)
    (tmp_path / "mended").touch()

    code, out, err = cli("resume", "fragile.py")

    assert (code, err) == (0, "")
    assert "first runs" not in out
    assert out.splitlines()[-1] == "50"
    assert [r["status"] for r in listed(cli)] == ["succeeded", "failed"]


def test_a_step_that_was_edited_since_is_named_before_anything_goes_on(cli, tmp_path):
    cli.write("fragile.py", FRAGILE)
    cli("run", "fragile.py", "--inputs", '{"n": 4}')
    (tmp_path / "mended").touch()
    cli.write("fragile.py", FRAGILE.replace("+ 1", "+ 2"))

    asked = (
        "Error: edited since that run: first. --changed run runs them again, and what depends on them. "
        "--changed keep takes the results of edited ones as they are.\n"
    )
    assert cli("resume", "fragile.py:fragile") == (2, "", asked)
    assert cli("resume", "fragile.py", "--changed", "keep")[1].splitlines()[-1] == "50"
    run, done = listed(cli)[-1]["run"], listed(cli)[0]["run"]
    before = f"Error: run {run} was resumed before, by run {done}, which has succeeded\n"
    assert cli("resume", "fragile.py", run, "--changed", "run") == (2, "", before)
    assert cli("resume", "fragile.py") == (2, "", "Error: no run of 'fragile' is left to be resumed\n")


def test_there_must_be_something_to_go_on_with(cli):
    cli.write("fragile.py", FRAGILE)

    assert cli("resume", "fragile.py") == (2, "", "Error: no run of 'fragile' is left to be resumed\n")
    assert cli("resume", "fragile.py", "2026") == (2, "", "Error: the journal has no run '2026'.\n")


def test_a_run_of_a_notebook_goes_on_too(cli, tmp_path):
    cells = [nbformat.v4.new_code_cell(FRAGILE)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "fragile.ipynb")
    assert cli("run", "fragile.ipynb", "--inputs", '{"n": 4}')[0] == 1
    (tmp_path / "mended").touch()

    code, out, err = cli("resume", "fragile.ipynb")

    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "50"


def test_runs_are_removed_after_asking(cli):
    cli.write("fragile.py", FRAGILE)
    for n in "123":
        cli("run", "fragile.py", "--inputs", f'{{"n": {n}}}')
    newest, _, oldest = (r["run"] for r in listed(cli))

    assert cli("purge") == (
        2,
        "",
        "Error: which runs? Name them, or say --older DAYS or --all; `cerebelum runs` lists them\n",
    )
    assert cli("purge", oldest)[0] == 1  # nobody says yes
    assert len(listed(cli)) == 3
    assert cli("purge", oldest, "--yes")[1] == "1 run removed.\n"
    assert cli("purge", "--older", "1", "--yes")[1] == "There is no run to remove.\n"
    assert newest in [r["run"] for r in listed(cli)]
    assert cli("purge", "--all", "--yes")[1] == "2 runs removed.\n"
    assert cli("runs")[1] == "Nothing has run yet in this project.\n"


@pytest.mark.parametrize("broken", ["no database", "a text that is none", "a folder"])
def test_a_broken_journal_is_told_in_one_line_and_the_exit_code_is_2(cli, broken):
    cli("run", "orders.py", "--until", "validate_order", "--inputs", '{"order": {"items": [1]}}')
    journal = cli.folder / "home" / "journal.db"
    if broken == "no database":
        journal.write_bytes(b"what is this" * 500)
    elif broken == "a folder":
        journal.unlink()
        journal.mkdir()
    else:
        with contextlib.closing(sqlite3.connect(journal)) as db, db:
            db.execute("update runs set status=cast(x'ff' as text)")

    for command in (("runs",), ("purge", "--all", "--yes"), ("purge", "2026", "--yes")):
        code, out, err = cli(*command)
        assert (code, out, len(err.splitlines()), err.startswith("Error: ")) == (2, "", 1, True), err
        assert ("sets it aside" in err) == (broken == "no database")


def test_a_journal_that_cannot_be_written_is_not_purged(cli):
    cli("run", "orders.py", "--until", "validate_order", "--inputs", '{"order": {"items": [1]}}')
    with contextlib.closing(sqlite3.connect(cli.folder / "home" / "journal.db", timeout=1)) as db:
        db.execute("begin exclusive")
        code, _, err = cli("purge", "--all", "--yes")
    assert (code, err.count("\n")) == (2, 1)
    assert "runs cannot be removed from" in err or "cannot be read just now" in err
