"""Nested workflows, decisions and questions in a real JupyterLab: folded, read, and answered by a click."""

import json

import pytest

from tests.browser.jupyter import ask_kernel, browser, command, dark, open_notebook, saved, server, write_notebook
from tests.browser.test_live_widget import SCREENS, row, static_charts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

STEPS = """
import asyncio
from cerebelum_nb import step, workflow
from cerebelum_nb.helpers import sleep, wait_for_approval

@step
async def load(context, inputs):
    return inputs["n"]

@step(executor="distributed")
async def clean(context, inputs):
    return 1

@step
async def merge(context, clean):
    return clean + 1

@workflow
def prepare(wf):
    wf.timeline(clean >> merge)

@step
async def check(context, load):
    return "ship" if load else "hold"

@step
async def ship(context):
    return await wait_for_approval("charge the card", {"order": 77, "to": "canary-street"}, timeout_ms=600_000)

@step
async def nap(context):
    await sleep(600_000)

@step
async def refund(context):
    return 0

@workflow
def flow(wf):
    wf.timeline(load >> prepare.as_step() >> check)
    wf.diverge(check, {"ship": [ship, nap], "hold": refund})
"""
CHECK = """
run = __import__("cerebelum_nb").session.current().runs[-1]
import json
print(json.dumps({"ship": run.outputs.get("ship"), "rows": {r.step: r.status for r in run.rows()}}))
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_question_is_answered_by_a_click_while_its_cell_runs(theme, tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    write_notebook(tmp_path / "ask.ipynb", "%load_ext cerebelum_nb", STEPS, "%cerebelum_run flow {'n': 20}")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "ask.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector(row("ship", status="approval"))
        page.wait_for_selector(row("nap", status="sleeping"))
        group = page.locator('.cb-group[data-group="prepare"]')
        page.screenshot(path=SCREENS / "lab-language-light.png")

        group.click()
        folded = (group.get_attribute("aria-expanded"), page.locator(row("prepare/clean")).count())
        page.screenshot(path=SCREENS / "lab-language-folded.png")
        group.press("ArrowRight")
        page.wait_for_selector(row("prepare/clean"))
        decision = page.locator(row("check?", kind="decision")).text_content()
        page.click(".cb-asks")
        page.wait_for_selector(".cb-asked:not([hidden])")
        asked = page.locator(".cb-ask").inner_text()
        page.screenshot(path=SCREENS / "lab-approval-light.png")
        page.locator(".cb-reason").press_sequentially("d d")  # "d d" is Jupyter's "delete the cell"
        typed = page.locator(".cb-reason").input_value()
        if theme == "dark":
            dark(page)
            page.screenshot(path=SCREENS / "lab-approval-dark.png")

        page.click(".cb-approve")
        page.wait_for_selector(row("ship", status="succeeded"))
        page.wait_for_selector(".cb-message:not([hidden])")
        code = page.locator(".cb-message").inner_text()
        waits = page.locator(".cb-asks").is_visible()
        page.click(".cb-cancel")
        page.wait_for_selector('.cb[data-run-status="cancelled"]')
        told = json.loads(ask_kernel(page, CHECK))  # not before: it would wait for the cell
        book = saved(page, tmp_path / "ask.ipynb", lambda b: any("took" in c for c in static_charts(b)))
        errors = list(page.errors)

    assert folded == ("false", 0)
    assert "took 'ship'" in decision
    assert [part in asked for part in ("charge the card", "order: 77", "canary-street", "Gives up in")] == [True] * 4
    assert typed == "d d"
    assert code == 'ship approved. In Python: runs[1].approve("ship")'
    assert not waits
    assert told == {
        "ship": True,
        "rows": {
            "load": "succeeded",
            "prepare/clean": "succeeded",
            "prepare/merge": "succeeded",
            "check": "succeeded",
            "check?": "succeeded",
            "ship": "succeeded",
            "nap": "cancelled",
            "refund": "skipped",
        },
    }
    assert "canary-street" not in json.dumps([c.get("outputs") for c in book.cells] + [book.metadata.get("widgets")])
    assert errors == []
