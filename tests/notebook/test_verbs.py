"""Answering a step that asks, and help, in a real kernel."""

import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def nb(kernel):
    kernel("from cerebelum_nb import step, workflow, wait_for_approval")
    kernel("%%cerebelum_step ask\nawait wait_for_approval('publish?')")
    kernel("%%cerebelum_step told\nask")
    kernel("%%cerebelum_workflow wf_ask\nask >> told")
    return kernel


def started(nb):
    nb("run = %cerebelum_run wf_ask --detach")
    nb(
        "import time\nuntil = time.monotonic() + 20\nwhile not run.approvals and time.monotonic() < until: time.sleep(0.01)"
    )
    return nb("run.number").value


@pytest.mark.parametrize(
    ("more", "said", "value"),
    [
        ("", "ask is approved", "True"),
        (" 3 + 4", "ask is approved with 7", "7"),
        (" {'by': 'Ann'}", "ask is approved with {'by': 'Ann'}", "{'by': 'Ann'}"),
    ],
)
def test_approve_lets_a_step_go_on_with_a_value(nb, more, said, value):
    number = started(nb)
    answer = nb(f"%cerebelum approve {number} ask{more}")

    assert answer.out == f"run {number}: {said}\n"
    assert nb("run.wait(10)\nrun.outputs['told']").value == value


def test_reject_fails_the_step_with_the_reason(nb):
    number = started(nb)
    answer = nb("%cerebelum reject last ask the numbers are old")

    assert answer.out == f"run {number}: ask is rejected: the numbers are old\n"
    assert nb("run.wait(10)\nrun.status").value == "'failed'"
    assert "the numbers are old" in nb("str(run.error())").value


def test_tab_offers_the_steps_that_wait(nb):
    number = started(nb)

    def offered(line):
        return nb.reply(nb.client.complete(line, len(line)))["content"]["matches"]

    assert offered("%cerebelum approve ")[0] == number
    assert offered(f"%cerebelum approve {number} ") == ["ask"]
    nb("run.cancel()\nrun.wait(10)")
    assert offered("%cerebelum reject ") == ["last"]


def test_a_step_that_does_not_wait_is_said_so_in_one_line(nb):
    number = started(nb)
    answer = nb.run(f"%cerebelum approve {number} told")
    nb("run.cancel()\nrun.wait(10)")

    assert answer.ename == "PlanError"
    assert "'told'" in answer.evalue
    assert len(answer.traceback.splitlines()) == 1


@pytest.mark.parametrize("magic", ["%%cerebelum_step", "%%cerebelum_workflow", "%cerebelum_run", "%cerebelum"])
def test_a_question_mark_gives_help_with_an_example(nb, magic):
    request = nb.client.execute(f"{magic}?")
    payload = nb.reply(request)["content"]["payload"]
    text = payload[0]["data"]["text/plain"]

    assert "%cerebelum" in text
    assert "Example:" in text or "%cerebelum help" in text


@pytest.mark.parametrize("line", ["%cerebelum ", "%cerebelum s"])
def test_tab_offers_our_verbs_first(nb, line):
    matches = nb.reply(nb.client.complete(line, len(line)))["content"]["matches"]

    assert matches[:2] == ["status", "steps"]


def test_status_says_who_waits_and_how_to_answer(nb):
    number = started(nb)

    told = nb("%cerebelum status").out.splitlines()

    assert f"  ask waits for approval: publish? - %cerebelum approve {number} ask" in told
    nb(f"%cerebelum approve {number} ask\nrun.wait(10)")


def test_a_cell_is_called_by_the_number_beside_it(nb):
    beside = nb.run("%%cerebelum_step counted\nx = 0\n1 / x").count

    listed = nb("%cerebelum steps counted").out
    failed = nb.run("%%cerebelum_workflow wf_counted\ncounted").count
    told = nb.run("%cerebelum_run wf_counted").traceback

    assert failed == beside + 2
    assert f"cell [{beside}]" in listed
    assert f"Cell In[{beside}], line 3" in told
