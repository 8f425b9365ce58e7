"""What a panel is told about one step, and how a choice of its is kept."""

import os

import pytest

from cerebelum_nb import step, workflow
from cerebelum_nb.errors import PlanError
from cerebelum_nb.notebook import keeping, panel, peek

TABLE = {"rows": [1, 2, 3]}


class Loud:
    def __repr__(self):
        raise RuntimeError("<img src=x onerror=alert(1)>")


@step
def first(context, inputs):
    print("hello")
    return list(range(5000))


@step(executor="local")
def second(context, first):
    return {"n": len(first), "table": TABLE}


@step
async def loud(context, second):
    return Loud()


@step(
    executor="local",
)
async def spread(context, loud):
    return None


@workflow
def flow(wf):
    wf.timeline(first >> second >> loud >> spread)


@pytest.fixture
def run(session):
    made = session.run(flow, {"n": 1})
    made.wait(10, echo=False)
    assert made.status == "succeeded"
    return made


def test_values_are_described_without_being_shown(run):
    told = peek.values(run, "second")

    assert [(v["of"], v["name"], v["type"], v["size"]) for v in told["inputs"]] == [
        ("first", "first", "list", "5,000 items")
    ]
    assert (told["result"]["type"], told["result"]["size"]) == ("dict", "2 items")
    assert len(told["result"]["digest"]) == 8
    assert peek.values(run, "first")["inputs"][0]["name"] == "the run"


def test_equal_values_have_one_digest_and_others_another(run):
    given = peek.values(run, "second")["inputs"][0]["digest"]

    assert given == peek.values(run, "first")["result"]["digest"]
    assert given != peek.values(run, "second")["result"]["digest"]


def test_a_preview_is_bounded_text(run):
    assert peek.preview(run, "second", "result") == "n: 5000\ntable: {'rows': [1, 2, 3]}"
    assert len(peek.preview(run, "second", "first")) < 500
    assert peek.preview(run, "first", "inputs") == "n: 1"
    assert peek.preview(run, "spread", "result") == "None"


def test_a_repr_that_raises_is_told(run):
    assert peek.preview(run, "loud", "result") == "its repr() raised RuntimeError: '<img src=x onerror=alert(1)>'"


def test_a_value_that_is_not_there_is_refused(run):
    with pytest.raises(PlanError, match="no input 'third'"):
        peek.preview(run, "second", "third")


def test_what_a_step_carries_is_listed_with_its_digest(run):
    told = peek.carried(run, "second")

    assert [(i["name"], i["type"], i["size"]) for i in told["items"]] == [("global 'TABLE'", "dict", "1 item")]
    assert peek.carried(run, "first") == {"items": [], "note": "it carries nothing but its own code"}


def test_events_are_lines_in_order(run):
    lines = peek.events(run, "first")

    assert [text for _, text in lines] == [
        "attempt 1 began", "printed 6 characters", "attempt 1 ended: ok", "succeeded",
    ]  # fmt: skip
    assert [at for at, _ in lines] == sorted(at for at, _ in lines)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("first", "@step", '@step(executor="distributed")'),
        ("second", '@step(executor="local")', '@step(executor="distributed")'),
        ("spread", '    executor="local",', '    executor="distributed",'),
    ],
)
def test_the_line_of_a_decorator_is_found_and_written_anew(run, name, old, new):
    line = keeping.line_in_cell(run.plan.functions[run.plan.number_of(name)], "distributed", str)

    assert (line.old, line.new) == (old, new)
    assert "test_peek.py, line" in line.where


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@step()", '@step(executor="gpu-pool")'),
        ("@step(retries=2)", '@step(executor="gpu-pool", retries=2)'),
        ("@cb.step(executor = 'local', retries=2)", '@cb.step(executor="gpu-pool", retries=2)'),
        ("%%cerebelum_step", "%%cerebelum_step --executor gpu-pool"),
        ("%%cerebelum_step load --executor local --cache", "%%cerebelum_step load --executor gpu-pool --cache"),
    ],
)
def test_a_line_says_the_new_executor_and_keeps_the_rest(old, new):
    magic = old.startswith("%%")

    assert (keeping._with_option if magic else keeping._with_keyword)(old, "gpu-pool") == new


def test_a_file_is_written_only_when_it_is_confirmed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(b"[project]\nname = 'x'\n")
    asked = {"step": "second", "executor": "distributed", "where": "configuration"}
    first_answer = panel.keep(run, asked, str)
    before = (tmp_path / "pyproject.toml").read_bytes()

    assert before == b"[project]\nname = 'x'\n"
    assert (first_answer["path"], first_answer["done"]) == (os.fspath(tmp_path / "pyproject.toml"), False)
    assert first_answer["code"] == '[tool.cerebelum.strategy]\nsecond = "distributed"'


def test_without_a_file_nothing_is_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keeping, "nearest_file", lambda _folder: None)
    asked = {"step": "second", "executor": "local", "where": "configuration", "confirmed": True}
    told = panel.keep(run, asked, str)

    assert told["done"] is False
    assert os.listdir(tmp_path) == ["home"] or os.listdir(tmp_path) == []


def test_what_is_no_executor_is_not_kept(run):
    with pytest.raises(PlanError, match="no executor 'clowd'"):
        panel.keep(run, {"step": "second", "executor": "clowd", "where": "cell"}, str)


def test_a_choice_that_would_be_refused_comes_with_its_reason(run):
    told = panel.choices(run, {"step": "second"}, ["local", "clowd"])

    assert list(told["refused"]) == ["clowd"]


def test_a_rerun_of_several_steps_is_one_run(run):
    found = run.preview(["second", "spread"], "local")
    again = run.rerun(["second", "spread"], executor="local")
    again.wait(10)

    assert found.code == f'runs[{run.number}].rerun(["second", "spread"], executor="local")'
    assert found.runs == ("second", "loud", "spread")
    assert found.why == {"second": "chosen", "loud": "needs second", "spread": "chosen"}
    assert {r.step: r.status for r in again.rows()} == {
        "first": "reused", "second": "succeeded", "loud": "succeeded", "spread": "succeeded",
    }  # fmt: skip
    assert (again.moved["second"], again.moved["spread"]) == ("local", "local")


def test_only_runs_one_step_and_everything_runs_all(run):
    only, everything = run.rerun("second", only=True), run.rerun(everything=True)
    for made in (only, everything):
        made.wait(10, echo=False)

    assert {r.step: r.status for r in only.rows()} == {
        "first": "reused", "second": "succeeded", "loud": "skipped", "spread": "skipped",
    }  # fmt: skip
    assert {r.status for r in everything.rows()} == {"succeeded"}
    assert run.preview("second", only=True).runs == ("second",)
    assert run.preview(None, everything=True).code == f"runs[{run.number}].rerun(everything=True)"


def test_what_contradicts_itself_is_refused(run):
    with pytest.raises(PlanError, match="leave out 'second'"):
        run.rerun("second", everything=True)
    with pytest.raises(PlanError, match="name that step"):
        run.rerun(["first", "second"], only=True)


def test_time_is_foreseen_from_what_was_measured(run):
    found = run.preview("second")
    again = run.rerun("second")
    again.wait(10)

    assert found.untimed == 0
    assert found.seconds == pytest.approx(sum(r.ms for r in run.rows() if r.step in found.runs) / 1e3, rel=0.2)
    assert again.preview("first").seconds is not None  # it was reused: its time is that of the run before
