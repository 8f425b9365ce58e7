"""When a place is left alone, for how long, and who tries it again."""

import threading

import pytest

from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.breaker import FAILURES, OPEN_MOST_S, OPEN_S, Breaker

AWAY = Outcome("error", error=ErrorInfo("ExecutorError", "Core did not start"), delivered=False)
CORE_LOST = Outcome("lost", error=ErrorInfo("CoreLost", "Core (pid 7) was killed by SIGKILL"))
WORKER_LOST = Outcome("lost", error=ErrorInfo("WorkerLost", "worker 1 was killed"))
OK = Outcome("ok", 1)
RAISED = Outcome("error", error=ErrorInfo("ValueError", "no"), run_s=0.1)
UNSENT = Outcome("error", error=ErrorInfo("CaptureError", "a lock"))
CANCELLED = Outcome("cancelled", delivered=False)


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("gpu", clock)


def fail(breaker, clock, times=FAILURES, outcome=AWAY):
    for _ in range(times):
        clock.now += 1
        breaker.ended(outcome, clock.now)


def test_three_failures_in_a_row_open_it_and_it_says_why(breaker, clock):
    fail(breaker, clock, 2)
    assert (breaker.state, breaker.refuses(), str(breaker)) == ("closed", "", "gpu: there")

    fail(breaker, clock, 1)

    assert (breaker.state, breaker.left_s()) == ("open", OPEN_S)
    assert breaker.refuses().startswith("'gpu' has not been tried since ")
    assert breaker.refuses().endswith(": Core did not start")
    clock.now += 10
    assert str(breaker) == "gpu: not tried for 20 s more (Core did not start)"


@pytest.mark.parametrize(
    ("outcome", "state"), [(OK, "closed"), (RAISED, "closed"), (UNSENT, "open"), (CANCELLED, "open")]
)
def test_only_what_has_run_there_interrupts_the_row(breaker, clock, outcome, state):
    fail(breaker, clock, 2)
    breaker.ended(outcome, clock.now)
    fail(breaker, clock, 1)

    assert breaker.state == state


@pytest.mark.parametrize("outcome", [WORKER_LOST, RAISED, OK, CANCELLED])
def test_what_a_worker_had_says_nothing_against_the_place(breaker, clock, outcome):
    fail(breaker, clock, 10, outcome)

    assert breaker.state == "closed"


def test_what_one_core_takes_with_it_counts_once(breaker, clock):
    began = clock.now
    clock.now += 5
    for _ in range(20):
        breaker.ended(CORE_LOST, began)
    assert breaker.state == "closed"

    fail(breaker, clock, 2, CORE_LOST)

    assert breaker.state == "open"


def test_after_its_time_one_tries_and_the_others_wait_for_that(breaker, clock):
    fail(breaker, clock)
    clock.now += OPEN_S
    assert (breaker.state, str(breaker)) == ("half-open", "gpu: the next step tries it again (Core did not start)")

    assert [bool(breaker.refuses()) for _ in range(3)] == [False, True, True]

    breaker.took()
    assert (breaker.state, breaker.refuses(), breaker.why) == ("closed", "", "")
    fail(breaker, clock, 2)
    assert breaker.state == "closed"


def test_its_time_doubles_up_to_a_limit_while_it_stays_away(breaker, clock):
    fail(breaker, clock)
    times = []
    for _ in range(6):
        times.append(breaker.left_s())
        clock.now += breaker.left_s()
        assert breaker.refuses() == ""
        breaker.ended(AWAY, clock.now)
    assert times == [30, 60, 120, 240, OPEN_MOST_S, OPEN_MOST_S]

    clock.now += OPEN_MOST_S
    assert breaker.refuses() == ""
    breaker.ended(OK, clock.now)
    fail(breaker, clock)
    assert breaker.left_s() == OPEN_S


def test_a_try_that_says_nothing_lets_the_next_one_try(breaker, clock):
    fail(breaker, clock)
    clock.now += OPEN_S
    assert breaker.refuses() == ""

    breaker.ended(CANCELLED, clock.now)

    assert [bool(breaker.refuses()) for _ in range(2)] == [False, True]


def test_a_try_that_is_lost_with_others_lets_the_next_one_try(breaker, clock):
    fail(breaker, clock)
    clock.now += OPEN_S
    assert breaker.refuses() == ""
    began = clock.now
    clock.now += 1

    for _ in range(2):  # somebody without another place was there too
        breaker.ended(CORE_LOST, began)

    assert breaker.left_s() == 2 * OPEN_S
    clock.now += breaker.left_s()
    assert breaker.refuses() == ""


def test_those_who_try_although_it_is_open_do_not_make_it_longer(breaker, clock):
    fail(breaker, clock)
    left = breaker.left_s()
    breaker.ended(AWAY, clock.now)

    assert breaker.left_s() == left


def test_of_many_threads_one_tries(breaker, clock):
    fail(breaker, clock)
    clock.now += OPEN_S
    go, tried = threading.Barrier(8), []

    def ask():
        go.wait()
        tried.append(not breaker.refuses())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(tried) == 1
