"""The cache as cells use it: an edited cell is a miss that names it, ``--fresh``, ``--version``, ``purge --cache``."""

import os

import pytest
from kerneldriver import Kernel

pytestmark = pytest.mark.kernel

BARS = "{row.step: (row.status, row.cache.partition(' in run ')[0]) for row in runs[-1].rows()}"
HIT = "('cached', 'hit: same code, values and inputs as')"


@pytest.fixture
def kernel(tmp_path):
    """Starts kernels of one notebook folder."""
    started = []

    def start():
        made = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home")})
        started.append(made)
        made("from cerebelum_nb import runs")
        return made

    yield start
    for made in started:
        made.stop()


def define(nb, rate="RATE = 2", helper="return x * RATE", body="lifted(inputs['n'])", options="--cache"):
    nb(f"{rate}\ndef lifted(x):\n    {helper}")
    assert "nothing in this version" not in nb(f"%%cerebelum_step slow {options}\n{body}").out
    nb("%%cerebelum_workflow work\nslow")


def bars(nb, line="n=3"):
    nb(f"_ = get_ipython().run_line_magic('cerebelum_run', 'work {line}')")
    return nb(BARS).value


def test_an_edited_cell_is_a_miss_that_names_what_changed(kernel):
    nb = kernel()
    define(nb)
    assert bars(nb) == "{'slow': ('succeeded', 'miss: first time')}"
    assert bars(nb) == f"{{'slow': {HIT}}}"
    define(nb)  # the same cells once more
    assert bars(nb) == f"{{'slow': {HIT}}}"
    define(nb, rate="RATE = 5  # euros")
    assert bars(nb) == """{'slow': ('succeeded', "miss: global 'RATE' of helper 'lifted' changed")}"""
    define(nb, rate="RATE = 5", helper="return x + RATE")
    assert bars(nb) == """{'slow': ('succeeded', "miss: helper 'lifted' changed")}"""
    define(nb, rate="RATE = 5", helper="return x + RATE", body="lifted(inputs['n']) + 1")
    assert bars(nb) == "{'slow': ('succeeded', 'miss: its code changed')}"
    assert bars(nb, "n=4") == """{'slow': ('succeeded', "miss: input 'n' changed")}"""
    assert nb("runs[-1].outputs['slow']").value == "10"

    later = kernel()
    define(later, rate="RATE = 5", helper="return x + RATE", body="lifted(inputs['n']) + 1")
    assert bars(later, "n=4") == f"{{'slow': {HIT}}}"
    assert later("runs[-1].outputs['slow']").value == "10"


def test_fresh_version_and_purge(kernel):
    nb = kernel()
    define(nb)
    bars(nb)
    assert bars(nb, "n=3 --fresh") == "{'slow': ('succeeded', 'not looked up: --fresh')}"
    define(nb, options="--cache --version 2")
    assert bars(nb) == "{'slow': ('succeeded', 'miss: its version changed')}"
    assert "version=2" in nb("%cerebelum steps slow").out

    assert nb("%cerebelum purge --cache").out == (
        "This removes 2 results (0.0 MiB) from the cache. Add --yes to do it.\n"
    )
    assert bars(nb) == f"{{'slow': {HIT}}}"
    assert nb("%cerebelum purge --cache --yes").out == "2 results (0.0 MiB) removed.\n"
    assert bars(nb) == "{'slow': ('succeeded', 'miss: first time')}"
    assert nb.run("%cerebelum purge --cache --all").ename == "UsageError"
