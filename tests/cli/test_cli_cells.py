"""Which part of a notebook's cells the command line runs."""

import pytest

from cerebelum_nb.cli.cells import defining


@pytest.mark.parametrize(
    "cell",
    [
        "import subprocess\nsubprocess.run(['true'])",
        "%load_ext cerebelum_nb",
        "files = !ls\n%matplotlib inline\nx = 1",
        "%%cerebelum_step total\nrows = other.run()\nsum(rows)",
        "%%cerebelum_workflow wf\na >> b",
        "def go():\n    return wf.run({})",
        "frame['n'] = frame.n.apply(len)",
        "value = await client.get()",
        "this is not python",
        "%%bash\necho hi",
        "wf?",
        "",
    ],
)
def test_what_defines_things_is_kept_as_it_is(cell):
    assert defining([cell]) == [cell]


@pytest.mark.parametrize(
    "cell",
    [
        "%cerebelum_run wf {'a': 1}",
        "run = %cerebelum_run wf",
        "  %cerebelum_run wf",
        "%%cerebelum_run wf\n{'a': 1}",
        "%cerebelum rerun last",
        "%cerebelum resume last",
        "%cerebelum approve last a",
        "runs[-1].move('a', 'local')",
        "runs[-1]",
        "wf.run({})",
        "run = wf.run({})\nrun",
        "result = await wf.execute({'a': 1})",
        "import asyncio\nasyncio.run(wf.execute({}))"[15:],
        "runs = [wf.run({'n': n}) for n in range(3)]",
        "with timer():\n    wf.run({})",
        "%%time\nrun = wf.run({})",
    ],
)
def test_what_starts_a_run_is_left_out(cell):
    assert defining([cell]) == [""]


def test_only_the_statement_that_starts_a_run_goes_and_lines_keep_their_numbers():
    cell = "order = {1: 2}\nrun = wf.run(\n    order\n)\n\n@step\ndef late(context): ..."

    assert defining([cell]) == ["order = {1: 2}\n\n\n\n\n@step\ndef late(context): ..."]


def test_what_needs_a_runs_result_goes_too_until_the_name_means_something_else():
    cells = [
        "run = %cerebelum_run wf",
        "run.outputs",
        "again = run.rerun('a', executor='local')\nagain",
        "table = {r.step: r.where for r in again.rows()}",
        "assert table",
        "run = 3",
        "print(run)",
    ]

    assert defining(cells) == ["", "", "", "", "", "run = 3", "print(run)"]
