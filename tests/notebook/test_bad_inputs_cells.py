"""What people type wrongly in cells, and what their steps take along that cannot travel: one row each.

Rows 1 to 6 and 49 to 53 of the table of bad inputs. Each row ends with what the person reads, and with the kernel and
the next cell alive.
"""

import os
import subprocess
import sys

import pytest
from kerneldriver import Kernel

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def nb(tmp_path_factory):
    started = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path_factory.mktemp("home"))})
    started(f"%cd {tmp_path_factory.mktemp('notebook')}")
    started("from cerebelum_nb import step, workflow")
    started("%%cerebelum_step load\ninputs.get('rows', [1, 2])")
    started("%%cerebelum_step total\nsum(load)")
    started("%%cerebelum_workflow wf\nload >> total")
    started("%cerebelum_run wf rows=[1]")
    yield started
    started.stop()


FAR = "%%cerebelum_step bad --run --executor distributed\n"

HIDDEN = """
import importlib.util, pathlib, sys
pathlib.Path('sub').mkdir(exist_ok=True)
pathlib.Path('sub/hid.py').write_text('def v(): return 1')
spec = importlib.util.spec_from_file_location('hid', 'sub/hid.py')
hid = importlib.util.module_from_spec(spec)
sys.modules['hid'] = hid
spec.loader.exec_module(hid)
"""

# row, setup, the cell, error (empty: it succeeds), what is said
ROWS = [
    # 1 magics, verbs and names that nobody knows
    (1, "", "%%wrokflow\nload", "UsageError", ["not found", "Did you mean %%cerebelum_workflow?"]),
    (1, "", "%%cerebelum_stp x\n1", "UsageError", ["not found", "Did you mean %%cerebelum_step?"]),
    (1, "", "%cerebelum_ruin wf", "UsageError", ["not found", "Did you mean %cerebelum_run?"]),
    (1, "", "%cerebellum status", "UsageError", ["not found", "Did you mean %cerebelum?"]),
    (1, "", "%cerebelum stauts", "UsageError", ["unknown verb 'stauts'", "Did you mean 'status'?", "There are: status"]),
    (1, "", "%cerebelum_run fw", "PlanError", ["Did you mean 'wf'?", "Workflows: wf"]),
    # 2 options, values, quotes
    (2, "", "%%cerebelum_step x --exeuctor local\n1", "UsageError", ["Did you mean '--executor'?", "Usage: %%cerebelum_step"]),
    (2, "", "%%cerebelum_step x --executor\n1", "UsageError", ["--executor needs a value", "Usage:"]),
    (2, "", "%%cerebelum_step x --executor 'local\n1", "UsageError", ["a quote that is never closed", "Usage:"]),
    (2, "", "%cerebelum_run wf {'rows': [1}", "PlanError", ["no Python expression"]),
    (2, "", "%cerebelum_run wf who='Ann", "PlanError", ["no Python expression"]),
    (2, "", "%cerebelum_run wf {} rows=[1]", "UsageError", ["do not go together", "Usage:"]),
    (2, "", "%cerebelum_run wf --strategy total", "UsageError", ["pairs like", "Usage:"]),
    (2, "", "%cerebelum rerun last total --executor", "UsageError", ["--executor needs a value", "Usage:"]),
    # 3 nothing in the cell
    (3, "", "%%cerebelum_step x\n  \n", "", ["This cell is empty. For example:"]),
    (3, "", "%%cerebelum_workflow x\n\n", "", ["This cell is empty. For example:"]),
    (3, "", "%%cerebelum_step x\n# later", "DefinitionError", ["this step cell is empty"]),
    # 4 no Python
    (4, "", "%%cerebelum_step x\na = 1\nb = (2", "SyntaxError", ["line 3", "never closed"]),
    (4, "", "%%cerebelum_step x\nif True:\n1", "SyntaxError", ["line 3", "expected an indented block"]),
    (4, "", "%%cerebelum_workflow x\nload >>\n]", "SyntaxError", ["line 3", "unmatched ']'"]),
    (4, "", "%%cerebelum_run wf\n{'rows':\n 1 2}", "SyntaxError", ["line 3"]),
    (4, "", "%%cerebelum_step x\na = 1\n%time a", "DefinitionError", ["line 3: '%time a' is a magic or shell line"]),
    (4, "", "%%cerebelum_step x\na = 1\n!ls", "DefinitionError", ["line 3: '!ls' is a magic or shell line"]),
    # 5 the extension again
    (5, "", "%load_ext cerebelum_nb", "", []),
    (5, "", "%reload_ext cerebelum_nb\n%reload_ext cerebelum_nb", "", []),
    # 49 what cannot travel
    (49, "import threading\nlock = threading.Lock()", FAR + "lock", "ExecutionError",
     ["step 'bad' uses the global 'lock', a _thread.lock", "Create it inside the step, pass it as an input"]),
    (49, "import sqlite3\ndb = sqlite3.connect(':memory:')", FAR + "db", "ExecutionError",
     ["the global 'db', a sqlite3.Connection"]),
    (49, "import socket\nline = socket.socket()", FAR + "line", "ExecutionError", ["the global 'line', a socket.socket"]),
    (49, "rows = (n for n in range(3))", FAR + "list(rows)", "ExecutionError", ["the global 'rows', a generator"]),
    (49, "def helper(): return lock", FAR + "helper()", "ExecutionError", ["the global 'lock' through helper 'helper'"]),
    (49, "config = {'deep': [1, lock]}", FAR + "config", "ExecutionError", ["it is config['deep'][1]"]),
    (49, "big = bytes(50 << 20)", FAR + "len(big)", "ExecutionError",
     ["takes 50.0 MiB along", "the global 'big' (50.0 MiB)", "Pass it as an input, or load it inside the step"]),
    (49, "API_KEY = 'abcdef0123456789'", FAR + "API_KEY", "ExecutionError",
     ["the global API_KEY, which looks like a key or password", "os.environ"]),
    (49, "conf = {'url': 'x', 'password': 'correcthorse'}", FAR + "conf", "ExecutionError", ["conf['password']"]),
    (49, "client = 'sk-proj-abcdefghijklmnop1234'", FAR + "client", "ExecutionError", ["the global client"]),
    # 50 the value that counts
    (50, "V = 1\n@step(executor='distributed')\ndef far_v(context): return V\n@workflow\ndef wf_v(wf): wf.timeline(far_v)\nV = 2",
     "print(wf_v.run().result(30).outputs)", "", ["{'far_v': 2}"]),
    # 53 modules
    (53, HIDDEN, FAR + "hid.v()", "ExecutionError",
     ["uses module 'hid', which workers cannot import", "register_pickle_by_value(hid)", "sys.path"]),
    (53, "", FAR + "import no_such_module_at_all", "ExecutionError", ["No module named 'no_such_module_at_all'", "line 2"]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "setup", "cell", "error", "said"), ROWS, ids=[f"{r[0]}: {r[2][:60]!r}" for r in ROWS])
def test_a_bad_input_gets_a_message_and_the_next_cell_runs(nb, row, setup, cell, error, said):
    if setup:
        nb(setup)
    answer = nb.run(cell)
    text = answer.traceback + answer.out + answer.err

    assert answer.status == ("error" if error else "ok"), text
    assert answer.ename == error or f"{error}:" in answer.err
    for piece in said:
        assert piece in text
    assert "cerebelum_nb/" not in text
    assert len(answer.traceback.splitlines()) < 12
    assert nb("6 * 7").value == "42"
    assert nb("run = %cerebelum_run wf rows=[40, 2]\nrun.outputs['total']").value == "42"


def test_5_reloading_keeps_a_live_run(nb):
    nb("import threading\ngate = threading.Event()")
    nb("%%cerebelum_step gated\ngate.wait(20)\n1")
    nb("%%cerebelum_workflow wf_gated\ngated")
    nb("live = %cerebelum_run wf_gated --detach")
    nb("%reload_ext cerebelum_nb")
    nb("%load_ext cerebelum_nb")

    assert nb("live.status").value == "'running'"
    assert "wf_gated" in nb("%cerebelum status").out
    assert nb("gate.set()\nlive.wait(10)").value == "True"


def test_6_a_script_needs_no_notebook(tmp_path):
    (tmp_path / "script.py").write_text(
        "from cerebelum_nb import step, workflow\n"
        "@step\ndef one(context): return 1\n"
        "@step\ndef two(context, one): return one + 1\n"
        "@workflow\ndef wf(wf): wf.timeline(one >> two)\n"
        "if __name__ == '__main__':\n"
        "    run = wf.run()\n    print(run.result(20).output, run)\n    import sys\n    print('IPython' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
        env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home")},
    )  # fmt: skip

    assert done.stdout.splitlines() == ["{'ok': 2} <run 1 of wf: succeeded, 2 of 2 steps>", "False"]
    assert done.stderr == ""


def test_51_a_step_that_is_redefined_in_flight_changes_nothing_in_its_run(nb):
    nb("gate = threading.Event()")
    nb("%%cerebelum_step flight_a\ngate.wait(20)\n'old'")
    nb("%%cerebelum_step flight_b --executor distributed\nflight_a, 'old'")
    nb("%%cerebelum_workflow wf_flight\nflight_a >> flight_b")
    nb("flight = %cerebelum_run wf_flight --detach")
    nb("%%cerebelum_step flight_a\n'new'")
    nb("%%cerebelum_step flight_b --executor distributed\nflight_a, 'new'")
    nb("gate.set()\nflight.wait(20)")

    assert nb("flight.outputs['flight_b']").value == "('old', 'old')"
    assert nb("run = %cerebelum_run wf_flight\nrun.outputs['flight_b']").value == "('new', 'new')"


def test_52_a_class_that_is_defined_again_is_explained(nb):
    nb("class Order:\n    n = 1")
    nb("%%cerebelum_step o_load --executor distributed\nOrder()")
    nb("%%cerebelum_step o_check\nassert isinstance(o_load, Order), 'not an Order'\no_load.n")
    nb("%%cerebelum_workflow wf_order\no_load >> o_check")
    assert nb("run = %cerebelum_run wf_order\nisinstance(run.outputs['o_load'], Order)").value == "True"
    nb("class Order:\n    n = 2")
    answer = nb.run("%cerebelum_run wf_order --from o_check")

    assert "holds Order as it was before that class was defined again" in answer.traceback
    assert nb("run = %cerebelum_run wf_order\nrun.outputs['o_check']").value == "2"


def test_53_a_module_that_was_edited_is_the_new_one_on_the_worker(nb):
    nb("import pathlib\npathlib.Path('beside.py').write_text('def v(): return 1')\nimport beside")
    first = nb("%%cerebelum_step far_beside --run --executor distributed\nbeside.v()").value
    nb("pathlib.Path('beside.py').write_text('def v(): return 1000')")
    second = nb("%%cerebelum_step far_beside --run --executor distributed\nbeside.v()").value

    assert (first, second) == ("1", "1000")
