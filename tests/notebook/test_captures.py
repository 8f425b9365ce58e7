"""What steps close over, in a real kernel with real workers: listed, shipped as it is at submit time, refused by name."""

import os
import re

import pytest
from kerneldriver import Kernel

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def nb(tmp_path_factory, folder):
    started = Kernel(
        env={**os.environ, "CEREBELUM_HOME": str(tmp_path_factory.mktemp("home")), "CEREBELUM_WORKERS": "1"}
    )
    started(f"%cd {folder}")
    started("from cerebelum_nb import step, workflow")
    yield started
    started.stop()


def run(nb, name, value="run.outputs"):
    nb(f"%%cerebelum_workflow wf_{name}\n{name}")
    return nb(f"run = %cerebelum_run wf_{name}\n{value}[{name!r}]").value


def test_what_a_step_closes_over_is_listed(nb, folder):
    (folder / "listed_module.py").write_text("def clean(x): return x\n")
    nb("import math, listed_module\nfrom listed_module import clean\nimport numpy as np")
    nb(
        "K = 2\nbig = np.zeros(300_000)\nclass Box: pass\ndef helper(x): return x * K\nlock = __import__('threading').Lock()"
    )
    nb(
        "def make(inner):\n    @step(name='listed', retries=2)\n"
        "    def listed(context, extra=[1, 2]):\n"
        "        return helper(math.pi), clean, listed_module, Box, big, inner, lock\n    return listed\n"
        "step_of_call = make({'a': 1})"
    )
    nb("listed = step(step_of_call.function.__wrapped__ if False else step_of_call.function)")
    nb("from cerebelum_nb.dsl.registry import registry\nregistry._steps[('__main__', 'listed', 'x')] = listed")
    lines = nb("%cerebelum steps listed").out.splitlines()
    rows = {tuple(re.split(r"\s{2,}", line)[:2]): re.split(r"\s{2,}", line)[2:] for line in lines[3:]}

    assert lines[0].startswith("listed: ")
    assert lines[2].split() == ["kind", "name", "type", "size", "digest", "changed"]
    assert sorted(rows) == [
        ("class", "Box"),
        ("closure variable", "inner"),
        ("default", "extra"),
        ("global", "K (by helper)"),
        ("global", "big"),
        ("global", "lock"),
        ("helper", "helper"),
        ("module", "clean"),
        ("module", "listed_module"),
        ("module", "math"),
    ]
    assert rows["global", "big"][:2] == ["ndarray", "2.3 MiB"]
    assert rows["global", "lock"][:3] == ["lock", "cannot be sent", "-"]
    assert rows["module", "clean"][:2] == ["from listed_module", "by name"]
    assert all(re.fullmatch(r"[0-9a-f]{8}", row[2]) for key, row in rows.items() if key != ("global", "lock"))
    assert {row[3] for row in rows.values()} == {"-"}


def test_the_listing_says_what_changed_since_the_last_run(nb):
    nb("L = [1]\nM = 5\ndef h(x): return x + M")
    nb("%%cerebelum_step tracked\nh(len(L))")
    run(nb, "tracked")

    def changed():
        lines = nb("%cerebelum steps tracked").out.splitlines()[3:]
        return {line.split()[1]: line.split()[-1] for line in lines}

    before = changed()
    nb("L.append(2)")
    mutated = changed()
    nb("def h(x): return x - M")
    helper = changed()
    run(nb, "tracked")

    assert before == {"h": "no", "L": "no", "M": "no"}
    assert mutated == {"h": "no", "L": "yes", "M": "no"}
    assert helper == {"h": "yes", "L": "yes", "M": "no"}
    assert changed() == before


@pytest.mark.parametrize("where", ["local", "distributed"])
def test_the_value_that_counts_is_the_one_when_the_step_is_submitted(nb, where):
    name = f"submit_{where}"
    nb("V = 'at decoration'\ndef seen(): return V")
    nb(f"%%cerebelum_step {name} --executor {where}\nV, seen()")
    nb("V = 'before the run'")
    first = run(nb, name)
    nb("V = 'before the second run'\ndef seen(): return V.upper()")
    second = run(nb, name)

    assert first == "('before the run', 'before the run')"
    assert second == "('before the second run', 'BEFORE THE SECOND RUN')"


def test_a_large_global_is_told_and_a_very_large_one_is_refused(nb):
    nb("import numpy as np\ntable = np.ones(250_000)")
    nb("%%cerebelum_step loud --executor distributed\nfloat(table.sum())")
    nb("%%cerebelum_workflow wf_loud\nloud")
    told = nb("run = %cerebelum_run wf_loud\nrun.outputs['loud']")
    nb("table = np.ones(2_500_000)")
    refused = nb.run("%cerebelum_run wf_loud")
    nb("table = np.ones(10)")

    assert told.value == "250000.0"
    assert "takes 1.9 MiB along to a worker with each attempt: the global 'table' (1.9 MiB)" in told.out + told.err
    assert "takes 19.1 MiB along to a worker" in refused.evalue
    assert "Pass it as an input, or load it inside the step. At most 16 MiB" in refused.traceback
    assert len(refused.traceback.splitlines()) < 6
    assert nb("run = %cerebelum_run wf_loud\nrun.outputs['loud']").value == "10.0"


MODULE_STEPS = {
    "module": ("import beside_{n}", "beside_{n}.value()"),
    "function": ("from beside_{n} import value as value_{n}", "value_{n}()"),
    "in the body": ("pass", "import beside_{n}\nbeside_{n}.value()"),
    "through a helper": ("import beside_{n}\ndef helper_{n}(): return beside_{n}.value()", "helper_{n}()"),
    "of a module that uses it": ("import user_{n}", "user_{n}.value()"),
}


@pytest.mark.parametrize("kind", MODULE_STEPS)
def test_a_local_module_that_was_edited_is_the_new_one_on_the_worker(nb, folder, kind):
    n = re.sub(r"\W", "_", kind)
    setup, body = (text.format(n=n) for text in MODULE_STEPS[kind])
    (folder / f"beside_{n}.py").write_text("def value(): return 'one'\n")
    (folder / f"user_{n}.py").write_text(f"import beside_{n}\ndef value(): return beside_{n}.value()\n")
    nb(setup)
    nb(f"%%cerebelum_step edit_{n} --executor distributed\n{body}")
    first = run(nb, f"edit_{n}")
    (folder / f"beside_{n}.py").write_text("def value(): return 'the second'\n")
    second = run(nb, f"edit_{n}")

    assert (first, second) == ("'one'", "'the second'")


def test_a_step_of_an_edited_module_is_the_new_one_on_the_worker(nb, folder):
    text = "from cerebelum_nb import step\n@step(executor='distributed')\ndef own(context): return 'one'\n"
    (folder / "own_steps.py").write_text(text)
    nb("import own_steps\n@workflow\ndef wf_own(wf): wf.timeline(own_steps.own)")
    first = nb("wf_own.run().result(30).outputs").value
    (folder / "own_steps.py").write_text(text.replace("one", "the second"))
    second = nb("wf_own.run().result(30).outputs").value

    assert (first, second) == ("{'own': 'one'}", "{'own': 'the second'}")


def test_a_package_beside_the_notebook_is_fresh_through_and_through(nb, folder):
    package = folder / "beside_package"
    package.mkdir()
    (package / "__init__.py").write_text("from beside_package.inner import value\n")
    (package / "inner.py").write_text("class Kind: pass\ndef value(): return 'one', Kind\n")
    nb("import beside_package\nfrom beside_package import inner")
    nb("%%cerebelum_step packed --executor distributed\ntext, kind = beside_package.value()\ntext, kind is inner.Kind")
    first = run(nb, "packed")
    (package / "inner.py").write_text("class Kind: pass\ndef value(): return 'the second', Kind\n")
    second = run(nb, "packed")

    assert (first, second) == ("('one', True)", "('the second', True)")


def test_a_module_that_a_worker_cannot_find_is_named_with_what_to_do(nb, folder):
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "off_path.py").write_text("def value(): return 7\n")
    nb(
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('off_path', {str(hidden / 'off_path.py')!r})\n"
        "off_path = importlib.util.module_from_spec(spec)\n"
        "sys.modules['off_path'] = off_path\nspec.loader.exec_module(off_path)"
    )
    nb("%%cerebelum_step uses_hidden --executor distributed\noff_path.value()")
    nb("%%cerebelum_workflow wf_hidden\nuses_hidden")
    refused = nb.run("%cerebelum_run wf_hidden")
    nb("import cloudpickle\ncloudpickle.register_pickle_by_value(off_path)")
    nb("%%cerebelum_step uses_hidden --executor distributed\nvalue_of_hidden()")
    nb("value_of_hidden = off_path.value")
    sent = nb("run = %cerebelum_run wf_hidden\nrun.outputs['uses_hidden']").value
    nb("cloudpickle.unregister_pickle_by_value(off_path)")

    assert "step 'uses_hidden' uses module 'off_path', which workers cannot import" in refused.evalue
    assert "cloudpickle.register_pickle_by_value(off_path)" in refused.evalue
    assert "sys.path" in refused.evalue
    assert sent == "7"


def test_a_module_that_is_not_there_at_all_is_named(nb):
    nb("%%cerebelum_step imports_nothing --executor distributed\nimport not_there_at_all\n1")
    nb("%%cerebelum_workflow wf_nothing\nimports_nothing")
    answer = nb.run("%cerebelum_run wf_nothing")

    assert "No module named 'not_there_at_all'" in answer.evalue
    assert "line 2" in answer.traceback


@pytest.mark.parametrize("kind", ["plain", "dataclass", "subclass", "nested", "enum"])
def test_a_class_of_the_notebook_survives_the_way_through_a_worker(nb, kind):
    classes = {
        "plain": "class T_plain:\n    def __init__(self): self.n = 1",
        "dataclass": "from dataclasses import dataclass\n@dataclass\nclass T_dataclass:\n    n: int = 1",
        "subclass": "class Base_t:\n    n = 1\nclass T_subclass(Base_t): pass",
        "nested": "class Outer_t:\n    class Inner:\n        n = 1\nT_nested = Outer_t.Inner",
        "enum": "import enum\nclass T_enum(enum.Enum):\n    n = 1",
    }
    made = f"T_{kind}.n" if kind == "enum" else f"T_{kind}()"
    nb(classes[kind])
    nb(f"%%cerebelum_step rt_a_{kind} --executor distributed\n{made}")
    nb(f"%%cerebelum_step rt_b_{kind} --executor distributed\nisinstance(rt_a_{kind}, T_{kind}), rt_a_{kind}")
    nb(f"%%cerebelum_workflow wf_rt_{kind}\nrt_a_{kind} >> rt_b_{kind}")
    value = nb(
        f"run = %cerebelum_run wf_rt_{kind}\n"
        f"there, back = run.outputs['rt_b_{kind}']\n"
        f"there, isinstance(back, T_{kind}), type(back) is T_{kind}"
    ).value

    assert value == "(True, True, True)"
