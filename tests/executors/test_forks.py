"""A notebook that has used workers can still use `multiprocessing` as it always did."""

import subprocess
import sys

import pytest

CODE = """
import os
os.environ["CEREBELUM_HOME"] = {home!r}
from concurrent.futures import ProcessPoolExecutor
from cerebelum_nb import step, workflow

one = step(name="one", executor="distributed")(lambda context: 1)
w = workflow(name="w")(lambda wf: wf.timeline(one))
w.run({{}}).result(30)
for _ in range(12):
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(abs, range(4), timeout=20)) == [0, 1, 2, 3]
print(w.run({{}}).result(30).output, os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))
"""


@pytest.mark.timeout(90)
def test_pools_of_forked_processes_work_beside_a_live_core(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", CODE.format(home=str(tmp_path))], capture_output=True, text=True, timeout=80, check=False
    )

    assert (told.stdout, told.returncode) == ("{'ok': 1} None\n", 0), told.stderr
