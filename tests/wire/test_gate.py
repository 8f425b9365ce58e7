import fcntl
import multiprocessing

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
