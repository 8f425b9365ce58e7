"""A real JupyterLab or Notebook 7 in a real Chromium, for one test each."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

TOKEN = "browser-test"
BOOT_S = 60
WAIT_MS = 60_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"


def chromium() -> str:
    """Path of the browser; the Makefile installs it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no Chromium on PATH: apt-get install chromium"
    return found


@contextlib.contextmanager
def server(root: Path, app: str):
    """A Jupyter server of its own on a free port, with its settings under `root`; yields its address."""
    home = root / ".jupyter-home"
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    asks = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    asks.parent.mkdir(parents=True, exist_ok=True)
    asks.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # else it asks, over what is looked at
    expose = "LabApp" if app == "lab" else "JupyterNotebookApp"
    log = root / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter", app, "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
                *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"),
                *(
                    f"--{expose}.expose_app_in_browser=True",
                    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                ),
            ],
            stdout=out,
            stderr=out,
            env=env,
            start_new_session=True,
        )
    try:
        yield _address(home / "runtime", process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def _address(runtime: Path, process: subprocess.Popen, log: Path) -> str:
    until = time.monotonic() + BOOT_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        for info in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, urllib.error.URLError, ConnectionError):
                url = json.loads(info.read_text())["url"].rstrip("/")
                urllib.request.urlopen(f"{url}/api/status?token={TOKEN}", timeout=2).read()
                return url
        time.sleep(0.1)
    raise AssertionError(f"Jupyter did not answer within {BOOT_S} s:\n{log.read_text()}")


@contextlib.contextmanager
def browser():
    """A page; errors that come from a widget's module, and not from Jupyter's own code, are in `page.errors`."""
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium(), headless=True, args=FLAGS)
        page = chrome.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(WAIT_MS)
        page.errors = []
        page.on("pageerror", lambda e: page.errors.append(e.stack) if "blob:" in (e.stack or "") else None)
        try:
            yield page
        finally:
            chrome.close()


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of these code cells."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)


def open_notebook(page: Page, url: str, name: str, app: str) -> None:
    """Open a notebook and wait until its kernel is idle."""
    at = f"lab/workspaces/auto-x/tree/{name}?reset&" if app == "lab" else f"notebooks/{name}?"
    page.goto(f"{url}/{at}token={TOKEN}")
    page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-CodeCell")
    page.wait_for_function(
        "() => { const w = window.jupyterapp?.shell.currentWidget; "
        "return w?.sessionContext?.session?.kernel?.status === 'idle'; }"
    )


def command(page: Page, name: str, **arguments: object) -> None:
    """Run one of Jupyter's own commands."""
    page.evaluate("([name, args]) => { window.jupyterapp.commands.execute(name, args); }", [name, arguments])


def dark(page: Page) -> None:
    """Change to the dark theme."""
    command(page, "apputils:change-theme", theme="JupyterLab Dark")
    page.wait_for_selector('body[data-jp-theme-light="false"]', state="attached")
    page.wait_for_function("() => !document.getElementById('jupyterlab-splash')")


def ask_kernel(page: Page, code: str) -> str:
    """What a piece of code prints in the notebook's kernel."""
    return page.evaluate(
        "async (code) => { const f = " + KERNEL + ".requestExecute({code, store_history: false}); let out = '';"
        "f.onIOPub = m => { if (m.header.msg_type === 'stream') out += m.content.text;"
        "if (m.header.msg_type === 'error') out += m.content.ename + ': ' + m.content.evalue; }; await f.done; return out; }",
        code,
    )


def saved(
    page: Page, path: Path, holds: Callable[[nbformat.NotebookNode], bool], seconds: float = 20
) -> nbformat.NotebookNode:
    """The notebook as saved, once it holds something: an output may be updated a moment after its run has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        command(page, "docmanager:save")
        page.wait_for_timeout(100)
        with contextlib.suppress(ValueError):  # read in the middle of being written
            book = nbformat.read(path, 4)
            if holds(book):
                return book
    raise AssertionError(f"the saved notebook does not hold it after {seconds} s: {path.read_text()[-3000:]}")
