"""What axe-core says of the widget in its main states, light and dark, at its usual size and at 200 %."""

import functools
import http.server
import threading
from pathlib import Path

import pytest

from tests.browser.accessible import faults
from tests.browser.jupyter import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

JS = Path(__file__).parents[2] / "js"
STATIC = JS.parent / "cerebelum_nb" / "notebook" / "static"
STATES = ("running", "finished", "failed", "rerun", "paused", "folded", "many")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves js/, and the bundle at the root."""

    def translate_path(self, path):
        path = path.partition("?")[0].lstrip("/")
        return str((STATIC if path in ("widget.js", "widget.css") else JS) / path)

    def guess_type(self, path):
        return "text/javascript" if str(path).endswith(("js", "mjs")) else super().guess_type(path)

    def log_message(self, *args):
        pass


@pytest.fixture
def base():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(JS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/demo/index.html"
    server.shutdown()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_is_found_in_any_state(base, theme):
    found = {}
    with browser() as page:
        for state in STATES:
            page.goto(f"{base}?case={state}&theme={theme}")
            page.wait_for_selector(".cb-row")
            found[state] = faults(page)
            steps = page.locator('.cb-row[data-kind="step"] .cb-name')
            steps.last.click()  # its menu, over the panel
            page.wait_for_selector(".cb-panel:visible")
            found[f"{state}, open"] = faults(page)
            page.keyboard.press("Escape")
            page.locator(".cb-save").click()
            found[f"{state}, save"] = faults(page)
        page.goto(f"{base}?case=paused&theme={theme}")
        page.click(".cb-asks")
        page.wait_for_selector(".cb-ask:visible")
        found["asked"] = faults(page)

    assert {state: said for state, said in found.items() if said} == {}


@pytest.mark.parametrize(
    ("width", "height", "zoom"),
    [(1280, 960, 2), (640, 480, 1), (320, 256, 1)],
    ids=["200 % of 1280 px, by the page's own zoom", "200 % of 1280 px", "400 % of 1280 px"],
)
@pytest.mark.parametrize(
    ("case", "step"), [("failed", "process_payment"), ("rerun", "process_payment"), ("pools", "score")]
)
def test_zoomed_nothing_is_cut_off_and_nothing_scrolls_sideways(base, case, step, width, height, zoom):
    """A browser that zooms makes its pixels fewer: 1280 at 400 % are the 320 of WCAG 1.4.10."""
    with browser() as page:
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{base}?case={case}&theme=light")
        page.evaluate("zoom => { document.documentElement.style.zoom = zoom; }", zoom)
        page.wait_for_selector(".cb-row")
        page.locator(f'.cb-row[data-step="{step}"] .cb-name').click()
        page.keyboard.press("Escape")
        page.wait_for_selector(".cb-panel:visible")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        inside = page.evaluate("(n => n.scrollWidth - n.clientWidth)(document.querySelector('.cb-panel'))")
        out = page.eval_on_selector_all(
            ".cb button:not([hidden]), .cb-panel :is(dd, td, th), .cb-tab",
            "all => all.filter(n => n.offsetParent && n.getBoundingClientRect().right > document.documentElement.getBoundingClientRect().right + 1)"
            ".map(n => n.textContent)",
        )
        header = page.locator(".cb-attempts:visible th").first
        tall = header.evaluate("n => n.offsetHeight") if header.count() else 0

    assert (wide, inside, out) == (0, 0, [])
    assert tall < 30  # px, one line: no heading breaks within its word


def test_a_finger_that_rests_on_a_row_opens_it(base):
    with browser() as page:
        page.goto(f"{base}?case=finished&theme=light")
        name = page.wait_for_selector('.cb-row[data-step="check_inventory"] .cb-name').bounding_box()
        touch = page.context.new_cdp_session(page)
        touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
        at = {"x": name["x"] + 20, "y": name["y"] + name["height"] / 2}
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        page.wait_for_selector('.cb-panel[data-step="check_inventory"]:visible')
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_selector(".cb-menu [role=menuitem]:visible")
        tip = page.locator(".cb-tip").is_visible()

    assert not tip  # who has opened one knows
