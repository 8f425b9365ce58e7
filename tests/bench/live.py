"""What the picture costs: in the kernel that feeds it, and in the browser that draws it."""

import functools
import http.server
import os
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from shutil import which

from table import line

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "notebook"), str(ROOT / "js" / "demo")]

STEPS = 2_000
STEP_S = 0.005
SHARE_LIMIT = 2.0  # % of the run
MESSAGES_LIMIT = 20.0  # a second
PAINT_LIMIT_MS = 300.0
FRAME_LIMIT_MS = 20.0

# What the live view does lies in one function, on the thread of the control loop; what it sends goes out on another.
MEASURED = """
import asyncio, threading, time
from cerebelum_nb import step, workflow
from cerebelum_nb.notebook import feed

def steps(n, s):
    made = []
    for i in range(n):
        space = {"asyncio": asyncio, "s": s}
        exec(f"async def s{i}({f's{i - 1}' if i else ''}): await asyncio.sleep(s)", space)
        made.append(step(space[f"s{i}"]))
    return made

@workflow
def long(wf): wf.timeline(*steps(%d, %g))

@workflow
def short(wf): wf.timeline(*steps(3, 0.001))

spent, plain = [], feed.Feeds._tell

def measured(*args, **options):
    began = time.thread_time()
    try:
        plain(*args, **options)
    finally:
        spent.append(time.thread_time() - began)

feed.Feeds._tell = measured

def out():
    return time.clock_gettime(time.pthread_getcpuclockid(get_ipython().kernel.iopub_thread.thread.ident))
"""
TELL = """
from cerebelum_nb import runs
last = runs[-1]
print(1e3 * (last.state.ended_at - last.state.started_at), 1e3 * sum(spent), 1e3 * (out() - before))
"""


def kernel_rows() -> None:
    """Percent of a run's time that its live view takes in the kernel, and how many messages it sends a second."""
    from kerneldriver import Kernel  # noqa: PLC0415  found by the path above

    with tempfile.TemporaryDirectory(prefix="cerebelum-bench-") as home:
        kernel = Kernel(env={**os.environ, "CEREBELUM_HOME": home})
        try:
            kernel(MEASURED % (STEPS, STEP_S))
            kernel("%cerebelum_run short")  # whatever is loaded for the first picture
            kernel.messages.clear()
            kernel.updates.clear()
            kernel("spent.clear(); before = out()")
            kernel("%cerebelum_run long", deadline_s=120)
            whole, view, sent = map(float, kernel(TELL).out.split())
            messages = len(kernel.messages) + len(kernel.updates)
        finally:
            kernel.stop()
    what, share = f"live view of {STEPS:,} steps of {STEP_S * 1e3:g} ms, kernel", 100 * (view + sent) / whole
    beside = f"at most {SHARE_LIMIT:g}; {view:.0f} + {sent:.0f} ms of CPU, made + sent, in {whole:.0f} ms"
    line(what, share, "% of run", beside)
    line("  messages", messages / whole * 1e3, "a second", f"at most {MESSAGES_LIMIT:g}; {messages} in all")


def browser_rows() -> None:
    """Milliseconds until 10,000 rows are there, and of a frame while ten updates a second come in."""
    try:
        from pace import MEASURE  # noqa: PLC0415
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
        from shots import Handler  # noqa: PLC0415
    except ImportError:
        print("  no Playwright here: the browser's part is not measured")
        return
    chromium = os.environ.get("CHROMIUM") or which("chromium") or which("chromium-browser") or which("google-chrome")
    if chromium is None:
        print("  no Chromium here: the browser's part is not measured")
        return
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(ROOT / "js")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        paints: list[float] = []
        for _ in range(5):  # each time a page that has never run the script
            page = browser.new_page(viewport={"width": 1100, "height": 620})
            page.goto(f"http://127.0.0.1:{server.server_port}/demo/index.html?case=many&n=10000&theme=light")
            page.wait_for_selector(".cb-row")
            paints.append(page.evaluate("window.cb.painted"))
        pace = page.evaluate(MEASURE, 1000)
        browser.close()
    server.shutdown()
    painted = f"at most {PAINT_LIMIT_MS:g}; median of 5, {min(paints):.0f} to {max(paints):.0f}"
    line("10,000 rows in Chromium, first picture", statistics.median(paints), "ms", painted)
    frame = f"at most {FRAME_LIMIT_MS:g}; ten updates of 1,000 rows a second, p50 {pace['frame_ms_p50']}"
    line("  frame, p95", float(pace["frame_ms_p95"]), "ms", frame)
    line("  frame while it scrolls too, p95", float(pace["both_frame_ms_p95"]), "ms", f"at most {FRAME_LIMIT_MS:g}")
    line("  drawing while it scrolls, p95", float(pace["scroll_draw_ms_p95"]), "ms", "")


if __name__ == "__main__":
    kernel_rows()
    browser_rows()
