"""The fold, driven by events alone."""

import pytest

from cerebelum_nb.errors import InternalError
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    Placement,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskMoved,
    decode_lines,
    encode_lines,
)
from cerebelum_nb.model.state import OUTPUT_TAIL, PHASES, PastAttempt, RunState

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
        1: (PastAttempt(1, "distributed", True, 10.4, 10.5, "cancelled"),),
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
    events = [
        STARTED,
        AttemptSubmitted(1, 10.1, 1, 1),
        AttemptStarted(2, 10.1, 0, 1, "kernel"),
        AttemptOutput(3, 10.1, 0, 1, "stdout", "hé\n"),
        AttemptFinished(4, 10.2, 0, 1, "error", ErrorInfo("ValueError", "no", "Traceback")),
        TaskMoved(5, 10.2, 0, CORE, (0,)),
        TaskFinished(6, 10.3, 0, "skipped", "rule", "b did not succeed"),
        RunFinished(7, 10.4, "failed"),
    ]

    assert decode_lines(encode_lines(events)) == events
