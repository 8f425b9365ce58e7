"""A run as marimo asks for it: an object that knows what it is shown as."""

import pytest

from cerebelum_nb import step, workflow
from cerebelum_nb.notebook import lone


@pytest.fixture
def flow():
    @step
    def one(context, inputs):
        return inputs["n"]

    @workflow
    def lonely(wf):
        wf.timeline(one)

    return lonely


def test_a_run_is_shown_as_one_widget_however_often_it_is_asked_for(session, flow):
    run = session.run(flow, {"n": 1})
    run.wait(10)
    shown = run._display_()
    again = run._display_()
    snapshot = shown.get_state()["snapshot"]
    shown.close()

    assert shown is again
    assert [row["status"] for row in snapshot["rows"]] == ["succeeded"]
    assert [executor["name"] for executor in snapshot["executors"]] == ["local", "distributed", "processes"]


def test_widgets_of_old_runs_are_let_go_of(session, flow, monkeypatch):
    monkeypatch.setattr(lone, "WIDGETS_LIMIT", 2)
    lone._parts()[2].clear()
    shown = []
    for n in range(4):
        run = session.run(flow, {"n": n})
        run.wait(10)
        shown.append(run._display_())

    kept = list(lone._parts()[2].values())
    assert kept == shown[2:]
    assert [widget.comm for widget in shown[:2]] == [None, None]
