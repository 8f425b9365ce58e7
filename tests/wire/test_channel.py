import asyncio

import pytest

from cerebelum_nb.wire.channel import HOLD_S, Outbox
from cerebelum_nb.wire.frames import Cancel, Started, frames_of

pytestmark = pytest.mark.asyncio


class Stream:
    """A stream that lets a write pass when told to, and refuses a second one meanwhile."""

    def __init__(self):
        self.written = []
        self.gate = asyncio.Semaphore(0)
        self._busy = False

    async def write(self, message):
        assert not self._busy, "two writes at once"
        self._busy = True
        await self.gate.acquire()
        self._busy = False
        self.written.append(frames_of(message))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_frames_of_one_turn_leave_together_and_writes_never_overlap():
    outbox, stream = Outbox(), Stream()
    pump = asyncio.create_task(outbox.pump(stream.write))
    outbox.put(Cancel(1))
    outbox.put(Cancel(2), Cancel(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    outbox.put(Cancel(4))
    outbox.put(Cancel(5))

    stream.gate.release()
    stream.gate.release()
    await until(lambda: len(stream.written) == 2)
    pump.cancel()

    assert stream.written == [[Cancel(1), Cancel(2), Cancel(3)], [Cancel(4), Cancel(5)]]


async def test_a_held_frame_joins_the_next_message_or_leaves_alone_soon():
    outbox, stream = Outbox(), Stream()
    pump = asyncio.create_task(outbox.pump(stream.write))
    for _ in range(3):
        stream.gate.release()

    outbox.hold(Started(1, "w"))
    outbox.put(Cancel(1))
    await until(lambda: stream.written)
    began = asyncio.get_running_loop().time()
    outbox.hold(Started(2, "w"))
    await until(lambda: len(stream.written) == 2)
    took_s = asyncio.get_running_loop().time() - began
    pump.cancel()

    assert stream.written == [[Started(1, "w"), Cancel(1)], [Started(2, "w")]]
    assert took_s < 1000 * HOLD_S


async def test_who_makes_a_lot_ready_goes_on_when_what_was_put_before_has_left():
    outbox, stream, told = Outbox(), Stream(), []
    pump = asyncio.create_task(outbox.pump(stream.write))
    outbox.put(Cancel(1))
    outbox.then(lambda: told.append("first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    outbox.put(Cancel(2))  # the first one is on its way
    outbox.then(lambda: told.append("second"))
    assert told == []

    stream.gate.release()
    await until(lambda: told)
    assert (told, stream.written) == (["first"], [[Cancel(1)]])

    stream.gate.release()
    await until(lambda: len(told) > 1)
    pump.cancel()
    assert (told, stream.written) == (["first", "second"], [[Cancel(1)], [Cancel(2)]])


async def test_a_listener_that_fails_then_costs_the_stream_nothing():
    outbox, stream, failed = Outbox(), Stream(), []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: failed.append(type(told["exception"])))
    pump = asyncio.create_task(outbox.pump(stream.write))
    outbox.put(Cancel(1))
    outbox.then(lambda: 1 / 0)
    for _ in range(2):
        stream.gate.release()
    await until(lambda: failed)

    outbox.put(Cancel(2))
    await until(lambda: len(stream.written) == 2)
    pump.cancel()

    assert (failed, stream.written) == ([ZeroDivisionError], [[Cancel(1)], [Cancel(2)]])
