"""The same widget in a real marimo: a run is a cell's value, and is moved while it runs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.browser.accessible import faults
from tests.browser.jupyter import BOOT_S, browser
from tests.browser.test_live_widget import SCREENS, row

pytest.importorskip("marimo")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

APP = """
import marimo
app = marimo.App()

@app.cell
def _():
    import asyncio, pathlib
    from cerebelum_nb import step, workflow
    from cerebelum_nb.session import current

    @step(executor="local")
    async def extract(context, inputs):
        print("extracting")
        return inputs["n"]

    @step(executor="distributed")
    def transform(context, extract):
        return extract * 2

    @step(executor="local")
    async def load(context, transform):
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.02)
        return transform + 1

    @workflow
    def flow(wf):
        wf.timeline(extract >> transform >> load)

    run = current().run(flow, {"n": 20})
    run
    return
"""


@contextlib.contextmanager
def marimo(root, mode):
    """A marimo server of its own; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "marimo", mode, "app.py", "--headless", "--no-token", "--port", str(port)]
    env = {**os.environ, "CEREBELUM_HOME": str(root / "home"), "HOME": str(root), "PYTHONPATH": os.getcwd()}
    with (root / "server.log").open("w") as out:
        process = subprocess.Popen(line, cwd=root, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        until = time.monotonic() + BOOT_S
        url = f"http://127.0.0.1:{port}/"
        while True:
            assert process.poll() is None, (root / "server.log").read_text()
            assert time.monotonic() < until, (root / "server.log").read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(url, timeout=2).read()
                break
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_run_is_followed_moved_and_looked_into_in_marimo(tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    (tmp_path / "app.py").write_text(APP)
    with marimo(tmp_path, "run") as url, browser() as page:
        page.goto(url)
        page.wait_for_selector(row("load", status="running"))
        page.click(f"{row('transform')} .cb-name")
        page.click('.cb-menu [data-executor="local"]')
        page.click(".cb-apply:visible")
        page.wait_for_selector(row("transform", status="succeeded", executor="local", attempt=2))
        (tmp_path / "go").touch()
        page.wait_for_selector('.cb[data-run-status="succeeded"]')
        page.click('.cb-tab[data-tab="result"]')
        page.click('[data-of="result"]')
        page.wait_for_selector(".cb-preview")
        preview = page.inner_text(".cb-preview")
        page.screenshot(path=SCREENS / "marimo-light.png")
        light = faults(page, {"fromShadowDom": ["marimo-anywidget", ".cb"]})

    assert preview == "40"
    assert light == []
