"""The whole road: cells, workers, live chart, a click while the cell runs, what is saved."""

import base64
import json
import re
from pathlib import Path

import pytest

from tests.browser.jupyter import ask_kernel, browser, command, dark, open_notebook, saved, server, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SCREENS = Path(__file__).parents[2] / "build" / "screens"

STEPS = """
import asyncio, os, pathlib
from cerebelum_nb import step

@step(executor="local")
async def extract(context, inputs):
    return inputs["n"]

@step(executor="distributed")
async def transform(context, extract):
    print("transforming")
    return (extract * 2, os.getpid())

@step(executor="local")
async def load(context, transform):
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.02)
    return transform[0] + 1
"""
WORKFLOW = "%%cerebelum_workflow flow\nextract >> transform >> load"
CHECK = """
run = __import__("cerebelum_nb").session.current().runs[-1]
import json
print(json.dumps({"outputs": [run.outputs["extract"], run.outputs["transform"][0], run.outputs["load"]],
  "in kernel": run.outputs["transform"][1] == os.getpid(), "attempts": [r.attempt for r in run.rows()],
  "where": [r.where for r in run.rows()], "number": run.number, "status": run.status}))
"""


def row(step, **attributes):
    return f'.cb-row[data-step="{step}"]' + "".join(f'[data-{k}="{v}"]' for k, v in attributes.items())


def open_menu(page, step, how):
    if how == "mouse":
        page.locator(f"{row(step)} .cb-bar").last.click()  # the bar itself
    else:
        page.locator(row(step)).focus()
        page.keyboard.press("Enter")


def move(page, step, executor, how="mouse"):
    open_menu(page, step, how)
    page.click(f'.cb-menu [role=menuitem][data-executor="{executor}"]')


def static_charts(book):
    html = [o["data"].get("text/html", "") for c in book.cells for o in c.get("outputs", []) if "data" in o]
    found = [m for h in html for m in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', h)]
    return [base64.b64decode(m).decode() for m in found]


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_click_while_the_cell_runs_moves_the_step_and_runs_its_dependants_again(app, tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    write_notebook(tmp_path / "live.ipynb", "%load_ext cerebelum_nb", STEPS, WORKFLOW, "%cerebelum_run flow {'n': 20}")
    with server(tmp_path, app) as url, browser() as page:
        open_notebook(page, url, "live.ipynb", app)
        command(page, "notebook:run-all-cells")
        page.wait_for_selector(row("transform", status="succeeded", executor="distributed"))
        page.wait_for_selector(row("load", status="running"))

        move(page, "transform", "local")
        page.wait_for_selector(".cb-apply")
        page.screenshot(path=SCREENS / f"{app}-preview.png")
        page.click(".cb-apply")
        page.wait_for_selector(row("transform", status="succeeded", executor="local", attempt=2))
        page.wait_for_selector(row("load", status="running", attempt=2))
        (tmp_path / "go").touch()
        page.wait_for_selector(row("load", status="succeeded", attempt=2))
        page.wait_for_selector('.cb[data-run-status="succeeded"]')

        told = json.loads(ask_kernel(page, CHECK))
        page.screenshot(path=SCREENS / f"{app}-light.png")
        dark(page)
        page.screenshot(path=SCREENS / f"{app}-dark.png")
        hidden = page.eval_on_selector_all("img[class*=cb-static]", "all => all.map(i => getComputedStyle(i).display)")
        book = saved(page, tmp_path / "live.ipynb", lambda b: any("attempt 2" in c for c in static_charts(b)))
        errors = list(page.errors)

    assert told == {
        "outputs": [20, 40, 41],
        "in kernel": True,
        "attempts": [1, 2, 2],
        "where": ["local", "local", "local"],
        "number": 1,
        "status": "succeeded",
    }
    assert hidden == ["none"]
    assert len(static_charts(book)) == 1
    assert errors == []


def test_a_click_on_a_finished_run_runs_that_step_again_and_the_saved_chart_follows(tmp_path):
    (tmp_path / "go").touch()
    write_notebook(tmp_path / "done.ipynb", "%load_ext cerebelum_nb", STEPS, WORKFLOW, "%cerebelum_run flow {'n': 20}")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "done.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector('.cb[data-run-status="succeeded"]')

        move(page, "transform", "local", how="Enter")
        page.wait_for_selector(".cb-apply")
        shown = page.inner_text(".cb")
        page.click(".cb-apply")
        page.wait_for_selector(row("extract", status="reused"))
        page.wait_for_selector(row("load", status="succeeded"))
        page.wait_for_selector('.cb[data-run-status="succeeded"]')

        told = json.loads(ask_kernel(page, CHECK))
        page.screenshot(path=SCREENS / "lab-rerun.png")
        book = saved(page, tmp_path / "done.ipynb", lambda b: any("reused" in c for c in static_charts(b)))

    assert 'runs[1].rerun("transform", executor="local")' in shown
    assert told["outputs"] == [20, 40, 41]
    assert (told["in kernel"], told["number"], told["where"]) == (True, 2, ["local", "local", "local"])
    assert len(static_charts(book)) == 1
