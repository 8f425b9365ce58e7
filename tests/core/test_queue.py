import random

import pytest

from cerebelum_nb.core.queue import ASIDE_MOST, KILL_AFTER_S, TERMINATE_AFTER_S, Death, Given, Queue


@pytest.fixture
def queue():
    queue = Queue(range(1, 3))
    queue.ready(1)
    queue.ready(2)
    return queue


def add(queue, *attempts):
    for attempt in attempts:
        queue.add(attempt)
    return queue.give()


def test_attempts_go_to_free_slots_in_order_and_the_rest_waits(queue):
    assert add(queue, 10, 11, 12) == [Given(1, 10), Given(2, 11)]
    assert queue.give() == []

    assert queue.finish(11)

    assert queue.give() == [Given(2, 12)]


def test_a_slot_that_has_started_is_preferred():
    queue = Queue(range(1, 3))
    queue.ready(2)

    assert add(queue, 10, 11) == [Given(2, 10), Given(1, 11)]
    assert (queue.begins(2), queue.begins(1)) == (10, None)


def test_an_attempt_that_ended_or_never_was_cannot_end_again(queue):
    add(queue, 10)

    assert [queue.finish(10), queue.finish(10), queue.finish(99)] == [True, False, False]


def test_the_running_attempt_of_a_dead_worker_is_lost(queue):
    add(queue, 10, 11, 12)

    assert queue.died(1) == Death(lost=10, wanted=True, broken=False)
    assert queue.give() == []  # nobody is there to take it

    queue.joined(1)
    assert queue.give() == [Given(1, 12)]


def test_what_waited_behind_the_lost_one_goes_back_to_the_front():
    queue = Queue(range(1, 2), window=3)
    queue.ready(1)
    add(queue, 10, 11, 12, 13)

    assert queue.died(1).lost == 10
    queue.joined(1)
    assert queue.give() == [Given(1, 11)]  # the others not before it has started: somebody else may be quicker
    queue.ready(1)
    assert queue.give() == [Given(1, 12), Given(1, 13)]


def test_what_a_worker_got_before_it_was_ready_is_not_lost():
    queue = Queue(range(1, 2))
    assert add(queue, 10) == [Given(1, 10)]

    assert queue.died(1) == Death(lost=None, wanted=False, broken=False)
    queue.joined(1)
    assert queue.give() == [Given(1, 10)]


def test_workers_that_never_get_ready_are_given_up_after_three():
    queue = Queue(range(1, 2))
    add(queue, 10, 11)

    deaths = [(queue.died(1), queue.joined(1), queue.give())[0] for _ in range(3)]

    assert [death.broken for death in deaths] == [False, False, True]
    queue.died(1)
    assert queue.give_up_pending() == [10, 11]
    queue.ready(1)
    assert queue.stillborn(1) == 0


def test_cancelling_what_waits_takes_it_out(queue):
    add(queue, 10, 11, 12)

    assert queue.cancel(12, now=0.0) is None
    queue.finish(10)
    assert queue.give() == []


def test_cancelling_what_runs_names_its_slot_and_what_ended_nobody(queue):
    add(queue, 10, 11)
    queue.finish(10)

    assert [queue.cancel(attempt, now=0.0) for attempt in (11, 10, 99)] == [2, None, None]


def test_a_stop_gets_harsher_step_by_step_and_each_step_is_said_once(queue):
    add(queue, 10, 11)
    queue.cancel(10, now=100.0)

    told = [queue.overdue(100.0 + t) for t in (0.0, TERMINATE_AFTER_S, 1.0, KILL_AFTER_S, 2.0)]

    assert told == [[], [(1, "terminate")], [], [(1, "kill")], []]
    assert queue.died(1) == Death(lost=10, wanted=False, broken=False)
    assert queue.overdue(200.0) == []


def test_a_stop_that_was_obeyed_never_gets_harsher(queue):
    add(queue, 10, 11, 12)
    queue.cancel(10, now=0.0)
    queue.finish(10)
    queue.give()

    assert queue.overdue(10.0) == []


def test_a_worker_that_is_not_ready_is_killed_when_what_it_would_run_is_cancelled_and_nothing_is_lost():
    queue = Queue(range(1, 2), window=2)
    add(queue, 10, 11)
    queue.cancel(10, now=0.0)

    told = [queue.overdue(t) for t in (TERMINATE_AFTER_S, KILL_AFTER_S, 2.0)]

    assert told == [[], [(1, "kill")], []]
    assert queue.died(1) == Death(lost=None, wanted=False, broken=False)
    assert queue.stillborn(1) == 0  # it was killed, which says nothing about the next one
    queue.joined(1)
    assert queue.give() == [Given(1, 11)]


def test_what_has_not_begun_gets_no_signal():
    queue = Queue(range(1, 2), window=2)
    queue.ready(1)
    add(queue, 11, 12)
    queue.cancel(12, now=10.0)

    assert queue.overdue(20.0) == []
    assert queue.died(1).lost == 11
    queue.joined(1)
    assert queue.give() == []  # 12 was stopped: it does not come back


def start(queue, *slots):
    for slot in slots:
        queue.joined(slot)
        queue.ready(slot)
    return queue.give()


def test_a_paused_step_lends_its_place_to_a_slot_that_is_opened_when_something_waits(queue):
    add(queue, 10, 11)

    assert queue.paused(10)
    assert (queue.give(), queue.opened()) == ([], [])  # nothing waits: no worker is started for nothing

    assert add(queue, 12, 13) == []
    assert queue.opened() == [3]
    assert queue.opened() == []
    assert queue.give() == []  # its worker is not there yet
    assert start(queue, 3) == [Given(3, 12)]


def test_a_step_that_goes_on_before_anybody_took_its_place_has_it_again(queue):
    add(queue, 10, 11)
    queue.paused(10)
    queue.resumed(10)

    assert (add(queue, 12), queue.opened()) == ([], [])
    queue.finish(10)
    assert (queue.closed(), queue.give()) == ([], [Given(1, 12)])


def test_a_worker_whose_place_was_taken_gets_no_more_work_and_is_let_go_when_its_step_ends(queue):
    add(queue, 10, 11)
    queue.paused(10)
    add(queue, 12, 13)
    start(queue, *queue.opened())
    queue.resumed(10)

    assert queue.closed() == []  # it still works
    queue.finish(10)

    assert (queue.closed(), queue.closed()) == ([1], [])
    assert (queue.give(), queue.opened()) == ([], [])
    queue.finish(12)
    assert (queue.closed(), queue.give()) == ([], [Given(3, 13)])


def test_the_number_of_a_closed_slot_is_free_when_its_worker_is_gone(queue):
    add(queue, 10, 11)
    queue.paused(10)
    add(queue, 12)
    start(queue, *queue.opened())
    queue.finish(10)
    assert queue.closed() == [1]
    queue.paused(11)
    add(queue, 13)
    assert queue.opened() == [4]  # the worker of slot 1 is still there
    start(queue, 4)

    assert queue.died(1) == Death(None, wanted=False, broken=False, closed=True)

    queue.paused(12)
    add(queue, 14)
    assert queue.opened() == [1]


def test_a_paused_worker_that_dies_is_lost_and_replaced_only_if_nobody_has_its_place(queue):
    add(queue, 10, 11)
    queue.paused(10)
    queue.paused(11)
    add(queue, 12)
    start(queue, *queue.opened())

    assert queue.died(1) == Death(10, wanted=True, broken=False)
    assert queue.died(2) == Death(11, wanted=True, broken=False, closed=True)
    assert [queue.where(n) for n in (10, 11, 12)] == [None, None, 3]


def test_a_step_that_is_stopped_while_it_is_paused_meets_the_same_ladder(queue):
    add(queue, 10)
    queue.paused(10)
    add(queue, 11, 12)
    start(queue, *queue.opened())

    assert queue.cancel(10, now=0.0) == 1
    assert [queue.overdue(t) for t in (0.0, TERMINATE_AFTER_S, KILL_AFTER_S)] == [[], [(1, "terminate")], [(1, "kill")]]
    assert queue.died(1) == Death(10, wanted=False, broken=False, closed=True)


def test_only_so_many_workers_are_set_aside_and_the_next_paused_step_keeps_its_place():
    queue = Queue(range(1, 2))
    queue.ready(1)
    for n in range(ASIDE_MOST):
        add(queue, n)
        start(queue, *queue.opened())
        assert queue.paused(n)
    add(queue, 100)
    start(queue, *queue.opened())

    assert not queue.paused(100)

    add(queue, 101)
    assert queue.opened() == []
    queue.resumed(100)
    queue.finish(100)
    assert (queue.closed(), queue.give()) == ([], [Given(65, 101)])


def test_a_worker_that_holds_more_than_the_paused_step_is_not_set_aside():
    queue = Queue(range(1, 2), window=2)
    queue.ready(1)
    add(queue, 10, 11)

    assert not queue.paused(10)


def test_pausing_what_has_ended_does_nothing(queue):
    add(queue, 10)
    queue.finish(10)

    queue.paused(10)
    queue.resumed(10)

    assert (queue.opened(), queue.closed()) == ([], [])


@pytest.mark.parametrize("seed", range(20))
def test_whoever_pauses_or_dies_no_more_than_the_slots_get_work_and_all_ends_with_as_many_workers(seed):
    dice = random.Random(seed)
    queue, fresh, running, paused, vacant, leaving, ended = (
        Queue(range(1, 4)),
        list(range(200)),
        {},
        set(),
        set(),
        set(),
        [],
    )
    workers = {1, 2, 3}
    for slot in workers:
        queue.ready(slot)

    def end(attempt):
        ended.append(attempt)
        del running[attempt]
        paused.discard(attempt)

    while fresh or running or len(ended) < 200:
        match dice.randrange(7):
            case 0 | 1 if fresh:
                queue.add(fresh.pop())
            case 2 if running:
                attempt = dice.choice(list(running))
                if queue.begins(running[attempt]) == attempt:
                    assert queue.finish(attempt)
                    end(attempt)
            case 3 if running:
                attempt = dice.choice(list(running))
                if queue.begins(running[attempt]) == attempt and attempt not in paused:
                    assert queue.paused(attempt)
                    paused.add(attempt)
            case 4 if paused:
                queue.resumed(attempt := paused.pop())
            case 5 if dice.random() < 0.2 and (there := workers - vacant):
                slot = dice.choice(sorted(there))
                death = queue.died(slot)
                held = [a for a, s in running.items() if s == slot]
                for attempt in held:
                    end(attempt) if attempt == death.lost else running.pop(attempt)
                (workers.discard if death.closed else vacant.add)(slot)
            case 6 if leaving:
                assert queue.died(leaving.pop()).closed
        for slot in queue.closed():
            workers.remove(slot)
            leaving.add(slot)
        opened = queue.opened()
        assert not workers & set(opened)
        workers.update(opened)
        vacant.update(opened)
        for slot in list(vacant):
            if dice.random() < 0.5:
                vacant.remove(slot)
                queue.joined(slot)
                queue.ready(slot)
        for given in queue.give():
            assert given.slot not in vacant | set(running.values())
            running[given.attempt] = given.slot
        assert len(workers - set(running.values())) <= 3

    assert sorted(ended) == list(range(200))
    assert len(workers) == 3


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_attempt_ends_exactly_once_and_no_slot_holds_too_much(seed):
    dice = random.Random(seed)
    window = dice.choice([1, 2, 3])
    queue = Queue(range(1, 4), window=window)
    ends, running, vacant = dict.fromkeys(range(300), 0), {}, set()
    fresh = list(ends)
    while fresh or running or any(n == 0 for n in ends.values()):
        match dice.randrange(6):
            case 0 | 1 if fresh:
                queue.add(fresh.pop())
            case 2 if running:
                attempt = dice.choice([a for a in running if queue.begins(running[a]) == a] or [-1])
                if queue.finish(attempt):
                    ends[attempt] += 1
                    del running[attempt]
            case 3 if dice.random() < 0.3 and (slot := dice.randrange(1, 4)) not in vacant:
                death = queue.died(slot)
                if death.lost is not None:
                    ends[death.lost] += 1
                running = {a: s for a, s in running.items() if s != slot}
                vacant.add(slot)
            case 5 if vacant:
                queue.joined(vacant.pop())
            case 4 if (slot := dice.randrange(1, 4)) not in vacant:
                queue.ready(slot)
            case _:
                pass
        for given in queue.give():
            assert given.attempt not in running
            assert given.slot not in vacant
            running[given.attempt] = given.slot
        assert all(list(running.values()).count(slot) <= window for slot in (1, 2, 3))

    assert set(ends.values()) == {1}


def wide(*attempts):
    """One slot that has been given some attempts, another one with nothing to do."""
    queue = Queue(range(1, 2), window=8)
    queue.ready(1)
    add(queue, *attempts)
    return queue


def test_what_is_taken_back_waits_again_in_its_order_before_all_others():
    queue = wide(10, 11, 12, 13)
    queue.window = 1
    add(queue, 14)

    assert queue.take_back(1, 2) == []
    assert queue.held(1) == (10, 11)
    queue.finish(10)
    queue.finish(11)
    assert [queue.give(), queue.finish(12), queue.give(), queue.finish(13), queue.give()] == [
        [Given(1, 12)], True, [Given(1, 13)], True, [Given(1, 14)],
    ]  # fmt: skip


def test_nothing_is_put_behind_what_takes_long_until_it_has_ended():
    queue = wide(10, 11, 12)

    queue.take_back(1, 2)
    assert (queue.give(), queue.crowded()) == ([], [])

    queue.finish(10)
    assert queue.give() == [Given(1, 11), Given(1, 12)]
    assert queue.crowded() == [1]


def test_what_was_to_be_stopped_has_ended_when_it_is_taken_back():
    queue = wide(10, 11, 12)
    assert queue.cancel(11, now=0.0) == 1

    assert queue.take_back(1, 2) == [11]
    queue.finish(10)
    assert (queue.give(), queue.where(11), queue.overdue(now=99.0)) == ([Given(1, 12)], None, [])


def test_where_none_can_be_taken_back_a_slot_gets_one_at_a_time():
    queue = Queue(range(1, 3), window=8)
    queue.ready(1)
    queue.ready(2)
    queue.one_by_one(1)

    assert sorted(add(queue, 10, 11, 12, 13)) == [Given(1, 10), Given(2, 11), Given(2, 12), Given(2, 13)]
