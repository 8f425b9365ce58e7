"""What `make demo` calls: it tells the last hybrid run, or why it cannot."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.kernel

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def demo(*args):
    done = subprocess.run(
        [sys.executable, NOTEBOOKS / "demo.py", *args], capture_output=True, encoding="utf-8", timeout=110, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_demo_tells_the_last_hybrid_run_and_writes_a_notebook_and_a_page(tmp_path):
    code, out, err = demo("--out", tmp_path)

    assert (code, err) == (0, "")
    told = re.sub(r"\d+(\.\d+)? (ms|s)\b", "TIME", out)
    assert re.search(
        "  validate_order \\[LOCAL\\] TIME\n"
        "  check_inventory \\[DISTRIBUTED\\] TIME\n"
        "  calculate_tax \\[LOCAL\\] TIME\n"
        "  process_payment \\[DISTRIBUTED\\] TIME\n"
        "  finalize_order \\[LOCAL\\] TIME\n"
        "  Total TIME, local \\d+ %, distributed \\d+ %, succeeded\n",
        told,
    ), out
    book = nbformat.read(tmp_path / "01_first_run.ipynb", as_version=4)
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")
    page = (tmp_path / "01_first_run.html").read_text("utf-8")
    assert "data:image/svg+xml;base64," in page
    assert not re.search(r'<script[^>]+src="https?:|<link[^>]+href="https?:', page)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["x = 1", "1 / 0"], "demo failed: code cell 2 of small.ipynb: ZeroDivisionError: division by zero\n"),
        (["print('nothing runs')"], "demo failed: no chart in the notebook's outputs\n"),
        (
            [
                "%load_ext cerebelum_nb\nfrom cerebelum_nb import step",
                "@step\ndef only(context): ...",
                "%%cerebelum_workflow wf\nonly",
                "%cerebelum_run wf",
            ],
            "demo failed: no run in the notebook's outputs has both local and distributed steps\n",
        ),
    ],
)
def test_a_demo_that_cannot_show_a_run_fails_with_one_message(tmp_path, cells, said):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(book, tmp_path / "small.ipynb")

    assert demo(tmp_path / "small.ipynb", "--out", tmp_path / "out") == (1, "", said)
    assert not (tmp_path / "out").exists()


def test_a_notebook_that_is_not_there_is_one_message(tmp_path):
    code, _, err = demo(tmp_path / "none.ipynb")

    assert code == 1
    assert err.startswith("demo failed: ")
    assert "Traceback" not in err


def test_what_a_kernel_complains_about_while_it_ends_is_told_to_nobody(tmp_path):
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import os, atexit\natexit.register(os.write, 2, b'Assertion failed')\n1 / 0")]
    )
    nbformat.write(book, tmp_path / "small.ipynb")

    _, _, err = demo(tmp_path / "small.ipynb", "--out", tmp_path / "out")

    assert err == "demo failed: code cell 1 of small.ipynb: ZeroDivisionError: division by zero\n"


def test_what_a_kernel_complained_about_before_it_died_is_told(tmp_path):
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import os\nos.write(2, b'out of paper')\nos.abort()")]
    )
    nbformat.write(book, tmp_path / "small.ipynb")

    code, _, err = demo(tmp_path / "small.ipynb", "--out", tmp_path / "out")

    assert code == 1
    assert err.startswith("demo failed: the kernel of small.ipynb died")
    assert "out of paper" in err
