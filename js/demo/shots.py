"""Pictures of the widget in a real browser: ``python js/demo/shots.py OUT_DIR`` after ``npm run build``."""  # noqa: INP001

import functools
import http.server
import os
import pathlib
import sys
import threading

from playwright.sync_api import Page, sync_playwright

JS = pathlib.Path(__file__).resolve().parents[1]
STATIC = JS.parent / "cerebelum_nb" / "notebook" / "static"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves js/, and the bundle at the root."""

    def translate_path(self, path: str) -> str:
        """Where a path lies on disk."""
        path = path.partition("?")[0].lstrip("/")
        return str((STATIC if path in ("widget.js", "widget.css") else JS) / path)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def guess_type(self, path: str) -> str:  # type: ignore[override]
        """Modules need a type that browsers take for script."""
        return "text/javascript" if str(path).endswith(("js", "mjs")) else super().guess_type(path)


def select(page: Page, step: str) -> None:
    """Click a step."""
    page.click(f'.cb-row[data-step="{step}"] .cb-name')


def plan(page: Page, step: str) -> None:
    """Choose the first offer of its menu."""
    select(page, step)
    page.click(".cb-menu [role=menuitem]:not([aria-disabled])")
    page.wait_for_selector(".cb-apply:not([hidden])")


def menu(page: Page, step: str) -> None:
    """Open the menu of a step."""
    select(page, step)
    page.wait_for_selector(".cb-menu [role=menuitem]")


def opened(page: Page, step: str) -> None:
    """Open a step and close its menu."""
    menu(page, step)
    page.keyboard.press("Escape")


def asked(page: Page, _step: str = "") -> None:
    """Open the step that waits for an answer, from the header."""
    page.click(".cb-asks")
    page.wait_for_selector(".cb-asked:not([hidden])")


def folds(page: Page, *groups: str) -> None:
    """Open or close groups."""
    for group in groups:
        page.click(f'.cb-group[data-group="{group}"] .cb-name')


def found(page: Page, words: str) -> None:
    """Look for steps by their names."""
    page.fill(".cb-search", words)


def zoomed(page: Page, step: str) -> None:
    """Look closer, by keys."""
    page.focus(f'.cb-row[data-step="{step}"]')
    for key in ("+", "+", "Shift+ArrowLeft"):
        page.keyboard.press(key)


def compared(page: Page) -> None:
    """Choose an earlier run to look at it behind this one."""
    page.select_option(".cb-select", index=1)
    page.wait_for_selector(".cb-earlier")


def turned(page: Page) -> None:
    """A page that is read from right to left."""
    page.evaluate("() => { document.documentElement.dir = 'rtl'; }")


def main(out: pathlib.Path) -> None:
    """Take every picture."""
    out.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(JS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/demo/index.html"
    shots = [
        ("running-light", "case=running&theme=light", 1100, None),
        ("running-dark", "case=running&theme=dark", 1100, lambda p: menu(p, "process_payment")),
        ("plan-light", "case=finished&theme=light", 1100, lambda p: plan(p, "check_inventory")),
        ("plan-dark", "case=running&theme=dark", 1100, lambda p: plan(p, "process_payment")),
        ("plan-narrow", "case=finished&theme=light", 524, lambda p: plan(p, "check_inventory")),
        ("failed-light", "case=failed&theme=light", 1100, lambda p: opened(p, "process_payment")),
        ("failed-dark", "case=failed&theme=dark", 524, lambda p: opened(p, "process_payment")),
        ("rerun-light", "case=rerun&theme=light", 1600, lambda p: opened(p, "process_payment")),
        ("rerun-dark", "case=rerun&theme=dark", 800, None),
        ("rerun-narrow", "case=rerun&theme=light", 524, None),
        ("paused-light", "case=paused&theme=light", 1100, None),
        ("paused-dark", "case=paused&theme=dark", 1100, None),
        ("paused-narrow", "case=paused&theme=light", 524, None),
        ("ask-light", "case=paused&theme=light", 1100, asked),
        ("ask-dark", "case=paused&theme=dark", 1100, asked),
        ("ask-narrow", "case=paused&theme=dark", 524, asked),
        ("folded-light", "case=folded&theme=light", 1100, lambda p: folds(p, "prepare")),
        ("folded-dark", "case=folded&theme=dark", 1100, lambda p: folds(p, "prepare")),
        ("unfolded-light", "case=folded&theme=light", 1100, lambda p: folds(p, "score")),
        ("decision-dark", "case=folded&theme=dark", 1100, lambda p: opened(p, "validate?")),
        ("many-light", "case=many&theme=light", 1100, None),
        ("many-dark", "case=many&theme=dark", 1100, lambda p: found(p, "part_0001")),
        ("undoing-light", "case=undoing&theme=light", 1100, None),
        ("undone-light", "case=undone&theme=light", 1100, lambda p: opened(p, "charge_card")),
        ("undone-dark", "case=undone&theme=dark", 1100, None),
        ("leftover-narrow", "case=leftover&theme=dark", 524, None),
        ("pools-light", "case=pools&theme=light", 1100, lambda p: opened(p, "score")),
        ("pools-dark", "case=pools&theme=dark", 1600, None),
        ("pools-narrow", "case=pools&theme=light", 524, None),
        ("gaps-light", "case=overnight&theme=light", 1100, lambda p: p.click("text=cut gaps")),
        ("gaps-dark", "case=overnight&theme=dark", 1100, None),
        ("names-light", "case=names&theme=light", 1100, None),
        ("names-rtl", "case=names&theme=dark", 800, turned),
        ("compare-light", "case=finished&theme=light", 1100, compared),
        ("compare-dark", "case=finished&theme=dark", 1100, compared),
        ("compare-live", "case=running&theme=light", 1100, compared),
        ("compare-pools", "case=pools&theme=dark", 1100, compared),
        ("compare-folded", "case=folded&theme=light", 1100, compared),
        ("compare-undone", "case=undone&theme=dark", 800, compared),
        ("compare-narrow", "case=finished&theme=light", 524, compared),
        ("zoomed-light", "case=finished&theme=light", 1100, lambda p: zoomed(p, "check_inventory")),
        ("plain-dark", "case=finished", 900, None),
        ("empty", "case=finished&theme=light&silent&empty", 700, None),
    ]
    with sync_playwright() as pw:
        browser = pw.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        for name, query, width, act in shots:
            scheme = "dark" if name == "plain-dark" else "light"
            page = browser.new_page(viewport={"width": width, "height": 620}, color_scheme=scheme)
            page.on("pageerror", lambda e, n=name: sys.stderr.write(f"page error in {n}: {e}\n"))
            page.on("console", lambda m, n=name: m.type == "error" and sys.stderr.write(f"console, {n}: {m.text}\n"))
            page.goto(f"{base}?{query}")
            page.wait_for_selector(".cb-empty" if name == "empty" else ".cb-row")
            page.wait_for_timeout(120)
            if act:
                act(page)
                page.wait_for_timeout(150)
            page.screenshot(path=str(out / f"{name}.png"), full_page=name.endswith("narrow") or width < 600)
            page.close()
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
