"""How long an update takes: 10,000 rows, 10 patches a second, and a scroll through all of them."""  # noqa: INP001

import http.server
import json
import os
import pathlib
import sys
import threading

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from shots import Handler

MEASURE = "async (n) => (await import('/demo/pace.js')).default(n)"


def main() -> None:
    """Measure with few, many and all rows in a patch."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as pw:
        browser = pw.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for per_patch in (10, 1000, 10_000):
            page = browser.new_page(viewport={"width": 1100, "height": 620})
            page.goto(f"http://127.0.0.1:{server.server_port}/demo/index.html?case=many&n=10000&theme=light")
            page.wait_for_selector(".cb-row")
            sys.stdout.write(f"first picture {page.evaluate('window.cb.painted'):.0f} ms, ")
            sys.stdout.write(f"{per_patch} rows in a patch: {json.dumps(page.evaluate(MEASURE, per_patch))}\n")
            page.close()
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
