"""Running a cell again and again leaves nothing behind. In a real kernel, against a cell that has nothing of ours."""

import json
import os

import pytest

pytestmark = pytest.mark.kernel

TIMES = int(os.environ.get("CEREBELUM_GROWTH_TIMES", "200"))  # `1000` prints the figures of a long day

SIZES = """
import gc, json, linecache, sys, tracemalloc, psutil
from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.capture.reach import names_used

def sizes():
    gc.collect()
    own = [t for t in tracemalloc.take_snapshot().statistics("filename") if "cerebelum_nb" in t.traceback[0].filename] \
        if tracemalloc.is_tracing() else []
    magics = get_ipython().magics_manager.registry["CerebelumMagics"]
    return {
        "modules": len(sys.modules), "lines": len(linecache.cache), "steps": len(registry._steps),
        "retired": len(registry._retired), "owners": len(magics._claims._owner), "cells": len(magics._claims._cells),
        "own": sum(t.size for t in own), "rss": psutil.Process().memory_info().rss,
    }
"""


@pytest.fixture(scope="module")
def nb(kernel):
    kernel("from cerebelum_nb import step, workflow")
    kernel(SIZES)
    return kernel


def grown(nb, cell):
    """How much `TIMES` executions of a cell leave behind, after a first few; the cell may hold {n}."""
    for n in range(20):
        nb(cell.replace("{n}", str(n % 2)), metadata={"cellId": "grow"})
    before = json.loads(nb("print(json.dumps(sizes()))").out)
    for n in range(TIMES):
        nb(cell.replace("{n}", str(n % 2)), metadata={"cellId": "grow"})
    after = json.loads(nb("print(json.dumps(sizes()))").out)
    return {name: after[name] - before[name] for name in before}


CELLS = {
    "magic": "%%cerebelum_step grows\nx = {n}\nx + 1",
    "plain": "@step\ndef grows_plain(context): return {n}",
    "functions": "%%cerebelum_step\nimport math\ndef helper(x): return x\ndef grows_too(context): return helper({n})",
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.timeout(600)
def test_running_a_step_cell_again_leaves_nothing_behind(nb, kind):
    nb("import tracemalloc; tracemalloc.start()")
    left = grown(nb, CELLS[kind])
    nb("tracemalloc.stop()")
    print(f"{TIMES} x {kind}: {left}")

    own = left.pop("own")
    left.pop("rss")
    assert left == {"modules": 0, "lines": 0, "steps": 0, "retired": 0, "owners": 0, "cells": 0}
    assert own < 200 * TIMES  # bytes; about ten a time are counters and IPython's own history, allocated below us


def test_an_edited_cell_adds_no_more_lines_to_the_line_cache_than_a_plain_one(nb):
    def lines(cell):
        before = json.loads(nb("print(json.dumps(sizes()))").out)["lines"]
        for n in range(20):
            nb(cell.replace("{n}", f"{n} + 1000"), metadata={"cellId": "edited"})
        return json.loads(nb("print(json.dumps(sizes()))").out)["lines"] - before

    assert lines("%%cerebelum_step edited\n{n}") <= lines("edited_plainly = {n}")
