"""Pools: workers under names of their own, that come and go while runs wait for them."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from cerebelum_nb import PlanError, Session, sleep, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import ExecutorError, NotActiveYet, RunCancelled
from cerebelum_nb.executors.roster import Worker
from cerebelum_nb.model.pools import Pool
from tests.process_kit import is_gone

DEADLINE_S = 30


def until(condition, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s"
        time.sleep(0.01)
    return found


@pytest.fixture
def pools(tmp_path):
    """A session with an empty pool and one with a worker."""
    made = Session(Settings(home=tmp_path / "home", workers=1, processes=1, pools={"empty": 0, "one": 1}))
    yield made
    made.close()


def flow(*steps, name="wf"):
    @workflow(name=name)
    def made(wf):
        wf.timeline(list(steps))

    return made


def who(context):
    return os.getpid(), os.environ.get("KIND", "")


def until_file(path):
    """A step that says it runs, and ends when a file is there."""

    def held(context):
        (path / "began").write_text(str(os.getpid()))
        while not (path / "go").exists():
            time.sleep(0.01)
        return os.getpid()

    return held


def test_a_step_whose_pool_has_no_workers_says_so_and_its_run_goes_on_once_there_are_some(pools):
    pools.pools.start("empty")
    lone = step(name="lone", executor="empty", queue_timeout=0.3)(who)
    run = pools.run(flow(lone))

    assert run.wait(DEADLINE_S, echo=False)
    assert run.error().error == "no worker in pool 'empty' (0 registered): nobody took it within 0.3 s"
    assert "To add one: %cerebelum workers add --pool empty --slots 1" in str(run.printed())

    pools.add_workers("empty", 1)
    until(lambda: [worker.state for worker in pools.pools.workers("empty")] == ["idle"])
    again = run.resume()

    pid, _ = again.result(DEADLINE_S).outputs["lone"]
    assert pid == pools.pools.workers("empty")[0].pid


def test_workers_that_are_added_take_what_waits_with_what_they_are_given(pools):
    run = pools.run(flow(step(name="lone", executor="empty")(who)))
    until(lambda: run.printed()[1])
    assert [core.waiting for core in pools.pools.cores("empty")] == [1]

    made = pools.add_workers("empty", 2, env={"KIND": "gpu"})

    assert (made.name, made.slots, made.env) == ("empty", 2, {"KIND": "gpu"})
    assert run.result(DEADLINE_S).outputs["lone"][1] == "gpu"
    assert os.environ.get("KIND") is None


def test_a_pool_that_is_made_while_a_run_goes_on_takes_a_step_of_it(pools):
    lone = step(name="lone", executor="empty")(who)
    run = pools.run(flow(lone))
    with pytest.raises(PlanError, match="there is no executor 'new'"):
        run.move("lone", "new")

    pools.add_workers("new", 1)
    run.move("lone", "new")

    assert run.result(DEADLINE_S).outputs["lone"][0] == pools.pools.workers("new")[0].pid
    assert "new" in pools.executors
    assert "new" in pools.breakers


def test_a_drained_worker_ends_its_step_first_and_another_takes_its_place(pools, tmp_path):
    run = pools.run(flow(step(name="held", executor="one")(until_file(tmp_path))))
    old = int(until(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text()))

    assert pools.pools.drain("one") == [1]
    assert [worker.state for worker in pools.pools.workers("one")] == ["draining"]
    (tmp_path / "go").touch()

    assert run.result(DEADLINE_S).outputs["held"] == old
    until(lambda: is_gone(old))
    after = pools.run(flow(step(name="next", executor="one")(who))).result(DEADLINE_S)
    assert after.outputs["next"][0] == pools.pools.workers("one")[0].pid != old


def test_a_removed_worker_ends_its_step_first_and_none_takes_its_place(pools, tmp_path):
    run = pools.run(flow(step(name="held", executor="one")(until_file(tmp_path))))
    old = int(until(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text()))

    assert pools.pools.remove("one").slots == 0
    assert [worker.state for worker in pools.pools.workers("one")] == ["leaving"]
    (tmp_path / "go").touch()

    assert run.result(DEADLINE_S).outputs["held"] == old
    until(lambda: pools.pools.workers("one") == [])
    assert is_gone(old)


def test_another_environment_is_for_all_workers_of_a_pool_also_those_that_were_there(pools):
    kind = step(name="kind", executor="one")(who)
    before = pools.run(flow(kind)).result(DEADLINE_S).outputs["kind"]

    pools.add_workers("one", 1, env={"KIND": "new"})
    until(lambda: is_gone(before[0]))
    kinds = {pools.run(flow(kind)).result(DEADLINE_S).outputs["kind"][1] for _ in range(4)}

    assert before[1] == ""
    assert kinds == {"new"}


def test_who_does_what_is_told(pools, tmp_path):
    async def rest(context):
        await sleep(60_000)

    held = pools.run(flow(step(name="held", executor="one")(until_file(tmp_path))))
    resting = pools.run(flow(step(name="rest", executor="processes")(rest)))
    until(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text())
    until(lambda: [w.state for w in pools.pools.workers("processes")] == ["paused"])

    (busy,) = pools.pools.workers("one")
    (paused,) = pools.pools.workers("processes")
    pid = int((tmp_path / "began").read_text())

    assert busy == Worker("one", 1, pid, "busy", "held", held.id, busy.since, busy.nbytes)
    assert abs(time.time() - busy.since) < DEADLINE_S
    assert busy.nbytes > 1 << 20
    assert (paused.step, paused.run, paused.aside) == ("rest", resting.id, True)
    (core,) = pools.pools.cores("one")
    assert (core.pid, core.steps, core.sent) == (pools._executor("one").pids[0], ("held",), 1)
    (tmp_path / "go").touch()
    held.result(DEADLINE_S)
    assert [(w.state, w.step, w.done) for w in pools.pools.workers("one")] == [("idle", "", 1)]


def test_a_core_is_not_stopped_under_its_steps_unless_one_insists_and_starts_again_by_itself(pools, tmp_path):
    held = step(name="held", executor="one")(until_file(tmp_path))
    run = pools.run(flow(held))
    until((tmp_path / "began").exists)
    with pytest.raises(ExecutorError, match=r"^one: 1 step runs or waits there \(held\)\. .* force=True"):
        pools.pools.stop("one")
    with pytest.raises(ExecutorError, match="held"):
        pools.pools.restart("one")

    (stopped,) = pools.pools.stop("one", force=True)

    assert run.wait(DEADLINE_S, echo=False)
    assert isinstance(run.error(), RunCancelled)
    until(lambda: is_gone(stopped.pid))
    assert not os.path.exists(stopped.directory)
    assert pools.pools.cores("one")[0].pid == 0
    assert pools.run(flow(step(name="next", executor="one")(who))).result(DEADLINE_S)
    assert pools.pools.cores("one")[0].sent == 2
    (again,) = pools.pools.restart("one")
    assert again.pid not in (0, stopped.pid)
    assert [core.pool.name for core in pools.pools.restart()] == ["one"]  # as `stop`: all that run


def test_the_log_tells_how_workers_came_and_went_also_when_core_is_gone(pools):
    pools.pools.start("one")
    pools.add_workers("one", 1)
    pools.pools.stop("one")

    assert "there are to be 2 workers" in pools.pools.log("one")
    assert pools.pools.log("empty") == ""


def test_two_wide_runs_take_turns_in_a_pool_and_only_some_are_sent_ahead(pools, tmp_path):
    def nothing(context, inputs):
        with (tmp_path / "order").open("a") as order:
            order.write(inputs["run"])

    @workflow(name="many")
    def many(wf):
        wf.timeline([[step(name=f"s{i}", executor="empty")(nothing) for i in range(300)]])

    runs = [pools.run(many, {"run": name}) for name in "ab"]
    capacity = until(lambda: pools._remote.get("empty")).capacity
    until(lambda: pools.pools.cores("empty")[0].waiting == 2 * capacity < 600)

    pools.add_workers("empty", 1)
    for run in runs:
        run.result(DEADLINE_S)

    order = (tmp_path / "order").read_text()
    assert len(order) == 600
    assert 8 <= order[:20].count("b") <= 12
    assert 90 <= order[:300].count("b") <= 210


@pytest.mark.parametrize(
    ("doing", "message"),
    [
        (lambda s: s.add_workers("one", 0), "how many workers to add is a whole number from 1, not 0"),
        (lambda s: s.add_workers("one", 256), "has . workers?: 2.. more are above 256"),
        (lambda s: s.add_workers("local", 1), "a pool cannot be called 'local'. That name is taken."),
        *(
            (lambda s, name=name: s.add_workers(name, 1), "its name has letters, digits, '.', '_' and '-' only")
            for name in ("two words", "../../x", "..", "-x", "a=b", "<b>", "x" * 65, "new\n")
        ),
        (lambda s: s.add_workers("one", 1, env={"A": 1}), "A is text, not 1"),
        (lambda s: s.pools.remove("one", 2), "pool 'one' has 1 worker: 2 cannot go"),
        (lambda s: s.pools.remove("ones"), "there is no pool 'ones'. Did you mean 'one'?"),
        (lambda s: s.pools.remove("empty", slot=1), "no worker of pool 'empty' runs now"),
        (lambda s: s.pools.drain("gone"), "There are: distributed, processes, empty, one."),
        (
            lambda s: s.pools.remove("far"),
            "pool 'far' has the workers of a Core that is served at tls://h:1: add some in a terminal",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_changes(tmp_path, doing, message):
    settings = Settings(home=tmp_path, processes=1, workers=1, pools={"empty": 0, "one": 1})
    if "'far'" in message:
        settings = Settings(home=tmp_path, pools={"far": {"core": "tls://h:1"}})
    session = Session(settings)
    before = session.pools.all
    with pytest.raises(PlanError, match=message):
        doing(session)
    assert session.pools.all == before
    session.close()


def test_a_step_that_no_worker_had_begun_is_not_said_to_have_run(pools):
    run = pools.run(flow(step(name="lone", executor="empty")(who)))
    until(lambda: run.rows()[0].status == "submitted")

    run.cancel()

    with pytest.raises(RunCancelled, match="was cancelled while lone waited to run; 0 of 1 steps had finished"):
        run.result(DEADLINE_S)


def test_a_closed_session_starts_no_workers(tmp_path):
    session = Session(Settings(home=tmp_path, pools={"one": 1}))
    session.close()

    with pytest.raises(PlanError, match="this session is closed"):
        session.pools.start("one")


def test_what_is_said_of_a_pool_and_does_nothing_yet_is_told(tmp_path):
    settings = Settings(home=tmp_path, pools={"eu": {"slots": 1, "clearance": ["pii"], "price": 1.5}})

    with pytest.warns(NotActiveYet, match=r"do nothing|does nothing.*: eu \(clearance\)"):
        session = Session(settings)
    assert (session.settings.pools["eu"].clearance, session.settings.pools["eu"].price) == (("pii",), 1.5)
    session.close()


def test_steps_on_processes_run_side_by_side_in_processes_of_this_machine(tmp_path):
    session = Session(Settings(home=tmp_path, workers=1, processes=2))
    met = tmp_path / "met"
    met.mkdir()

    def meet(name):
        def both(context):
            (met / name).write_text(str(os.getpid()))
            end = time.monotonic() + 20
            while len(list(met.iterdir())) < 2 and time.monotonic() < end:
                time.sleep(0.01)
            return os.getpid(), len(list(met.iterdir()))

        return step(name=name, executor="processes")(both)

    a, b = meet("a"), meet("b")

    @workflow(name="pair")
    def pair(wf):
        wf.timeline([[a, b]])

    run = session.run(pair)
    outputs = run.result(DEADLINE_S).outputs
    pids = {outputs["a"][0], outputs["b"][0]}
    rows = {row.step: (row.where, row.remote) for row in run.rows()}
    session.close()

    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {outputs["a"][1], outputs["b"][1]} == {2}
    assert rows == {"a": ("processes", True), "b": ("processes", True)}
    assert all(map(is_gone, pids))


def test_workers_may_be_added_and_removed_while_steps_keep_coming(pools):
    many = [step(name=f"s{i}", executor="one")(lambda context: None) for i in range(300)]

    @workflow(name="many")
    def wf(made):
        made.timeline([many])

    run = pools.run(wf)
    for _ in range(5):
        pools.add_workers("one", 2)
        pools.pools.drain("one")
        pools.pools.remove("one", 2)
    assert run.result(60).outputs.keys() == {f"s{i}" for i in range(300)}
    until(lambda: len(pools.pools.workers("one")) == 1)
    assert threading.active_count() < 60


def test_what_waits_in_one_run_goes_to_the_next_core_though_a_later_run_had_its_turn(pools, tmp_path):
    def held(context):
        (tmp_path / f"{os.getpid()} {time.monotonic()}").touch()
        while not (tmp_path / "go").exists():
            time.sleep(0.01)

    def begun():
        return len(list(tmp_path.glob("[0-9]* *")))

    @workflow(name="wide")
    def wide(wf):
        wf.timeline([[step(name=f"s{i}", executor="one")(held) for i in range(5)]])

    first = pools.run(wide)
    until(lambda: begun() == 1)
    later = pools.run(flow(step(name="late", executor="one")(held), name="late"))
    until(lambda: pools.pools.cores("one")[0].waiting == 5)
    pools.add_workers("one", 2)
    until(lambda: begun() == 3)
    os.kill(pools._executor("one").pids[0], signal.SIGKILL)
    (tmp_path / "go").touch()

    assert first.wait(DEADLINE_S, echo=False)
    assert later.wait(DEADLINE_S, echo=False)
    assert sorted(row.status for row in first.rows()) == ["failed", "failed", "succeeded", "succeeded", "succeeded"]
    assert later.error().error_type == "CoreLost"
    assert begun() == 6


PROGRAM = """
import os, sys, threading, time
from cerebelum_nb import Session
from cerebelum_nb.config import Settings

session = Session(Settings(home=sys.argv[1], workers=1, processes=1, pools={"one": 2}))
for pool in ("one", "processes", "distributed"):
    session.pools.start(pool)
cores = session.pools.cores()
print(*[c.pid for c in cores], *[w.pid for c in cores for w in c.workers], *[c.directory for c in cores], flush=True)
while True:  # until it is killed
    session.add_workers("one", 2, env={"N": str(time.time())})
    session.pools.drain("one")
    session.pools.remove("one", 2)
"""


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.1])
def test_a_kernel_that_is_killed_while_workers_come_and_go_leaves_nothing(tmp_path, after_s):
    env = {**os.environ, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": ""}
    kernel = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path / "home")], stdout=subprocess.PIPE, env=env)
    said = kernel.stdout.readline().split()
    cores = [psutil.Process(int(pid)) for pid in said[:3]]
    time.sleep(after_s)  # somewhere in it
    workers = [worker for core in cores for worker in core.children(recursive=True)]

    kernel.kill()
    kernel.wait()
    kernel.stdout.close()

    until(lambda: all(is_gone(process.pid) for process in [*cores, *workers]), 20)
    until(lambda: list(tmp_path.glob("cerebelum-*")) == [], 20)
    mine = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]
    assert mine == []


def test_a_run_tells_what_it_cost_by_the_price_of_its_pool(tmp_path):
    paid = Pool("paid", 1, price=7200.0)
    session = Session(Settings(home=tmp_path / "home", workers=1, pools={"paid": paid}))
    try:
        naps = step(name="naps", executor="paid")(lambda context: time.sleep(0.2))
        free = step(name="free", executor="distributed")(lambda context: time.sleep(0.2))
        run = session.run(flow(naps, free))
        assert run.wait(DEADLINE_S)
        ms = {row.step: row.ms for row in run.rows()}
    finally:
        session.close()

    assert run.cost == pytest.approx(2 * ms["naps"] / 1e3)
