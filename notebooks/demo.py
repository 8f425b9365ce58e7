"""Runs the tutorial without a browser and shows what its last hybrid run did: what ``make demo`` calls.

Everything it prints is read from the executed notebook's own outputs: the text that stands beside each chart.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import IO

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter

from cerebelum_nb.model.lines import STEP_LINE

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
TIMEOUT_S = 120  # for one cell
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Failed(Exception):
    """The demo did not work; holds what to tell."""


def main() -> int:
    """Execute, tell, write. Gives the exit code."""
    parser = argparse.ArgumentParser(description="Run a tutorial headless and show its last hybrid run.")
    parser.add_argument("notebook", nargs="?", type=pathlib.Path, default=HERE / "01_first_run.ipynb")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "demo", help="folder for what is written")
    args = parser.parse_args()
    try:
        book = executed(args.notebook)
        steps, total = last_hybrid_run(book)
        files = written(book, args.out, args.notebook.name)
    except Failed as exc:
        print(f"demo failed: {exc}", file=sys.stderr)
        return 1
    print(f"{args.notebook.name}: every cell ran. Its last hybrid run:\n")
    print("\n".join(f"  {line}" for line in steps))
    print(f"  {total}\n")
    print("Open these, no kernel needed:" + "".join(f"\n  {shown(file)}" for file in files))
    return 0


def executed(path: pathlib.Path) -> nbformat.NotebookNode:
    """The notebook after all its cells ran."""
    try:
        book = nbformat.read(path, as_version=4)
    except (OSError, ValueError) as exc:
        raise Failed(f"{path} cannot be read: {exc}") from exc
    # Widgets need their kernel; without their state the file shows the charts instead, also without a network.
    client = NotebookClient(
        book,
        timeout=TIMEOUT_S,
        startup_timeout=TIMEOUT_S,
        kernel_name="python3",
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    # What cells print comes as messages. The kernel's own complaints, mostly about sockets that close while it ends,
    # are for nobody unless it dies.
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        _execute(client, path, complaints)
    return book


def _execute(client: NotebookClient, path: pathlib.Path, complaints: IO[str]) -> None:
    book = client.nb
    try:
        client.execute(stdout=subprocess.DEVNULL, stderr=complaints)
    except CellExecutionError as exc:
        where = next(
            i for i, cell in enumerate(code_cells(book), 1) if any(o.output_type == "error" for o in cell.outputs)
        )
        raise Failed(f"code cell {where} of {path.name}: {short(exc)}") from exc
    except CellTimeoutError as exc:
        raise Failed(f"a cell of {path.name} took longer than {TIMEOUT_S} s") from exc
    except (DeadKernelError, RuntimeError) as exc:
        complaints.seek(0)
        told = f"{short(exc)}\n{complaints.read()[-2000:]}".strip()
        raise Failed(f"the kernel of {path.name} died or did not start: {told}") from exc


def code_cells(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that hold code."""
    return [cell for cell in book.cells if cell.cell_type == "code"]


def short(exc: Exception) -> str:
    """The last lines of an error, without colours: what went wrong, not how it got there."""
    text = f"{exc.ename}: {exc.evalue}" if isinstance(exc, CellExecutionError) else str(exc)
    return "\n".join([line for line in COLOURS.sub("", text).splitlines() if line.strip()][-6:])


def last_hybrid_run(book: nbformat.NotebookNode) -> tuple[list[str], str]:
    """The lines of each step, and the total, of the last chart that has steps both here and on workers."""
    charts = [
        output.data["text/plain"].splitlines()
        for cell in code_cells(book)
        for output in cell.outputs
        if output.output_type == "display_data" and "cb-static" in output.data.get("text/html", "")
    ]
    if not charts:
        raise Failed("no chart in the notebook's outputs")
    for *steps, total in reversed(charts):
        places = {found["where"] for line in steps if (found := STEP_LINE.fullmatch(line))}
        if total.startswith("Total") and "LOCAL" in places and len(places) > 1:
            return steps, total
    raise Failed("no run in the notebook's outputs has both local and distributed steps")


def written(book: nbformat.NotebookNode, folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Write the executed notebook, and the same as a page."""
    page, _ = HTMLExporter(embed_images=True, require_js_url="", mathjax_url="").from_notebook_node(book)
    if "cb-static" not in page:
        raise Failed("the page made of the notebook shows no chart")
    files = [folder / name, folder / f"{pathlib.Path(name).stem}.html"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(book, files[0])
        files[1].write_text(page, "utf-8")
    except OSError as exc:
        raise Failed(f"cannot write to {folder}: {exc}") from exc
    return files


def shown(path: pathlib.Path) -> str:
    """A path as short as it can be told."""
    here = pathlib.Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    sys.exit(main())
