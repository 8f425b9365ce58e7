"""Runs take turns in a pool, and none waits for another's end."""

import itertools
from collections import deque

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cerebelum_nb.core.queue import Given, Queue
from cerebelum_nb.core.turns import Turns


def test_a_second_run_does_not_wait_for_the_first_ones_thousand():
    queue = Queue(range(1, 3))
    queue.ready(1)
    queue.ready(2)
    for attempt in range(1000):
        queue.add(attempt, "first")
    ended = [queue.finish(given.attempt) for given in queue.give()]
    for attempt in range(1000, 2000):
        queue.add(attempt, "second")

    order = []
    while given := queue.give():
        for _, attempt in given:
            order.append("first" if attempt < 1000 else "second")
            ended.append(queue.finish(attempt))

    assert order == ["first", "second"] * 998 + ["second"] * 2
    assert ended == [True] * 2000


def test_what_no_worker_began_is_first_again_in_turn_and_in_its_run():
    queue = Queue(range(1, 2), window=2)
    queue.ready(1)
    for attempt, run in enumerate("aabb"):
        queue.add(attempt, run)
    assert queue.give() == [Given(1, 0), Given(1, 2)]

    assert queue.died(1).lost == 0
    queue.joined(1)
    assert queue.give() == [Given(1, 2)]
    queue.ready(1)

    assert queue.give() == [Given(1, 1)]


@pytest.mark.parametrize("take_back", [Queue.withdraw, lambda queue, attempt: queue.cancel(attempt, 0.0)])
def test_what_is_taken_back_leaves_its_line_and_the_others_keep_their_turns(take_back):
    queue = Queue(range(1, 2))
    queue.ready(1)
    for attempt, run in enumerate("abab"):
        queue.add(attempt, run)
    take_back(queue, 1)
    take_back(queue, 1)  # it is gone

    order = []
    while given := queue.give():
        order += [attempt for _, attempt in given]
        queue.finish(order[-1])

    assert order == [0, 3, 2]


@given(st.lists(st.tuples(st.sampled_from(["add", "next", "back", "remove"]), st.sampled_from("abc"))))
def test_turns_keep_what_they_get_in_order_for_each_run(moves):
    turns, lines, numbers = Turns(), {run: deque() for run in "abc"}, itertools.count()
    for what, run in moves:
        if what == "add":
            number = next(numbers)
            turns.add(number, run)
            lines[run].append(number)
        elif what == "back":
            number = next(numbers)
            turns.put_back(number, run)
            lines[run].appendleft(number)
        elif what == "remove" and lines[run]:
            turns.remove(lines[run].pop(), run)
        elif what == "next" and any(lines.values()):
            number = turns.next()
            assert number in [line.popleft() for line in lines.values() if line and line[0] == number]
        assert turns.count == sum(map(len, lines.values()))
    assert sorted(turns.clear()) == sorted(itertools.chain(*lines.values()))
