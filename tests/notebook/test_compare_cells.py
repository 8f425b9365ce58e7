"""A run beside an earlier one in a real kernel: the verb, what Tab offers, and what the chart asks for."""

import json

import pytest

pytestmark = pytest.mark.kernel

STEPS = """
import time
from cerebelum_nb import step, workflow

@step
def load(context, inputs):
    return inputs["wait"]

@step
def train(context, load):
    print("canary-" + "printed")
    time.sleep(load)
    return "canary-" + "result"

@workflow
def flow(wf): wf.timeline(load >> train)

@workflow
def other(wf): wf.timeline(load)
"""


@pytest.fixture(scope="module")
def nb(kernel):
    kernel("%load_ext cerebelum_nb")
    kernel(STEPS)
    kernel.shown = [
        kernel(line).widgets[0]
        for line in (
            "%cerebelum_run flow {'wait': 0.7}",
            "%cerebelum_run other {'wait': 0}",
            "%cerebelum_run flow {'wait': 0.01}",
        )
    ]
    return kernel


def asked(nb, comm, message):
    nb.click(comm, message)
    return nb.answer_to(comm, message["request"])


def test_the_verb_shows_a_run_beside_the_one_before_it_of_the_same_workflow(nb):
    answer = nb("compared = %cerebelum compare last\ncompared")
    title, _, head, *steps = nb("print(compared)").out.splitlines()

    assert title.startswith("run 3 of flow beside run 1: ")
    assert head.split() == ["step", "run", "1", "run", "3", "difference"]
    assert [line.split()[0] for line in steps] == ["load", "train"]
    assert steps[1].split()[-2].startswith("-")
    assert float(nb("compared['train'].difference_s").value) < -0.1
    assert answer.value == nb("print(compared)").out.strip()


def test_two_runs_are_compared_in_the_order_in_which_they_are_named(nb):
    assert nb("%cerebelum compare 1 3").value.startswith("run 1 of flow beside run 3: ")
    assert nb("print(runs[3].compare(2))").out.splitlines()[1] == "Note: run 2 is of other; only in run 3: train."


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("%cerebelum compare", "UsageError", "which run?"),
        ("%cerebelum compare 9", "PlanError", "there is no run '9'. Runs: 1 to 3"),
        ("%cerebelum compare 1", "PlanError", "run 1 is the first of flow in this session"),
        ("%cerebelum compare 1 2 3", "UsageError", "'3'"),
        ("runs[1].compare(7)", "PlanError", "there is no run 7 in this session: it has runs 1 to"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(nb, line, kind, said):
    answer = nb.run(line)

    assert answer.ename == kind
    assert said in answer.evalue


def test_tab_offers_runs_twice(nb):
    def offered(line):
        return nb.reply(nb.client.complete(line, len(line)))["content"]["matches"]

    assert offered("%cerebelum compare ")[-4:] == ["3", "2", "1", "last"]
    assert offered("%cerebelum compare 3 ")[-1] == "last"
    assert "3" not in offered("%cerebelum compare 3 1 ")


def test_a_chart_is_told_which_runs_came_before_it_and_how_one_of_them_went(nb):
    first, _, last = nb.shown
    ids = json.loads(nb("import json; print(json.dumps([r.id for r in runs]))").out)
    others = asked(nb, last, {"kind": "others", "request": 301})
    none = asked(nb, first, {"kind": "others", "request": 302})
    beside = asked(nb, last, {"kind": "compare", "request": 303, "with": ids[0]})

    assert [(o["run"], o["name"]) for o in others["runs"]] == [(ids[0], "run 1")]
    assert (others["of"], others["parent"], none["runs"]) == (ids[2], "", [])
    assert {k: beside[k] for k in ("kind", "of", "run", "name", "status", "note")} == {
        "kind": "compare", "of": ids[2], "run": ids[0], "name": "run 1", "status": "succeeded", "note": "",
    }  # fmt: skip
    assert beside["difference"] < -0.1
    assert [(r["step"], r["where"], r["status"]) for r in beside["rows"]] == [
        ("load", "local", "succeeded"), ("train", "local", "succeeded"),
    ]  # fmt: skip
    assert beside["rows"][1]["seconds"] > 0.7
    assert "canary" not in json.dumps([others, beside])


def test_a_chart_is_not_told_of_a_run_that_is_none_of_its_own(nb):
    ids = json.loads(nb("import json; print(json.dumps([r.id for r in runs]))").out)
    answer = asked(nb, nb.shown[2], {"kind": "compare", "request": 310, "with": ids[1]})

    assert (answer["kind"], answer["ok"]) == ("ack", False)
    assert "cannot be compared" in answer["text"]


def test_a_rerun_is_compared_with_the_run_that_it_came_from(nb):
    comm = nb("again = runs[1].rerun('train'); again.wait()\n%cerebelum compare last").value

    assert "beside run 1" in comm
    assert "reuses 1 step" in comm
