"""What the chart and its panel look like, compared with pictures of how they should: colours, patterns, lines, places.

Letters are left out, since each machine has its own. A change that is meant: `CEREBELUM_PICTURES=new` writes the
pictures again; look at them before they are committed.
"""

import base64
import functools
import http.server
import json
import os
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from cerebelum_nb.model.view import Header, Row
from cerebelum_nb.notebook import page as pages
from tests.browser.jupyter import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

JS = Path(__file__).parents[2] / "js"
FIXTURES = JS / "fixtures"
PICTURES = Path(__file__).parent / "pictures"
NAMES = ("failed", "finished", "folded", "overnight", "paused", "pools", "running", "undone")
MOST_DIFFERENT = 0.001  # of all dots: edges are smoothed a little differently from one Chromium to the next
WITHOUT_LETTERS = """
* { color: transparent !important; caret-color: transparent !important; animation: none !important;
    font-family: monospace !important; transition: none !important; }
svg text { fill: transparent !important; stroke: transparent !important; }
::placeholder { color: transparent !important; }
"""
# The map and the gaps come a moment after the rows: timers end in their order, so all is drawn when this one has.
DRAWN = """() => new Promise((done) => {
  setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 200);
})"""
# Somebody who needs no tip, and has looked at nothing before.
KNOWN = """try {
  sessionStorage.clear();
  localStorage.setItem("cerebelum_nb:tip:opened", "yes");
} catch { /* a page without memory */ }"""
DIFFERENT = """async ([ours, theirs]) => {
  const dots = async (data) => {
    const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob());
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height);
  };
  const [a, b] = [await dots(ours), await dots(theirs)];
  if (a.width !== b.width || a.height !== b.height) return `${a.width} x ${a.height}, not ${b.width} x ${b.height}`;
  let count = 0;
  for (let i = 0; i < a.data.length; i += 4)
    if ([0, 1, 2].some((n) => Math.abs(a.data[i + n] - b.data[i + n]) > 40)) count += 1;
  return count / (a.width * a.height);
}"""


def fixture(name):
    snapshot = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return msgspec.convert(snapshot["header"], Header), msgspec.convert(snapshot["rows"], list[Row])


@pytest.fixture(scope="module")
def page():
    with browser() as opened:
        opened.add_init_script(KNOWN)
        yield opened


@pytest.fixture(scope="module")
def demo():
    """The widget in a page with a kernel that is played; yields what makes its address."""
    sys.path.insert(0, str(JS / "demo"))
    import shots  # noqa: PLC0415  found by the path above

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(shots.Handler, directory=str(JS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/demo/index.html"
    yield lambda case, theme: f"{address}?case={case}&theme={theme}"
    server.shutdown()
    sys.path.remove(str(JS / "demo"))


def differ(page, seen, name, tmp_path):
    """Which part of all dots is unlike the kept picture, or which sizes are."""
    kept = PICTURES / f"{name}.png"
    if os.environ.get("CEREBELUM_PICTURES") == "new":
        kept.write_bytes(seen)
    (tmp_path / "seen.png").write_bytes(seen)
    page.goto("about:blank")
    both = [base64.b64encode(data).decode() for data in (seen, kept.read_bytes())]
    different = page.evaluate(DIFFERENT, both)

    assert isinstance(different, float | int), different
    assert different <= MOST_DIFFERENT, f"{different:.2%} of it is different: see {tmp_path / 'seen.png'} beside {kept}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_the_chart_looks_as_it_should(name, theme, page, tmp_path):
    file = tmp_path / "run.html"
    file.write_text(pages.html(*fixture(name)), "utf-8")
    page.set_viewport_size({"width": 1000, "height": 800})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.goto(file.as_uri())
    page.wait_for_selector(".cb[data-run-status]")
    page.wait_for_selector(".cb-row")
    page.evaluate(DRAWN)
    page.add_style_tag(content=WITHOUT_LETTERS)
    seen = page.locator("#run").screenshot(animations="disabled")

    differ(page, seen, f"{name}-{theme}", tmp_path)


def plan(page):
    """What a move would mean."""
    page.click('.cb-row[data-step="check_inventory"] .cb-name')
    page.click(".cb-menu [role=menuitem]:not([aria-disabled])")
    page.wait_for_selector(".cb-apply:visible")
    page.wait_for_selector(".cb-output:visible")


def failure(page):
    """How a step failed."""
    page.click('.cb-row[data-step="process_payment"] .cb-name')
    page.keyboard.press("Escape")
    page.click(".cb-fold summary")
    page.wait_for_selector(".cb-trace:visible")
    page.wait_for_selector(".cb-output:visible")


def comparison(page):
    """Another run behind this one."""
    page.wait_for_selector(".cb-select option:nth-child(2)", state="attached")
    page.select_option(".cb-select", index=1)
    page.wait_for_selector(".cb-earlier", state="attached")


def tries(page):
    """A step that was tried twice, with its table."""
    page.click('.cb-row[data-step="book_carrier"] .cb-name')
    page.keyboard.press("Escape")
    page.wait_for_selector(".cb-attempts:visible")
    page.wait_for_selector(".cb-output:visible")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("act", "case"), [(plan, "finished"), (failure, "failed"), (comparison, "finished"), (tries, "undone")]
)
def test_the_panel_and_a_comparison_look_as_they_should(act, case, theme, demo, page, tmp_path):
    page.set_viewport_size({"width": 1000, "height": 800})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.goto(demo(case, theme))
    page.wait_for_selector(".cb-row")
    page.add_style_tag(content=WITHOUT_LETTERS)
    act(page)
    page.mouse.move(1, 1)
    page.evaluate("document.activeElement.blur()")
    page.evaluate(DRAWN)
    seen = page.locator(".cb").screenshot(animations="disabled")

    differ(page, seen, f"{act.__name__}-{theme}", tmp_path)
