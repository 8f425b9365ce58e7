"""The widget's half of the wire, spoken to as its front end does."""

import json
import os

import nbformat
import pytest
from kerneldriver import Kernel
from nbclient import NotebookClient

pytestmark = pytest.mark.kernel

STEPS = """
import asyncio, threading, time
from cerebelum_nb import step, workflow
from cerebelum_nb.helpers import wait_for_approval

gate = threading.Event()

@step
def first(context): return 1

@step
def second(context, first):
    print("second runs")
    return first + 1

@step
def gated(context, second):
    gate.wait(30)
    return second

@step
def last(context, gated): return gated

@step
async def asking(context):
    return await wait_for_approval("ship it?", {"order": 77, "to": "canary-" + "street"})

@step
async def clean(context): return 1

@step
async def merge(context, clean): return clean

@step
async def refund(context): return 0

@workflow
def prepare(wf): wf.timeline(clean >> merge)

@workflow
def asked(wf):
    wf.timeline(prepare.as_step() >> first)
    wf.diverge(first, {1: asking, 2: refund})

@workflow
def quick(wf): wf.timeline(first >> second)

@workflow
def slow(wf): wf.timeline(first >> second >> gated >> last)
"""


@pytest.fixture(scope="module")
def nb(kernel):
    kernel(STEPS)
    return kernel


def widget_of(nb: Kernel, answer) -> str:
    return answer.widgets[0]


def state(nb: Kernel, comm: str) -> dict:
    return nb.comms[comm]["snapshot"]


def running(message: dict) -> list[str]:
    return [row["step"] for row in message.get("rows", ()) if row["status"] == "running"]


def test_the_first_state_is_a_whole_snapshot(nb):
    comm = widget_of(nb, nb("%cerebelum_run quick"))
    snapshot = state(nb, comm)

    assert set(snapshot) == {"widget_id", "seq", "header", "rows", "executors"}
    assert [row["step"] for row in snapshot["rows"]] == ["first", "second"]
    assert snapshot["header"]["status"] == "succeeded"
    assert snapshot["executors"] == [
        {"name": "local", "label": "local", "remote": False},
        {"name": "distributed", "label": "distributed", "remote": True},
        {"name": "processes", "label": "processes", "remote": True},
    ]
    assert nb.comms[comm]["_esm"]


def test_the_chart_carries_the_class_that_its_widget_hides(nb):
    answer = nb("%cerebelum_run quick")
    widget_id = state(nb, widget_of(nb, answer))["widget_id"]

    assert f"cb-static-{widget_id}" in answer.charts[0]["text/html"]


def test_patches_are_numbered_without_gaps_and_end_where_the_run_ended(nb):
    nb("gate.clear()")
    comm = widget_of(nb, nb("run = %cerebelum_run slow --detach"))
    nb("gate.set()")
    nb.hear(lambda: state(nb, comm)["header"]["status"] == "succeeded")
    patches = [m for c, m in nb.messages if c == comm and m["kind"] == "patch"]

    assert [p["seq"] for p in patches] == list(range(patches[0]["seq"], patches[0]["seq"] + len(patches)))
    assert patches[-1]["header"]["status"] == "succeeded"
    assert state(nb, comm)["seq"] == patches[-1]["seq"]
    assert {row["status"] for row in state(nb, comm)["rows"]} == {"succeeded"}


def test_a_click_is_answered_while_a_cell_blocks_the_main_thread(nb, tmp_path):
    """ipykernel 7.4.0 answers on the main shell without the guard in the widget: then nothing comes while it waits."""
    subshell = nb.subshell()
    comm = widget_of(nb, nb("%cerebelum_run quick"))
    go = tmp_path / "go"
    busy = nb.start(
        "import os, time\nend = time.monotonic() + 60\nprint('busy', flush=True)\n"
        f"while not os.path.exists({str(go)!r}) and time.monotonic() < end: time.sleep(0.01)"
    )
    nb.hear(lambda: "busy" in nb.printed)
    nb.click(comm, {"kind": "preview", "request": 71, "step": "second", "executor": "distributed"}, subshell=subshell)
    answer = nb.answer_to(comm, 71, deadline_s=30)

    line = f'runs[{state(nb, comm)["header"]["number"]}].rerun("second", executor="distributed")'
    assert answer == {
        "kind": "preview", "request": 71, "step": "second", "executor": "distributed", "runs": ["second"],
        "reuses": ["first"], "lost": "", "code": line, "ok": True, "text": "", "why": {"second": "chosen"},
        "seconds": answer["seconds"], "untimed": 0,
    }  # fmt: skip
    assert 0 < answer["seconds"] < 5
    assert busy not in nb.idle
    go.touch()
    nb.finish(busy)


def test_a_cell_that_waits_does_not_keep_clicks_waiting(nb):
    """The widget is used by the main thread and by the control loop; neither may draw its answers to itself."""
    subshell = nb.subshell()
    nb("gate.clear()")
    waiting = nb.start("run = %cerebelum_run slow")
    nb.messages.clear()
    comm = nb.hear(lambda: next((c for c, m in nb.messages if "gated" in running(m)), None))
    nb.click(comm, {"kind": "apply", "request": 72, "step": "last", "executor": "distributed"}, subshell=subshell)
    moved = nb.answer_to(comm, 72, deadline_s=20)
    nb.click(comm, {"kind": "details", "request": 73, "step": "second"}, subshell=subshell)
    details = nb.answer_to(comm, 73, deadline_s=20)
    nb.click(comm, {"kind": "cancel", "request": 74}, subshell=subshell)
    cancelled = nb.answer_to(comm, 74, deadline_s=20)
    reply = nb.finish(waiting)

    line = f'runs[{state(nb, comm)["header"]["number"]}].move("last", "distributed")'
    assert moved == {"kind": "ack", "request": 72, "ok": True, "text": f"last moved to distributed. In Python: {line}"}
    assert "".join(text for _, text in details["output"]) == "second runs\n"
    assert cancelled["ok"]
    assert (reply["status"], reply["ename"]) == ("error", "RunCancelled")
    nb("gate.set()")


def waits(nb: Kernel, message: dict) -> bool:
    return any(row["status"] == "approval" for row in message.get("rows", ()))


def asking(nb: Kernel) -> str:
    """The widget of a run that waits for an answer."""
    nb.messages.clear()
    comm = widget_of(nb, nb("run = %cerebelum_run asked --detach"))
    if not waits(nb, state(nb, comm)):
        nb.hear(lambda: any(c == comm and waits(nb, m) for c, m in nb.messages))
    return comm


def test_groups_decisions_and_questions_are_in_the_rows(nb):
    comm = asking(nb)
    nb.click(comm, {"kind": "resync"})
    snapshot = nb.hear(lambda: next((m["snapshot"] for c, m in nb.messages if c == comm and "snapshot" in m), None))
    nb.click(comm, {"kind": "cancel", "request": 90})
    nb.answer_to(comm, 90)

    assert snapshot["header"]["groups"] == [["prepare", 0, 2]]
    assert [(r["step"], r["kind"], r["group"], r["status"], r["doing"]) for r in snapshot["rows"]] == [
        ("prepare/clean", "step", "prepare", "succeeded", ""),
        ("prepare/merge", "step", "prepare", "succeeded", ""),
        ("first", "step", "", "succeeded", ""),
        ("first?", "decision", "", "succeeded", ""),
        ("asking", "step", "", "approval", "ship it?"),
        ("refund", "step", "", "skipped", ""),
    ]


def test_what_a_question_is_about_is_told_on_request_and_approving_shows_its_line(nb):
    comm = asking(nb)
    nb.click(comm, {"kind": "details", "request": 91, "step": "asking"})
    details = nb.answer_to(comm, 91)
    saved = json.dumps([state(nb, comm), [m for c, m in nb.messages if c == comm and m["kind"] != "details"]])
    nb.click(comm, {"kind": "approve", "request": 92, "step": "asking", "value": None})
    ack = nb.answer_to(comm, 92)
    nb.hear(lambda: state(nb, comm)["header"]["status"] == "succeeded")

    line = f'runs[{state(nb, comm)["header"]["number"]}].approve("asking")'
    assert details["asked"] == "order: 77\nto: 'canary-street'"
    assert "canary-street" not in saved
    assert ack == {"kind": "ack", "request": 92, "ok": True, "text": f"asking approved. In Python: {line}"}
    assert nb("run.outputs['asking']").value == "True"


def test_rejecting_carries_the_reason_and_a_second_answer_finds_nobody(nb):
    comm = asking(nb)
    nb.click(comm, {"kind": "reject", "request": 93, "step": "asking", "reason": 'not "today"'})
    ack = nb.answer_to(comm, 93)
    nb.click(comm, {"kind": "approve", "request": 94, "step": "asking", "value": None})
    late = nb.answer_to(comm, 94)
    nb.hear(lambda: state(nb, comm)["header"]["status"] == "failed")

    number = state(nb, comm)["header"]["number"]
    assert ack["text"] == f"""asking rejected. In Python: runs[{number}].reject("asking", 'not "today"')"""
    assert (late["ok"], "has ended" in late["text"] or "does not wait for approval yet" in late["text"]) == (
        False,
        True,
    )
    assert nb("""'not "today"' in str(run.error())""").value == "True"


def test_apply_on_an_ended_run_follows_the_new_one_and_updates_the_chart(nb):
    answer = nb("run = %cerebelum_run quick")
    comm, chart = widget_of(nb, answer), answer.ids[-1]
    before = state(nb, comm)["header"]["run"]
    nb.click(comm, {"kind": "apply", "request": 75, "step": "second", "executor": None})
    ack = nb.answer_to(comm, 75)
    nb.hear(lambda: state(nb, comm)["header"]["run"] != before and state(nb, comm)["header"]["status"] == "succeeded")
    (_, data) = nb.hear(lambda: next((u for u in nb.updates if u[0] == chart), None))

    assert ack["ok"]
    assert [row["status"] for row in state(nb, comm)["rows"]] == ["reused", "succeeded"]
    assert "first [LOCAL] reused" in data["text/plain"]


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        ({"kind": "apply", "step": "nowhere", "executor": None}, "ack", "no step 'nowhere'"),
        ({"kind": "apply", "step": "second", "executor": "clowd"}, "ack", "no executor 'clowd'"),
        ({"kind": "preview", "step": "secnd", "executor": None}, "preview", "Did you mean 'second'?"),
        ({"kind": "details", "step": "nowhere"}, "ack", "no step 'nowhere'"),
        ({"kind": "cancel"}, "ack", "had already ended"),
        ({"kind": "dance"}, "ack", "does not know 'dance'"),
        ({"kind": "look", "tab": "heart", "step": "second"}, "ack", "does not know the tab 'heart'"),
        ({"kind": "look", "tab": "result", "step": "nowhere"}, "ack", "no step 'nowhere'"),
        ({"kind": "file", "what": "docx"}, "ack", "not saved as 'docx'"),
        ({"kind": "keep", "step": "second", "executor": "clowd", "where": "cell"}, "ack", "no executor 'clowd'"),
        ({"kind": "apply", "step": "second", "scope": "this", "steps": ["first", "second"]}, "ack", "name that step"),
    ],
)
def test_what_cannot_be_done_is_answered(nb, message, kind, said):
    comm = widget_of(nb, nb("%cerebelum_run quick"))
    nb.click(comm, {**message, "request": 80})
    answer = nb.answer_to(comm, 80)
    nb.messages.clear()

    assert answer["kind"] == kind
    assert said in answer["text"]


def test_a_panel_gets_what_it_asks_for_and_none_of_it_is_a_trait(nb):
    nb("""
@step
def secret(context, first): return {"key": "canary-" + "value"}

@workflow
def hidden(wf): wf.timeline(first >> secret)
""")
    comm = widget_of(nb, nb("%cerebelum_run hidden"))
    asked = [
        {"kind": "look", "tab": "result"},
        {"kind": "look", "tab": "value", "of": "result"},
        {"kind": "look", "tab": "carried"},
        {"kind": "look", "tab": "events"},
        {"kind": "choices"},
        {"kind": "keep", "executor": "distributed", "where": "cell", "confirmed": False},
        {"kind": "file", "what": "trace"},
        {"kind": "file", "what": "svg"},
        {"kind": "file", "what": "html"},
    ]
    answers = []
    for number, message in enumerate(asked, 700):
        nb.click(comm, {"step": "secret", "request": number, **message})
        answers.append(nb.answer_to(comm, number))
    result, value, carried, events, choices, kept, *files = answers
    request = nb.client.session.msg("comm_msg", {"comm_id": comm, "data": {"method": "request_state"}})
    nb.comms[comm] = {}
    nb.client.shell_channel.send(request)
    nb.hear(lambda: "snapshot" in nb.comms[comm])

    assert (result["result"]["type"], result["result"]["size"]) == ("dict", "1 item")
    assert value["text"] == "key: 'canary-value'"
    assert carried["items"] == []
    assert [text for _, text in events["lines"]][-1] == "succeeded"
    assert choices["refused"] == {}
    assert kept["lines"][0]["new"] == '@step(executor="distributed")'
    assert kept["lines"][0]["where"].startswith("Cell In[")
    assert [file["name"].rpartition("-")[2].partition(".")[2] for file in files] == ["trace.json", "svg", "html"]
    assert "canary-value" not in json.dumps([nb.comms[comm], files, result, events, carried])


def test_resync_sends_the_whole_state(nb):
    comm = widget_of(nb, nb("%cerebelum_run quick"))
    nb.messages.clear()
    nb.click(comm, {"kind": "resync"})
    message = nb.hear(lambda: next((m for c, m in nb.messages if c == comm and m["kind"] == "snapshot"), None))

    assert message["snapshot"] == state(nb, comm)


def test_a_page_that_is_loaded_again_gets_the_state_of_now(nb):
    nb("gate.clear()")
    comm = widget_of(nb, nb("run = %cerebelum_run slow --detach"))
    nb.hear(lambda: any(c == comm and "gated" in running(m) for c, m in nb.messages))
    request = nb.client.session.msg("comm_msg", {"comm_id": comm, "data": {"method": "request_state"}})
    nb.comms[comm] = {}
    nb.client.shell_channel.send(request)
    nb.hear(lambda: "snapshot" in nb.comms[comm])

    assert [row["status"] for row in state(nb, comm)["rows"]] == ["succeeded", "succeeded", "running", "waiting"]
    nb("gate.set()")


def test_two_widgets_of_one_live_run_both_see_all_of_it(nb):
    nb("gate.clear()")
    one = widget_of(nb, nb("run = %cerebelum_run slow --detach"))
    two = widget_of(nb, nb("run"))
    nb("gate.set()")
    nb.hear(lambda: all(state(nb, c)["header"]["status"] == "succeeded" for c in (one, two)))
    last = {c: {} for c in (one, two)}
    for comm, message in nb.messages:
        if comm in last and message["kind"] == "patch":
            last[comm].update({row["step"]: row["status"] for row in message["rows"]})

    assert last[one]["last"] == last[two]["last"] == "succeeded"
    assert last[one]["gated"] == last[two]["gated"] == "succeeded"


def test_the_widget_of_a_cell_that_runs_again_or_is_deleted_is_closed(nb):
    first = widget_of(nb, nb("%cerebelum_run quick", metadata={"cellId": "c1"}))
    second = widget_of(nb, nb("%cerebelum_run quick", metadata={"cellId": "c1"}))
    nb("%cerebelum_run quick", metadata={"cellId": "c2", "deletedCells": ["c1"]})

    assert first in nb.closed
    assert second in nb.closed


def test_nothing_is_left_of_closed_widgets(nb):
    counted = (
        "import gc\nfrom ipywidgets import Widget\nfrom ipywidgets.widgets.widget import _instances\ngc.collect()\n"
        "sum(isinstance(o, Widget) for o in gc.get_objects()) + len(_instances)"
    )
    nb("%cerebelum_run quick", metadata={"cellId": "again"})
    before = int(nb(counted).value)
    for _ in range(5):
        nb("%cerebelum_run quick", metadata={"cellId": "again"})

    assert int(nb(counted).value) == before
    assert nb("get_ipython().magics_manager.registry['CerebelumMagics'].notebook.displays._feeds._feeds").value == "{}"


def executed(cells: list[str], home: str, **how) -> nbformat.NotebookNode:
    """A notebook run from top to bottom without a front end, saved with its widgets."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=60, store_widget_state=True, **how)
    client.execute(env={**os.environ, "CEREBELUM_HOME": home})
    return notebook


SECRET = "canary-7f3a"


def test_no_value_is_in_the_saved_widget_state(tmp_path):
    cells = [
        "%load_ext cerebelum_nb",
        "%%cerebelum_step leaky\nprint(inputs['key'])\ninputs['key']",
        "%%cerebelum_step failing\nprint(leaky)\nraise ValueError(leaky)",
        "%%cerebelum_workflow wf\nleaky >> failing",
        f"%cerebelum_run wf {{'key': 'canary-' + '{SECRET[7:]}'}}",
    ]
    notebook = executed(cells, str(tmp_path), allow_errors=True)
    saved = json.dumps(notebook.metadata["widgets"])
    outputs = notebook.cells[-1].outputs
    chart = next(o for o in outputs if "cb-static" in str(o.get("data", {}).get("text/html")))

    assert '"status": "failed"' in saved
    assert SECRET not in saved
    assert SECRET not in json.dumps(chart)
    assert SECRET in json.dumps(outputs)  # the echo and the error of the cell itself do show it


def test_a_saved_notebook_has_the_end_of_a_detached_run(tmp_path):
    cells = [
        "%load_ext cerebelum_nb",
        "%%cerebelum_step a\nimport time\ntime.sleep(0.3)",
        "%%cerebelum_workflow w\na",
        "run = %cerebelum_run w --detach",
        "from ipywidgets.widgets.widget import _instances as shown\nrun.wait(10)",
        "[one._ended.wait(10) for one in shown.values() if hasattr(one, '_ended')]",
    ]
    notebook = executed(cells, str(tmp_path))
    widget, chart = notebook.cells[3].outputs

    assert widget.data["text/plain"] == "cerebelum_nb run"
    assert "succeeded" in chart.data["text/plain"]
    assert '"status": "succeeded"' in json.dumps(notebook.metadata["widgets"])
