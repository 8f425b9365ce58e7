"""What holds a run up, from events alone."""

import pytest

from cerebelum_nb.model.critical import LIVE_SLACK, Outlooks, critical_path, finish, outlook, slack
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptProgress,
    AttemptStarted,
    AttemptSubmitted,
    Placement,
    RunCompensating,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskPaused,
)
from cerebelum_nb.model.state import RunState

LOCAL = Placement("local", "local", "local", False, "session", "the default")
CORE = Placement("core", "core", "distributed", True, "decorator", "the step says so")
NAMES = ("validate", "check", "tax", "pay", "report")
NEEDS = ((), (0,), (0,), (1, 2), (3,))


class Story:
    """A run told in times: who begins and ends when."""

    def __init__(self, names=NAMES, needs=NEEDS, place=None, undo=()):
        self.state = RunState()
        self.tell(RunStarted, 100.0, "r", "w", names, needs, (LOCAL, CORE), place or (0,) * len(names), undo=undo)

    def tell(self, kind, at, *args, **more):
        self.state.apply(kind(self.state.seq + 1, at, *args, **more))
        return self

    def begins(self, at, *tasks):
        for task in tasks:
            self.tell(AttemptStarted, at, task, self.state.attempt[task] + 1, "kernel")
        return self

    def ends(self, at, task, outcome="ok", status="succeeded"):
        self.tell(AttemptFinished, at, task, self.state.attempt[task], outcome)
        return self.tell(TaskFinished, at, task, status)

    def over(self, at, status="succeeded"):
        return self.tell(RunFinished, at, status)


def whole():
    """validate 100-101, then check 101-105 beside tax 101-102, pay 105-107, report 107-108."""
    story = Story().begins(100, 0).ends(101, 0).begins(101, 1, 2).ends(102, 2).ends(105, 1)
    return story.begins(105, 3).ends(107, 3).begins(107, 4).ends(108, 4).over(108)


def test_the_path_goes_back_through_whatever_ended_last():
    assert critical_path(whole().state) == (0, 1, 3, 4)


def test_slack_is_how_much_later_a_step_could_have_ended():
    assert slack(whole().state) == (0.0, 0.0, 3.0, 0.0, 0.0)


def test_slack_runs_along_a_branch_to_its_end():
    # a -> b -> c is short, d is long, e needs c and d
    story = Story(("a", "b", "c", "d", "e"), ((), (0,), (1,), (), (2, 3)))
    story.begins(100, 0, 3).ends(101, 0).begins(101, 1).ends(102, 1).begins(102, 2).ends(103, 2)
    story.ends(110, 3).begins(110, 4).ends(111, 4).over(111)

    assert slack(story.state) == (7.0, 7.0, 7.0, 0.0, 0.0)


def test_while_it_runs_the_path_ends_with_what_runs_and_has_most_after_it():
    story = Story(("a", "b", "c", "d"), ((), (), (1,), (2,))).begins(100, 0).begins(100.5, 1)

    assert critical_path(story.state) == (1,)


def test_while_it_runs_slack_is_told_only_where_something_has_begun_after_the_step():
    story = Story().begins(100, 0).ends(101, 0).begins(101, 1, 2).ends(102, 2)
    assert slack(story.state) == (0.0, None, None, None, None)

    story.ends(105, 1).begins(105, 3)
    assert slack(story.state) == (0.0, 0.0, 3.0, None, None)


def test_a_reused_step_holds_nothing_up():
    story = Story().tell(TaskFinished, 100.0, 0, "succeeded", "reused", "of run 1")
    story.begins(100.2, 1, 2).ends(101, 1).ends(103, 2).begins(103, 3)

    assert critical_path(story.state) == (2, 3)
    assert slack(story.state)[:3] == (None, 2.0, 0.0)


def test_what_undoes_is_no_part_of_it():
    story = Story(("a", "b", "undo a"), ((), (0,), ()), undo=(0,))
    story.begins(100, 0).ends(101, 0).begins(101, 1).ends(102, 1, "error", "failed")
    story.tell(RunCompensating, 102, "b failed", (2,), ((),), (LOCAL,)).begins(102, 2).ends(109, 2)
    story.over(109, "compensated")

    assert critical_path(story.state) == (0, 1)
    assert slack(story.state) == (0.0, 0.0)


def test_the_end_is_known_from_progress_where_nothing_comes_after():
    story = Story(("a", "b"), ((), ())).begins(100, 0, 1).ends(101, 0).tell(AttemptProgress, 102, 1, 1, 0.25, "")

    assert finish(story.state, 102.0, None) == (108.0, "what steps say")


@pytest.mark.parametrize("done", [0.0, 0.01])
def test_too_little_progress_says_nothing(done):
    story = Story(("a",), ((),)).begins(100, 0).tell(AttemptProgress, 102, 0, 1, done, "")

    assert finish(story.state, 102.0, None) == (None, "")


def test_without_an_earlier_run_a_step_to_come_makes_the_end_unknown():
    story = Story().begins(100, 0).ends(101, 0).begins(101, 1, 2).tell(AttemptProgress, 102, 1, 1, 0.5, "")

    assert finish(story.state, 102.0, None) == (None, "")


def test_an_earlier_run_tells_how_long_the_rest_takes():
    story = Story().begins(200, 0).ends(202, 0).begins(202, 1, 2)

    assert finish(story.state, 203.0, (whole().state, "run 1")) == (209.0, "run 1")


def test_what_takes_longer_than_before_ends_now_at_the_earliest():
    story = Story().begins(200, 0).ends(202, 0).begins(202, 1, 2)

    assert finish(story.state, 230.0, (whole().state, "run 1")) == (233.0, "run 1")


def test_a_step_at_another_place_than_before_is_not_guessed():
    story = Story(place=(0, 0, 0, 1, 0)).begins(200, 0).ends(202, 0).begins(202, 1, 2)

    assert finish(story.state, 203.0, (whole().state, "run 1")) == (None, "")


def test_a_step_that_failed_before_is_not_guessed():
    before = Story().begins(100, 0).ends(101, 0).begins(101, 1, 2).ends(102, 2).ends(105, 1, "error", "failed")
    story = Story().begins(200, 0)

    assert finish(story.state, 203.0, (before.state, "run 1")) == (None, "")


def test_work_that_waits_for_a_free_place_is_spread_over_as_many_as_work_there_now():
    names, needs = tuple("abcdefgh"), ((),) * 8
    before = Story(names, needs)
    for task in range(8):
        before.begins(100, task).ends(110, task)
    now = Story(names, needs).begins(200, 0, 1)

    assert finish(now.state, 200.0, (before.over(110).state, "run 1")) == (230.0, "run 1")


def test_who_waits_for_a_person_ends_nobody_knows_when():
    story = Story(("a",), ((),)).begins(100, 0).tell(TaskPaused, 101, 0, 1, "approval", 0.0, "ok?")
    before = Story(("a",), ((),)).begins(100, 0).ends(101, 0).over(101)

    assert finish(story.state, 102.0, (before.state, "run 1")) == (None, "")


def test_an_ended_run_has_no_end_to_come():
    assert outlook(whole().state, 108.0).finish is None


def test_looking_again_waits_for_news_and_is_paced_by_the_number_of_tasks():
    wide = Story(tuple(f"t{i}" for i in range(20_000)), ((),) * 20_000).begins(100, 0)
    looks = Outlooks()
    first = looks.at(wide.state, 100.0)
    wide.begins(100.1, 1)

    assert looks.at(wide.state, 100.2) is first
    assert looks.at(wide.state, 105.0) is not first
    assert looks.at(wide.state, 115.0) is looks.at(wide.state, 120.0)
    assert len(wide.state.names) > LIVE_SLACK
    assert first.slack == ()


def test_the_end_of_a_run_is_never_missed():
    story, looks = Story(("a",), ((),)), Outlooks()
    story.begins(100, 0)
    looks.at(story.state, 100.0)
    story.ends(100.00001, 0).over(100.00001)

    assert looks.at(story.state, 100.00001).slack == (0.0,)


def test_a_queue_counts_as_the_steps_own_time():
    story = Story(("a", "b"), ((), (0,)), place=(0, 1)).begins(100, 0).ends(101, 0)
    story.tell(AttemptSubmitted, 101, 1, 1).begins(104, 1).ends(105, 1).over(105)
    again = Story(("a", "b"), ((), (0,)), place=(0, 1)).begins(200, 0)

    assert finish(again.state, 200.5, (story.state, "run 1")) == (205.0, "run 1")
