import base64
import json
import pathlib
import re
from xml.etree import ElementTree as ET

import msgspec
import pytest

from cerebelum_nb.model.view import Header, Row
from cerebelum_nb.notebook import chart, palette
from cerebelum_nb.notebook.wording import told

FIXTURES = pathlib.Path(__file__).parents[2] / "js" / "fixtures"
SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<img src=x onerror=\"alert('1')\">"


def fixture(name: str) -> tuple[Header, list[Row]]:
    """What the front end's own tests draw."""
    snapshot = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return msgspec.convert(snapshot["header"], Header), msgspec.convert(snapshot["rows"], list[Row])


def texts(drawn: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(drawn).iter(f"{SVG}text")]


def test_the_text_of_a_run_is_a_line_for_each_step_and_the_whole():
    assert chart.alt(*fixture("finished")) == (
        "validate_order [LOCAL] 5 ms\n"
        "check_inventory [DISTRIBUTED] 200 ms\n"
        "calculate_tax [LOCAL] 2 ms\n"
        "process_payment [DISTRIBUTED] 300 ms\n"
        "finalize_order [LOCAL] 3 ms\n"
        "Total 521 ms, local 2 %, distributed 98 %, succeeded"
    )


def test_steps_in_processes_are_local_work_under_a_name_of_their_own():
    header, rows = fixture("finished")
    apart = [msgspec.structs.replace(row, where="processes") if row.step == "check_inventory" else row for row in rows]
    alone = [msgspec.structs.replace(row, where="processes") if row.remote else row for row in rows]
    whole = msgspec.structs.replace(header, local_ms=header.local_ms + header.remote_ms, remote_ms=0.0)

    assert "check_inventory [PROCESSES] 200 ms" in chart.alt(header, apart)
    assert "local 2 %, distributed 98 %" in chart.alt(header, apart)
    assert "local 100 %, succeeded" in chart.alt(whole, alone)


def test_what_a_run_cost_stands_beside_who_did_the_work():
    header, rows = fixture("finished")

    assert "local 2 %, distributed 98 %, cost 0.012, succeeded" in chart.alt(
        msgspec.structs.replace(header, cost=0.0123), rows
    )


def test_the_text_names_what_did_not_go_well():
    assert chart.alt(*fixture("failed")).splitlines()[3:] == [
        "process_payment [DISTRIBUTED] failed, 74 ms",
        "finalize_order [LOCAL] skipped: process_payment failed",
        "Total 291 ms, local 2 %, distributed 98 %, failed",
    ]


def test_the_text_of_a_live_run_tells_reuse_attempts_and_what_waits():
    assert chart.alt(*fixture("rerun")) == (
        "validate_order [LOCAL] reused\n"
        "check_inventory [DISTRIBUTED] reused, 200 ms\n"
        "calculate_tax [LOCAL] 2 ms\n"
        "process_payment [DISTRIBUTED] attempt 2, 300 ms\n"
        "score_risk [GPU-WORKER-POOL] running, 370 ms\n"
        "send_receipt [DISTRIBUTED] queued, 25 ms\n"
        "notify_warehouse [DISTRIBUTED] cancelled, 136 ms\n"
        "finalize_order [LOCAL] waiting\n"
        "So far 430 ms, local 0 %, remote 100 %, running"
    )


def test_the_text_shows_nested_workflows_decisions_and_pauses():
    assert chart.alt(*fixture("paused")) == (
        "load_orders [LOCAL] 1.89 s\n"
        "prepare: 4 of 4 steps, 9.20 s\n"
        "  clean [DISTRIBUTED] 4.20 s\n"
        "  dedupe: 2 of 2 steps, 3.79 s\n"
        "    hash [LOCAL] 1.19 s\n"
        "    merge [DISTRIBUTED] 2.30 s\n"
        "  normalise [LOCAL] 1.19 s\n"
        "validate? took 'ship'\n"
        "refund [DISTRIBUTED] skipped: validate? took 'ship'\n"
        "ship [DISTRIBUTED] 42 %, parcel 21 of 50, 19.2 s\n"
        "carrier_opens [LOCAL] sleeps 3 s more\n"
        "charge_card [LOCAL] waits for approval: charge 1,240 EUR to the card of order 77\n"
        "report: 0 of 2 steps\n"
        "  collect [DISTRIBUTED] waiting\n"
        "  render [LOCAL] waiting\n"
        "So far 31.0 s, local 40 %, distributed 60 %, running"
    )


def test_the_picture_opens_every_nested_workflow_and_cuts_what_is_too_long():
    drawn = texts(chart.svg(*fixture("paused")))

    assert drawn[drawn.index("load_orders") :] == [
        *("load_orders", "1.89 s"),
        *("prepare", "4 of 4 steps · 9.20 s"),
        *("clean", "4.20 s · worker 2"),
        *("dedupe", "2 of 2 steps · 3.79 s"),
        *("hash", "1.19 s"),
        *("merge", "2.30 s · worker 2"),
        *("normalise", "1.19 s"),
        *("validate?", "took 'ship'"),
        *("refund", "skipped"),
        *("ship", "42 % · parcel 21 of 50 · 19.2 s · worker 2"),
        *("carrier_opens", "sleeps 3 s more"),
        *("charge_card", "waits for approval: charge 1,240 EUR t…"),
        *("report", "0 of 2 steps"),
        "collect",
        "render",
    ]


def test_lines_within_a_nested_workflow_are_indented_and_a_decision_is_a_diamond():
    root = ET.fromstring(chart.svg(*fixture("paused")))
    at = {"".join(node.itertext()): node.attrib["x"] for node in root.iter(f"{SVG}text")}
    shapes = [node.attrib["d"] for node in root.iter(f"{SVG}path")]

    assert [at[name] for name in ("load_orders", "prepare", "clean", "dedupe", "hash")] == [
        "16",
        "16",
        "32",
        "32",
        "48",
    ]
    assert [shape.endswith("l6 -6l6 6l-6 6z") for shape in shapes].count(True) == 1


def test_a_decision_that_was_sent_back_stands_at_both_moments():
    diamonds = re.findall(r'l6 -6l6 6l-6 6z"[^>]*>', chart.svg(*fixture("folded")))

    assert [" opacity" in diamond for diamond in diamonds] == [True, False]


def test_a_group_of_failed_steps_says_so_and_the_cut_counts_steps():
    header, rows = fixture("folded")
    more = [msgspec.structs.replace(rows[0], id=23 + i, step=f"after_{i}", needs=()) for i in range(60)]
    told = chart.alt(header, [*rows, *more]).splitlines()

    assert "report: failed, 0 of 2 steps, 3.70 s" in told
    assert told[-2] == "… and 23 more steps"


def test_what_a_question_is_about_is_told_short():
    class Sulks:
        def __repr__(self):
            raise RuntimeError("no")

    assert told(None) == ""
    assert told({"order": 77, "name": "a\nb"}) == "order: 77\nname: 'a\\nb'"
    assert told([1, {"a": {}}]) == "[1, {'a': {}}]"
    assert told({i: i for i in range(1000)}).endswith("...}")
    assert len(told({str(i): "x" * 10_000 for i in range(1000)})) == 4000
    assert told(Sulks()).startswith("<Sulks instance at")


def test_the_picture_says_in_words_what_its_colours_say():
    assert texts(chart.svg(*fixture("finished"))) == [
        "order_workflowrun 7, 2026-01-01 13:30:02 UTC",
        "succeeded · 521 ms",
        *("local", "distributed", "queue", "5 of 5 steps, local 2 %, distributed 98 %"),
        *("0", "100", "200", "300", "400", "500 ms"),
        *("validate_order", "5 ms"),
        *("check_inventory", "200 ms · worker 2"),
        *("calculate_tax", "2 ms"),
        *("process_payment", "300 ms · worker 2"),
        *("finalize_order", "3 ms"),
    ]


@pytest.mark.parametrize("name", ["running", "finished", "failed", "rerun", "paused", "folded"])
def test_every_mark_and_text_lies_within_the_picture(name):
    root = ET.fromstring(chart.svg(*fixture(name)))

    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in (node for group in root if group.tag != f"{SVG}defs" for node in group.iter(f"{SVG}rect")):
        assert float(rect.attrib["x"]) >= 0
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= width
    assert all(float(node.attrib["y"]) < height for node in root.iter(f"{SVG}text"))


def test_a_remote_bar_is_hatched_and_a_local_one_is_plain():
    drawn = chart.svg(*fixture("finished"))

    assert re.findall(r'height="15" rx="[\d.]+" fill="([^"]+)"', drawn) == [
        palette.COLOURS["local"],
        "none",  # the queue before it
        "url(#dist)",
        palette.COLOURS["local"],
        "none",
        "url(#dist)",
        palette.COLOURS["local"],
    ]


def test_what_was_sent_and_fetched_is_thin_beside_the_bar_and_named():
    header, rows = fixture("pools")
    drawn = chart.svg(header, [row for row in rows if row.step == "aggregate"])
    bar = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="15" rx="2.5" fill="url', drawn)
    sent, fetched = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="4" fill="#9', drawn)
    plain = [float(value) for value in (*sent, *bar.groups(), *fetched)]

    assert texts(drawn)[2:5] == ["spark", "queue", "send, fetch"]
    assert plain[0] + plain[1] == pytest.approx(plain[2], abs=0.2)
    assert plain[2] + plain[3] == pytest.approx(plain[4], abs=0.2)
    assert min(plain[1], plain[3], plain[5]) > 3


def test_markup_in_a_name_is_escaped_everywhere():
    header, rows = fixture("finished")
    header = msgspec.structs.replace(header, workflow=EVIL)
    rows = [msgspec.structs.replace(r, step=EVIL, worker=EVIL, reason=EVIL, note=EVIL) for r in rows]

    image = chart.html(header, rows, css_class='x" onload="alert(1)')

    for made in (chart.svg(header, rows), image):
        assert "<img src=x" not in made
    assert image.count("<") == 1
    assert ' onload="' not in image
    assert texts(chart.svg(header, rows))[0].startswith(EVIL)


def test_a_character_that_xml_forbids_does_not_spoil_the_picture():
    header, rows = fixture("finished")

    drawn = chart.svg(msgspec.structs.replace(header, workflow="a\x00b\x1b\ud800c"), rows)

    assert texts(drawn)[0].startswith("a\ufffdb\ufffd\ufffdc")


def test_the_image_holds_the_picture_and_its_text():
    header, rows = fixture("finished")

    image = chart.html(header, rows, css_class="cb-static-w1")

    source = base64.b64encode(chart.svg(header, rows).encode()).decode()
    assert image == (
        f'<img class="cb-static cb-static-w1" alt="{chart.alt(header, rows)}" '
        f'style="max-width:100%" src="data:image/svg+xml;base64,{source}">'
    )


def test_many_steps_are_counted_after_the_sixtieth():
    header, rows = fixture("finished")
    many = [msgspec.structs.replace(rows[i % 5], id=i, step=f"step_{i}", needs=()) for i in range(1100)]

    drawn, told = texts(chart.svg(header, many)), chart.alt(header, many).splitlines()

    assert (drawn[-1], len(told), told[-2]) == ("… and 1,040 more steps", 62, "… and 1,040 more steps")
    assert len(chart.svg(header, many)) < 40_000


def test_a_run_without_steps_and_without_time_is_drawn_too():
    header = Header("r", 1, "w", "running", 0.0, 0.0, 0, 0, 0.0, 0.0, 0)

    assert (texts(chart.svg(header, []))[1], chart.alt(header, [])) == ("running · 0 ms", "So far 0 ms, running")
