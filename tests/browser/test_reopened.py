"""A chart that outlives its page and its kernel: seen twice, loaded again, reopened, restarted, taken from history."""

import pytest

from tests.browser.jupyter import KERNEL, ask_kernel, browser, command, open_notebook, saved, server, write_notebook
from tests.browser.test_live_widget import STEPS, WORKFLOW, row, static_charts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

RUN = "run = %cerebelum_run flow {'n': 20} --detach"


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_run_is_seen_twice_and_through_a_reload_of_the_page(app, tmp_path):
    write_notebook(tmp_path / "twice.ipynb", "%load_ext cerebelum_nb", STEPS, WORKFLOW, RUN, "run")
    with server(tmp_path, app) as url, browser() as page:
        open_notebook(page, url, "twice.ipynb", app)
        command(page, "notebook:run-all-cells")
        page.wait_for_function("n => document.querySelectorAll('.cb').length === n", arg=2)
        page.wait_for_function("s => document.querySelectorAll(s).length === 2", arg=row("load", status="running"))
        saved(page, tmp_path / "twice.ipynb", lambda b: len(static_charts(b)) == 2)

        page.reload()
        page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-CodeCell")
        page.wait_for_function("s => document.querySelectorAll(s).length === 2", arg=row("load", status="running"))
        page.locator(f"{row('transform')} .cb-name").first.click()
        page.click('.cb-menu [data-executor="local"]')
        page.locator(".cb-apply:visible").click()
        page.wait_for_function(
            "s => document.querySelectorAll(s).length === 2", arg=row("transform", executor="local", attempt=2)
        )
        (tmp_path / "go").touch()
        page.wait_for_function("() => document.querySelectorAll('.cb[data-run-status=\"succeeded\"]').length === 2")
        told = ask_kernel(page, "print(run.status, run.outputs['load'])")
        errors = list(page.errors)

    assert told.split() == ["succeeded", "41"]
    assert errors == []


def test_after_the_kernel_the_chart_stays_and_a_run_comes_back_from_history(tmp_path):
    (tmp_path / "go").touch()
    write_notebook(tmp_path / "back.ipynb", "%load_ext cerebelum_nb", STEPS, WORKFLOW, RUN, "run.wait()\nprint(run.id)")
    with server(tmp_path, "lab") as url, browser() as page:
        open_notebook(page, url, "back.ipynb", "lab")
        command(page, "notebook:run-all-cells")
        page.wait_for_selector('.cb[data-run-status="succeeded"]')
        run_id = ask_kernel(page, "print(run.id)").strip()
        saved(page, tmp_path / "back.ipynb", lambda b: any("succeeded" in c for c in static_charts(b)))

        page.evaluate(f"async () => {{ await {KERNEL}.restart(); }}")
        page.wait_for_function(f"() => {KERNEL}.status === 'idle'")
        stays = page.locator(row("load", status="succeeded")).count()
        if stays:  # the page still has the model; nobody is behind it
            page.locator(f"{row('load')} .cb-name").click()
            page.locator('.cb-menu [data-executor="distributed"]').click()
            page.wait_for_selector(".cb-message:visible", timeout=15_000)
            silent = page.inner_text(".cb-message")
        else:
            silent = "gone"

        open_notebook(page, url, "back.ipynb", "lab")  # a page of its own, and a kernel that knows no widget
        page.wait_for_selector("img[class*=cb-static]:visible")
        pictures = page.locator("img[class*=cb-static]").evaluate_all("all => all.map(i => i.naturalWidth > 100)")
        live = page.locator(".cb").count()

        page.evaluate(
            "code => { const n = window.jupyterapp.shell.currentWidget.content; n.activeCellIndex = 4;"
            " n.activeCell.model.sharedModel.setSource(code); }",
            f"%load_ext cerebelum_nb\nimport cerebelum_nb\ncerebelum_nb.runs.load('{run_id}')",
        )
        command(page, "notebook:run-cell")
        page.wait_for_selector(row("load", status="succeeded"))
        page.locator(f"{row('transform')} .cb-name").click()
        page.keyboard.press("Escape")
        page.click('.cb-tab[data-tab="result"]')
        page.click('[data-of="result"]')
        page.wait_for_selector(".cb-preview")
        preview = page.inner_text(".cb-preview")
        page.click('.cb-tab[data-tab="carried"]')
        page.wait_for_selector('.cb-nothing:has-text("earlier session")')
        errors = list(page.errors)

    assert silent == "gone" or silent.startswith("The kernel does not answer")
    assert (pictures, live) == ([True], 0)
    assert preview.startswith("(40, ")
    assert errors == []
