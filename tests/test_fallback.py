"""A step that its place does not take runs elsewhere, where it says so: real Cores, real workers, real signals."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from cerebelum_nb import ExecutionError, PlanError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import DefinitionError, StepTimeoutError
from cerebelum_nb.executors import core_process
from cerebelum_nb.model.events import AttemptFinished, TaskMoved
from cerebelum_nb.model.state import RunState

pytestmark = pytest.mark.timeout(120)
DEADLINE = 60
HERE = str(Path(__file__).parent)


@pytest.fixture
def small(tmp_path):
    """A session with one worker, and a pool with one."""
    made = Session(Settings(home=tmp_path / "home", workers=1, pools={"gpu": 1}))
    yield made
    made.close()


def flow(*items, **options):
    return workflow(name="w", **options)(lambda wf: wf.timeline(*items))


def beside(*steps):
    """A workflow whose steps run side by side, after a first one."""
    return flow(step(name="first")(lambda context: 0), list(steps))


def ledger(path, name, seconds=0.0):
    """A step that writes its name, where it runs and its attempt, and then takes its time."""

    def one(context):
        with os.fdopen(os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY), "w") as file:
            file.write(f"{name} {os.getpid()} {context.attempt}\n")
        time.sleep(seconds)
        return os.getpid()

    return one


def until(condition):
    end, pause = time.monotonic() + DEADLINE, threading.Event()
    while not condition():
        assert time.monotonic() < end, "not in time"
        pause.wait(0.01)


def folded(run):
    state = RunState()
    for event in run.events:
        state.apply(event)
    return state


def moves(run):
    names = run.plan.names
    return [(names[e.task], e.placement.label, e.placement.reason) for e in run.events if isinstance(e, TaskMoved)]


def status(run, name):
    return next(row.status for row in run.rows() if row.step == name)


def segments(run, name):
    (row,) = [row for row in run.rows() if row.step == name]
    return [(s.attempt, s.outcome) for s in row.segments]


def no_core(monkeypatch):
    """Core cannot start: its directory would be in a place that does not exist."""
    monkeypatch.setattr(core_process, "_bases", lambda: [Path("/nonexistent")])


NOT_STARTED = (
    "'distributed' did not take it: there is no place for Core's socket (/nonexistent: No such file or directory)"
)


def test_a_step_runs_here_when_core_does_not_start(small, monkeypatch):
    no_core(monkeypatch)
    one = step(name="one", executor="distributed", fallback="local")(lambda context: os.getpid())

    run = small.run(flow(one))

    assert run.result(DEADLINE).output == {"ok": os.getpid()}
    assert moves(run) == [("one", "local", NOT_STARTED)]
    assert segments(run, "one") == [(1, "error"), (2, "ok")]
    row = run.rows()[0]
    assert (row.where, row.reason, run.state.places[0].rule) == ("local", NOT_STARTED, "fallback")
    assert folded(run) == run.state


def test_without_a_fallback_the_run_fails_and_can_be_resumed(small, monkeypatch):
    with monkeypatch.context() as patch:
        no_core(patch)
        one = step(name="one", executor="distributed", fallback="error")(lambda context: 7)
        run = small.run(flow(one, fallback="local"))
        with pytest.raises(ExecutionError, match="there is no place for Core's socket"):
            run.result(DEADLINE)

    assert moves(run) == []
    assert run.resume().result(DEADLINE).output == {"ok": 7}


def test_a_step_goes_through_its_places_in_order_and_what_it_raises_itself_stays(small, monkeypatch):
    no_core(monkeypatch)

    def fails(context):
        raise ConnectionResetError(context.executor)

    one = step(name="one", executor="distributed", fallback=["gpu", "distributed", "local"])(fails)
    two = step(name="two", executor="local", fallback=["gpu"])(fails)

    run = small.run(beside(one, two))
    run.wait(DEADLINE)

    assert [(name, label) for name, label, _ in moves(run)] == [("one", "gpu"), ("one", "local")]
    assert moves(run)[1][2].startswith("'gpu' did not take it: there is no place for Core's socket")
    assert [row.status for row in run.rows()] == ["succeeded", "failed", "failed"]
    assert segments(run, "one") == [(1, "error"), (2, "error"), (3, "error")]
    assert segments(run, "two") == [(1, "error")]
    assert folded(run) == run.state


def test_what_cannot_be_sent_does_not_go_elsewhere(small):
    lock = threading.Lock()
    one = step(name="one", executor="distributed", fallback="local")(lambda context: lock.locked())

    run = small.run(flow(one))

    with pytest.raises(ExecutionError, match="lock"):
        run.result(DEADLINE)
    assert moves(run) == []


def test_who_finds_no_worker_in_time_runs_here_and_never_there(small, tmp_path):
    busy = step(name="busy", executor="distributed")(ledger(tmp_path / "l", "busy", 2.5))
    late = step(name="late", executor="distributed", fallback="local", queue_timeout=0.4)(
        ledger(tmp_path / "l", "late")
    )
    small.run(flow(step(name="warm", executor="distributed")(lambda context: 0))).result(DEADLINE)

    run = small.run(beside(busy, late))
    run.result(DEADLINE)

    assert moves(run) == [("late", "local", "'distributed' did not take it: no worker within 0.4 s (1 registered)")]
    assert segments(run, "late") == [(1, "timeout"), (2, "ok")]
    (waited,) = [e for e in run.events if isinstance(e, AttemptFinished) and e.outcome == "timeout"]
    assert waited.error.type == "NoWorker"
    assert 0.4 <= waited.at - run.state.started_at < 2.4
    lines = (tmp_path / "l").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == ["busy", "late"]
    assert f"late {os.getpid()} 2" in lines


def test_who_waits_for_a_core_that_is_still_starting_runs_here_when_the_time_is_over(small, monkeypatch):
    go = threading.Event()
    ready = core_process.CoreProcess.wait_ready
    monkeypatch.setattr(core_process.CoreProcess, "wait_ready", lambda self: (go.wait(20), ready(self))[1])
    one = step(name="one", executor="distributed", fallback="local", queue_timeout=0.3)(lambda context: os.getpid())

    run = small.run(flow(one))

    assert run.result(DEADLINE).output == {"ok": os.getpid()}
    assert moves(run) == [
        ("one", "local", "'distributed' did not take it: no worker (0 registered): nobody took it within 0.3 s")
    ]
    go.set()


def test_who_waits_in_our_own_queue_counts_too(small, tmp_path):
    executor = small._executor("core")
    executor.capacity = 1
    busy = step(name="busy", executor="distributed")(ledger(tmp_path / "l", "busy", 2.5))
    small.run(flow(step(name="warm", executor="distributed")(lambda context: 0))).result(DEADLINE)
    late = [
        step(name=f"late{n}", executor="distributed", fallback="local" if n else "error", queue_timeout=0.5 + n / 10)(
            ledger(tmp_path / "l", f"late{n}")
        )
        for n in range(3)
    ]

    run = small.run(beside(busy, *late))
    with pytest.raises(StepTimeoutError) as failed:
        run.result(DEADLINE)

    assert failed.value.told == (
        "step 'late0' failed (distributed, attempt 1): NoWorker: no worker in pool 'distributed' took it within 0.5 s "
        "(1 registered)"
    )
    assert [(name, label) for name, label, _ in moves(run)] == [("late1", "local"), ("late2", "local")]
    assert sorted(line.split()[0] for line in (tmp_path / "l").read_text().splitlines()) == ["busy", "late1", "late2"]
    assert folded(run) == run.state
    assert run.resume().result(DEADLINE)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, []),
        ({"idempotent": True}, ["distributed", "distributed", "poison"]),
        ({"retries": 1}, ["distributed", "distributed", "local"]),
        ({"effects": "once"}, []),
    ],
)
def test_a_step_whose_worker_was_lost_goes_elsewhere_only_when_it_may_run_twice(small, tmp_path, options, where):
    def one(context):
        with (tmp_path / "l").open("a") as file:
            file.write(f"{context.executor}\n")
        if context.executor == "distributed":
            os.kill(os.getpid(), signal.SIGKILL)
        return "here"

    run = small.run(flow(step(name="one", executor="distributed", fallback="local", **options)(one)))
    run.wait(DEADLINE)

    tried = (tmp_path / "l").read_text().split()
    if where[2:] == ["local"]:
        assert tried == where
        assert moves(run)[0][2].startswith("'distributed' lost it: worker 1 (pid ")
        assert run.result().output == {"ok": "here"}
    elif where:
        assert tried == ["distributed"] * 3
        assert run.error().error_type == "PoisonStep"
        assert "it has ended 3 workers, so it is not tried again" in run.error().error
        assert moves(run) == []
    else:
        assert tried == ["distributed"]
        assert run.error().error_type == "WorkerLost"


def test_a_step_that_has_ended_three_workers_is_not_tried_again(small, tmp_path):
    def one(context):
        with (tmp_path / "l").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    run = small.run(flow(step(name="one", executor="distributed", retries=9)(one)))
    run.wait(DEADLINE)

    assert ((tmp_path / "l").read_text(), run.error().error_type) == ("xxx", "PoisonStep")
    assert small.run(flow(step(name="two", executor="distributed")(lambda context: 2))).result(DEADLINE)


# queues that are too long --------------------------------------------------------------------------------------------


def test_the_newest_steps_leave_a_queue_that_is_too_long(small, tmp_path):
    small.run(flow(step(name="warm", executor="distributed")(lambda context: 0))).result(DEADLINE)
    path = tmp_path / "l"
    options = {"executor": "distributed", "fallback": "local", "max_queue": 3}
    first = step(name="s0", **options)(ledger(path, "s0", 1))
    # Not when its code has begun, but when that is known: until then it counts as waiting.
    begun = step(name="begun")(lambda context: until(lambda: status(small.runs[-1], "s0") == "running"))
    many = [step(name=f"s{n}", depends_on=["begun"], **options)(ledger(path, f"s{n}", 0.5)) for n in range(1, 9)]

    run = small.run(beside(first, begun, *many))
    run.result(DEADLINE)

    moved = moves(run)
    assert {label for _, label, _ in moved} == {"local"}
    # One runs, three wait; those who came last went first.
    assert [name for name, _, _ in moved] == ["s8", "s7", "s6", "s5", "s4"]
    assert [why for _, _, why in moved] == [f"its queue was {n} long (max_queue=3)" for n in (8, 7, 6, 5, 4)]
    lines = [line.split() for line in (tmp_path / "l").read_text().splitlines()]
    assert sorted(name for name, *_ in lines) == sorted(f"s{n}" for n in range(9))
    assert {name for name, pid, _ in lines if int(pid) == os.getpid()} == {"s4", "s5", "s6", "s7", "s8"}
    assert small.breakers["distributed"].state == "closed"
    assert folded(run) == run.state


def test_a_step_that_a_person_has_put_somewhere_stays_there(small, tmp_path):
    moved = threading.Event()
    hold = step(name="hold")(lambda context: moved.wait(DEADLINE))
    busy = step(name="busy", executor="distributed")(ledger(tmp_path / "l", "busy", 1.0))
    one = step(name="one", fallback="local", max_queue=0)(ledger(tmp_path / "l", "one"))
    run = small.run(flow(hold >> [busy, one]))
    run.move("one", "distributed")
    moved.set()
    run.result(DEADLINE)

    assert [label for _, label, _ in moves(run)] == ["distributed"]


@pytest.mark.parametrize(
    "options",
    [{"max_queue": 3}, {"max_queue": 3, "fallback": "error"}],
)
def test_a_bound_without_another_place_is_refused(small, options):
    with pytest.raises(PlanError, match="step 'one' says max_queue=3 and has no other place to go: add fallback="):
        small.run(flow(step(name="one", **options)(lambda context: 1)))


def test_a_workflow_says_it_for_steps_that_say_nothing(small):
    a, b, c = (
        step(name=n, **o)(lambda context: 1)
        for n, o in (("a", {}), ("b", {"fallback": "error"}), ("c", {"fallback": ["gpu"]}))
    )
    inner = workflow(name="inner", fallback=["gpu", "local"])(lambda wf: wf.timeline(step(name="d")(lambda context: 1)))
    made = small.plan(flow(a, b, c, inner.as_step("n"), fallback="local", executor="distributed", max_queue=5))

    assert {made.names[t]: [p.executor for p in places] for t, places in made.fallbacks.items()} == {
        "a": ["local"],
        "c": ["gpu"],
        "n/d": ["gpu", "local"],
    }
    assert {made.names[t]: o.max_queue for t, o in made.options.items()} == {"a": 5, "b": None, "c": 5, "n/d": 5}
    with pytest.raises(PlanError, match="workflow 'w' says max_queue=5, and no step of it has another place"):
        small.plan(flow(a, max_queue=5))
    with pytest.raises(DefinitionError, match="fallback"):
        flow(a, fallback=7)
    with pytest.raises(PlanError, match="there is no executor 'gpv'"):
        small.plan(flow(a, fallback="gpv"))


# a place that stays away ------------------------------------------------------------------------------------------------


def test_a_place_that_was_away_three_times_is_left_alone_by_those_who_can_go_elsewhere(small, monkeypatch):
    no_core(monkeypatch)
    one = step(name="one", executor="distributed", fallback="local")(lambda context: 1)
    two = step(name="two", executor="distributed")(lambda context: 2)
    for _ in range(3):
        small.run(flow(one)).result(DEADLINE)
    breaker = small.breakers["distributed"]
    assert (breaker.state, "there is no place for Core's socket" in str(breaker)) == ("open", True)

    run = small.run(beside(one, two))
    run.wait(DEADLINE)

    assert segments(run, "one") == [(1, "ok")]
    ((name, label, why),) = moves(run)
    assert (name, label) == ("one", "local")
    assert why.startswith("'distributed' has not been tried since ")
    assert "there is no place for Core's socket" in why
    assert segments(run, "two") == [(1, "error")]  # it has nowhere else to go
    assert folded(run) == run.state
    monkeypatch.undo()
    assert small.run(flow(two)).result(DEADLINE).output == {"ok": 2}
    assert breaker.state == "closed"
