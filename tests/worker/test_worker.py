"""One real worker process, spoken to as Core does."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from cerebelum_nb.capture import ship
from cerebelum_nb.codec import decode, encode
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.seal import Address, new_key, seal, unseal
from cerebelum_nb.wire import batches, lifeline
from cerebelum_nb.wire.batches import Item
from cerebelum_nb.wire.frames import (
    Cancel,
    Code,
    Ended,
    Finished,
    Paused,
    Ping,
    Place,
    Printed,
    Ready,
    Reply,
    Resumed,
    Submit,
    Welcome,
)
from cerebelum_nb.wire.line import Splitter, packed
from tests.process_kit import is_gone

KEY = new_key()


class Line:
    """Core's side of the sockets to one worker."""

    def __init__(self, process):
        self.process = process
        self._splitter = Splitter()
        self._frames = []
        process.line.settimeout(30)
        self.send(Welcome(KEY, Place(tuple(map(os.fsencode, sys.path)), os.fsencode(Path.cwd()))))

    def send(self, *frames):
        self.process.line.sendall(packed(list(frames)))

    def stop(self, attempt):
        self.process.control.sendall(packed([Cancel(attempt)]))

    def reply(self, reply, address=None):
        address = address or Address("r", reply.id, 1, "to worker", reply.about)
        sealed = seal(KEY, address, encode(reply.sealed).data)
        self.process.control.sendall(packed([msgspec.structs.replace(reply, sealed=sealed)]))

    def is_heard(self):
        """Return when all that was said on the control line has been heard."""
        self.process.control.settimeout(30)
        self.process.control.sendall(packed([Ping()]))
        assert self.process.control.recv(1) == b"!"

    def hear(self):
        while not self._frames:
            data = self.process.line.recv(1 << 16)
            assert data, "the worker hung up"
            self._frames += self._splitter.feed(data)
        return self._frames.pop(0)

    def ended(self):
        return self.process.popen.wait(30)


@pytest.fixture
def line():
    nursery = Nursery()
    line = Line(nursery.spawn())
    assert line.hear() == Ready()
    yield line
    nursery.end()
    for sock in (line.process.line, line.process.control):
        sock.close()
    line.process.popen.wait(30)


def function(source):
    names = {"__name__": "__main__"}
    exec(source, names)
    return ship(names["step"])


def code(shipped):
    return Code(shipped.digest, seal(KEY, Address("", 0, 0, "code", shipped.digest), shipped.payload))


def submit(number, shipped, *args):
    body = encode([list(args), {}, {}, None])
    address = Address("r", number, 1, "to worker", f"{shipped.digest} {body.codec}")
    return Submit(number, "r", number, 1, "step", shipped.digest, body.codec, seal(KEY, address, body.data))


def value(finished):
    assert isinstance(finished, Finished), finished
    data = unseal(KEY, Address("r", finished.id, 1, "to kernel", finished.codec), finished.sealed)
    return decode(finished.codec, data)


def error(finished):
    assert finished.codec == "error"
    data = unseal(KEY, Address("r", finished.id, 1, "to kernel", "error"), finished.sealed)
    return msgspec.msgpack.decode(data, type=ErrorInfo)


def test_it_runs_what_it_is_sent_and_keeps_the_function(line):
    shipped = function("def step(x): return x + 1")

    line.send(code(shipped), submit(1, shipped, 1), submit(2, shipped, 2))
    line.send(submit(3, shipped, 3))

    assert [value(line.hear()) for _ in range(3)] == [2, 3, 4]


def batch(number, *attempts):
    """Attempts from a number on, each a function and its arguments."""
    items = []
    for place, (shipped, *args) in enumerate(attempts):
        body = encode([list(args), {}, {}, None])
        items.append(Item(number + place, 1, "step", shipped.digest, body.codec, body.data))
    return batches.batch(KEY, number, "r", items)


def told_of(line, count):
    """How so many attempts of a batch ended, by number; those that are told by themselves as they came."""
    told = {}
    while len(told) < count:
        frame = line.hear()
        if isinstance(frame, Ended):
            told.update(enumerate(batches.ends_of(KEY, "r", frame), frame.id))
        else:
            told[frame.id] = frame
    return told


def test_what_came_in_a_batch_is_told_in_few_frames_and_what_is_not_small_by_itself(line):
    quick, prints = (
        function("def step(x): return x"),
        function("def step():\n    print('hello')\n    return 'x' * 9_999"),
    )

    line.send(code(quick), code(prints), batch(1, (quick, 1), (prints,), (quick, 3)))
    first, said, alone, last = (line.hear() for _ in range(4))

    assert [(end.task, end.number, decode(end.codec, end.body)) for end in batches.ends_of(KEY, "r", first)] == [
        (1, 1, 1)
    ]
    assert (said, value(alone)) == (Printed(2, "stdout", "hello\n"), "x" * 9_999)
    assert [(end.task, end.number, decode(end.codec, end.body)) for end in batches.ends_of(KEY, "r", last)] == [
        (3, 1, 3)
    ]


def test_what_has_ended_is_in_the_gate_while_the_next_one_of_its_batch_keeps_the_interpreter_to_itself(line, tmp_path):
    quick = function("def step(x): return x")
    endless = function(f"def step():\n    open({str(tmp_path / 'runs')!r}, 'w').close()\n    sum(range(10**12))")

    line.send(code(quick), code(endless), batch(1, (quick, 1), (quick, 2), (endless,)))
    until((tmp_path / "runs").exists)
    kept = line.process.gate.left()
    told = batches.ends_of(KEY, "r", batches.left(KEY, "r", kept))

    assert (kept.first, [decode(end.codec, end.body) for end in told]) == (1, [1, 2])


def test_a_batch_that_was_changed_is_not_begun_and_the_worker_goes_on(line):
    quick = function("def step(x): return x")
    frame = batch(1, (quick, 1), (quick, 2))

    line.send(code(quick), msgspec.structs.replace(frame, sealed=frame.sealed[:-1] + b"?"), batch(3, (quick, 3)))
    told = told_of(line, 3)

    assert [told[n].codec for n in (1, 2)] == ["error", "error"]
    assert msgspec.msgpack.decode(told[1].body, type=ErrorInfo).type == "PayloadRejected"
    assert decode(told[3].codec, told[3].body) == 3


def test_it_measures_reading_running_and_what_follows_apart(line):
    read = function("import time\ndef step(x): return None")
    slow = function("import time\nclass Slow:\n    def __reduce__(self): time.sleep(0.1); return str, ()\n"
                    "def step(x):\n    time.sleep(0.2)\n    return Slow()")  # fmt: skip
    line.send(code(read), submit(1, read, bytes(20_000_000)), code(slow), *(submit(n, slow, 1) for n in range(2, 5)))
    large, *late = (line.hear() for _ in range(4))

    assert large.decode_s > large.run_s > 0
    # The least of each: whatever else the machine does only adds to it.
    assert 0.2 <= min(told.run_s for told in late) < 0.3
    assert 0.1 <= min(told.encode_s for told in late) < 0.2
    assert 0 < min(told.decode_s for told in late) < 0.1


def test_what_an_attempt_fails_with_is_measured_too(line):
    shipped = function("import time\ndef step():\n    time.sleep(0.05)\n    raise ValueError('no')")
    line.send(code(shipped), submit(1, shipped))
    failed = line.hear()

    assert (failed.codec, failed.run_s >= 0.05, failed.decode_s > 0, failed.encode_s > 0) == ("error", True, True, True)


def test_a_flipped_byte_in_arguments_or_function_is_refused_and_nothing_runs(line, tmp_path):
    shipped = function(f"def step(): open({str(tmp_path / 'ran')!r}, 'w')")
    good = submit(1, shipped)
    flipped = bytearray(good.sealed)
    flipped[-1] ^= 1
    bad_code = bytearray(code(shipped).sealed)
    bad_code[40] ^= 1

    line.send(code(shipped), Submit(1, "r", 1, 1, "step", shipped.digest, good.codec, bytes(flipped)))
    line.send(Submit(2, "r", 2, 1, "step", shipped.digest, good.codec, good.sealed))  # the seal of another task
    line.send(Submit(1, "r", 1, 1, "step", shipped.digest, "pickle", good.sealed))  # the seal of another codec
    line.send(Code(shipped.digest, bytes(bad_code)), good)

    assert [error(line.hear()).type for _ in range(4)] == ["PayloadRejected"] * 4
    assert not (tmp_path / "ran").exists()


def test_it_ends_at_once_when_core_hangs_up_even_in_mid_step(line):
    shipped = function("import time\ndef step():\n    print('on')\n    time.sleep(60)")
    line.send(code(shipped), submit(1, shipped))
    assert line.hear() == Printed(1, "stdout", "on\n")

    line.process.control.close()
    began = time.monotonic()
    line.ended()

    assert time.monotonic() - began < 10


def test_it_ends_when_core_hangs_up_between_steps(line):
    line.process.control.close()
    line.process.line.close()

    assert line.ended() == -signal.SIGKILL  # its group, in which there may be what steps have left


def test_a_stop_of_an_attempt_that_waits_skips_it_and_a_stop_of_one_that_ended_does_nothing(line):
    slow, quick = (
        function("import time\ndef step():\n    print('on')\n    time.sleep(60)"),
        function("def step(): return 7"),
    )
    line.send(code(slow), code(quick), submit(1, slow), submit(2, quick), submit(3, quick))
    assert line.hear() == Printed(1, "stdout", "on\n")

    line.stop(2)
    line.stop(1)
    ended = [line.hear() for _ in range(3)]
    line.stop(3)
    line.send(submit(4, quick))

    assert [frame.codec for frame in ended] == ["cancelled", "cancelled", "json"]
    assert [value(ended[2]), value(line.hear())] == [7, 7]


def test_an_interrupt_between_steps_does_nothing(line):
    shipped = function("def step(): return 7")
    for number in range(1, 20):
        os.kill(line.process.pid, signal.SIGINT)
        line.send(*([code(shipped)] if number == 1 else []), submit(number, shipped))
        finished = line.hear()
        assert finished.codec == "json" or error(finished).type == "KeyboardInterrupt"

    assert line.process.popen.poll() is None


ASKS = """
from cerebelum_nb.helpers import wait_for_approval
async def step():
    try: return await wait_for_approval("go?")
    except Exception as exc: return type(exc).__name__
"""


@pytest.mark.parametrize(
    ("said", "about"),
    [
        (Reply(1, 1, True, "", "json", 7), "reply 1 False json "),  # a no made into a yes
        (Reply(1, 1, True, "", "json", 7), "reply 2 True json "),  # for another question
        (Reply(1, 1, False, "why", "json", 7), "reply 1 False json because"),
        (Reply(1, 1, True, "", "pickle", 7), "reply 1 True json "),
    ],
)
def test_an_answer_whose_seal_is_not_for_it_is_refused_unread(line, said, about):
    shipped = function(ASKS)
    line.send(code(shipped), submit(1, shipped))
    assert line.hear() == Paused(1, 1, "approval", None, "go?")

    line.reply(said, Address("r", 1, 1, "to worker", about))

    assert line.hear() == Resumed(1)
    assert value(line.hear()) == "PayloadRejected"


def test_answers_to_other_questions_and_attempts_are_not_heard(line):
    shipped = function(ASKS)
    line.reply(Reply(1, 1, True, "", "json", "early"))
    line.is_heard()  # the attempt comes another way
    line.send(code(shipped), submit(1, shipped))
    assert line.hear() == Paused(1, 1, "approval", None, "go?")

    line.reply(Reply(2, 1, True, "", "json", "of another attempt"))
    line.reply(Reply(1, 2, True, "", "json", "of another question"))
    line.reply(Reply(1, 1, True, "", "json", "right"))
    line.reply(Reply(1, 1, True, "", "json", "again"))

    assert line.hear() == Resumed(1)
    assert value(line.hear()) == "right"


def test_it_ends_at_once_when_core_hangs_up_while_its_step_sleeps(line):
    shipped = function("from cerebelum_nb.helpers import sleep\nasync def step(): await sleep(600_000)")
    line.send(code(shipped), submit(1, shipped))
    assert line.hear() == Paused(1, 1, "sleep", 600.0, "")

    line.process.control.close()
    began = time.monotonic()
    line.ended()

    assert time.monotonic() - began < 10


def test_it_ends_cleanly_after_its_step_when_nothing_follows(line):
    shipped = function("from cerebelum_nb.helpers import sleep\nasync def step(): await sleep(100)\n")
    line.send(code(shipped), submit(1, shipped))
    line.process.line.shutdown(socket.SHUT_WR)

    said = [line.hear() for _ in range(3)]

    assert said[:2] == [Paused(1, 1, "sleep", 0.1, ""), Resumed(1)]
    assert value(said[2]) is None
    assert line.ended() == 0


LEAVES = "import subprocess\ndef step(): return subprocess.Popen(['sleep', '600']).pid"


def test_what_a_step_has_left_running_ends_with_the_worker_when_core_hangs_up(line):
    shipped = function(LEAVES)
    line.send(code(shipped), submit(1, shipped))
    left = value(line.hear())

    line.process.control.close()

    assert line.ended() == -signal.SIGKILL
    until(lambda: is_gone(left))


def test_it_ends_with_all_that_its_steps_left_when_the_kernel_ends_though_core_does_nothing():
    kernel = subprocess.Popen(["sleep", "600"])
    nursery = Nursery()
    nursery.lifeline = lifeline.of(kernel.pid)
    line = Line(nursery.spawn())
    assert line.hear() == Ready()
    shipped, held = function(LEAVES), function("import time\ndef step(): time.sleep(600)")
    line.send(code(shipped), submit(1, shipped))
    left = value(line.hear())
    line.send(code(held), submit(2, held))

    kernel.kill()
    kernel.wait()

    assert line.ended() == -signal.SIGKILL
    until(lambda: is_gone(left))
    for sock in (line.process.line, line.process.control):
        sock.close()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
