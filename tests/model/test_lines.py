"""A run as lines of text."""

import json
from pathlib import Path

import msgspec
import pytest

from cerebelum_nb.model import lines
from cerebelum_nb.model.view import Header, Row

FIXTURES = Path(__file__).parents[2] / "js" / "fixtures"
MARKS = lines.Marks()


def fixture(name):
    snapshot = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return msgspec.convert(snapshot["header"], Header), msgspec.convert(snapshot["rows"], list[Row])


def row(**changes):
    base = Row(
        id=0, step="check_inventory", status="succeeded", where="distributed", remote=True, attempt=1, worker="worker 1",
        reason="", note="", needs=(), segments=(), prints=0, ms=203.4,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def test_a_step_looks_as_in_the_specification():
    assert lines.title("order_processing") == "Executing workflow: order_processing"
    assert lines.began(row(), MARKS) == "  ⏳ check_inventory [DISTRIBUTED] ..."
    assert lines.ended(row(), MARKS) == "  ✓ check_inventory [DISTRIBUTED] 203ms"
    assert lines.ended(row(where="local", remote=False, ms=5.2), MARKS) == "  ✓ check_inventory [LOCAL] 5ms"


@pytest.mark.parametrize(
    ("changes", "error", "line"),
    [
        ({"attempt": 2}, "", "  ✓ check_inventory [DISTRIBUTED] 203ms, attempt 2"),
        ({"status": "reused"}, "", "  ↺ check_inventory [DISTRIBUTED] reused"),
        ({"status": "failed"}, "ValueError: no\nmore", "  ✗ check_inventory [DISTRIBUTED] 203ms ValueError: no"),
        ({"status": "failed", "ms": None}, "", "  ✗ check_inventory [DISTRIBUTED] failed"),
        (
            {"status": "skipped", "ms": None, "note": "load did not succeed"},
            "",
            "  - check_inventory [DISTRIBUTED] skipped: load did not succeed",
        ),
        ({"status": "cancelled", "ms": None}, "", "  - check_inventory [DISTRIBUTED] cancelled"),
    ],
)
def test_what_is_not_a_plain_success_says_why(changes, error, line):
    assert lines.ended(row(**changes), MARKS, error) == line


def test_a_decision_says_its_way_and_where_it_goes_back_to():
    made = row(step="validate?", kind="decision", note="took 'ship'", ms=0.1)

    assert lines.ended(made, MARKS) == "  ◇ validate? took 'ship'"
    assert lines.decided("validate?", "took 'again'", MARKS, "clean") == "  ◇ validate? took 'again', back to clean"
    assert lines.ended(row(kind="decision", status="failed", ms=1.0), MARKS, "E: no").startswith("  ✗ ")


def test_a_pause_says_how_long_or_what_for_and_what_to_type():
    assert lines.sleeps(row(), 11.2, MARKS) == "  ⏸ check_inventory [DISTRIBUTED] sleeps 12 s"
    assert lines.sleeps(row(), None, MARKS, "for a file") == "  ⏸ check_inventory [DISTRIBUTED] sleeps: for a file"
    assert lines.asks(row(), "ship it?\nreally", 'run.approve("check_inventory")', lines.ASCII) == (
        '  | check_inventory [DISTRIBUTED] waits for approval: ship it? - run.approve("check_inventory")'
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1 s"), (11.2, "12 s"), (59.5, "1 min"), (125, "2 min 5 s"), (3600, "1 h 0 min")]
)
def test_a_time_to_come_is_told_in_whole_seconds(seconds, text):
    assert lines.time_left(seconds) == text


def test_a_long_error_is_cut_to_a_line():
    line = lines.ended(row(status="failed", ms=1.0), MARKS, "E: " + "x" * 500)

    assert line.endswith("x…")
    assert len(line) < 210


def test_a_finished_run_is_summed_up():
    assert lines.summary(*fixture("finished")) == [
        "Summary:",
        "  Total: 521ms",
        "  Local steps: 3 (10ms, 2.0%)",
        "  Distributed steps: 2 (500ms, 98.0%)",
    ]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.00004, "<0.0001"), (0.000123, "0.00012"), (0.0104, "0.01"), (0.5, "0.5"), (0.996, "1.00"), (12.3, "12.30")],
)
def test_a_cost_is_told_in_two_figures_or_to_the_cent(amount, text):
    assert lines.cost(amount) == text


def test_the_summary_says_what_a_run_cost_where_its_pools_have_a_price():
    header, rows = fixture("finished")

    assert lines.summary(msgspec.structs.replace(header, cost=0.0123), rows)[4:] == [
        "  Cost: 0.012, by the prices of the pools"
    ]


def test_the_summary_names_what_did_not_run_as_planned():
    assert lines.summary(*fixture("failed"))[4:] == ["  Failed: process_payment", "  Skipped: finalize_order"]


def test_a_run_of_nothing_has_no_share_to_divide():
    header = Header("r", 1, "w", "succeeded", 0.0, 0.001, 1, 1, 0.0, 0.0, 0)

    assert lines.summary(header, [row(ms=0.0)])[1:] == [
        "  Total: 1ms",
        "  Local steps: 0 (0ms, 0.0%)",
        "  Distributed steps: 1 (0ms, 0.0%)",
    ]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0ms"), (0.04, "0ms"), (0.44, "0.4ms"), (0.95, "1ms"), (5.4, "5ms"), (999.4, "999ms"), (999.6, "1.00s"),
        (1244, "1.24s"), (12_340, "12.3s"), (125_000, "2min 5s"), (3_840_000, "1h 4min"),
    ],
)  # fmt: skip
def test_a_duration_has_two_or_three_figures(ms, text):
    assert lines.duration(ms) == text
    assert lines.duration(ms, " ").replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", None, "no-such-encoding"])
def test_an_encoding_that_lacks_one_of_the_marks_gets_plain_ones(encoding):
    assert lines.marks_for(encoding) == lines.ASCII
    assert "".join(lines.ASCII).isascii()


def test_utf_8_shows_the_marks():
    assert lines.marks_for("utf-8") == MARKS


def test_what_a_step_prints_has_its_name_before_each_line_also_where_it_comes_in_pieces():
    prints = lines.Prints()

    told = [prints.take("load", "stdout", text) for text in ("a\nb", "c", "\n", "bar 1%\r", "")]
    told.append(prints.take("load", "stderr", "oh"))
    told.append(prints.take("sum", "stdout", "x\n"))

    assert told == ["load | a\n", "", "load | bc\n", "load | bar 1%\n", "", "", "sum | x\n"]
    assert prints.begun() == {"load"}
    assert prints.end("load") == [("stderr", "load | oh\n")]
    assert (prints.begun(), prints.end("load")) == (set(), [])


def test_a_line_without_an_end_is_not_waited_for_for_ever():
    prints = lines.Prints()

    assert prints.take("s", "stdout", "x" * lines.LINE_LIMIT) == f"s | {'x' * lines.LINE_LIMIT}\n"
    assert prints.begun() == set()


def test_a_charts_line_about_a_step_can_be_read_again():
    found = lines.STEP_LINE.fullmatch("  a b [LOCAL] 5 ms")

    assert found is not None
    assert found.groupdict() == {"step": "a b", "where": "LOCAL", "rest": "5 ms"}


def test_steps_in_processes_are_local_work_in_the_summary():
    header = Header("r", 1, "w", "succeeded", 0.0, 1.0, 2, 2, 900.0, 100.0, 0)
    rows = [row(where="processes"), row(id=1, where="distributed")]

    assert lines.summary(header, rows)[2:] == [
        "  Local steps: 1 (900ms, 90.0%)",
        "  Distributed steps: 1 (100ms, 10.0%)",
    ]
