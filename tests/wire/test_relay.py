"""The line between Core and an agent: it breaks and comes back, and nothing is lost, doubled or reordered."""

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.frames import SOFT_NBYTES, AnyFrame, Finished, frames_of, messages
from cerebelum_nb.wire.line import Splitter
from cerebelum_nb.wire.relay import Bye, Gone, Here, Lasting, Line, Open, Retire, Signal

PARTS = [Open(1), Here(1, 4711), Line(1, b"\xff" * 9), Signal(1, 15), Retire(1), Gone(1, "ended"), Bye()]


def written(line, most=100):
    """What a connection's pump writes now."""

    async def main():
        found = []

        async def write(message):
            found.append(message)

        pump = asyncio.create_task(line.pump(write))
        for _ in range(most):
            await asyncio.sleep(0)
        pump.cancel()
        return found

    return asyncio.run(main())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 5)),
        st.tuples(st.just("carry"), st.integers(0, 10)),
        st.tuples(st.just("break"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_breaks_when_every_part_arrives_once_and_in_order(steps):
    ours, theirs, sent, got = Lasting(), Lasting(), 0, []
    long, workers = SOFT_NBYTES // 3, range(3)

    def carry(most):
        """Let so many messages arrive; the rest is lost with the connection."""
        for message in written(ours)[:most]:
            got.extend(part for part in theirs.receive(message) if not isinstance(part, Open))
        for message in written(theirs)[:most]:
            ours.receive(message)

    def again():
        ours.resume(theirs.got)
        theirs.resume(ours.got)

    again()
    for what, count in steps:
        if what == "send":
            for _ in range(count):
                sent += 1
                ours.send([Open(9), Line(sent % 3, b"%d" % sent + bytes(long * (sent % 4 > 1)))])
        elif what == "carry":
            carry(count)
            again()  # what was not carried is lost
        else:
            again()
    again()
    for _ in range(100):
        if ours._unacked or ours._long:
            theirs.beat()
            carry(1000)

    assert not ours._unacked
    for worker in workers:
        numbers = [int(part.frames.rstrip(b"\0")) for part in got if part.worker == worker]
        assert numbers == [n for n in range(1, sent + 1) if n % 3 == worker]


def test_long_parts_take_turns_are_overtaken_and_few_are_on_their_way_at_once():
    ours, theirs = Lasting(), Lasting()
    ours.send(Line(worker, bytes(SOFT_NBYTES)) for worker in (1, 1, 1, 1, 2, 2, 2, 2))
    ours.send([Line(1, b"behind"), Retire(1)])
    on_their_way = [part for message in written(ours) for part in theirs.receive(message)]
    ours.send([Signal(1, 9), Line(3, b"quick")])
    ours.resume(theirs.got)
    quick = [part for message in written(ours) for part in theirs.receive(message)]
    ours.drop(2)
    for _ in range(100):
        ours.resume(theirs.got)
        quick += [part for message in written(ours) for part in theirs.receive(message)]

    assert [part.worker for part in on_their_way] == [1, 2, 1, 2]
    assert quick[:2] == [Signal(1, 9), Line(3, b"quick")]
    assert [part for part in quick if part.worker == 1][-2:] == [Line(1, b"behind"), Retire(1)]


def test_all_parts_come_back_equal_and_what_is_confirmed_is_let_go():
    ours, theirs = Lasting(), Lasting()
    ours.send(PARTS)

    assert [part for message in written(ours) for part in theirs.receive(message)] == PARTS
    theirs.beat()
    for message in written(theirs):
        assert ours.receive(message) == []
    assert not ours._unacked


def test_what_was_heard_already_is_not_heard_again_and_a_gap_is_refused():
    ours, theirs = Lasting(), Lasting()
    ours.send(PARTS[:3])
    (message,) = written(ours)
    first = theirs.receive(message)

    assert (first, theirs.receive(message)) == (PARTS[:3], [])
    with pytest.raises(WireError, match="part 4 is missing before part 9"):
        theirs.receive(msgspec.msgpack.encode((9, 0, [Bye()])))


@pytest.mark.parametrize("theirs", [-2, 1, 5, 2**63])
def test_nobody_confirms_what_was_not_sent(theirs):
    line = Lasting()

    with pytest.raises(WireError):
        line.receive(msgspec.msgpack.encode((1, theirs, [])))


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=100))
def test_noise_is_refused_as_noise_wherever_frames_are_read(noise):
    for read in (frames_of, Splitter().feed, Lasting().receive):
        try:
            read(noise)
        except WireError:
            continue


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_message_with_a_byte_changed_is_refused_or_still_made_of_frames(data):
    (message,) = messages([Finished(1, "json", b"sealed", 0.25)])
    place = data.draw(st.integers(0, len(message) - 1))
    changed = bytearray(message)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        frames = frames_of(bytes(changed))
    except WireError:
        return
    assert all(isinstance(frame, AnyFrame) for frame in frames)


def test_a_deep_message_is_refused():
    with pytest.raises(WireError):
        frames_of(b"\x91" * 100_000)
    with pytest.raises(WireError):
        Lasting().receive(b"\x93\x01\x00" + b"\x91" * 100_000)
