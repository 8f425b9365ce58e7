import base64
import json
import pathlib
import re
from xml.etree import ElementTree as ET

import msgspec
import pytest

from cerebelum_nb.model.view import Header, Row
from cerebelum_nb.notebook import chart

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


def test_the_picture_says_in_words_what_its_colours_say():
    assert texts(chart.svg(*fixture("finished"))) == [
        "order_workflowrun 7, 2026-01-01 13:30:02 UTC",
        "● succeeded · 521 ms",
        *("local", "distributed", "queue", "5 of 5 steps, local 2 %, distributed 98 %"),
        *("0", "100", "200", "300", "400", "500 ms"),
        *("validate_order", "5 ms"),
        *("check_inventory", "200 ms · worker 2"),
        *("calculate_tax", "2 ms"),
        *("process_payment", "300 ms · worker 2"),
        *("finalize_order", "3 ms"),
    ]


@pytest.mark.parametrize("name", ["running", "finished", "failed", "rerun"])
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
        "#009E73",
        "none",  # the queue before it
        "url(#dist)",
        "#009E73",
        "none",
        "url(#dist)",
        "#009E73",
    ]


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

    assert (texts(chart.svg(header, []))[1], chart.alt(header, [])) == ("● running · 0 ms", "So far 0 ms, running")
