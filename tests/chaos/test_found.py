"""What the kit has found, each by a seed, told again without dice."""

import threading

import pytest

from cerebelum_nb import PlanError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.testing import chaos

DEADLINE = 20


def test_who_asks_for_what_is_on_disk_already_is_told_so(session):
    go_on = threading.Event()

    @step
    def waits(context):
        go_on.wait(DEADLINE)

    run = session.run(workflow(name="on_disk")(lambda wf: wf.timeline(waits)))
    told = [threading.Event(), threading.Event()]

    answers = []
    for event in told:  # the second time, the journal has it all and there is nothing to write
        run.scheduler.hurry(1, lambda kept, event=event: (answers.append(kept), event.set()))
        event.wait(DEADLINE)

    go_on.set()
    run.result(DEADLINE)
    assert answers == [True, True]


def test_a_run_of_which_only_the_last_event_is_missing_is_not_offered_to_be_resumed(tmp_path):
    with chaos.Kernels("kit_program", tmp_path) as kernels:
        died = kernels.run("run", str(tmp_path), at=chaos.Point("run.finished"))
    session = Session(Settings(home=tmp_path / "home"))

    assert died.signal == 9
    assert [entry.status for entry in session.history.entries()] == ["interrupted"]
    with pytest.raises(PlanError, match="no run is left to be resumed"):
        session.history.unfinished()
    session.close()
