"""What the chart looks like, compared with pictures of how it should: bars, colours, patterns, lines, places.

Letters are left out, since each machine has its own. A change that is meant: `CEREBELUM_PICTURES=new` writes the
pictures again; look at them before they are committed.
"""

import base64
import json
import os
from pathlib import Path

import msgspec
import pytest

from cerebelum_nb.model.view import Header, Row
from cerebelum_nb.notebook import page as pages
from tests.browser.jupyter import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

FIXTURES = Path(__file__).parents[2] / "js" / "fixtures"
PICTURES = Path(__file__).parent / "pictures"
NAMES = ("failed", "finished", "folded", "overnight", "paused", "pools", "running", "undone")
MOST_DIFFERENT = 0.001  # of all dots: edges are smoothed a little differently from one Chromium to the next
WITHOUT_LETTERS = """
* { color: transparent !important; caret-color: transparent !important; animation: none !important;
    font-family: monospace !important; transition: none !important; }
svg text { fill: transparent !important; }
::placeholder { color: transparent !important; }
"""
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
        yield opened


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_the_chart_looks_as_it_should(name, theme, page, tmp_path):
    file = tmp_path / "run.html"
    file.write_text(pages.html(*fixture(name)), "utf-8")
    page.set_viewport_size({"width": 1000, "height": 800})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.goto(file.as_uri())
    page.wait_for_selector(".cb[data-run-status]")
    page.add_style_tag(content=WITHOUT_LETTERS)
    seen = page.locator("#run").screenshot(animations="disabled")

    kept = PICTURES / f"{name}-{theme}.png"
    if os.environ.get("CEREBELUM_PICTURES") == "new":
        kept.write_bytes(seen)
    (tmp_path / "seen.png").write_bytes(seen)
    page.goto("about:blank")
    both = [base64.b64encode(data).decode() for data in (seen, kept.read_bytes())]
    different = page.evaluate(DIFFERENT, both)

    assert isinstance(different, float | int), different
    assert different <= MOST_DIFFERENT, f"{different:.2%} of it is different: see {tmp_path / 'seen.png'} beside {kept}"
