"""Magics in a real kernel: what they do, and what they say when they are used wrongly."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

STEPS = """
from cerebelum_nb import step, workflow

@step
def load(context, inputs):
    print("loading")
    return inputs["rows"]

@step
async def total(context, load):
    return sum(load)
"""


@pytest.fixture(scope="module")
def nb(kernel):
    kernel(STEPS)
    kernel("%%cerebelum_workflow wf\nload >>\ntotal")
    return kernel


# -- steps


def test_statements_become_a_step_that_can_be_called_and_run(nb):
    said = nb("%%cerebelum_step mean --executor local\nn = len(load)\ntotal / n")
    nb("%%cerebelum_workflow wf_mean\nload >> total >> mean")

    assert said.out == "step mean: local, needs load, total\n"
    assert nb("mean([1, 2, 3], 6)").value == "2.0"
    assert nb("run = %cerebelum_run wf_mean {'rows': [1, 2, 3]}\nrun.outputs['mean']").value == "2.0"


def test_functions_become_a_step_and_helpers_stay_in_the_notebook(nb):
    said = nb(
        "%%cerebelum_step\nK = 2\ndef twice(x):\n    return x * K\ndef doubled(context, total):\n    return twice(total)"
    )

    assert said.out == "step doubled: auto, needs total\n"
    assert nb("twice(4), K, doubled(None, 4)").value == "(8, 2, 8)"


def test_a_step_of_functions_may_get_another_name(nb):
    said = nb("%%cerebelum_step renamed\ndef original(context, total): return -total")

    assert said.out == "step renamed: auto, needs total\n"
    assert nb("renamed is original, original(None, 3)").value == "(True, -3)"


def test_a_decorator_in_the_cell_is_respected(nb):
    said = nb("%%cerebelum_step\n@step(executor='distributed', name='other')\ndef decorated(context): return 1")
    wrong = nb.run(
        "%%cerebelum_step --executor local\n@step(executor='distributed')\ndef decorated2(context): return 1"
    )

    assert said.out == "step other: distributed\n"
    assert "keep one of them" in wrong.evalue


def test_a_step_that_awaits_is_asynchronous(nb):
    nb("%%cerebelum_step slept\nimport asyncio\nawait asyncio.sleep(0)\ntotal + 1")
    nb("%%cerebelum_workflow wf_slept\nload >> total >> slept")

    assert nb("(await wf_slept.execute({'rows': [1, 2]})).output").value == "{'ok': 4}"
    assert nb("await slept(4)").value == "5"


def test_depends_orders_without_reading(nb):
    said = nb("%%cerebelum_step late --depends total,load\nprint('late')\n7")

    assert said.out == "step late: auto, needs total, load\n"


def test_running_a_cell_again_replaces_the_step(nb):
    nb("%%cerebelum_step again\n1")
    nb("%%cerebelum_workflow wf_again\nagain")
    nb("%%cerebelum_step again\n2")

    assert nb("run = %cerebelum_run wf_again\nrun.outputs").value == "{'again': 2}"


def test_a_name_that_looks_like_a_step_is_pointed_out(nb):
    said = nb("%%cerebelum_step near_miss\ntotl + 1")

    assert said.out == "step near_miss: auto, nothing is called 'totl' yet. Did you mean 'total'?\n"


@pytest.mark.parametrize("top", ["", "\n\n"])
def test_a_failing_step_shows_the_lines_of_its_cell(nb, top):
    nb(top + "%%cerebelum_step broken\nx = 1\n\ndef deep(v):\n    return v / 0\ndeep(total)")
    nb("%%cerebelum_workflow wf_broken\nload >> total >> broken")
    answer = nb.run("%cerebelum_run wf_broken {'rows': [1]}")
    line = 5 + len(top)

    assert answer.status == "error"
    assert answer.ename == "ExecutionError"
    assert answer.evalue == "Execution failed at step 'broken': Step 'broken' returned error: division by zero"
    assert f"line {line + 1}, in broken\n    deep(total)" in answer.traceback
    assert f"line {line}, in deep\n    return v / 0" in answer.traceback
    assert "Cell In[" in answer.traceback
    assert "cerebelum_nb/" not in answer.traceback
    assert len(answer.traceback.splitlines()) < 8


def test_a_name_nobody_knows_fails_at_its_line_when_the_step_runs(nb):
    nb("%%cerebelum_step unknown_name\nx = 1\nx + nowhere_defined")
    nb("%%cerebelum_workflow wf_unknown\nunknown_name")
    answer = nb.run("%cerebelum_run wf_unknown")

    assert "NameError: name 'nowhere_defined' is not defined" in answer.traceback
    assert "line 3, in unknown_name" in answer.traceback


def test_sys_exit_in_a_step_ends_the_step_and_not_the_kernel(nb):
    nb("%%cerebelum_step leaver\nimport sys\nsys.exit(3)")
    nb("%%cerebelum_workflow wf_exit\nleaver")
    answer = nb.run("%cerebelum_run wf_exit")

    assert answer.ename == "StepExecutionError"
    assert "SystemExit: sys.exit(3) was called" in answer.traceback
    assert nb("1 + 1").value == "2"


# -- what is used wrongly

WRONG = [
    ("%%cerebelum_step s1\nx = 1\ndef f(:", "SyntaxError", "invalid syntax", "line 3"),
    ("%%cerebelum_step s1\nx = (1,\ny = 2", "SyntaxError", "never closed", "line 2"),
    ("%%cerebelum_step s1\nx = 1\nnonlocal x", "SyntaxError", "nonlocal", "line 3"),
    ("%%cerebelum_step\nx = undefined_here\ndef f(): ...", "NameError", "undefined_here", "line 2"),
    ("%%cerebelum_step s1 --executor distribued\n1", "PlacementError", "Did you mean 'distributed'?", ""),
    ("%%cerebelum_step s1 --exeuctor local\n1", "UsageError", "Did you mean '--executor'?", ""),
    ("%%cerebelum_step s1 --executor\n1", "UsageError", "--executor needs a value", ""),
    ("%%cerebelum_step s1 --retries many\n1", "UsageError", "--retries is a whole number", ""),
    ("%%cerebelum_step s1 --retries 9999\n1", "DefinitionError", "0 to 1000", ""),
    ("%%cerebelum_step s1 --timeout soon\n1", "UsageError", "--timeout is a number of seconds", ""),
    ("%%cerebelum_step s1 --timeout 0\n1", "UsageError", "more than 0", ""),
    ("%%cerebelum_step s1 --cache yes\n1", "UsageError", "one name at most", ""),
    ("%%cerebelum_step s1 --label\n1", "UsageError", "--label needs a value", ""),
    ("%%cerebelum_step s1 --inputs {}\n1", "UsageError", "--inputs are for --run", ""),
    ("%%cerebelum_step s1 --cache\n@step\ndef s1(context): ...", "DefinitionError", "write cache=True there", ""),
    ("%%cerebelum_step s1 s2\n1", "UsageError", "one name at most", ""),
    ("%%cerebelum_step\n1 + 1", "DefinitionError", "needs a name", ""),
    ("%%cerebelum_step s1\nx = 1\n!ls", "DefinitionError", "line 3: '!ls'", ""),
    ("%%cerebelum_step default\n1", "DefinitionError", "cannot be called 'default'", ""),
    ("%%cerebelum_workflow\nload", "UsageError", "needs a name", ""),
    ("%%cerebelum_workflow w1 w2\nload", "UsageError", "one name", ""),
    ("%%cerebelum_workflow w1\nload >> totl", "DefinitionError", "Did you mean 'total'?", ""),
    ("%%cerebelum_workflow w1\n# nothing", "PlanError", "has no steps", ""),
    ("%%cerebelum_workflow w1\nload >> [", "SyntaxError", "never closed", "line 2"),
    ('%%cerebelum_run wf\n{"a":', "SyntaxError", "'{' was never closed", "line 2"),
    ("%%cerebelum_workflow w1\nload >> total >> load", "PlanError", "cycle", ""),
    ("%%cerebelum_workflow w1\ntotal >> load", "PlanError", "cycle", ""),
    ("%%cerebelum_workflow w1\ntotal", "PlanError", "needs 'load'", ""),
    ("%%cerebelum_workflow w1\n[load, load]", "PlanError", "A step stands once", ""),
    ("%%cerebelum_workflow w1 --strategy lod=local\nload", "PlanError", "Did you mean 'load'?", ""),
    ("%%cerebelum_workflow w1 --strategy load=loca\nload", "PlacementError", "Did you mean 'local'?", ""),
    ("%%cerebelum_workflow w1 --executor clowd\nload", "PlacementError", "no executor 'clowd'", ""),
    ("%%cerebelum_workflow load\nload", "DefinitionError", "has a step of the same name", ""),
    ("%cerebelum_run", "UsageError", "which workflow? Workflows: wf", ""),
    ("%cerebelum_run wff", "PlanError", "Did you mean 'wf'?", ""),
    ("%cerebelum_run load", "PlanError", "is a step, not a workflow", ""),
    ("%cerebelum_run wf {'rows': [1}", "PlanError", "no Python expression", ""),
    ("%cerebelum_run wf rows=[1] {'a': 1}", "UsageError", "do not go together", ""),
    ("%cerebelum_run wf rows = [1]", "PlanError", "no Python expression", ""),
    ("%cerebelum_run wf rows= [1]", "UsageError", "do not go together", ""),
    ("%cerebelum_run wf rows=", "UsageError", "needs a value right after it", ""),
    ("%cerebelum_run wf rows=[1] rows=[2]", "PlanError", "keyword argument repeated", ""),
    ("%%cerebelum_run wf rows=[1]\n{}", "UsageError", "again in its first line", ""),
    ("%cerebelum_run wf {'rows': nope}", "PlanError", "NameError: name 'nope' is not defined", ""),
    ("%cerebelum_run wf [1, 2]", "PlanError", "inputs is a dict", ""),
    ("%cerebelum_run wf {} --from nowhere", "PlanError", "no", ""),
    ("%cerebelum_run wf {} --until totl", "PlanError", "Did you mean 'total'?", ""),
    ("%cerebelum_run wf {} --strategy totl=local", "PlanError", "Did you mean 'total'?", ""),
    ("%cerebelum_run wf {} --strategy total=lokal", "PlacementError", "Did you mean 'local'?", ""),
    ("%cerebelum_run wf {} --strategy local", "UsageError", "pairs like", ""),
    ("%cerebelum_run wf {} --detach=", "UsageError", "takes no value", ""),
    ("%cerebelum_run wf {} --detatch", "UsageError", "Did you mean '--detach'?", ""),
    ("%%cerebelum_run wf\n{'rows':\n  (}", "SyntaxError", "does not match", "line 3"),
    ("%%cerebelum_run wf\n{'rows':\n  nope}", "PlanError", "NameError: name 'nope' is not defined (line 3)", ""),
    ("%%cerebelum_run wf {}\n{}", "UsageError", "again in its first line", ""),
    ("%cerebelum sttus", "UsageError", "Did you mean 'status'?", ""),
    ("%cerebelum steps now", "UsageError", "no step 'now'", ""),
    ("%cerebelum steps totl", "UsageError", "Did you mean 'total'?", ""),
    ("%cerebelum approve", "UsageError", "which run, and which step?", ""),
    ("%cerebelum approve 1", "UsageError", "which step?", ""),
    ("%cerebelum approve 999 total", "PlanError", "no run '999'", ""),
    ("%cerebelum reject 999 total", "PlanError", "no run '999'", ""),
    ("%cerebelum runs --all", "UsageError", "unknown option --all", ""),
    ("%cerebelum show 1", "NotYet", "later version", ""),
    ("%cerebelum doctor", "NotYet", "later version", ""),
    ("%cerebelum help rern", "UsageError", "Did you mean 'rerun'?", ""),
    ("%cerebelum_run wf --executor=nope", "UsageError", "--strategy default=E for all, --strategy STEP=E for one", ""),
    ("%cerebelum_run wf --strategy default=nope", "PlacementError", "Known here: local, distributed, processes", ""),
    ("%cerebelum rerun", "UsageError", "which run?", ""),
    ("%cerebelum rerun 999", "PlanError", "no run '999'", ""),
]


@pytest.mark.parametrize(("code", "ename", "said", "line"), WRONG, ids=[code.replace("\n", "|") for code, *_ in WRONG])
def test_a_wrong_cell_gets_one_short_message(nb, code, ename, said, line):
    if "999" in code:
        nb("%cerebelum_run wf {'rows': [1]}")
    answer = nb.run(code)

    assert answer.status == "error"
    assert answer.ename == ename
    assert said in answer.evalue
    assert line in answer.traceback
    assert "cerebelum_nb/" not in answer.traceback
    assert len(answer.traceback.splitlines()) < 12
    assert nb("'still here'").value == "'still here'"


@pytest.mark.parametrize("magic", ["%%cerebelum_step x\n  \n", "%%cerebelum_workflow x\n\n \n"])
def test_an_empty_cell_gets_a_hint(nb, magic):
    answer = nb.run(magic)

    assert answer.status == "ok"
    assert "For example" in answer.out or "cell body is empty" in answer.err


def test_a_step_that_failed_to_be_defined_leaves_the_old_one(nb):
    nb("%%cerebelum_step kept\n1")
    nb.run("%%cerebelum_step kept\n1 +")
    nb.run("%%cerebelum_step kept --executor nowhere\n2")

    assert nb("kept()").value == "1"


# -- workflows


def test_a_workflow_cell_shows_its_timeline_with_places(nb):
    said = nb("%%cerebelum_workflow shown --executor distributed --strategy total=local\nload >>\n[total]")

    assert said.out == "shown: load (distributed) >> total (local)\n"
    assert nb("shown").value == "<workflow shown: load >> total>"


@pytest.mark.parametrize("kind", ["cell", "decorator", "magic without a name"])
def test_a_new_executor_in_a_step_cell_takes_effect_in_the_next_run(nb, kind):
    name = f"moved_{kind[0]}{len(kind)}"
    cells = {
        "cell": f"%%cerebelum_step {name} --executor EXECUTOR\n1",
        "decorator": f"@step(executor='EXECUTOR')\ndef {name}(context): return 1",
        "magic without a name": f"%%cerebelum_step --executor EXECUTOR\ndef {name}(context): return 1",
    }
    nb(cells[kind].replace("EXECUTOR", "local"))
    if kind == "decorator":
        nb(f"@workflow\ndef wf_{name}(wf): wf.timeline({name})")
    else:
        nb(f"%%cerebelum_workflow wf_{name}\n{name}")
    placed = f"[(p.label, p.rule) for p in wf_{name}.run().state.places]"
    before = nb(placed).value
    nb(cells[kind].replace("EXECUTOR", "distributed"))
    after = nb(placed).value

    assert before == "[('local', 'decorator')]"
    assert after == "[('distributed', 'decorator')]"


# -- runs


def test_a_run_shows_the_widget_then_the_chart_and_echoes_prints(nb):
    answer = nb("%cerebelum_run wf {'rows': [1, 2]}")

    assert len(answer.widgets) == 1
    assert answer.shown[0]["text/plain"] == "cerebelum_nb run"
    assert answer.shown[0]["text/html"] == ""
    assert len(answer.charts) == 1
    assert answer.updated == []
    assert "succeeded" in answer.charts[0]["text/plain"]
    assert answer.out == "load | loading\n"
    assert answer.value is None


def test_a_run_that_is_kept_is_shown_once(nb):
    answer = nb("run = %cerebelum_run wf {'rows': [1, 2]}\nrun")

    assert len(answer.widgets) == len(answer.charts) == 1
    assert nb("run.outputs['total']").value == "3"


@pytest.mark.parametrize(
    "code",
    [
        "%cerebelum_run wf {'rows': [n for n in numbers if n > 1]}",
        "%cerebelum_run --strategy default=local wf {'rows': [n for n in numbers if n > 1], 'say': 'a --from b }'}",
        "%cerebelum_run wf dict(rows=[2, 3])",
        "%cerebelum_run wf rows=[2, 3]",
        "%cerebelum_run wf --strategy default=local rows=my_inputs['rows'] who='Ann Lee' --until total",
        "%%cerebelum_run wf\n\n# the rows\n{\n  'rows': [n for n in numbers if n > 1],\n}\n",
        "%%cerebelum_run wf --strategy default=local\nmy_inputs",
    ],
)
def test_inputs_are_any_expression(nb, code):
    nb("numbers = [1, 2, 3]\nmy_inputs = {'rows': [2, 3]}")
    nb(code)

    assert nb("from cerebelum_nb.session import current\ncurrent().runs[-1].outputs['total']").value == "5"


def test_a_strategy_places_steps_for_this_run_only(nb):
    nb("r1 = %cerebelum_run wf {'rows': [1]} --strategy total=distributed,default=local")
    nb("r2 = %cerebelum_run wf {'rows': [1]}")

    assert (
        nb("[p.label for r in (r1, r2) for p in r.state.places]").value == "['local', 'distributed', 'local', 'local']"
    )


def test_from_reuses_and_until_stops(nb):
    nb("r1 = %cerebelum_run wf {'rows': [1, 2]}")
    again = nb("r2 = %cerebelum_run wf --from total")
    nb("r3 = %cerebelum_run wf {'rows': [1, 2]} --until load")

    assert again.out == ""
    assert (
        nb("[row.status for r in (r2, r3) for row in r.rows()]").value
        == "['reused', 'succeeded', 'succeeded', 'skipped']"
    )


def test_a_detached_run_is_shown_at_once_and_its_chart_follows(nb):
    nb("%%cerebelum_step gated\nimport threading\ngate.wait(20)\n1")
    nb("import threading\ngate = threading.Event()")
    nb("%%cerebelum_workflow wf_gated\ngated")
    answer = nb("run = %cerebelum_run wf_gated --detach")
    chart = answer.ids[-1]
    status = nb("run.status").value
    nb("gate.set()")
    (_, data) = nb.hear(lambda: next((u for u in nb.updates if u[0] == chart), None))

    assert status == "'running'"
    assert "running" in answer.charts[0]["text/plain"]
    assert "succeeded" in data["text/plain"]
    assert nb("run.wait(5)").value == "True"


def test_a_run_that_is_the_value_of_a_cell_is_shown_once(nb):
    answer = nb("wf.run({'rows': [1]})")

    assert len(answer.widgets) == len(answer.charts) == 1
    assert answer.value is None


def test_a_failed_run_fails_its_cell_and_stops_run_all(nb):
    nb("%%cerebelum_step failing\nraise ValueError('no stock')")
    nb("%%cerebelum_workflow wf_failing\nfailing")
    first = nb.start("%cerebelum_run wf_failing")
    second = nb.start("reached = True")

    assert nb.finish(first)["status"] == "error"
    assert nb.finish(second)["status"] == "aborted"
    assert nb("'reached' in globals()").value == "False"


def test_an_error_in_plain_python_is_as_short_and_names_the_line_of_the_cell(nb):
    failed = nb.run("x = 1\nawait wf.execute({'rows': ['a']})")
    wrong = nb.run("x = 1\nwf.run([1])")

    assert failed.ename == "ExecutionError"
    assert "cerebelum_nb/" not in failed.traceback
    assert "line 2\n    wf.run([1])\nPlanError:" in wrong.traceback


# -- verbs


def test_verbs_answer(nb):
    nb("run = %cerebelum_run wf {'rows': [1, 2]}")
    number = nb("run.number").value
    rerun = nb(f"again = %cerebelum rerun {number} total --executor local")

    assert "executors: local, distributed, processes" in nb("%cerebelum status").out
    assert "total" in nb("%cerebelum steps").out
    assert "wf " in nb("%cerebelum workflows").out
    assert f"{number} " in nb("%cerebelum runs").out
    assert "--executor" in nb("%cerebelum help rerun").out
    assert "Example:" in nb("%cerebelum help step").out
    assert "%cerebelum rerun" in nb("%cerebelum").out
    assert len(rerun.widgets) == 1
    assert nb("[row.status for row in again.rows()], again.parent is run").value == "(['reused', 'succeeded'], True)"


def test_every_verb_of_the_manual_has_an_example(nb):
    for verb in ("status", "steps", "workflows", "runs", "rerun", "approve", "reject", "help"):
        assert "Example:" in nb(f"%cerebelum help {verb}").out


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("%cerebelum ", "status"),
        ("%cerebelum sta", "status"),
        ("%cerebelum steps to", "total"),
        ("%cerebelum help appr", "approve"),
        ("%cerebelum rerun ", "1"),
        ("%cerebelum rerun la", "last"),
        ("%cerebelum rerun 1 to", "total"),
        ("%cerebelum rerun 1 total --executor ", "local"),
        ("%cerebelum workers dr", "drain"),
        ("%cerebelum workers add --pool ", "processes"),
        ("%cerebelum workers add --pool=dist", "distributed"),
        ("%cerebelum core restart --pool ", "distributed"),
        ("%cerebelum purge --ol", "--older"),
        ("%cerebelum resume la", "last"),
        ("%cerebelum resume last --changed ", "keep"),
        ("%cerebelum compensate ", "last"),
        ("%cerebelum_run w", "wf"),
        ("%cerebelum_run wf --st", "--strategy"),
        ("%cerebelum_run wf --from to", "total"),
        ("%cerebelum_run wf --from ", "load"),
        ("%cerebelum_run wf --until to", "total"),
        ("%cerebelum_run wf --strategy to", "total="),
        ("%cerebelum_run wf --strategy total=", "distributed"),
        ("%cerebelum_run wf --strategy total=local,lo", "load="),
        ("%cerebelum_run wf --strategy total=local,load=dis", "distributed"),
        ("%%cerebelum_step x --executor ", "distributed"),
        ("%%cerebelum_step x --executor dis", "distributed"),
        ("%%cerebelum_step x --executor=dis", "distributed"),
        ("%%cerebelum_step x --dep", "--depends"),
        ("%%cerebelum_step x --depends load,to", "total"),
        ("%%cerebelum_step x --ru", "--run"),
        ("%%cerebelum_workflow x --ex", "--executor"),
        ("%%cereb", "%%cerebelum_step"),
        ("run = %cerebelum_run w", "wf"),
        ("run = %cerebelum_run wf --until to", "total"),
        ("    %cerebelum_run w", "wf"),
    ],
)
def test_tab_completes(nb, line, offered):
    nb("%cerebelum_run wf {'rows': [1]}")
    request = nb.client.complete(line, len(line))
    matches = nb.reply(request)["content"]["matches"]

    assert any(match.endswith(offered) for match in matches), matches


# -- the extension


def test_loading_twice_and_reloading_change_nothing(nb):
    nb("%load_ext cerebelum_nb")
    nb("%reload_ext cerebelum_nb")
    nb("import threading\ngate = threading.Event()")
    nb("live = %cerebelum_run wf_gated --detach")
    nb("%reload_ext cerebelum_nb")

    assert nb("live.status").value == "'running'"
    assert nb("gate.set()\nlive.wait(5)").value == "True"
    assert len(nb("%cerebelum_run wf {'rows': [1]}").widgets) == 1


def test_a_notebook_can_be_run_twice(nb):
    cells = [
        "%load_ext cerebelum_nb",
        "%%cerebelum_step twice_a\n1",
        "%%cerebelum_step twice_b\ntwice_a + 1",
        "%%cerebelum_workflow wf_twice\ntwice_a >> twice_b",
        "run = %cerebelum_run wf_twice",
        "run.outputs",
    ]
    first, second = ([nb(cell) for cell in cells] for _ in range(2))

    assert [a.out for a in first][1:] == [a.out for a in second][1:]
    assert first[-1].value == second[-1].value == "{'twice_a': 1, 'twice_b': 2}"


def test_a_terminal_gets_text(tmp_path):
    code = """
from IPython.core.interactiveshell import InteractiveShell
ip = InteractiveShell.instance()
for cell in ("%load_ext cerebelum_nb", "%%cerebelum_step a\\nprint('hello')\\n1", "%%cerebelum_workflow w\\na", "%cerebelum_run w"):
    assert ip.run_cell(cell, store_history=True).success
assert not ip.run_cell("%cerebelum_run ww", store_history=True).success
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip

    assert "step a: auto" in done.stdout
    assert "a | hello" in done.stdout
    assert "succeeded" in done.stdout
    assert "Did you mean 'w'?" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_loading_imports_nothing_heavy_and_is_quick():
    code = """
import sys, time
import IPython.core.magic, IPython.core.interactiveshell
ip = IPython.core.interactiveshell.InteractiveShell.instance()
began = time.process_time()
ip.extension_manager.load_extension("cerebelum_nb")
took = time.process_time() - began
heavy = [m for m in ("grpc", "anywidget", "ipywidgets", "cloudpickle", "numpy", "cerebelum_nb.session") if m in sys.modules]
print(heavy, round(took * 1000))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    heavy, took_ms = done.stdout.rsplit(maxsplit=1)

    assert heavy == "[]"
    assert int(took_ms) < 500  # of the processor; 50 on a quiet machine
