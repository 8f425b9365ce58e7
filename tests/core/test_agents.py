"""An agent's workers, of several kernels: what goes wrong with one of them is that one's own."""

import signal

import pytest

from cerebelum_nb.core.agents import Agent
from cerebelum_nb.wire.frames import Printed, encoded
from cerebelum_nb.wire.relay import Line, Signal

pytestmark = pytest.mark.asyncio


async def test_a_fault_with_one_kernel_s_worker_ends_that_worker_and_no_other_is_touched(caplog):
    sent, heard = [], []
    agent = Agent("host", 2, 30.0, lambda _: None)
    agent.send = sent.extend

    def fails(*_):
        raise KeyError(7)

    broken = agent.open(1, fails, fails, 60.0)
    whole = agent.open(1, lambda slot, frames: heard.append((slot, frames)), fails, 60.0)
    said = [Printed(1, "stdout", "on")]
    sent.clear()
    for worker in (1, 2):
        agent._take(Line(worker, encoded(said)))

    assert sent == [Signal(1, signal.SIGKILL)]
    assert heard == [(whole, said)]
    assert "KeyError: 7" in caplog.text
    assert broken is not whole
