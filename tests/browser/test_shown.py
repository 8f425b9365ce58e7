"""What steps display, in a real JupyterLab: images and frames in the panel, and no way out of them."""

import json

import pytest

from tests.browser.accessible import faults
from tests.browser.jupyter import browser, command, dark, open_notebook, saved, server, write_notebook
from tests.browser.test_live_widget import SCREENS, static_charts
from tests.browser.test_panel import done, opened

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HACK = "try { top.hacked = 1 } catch (e) {} ; try { parent.hacked = 1 } catch (e) {} ; globalThis.hacked = 1"
EVIL = (
    f'<table><tr><td>canary-cell</td></tr></table><img src=x onerror="{HACK}"><script>{HACK}</script>'
    f'<svg onload="{HACK}"></svg><iframe srcdoc="<script>{HACK}</script>"></iframe>'
    f'<form action="javascript:{HACK}"><button id=send>send</button></form>'
    f'<a id=leave target=_top href="javascript:{HACK}">leave</a><meta http-equiv=refresh content="0;url=about:blank">'
    "<link rel=stylesheet href=http://localhost:9/x.css><img src=http://localhost:9/x.png>"
)
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20" onload="{HACK}"><script>{HACK}</script></svg>'
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElFTkSuQmCC"
STEPS = f"""
import base64
from cerebelum_nb import step, workflow

class Evil:
    def __repr__(self): return {EVIL!r}  # as text, too
    def _repr_html_(self): return {EVIL!r}

class Drawing:
    def __repr__(self): return "a drawing"
    def _repr_svg_(self): return {SVG!r}
    def _repr_javascript_(self): return {HACK!r}

class Picture:
    def __repr__(self): return "a picture"
    def _repr_png_(self): return base64.b64decode({PNG!r})

@step(executor="distributed")
def shows(context):
    from IPython.display import display
    print("before")
    display(Evil(), Drawing())
    display(Picture())
    print("after")

@workflow
def flow(wf):
    wf.timeline(shows)
"""


def test_what_a_step_displays_is_seen_in_its_panel_and_can_do_nothing(tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    write_notebook(tmp_path / "shown.ipynb", "%load_ext cerebelum_nb", STEPS, "run = %cerebelum_run flow --detach")
    with server(tmp_path, "lab") as url, browser() as page:
        asked: list[str] = []
        blocked: list[str] = []  # by the frame's own policy: now and then the browser tells of it, nothing was sent
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: blocked.append(request.url) if request.failure == "csp" else None)
        open_notebook(page, url, "shown.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        done(page)
        opened(page, "shows")
        page.wait_for_selector(".cb-output img >> nth=1")
        frame = page.frame_locator(".cb-output iframe")
        cell = frame.locator("td").first.inner_text()
        frame.locator("#send").click()
        frame.locator("#leave").click()
        sizes = page.evaluate(
            "[...document.querySelectorAll('.cb-output img')].map((i) => [i.naturalWidth, i.complete])"
        )
        nodes = page.evaluate("[...document.querySelector('.cb-output').children].map((n) => n.tagName)")
        page.screenshot(path=SCREENS / "lab-shown-light.png")
        light = faults(page)
        dark(page)
        night = faults(page)
        hacked = page.evaluate("[globalThis.hacked, top.hacked]")
        where = page.url
        book = saved(page, tmp_path / "shown.ipynb", static_charts)

    assert cell == "canary-cell"
    assert nodes == ["SPAN", "SPAN", "IMG", "IMG", "SPAN"]
    assert sizes == [[40, True], [10, True]]
    assert hacked == [None, None]
    assert "shown.ipynb" in where
    assert not [url for url in asked if "localhost:9/" in url and url not in blocked]
    assert (light, night) == ([], [])
    text = json.dumps([c.get("outputs", []) for c in book.cells]) + json.dumps(book.metadata)
    assert "canary-cell" not in text
    assert PNG[:40] not in text
