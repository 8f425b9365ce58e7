"""The panel in a real JupyterLab and Notebook 7: what it shows, what it does, that it is safe, and for everybody."""

import json

import pytest

from cerebelum_nb import step, workflow
from tests.browser.accessible import faults
from tests.browser.jupyter import ask_kernel, browser, command, dark, open_notebook, saved, server, write_notebook
from tests.browser.test_live_widget import SCREENS, row, static_charts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

EVIL = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>'
STEPS = f"""
from cerebelum_nb import step, workflow
EVIL = {EVIL!r}
TABLE = {{EVIL: 1}}

@step
def load(context, inputs):
    print(EVIL, "canary-" + "printed")
    return {{"of": "canary-" + "result", EVIL: inputs["n"]}}

@step(executor="distributed")
def clean(context, load):
    return (EVIL, TABLE)

@step
def check(context, clean):
    return 1

@step
def fail(context, check):
    raise ValueError(EVIL + "canary-" + "error")

@workflow
def flow(wf):
    wf.timeline(load >> clean >> check)

@workflow
def broken(wf):
    wf.timeline(load >> clean >> check >> fail)
"""
RUNS = """
import json
runs_ = __import__("cerebelum_nb").session.current().runs
print(json.dumps([{r.step: [r.status, r.where] for r in run.rows()} for run in runs_]))
"""


def opened(page, step, how=None):
    page.locator(f"{row(step)} .cb-name").click(modifiers=how or [])
    if not how:
        page.wait_for_selector(".cb-menu [role=menuitem]")
        page.keyboard.press("Escape")


def tab(page, name):
    page.click(f'.cb-tab[data-tab="{name}"]')


def done(page, run=None):
    page.wait_for_selector('.cb[data-run-status="succeeded"]' if run is None else f'.cb:has-text("run {run},")')


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_step_is_looked_into_and_nothing_of_it_is_saved(app, tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    write_notebook(tmp_path / "look.ipynb", "%load_ext cerebelum_nb", STEPS, "%cerebelum_run flow {'n': 20}")
    with server(tmp_path, app) as url, browser() as page:
        open_notebook(page, url, "look.ipynb", app)
        command(page, "notebook:run-all-cells")
        done(page)
        opened(page, "load")
        page.wait_for_selector('.cb-output:has-text("canary-printed")')
        tab(page, "result")
        page.click('[data-of="result"]')
        page.wait_for_selector('.cb-preview:has-text("canary-result")')
        preview = page.inner_text(".cb-preview")
        inputs = page.inner_text(".cb-values")
        page.screenshot(path=SCREENS / f"{app}-panel-light.png")
        light = faults(page)
        tab(page, "events")
        page.wait_for_selector('.cb-events li:has-text("succeeded")')
        events = page.locator(".cb-events li").all_inner_texts()
        opened(page, "clean")
        tab(page, "carried")
        page.wait_for_selector('.cb-table:has-text("TABLE")')
        carried = page.inner_text(".cb-tabpage")
        tab(page, "result")
        page.click('[data-of="result"]')
        page.wait_for_selector(".cb-preview")
        dark(page)
        page.screenshot(path=SCREENS / f"{app}-panel-dark.png")
        night = faults(page)
        hacked = page.evaluate("globalThis.hacked")
        book = saved(page, tmp_path / "look.ipynb", static_charts)
        errors = list(page.errors)

    text = json.dumps([c.get("outputs", []) for c in book.cells]) + json.dumps(book.metadata.get("widgets", {}))
    assert "of: 'canary-result'" in preview
    assert EVIL[:20] in preview
    assert "dict · 2 items" in inputs
    assert any("attempt 1 ended: ok" in line for line in events)
    assert "global 'TABLE'" in carried
    assert (light, night) == ([], [])
    assert hacked is None
    assert "canary-result" not in text
    assert "canary-printed" not in json.dumps(book.metadata.get("widgets", {}))
    assert errors == []


def test_an_error_with_markup_is_text_everywhere(tmp_path):
    write_notebook(
        tmp_path / "bad.ipynb", "%load_ext cerebelum_nb", STEPS, "run = %cerebelum_run broken {'n': 20} --detach"
    )
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "bad.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector('.cb[data-run-status="failed"]')
        opened(page, "fail")
        page.wait_for_selector(".cb-error:visible")
        error, own = page.inner_text(".cb-error"), page.inner_text(".cb-own")
        page.click(".cb-fold summary")
        trace = page.inner_text(".cb-trace")
        page.screenshot(path=SCREENS / "lab-error-light.png")
        light = faults(page)
        dark(page)
        night = faults(page)
        hacked = page.evaluate("globalThis.hacked")

    assert error.startswith(f"ValueError: {EVIL}")
    assert "Cell In[2]" in own
    assert "raise ValueError" in own
    assert "Traceback" in trace
    assert (light, night, hacked) == ([], [], None)


def test_steps_run_again_alone_together_and_all(tmp_path):
    write_notebook(tmp_path / "again.ipynb", "%load_ext cerebelum_nb", STEPS, "%cerebelum_run flow {'n': 20}")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "again.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        done(page)
        opened(page, "clean")
        page.click(".cb-again-this")
        page.wait_for_selector(".cb-apply:visible")
        plan = page.inner_text(".cb-plan")
        page.click(".cb-apply")
        done(page, 2)
        done(page)
        opened(page, "load", ["ControlOrMeta"])
        opened(page, "check", ["Shift"])
        title = page.inner_text(".cb-panel b >> nth=0")
        page.click('.cb-move[data-executor="local"]')
        page.wait_for_selector(".cb-apply:visible")
        page.screenshot(path=SCREENS / "lab-many-light.png")
        many, light = page.inner_text(".cb-plan"), faults(page)
        dark(page)
        page.screenshot(path=SCREENS / "lab-many-dark.png")
        night = faults(page)
        page.click(".cb-apply")
        done(page, 3)
        done(page)
        told = json.loads(ask_kernel(page, RUNS))
        errors = list(page.errors)

    assert [part in plan for part in ("Runs 1: clean", "About ", "of work", 'runs[1].rerun("clean", only=True)')] == [
        True
    ] * 4
    assert title == "3 steps"
    assert 'runs[2].rerun(["load", "clean", "check"], executor="local")' in many
    assert (light, night) == ([], [])
    assert told[1] == {
        "load": ["reused", "local"],
        "clean": ["succeeded", "distributed"],
        "check": ["skipped", "local"],
    }
    assert told[2] == {name: ["succeeded", "local"] for name in ("load", "clean", "check")}
    assert errors == []


def drag(page, step, executor, theme):
    """Drag a step's bar to an executor, until the plan is there; whether a menu came instead."""
    box = page.locator(f"{row(step)} .cb-band").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 20, box["y"] - 25, steps=4)
    target = page.locator(f'.cb-target[data-executor="{executor}"]').bounding_box()
    page.mouse.move(target["x"] + 10, target["y"] + 8, steps=4)
    page.screenshot(path=SCREENS / f"lab-drag-{theme}.png")
    page.mouse.up()
    page.wait_for_selector(".cb-apply:visible")
    return page.locator(".cb-menu").is_visible()


def test_a_bar_is_dragged_to_another_executor_and_the_choice_is_kept(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"[project]  # mine\nname = 'x'\n")
    write_notebook(
        tmp_path / "keep.ipynb",
        "%load_ext cerebelum_nb",
        STEPS,
        "%cerebelum_run flow {'n': 20}",
        "%cerebelum_run flow {'n': 21}",
    )
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "keep.ipynb", "lab")
        command(page, "notebook:run-cell-and-select-next")
        command(page, "notebook:run-cell-and-select-next")
        command(page, "notebook:run-cell-and-select-next")
        done(page)
        menus, found = [drag(page, "clean", "local", "light")], faults(page)
        page.click(".cb-drop")
        page.wait_for_selector(".cb-apply", state="hidden")
        dark(page)
        menus.append(drag(page, "clean", "local", "dark"))
        page.click(".cb-keep")
        page.click(".cb-keep-cell")
        page.wait_for_selector(".cb-keepbox .cb-old")
        cell = page.inner_text(".cb-keepbox")
        page.click(".cb-keep-file")
        page.wait_for_selector(".cb-keep-confirm:visible")
        before = (tmp_path / "pyproject.toml").read_bytes()
        found += faults(page)
        page.click(".cb-keep-confirm")
        page.wait_for_selector('.cb-keepbox:has-text("Written.")')
        after = (tmp_path / "pyproject.toml").read_bytes()
        why = ask_kernel(page, "%cerebelum_run flow {'n': 22}\nprint([r.reason for r in runs[-1].rows()][1])")

    assert menus == [False, False]
    assert '@step(executor="local")' in cell
    assert "Cell In[2]" in cell
    assert before == b"[project]  # mine\nname = 'x'\n"
    assert after == before + b'\n[tool.cerebelum.strategy]\nclean = "local"\n'
    assert "the configuration says 'local' for this step" in why
    assert found == []


def test_a_run_is_saved_as_page_picture_drawing_and_trace(tmp_path):
    write_notebook(tmp_path / "save.ipynb", "%load_ext cerebelum_nb", STEPS, "%cerebelum_run flow {'n': 20}")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "save.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        done(page)
        got = {}
        for kind in ("html", "trace", "dark", "png", "svg"):
            if kind == "dark":
                dark(page)
                continue
            with page.expect_download() as waiting:
                page.click(".cb-save")
                page.click(f'.cb-menu [data-action="{kind}"]')
            file = tmp_path / waiting.value.suggested_filename
            waiting.value.save_as(file)
            got[file.name] = file.read_bytes()

    assert set(got) == {"flow-run-1.html", "flow-run-1.png", "flow-run-1.svg", "flow-run-1.trace.json"}
    assert got["flow-run-1.png"].startswith(b"\x89PNG")
    assert len(got["flow-run-1.png"]) > 5000
    assert b"canary" not in b"".join(got.values())
    assert json.loads(got["flow-run-1.trace.json"])["traceEvents"]


def test_a_saved_page_opens_from_a_file_without_kernel_or_network(session, tmp_path):
    def first(context, inputs):
        return 1

    @step
    def second(context, first):
        raise ValueError("canary-error")

    @workflow
    def flow(wf):
        wf.timeline(step(first) >> second)

    run = session.run(flow, {"n": 1})
    run.wait(10, echo=False)
    file = run.save_html(tmp_path / "run & <b>.html")
    with browser() as page:
        asked, said = [], []
        page.on("request", lambda r: asked.append(r.url))
        page.on("console", lambda m: said.append(m.text))
        page.goto(file.as_uri())
        opened_at = page.wait_for_selector(row("second", status="failed"))
        opened_at.click()
        page.wait_for_selector(".cb-panel:visible")
        page.screenshot(path=SCREENS / "page-light.png")
        light = faults(page, "body")
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=SCREENS / "page-dark.png")
        night = faults(page, "body")
        buttons = [page.locator(s).is_visible() for s in (".cb-rerun", ".cb-cancel", ".cb-panel-acts", ".cb-menu")]
        with page.expect_download() as waiting:
            page.click(".cb-save")
            page.click('.cb-menu [data-action="png"]')
        picture = (waiting.value.path()).read_bytes()

    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert said == []
    assert (light, night) == ([], [])
    assert buttons == [False] * 4
    assert picture.startswith(b"\x89PNG")
    assert "canary" not in file.read_text("utf-8")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_failed_remote_step_gives_the_line_that_replays_it_in_a_cell(app, tmp_path):
    there = f"{STEPS}\n@step(executor='distributed')\ndef score(context, load):\n    share = 0\n    return 1 / share\n"
    flow = "@workflow\ndef there(wf):\n    wf.timeline(load >> score)"
    write_notebook(
        tmp_path / "replay.ipynb", "%load_ext cerebelum_nb", there + flow, "%cerebelum_run there {'n': 1}", ""
    )
    with server(tmp_path, app) as url, browser() as page:
        open_notebook(page, url, "replay.ipynb", app)
        command(page, "notebook:run-all-cells")
        page.wait_for_selector('.cb[data-run-status="failed"]')
        opened(page, "load")
        offered = page.locator(".cb-replay").is_visible()
        opened(page, "score")
        page.focus(".cb-replay")
        page.keyboard.press("Enter")
        page.wait_for_selector(".cb-replaybox:visible")
        line = page.inner_text(".cb-replaybox code")
        focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
        page.screenshot(path=SCREENS / f"{app}-replay-light.png")
        light = faults(page)
        dark(page)
        page.screenshot(path=SCREENS / f"{app}-replay-dark.png")
        night = faults(page)
        page.focus(".cb-replaybox [aria-label='Copy this line']")  # the app's splash may have taken the focus
        page.keyboard.press("Escape")
        shut = page.locator(".cb-replaybox").is_hidden()
        back = page.evaluate("document.activeElement.textContent")
        told = ask_kernel(page, f"try:\n    {line}\nexcept ZeroDivisionError as e:\n    print(e.__notes__[0])")
        errors = list(page.errors)

    assert (offered, line, focused) == (False, "%cerebelum replay 1 score", "Copy this line")
    assert (light, night) == ([], [])
    assert (shut, back) == (True, "Replay here")
    assert "This is a replay of attempt 1 of score (run 1, distributed): there it failed alike." in told
    assert errors == []
