import json
import re

import pytest
from test_chart import EVIL, fixture

from cerebelum_nb import step, workflow
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.view import Row
from cerebelum_nb.notebook import page
from cerebelum_nb.notebook.figure import figure

CANARY = "canary-91c4"


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_a_page_holds_the_rows_and_the_widget_and_asks_for_nothing_else():
    header, rows = fixture("finished")
    text = page.html(header, rows)

    assert [row["step"] for row in data_of(text)["snapshot"]["rows"]] == [row.step for row in rows]
    assert "globalThis.cerebelumWidget=" in text
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "<!--<script>", EVIL, "a\u2028b", "\ud800"])
def test_no_name_ends_an_element_of_the_page(name):
    header, rows = fixture("finished")
    first = rows[0]
    fields = {f: getattr(first, f) for f in Row.__struct_fields__}
    safe = page.html(header, rows)
    text = page.html(header, [Row(**{**fields, "step": name, "reason": name}), *rows[1:]])

    assert text.count("<script") == safe.count("<script")
    assert text.count("</script") == safe.count("</script")
    assert text.count("<img") == 0
    shown = data_of(text)["snapshot"]["rows"][0]["step"]
    assert shown == name.encode("utf-8", "replace").decode()


def test_a_saved_page_has_no_value_no_output_and_nothing_that_a_step_said(session, tmp_path):
    @step
    def leaky(context, inputs):
        print(CANARY)
        return {"value": inputs["key"]}

    @step
    def failing(context, leaky):
        raise ValueError(leaky["value"])

    @workflow
    def flow(wf):
        wf.timeline(leaky >> failing)

    run = session.run(flow, {"key": CANARY})
    run.wait(10, echo=False)
    files = [
        run.save_html(tmp_path / "run.html"),
        run.save_svg(tmp_path / "run.svg"),
        run.save_trace(tmp_path / "run.json"),
    ]

    assert run.status == "failed"
    for file in files:
        text = file.read_text("utf-8")
        assert CANARY not in text
        assert "failing" in text
    assert "ValueError" in str(run.error()) + repr(run.error().error_type)


def test_a_page_offers_its_own_drawing_and_trace():
    header, rows = fixture("finished")
    files = data_of(page.html(header, rows))["files"]

    assert {kind: file["name"] for kind, file in files.items()} == {
        "svg": "order_workflow-run-7.svg",
        "trace": "order_workflow-run-7.trace.json",
    }
    assert files["svg"]["text"].startswith("<svg")
    assert json.loads(files["trace"]["text"])["traceEvents"]


def test_a_picture_of_dots_without_its_package_says_what_to_do(session, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cairosvg", None)

    @step
    def one(context):
        return 1

    @workflow
    def flow(wf):
        wf.timeline(one)

    run = session.run(flow)
    run.wait(10)
    with pytest.raises(CerebelumError, match="pip install cairosvg.*save_svg"):
        run.save_png(tmp_path / "run.png")


def test_a_figure_has_a_trace_for_each_executor_and_shows_names_as_text():
    header, rows = fixture("finished")
    fields = {f: getattr(rows[0], f) for f in Row.__struct_fields__}
    made = figure(header, [Row(**{**fields, "step": EVIL}), *rows[1:]])

    assert {trace.name for trace in made.data} >= {"local", "distributed"}
    assert "<img" not in made.to_json()
    assert "check_inventory" in made.to_json()


def test_a_figure_shows_what_was_queued_sent_and_fetched_beside_what_ran():
    header, rows = fixture("finished")
    made = {trace.name: trace for trace in figure(header, rows).data}
    (tried,) = next(row for row in rows if row.step == "check_inventory").segments

    assert list(made) == ["local", "distributed", "queue", "send, fetch"]
    assert made["distributed"].x[0] == pytest.approx(tried.end - tried.fetch - tried.start)
    assert made["queue"].x[0] == pytest.approx(tried.start - tried.send - tried.queued)
    assert made["send, fetch"].base[0] == pytest.approx(tried.start - tried.send)
    assert sum(made["send, fetch"].x) == pytest.approx(
        sum(s.send + s.fetch for row in rows for s in row.segments), abs=1e-9
    )


def test_a_figure_without_plotly_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "plotly.graph_objects", None)
    with pytest.raises(CerebelumError, match=r"cerebelum_nb\[figure\]"):
        figure(*fixture("finished"))
