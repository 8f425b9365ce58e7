"""Two runs beside each other, from their rows alone."""

import msgspec
import pytest

from cerebelum_nb.model import compare as model
from cerebelum_nb.model.compare import Comparison, Pair, Told, Took, Whole, compare
from cerebelum_nb.model.view import Header, Row, Segment


def segment(queued, start, end, where="local", attempt=1, outcome="ok", **more):
    return Segment(attempt, where, where != "local", queued, start, end, outcome, **more)


def row(step, *segments, status="succeeded", where="local", **more):
    found = Row(
        id=0, step=step, status=status, where=where, remote=where != "local", attempt=len(segments), worker="",
        reason="", note="", needs=(), segments=segments, prints=0, ms=None,
    )  # fmt: skip
    return msgspec.structs.replace(found, **more)


def told(name, rows, now=1.0, status="succeeded", workflow="orders"):
    header = Header(name, 0, workflow, status, 100.0, now, 0, 0, 0.0, 0.0, 0)
    return Told(name, header, rows)


BEFORE = told(
    "run 1", [row("load", segment(0.0, 0.0, 0.1)), row("train", segment(0.1, 0.1, 2.1)), row("mail")], now=2.5
)
AFTER = told(
    "run 2",
    [
        row("load", status="reused", note="reused from run 1"),
        row("train", segment(0.0, 0.04, 0.35, "distributed"), where="distributed"),
        row("plot", segment(0.4, 0.4, 0.5)),
    ],
    now=1.3,
)


def test_each_step_has_its_place_and_times_in_both_runs_and_what_only_one_has_is_there_too():
    made = compare(AFTER, BEFORE)

    assert made == Comparison(
        Whole("run 2", "run 2", "orders", "succeeded", 1.3),
        Whole("run 1", "run 1", "orders", "succeeded", 2.5),
        (
            Pair(
                "load",
                "step",
                Took("reused", "local", False, 0, None, None, None, "reused from run 1"),
                Took("succeeded", "local", False, 1, 0.1, 0.0, 0.0),
            ),
            Pair(
                "train",
                "step",
                Took("succeeded", "distributed", True, 1, 0.35 - 0.04, 0.35 - (0.35 - 0.04), 0.0),
                Took("succeeded", "local", False, 1, 2.1 - 0.1, 0.0, 0.0),
            ),
            Pair("plot", "step", Took("succeeded", "local", False, 1, 0.5 - 0.4, 0.0, 0.0), None),
            Pair("mail", "step", None, Took("succeeded", "local", False, 0, None, None, None)),
        ),
    )
    assert (made.only_this, made.only_other) == (("plot",), ("mail",))


def test_a_step_differs_by_what_one_waits_for_it_and_a_run_by_its_whole_time():
    made = compare(AFTER, BEFORE)

    assert made["train"].difference_s == pytest.approx(-1.65)
    assert made["load"].difference_s is made["plot"].difference_s is None
    assert made.difference_s == pytest.approx(-1.2)
    with pytest.raises(KeyError):
        made["nothing"]


def test_all_attempts_of_a_step_count_and_one_that_still_runs_has_no_time():
    twice = row("a", segment(0.0, 0.1, 0.3, outcome="error"), segment(1.0, 1.0, 1.5, attempt=2))
    live = row("a", segment(0.0, 0.0, 0.2, outcome="error"), segment(0.3, 0.3, None, attempt=2), status="running")

    assert model.took(twice).run_s == pytest.approx(0.7)
    assert model.took(twice).queue_s == pytest.approx(0.1)
    assert model.took(live).seconds is None


def test_the_way_there_and_back_is_told_beside_the_time_that_a_step_ran():
    found = model.took(row("a", segment(0.0, 0.5, 1.0, "distributed", send=0.2, fetch=0.1), where="distributed"))

    assert (found.run_s, found.queue_s, found.transfer_s) == tuple(map(pytest.approx, (0.4, 0.3, 0.3)))
    assert found.seconds == pytest.approx(1.0)
    assert str(found) == "distributed 400 ms + 300 ms queued + 300 ms on the way"


def test_a_run_that_is_not_over_has_no_whole_difference():
    made = compare(told("run 2", [], status="running"), BEFORE)

    assert made.difference_s is None
    assert str(made).splitlines()[0] == "run 2 of orders beside run 1: run 2 still runs"


def test_as_text_it_is_one_table():
    assert repr(compare(AFTER, BEFORE)).splitlines() == [
        "run 2 of orders beside run 1: 1.30 s against 2.50 s, -1.20 s (-48 %)",
        "Note: run 2 reuses 1 step; only in run 1: mail; only in run 2: plot.",
        "",
        "step   run 1         run 2                              difference",
        "load   local 100 ms  reused",
        "train  local 2.00 s  distributed 310 ms + 40 ms queued     -1.65 s",
        "plot   not in it     local 100 ms",
        "mail   succeeded     not in it",
    ]


@pytest.mark.parametrize(
    ("this", "other", "text"),
    [
        (1.0, 1.015, "same"),
        (0.0004, 0.0011, "same"),
        (1.0, 1.03, "-30 ms"),
        (0.24, 0.2, "+40 ms"),
        (200.0, 75.0, "+2min 5 s"),
    ],
)
def test_small_differences_are_none(this, other, text):
    assert model.signed(this, other).replace(" min", "min") == text


def test_a_decision_is_told_where_it_took_another_way():
    def way(note):
        return row("check?", segment(0.0, 0.0, 0.01), kind="decision", note=note)

    alike = compare(told("run 2", [way("took 'ship'")]), told("run 1", [way("took 'ship'")]))
    other = compare(told("run 2", [way("took 'ship'")]), told("run 1", [way("took 'hold'")]))

    assert "check?" not in str(alike)
    assert str(other).splitlines()[-1] == "check?  took 'hold'  took 'ship'  another way"


def test_what_makes_the_whole_times_unlike_is_said():
    made = compare(told("run 2", [], status="failed"), told("run 1", [], workflow="other", status="interrupted"))

    assert made.caution == "run 1 is of other; run 1 was cut off; run 2 failed"


def test_names_are_text_in_html_and_nothing_else():
    evil = "<img src=x onerror=alert(1)>"
    this = told(evil, [row(evil, segment(0, 0, 1), where=evil, status="failed")], workflow=evil)
    made = compare(this, told(f"{evil}2", [row("check?", note=evil, kind="decision")], workflow="w"))._repr_html_()

    assert "<img" not in made
    assert made.count("&lt;img src=x onerror=alert(1)&gt;") >= 5
    assert made.count("<table>") == made.count("</table>") == 1
