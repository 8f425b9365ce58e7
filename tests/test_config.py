"""Where settings come from: the nearest file, the environment in it, then variables."""

import os
from pathlib import Path

import pytest

from cerebelum_nb import PlanError, Session, step, workflow
from cerebelum_nb.config import Settings, cores, from_environment
from cerebelum_nb.model.pools import Pool

FILE = """
[tool.cerebelum]
workers = 3
home = "kept"
[tool.cerebelum.strategy]
heavy = "distributed"
[tool.cerebelum.environments.laptop]
workers = 1
[tool.cerebelum.environments.laptop.strategy]
heavy = "local"
default = "distributed"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("ENV", "HOME", "WORKERS", "DEFAULT_EXECUTOR", "STRATEGY"):
        monkeypatch.delenv(f"CEREBELUM_{name}", raising=False)
    (tmp_path / "pyproject.toml").write_text(FILE, "utf-8")
    inside = tmp_path / "notebooks"
    inside.mkdir()
    monkeypatch.chdir(inside)
    return tmp_path


def test_without_a_file_there_are_defaults(tmp_path, project):
    (project / "pyproject.toml").unlink()

    assert from_environment() == Settings()


def test_the_nearest_file_counts_also_from_a_folder_below(project):
    assert from_environment() == Settings(home=project / "kept", workers=3, strategy={"heavy": "distributed"})


def test_an_environment_goes_before_the_rest_of_the_file(project, monkeypatch):
    monkeypatch.setenv("CEREBELUM_ENV", "laptop")

    wanted = {"heavy": "local", "default": "distributed"}
    assert from_environment() == Settings(home=project / "kept", workers=1, strategy=wanted)


def test_variables_go_before_the_file(project, monkeypatch):
    monkeypatch.setenv("CEREBELUM_HOME", "elsewhere")
    monkeypatch.setenv("CEREBELUM_WORKERS", "7")
    monkeypatch.setenv("CEREBELUM_STRATEGY", "light=distributed")

    wanted = {"heavy": "distributed", "light": "distributed"}
    assert from_environment() == Settings(home=Path("elsewhere"), workers=7, strategy=wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.cerebelum]\nworkers = 0", "workers in [tool.cerebelum] is not a number of worker processes"),
        ("[tool.cerebelum]\nworkers = true", "workers in [tool.cerebelum] is not a number of worker processes"),
        ("[tool.cerebelum]\nworker = 2", "worker in [tool.cerebelum] is not known. Did you mean 'workers'?"),
        ("[tool.cerebelum]\nstrategy = 'local'", "strategy in [tool.cerebelum] is a table of step to executor"),
        ("[tool.cerebelum]\nhome = 3", "home in [tool.cerebelum] is text, not 3"),
        ("[tool.cerebelum]\npools = 2", "pools in [tool.cerebelum] is a table of pool to its number of workers"),
        ("[tool.cerebelum.pools]\ngpu = -1", "gpu = -1 is not a number of worker processes"),
        ("[tool.cerebelum.pools]\nlocal = 1", "a pool cannot be called 'local'"),
        ("[tool.cerebelum.pools]\nprocesses = 1", "a pool cannot be called 'processes'. That name is taken."),
        ("[tool.cerebelum.pools.gpu]\nslot = 1", "slot of pool 'gpu' is not known. Did you mean 'slots'?"),
        ("[tool.cerebelum.pools.gpu]\nenv = {A = '1'}", "pool 'gpu' needs its number of workers: slots = 1, or 0"),
        ("[tool.cerebelum.pools]\ngpu = {slots=1, env={A=1}}", "of pool 'gpu': A is text, not 1"),
        ("[tool.cerebelum.pools]\ngpu = {slots=1, trust='some'}", "'gpu' is neither 'trusted' nor 'untrusted'"),
        ("[tool.cerebelum.pools]\ngpu = {slots=1, price=-1}", "of pool 'gpu' is not a price"),
        ("[tool.cerebelum.pools]\ngpu = {slots=1, clearance='pii'}", "of pool 'gpu' is not a list of words"),
        ("[tool]\ncerebelum = 3", "[tool.cerebelum] is a table, not 3"),
        ("tool = 5", "pyproject.toml: [tool] is a table, not 5"),
        ("[tool.cerebelum.strategy]\na = 'local'\nb = 5", "is a table of step to executor: that of 'b' is 5"),
        ("[tool.cerebelum", "pyproject.toml cannot be read: "),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_key(project, text, message):
    (project / "pyproject.toml").write_text(text, "utf-8")

    with pytest.raises(PlanError) as caught:
        from_environment()

    assert message in str(caught.value)


def test_pools_are_a_number_or_a_table_and_settings_take_the_same_by_hand(project):
    (project / "pyproject.toml").write_text(
        "[tool.cerebelum]\nprocesses = 3\n[tool.cerebelum.pools]\ngpu-worker-pool = 0\n"
        "[tool.cerebelum.pools.eu]\nslots = 2\nenv = {A = '1'}\nclearance = ['pii']\nprice = 2\ntrust = 'untrusted'\n",
        "utf-8",
    )
    eu = {"slots": 2, "env": {"A": "1"}, "clearance": ["pii"], "price": 2, "trust": "untrusted"}

    found = from_environment()

    assert found.pools == {
        "gpu-worker-pool": Pool("gpu-worker-pool", 0),
        "eu": Pool("eu", 2, {"A": "1"}, ("pii",), 2.0, "untrusted"),
    }
    assert found.processes == 3
    assert Settings(pools={"gpu-worker-pool": 0, "eu": eu}).pools == found.pools
    with pytest.raises(PlanError, match=r"Settings\(pools=...\): a = 'x' is not a number of worker processes"):
        Settings(pools={"a": "x"})


def test_as_many_workers_as_processors_that_one_may_use():
    assert Settings().workers == Settings().processes == cores()
    assert 1 <= cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ENV", "labtop", "CEREBELUM_ENV='labtop': "),
        ("ENV", "labtop", "Did you mean 'laptop'?"),
        ("WORKERS", "many", "CEREBELUM_WORKERS='many' is not a number of worker processes"),
        ("STRATEGY", "heavy", "CEREBELUM_STRATEGY takes pairs like step=local"),
    ],
)
def test_a_variable_that_makes_no_sense_is_refused_by_name(project, monkeypatch, name, value, message):
    monkeypatch.setenv(f"CEREBELUM_{name}", value)

    with pytest.raises(PlanError) as caught:
        from_environment()

    assert message in str(caught.value)


def test_the_configuration_is_stronger_than_a_decorator_and_weaker_than_the_run(tmp_path):
    heavy = step(name="heavy", executor="distributed")(lambda context: None)
    plain = step(name="plain")(lambda context: None)
    session = Session(Settings(home=tmp_path, strategy={"heavy": "local", "default": "distributed"}))

    @workflow
    def w(wf):
        wf.timeline(heavy, plain)

    def rules(**wishes):
        plan = session.plan(w, **wishes)
        return [(plan.places[p].label, plan.places[p].rule) for p in plan.place]

    assert rules() == [("local", "configuration"), ("distributed", "configuration")]
    assert rules(strategy={"heavy": "distributed"})[0] == ("distributed", "strategy")
    session.close()


def test_a_pool_has_workers_of_its_own_and_is_named_like_any_executor(tmp_path):
    big = step(name="big", executor="gpu-worker-pool")(lambda context: __import__("os").getpid())
    small = step(name="small", executor="distributed")(lambda context: __import__("os").getpid())
    session = Session(Settings(home=tmp_path, workers=2, pools={"gpu-worker-pool": 1}))
    run = session.run(workflow(name="w")(lambda wf: wf.timeline([[big, small]])), {})

    outputs = run.result(60).outputs

    assert [(r.step, r.where, r.remote) for r in run.rows()] == [
        ("big", "gpu-worker-pool", True),
        ("small", "distributed", True),
    ]
    pools = {name: executor.pids for name, executor in session._remote.items()}
    assert (outputs["big"] in pools["gpu-worker-pool"], len(pools["gpu-worker-pool"])) == (True, 2)
    assert (outputs["small"] in pools["core"], len(pools["core"])) == (True, 3)
    moved = run.rerun("big", executor="distributed")
    assert moved.result(60).outputs["big"] in pools["core"]
    session.close()
