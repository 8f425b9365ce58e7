"""Steps belong to a name and a cell: replaced, claimed twice, retired, stale. In a real kernel, with cell ids."""

import pytest

pytestmark = pytest.mark.kernel


class Notebook:
    """Cells with ids, as a front end sends them."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, cell, code, **metadata):
        return self.kernel(code, metadata={"cellId": cell, **metadata})

    def fails(self, cell, code):
        answer = self.kernel.run(code, metadata={"cellId": cell})
        assert answer.status == "error"
        return answer


@pytest.fixture(scope="module")
def nb(kernel):
    kernel("from cerebelum_nb import step, workflow")
    return Notebook(kernel)


BOTH = {
    "magic": lambda name, body: f"%%cerebelum_step {name}\n{body}",
    "plain": lambda name, body: f"@step\ndef {name}(context):\n    return {body}",
}


@pytest.fixture(params=sorted(BOTH))
def write(request):
    return lambda name, body: BOTH[request.param](f"{name}_{request.param}", body)


def named(write, name):
    return f"{name}_{'magic' if write(name, '1').startswith('%%') else 'plain'}"


def test_running_a_cell_again_replaces_its_step_without_a_word(nb, write):
    name = named(write, "replaced")
    nb("r1", write("replaced", "1"))
    again = nb("r1", write("replaced", "2"))
    nb("r2", f"%%cerebelum_workflow wf_{name}\n{name}")

    assert "both define it" not in again.err
    assert nb("r3", f"run = %cerebelum_run wf_{name}\nrun.outputs").value == f"{{'{name}': 2}}"


def test_two_cells_with_one_name_are_both_named_and_the_newer_wins(nb, write):
    name = named(write, "claimed")
    first = nb("c1", write("claimed", "1")).count
    warned = nb("c2", write("claimed", "2"))
    second = warned.count
    quiet = nb("c2", write("claimed", "3"))

    assert warned.err == (
        f"step {name!r}: cell [{first}] and cell [{second}] both define it; cell [{second}], the newer, counts\n"
    )
    assert quiet.err == ""
    assert nb("c3", f"%%cerebelum_workflow wf_{name}\n{name}").out
    assert nb("c4", f"run = %cerebelum_run wf_{name}\nrun.outputs").value == f"{{'{name}': 3}}"
    # The cell that lost its step has nothing to retire.
    assert nb("c1", "pass").out == ""
    assert nb("c4", f"run = %cerebelum_run wf_{name}\nrun.outputs").value == f"{{'{name}': 3}}"


def test_a_cell_that_was_deleted_claims_nothing(nb, write):
    nb("d1", write("deleted", "1"))
    answer = nb("d2", write("deleted", "2"), deletedCells=["d1"])

    assert answer.err == ""


def test_a_cell_that_no_longer_defines_a_step_retires_it(nb, write):
    name = named(write, "retired")
    nb("t1", write("retired", "1"))
    nb("t2", f"@workflow\ndef wf_{name}(wf): wf.timeline({name})\nheld = [{name}]")
    nb("t3", f"@workflow\ndef wf_held_{name}(wf): wf.timeline(held)")
    answer = nb("t1", "x = 1")

    assert answer.out.startswith(f"step {name!r} is gone: cell [")
    assert answer.out.endswith("no longer defines it\n")
    assert nb("t4", f"{name!r} in globals()").value == "False"
    assert name not in nb("t4", "%cerebelum steps").out
    held = nb.fails("t5", f"%cerebelum_run wf_held_{name}")
    assert f"step {name!r} is gone: cell [" in held.evalue
    assert len(held.traceback.splitlines()) == 1
    nb("t1", write("retired", "5"))
    assert nb("t5", f"run = %cerebelum_run wf_held_{name}\nrun.outputs").value == f"{{'{name}': 5}}"


def test_a_cell_that_fails_retires_nothing(nb, write):
    name = named(write, "survivor")
    nb("f1", write("survivor", "1"))
    nb.fails("f1", "1 / 0")
    nb.fails("f1", "%%cerebelum_step\ndef (")

    assert nb("f2", f"{name}.name").value == repr(name)


def test_renaming_a_step_retires_the_old_name(nb, write):
    nb("n1", write("before", "1"))
    answer = nb("n1", write("after", "1"))
    old, new = named(write, "before"), named(write, "after")

    assert f"step {old!r} is gone" in answer.out
    assert nb("n2", f"{old!r} in globals(), {new!r} in globals()").value == "(False, True)"


def test_a_variable_that_is_something_else_by_now_stays(nb):
    nb("v1", "@step\ndef reused_name(context): return 1")
    nb("v2", "reused_name = 42")
    nb("v1", "pass")

    assert nb("v3", "reused_name").value == "42"


def test_a_step_over_another_function_is_the_same_step_for_its_workflows(nb):
    nb("h1", "@step(name='heir')\ndef old_way(context): return 'old'")
    nb("h2", "@workflow\ndef wf_heir(wf): wf.timeline(old_way)")
    nb("h3", "kept = old_way")
    nb("h4", "@workflow\ndef wf_kept(wf): wf.timeline(kept)")
    nb("h1", "@step(name='heir')\ndef new_way(context): return 'new'")

    assert nb("h5", "run = %cerebelum_run wf_kept\nrun.outputs").value == "{'heir': 'new'}"


def test_cells_may_run_in_any_order(nb):
    nb("o3", "@workflow\ndef wf_order(wf): wf.timeline(order_a >> order_b)")
    nb("o2", "%%cerebelum_step order_b\norder_a + 1")
    nb("o1", "%%cerebelum_step order_a\n1")
    nb("o2", "%%cerebelum_step order_b\norder_a + 1")
    run = "run = %cerebelum_run wf_order\nrun.outputs"
    assert nb("o4", run).value == "{'order_a': 1, 'order_b': 2}"
    nb("o1", "%%cerebelum_step order_a\n10")
    assert nb("o4", run).value == "{'order_a': 10, 'order_b': 11}"


def test_without_cell_ids_a_step_belongs_to_its_name_alone(nb):
    for body in ("1", "2"):
        answer = nb.kernel(f"%%cerebelum_step nameless\n{body}")
        assert answer.err == ""
    nb.kernel("y = 1")

    assert nb("i1", "nameless()").value == "2"


def test_steps_of_a_module_are_no_cells_business(nb, tmp_path):
    (tmp_path / "steps_elsewhere.py").write_text(
        "from cerebelum_nb import step\n@step\ndef elsewhere(context): return 1\n"
    )
    nb("m0", f"import sys; sys.path.insert(0, {str(tmp_path)!r})")
    nb("m1", "from steps_elsewhere import elsewhere")
    answer = nb("m1", "pass")

    assert answer.out == ""
    assert "steps_elsewhere" in nb("m2", "%cerebelum steps").out


def test_a_run_in_flight_keeps_the_code_it_began_with(nb):
    nb("g0", "import threading\ngate = threading.Event()")
    nb("g1", "%%cerebelum_step flying\ngate.wait(20)\n'old'")
    nb("g2", "%%cerebelum_step landed\nflying, 'old'")
    nb("g3", "%%cerebelum_workflow wf_flight\nflying >> landed")
    nb("g4", "flight = %cerebelum_run wf_flight --detach")
    nb("g2", "%%cerebelum_step landed\nflying, 'new'")
    status = nb("g5", "%cerebelum status").out
    nb("g6", "gate.set()\nflight.wait(10)")

    assert "edited since it began, and it keeps the old code: landed" in status
    assert nb("g7", "flight.outputs['landed']").value == "('old', 'old')"
    assert nb("g8", "run = %cerebelum_run wf_flight\nrun.outputs['landed']").value == "('old', 'new')"


def test_status_names_a_step_that_does_not_stop(nb):
    nb("e0", "import threading\nhold, begun = threading.Event(), threading.Event()")
    nb("e1", "%%cerebelum_step endless\nbegun.set()\nhold.wait(20)")
    nb("e2", "%%cerebelum_workflow wf_endless\nendless")
    number = nb("e3", "stuck = %cerebelum_run wf_endless --detach\nbegun.wait(10)\nstuck.number").value
    nb("e4", "stuck.cancel(); stuck.wait(10)")
    status = nb("e5", "%cerebelum status").out
    nb("e6", "hold.set()")

    line = f"step 'endless' of run {number} did not stop: it runs until it ends, or the kernel is restarted"
    assert line in status.splitlines()
    assert "nothing runs now" not in status


def status_of(nb, workflow):
    lines = nb("status", "%cerebelum status").out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{workflow}, run"))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith("    ")), len(lines))
    return [line.replace(lines[start].split("(")[0], "RUN ") for line in lines[start:end]]


def test_status_says_what_is_stale_and_what_a_rerun_would_do(nb):
    nb("s0", "K = 2\ndef clean(x): return x * K")
    nb("s1", "%%cerebelum_step s_load\nclean(inputs['n'])")
    nb("s2", "%%cerebelum_step s_total\ns_load + 1")
    nb("s3", "%%cerebelum_workflow wf_status\ns_load >> s_total")
    nb("s4", "r = %cerebelum_run wf_status n=1")
    number = nb("s5", "r.number").value
    fresh = status_of(nb, "wf_status")
    nb("s2", "%%cerebelum_step s_total\n\n# only a comment\ns_load + 1")
    commented = status_of(nb, "wf_status")
    nb("s2", "%%cerebelum_step s_total\ns_load + 2")
    edited = status_of(nb, "wf_status")
    nb("s6", "K = 3")
    both = status_of(nb, "wf_status")
    nb("s4", "r = %cerebelum_run wf_status n=1")
    after = status_of(nb, "wf_status")

    assert fresh == commented == after == ["RUN (succeeded): nothing has changed since"]
    assert edited == [
        "RUN (succeeded): changed since: s_total (edited)",
        f"    runs[{number}].rerun() runs s_total and reuses s_load",
    ]
    assert both == [
        "RUN (succeeded): changed since: s_total (edited), s_load (global 'K' of helper 'clean')",
        f"    runs[{number}].rerun() runs s_total and reuses s_load",
        f'    runs[{number}].rerun("s_load") runs s_load and what depends on it again',
    ]


def test_status_of_a_failed_run_says_what_goes_on(nb):
    nb("x1", "%%cerebelum_step x_load\n1")
    nb("x2", "%%cerebelum_step x_bad\n1 / 0")
    nb("x3", "%%cerebelum_workflow wf_failed\nx_load >> x_bad")
    nb.fails("x4", "%cerebelum_run wf_failed")
    number = nb("x5", "from cerebelum_nb.session import current\ncurrent().runs[-1].number").value

    assert status_of(nb, "wf_failed") == [
        "RUN (failed): nothing has changed since",
        f"    runs[{number}].rerun() runs x_bad and reuses x_load",
    ]


def test_status_says_when_the_timeline_is_another_one(nb):
    nb("z1", "%%cerebelum_step z_a\n1")
    nb("z2", "%%cerebelum_step z_b\n2")
    nb("z3", "%%cerebelum_workflow wf_retimed\nz_a >> z_b")
    nb("z4", "r = %cerebelum_run wf_retimed")
    nb("z3", "%%cerebelum_workflow wf_retimed\n[z_a, z_b]")

    assert status_of(nb, "wf_retimed") == [
        "RUN (succeeded): nothing has changed since",
        "    its timeline is another one now: %cerebelum_run wf_retimed runs that",
    ]


def test_a_run_is_never_hurt_by_a_look_at_what_its_steps_close_over(nb):
    nb(
        "w0",
        "class Nasty:\n    def __len__(self): raise SystemError\n    def __repr__(self): raise SystemError\n"
        "    def __eq__(self, other): raise SystemError\n    def __hash__(self): raise SystemError\n"
        "nasty = Nasty(); nasty.me = nasty; nasty.more = {1: [nasty] * 3}; deep = []\n"
        "for _ in range(10_000): deep = [deep]\n"
        "many = {n: [str(n)] for n in range(100_000)}",
    )
    nb("w1", "%%cerebelum_step w_look\nnasty, deep, many\n7")
    nb("w2", "%%cerebelum_workflow wf_look\nw_look")
    answer = nb("w3", "run = %cerebelum_run wf_look\nrun.outputs")
    listed = nb("w4", "%cerebelum steps w_look").out

    assert answer.value == "{'w_look': 7}"
    assert answer.took_s < 5
    assert status_of(nb, "wf_look") == ["RUN (succeeded): nothing has changed since"]
    assert {line.split()[1] for line in listed.splitlines()[3:]} == {"nasty", "deep", "many"}


def test_a_class_that_was_defined_again_is_explained(nb):
    nb("k1", "class Order:\n    def __init__(self, n): self.n = n")
    nb("k2", "%%cerebelum_step k_load --executor distributed\nOrder(3)")
    nb("k3", "%%cerebelum_step k_check\nassert isinstance(k_load, Order), 'no Order'\nk_load.n")
    nb("k4", "%%cerebelum_workflow wf_class\nk_load >> k_check")
    nb("k5", "r = %cerebelum_run wf_class")
    same = nb("k6", "isinstance(r.outputs['k_load'], Order), type(r.outputs['k_load']) is Order").value
    nb("k1", "class Order:\n    def __init__(self, n): self.n = n + 100")
    number = nb("k6", "r.number").value
    status = status_of(nb, "wf_class")
    failed = nb.fails("k7", "again = %cerebelum_run wf_class --from k_check")
    nb("k8", "r = %cerebelum_run wf_class")

    said = "the result of 'k_load' holds Order as it was before that class was defined again"
    assert same == "(True, True)"
    assert any(said in line for line in status)
    assert any("k_load (class 'Order')" in line for line in status)
    assert f'runs[{number}].rerun("k_load")' in "".join(status)
    assert said in failed.traceback
    assert nb("k9", "isinstance(r.outputs['k_load'], Order), r.outputs['k_check']").value == "(True, 103)"
