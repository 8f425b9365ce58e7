"""What the command line says of steps that pause and of decisions, told by the run itself."""

import threading
import time

import pytest

from cerebelum_nb import step, workflow
from cerebelum_nb.cli import follow
from cerebelum_nb.cli.follow import Teller
from cerebelum_nb.config import Settings
from cerebelum_nb.dsl.routes import back_to
from cerebelum_nb.helpers import poll, sleep, wait_for_approval
from cerebelum_nb.model import lines
from cerebelum_nb.session import Session


@pytest.fixture
def session(tmp_path):
    session = Session(Settings(home=tmp_path))
    yield session
    session.close()


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_pauses_and_ways_are_a_line_each(session, capsys, monkeypatch):
    monkeypatch.setattr(follow, "NAP_S", 0.01)
    asked = []

    @step
    async def check(context, inputs):
        asked.append(1)
        return "again" if len(asked) == 1 else "ship"

    @step
    async def ship(context):
        await poll(lambda: len(asked) > 1 and asked.append(1) is None and len(asked) > 4, interval=20)
        await sleep(20)
        return await wait_for_approval("charge the card", {"order": 77})

    @step
    async def refund(context):
        return 0

    @workflow
    def flow(wf):
        wf.timeline(check)
        wf.diverge(check, {"ship": ship, "hold": refund, "again": back_to(check)})

    run = session.run(flow, {})
    told = threading.Thread(target=Teller(run, lines.Marks(), running=False).follow)
    told.start()
    until(lambda: run.approvals)
    run.approve("ship")
    told.join(10)

    out = capsys.readouterr().out
    assert [line.strip() for line in out.splitlines() if line.strip()[0] in "◇⏸-"] == [
        "◇ check? took 'again', back to check",
        "◇ check? took 'ship'",
        "- refund [LOCAL] skipped: check? took 'ship'",
        "⏸ ship [LOCAL] sleeps 1 s: attempt 1 of 30",
        "⏸ ship [LOCAL] sleeps 1 s",
        f"⏸ ship [LOCAL] waits for approval: charge the card - cerebelum approve {run.id} ship",
    ]


def test_another_try_is_a_line_of_its_own(session, capsys):
    @step(retries=2)
    async def fetch(context):
        if context.attempt < 3:
            raise ConnectionResetError("gone")
        return 1

    run = session.run(workflow(name="w")(lambda wf: wf.timeline(fetch)))
    Teller(run, lines.Marks(), running=False).follow()

    first, second, last = capsys.readouterr().out.splitlines()
    assert (first, second) == (
        "  ✗ fetch [LOCAL] tries again: attempt 2 of 3 after ConnectionResetError",
        "  ✗ fetch [LOCAL] tries again: attempt 3 of 3 after ConnectionResetError",
    )
    assert last.endswith("attempt 3")
