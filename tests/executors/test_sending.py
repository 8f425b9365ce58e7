"""What goes to Core with an attempt: in an order in which nothing is missing there."""

import pytest
from remote_kit import attempt, cell

from cerebelum_nb.executors import sending
from cerebelum_nb.executors.sending import Sending, encoded_call
from cerebelum_nb.seal import new_key
from cerebelum_nb.wire.channel import Outbox
from cerebelum_nb.wire.frames import Batch, Cancel, Code, Forget, Submit, frames_of

pytestmark = pytest.mark.timeout(60)


def joined(count, crew, **more):
    """What leaves of light attempts that come in one turn of the loop."""
    outbox, frames = Outbox(), []
    sends = Sending(new_key(), outbox, joins=True)
    outbox.put, sends.crew = lambda *some: frames.extend(some), crew
    step = cell("def step(*_): return 1")["step"]
    for number in range(1, count + 1):
        one = attempt(step, number, **more)
        sends.join(number, one, sends.ship(one), encoded_call(one, None))
    sends.close()
    return [frame for frame in frames if type(frame) in {Batch, Submit}]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("count", "crew", "sizes"), [(1, 2, [1]), (3, 2, [1, 1, 1]), (10, 2, [2] * 5), (64, 2, [16] * 4), (64, 0, [16] * 4)]
)
async def test_light_attempts_of_one_turn_go_in_batches_and_there_is_something_for_everybody(count, crew, sizes):
    frames = joined(count, crew)

    assert [getattr(frame, "count", 1) for frame in frames] == sizes
    assert [frame.id for frame in frames] == [1 + sum(sizes[:n]) for n in range(len(sizes))]


@pytest.mark.asyncio
async def test_what_must_not_run_twice_goes_by_itself():
    assert [type(frame) for frame in joined(8, 1, once=True)] == [Submit] * 8


@pytest.mark.asyncio
async def test_what_is_said_of_an_attempt_comes_after_it_whatever_it_was_gathered_with():
    outbox = Outbox()
    sends = Sending(new_key(), outbox, joins=True)
    step = cell("def step(): return 1")["step"]
    for number in range(1, 9):
        one = attempt(step)
        sends.join(number, one, sends.ship(one), encoded_call(one, None))

    sends.close()
    outbox.put(Cancel(3))
    frames = await written(outbox, 3, Cancel)

    assert [type(frame) for frame in frames][-3:] == [Batch, Batch, Cancel]


class _Written(Exception):
    """What somebody waits for."""


async def written(outbox, last, kind=Submit):
    """The frames that are in an outbox, in the order in which they leave, up to an attempt."""
    frames = []

    async def write(message):
        frames.extend(frames_of(message))
        if any(type(frame) is kind and frame.id == last for frame in frames):
            raise _Written

    with pytest.raises(_Written):
        await outbox.pump(write)
    return frames


@pytest.mark.asyncio
async def test_a_function_is_not_forgotten_while_an_attempt_with_long_arguments_is_on_its_way(monkeypatch):
    monkeypatch.setattr(sending, "CODES_COUNT", 2)
    outbox = Outbox()
    sends = Sending(new_key(), outbox)

    def send(number, *args):
        one = attempt(cell(f"def step(*_): return {number}")["step"], *args)
        sends.submit(number, one, sends.ship(one), encoded_call(one, None))

    send(1, bytes(40 << 20))
    for number in range(2, 6):
        send(number, number)
    frames = await written(outbox, 1)
    outbox.drop(1)
    send(6, 6)
    later = await written(outbox, 6)

    submits = [frame for frame in frames if type(frame) is Submit]
    assert [submit.id for submit in submits][-1] == 1, "it goes in pieces, and others overtake it"
    assert [frame for frame in frames if type(frame) is Forget] == []
    first, *others = [frame.digest for frame in frames if type(frame) is Code]
    assert first == submits[-1].digest
    assert [frame.digest for frame in later if type(frame) is Forget] == [first, *others[:-1]]
