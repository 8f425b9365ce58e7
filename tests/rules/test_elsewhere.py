"""The rules of going elsewhere, and what a step that runs once leaves to be known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    Placement,
    RunStarted,
    TaskFinished,
)
from cerebelum_nb.model.options import StepOptions
from cerebelum_nb.model.state import RunState
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.elsewhere import no_worker, places_for, poisoned, to_move, why_elsewhere
from cerebelum_nb.rules.once import NEVER_BEGAN, Ran, has_begun


def place(name):
    return Placement(name, name, name, name != "local", "fallback", "")


LOST = ErrorInfo("WorkerLost", "worker 1 (pid 7) was killed by SIGKILL. A new worker has taken its place.")
CORE_LOST = ErrorInfo("CoreLost", "Core (pid 7) ended. Elsewhere.")


@pytest.mark.parametrize(
    ("options", "outcome", "why"),
    [
        ({}, no_worker("gpu", 5, 1), "'gpu' did not take it: no worker within 5 s (1 registered)"),
        ({"effects": "once"}, no_worker("gpu", 5, 1), "'gpu' did not take it: no worker within 5 s (1 registered)"),
        (
            {},
            Outcome("error", error=ErrorInfo("ExecutorError", "Core did not start. Its log"), delivered=False),
            "'gpu' did not take it: Core did not start",
        ),
        ({}, Outcome("lost", error=LOST), ""),
        ({"effects": "once"}, Outcome("lost", error=LOST), ""),
        ({"idempotent": True}, Outcome("lost", error=LOST), "'gpu' lost it: worker 1 (pid 7) was killed by SIGKILL"),
        ({"retries": 1}, Outcome("lost", error=CORE_LOST), "'gpu' lost it: Core (pid 7) ended"),
        ({"idempotent": True}, Outcome("lost", error=ErrorInfo("PoisonStep", "it kills")), ""),
        ({"idempotent": True}, Outcome("error", error=ErrorInfo("ValueError", "no")), ""),
        ({"idempotent": True}, Outcome("error", error=ErrorInfo("CaptureError", "a lock")), ""),
        ({"idempotent": True}, Outcome("timeout", error=ErrorInfo("StepTimeout", "too long")), ""),
        ({"idempotent": True}, Outcome("cancelled", error=ErrorInfo("Cancelled", "x"), delivered=False), ""),
    ],
)
def test_who_may_go_elsewhere_and_why(options, outcome, why):
    assert why_elsewhere(StepOptions(**options), outcome, "gpu") == why


def test_what_no_worker_took_in_time_is_told_with_who_is_there():
    outcome = no_worker("gpu", 0.5, 3)

    assert (outcome.kind, outcome.delivered, outcome.error.type) == ("timeout", False, "NoWorker")
    assert outcome.error.message == "no worker in pool 'gpu' took it within 0.5 s (3 registered)"


def test_a_pool_without_workers_says_so():
    outcome = no_worker("gpu-worker-pool", 2, 0)

    told = "no worker in pool 'gpu-worker-pool' (0 registered): nobody took it within 2 s"
    assert outcome.error.message == told
    why = why_elsewhere(StepOptions(), outcome, "gpu-worker-pool")
    assert why == "'gpu-worker-pool' did not take it: no worker (0 registered): nobody took it within 2 s"


def test_places_come_in_order_each_once_and_never_the_one_it_is_at():
    declared = [place(name) for name in ("gpu", "core", "gpu", "local", "core")]

    assert [p.executor for p in places_for("core", declared)] == ["gpu", "local"]
    assert [p.executor for p in places_for("local", declared)] == ["gpu", "core"]
    assert places_for("local", [place("local")]) == ()


def test_a_step_that_has_ended_three_workers_is_poison():
    outcome = Outcome("lost", error=LOST)

    assert poisoned(outcome, 2) is outcome
    third = poisoned(outcome, 3)
    assert (third.kind, third.error.type) == ("lost", "PoisonStep")
    assert third.error.message.startswith("it has ended 3 workers, so it is not tried again. The last time: worker 1")


@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=12))
def test_a_queue_loses_its_newest_until_it_is_no_longer_than_those_who_can_leave_allow(bounds):
    waiting = list(enumerate(bounds))
    moved = [task for task, _ in to_move(waiting, len(waiting))]
    left = len(waiting) - len(moved)

    assert moved == sorted(moved)  # newest first
    assert all(bounds[task] is not None for task in moved)
    assert all(
        bound is None or task in moved or bound >= left or any(m > task for m in moved) for task, bound in waiting
    )
    if bounds and len(set(bounds)) == 1 and bounds[0] is not None:
        assert left == min(len(bounds), bounds[0])


def test_the_reason_of_a_full_queue_names_its_length_and_bound():
    assert to_move([(4, 20), (3, None)], 21) == [(4, "its queue was 21 long (max_queue=20)")]


CORE = Placement("core", "core", "distributed", True, "decorator", "")


def state(*events):
    made = RunState()
    made.apply(RunStarted(0, 100.0, "r", "w", ("a",), ((),), (CORE,), (0,)))
    for event in events:
        made.apply(event)
    return made


def submitted(*more):
    return state(AttemptSubmitted(1, 101.0, 0, 1), *more)


def ended(outcome, error=None, *, began=False):
    first = [AttemptStarted(2, 102.0, 0, 1, "worker 1")] if began else []
    seq = 2 + len(first)
    status = "succeeded" if outcome == "ok" else "failed"
    return submitted(*first, AttemptFinished(seq, 103.0, 0, 1, outcome, error), TaskFinished(seq + 1, 103.0, 0, status))


@pytest.mark.parametrize(
    ("there", "ran"),
    [
        (state(), None),
        (submitted(), Ran(101.0, "r", "unknown")),
        (ended("timeout", ErrorInfo("NoWorker", "")), None),
        (ended("error", ErrorInfo("ExecutorError", "")), None),
        (ended("lost", ErrorInfo("WorkersDoNotStart", "")), None),
        (ended("cancelled", ErrorInfo("Cancelled", NEVER_BEGAN), began=True), None),
        (ended("lost", CORE_LOST), Ran(101.0, "r", "unknown")),
        (ended("cancelled", ErrorInfo("Cancelled", "")), Ran(101.0, "r", "unknown")),
        (ended("ok", began=True), Ran(102.0, "r", "succeeded")),
        (ended("error", ErrorInfo("ValueError", ""), began=True), Ran(102.0, "r", "failed")),
        (ended("timeout", ErrorInfo("StepTimeout", ""), began=True), Ran(102.0, "r", "unknown")),
        (ended("lost", LOST, began=True), Ran(102.0, "r", "unknown")),
    ],
)
def test_what_may_have_had_its_effect_is_known_from_the_events(there, ran):
    assert has_begun(there, 0) == ran
