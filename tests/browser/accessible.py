"""What axe-core has to say about a part of a page."""

from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def faults(page: Page, part: object = ".cb") -> list[str]:
    """Serious and critical faults within a part of the page: rule, why, and where.

    Args:
        part: What axe takes for one: a selector, or ``{"fromShadowDom": [host, selector]}``.
    """
    assert AXE.exists(), "axe-core is not installed: npm --prefix js ci"
    if not page.evaluate("typeof globalThis.axe === 'object'"):
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(
        "async ([part, tags]) => (await axe.run(part, {runOnly: {type: 'tag', values: tags}})).violations",
        [part, RULES],
    )
    return [
        f"{v['id']} ({v['impact']}): {v['help']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]
