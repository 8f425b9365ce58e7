"""Finding one's way in a chart in a real JupyterLab: search, filters, zoom, what holds a run up, what is undone."""

import json

import pytest

from tests.browser.jupyter import ask_kernel, browser, command, dark, open_notebook, saved, server, write_notebook
from tests.browser.test_live_widget import SCREENS, row, static_charts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

STEPS = """
import asyncio, pathlib
from cerebelum_nb import step, workflow

@step
async def extract(context):
    await asyncio.sleep(0.05)
    return 1

@step(executor="distributed")
async def heavy(context, extract):
    await asyncio.sleep(0.6)
    return 2

@step
async def light(context, extract):
    await asyncio.sleep(0.01)
    return 3

@step
async def join(context, heavy, light):
    print("epoch 1 of-canary-street")
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.02)
    return heavy + light

@workflow
def flow(wf):
    wf.timeline(extract >> [heavy, light] >> join)
"""
WIDE = """
from cerebelum_nb import step, workflow

def made(number):
    async def one(context):
        return number
    one.__name__ = one.__qualname__ = f"part_{number:03d}"
    return step(one)

@workflow
def wide(wf):
    for number in range(260):
        wf.timeline(made(number))
"""
UNDONE = """
from cerebelum_nb import step, workflow

@step
async def reserve(context):
    return "R1"

@reserve.compensate
async def release(context, result):
    return None

@step
async def charge(context, reserve):
    raise ValueError("card declined")

@workflow(on_failure="compensate")
def buy(wf):
    wf.timeline(reserve >> charge)
"""
BARS = "all => all.map(r => [r.dataset.step, r.querySelector('.cb-critical') !== null])"
FIT = ".cb-fit"


def wait_until(page, script, argument=None):
    return page.wait_for_function(script, arg=argument)


def ticks(page):
    return page.eval_on_selector_all(".cb-axis .cb-tick", "all => all.map(t => t.textContent).join(' ')")


def steps(page):
    return page.eval_on_selector_all(".cb-row[data-step]", "all => all.map(r => r.dataset.step)")


def test_a_chart_is_searched_filtered_zoomed_and_comes_back_as_it_was(tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    (tmp_path / "go").touch()
    write_notebook(tmp_path / "moves.ipynb", "%load_ext cerebelum_nb", STEPS, "%cerebelum_run flow", *["1"] * 12)
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "moves.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector('.cb[data-run-status="succeeded"]')
        page.locator(".cb").scroll_into_view_if_needed()
        page.wait_for_selector(
            ".cb-row .cb-critical", state="attached"
        )  # a line is too thin to be visible to the driver
        held = dict(page.eval_on_selector_all(".cb-row[data-step]", BARS))
        page.screenshot(path=SCREENS / "moves-light.png")

        # Keys: search, Enter, Escape; nothing of it reaches the notebook.
        page.locator(row("extract")).focus()
        page.keyboard.press("/")
        page.keyboard.type("heav")
        wait_until(page, "() => document.querySelectorAll('.cb-row').length === 1")
        page.keyboard.press("Enter")
        found = page.evaluate("() => document.activeElement.dataset.step")
        page.keyboard.press("/")
        page.keyboard.press("Escape")
        wait_until(page, "() => document.querySelectorAll('.cb-row').length === 4")

        # The legend: a place, then all again.
        page.click('.cb-key[data-place="distributed"]')
        wait_until(page, "() => document.querySelectorAll('.cb-row').length === 1")
        told = page.inner_text(".cb-found")
        page.click(".cb-link")

        # The wheel: with Ctrl it zooms, alone it scrolls the page.
        whole = ticks(page)
        page.locator(row("heavy")).hover()
        scrolled = "() => document.querySelector('.jp-WindowedPanel-outer').scrollTop"
        before = page.evaluate(scrolled)
        page.mouse.wheel(0, 120)
        wait_until(page, f"(before) => ({scrolled})() !== before", before)
        same = ticks(page)
        page.locator(row("heavy")).hover()
        page.keyboard.down("Control")
        page.mouse.wheel(0, -400)
        page.keyboard.up("Control")
        page.wait_for_selector(f"{FIT}:not([disabled])")
        close = ticks(page)

        # A drag pans, and is no click on a bar.
        at = page.locator(row("light")).bounding_box()
        page.mouse.move(at["x"] + at["width"] * 0.5, at["y"] + 12)
        page.mouse.down()
        page.mouse.move(at["x"] + at["width"] * 0.2, at["y"] + 12, steps=5)
        page.mouse.up()
        wait_until(
            page,
            "(t) => [...document.querySelectorAll('.cb-axis .cb-tick')].map(e => e.textContent).join(' ') !== t",
            close,
        )
        panned = ticks(page)
        clicked = page.locator(".cb-selected").count()

        # A window of time on the axis, and its way back.
        page.click(FIT)
        box = page.locator(".cb-axis").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 12)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 12, steps=4)
        page.screenshot(path=SCREENS / "moves-window.png")
        page.mouse.up()
        page.wait_for_selector(f"{FIT}:not([disabled])")
        window = ticks(page)

        # Selected: relatives bright, the other dim; in the dark as well.
        page.locator(f"{row('heavy')} .cb-name").click()
        page.keyboard.press("Escape")
        page.wait_for_selector(".cb-dim")
        dim = page.eval_on_selector_all(".cb-dim", "all => all.map(r => r.dataset.step)")
        dark(page)
        page.screenshot(path=SCREENS / "moves-dark.png")

        book = saved(page, tmp_path / "moves.ipynb", lambda b: bool(static_charts(b)))
        page.reload()
        page.wait_for_selector('.cb[data-run-status="succeeded"]')
        page.wait_for_selector(f"{FIT}:not([disabled])")
        again = ticks(page)
        errors = list(page.errors)

    assert held == {"extract": True, "heavy": True, "light": False, "join": True}
    assert (found, told) == ("heavy", "1 of 4 shown")
    assert (same, close != whole, window not in (whole, close)) == (whole, True, True)
    assert (panned not in (whole, close), clicked) == (True, 0)
    assert dim == ["light"]
    assert again == window
    assert not [word for word in ("zoom", "scroll", 'heav"') if word in json.dumps(book.cells[2].outputs)]
    assert errors == []


def test_the_last_line_that_a_step_prints_stands_beside_its_bar_and_is_never_saved(tmp_path):
    # Detached: a cell that waits says what is printed in its own output, which is saved like any.
    write_notebook(tmp_path / "lines.ipynb", "%load_ext cerebelum_nb", STEPS, "%cerebelum_run flow --detach")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "lines.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector(row("join", status="running"))
        wait_until(
            page,
            "() => document.querySelector('.cb-row[data-step=join] .cb-label').textContent.includes('canary-street')",
        )
        page.wait_for_selector(".cb-ends", state="hidden")  # a first run: nobody knows when it ends
        live = saved(
            page, tmp_path / "lines.ipynb", lambda b: "cerebelum" in json.dumps(b.metadata.get("widgets", "cerebelum"))
        )
        (tmp_path / "go").touch()
        page.wait_for_selector('.cb[data-run-status="succeeded"]')
        kept = page.text_content(row("join"))
        state = json.loads(ask_kernel(page, STATE))
        errors = list(page.errors)

    assert "canary-street" not in json.dumps([live.metadata, [c.outputs for c in live.cells]])
    assert "canary-street" not in kept
    assert state == {"said": [""], "critical": ["extract", "heavy", "join"]}
    assert errors == []


STATE = """
run = __import__("cerebelum_nb").session.current().runs[-1]
import json
rows, header = run.rows(), run.header()
print(json.dumps({"said": sorted({r.said for r in rows}), "critical": [rows[t].step for t in header.critical]}))
"""


def test_a_second_run_knows_when_it_ends_and_many_rows_have_a_map(tmp_path):
    (tmp_path / "go").touch()
    write_notebook(
        tmp_path / "again.ipynb",
        "%load_ext cerebelum_nb",
        STEPS + WIDE,
        "%cerebelum_run flow",
        "%cerebelum_run flow",
        "%cerebelum_run wide",
    )
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "again.ipynb", "lab")
        page.evaluate(
            "() => { window.ends = new Set(); setInterval(() => { for (const e of document.querySelectorAll('.cb-ends'))"
            " if (!e.hidden) window.ends.add(e.title); }, 10); }"
        )
        command(page, "notebook:run-all-cells")
        page.wait_for_selector(".cb-minimap:not([hidden])")
        page.wait_for_function("() => document.querySelectorAll('.cb[data-run-status=succeeded]').length === 3")
        ends = page.evaluate("() => [...window.ends]")
        chart = page.locator(".cb").last
        chart.scroll_into_view_if_needed()
        box = chart.locator(".cb-minimap").bounding_box()
        page.mouse.click(box["x"] + 30, box["y"] + box["height"] - 4)
        page.wait_for_selector(row("part_255"))
        rows = chart.locator(".cb-row").count()
        page.screenshot(path=SCREENS / "moves-many.png")
        errors = list(page.errors)

    assert ends == ["as known from run 1"]
    assert 15 < rows < 60
    assert errors == []


def test_what_undoes_a_failed_run_comes_in_as_rows_of_its_own(tmp_path):
    write_notebook(tmp_path / "undo.ipynb", "%load_ext cerebelum_nb", UNDONE, "%cerebelum_run buy")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "undo.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector('.cb[data-run-status="compensated"]')
        page.wait_for_selector(row("undo reserve", status="succeeded", kind="undo"))
        page.wait_for_selector(row("reserve", status="undone"))
        pill, note = page.inner_text(".cb-pill"), page.inner_text(".cb-note")
        rows = steps(page)
        page.screenshot(path=SCREENS / "moves-undone.png")
        errors = list(page.errors)

    assert (pill, rows) == ("undone", ["reserve", "charge", "undo reserve"])
    assert "1 of 1 undone" in note
    assert errors == []
