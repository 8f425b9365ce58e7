"""An earlier run behind a later one in a real JupyterLab: chosen by keys, seen, heard, in both themes, and not saved."""

import json
import re

import pytest

from tests.browser.accessible import faults
from tests.browser.jupyter import ask_kernel, browser, command, dark, open_notebook, saved, server, write_notebook
from tests.browser.test_live_widget import SCREENS, row, static_charts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

STEPS = """
import time
from cerebelum_nb import step, workflow

@step
def load(context, inputs):
    return inputs["wait"]

@step
def train(context, load):
    time.sleep(load)
    return load

@step
def report(context, train):
    return 1

@workflow
def flow(wf):
    wf.timeline(load >> train >> report)
"""
MINUS = "\N{MINUS SIGN}"
SECOND = '.cb:has-text("run 2,")'
DIFFERENCE = "print(runs[2].compare(1)['train'].difference_s)"
TIMES = """
before, after = (runs[n].rows()[1].segments[-1] for n in (1, 2))
print(before.start, before.end, after.start)
"""


def label(page, of, step):
    return page.text_content(f"{of} {row(step)} .cb-label")


def test_an_earlier_run_is_picked_and_its_outlines_and_differences_are_seen(tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    runs = ["%cerebelum_run flow {'wait': 1.0}", "%cerebelum_run flow {'wait': 0.2}"]
    write_notebook(tmp_path / "beside.ipynb", "%load_ext cerebelum_nb", STEPS, *runs)
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "beside.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector(
            f'{SECOND}[data-run-status="succeeded"] .cb-select option:nth-child(2)', state="attached"
        )
        first = page.locator('.cb:has-text("run 1,") .cb-compare').is_visible()
        before = page.locator(f"{SECOND} .cb-earlier").count()
        page.focus(f"{SECOND} .cb-select")
        page.keyboard.press("ArrowDown")
        page.wait_for_selector(f"{SECOND} {row('train')} .cb-earlier", state="attached")
        told, total = label(page, SECOND, "train"), page.inner_text(f"{SECOND} .cb-diff")
        spoken = page.get_attribute(f"{SECOND} {row('train')}", "aria-label")
        heard = page.inner_text(f"{SECOND} .cb-live")
        bar, ghost = (
            page.locator(f"{SECOND} {row('train')} .{kind}").bounding_box() for kind in ("cb-bar", "cb-earlier")
        )
        known = float(ask_kernel(page, DIFFERENCE))
        began, ended, begins = map(float, ask_kernel(page, TIMES).split())
        light = faults(page)
        page.locator(SECOND).screenshot(path=SCREENS / "compare-light.png")
        dark(page)
        night = faults(page)
        page.locator(SECOND).screenshot(path=SCREENS / "compare-dark.png")
        book = saved(page, tmp_path / "beside.ipynb", static_charts)
        page.focus(f"{SECOND} .cb-select")
        page.keyboard.press("ArrowUp")
        page.wait_for_function("() => !document.querySelector('.cb-earlier')")
        page.click(f"{SECOND} {row('train')} .cb-name")
        page.click(f"{SECOND} .cb-menu [role=menuitem]:has-text('Re-run')")
        page.click(f"{SECOND} .cb-apply:visible")
        page.wait_for_selector('.cb:has-text("run 3,")[data-run-status="succeeded"]')
        left = page.locator(".cb-earlier").count()
        errors = list(page.errors)

    assert (first, before, left) == (False, 0, 0)  # who chose none is not shown one by itself
    figure, unit = re.search(rf"· {MINUS}([\d.]+) (ms|s)$", told).groups()
    assert float(figure) / {"ms": 1000, "s": 1}[unit] == pytest.approx(-known, abs=0.01)
    assert total.startswith(MINUS)
    assert spoken.endswith("s faster than in run 1")
    assert heard.startswith("Compared with run 1: ")
    assert ghost["width"] > 2 * bar["width"]
    pixels = ghost["width"] / (ended - began)  # of a second
    assert ghost["x"] - bar["x"] == pytest.approx((began - begins) * pixels, abs=4)
    assert (light, night, errors) == ([], [], [])
    assert "cb-earlier" not in json.dumps(book)


def test_a_step_that_is_moved_by_a_click_shows_at_once_and_after_a_reload_how_it_was_before(tmp_path):
    write_notebook(tmp_path / "moved.ipynb", "%load_ext cerebelum_nb", STEPS, "%cerebelum_run flow {'wait': 0.3}")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "moved.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector('.cb[data-run-status="succeeded"]')
        page.click(f"{row('train')} .cb-name")
        page.click('.cb-menu [role=menuitem][data-executor="distributed"]')
        page.click(".cb-apply")
        page.wait_for_selector(
            f'.cb:has-text("run 2,")[data-run-status="succeeded"] {row("train")} .cb-earlier', state="attached"
        )
        page.wait_for_selector(".cb-diff:not([hidden])")
        told, note = label(page, ".cb", "train"), page.inner_text(".cb-unlike")
        gained = page.inner_text(".cb-panel dl")
        saved(page, tmp_path / "moved.ipynb", lambda b: any("reused" in chart for chart in static_charts(b)))
        page.reload()
        page.wait_for_selector(f"{row('train')} .cb-earlier", state="attached")  # as this tab knows it
        again = page.inner_text(".cb-unlike")
        errors = list(page.errors)

    assert "ms" in told
    assert "same" in told or "+" in told or MINUS in told
    assert [note, again] == ["run 2 reuses 1 step"] * 2
    assert "vs run 1" in gained
    assert "the run " in gained
    assert errors == []
