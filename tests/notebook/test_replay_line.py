"""The line that replays a step: where it stands in a cell, in a terminal, in Python."""

import pytest

from cerebelum_nb import step, workflow
from cerebelum_nb.errors import PlanError
from cerebelum_nb.notebook import panel
from cerebelum_nb.runtime.onward import as_typed, replay_line, replays


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("score", "%cerebelum replay 3 score"),
        ("nightly/score", "%cerebelum replay 3 nightly/score"),
        ("größe", "%cerebelum replay 3 größe"),
        ("two words", "runs[3].replay('two words')"),
        ("score?", "runs[3].replay('score?')"),
        ("it's", 'runs[3].replay("it\'s")'),
    ],
)
def test_a_name_that_does_not_stand_on_a_magics_line_is_a_line_of_python(name, line):
    assert replay_line(3, name) == line


def test_a_refusal_says_what_is_typed_there():
    told = "no: runs[3].replay('a', executor='gpu') does, runs[3].replay('a', force=True) insists, runs[3].rerun('a')"

    assert as_typed(told, "cerebelum replay 2026") == (
        "no: `cerebelum replay 2026 a --executor gpu` does, `cerebelum replay 2026 a --force` insists, runs[3].rerun('a')"
    )


def test_outside_of_ipython_the_panel_gives_python_and_reads_nothing_for_it(session):
    @step
    def score(context):
        raise ValueError("no")

    @workflow
    def flow(wf):
        wf.timeline(score)

    run = session.run(flow, {})
    run.wait(10, echo=False)
    found = panel.replay(run, {"step": "score"})

    assert found["code"] == "runs[1].replay('score')"
    assert found["text"] == "Run this line in a cell: it raises there what score raises."
    assert not replays(run, "score"), "its frames are here already"
    with pytest.raises(PlanError, match="no step 'other'"):
        panel.replay(run, {"step": "other"})
