"""`cerebelum run NOTEBOOK.ipynb:WORKFLOW`, with a real kernel."""

import re
import signal

import nbformat
import pytest

from tests.process_kit import is_gone

pytestmark = pytest.mark.kernel

CELLS = [
    "%load_ext cerebelum_nb",
    "# Prices\n",
    "from cerebelum_nb import step\n\nRATE = 2",
    "@step\ndef load(context, inputs):\n    print('loading')\n    return inputs['prices']",
    "%%cerebelum_step total --executor distributed\nprint('adding')\nsum(load) * RATE",
    "%%cerebelum_workflow pricing\nload >> total",
    "run = %cerebelum_run pricing {'prices': [1]}\nopen('ran', 'w')",
    "run.outputs['total']",
    "result = await pricing.execute({'prices': []})",
]


@pytest.fixture
def notebook(cli):
    def write(cells, name="pricing.ipynb"):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.cells.insert(1, nbformat.v4.new_markdown_cell("Not code."))
        return cli.write(name, nbformat.writes(book))

    return write


def test_a_notebooks_workflow_runs_from_its_defining_cells(cli, notebook):
    code, out, err = cli("run", notebook(CELLS), "--inputs", '{"prices": [2, 3]}')

    assert (code, err) == (0, "")
    lines = [line.split("]")[0] for line in out.splitlines()]
    assert lines == [
        "Executing workflow: pricing",
        "load | loading",
        "  ✓ load [LOCAL",
        "total | adding",
        "  ✓ total [DISTRIBUTED",
        "10",
    ]


def test_dev_ends_with_the_summary_for_a_notebook_too(cli, notebook):
    code, out, _ = cli("dev", "--telemetry", f"{notebook(CELLS)}:pricing", "--inputs", '{"prices": [2]}')

    assert code == 0
    assert "  ⏳ total [DISTRIBUTED] ...\n" in out
    assert "Summary:\n  Total: " in out


def test_a_failed_step_is_told_with_the_notebooks_own_cell(cli, notebook):
    code, _, err = cli("run", notebook(CELLS), "--inputs", "{}")

    assert code == 1
    assert err.startswith("Error: step 'load' failed (local, attempt 1): KeyError: 'prices'\n")
    assert "Code cell 4 of pricing.ipynb, line 4, in load" in err


@pytest.mark.parametrize(
    ("cells", "args", "said"),
    [
        (CELLS, ["pricing.ipynb:pricin"], "pricing.ipynb has no workflow 'pricin'. Did you mean 'pricing'?"),
        (CELLS, ["pricing.ipynb", "--strategy", "total=gpu"], "there is no executor 'gpu'"),
        ([*CELLS[:3], "1 / 0"], ["pricing.ipynb"], "code cell 4 of pricing.ipynb fails, so nothing was run.\n"),
        (["x = 1"], ["pricing.ipynb"], "pricing.ipynb has no workflow"),
    ],
)
def test_what_cannot_be_run_is_said_and_exits_with_2(cli, notebook, cells, args, said):
    notebook(cells)

    code, out, err = cli("run", *args)

    assert (code, out) == (2, "")
    assert said in err


def test_a_file_that_is_no_notebook_is_refused(cli):
    cli.write("old.ipynb", '{"worksheets": []}')

    code, _, err = cli("run", "old.ipynb")

    assert code == 2
    assert "old.ipynb is not a notebook" in err


def test_an_interrupt_cancels_the_run_in_the_kernel_and_nothing_is_left(cli, notebook, line_of):
    slow = [*CELLS[:3], "import os, time\n@step\ndef nap(context):\n    print(os.getpid())\n    time.sleep(60)"]
    name = notebook([*slow, "%%cerebelum_workflow napping\nnap"])
    with cli.start("run", name) as process:
        line = line_of(process, "nap | ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    cancelled, onward = err.splitlines(keepends=True)
    assert cancelled == "Cancelled: run 1 of napping was cancelled while nap ran; 0 of 1 steps had finished\n"
    assert re.fullmatch(r"This is run (\S+); `cerebelum resume \S+ \1` goes on\n", onward)
    assert is_gone(int(line.split("|")[1]))
