"""A step with effects="once" never runs twice unless somebody insists: local and remote, over resumes and kernels."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from cerebelum_nb import ExecutionError, PlanError, Session, back_to, step, workflow
from cerebelum_nb.cli.__main__ import cerebelum as command
from cerebelum_nb.config import Settings
from cerebelum_nb.executors import core_process
from cerebelum_nb.model.events import AttemptFinished, TaskFinished

pytestmark = pytest.mark.timeout(120)
DEADLINE = 60
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def charge(path, how="ok", seconds=0.0, executor="local", **options):
    """A step whose effect is a line in a file."""

    def one(context):
        with os.fdopen(os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY), "w") as file:
            file.write(f"{context.attempt}\n")
        time.sleep(seconds)
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "fails":
            raise ConnectionResetError("perhaps it was charged")
        return "receipt"

    return step(name="charge", executor=executor, effects="once", **options)(one)


def flow(*items):
    return workflow(name="w")(lambda wf: wf.timeline(*items))


def effects(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def soon(condition):
    end, pause = time.monotonic() + DEADLINE, threading.Event()
    while not condition():
        assert time.monotonic() < end, "not in time"
        pause.wait(0.01)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "effects"


def mail_that_fails_first(tmp_path, name="mail"):
    def mail(context, charge):
        if not (tmp_path / "mended").exists():
            raise ValueError("no mail")
        return f"sent {charge}"

    return step(name=name)(mail)


FAILED_THEN = "failed at {when} in run {run}, perhaps after it had its effect: look whether it did; "
LOST_THEN = "began at {when}, and nobody knows its end: look whether it did; "


@pytest.mark.parametrize(
    ("executor", "how", "told"),
    [("local", "fails", FAILED_THEN), ("distributed", "fails", FAILED_THEN), ("distributed", "dies", LOST_THEN)],
)
def test_a_step_that_failed_or_was_lost_is_not_run_again_by_a_resume(session, path, executor, how, told):
    run = session.run(flow(charge(path, how, executor=executor, fallback="distributed")))
    run.wait(DEADLINE)
    assert (run.status, effects(path)) == ("failed", 1)

    with pytest.raises(PlanError) as refused:
        run.resume()

    pattern = re.escape(
        "step 'charge' says effects=\"once\" and "
        + told
        + 'runs[1].resume(force=["charge"]) runs it, runs[1].resume(results={"charge": ...}) states its result'
    )
    pattern = pattern.replace(r"\{when\}", WHEN + ("" if how == "fails" else r" in run \S+")).replace(
        r"\{run\}", r"\S+"
    )
    assert re.fullmatch(pattern, str(refused.value)), str(refused.value)
    assert effects(path) == 1
    with pytest.raises(PlanError, match=re.escape('runs[1].rerun("charge", force=True) runs it again')):
        run.rerun("charge")
    with pytest.raises(PlanError, match=re.escape("runs[1].rerun(force=True) runs it again")):
        run.rerun()
    with pytest.raises(PlanError, match="force=True"):
        run.apply("charge")
    assert 'says effects="once" and' in run.preview("charge").refused
    assert effects(path) == 1


@pytest.mark.parametrize("insist", [True, ["charge"], "charge"])
def test_who_insists_has_it_run_again(session, path, insist):
    run = session.run(flow(charge(path, "fails")))
    run.wait(DEADLINE)

    again = run.resume(force=insist)
    again.wait(DEADLINE)

    assert effects(path) == 2
    with pytest.raises(PlanError):
        again.resume(force=["other"])


def test_a_completed_one_is_reused_through_any_number_of_resumes_and_never_run(session, tmp_path, path):
    work = flow(charge(path) >> mail_that_fails_first(tmp_path))
    run = session.run(work)
    run.wait(DEADLINE)
    for _ in range(3):
        run = run.resume()
        run.wait(DEADLINE)
        assert run.status == "failed"

    with pytest.raises(PlanError, match=rf"step 'charge' says effects=\"once\" and ran at {WHEN} in run "):
        run.rerun("charge")
    refused = run.preview("charge").refused
    assert (refused.startswith("step 'charge'"), run.preview("mail").refused) == (True, "")
    (tmp_path / "mended").touch()
    assert run.rerun("mail").result(DEADLINE).output == {"ok": "sent receipt"}
    assert effects(path) == 1
    assert session.run(work).result(DEADLINE)  # a new run is a new run
    assert effects(path) == 2


def test_it_is_known_over_a_resume_in_which_it_did_not_get_its_turn(session, tmp_path, path):
    first = step(name="first")(lambda context: (tmp_path / "gate").exists() or 1)
    run = session.run(flow(first >> charge(path, "fails")))
    run.wait(DEADLINE)

    def slow(context):
        time.sleep(0.3)
        return 2

    step(name="first")(slow)
    work = flow(step(name="first")(slow) >> charge(path, "fails"))
    run.definition = work
    again = run.rerun("first", force=True)
    again.cancel()
    again.wait(DEADLINE)
    assert effects(path) == 1

    with pytest.raises(PlanError, match=f"in run {run.id}"):
        again.resume()


def test_a_person_says_what_it_gave(session, tmp_path, path):
    run = session.run(flow(charge(path, "fails") >> mail_that_fails_first(tmp_path)))
    run.wait(DEADLINE)
    (tmp_path / "mended").touch()

    for wrong, text in (({"chargee": 1}, "results names 'chargee', which is not a step"), ({}, "effects=")):
        with pytest.raises(PlanError, match=text):
            run.resume(results=wrong)
    again = run.resume(results={"charge": {"stated": 7}})

    assert again.result(DEADLINE).output == {"ok": "sent {'stated': 7}"}
    (stated,) = [e for e in again.events if isinstance(e, TaskFinished) and e.source == "reused"]
    assert stated.reason == f"stated on going on from run {run.number}"
    assert effects(path) == 1
    has_it = session.run(flow(charge(path) >> step(name="mail")(lambda context, charge: 1 / 0)))
    has_it.wait(DEADLINE)
    with pytest.raises(PlanError, match="'charge' has a result already"):
        has_it.resume(results={"charge": 1})
    assert again.outputs["charge"] == {"stated": 7}


@pytest.mark.parametrize("executor", ["local", "distributed"])
def test_a_move_does_not_run_it_again_in_a_live_run(session, tmp_path, path, executor):
    hold = threading.Event()
    first = step(name="first")(lambda context: 1)
    last = step(name="last")(lambda context, charge: hold.wait(DEADLINE))
    run = session.run(flow(first >> charge(path, executor=executor) >> last))
    soon(lambda: run.rows()[2].status == "running")

    for moved in ("charge", "first"):
        other = "local" if executor == "distributed" else "distributed"
        with pytest.raises(PlanError, match=r"step 'charge' says effects=\"once\" and ran at .* move with force=True"):
            run.move(moved, other)
        with pytest.raises(PlanError, match="effects="):
            run.apply(moved, other)
        assert "effects=" in run.preview(moved, other).refused
    assert run.preview("last", "local").refused == ""
    hold.set()
    run.result(DEADLINE)
    assert effects(path) == 1


def test_who_insists_moves_it(session, path):
    run = session.run(flow(charge(path, seconds=1.0)))
    soon(lambda: effects(path) == 1)

    with pytest.raises(PlanError, match="nobody knows its end"):
        run.move("charge", "distributed")
    run.move("charge", "distributed", force=True)

    assert run.result(DEADLINE).output == {"ok": "receipt"}
    assert effects(path) == 2


def test_one_that_has_not_begun_moves_and_resumes_freely(session, tmp_path, path):
    hold = threading.Event()
    first = step(name="first")(lambda context: hold.wait(DEADLINE))
    run = session.run(flow(first >> charge(path)))
    run.move("charge", "distributed")
    hold.set()
    assert run.result(DEADLINE).output == {"ok": "receipt"}

    broken = step(name="broken")(lambda context: 1 / 0)
    run = session.run(flow(broken >> charge(path)))
    run.wait(DEADLINE)
    run.definition = flow(step(name="broken")(lambda context: 1) >> charge(path))
    assert run.resume(changed="run").result(DEADLINE)
    assert effects(path) == 2


def test_one_that_no_worker_took_goes_elsewhere_and_is_not_taken_for_begun(session, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(core_process, "_bases", list)
        assert session.run(flow(charge(path, executor="distributed", fallback="local"))).result(DEADLINE)
        run = session.run(flow(charge(path, executor="distributed")))
        run.wait(DEADLINE)
        assert (run.status, effects(path)) == ("failed", 1)

    assert run.resume().result(DEADLINE)
    assert effects(path) == 2


def test_one_that_was_undone_may_run_again(session, tmp_path, path):
    undo = tmp_path / "undone"
    work = flow(
        charge(path, compensate=lambda context, result: undo.write_text(result)) >> mail_that_fails_first(tmp_path)
    )
    run = session.run(work)
    run.wait(DEADLINE)
    assert (run.status, undo.read_text()) == ("compensated", "receipt")
    (tmp_path / "mended").touch()

    assert run.resume().result(DEADLINE).output == {"ok": "sent receipt"}
    assert effects(path) == 2


def test_a_way_back_over_it_is_refused_and_one_after_it_is_not(session, path):
    check = step(name="check")(lambda context, charge: False)
    ask = step(name="ask")(lambda context: 1)

    def over(wf):
        wf.timeline(ask >> charge(path) >> check)
        wf.branch(after=check, condition=lambda ok: ok, when_true=None, when_false=back_to(ask, limit=2))

    with pytest.raises(
        PlanError, match="the way back from 'check.' to 'ask' would run 'charge' again, which says effects=\"once\""
    ):
        session.run(workflow(name="over")(over))

    tries = []
    retry = step(name="check")(lambda context: tries.append(1) or len(tries) > 2)

    def before(wf):
        wf.timeline(ask >> retry >> charge(path))
        wf.branch(after=retry, condition=lambda ok: ok, when_true=None, when_false=back_to(ask, limit=3))

    session.run(workflow(name="before")(before)).result(DEADLINE)
    assert (len(tries), effects(path)) == (3, 1)


def test_it_is_never_tried_again_by_itself(session, path):
    run = session.run(flow(charge(path, "dies", executor="distributed", fallback="local", timeout=5)))
    run.wait(DEADLINE)

    assert [e.outcome for e in run.events if isinstance(e, AttemptFinished)] == ["lost"]
    assert effects(path) == 1


PROGRAM = """
import os, sys, time
from cerebelum_nb import step, workflow

@step
def first(context):
    return 1

@step(executor={executor!r}, effects="once")
def charge(context, first):
    with os.fdopen(os.open({path!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY), "w") as file:
        file.write("x\\n")
    time.sleep({seconds})
    return "receipt"

@step
def mail(context, charge):
    return "sent " + charge

@workflow
def orders(wf):
    wf.timeline(first >> charge >> mail)
"""


@pytest.mark.parametrize("executor", ["local", "distributed"])
def test_a_kernel_that_was_killed_in_it_leaves_it_unknown_and_asks(tmp_path, path, executor, monkeypatch):
    program = tmp_path / "orders.py"
    program.write_text(textwrap.dedent(PROGRAM.format(executor=executor, path=str(path), seconds=60)))
    kernel = subprocess.Popen(
        [sys.executable, "-c", "import orders; orders.orders.run().wait()"],
        cwd=tmp_path,
        env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home")},
    )
    soon(lambda: effects(path) == 1)
    kernel.kill()
    kernel.wait()
    program.write_text(textwrap.dedent(PROGRAM.format(executor=executor, path=str(path), seconds=0)))

    def resumed(*more):
        return subprocess.run(
            [sys.executable, "-m", "cerebelum_nb.cli", "resume", "orders.py:orders", "--changed", "run", *more],
            cwd=tmp_path,
            env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    first = resumed()
    assert first.returncode != 0
    assert "step 'charge' says effects=\"once\" and began at" in first.stderr
    assert "nobody knows its end: look whether it did; " in first.stderr
    assert re.search(
        r"`cerebelum resume orders.py:orders \S+ --force charge` runs it, in Python Run.load", first.stderr
    )
    assert effects(path) == 1

    session = Session(Settings(home=tmp_path / "home"))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("orders", None)
    import orders  # noqa: F401, PLC0415  its steps are known from here on

    run = session.load(session.history.unfinished("orders"))
    stated = run.resume(changed="run", results={"charge": "seen in the books"})
    assert stated.result(DEADLINE).output == {"ok": "sent seen in the books"}
    session.close()
    assert effects(path) == 1

    session = Session(Settings(home=tmp_path / "home"))
    later = session.load(stated.id)
    with pytest.raises(PlanError, match=f"began at {WHEN} in run {run.id}, and nobody knows its end"):
        later.rerun("charge")
    assert later.rerun("charge", force=True).result(DEADLINE).output == {"ok": "sent receipt"}
    session.close()
    assert effects(path) == 2


def test_a_step_tried_alone_on_results_of_a_run_that_ran_it_is_refused_unless_one_insists(session, path):
    @step(name="order")
    def order(context):
        return 1

    @step(name="pay", effects="once")
    def pay(context, order):
        with path.open("a") as file:
            file.write("x\n")

    session.run(flow(order)).result(DEADLINE)
    session.try_step(pay).result(DEADLINE)
    refused = "step 'pay' says effects=\"once\" and ran at .*: force=True runs it again"
    with pytest.raises(PlanError, match=refused):
        session.try_step(pay)
    assert effects(path) == 1
    session.try_step(pay, force=True).result(DEADLINE)
    assert effects(path) == 2
    with pytest.raises(PlanError, match=refused):
        session.try_step(pay)

    session.run(flow(order)).result(DEADLINE)  # other results: it has not run on these
    session.try_step(pay).result(DEADLINE)
    assert effects(path) == 3


def test_one_that_was_undone_may_be_tried_again_on_the_same_results(session, path):
    def pay(context, order):
        with path.open("a") as file:
            file.write("x\n")

    order = step(name="order")(lambda context: 1)
    paid = step(name="pay", effects="once", compensate=lambda context: None)(pay)
    run = session.run(flow(order >> paid >> step(name="bad")(lambda context, pay: 1 / 0)))
    run.wait(DEADLINE)
    assert run.undone == ("pay",)

    session.try_step(paid).wait(DEADLINE)
    assert effects(path) == 2


def test_the_command_line_has_it_too():
    assert "--force" in {opt for parameter in command.commands["resume"].params for opt in parameter.opts}


def test_an_error_is_still_the_steps_own(session, path):
    with pytest.raises(ExecutionError, match="perhaps it was charged"):
        session.run(flow(charge(path, "fails"))).result(DEADLINE)


@pytest.mark.parametrize(
    ("force", "told"),
    [
        (5, "force is True, or the names of steps that run again, like ['pay']; not 5"),
        ([1], "force is True, or the names of steps that run again, like ['pay']; not [1]"),
        ("charg", "force names 'charg', which is not a step of workflow 'w'. Did you mean 'charge'?"),
    ],
)
def test_what_is_forced_is_a_step_of_the_workflow(session, path, force, told):
    run = session.run(flow(charge(path, "fails")))
    run.wait(DEADLINE)
    for again in (lambda: run.rerun(force=force), lambda: run.resume(force=force)):
        with pytest.raises(PlanError, match=re.escape(told)):
            again()
    assert effects(path) == 1
