"""`%cerebelum core` and `%cerebelum purge` where large results are in memory that kernel and workers share."""

import os
import re

import pytest
from kerneldriver import Kernel

pytestmark = pytest.mark.kernel


@pytest.fixture
def nb(tmp_path):
    made = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home"), "CEREBELUM_WORKERS": "1"})
    made("from cerebelum_nb import runs")
    yield made
    made.stop()


def test_shared_memory_is_told_of_and_freed(nb):
    assert "shared memory" not in nb("print(get_ipython().run_line_magic('cerebelum', 'core'))").out
    assert nb("%cerebelum purge --memory").out == "No shared memory to free.\n"
    nb("%%cerebelum_step block --executor distributed\nbytes(inputs['mib'] << 20)")
    nb("%%cerebelum_workflow work\nblock")
    for mib in (4, 32):
        nb(f"_ = get_ipython().run_line_magic('cerebelum_run', 'work mib={mib}')")

    told = nb("print(get_ipython().run_line_magic('cerebelum', 'core'))").out
    # A segment for what may come next is made ready meanwhile, so that only what is taken by runs is known.
    assert re.search(r"^shared memory: \d.* of large values, \d.* kept for the next ones$", told, re.MULTILINE), told
    asked = nb("%cerebelum purge --memory").out
    assert asked.startswith(
        "This lets go of 36.0 MiB of large results, of which 32.0 MiB are not kept on disk: these steps"
    )

    freed = nb("%cerebelum purge --memory --yes").out

    assert re.fullmatch(r"\d+\.\d MiB of shared memory freed\.\n", freed)
    assert float(freed.split()[0]) >= 36
    assert nb("len(runs[-2].outputs['block']), runs[-1].lost").value == f"({4 << 20}, frozenset({{0}}))"
    why = r"the result of 'block' of run 2 is not there any more: it is 32 MiB, .*; runs\[2\]\.rerun\('block'\) makes it again"
    for asked in ("runs[-1].outputs['block']", "runs[-1].result()"):
        lost = nb.run(asked)
        assert (lost.ename, bool(re.fullmatch(why, lost.evalue))) == ("ResultLost", True)
    assert re.search(why, nb("runs[-1].outputs").value)
    assert nb.run("%cerebelum purge --memory --all").ename == "UsageError"
    assert nb("%cerebelum purge 1 --yes").out == "1 run removed.\n"
