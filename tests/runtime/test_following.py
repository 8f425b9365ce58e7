"""Links of a chain that have ended together, driven without any executor."""

import pytest

from cerebelum_nb.model.events import AttemptFinished, AttemptStarted, AttemptSubmitted, TaskFinished
from cerebelum_nb.protocols import Outcome
from tests.runtime.test_scheduler import Lanes, phases, plan_of, refold

WHO = "worker 1"


@pytest.fixture
def chain():
    """A chain of four on workers, whose first link was sent; and a present that stands still, 10 s later."""
    scheduler = Lanes().of(plan_of(((), (0,), (1,), (2,)), places=[1, 1, 1, 1]))
    scheduler.start("r")
    ticket = scheduler.turn("core")
    now = ticket.at + 10
    scheduler.now = lambda: now
    return scheduler, ticket, now


def told(scheduler, since):
    """Kind, task and time of each event after one."""
    short = {AttemptSubmitted: "sent", AttemptStarted: "began", AttemptFinished: "ended", TaskFinished: "over"}
    return [(short[type(e)], e.task, e.at) for e in scheduler.log[since:]]


def test_each_has_the_time_at_which_it_began_and_ended_on_its_worker(chain):
    scheduler, ticket, now = chain
    since = len(scheduler.log)

    ended = Outcome("ok", 1, run_s=1.0, age_s=3.0)
    behind = [(1, 1, WHO, Outcome("ok", 2, run_s=0.5, age_s=2.0)), (2, 1, WHO, Outcome("ok", 3, run_s=0.25))]
    done, taken = scheduler.follow("core", ticket, WHO, ended, [*behind, (3, 1, "", None)])

    assert (done, taken) == (2, AttemptSubmitted(taken.seq, now, 3, 1))
    assert told(scheduler, since) == [
        *[("began", 0, now - 4), ("ended", 0, now - 3), ("over", 0, now - 3)],
        *[("sent", 1, now - 3), ("began", 1, now - 2.5), ("ended", 1, now - 2), ("over", 1, now - 2)],
        *[("sent", 2, now - 2), ("began", 2, now - 0.25), ("ended", 2, now), ("over", 2, now)],
        ("sent", 3, now),
    ]
    assert (scheduler.values, refold(scheduler, scheduler.log)) == ([1, 2, 3, None], True)


def test_one_that_was_told_to_have_ended_late_ended_before_the_next_one_began(chain):
    scheduler, ticket, now = chain
    since = len(scheduler.log)

    scheduler.follow("core", ticket, WHO, Outcome("ok", 1, run_s=1.0), [(1, 1, WHO, Outcome("ok", 2, run_s=4.0))])

    ends = [at for kind, _, at in told(scheduler, since) if kind == "ended"]
    assert ends == [now - 4, now]


def test_no_time_goes_behind_what_is_written_already(chain):
    scheduler, ticket, now = chain
    scheduler.began(0, 1, WHO)
    since = len(scheduler.log)

    behind = [(1, 1, WHO, Outcome("ok", 2, run_s=0.5, age_s=2.0)), (2, 1, WHO, None)]
    done, taken = scheduler.follow("core", ticket, "", Outcome("ok", 1, run_s=1.0, age_s=3.0), behind)

    assert (done, taken.task) == (1, 2)
    assert {at for *_, at in told(scheduler, since)} == {now}


def test_the_first_that_gave_an_error_ends_the_line_and_nothing_behind_it_is_written(chain):
    scheduler, ticket, _ = chain

    behind = [(1, 1, WHO, Outcome("ok", {"error": "no"})), (2, 1, WHO, Outcome("ok", 3))]
    done, taken = scheduler.follow("core", ticket, WHO, Outcome("ok", 1), behind)

    assert (done, taken) == (1, None)
    assert phases(scheduler) == ["succeeded", "failed", "skipped", "skipped"]


def test_a_run_that_is_held_begins_none_of_them(chain):
    scheduler, ticket, _ = chain
    scheduler.hold()

    done, taken = scheduler.follow("core", ticket, WHO, Outcome("ok", 1), [(1, 1, WHO, Outcome("ok", 2))])

    assert (done, taken) == (0, None)
    assert phases(scheduler) == ["succeeded", "ready", "waiting", "waiting"]


def test_another_attempt_than_the_one_that_was_sent_does_not_get_its_result(chain):
    scheduler, ticket, _ = chain

    done, taken = scheduler.follow("core", ticket, WHO, Outcome("ok", 1), [(1, 2, WHO, Outcome("ok", 2))])

    assert (done, taken) == (0, None)
    assert scheduler.values == [1, None, None, None]
