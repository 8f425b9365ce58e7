"""The one writer, driven without any executor."""

import random
import threading

import pytest

from cerebelum_nb.model.events import ErrorInfo, Placement, decode_lines, encode_lines
from cerebelum_nb.model.options import Backoff, StepOptions
from cerebelum_nb.model.plan import Call, Plan
from cerebelum_nb.model.state import PHASES, RunState
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.runtime.scheduler import Scheduler

LOCAL = Placement("local", "local", "local", False, "session", "the default")
CORE = Placement("core", "core", "distributed", True, "decorator", "the step says so")


def plan_of(needs, places=None, **more):
    n = len(needs)
    return Plan(
        workflow="w",
        inputs={},
        names=tuple(f"s{i}" for i in range(n)),
        needs=tuple(needs),
        places=(LOCAL, CORE),
        place=tuple(places or [0] * n),
        functions=(len,) * n,
        calls=(Call(()),) * n,
        asynchronous=(True,) * n,
        answer=n - 1,
        **more,
    )


class Lanes:
    """Counts what the scheduler asks of its lanes."""

    def __init__(self):
        self.pokes, self.stops, self.ended = [], [], threading.Event()

    def of(self, plan, timers=None):
        poke = {lane: lambda lane=lane: self.pokes.append(lane) for lane in ("local", "threads", "core")}
        later = (lambda _, call: timers.append(call)) if timers is not None else (lambda *_: None)
        return Scheduler(plan, poke=poke, stop=lambda *a: self.stops.append(a), urgent=self.ended.set, later=later)


def phases(scheduler):
    return [PHASES[p] for p in scheduler.state.phase]


def refold(scheduler, log):
    state = RunState()
    for event in decode_lines(encode_lines(log)):
        state.apply(event)
    return state == scheduler.state


@pytest.fixture
def lanes():
    return Lanes()


DIAMOND = ((), (0,), (0,), (1, 2))


def test_whoever_ends_an_attempt_leaves_with_the_lanes_next_ticket(lanes):
    s = lanes.of(plan_of(((), (0,))))
    s.start("r")
    first = s.turn("local")

    second = s.turn("local", first, "value")

    assert (second.task, second.attempt) == (1, 1)
    assert s.values == ["value", None]
    assert lanes.pokes == ["local"]


def test_a_spare_taker_is_called_only_when_work_is_left(lanes):
    s = lanes.of(plan_of(((), (), ())))
    s.start("r")

    s.turn("local")

    assert lanes.pokes == ["local", "local"]


def test_what_can_no_longer_run_is_skipped_at_once_and_the_rest_goes_on(lanes):
    s = lanes.of(plan_of(DIAMOND))
    s.start("r")
    b = s.turn("local", s.turn("local"), 1)

    c = s.turn("local", b, outcome=Outcome("error", error=ErrorInfo("ValueError", "no")))
    s.turn("local", c, 2)

    assert phases(s) == ["succeeded", "failed", "succeeded", "skipped"]
    assert s.state.status == "failed"
    assert lanes.ended.is_set()


def test_a_late_result_is_counted_and_never_written(lanes):
    s = lanes.of(plan_of(((), (0,))))
    s.start("r")
    ticket = s.turn("local")
    s.move(0, CORE)
    before = s.state.seq

    s.turn("", ticket, "late")

    assert (s.late, s.values[0], s.state.seq) == (1, None, before)


def test_moving_a_running_task_stops_it_and_runs_it_again_elsewhere(lanes):
    s = lanes.of(plan_of(((), (0,))))
    s.start("r")
    s.turn("local")

    assert s.move(0, CORE)

    again = s.turn("core")
    assert lanes.stops == [("local", 0, 1)]
    assert (again.task, again.attempt) == (0, 2)


def test_moving_a_finished_task_runs_exactly_it_and_what_depends_on_it_again(lanes):
    s = lanes.of(plan_of(((), (0,), (), (1,)), places=[0, 0, 0, 1]))
    s.start("r")
    ticket = s.turn("local")
    for value in ("a", "c", "b"):
        ticket = s.turn("local", ticket, value)
    assert phases(s) == ["succeeded", "succeeded", "succeeded", "ready"]

    s.move(1, CORE)

    assert phases(s) == ["succeeded", "ready", "succeeded", "waiting"]
    assert [s.values[0], s.values[1], s.values[2]] == ["a", None, "c"]


def test_moving_a_failed_task_brings_its_skipped_dependants_back(lanes):
    s = lanes.of(plan_of(((), (0,), ())))
    s.start("r")
    a = s.turn("local")
    c = s.turn("local", a, outcome=Outcome("error", error=ErrorInfo("E", "no")))
    assert phases(s) == ["failed", "skipped", "running"]

    s.move(0, LOCAL)
    a2 = s.turn("local")
    b = s.turn("local", a2, 1)
    s.turn("local", b, 2)
    s.turn("local", c, 3)

    assert s.state.status == "succeeded"


def test_what_waits_for_another_attempt_waits_for_what_it_needs_first_where_that_is_moved_meanwhile(lanes):
    timers = []
    s = lanes.of(plan_of(((), (0,)), options={1: StepOptions(retries=1, backoff=Backoff(1.0))}), timers)
    s.start("r")
    a = s.turn("local")
    b = s.turn("local", a, "a")
    s.turn("local", b, outcome=Outcome("error", error=ErrorInfo("E", "no")))
    (rings,) = timers

    s.move(0, LOCAL)
    a2 = s.turn("local")
    rings()

    assert phases(s) == ["running", "waiting"]
    assert s.turn("local") is None
    assert s.turn("local", a2, "again").task == 1


def test_a_moved_task_does_not_revive_what_another_failure_blocks(lanes):
    s = lanes.of(plan_of(((), (), (0, 1), ())))  # s2 needs both; s3 keeps the run alive
    s.start("r")
    a = s.turn("local")
    b = s.turn("local", a, outcome=Outcome("error", error=ErrorInfo("E", "no")))
    s.turn("local", b, outcome=Outcome("error", error=ErrorInfo("E", "no")))

    s.move(0, LOCAL)

    assert phases(s) == ["ready", "failed", "skipped", "running"]


def test_cancel_ends_what_has_not_begun_and_asks_the_rest_to_stop(lanes):
    s = lanes.of(plan_of(((), (0,))))
    s.start("r")
    s.turn("local")

    s.cancel()

    assert phases(s) == ["running", "cancelled"]
    assert lanes.stops == [("local", 0, 1)]


def test_what_does_not_stop_is_abandoned_and_named(lanes):
    s = lanes.of(plan_of(((), (0,))))
    s.start("r")
    s.turn("local")
    s.cancel()

    assert s.abandon() == ["s0"]

    assert s.state.status == "cancelled"


def test_a_run_that_has_ended_refuses_a_move(lanes):
    s = lanes.of(plan_of(((),)))
    s.start("r")
    s.turn("local", s.turn("local"), 1)

    assert not s.move(0, CORE)


def test_reused_results_are_there_before_anything_runs(lanes):
    s = lanes.of(plan_of(DIAMOND))

    s.start("r", reused={0: ("a", "reused from run 1"), 2: ("c", "reused from run 1")})

    assert phases(s) == ["succeeded", "ready", "succeeded", "waiting"]
    assert s.values == ["a", None, "c", None]


def test_what_was_not_asked_for_is_skipped_without_failing_the_run(lanes):
    s = lanes.of(plan_of(DIAMOND, left_out=frozenset({2, 3})))
    s.start("r")
    b = s.turn("local", s.turn("local"), 1)

    s.turn("local", b, 2)

    assert (phases(s), s.state.status) == (["succeeded", "succeeded", "skipped", "skipped"], "succeeded")


@pytest.mark.parametrize("seed", range(30))
def test_the_journal_folds_to_the_live_state_whatever_happens(seed, lanes):
    rng = random.Random(seed)
    n = rng.randint(5, 60)
    needs = [tuple(sorted(rng.sample(range(i), min(i, rng.randint(0, 3))))) for i in range(n)]
    s = lanes.of(plan_of(needs, places=[rng.randint(0, 1) for _ in range(n)]))
    s.start("r")
    live, late = [], []
    for _ in range(20_000):
        if s.state.status != "running":
            break
        act = rng.random()
        if act < 0.45 or not live:
            lane = rng.choice(["local", "core"])
            ticket = s.turn(lane)
            if ticket is not None:
                live.append((lane, ticket))
        elif act < 0.9:
            lane, ticket = live.pop(rng.randrange(len(live)))
            late.append(ticket)
            if rng.random() < 0.5:
                s.began(ticket.task, ticket.attempt, "worker 1")
            s.printed(ticket.task, ticket.attempt, "stdout", "hello\n")
            bad = rng.random() < 0.05
            outcome = Outcome("error", error=ErrorInfo("E", "no")) if bad else None
            following = s.turn(lane, ticket, 1, outcome)
            if following is not None:
                live.append((lane, following))
        elif act < 0.97:
            if s.state.attempt[task := rng.randrange(n)] < 200:
                s.move(task, rng.choice([LOCAL, CORE]))
        elif late:
            s.turn("", rng.choice(late), "late")
        if rng.random() < 0.0005:
            s.cancel()
            s.abandon()

    assert s.state.status in ("succeeded", "failed", "cancelled"), f"seed {seed} did not end"
    assert refold(s, s.log)
    assert [e.seq for e in s.log] == list(range(len(s.log)))
    assert [e.at for e in s.log] == sorted(e.at for e in s.log)
