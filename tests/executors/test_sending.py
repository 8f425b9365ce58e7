"""What goes to Core with an attempt: in an order in which nothing is missing there."""

import pytest
from remote_kit import attempt, cell

from cerebelum_nb.executors import sending
from cerebelum_nb.executors.sending import Sending, encoded_call
from cerebelum_nb.seal import new_key
from cerebelum_nb.wire.channel import Outbox
from cerebelum_nb.wire.frames import Code, Forget, Submit, frames_of

pytestmark = pytest.mark.timeout(60)


class _Written(Exception):
    """What somebody waits for."""


async def written(outbox, last):
    """The frames that are in an outbox, in the order in which they leave, up to an attempt."""
    frames = []

    async def write(message):
        frames.extend(frames_of(message))
        if any(type(frame) is Submit and frame.id == last for frame in frames):
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
