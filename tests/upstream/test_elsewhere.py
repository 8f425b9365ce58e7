"""`DistributedExecutor(core_url=...)`: a Core elsewhere for the runs that ask for it, and for no others."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import warnings

import pytest

from cerebelum_nb import DistributedExecutor, HybridExecutor, PlanError, Session
from cerebelum_nb.config import Settings, from_environment
from cerebelum_nb.dsl.decorators import step, workflow
from cerebelum_nb.errors import ExecutionError
from cerebelum_nb.model.pools import Pool, pool_at
from cerebelum_nb.notebook import workers
from cerebelum_nb.notebook.arguments import Arguments
from tests.executors.remote_kit import cell
from tests.upstream.stand_in import StandIn

pytestmark = pytest.mark.timeout(60)
SOURCE = """\
import os
def load(inputs):
    return {"pid": os.getpid(), "n": inputs["n"]}
def near(load):
    return load["n"] + 1
def far(near, inputs):
    if inputs["n"] < 0:
        raise ValueError("n is negative")
    return near, os.getpid()
"""


@contextlib.contextmanager
def beside():
    """A stand-in, in a thread of its own."""
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    core = asyncio.run_coroutine_threadsafe(StandIn().start(), loop).result(20)
    try:
        yield core
    finally:
        asyncio.run_coroutine_threadsafe(core.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        serving.join(10)


@pytest.fixture
def core():
    with beside() as made:
        yield made


@pytest.fixture
def start(tmp_path):
    """Makes sessions of one folder, one after the other."""
    with contextlib.ExitStack() as stack:
        yield lambda **given: stack.enter_context(
            contextlib.closing(Session(Settings(home=tmp_path / "home", workers=1, processes=1, **given)))
        )


def flow():
    made = cell(SOURCE)
    load, near, far = (
        step(made["load"]),
        step(executor="local")(made["near"]),
        step(executor="distributed")(made["far"]),
    )
    return workflow(name="flow")(lambda wf: wf.timeline(load >> near >> far))


def execute(session, executor, n=1):
    return asyncio.run(session.execute(flow(), {"n": n}, executor=executor))


def where(run):
    return [run.state.places[task].label for task in range(3)]


def names(core):
    """The steps that it was asked for."""
    return sorted({name.removeprefix("cnb/").partition("#")[0] for name in core.blueprints})


def test_every_step_is_begun_by_the_core_that_it_names_and_the_result_is_awaited(core, start):
    address = core.url.partition("://")[2]
    with DistributedExecutor(core_url=address) as executor:
        result = execute(start(), executor)

    assert (result.status, result.output["ok"][0], names(core)) == ("completed", 2, ["far", "load", "near"])
    assert result.output["ok"][1] != os.getpid()
    assert where(result.run) == [address.replace(":", "-")] * 3
    assert result.run.plan.places[0].reason == (f"DistributedExecutor({core.url!r}) puts every step on 'distributed'")


def test_a_hybrid_executors_core_is_what_distributed_means_for_its_runs_and_no_others(core, start):
    session, pool = start(), core.url.partition("://")[2].replace(":", "-")
    hybrid = HybridExecutor(distributed_executor=DistributedExecutor(core.url), strategy={"default": "distributed"})

    run = execute(session, hybrid).run
    again = run.rerun("far")
    again.wait(30)
    assert (where(run), where(again), names(core)) == ([pool, "local", pool], [pool, "local", pool], ["far", "load"])
    asked = len(core.blueprints)

    assert where(execute(session, HybridExecutor()).run) == ["local", "local", "distributed"]
    assert len(core.blueprints) == asked == 3


def test_a_later_session_goes_on_where_the_run_was(core, start, tmp_path):
    first = start()
    hybrid = HybridExecutor(distributed_executor=DistributedExecutor(core.url))
    with pytest.raises(ExecutionError, match="n is negative"):
        execute(first, hybrid, n=-1)
    first.close()
    flow_again = flow()

    later = start()
    run = later.load("last")
    run.definition = flow_again
    resumed = run.resume(changed="run", inputs={"n": 4})
    resumed.wait(30)
    assert (resumed.status, where(resumed)[2]) == ("succeeded", core.url.partition("://")[2].replace(":", "-"))


def test_a_pool_that_names_the_same_core_is_used(core, start):
    session = start(pools={"theirs": Pool("theirs", 2, core=core.url)})
    assert where(execute(session, DistributedExecutor(core.url)).run) == ["theirs"] * 3
    assert [pool.name for pool in session.pools.all] == ["distributed", "processes", "theirs"]


def test_the_sessions_own_core_is_used_where_it_is_the_same(core, start):
    assert where(execute(start(core_url=core.url), DistributedExecutor(core.url)).run) == ["distributed"] * 3


def test_without_that_core_the_run_fails_and_says_where_it_looked(start):
    with pytest.raises(ExecutionError, match="there is no Core at grpc://127.0.0.1:1, or it does not answer"):
        execute(start(), DistributedExecutor("127.0.0.1:1"))


def test_whether_such_a_core_is_there_can_be_asked_without_a_step(core, start):
    crew = start(
        pools={"there": Pool("there", 1, core=core.url), "gone": Pool("gone", 1, core="grpcs://[::1]:1")}
    ).pools
    assert crew.unreachable(crew.known("there")) == ""
    assert crew.unreachable(crew.known("gone")).startswith("there is no Core at grpcs://[::1]:1: ")

    table = workers.core(Arguments(("status",)), crew)
    assert next(row for row in table.rows if row[0] == "there")[1] == "-"  # ours, which no step has needed yet
    assert next(note for note in table.notes if "gone" in note).startswith(
        "gone: there is no Core at grpcs://[::1]:1: "
    )


WRONG = {
    "http://x:1": "core_url='http://x:1': a Core is written host:port or grpc://host:port, grpcs:// with TLS; one that is",
    "localhost": "core_url='localhost': a Core of Cerebelum's makers is written grpc://host:port, or grpcs:// with TLS",
    "": "core_url='': a Core of Cerebelum's makers is written grpc://host:port, or grpcs:// with TLS",
    9090: "core_url=9090 is text like 'localhost:9090'",
}


@pytest.mark.parametrize("given", WRONG)
def test_an_address_that_is_none_is_refused_where_it_is_written(given):
    with pytest.raises(PlanError) as refused:
        DistributedExecutor(core_url=given)
    assert str(refused.value).startswith(WRONG[given])


def test_an_address_in_the_project_is_read_the_same_way(tmp_path, monkeypatch):
    file = tmp_path / "pyproject.toml"
    monkeypatch.chdir(tmp_path)
    file.write_text('[tool.cerebelum]\ncore_url = "localhost:9090"\n')
    assert from_environment().core_url == "grpc://localhost:9090"
    file.write_text('[tool.cerebelum]\ncore_url = "grpc://localhost"\n')
    with pytest.raises(PlanError, match="is written grpc://host:port"):
        from_environment()


def test_a_workflow_that_only_others_know_is_not_started_from_here():
    with pytest.raises(PlanError, match=r"there is no workflow 'theirs' here\..* started by the SDK's own Distributed"):
        asyncio.run(DistributedExecutor("localhost:9090").execute("theirs", {}))


def test_a_pool_without_a_name_gets_one_that_nobody_has():
    assert pool_at("grpc://localhost:9090", 3, ()) == Pool("localhost-9090", 3, core="grpc://localhost:9090")
    assert pool_at("grpcs://[::1]:90", 3, {"1-90"}).name == "1-90_"
    assert pool_at("tls://core.example.org:7801", 3, ()) == Pool(
        "core.example.org-7801", 0, core="tls://core.example.org:7801"
    )


def test_a_way_without_encryption_to_another_host_is_warned_of_once_when_it_is_first_used(start):
    session = start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.pools.reach("grpc://192.0.2.1:9090")
        session.pools.reach("grpc://localhost:9090")
        session.pools.executor("localhost-9090")
    with pytest.warns(UserWarning, match="grpc://192.0.2.1:9090 is reached without encryption"):
        session.pools.executor("192.0.2.1-9090")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.pools.executor("192.0.2.1-9090")


LOUD = """\
import asyncio, sys
from cerebelum_nb import DistributedExecutor, step, workflow

@step
async def one(context):
    return 1

@workflow
def flow(wf):
    wf.timeline(one)

try:
    asyncio.run(flow.execute({}, executor=DistributedExecutor(sys.argv[1])))
except Exception as exc:
    print(exc)
"""


def test_a_way_that_is_none_is_told_once_and_not_by_grpc_too(core, tmp_path):
    command = [sys.executable, "-c", LOUD, core.url.replace("grpc:", "grpcs:")]
    env = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50, check=False)

    assert (len(ran.stdout.splitlines()), "has no TLS: write grpc://" in ran.stdout, ran.stderr) == (1, True, "")


def test_a_pool_behind_such_a_core_has_the_projects_settings_as_every_pool(start):
    given = {"core_silent_s": 7.0, "worker_silent_s": 8.0, "large_kib": 9, "transfer_mib": 10}
    session = start(pools={"theirs": Pool("theirs", 1, core="grpc://localhost:1"), "ours": Pool("ours", 1)}, **given)

    kept = (
        "_silent_s",
        "_worker_silent_s",
        "_large_nbytes",
        "_limit_nbytes",
        "_relieve",
        "_values_url",
        "slots",
        "served",
    )
    theirs, ours = ({name: getattr(session.pools.executor(pool), name) for name in kept} for pool in ("theirs", "ours"))
    assert theirs == ours
