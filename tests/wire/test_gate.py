import fcntl
import mmap
import multiprocessing
import random
import time

import pytest

from cerebelum_nb.wire import gate
from cerebelum_nb.wire.gate import LEFT_NBYTES, Gate, Left, new_gate


def both():
    core = new_gate()
    worker = Gate(core.fd)  # the other end of the same memory; here in one process, whose lock hinders nobody
    return core, worker


def test_what_was_sent_passes_until_the_gate_is_shut_and_what_is_sent_later_passes_again():
    core, worker = both()

    assert [worker.passes(), worker.passes()] == [True, True]
    assert core.shut(5) == 3
    assert [worker.passes(), worker.passes(), worker.passes()] == [False, False, False]
    assert [worker.passes(), worker.passes()] == [True, True]


def test_nothing_is_taken_back_twice_and_nothing_that_has_begun():
    core, worker = both()

    assert core.shut(0) == 0
    worker.passes()
    assert core.shut(1) == 0
    assert core.shut(3) == 2
    assert core.shut(3) == 0
    assert core.shut(4) == 1  # the worker has not come to what was taken back before
    assert [worker.passes() for _ in range(4)] == [False, False, False, True]


def _stand_in(fd, is_there, may_go):
    fcntl.lockf(fd, fcntl.LOCK_EX)
    is_there.set()
    may_go.wait(30)


def test_a_worker_that_stands_in_the_gate_is_not_waited_for():
    core = new_gate()
    fork = multiprocessing.get_context("fork")
    is_there, may_go = fork.Event(), fork.Event()
    worker = fork.Process(target=_stand_in, args=(core.fd, is_there, may_go))
    worker.start()
    assert is_there.wait(30)

    assert core.shut(3) == 0

    may_go.set()
    worker.join(30)
    assert core.shut(3) == 3, "its death frees the gate"


def test_what_a_worker_leaves_is_found_from_its_next_attempt_on_until_it_was_sent():
    core, worker = both()
    assert core.left() is None

    worker.leave(4, b"one")
    assert core.left() is None, "the attempt that it is about was the last one that came here"
    worker.passes()
    assert core.left() == Left(4, 1, b"one")
    worker.leave(5, b"two")
    worker.leave(6, b"three")
    worker.passes()
    assert core.left() == Left(4, 3, b"onetwothree")

    worker.clear()
    worker.leave(7, b"four")
    worker.passes()
    assert core.left() == Left(7, 1, b"four")
    worker.clear()
    worker.passes()
    assert core.left() is None


def test_a_worker_is_told_when_there_is_no_room_for_as_much_again():
    _, worker = both()

    assert worker.leave(1, bytes(LEFT_NBYTES // 3)) is True
    assert worker.leave(2, bytes(LEFT_NBYTES // 3)) is True
    assert worker.leave(3, bytes(LEFT_NBYTES // 3)) is False


ROUNDS = 20_000
BEGUN, TAKEN_BACK = b"\1", b"\2"


def _work(fd, sent, passed):
    """A worker that comes to every attempt as soon as it was sent."""
    worker, came = Gate(fd), 0
    while True:
        there = sent[0]
        while came < there:
            came += 1
            passed[came : came + 1] = BEGUN if worker.passes() else TAKEN_BACK
            sent[2] = came
        if sent[1] and came == sent[0]:
            return


@pytest.mark.parametrize("ordered", [True, False], ids=["by order of writes", "by the lock alone"])
def test_each_attempt_has_begun_or_was_taken_back_however_closely_the_two_sides_meet(monkeypatch, ordered):
    if ordered and not gate._ORDERED:
        pytest.skip("this processor does not show writes in order")
    monkeypatch.setattr(gate, "_ORDERED", ordered)
    core, dice = new_gate(), random.Random(7)
    sent, passed = memoryview(mmap.mmap(-1, 24)).cast("Q"), mmap.mmap(-1, ROUNDS * 8 + 1)
    worker = multiprocessing.get_context("fork").Process(target=_work, args=(core.fd, sent, passed))
    worker.start()
    expected = bytearray(1)

    for _ in range(ROUNDS):
        more = dice.randint(1, 8)
        sent[0] += more
        close, until = dice.randint(0, more), time.monotonic() + 30
        while sent[0] - sent[2] > close:  # so that they meet anywhere
            assert time.monotonic() < until, "the worker has stopped"
        taken_back = core.shut(sent[0])
        expected += BEGUN * more
        expected[len(expected) - taken_back :] = TAKEN_BACK * taken_back
    sent[1] = 1
    worker.join(30)

    assert worker.exitcode == 0
    assert passed[: len(expected)] == bytes(expected)
    assert min(expected.count(BEGUN), expected.count(TAKEN_BACK)) > 100, "they have met"


def _leave(fd, over):
    """A worker that leaves parts without end: each says whose it is and how long."""
    worker, number, size = Gate(fd), 1, 0
    while not over[0]:
        for _ in range(number % 9):
            worker.leave(number + size, b"%06d" % (number + size))
            size += 1
            worker.passes()
        worker.clear()
        number, size = number + size + 1, 0


def test_what_is_found_is_whole_while_the_worker_leaves_more():
    core = new_gate()
    over = memoryview(mmap.mmap(-1, 8)).cast("Q")
    worker = multiprocessing.get_context("fork").Process(target=_leave, args=(core.fd, over))
    worker.start()
    found = set()

    for _ in range(200_000):
        left = core.left()
        if left is not None:
            assert left.data == b"".join(b"%06d" % n for n in range(left.first, left.first + left.parts))
            found.add(left)
        if len(found) > 2_000:
            break
    over[0] = 1
    worker.join(30)

    assert len(found) > 2_000
