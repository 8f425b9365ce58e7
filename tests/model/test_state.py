"""The fold, driven by events alone."""

import pytest

from cerebelum_nb.errors import InternalError
from cerebelum_nb.model.attempts import PastAttempt, Pause
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptProgress,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    Group,
    Placement,
    RouteTaken,
    RunCompensating,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskLookedUp,
    TaskMoved,
    TaskPaused,
    TaskResumed,
    TaskRetrying,
    decode_lines,
    encode_lines,
)
from cerebelum_nb.model.state import OUTPUT_TAIL, PHASES, RunState
from cerebelum_nb.model.view import header

LOCAL = Placement("local", "local", "local", False, "session", "the default")
CORE = Placement("core", "core", "distributed", True, "decorator", "the step says so")
STARTED = RunStarted(0, 10.0, "r", "w", ("a", "b", "c"), ((), (0,), (0, 1)), (LOCAL, CORE), (0, 1, 0))


def fold(*events):
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def phases(state):
    return [PHASES[p] for p in state.phase]


def test_the_first_event_announces_every_task_and_readies_those_that_need_nothing():
    state = fold(STARTED)

    assert phases(state) == ["ready", "waiting", "waiting"]
    assert {lane: list(queue) for lane, queue in state.ready.items()} == {"local": [0], "core": []}


def test_a_task_becomes_ready_when_the_last_thing_it_needs_succeeds():
    state = fold(
        STARTED,
        AttemptStarted(1, 10.1, 0, 1, "kernel"),
        AttemptFinished(2, 10.2, 0, 1, "ok"),
        TaskFinished(3, 10.2, 0, "succeeded"),
    )

    assert phases(state) == ["succeeded", "ready", "waiting"]


def test_an_event_that_leaves_a_gap_is_refused():
    with pytest.raises(InternalError, match="event 2 after 0"):
        fold(STARTED, AttemptStarted(2, 10.1, 0, 1, "kernel"))


@pytest.mark.parametrize(
    "illegal",
    [
        AttemptStarted(1, 10.1, 1, 1, "kernel"),  # it still waits
        AttemptFinished(1, 10.1, 0, 1, "ok"),  # it never began
        RunFinished(1, 10.1, "succeeded"),  # nothing has run
    ],
)
def test_an_event_that_cannot_be_is_refused_and_changes_nothing(illegal):
    state, before = fold(STARTED), fold(STARTED)

    with pytest.raises(InternalError):
        state.apply(illegal)

    assert state == before


def test_a_result_of_a_superseded_attempt_is_refused():
    with pytest.raises(InternalError):
        fold(STARTED, AttemptStarted(1, 10.1, 0, 1, "kernel"), AttemptFinished(2, 10.2, 0, 2, "ok"))


def test_moving_a_waiting_task_changes_its_place_and_nothing_else():
    state = fold(STARTED, TaskMoved(1, 10.1, 1, LOCAL, ()))

    assert state.places[1] == LOCAL
    assert phases(state) == ["ready", "waiting", "waiting"]


def test_moving_a_ready_task_puts_it_in_the_other_lanes_queue():
    state = fold(STARTED, TaskMoved(1, 10.1, 0, CORE, ()))

    assert {lane: list(queue) for lane, queue in state.ready.items()} == {"local": [], "core": [0]}


def test_moving_a_finished_task_takes_it_and_all_below_back_and_keeps_the_old_attempts():
    state = fold(
        STARTED,
        AttemptStarted(1, 10.1, 0, 1, "kernel"),
        AttemptFinished(2, 10.2, 0, 1, "ok"),
        TaskFinished(3, 10.2, 0, "succeeded"),
        AttemptSubmitted(4, 10.3, 1, 1),
        AttemptStarted(5, 10.4, 1, 1, "worker 1"),
        AttemptFinished(6, 10.5, 1, 1, "cancelled", ErrorInfo("Moved", "a was moved")),
        TaskMoved(7, 10.5, 0, CORE, (0, 1)),
    )

    assert phases(state) == ["ready", "waiting", "waiting"]
    assert state.unmet == [0, 1, 2]
    assert state.unfinished == 3
    assert state.past == {
        0: (PastAttempt(1, "local", False, 10.1, 10.2, "ok"),),
        1: (PastAttempt(1, "distributed", True, 10.4, 10.5, "cancelled", 10.3),),
    }
    assert list(state.ready["core"]) == [0]


def test_a_reused_task_ends_without_an_attempt():
    state = fold(STARTED, TaskFinished(1, 10.0, 0, "succeeded", "reused", "reused from run 1"))

    assert phases(state) == ["succeeded", "ready", "waiting"]
    assert (state.reused, state.reasons, state.attempt[0]) == ({0}, {0: "reused from run 1"}, 0)


def test_only_the_tail_of_what_a_task_printed_is_kept():
    started = (STARTED, AttemptStarted(1, 10.1, 0, 1, "kernel"))
    piece = "x" * (OUTPUT_TAIL // 2)
    state = fold(*started, *(AttemptOutput(2 + i, 10.2, 0, 1, "stdout", piece) for i in range(5)))

    assert [len(text) for _, text in state.output[0]] == [OUTPUT_TAIL // 2] * 2


def test_every_event_comes_back_from_a_journal_line_as_it_was():
    nested = RunStarted(
        *(getattr(STARTED, f) for f in STARTED.__struct_fields__[:-4]), (Group("g", 0, 2),), (2,), (1,), False
    )
    events = [
        STARTED,
        nested,
        AttemptSubmitted(1, 10.1, 1, 1),
        AttemptStarted(2, 10.1, 0, 1, "kernel"),
        AttemptOutput(3, 10.1, 0, 1, "stdout", "hé\n"),
        AttemptFinished(4, 10.2, 0, 1, "error", ErrorInfo("ValueError", "no", "Traceback")),
        TaskMoved(5, 10.2, 0, CORE, (0,)),
        TaskFinished(6, 10.3, 0, "skipped", "rule", "b did not succeed"),
        AttemptProgress(7, 10.3, 0, 1, 0.5, "half"),
        TaskPaused(8, 10.3, 0, 1, "approval", 0.0, "go on?"),
        TaskResumed(9, 10.4, 0, 1),
        TaskRetrying(10, 10.4, 0, 1, 11.0, "attempt 2 of 3 after OSError"),
        RouteTaken(11, 10.4, 0, "'x'", (0, 1)),
        TaskLookedUp(12, 10.4, 0, 1, False, "miss: argument 'x' changed"),
        RunCompensating(13, 10.4, "b failed", (2,), ((),), (CORE,)),
        RunFinished(14, 10.4, "compensation_failed"),
    ]

    assert decode_lines(encode_lines(events)) == events


def test_what_a_route_passes_by_holds_up_nobody():
    state = fold(
        STARTED,
        AttemptStarted(1, 10.1, 0, 1, "kernel"),
        AttemptFinished(2, 10.2, 0, 1, "ok"),
        TaskFinished(3, 10.2, 0, "succeeded"),
        RouteTaken(4, 10.2, 0, "'x'"),
        TaskFinished(5, 10.2, 1, "skipped", "route", "a took 'x'"),
    )

    assert (phases(state), state.passed, state.reasons) == (
        ["succeeded", "skipped", "ready"],
        {1},
        {0: "took 'x'", 1: "a took 'x'"},
    )


def test_a_way_back_takes_tasks_back_to_waiting_and_counts():
    state = fold(
        STARTED,
        AttemptStarted(1, 10.1, 0, 1, "kernel"),
        AttemptFinished(2, 10.2, 0, 1, "ok"),
        TaskFinished(3, 10.2, 0, "succeeded"),
        AttemptSubmitted(4, 10.3, 1, 1),
        AttemptFinished(5, 10.4, 1, 1, "ok"),
        TaskFinished(6, 10.4, 1, "succeeded"),
        RouteTaken(7, 10.4, 1, "false", (0, 1)),
    )

    assert (phases(state), state.loops, state.unfinished) == (["ready", "waiting", "waiting"], {1: 1}, 3)
    assert [len(state.past[t]) for t in (0, 1)] == [1, 1]


def test_a_paused_task_runs_and_its_rest_is_no_work():
    state = fold(
        STARTED,
        AttemptStarted(1, 10.0, 0, 1, "kernel"),
        AttemptProgress(2, 10.1, 0, 1, 0.5, "half"),
        TaskPaused(3, 11.0, 0, 1, "sleep", 15.0, ""),
    )
    assert (phases(state)[0], state.paused, state.progress) == (
        "running",
        {0: Pause("sleep", 11.0, 15.0, "")},
        {0: (0.5, "half")},
    )

    state.apply(TaskResumed(4, 15.0, 0, 1))
    state.apply(AttemptFinished(5, 16.0, 0, 1, "ok", None, 6.0))

    assert (state.paused, state.spent_s) == ({}, [2.0, 0.0])


def test_what_processes_do_is_local_work_also_while_it_runs():
    processes = Placement("processes", "processes", "processes", True, "decorator", "the step says so")
    started = RunStarted(0, 10.0, "r", "w", ("a", "b"), ((), ()), (processes, CORE), (0, 1))
    submitted = [AttemptSubmitted(1, 10.0, 0, 1), AttemptSubmitted(2, 10.0, 1, 1)]
    begun = [AttemptStarted(3, 10.0, 0, 1, "1"), AttemptStarted(4, 10.0, 1, 1, "1")]
    live = fold(started, *submitted, *begun)

    assert header(live, number=1, now=12.0, total=2).local_ms == 2000.0
    assert header(live, number=1, now=12.0, total=2).remote_ms == 2000.0
    live.apply(AttemptFinished(5, 13.0, 0, 1, "ok", None, 3.0))
    assert (live.spent_s, live.spent_in) == ([3.0, 0.0], {})


def test_a_run_costs_what_its_attempts_took_of_slots_that_have_a_price():
    other = Placement("eu", "eu", "eu", True, "decorator", "the step says so")
    started = RunStarted(0, 10.0, "r", "w", ("a", "b", "c"), ((), (), ()), (other, other, CORE), (0, 1, 2))
    submitted = [AttemptSubmitted(1 + n, 10.0, n, 1) for n in range(3)]
    begun = [AttemptStarted(4 + n, 10.0, n, 1, "1") for n in range(3)]
    live = fold(started, *submitted, *begun, AttemptFinished(7, 13.0, 0, 1, "error", None, 3.0))

    def cost(**prices):
        return header(live, number=1, now=20.0, total=3, prices=prices).cost

    assert live.spent_in == {"eu": 3.0}
    assert cost(eu=3600.0) == 3.0 + 10.0, "what has ended, and what runs"
    assert cost(eu=1.8, core=3.6) == pytest.approx(0.0065 + 0.01)
    assert (cost(), cost(us=5.0)) == (0.0, 0.0)


@pytest.mark.parametrize(("until", "phase"), [(10.3, "ready"), (12.0, "waiting")])
def test_a_task_that_is_tried_again_remembers_the_attempt_that_failed(until, phase):
    state = fold(
        STARTED,
        AttemptStarted(1, 10.1, 0, 1, "kernel"),
        AttemptFinished(2, 10.3, 0, 1, "error", ErrorInfo("OSError", "torn")),
        TaskRetrying(3, 10.3, 0, 1, until, "attempt 2 of 2 after OSError"),
    )

    assert (phases(state)[0], state.retried, state.errors) == (phase, {0: 1}, {})
    assert state.past[0] == (PastAttempt(1, "local", False, 10.1, 10.3, "error"),)
    if phase == "waiting":
        state.apply(TaskResumed(4, 12.0, 0, 1))
    assert (phases(state)[0], list(state.ready["local"]), state.paused) == ("ready", [0], {})
