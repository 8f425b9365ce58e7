"""A run as one page: the widget's own bundle, a small host for it, and the data. Pure, but for reading the bundle.

It opens from a file, without a kernel and without a network: its own policy forbids both requests and foreign scripts.
Data stands in it as JSON that cannot end its element, so no name can become markup.
"""

import functools
import html as markup
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.model import trace
from cerebelum_nb.model.view import Header, Row
from cerebelum_nb.notebook import chart

_MOST_DRAWN: Final = 2000  # rows of a drawing: a browser that makes dots of it has its limits
_STATIC: Final = Path(__file__).parent / "static"
_EXPORTED: Final = re.compile(r"export\s*\{\s*([\w$]+)\s+as\s+default\s*\}\s*;?\s*$")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"


def html(header: Header, rows: Sequence[Row]) -> str:
    """The page. What steps print, give and say is not in it."""
    title = f"{header.workflow}, run {header.number}, {header.status}"
    snapshot = {
        "seq": 1,
        "still": True,
        "header": msgspec.to_builtins(header),
        "rows": [{**row, "doing": "", "said": ""} for row in msgspec.to_builtins(list(rows))],
        "executors": [],
    }
    data = {
        "snapshot": snapshot,
        "files": {
            "svg": file_of("svg", header, rows),
            "trace": file_of("trace", header, rows),
        },
    }
    return _PAGE.format(
        policy=_POLICY,
        title=markup.escape(title),
        style=_static("widget.css").replace("</", "<\\/"),
        data=in_script(data),
        bundle=_bundle(),
        alt=markup.escape(chart.alt(header, rows)),
    )


def file_of(kind: str, header: Header, rows: Sequence[Row]) -> dict[str, str]:
    """A file to offer: its name, its type and its text.

    Args:
        kind: svg, trace or html.

    Raises:
        KeyError: Another kind.
    """
    stem = re.sub(r"[^\w.-]+", "_", f"{header.workflow}-run-{header.number}")
    if kind == "svg":
        text = chart.svg(header, rows, most=_MOST_DRAWN)
        return {"name": f"{stem}.svg", "mime": "image/svg+xml", "text": text}
    if kind == "trace":
        text = json.dumps(trace.trace(header, rows))
        return {"name": f"{stem}.trace.json", "mime": "application/json", "text": text}
    if kind == "html":
        return {"name": f"{stem}.html", "mime": "text/html", "text": html(header, rows)}
    raise KeyError(kind)


def in_script(data: Any) -> str:
    """Data as JSON that can stand in a script element: nothing in it opens or ends one."""
    text = json.dumps(data, ensure_ascii=False)
    for risky in "<>&\u2028\u2029":
        text = text.replace(risky, f"\\u{ord(risky):04x}")
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text


def _bundle() -> str:
    """The widget's module as a script of a page, where nobody imports it."""
    text, found = _EXPORTED.subn(r";globalThis.cerebelumWidget=\1;", _static("widget.js"))
    if found != 1:
        raise RuntimeError("the widget's bundle ends in another way than expected: build it again")
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@functools.cache
def _static(name: str) -> str:
    return (_STATIC / name).read_text("utf-8")


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}
body {{ margin: 16px; background: Canvas; color: CanvasText; }}
main {{ max-width: 1600px; margin: 0 auto; }}
</style>
</head>
<body>
<main id="run"><noscript><pre>{alt}</pre></noscript></main>
<script type="application/json" id="data">{data}</script>
<script type="module">
{bundle}
</script>
<script type="module">
// The host: what a notebook would be to the widget, without a kernel behind it.
const data = JSON.parse(document.getElementById("data").textContent);
const heard = new Set();
const model = {{
  get: (name) => (name === "snapshot" ? data.snapshot : undefined),
  on: (event, call) => event === "msg:custom" && heard.add(call),
  off: (_event, call) => heard.delete(call),
  send: (asked) => {{
    const file = asked.kind === "file" ? data.files[asked.what] : undefined;
    const text = file ? "" : "This is a saved page: nothing runs behind it.";
    if (asked.kind === "resync") return;
    const answer = file
      ? {{ kind: "file", request: asked.request, ...file }}
      : {{ kind: "ack", request: asked.request, ok: false, text }};
    setTimeout(() => heard.forEach((call) => call(answer, [])));
  }},
}};
const widget = globalThis.cerebelumWidget();
widget.initialize({{ model }});
widget.render({{ model, el: document.getElementById("run") }});
</script>
</body>
</html>
"""
