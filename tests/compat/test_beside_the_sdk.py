"""The real SDK from PyPI beside ours, in an environment of its own: the same programs, and workflows that it built."""

import os
import subprocess

import pytest

from tests.compat.test_programs import DEADLINE_S, HERE, PROGRAMS, ours
from tests.conftest import INSTALL_S

pytestmark = pytest.mark.kernel  # slow, and wants the network
BROKEN_THERE = {"mistakes", "waiting"}  # a list before `>>`, and whatever sleeps: the SDK fails at both


@pytest.fixture(scope="module")
def python(both_packages):
    """A Python that has both packages."""
    return both_packages


def run(python, file, folder):
    # The SDK dials a public host unless this names one; nothing here should dial at all.
    env = {**os.environ, "CEREBELUM_ENGINE": "127.0.0.1:1", "CEREBELUM_URL": "127.0.0.1:1"}
    return subprocess.run(
        [python, file], cwd=folder, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@pytest.mark.timeout(INSTALL_S)
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name not in BROKEN_THERE])
def test_both_packages_print_the_same(program, python, tmp_path):
    mine = tmp_path / f"{program}.py"
    mine.write_text(ours(program), "utf-8")

    theirs = run(python, HERE / "programs" / f"{program}.py", tmp_path)
    here = run(python, mine, tmp_path)

    told = "".join(line for line in theirs.stdout.splitlines(keepends=True) if not line.startswith("!!!"))
    assert told == here.stdout, here.stderr
    assert (theirs.returncode, here.returncode) == (0, 0)


@pytest.mark.timeout(INSTALL_S)
@pytest.mark.parametrize("program", sorted(BROKEN_THERE))
def test_a_program_of_the_list_of_what_fails_there_still_fails_there(program, python, tmp_path):
    assert run(python, HERE / "programs" / f"{program}.py", tmp_path).returncode != 0


BUILT = """\
elsewhere completed {'ok': {'left': [3, 3], 'right': 'there', 'load': 'there', 'join': 'there', 'step': 'join'}} 1
DSLLocalExecutor completed {'ok': {'left': [3, 3], 'right': 'here', 'load': 'here', 'join': 'here', 'step': 'join'}}
DistributedExecutor completed {'ok': {'left': [3, 3], 'right': 'there', 'load': 'there', 'join': 'there', 'step': 'join'}}
HybridExecutor completed {'ok': {'left': [3, 3], 'right': 'here', 'load': 'here', 'join': 'here', 'step': 'join'}}
HybridExecutor completed {'ok': {'left': [3, 3], 'right': 'there', 'load': 'here', 'join': 'there', 'step': 'join'}}
HybridExecutor completed {'ok': {'left': [3, 3], 'right': 'there', 'load': 'here', 'join': 'here', 'step': 'join'}}
('load', 'left', 'right', 'join') ((), (0,), (0,), (0, 1, 2))
True step 'broken' failed (local, attempt 1): KeyError: 'k'
Execution failed at step 'broken': Step 'broken' returned
True step 'broken' failed (distributed, attempt 1): KeyError: 'k'
Execution failed at step 'broken': Step 'broken' returned
True step 'sleeper' failed (local, attempt 1): SleepMarker: it calls the SDK's sleep by a way that cannot be followed \
here: in the step itself write `from cerebelum_nb import sleep`
Execution failed at step 'sleeper': Step 'sleeper' returned
True step 'sleeper' failed (distributed, attempt 1): SleepMarker: it calls the SDK's sleep by a way that cannot be \
followed here: in the step itself write `from cerebelum_nb import sleep`
Execution failed at step 'sleeper': Step 'sleeper' returned
workflow 'chooses' uses diverge or branch, of which the SDK hands over only a part. Import step and workflow from \
cerebelum_nb instead: there they really choose
execution_strategy names the step 'lefd', which the workflow does not have. Did you mean 'left'?
[1, 1]
"""


@pytest.mark.timeout(INSTALL_S)
def test_workflows_that_the_sdk_built_run_here_and_on_workers(python, tmp_path):
    ran = run(python, HERE / "built" / "strategies.py", tmp_path)

    assert "".join(line for line in ran.stdout.splitlines(keepends=True) if not line.startswith("!!!")) == BUILT, (
        ran.stderr
    )
    assert ran.returncode == 0
