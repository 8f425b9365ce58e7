"""What has been undone is never used again, is not undone twice, and not while a later run uses it."""

import os
import signal
import threading

import pytest

from cerebelum_nb import PlanError, RunCancelled, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.model.options import Backoff
from cerebelum_nb.rules import planner
from cerebelum_nb.runtime.run import Run

pytestmark = pytest.mark.timeout(120)
DEADLINE = 30


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(planner, "UNDO_BACKOFF", Backoff(0.01))


class Bank:
    """A workflow, book >> ship, whose ship is broken at first; and what it did, with idempotency keys."""

    def __init__(self, name="w"):
        self.log, self.broken, self.stuck = [], True, False

        def unbook(context, result):
            self.log.append(("unbook", context.idempotency_key))
            if self.stuck:
                raise ConnectionError("the bank is closed")

        @step(name="book", compensate=unbook, compensate_retries=0)
        def book(context):
            self.log.append(("book", context.idempotency_key))
            return "booked"

        @step(name="ship")
        def ship(context, book):
            self.log.append(("ship", book))
            if self.broken:
                raise ValueError("no ship")
            return "shipped"

        self.flow = workflow(name=name)(lambda wf: wf.timeline(book >> ship))

    @property
    def did(self):
        return [what for what, _ in self.log]

    def keys(self, what="book"):
        return [key for did, key in self.log if did == what]


@pytest.fixture
def bank():
    return Bank()


def ended(run):
    assert run.wait(DEADLINE, echo=False), [(row.step, row.status) for row in run.rows()]
    return run


def how(run):
    return {row.step: row.status for row in run.rows() if row.kind == "step"}


# what is undone is not used again -------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [False, True])
def test_a_rerun_runs_again_what_another_run_has_undone_with_another_key(session, tmp_path, bank, later):
    run = ended(session.run(bank.flow, on_failure="stop"))
    ended(run.compensate())
    bank.broken = False
    if later:
        session.close()
        session = Session(Settings(home=tmp_path / "home"))
        run = session.load(run.id)
        run.definition = bank.flow
    try:
        assert run.preview(None).runs == ("book", "ship")
        again = ended(run.rerun())

        assert (again.status, how(again)) == ("succeeded", {"book": "succeeded", "ship": "succeeded"})
        assert bank.did == ["book", "ship", "unbook", "book", "ship"]
        first, second = bank.keys()
        assert (bank.keys("unbook"), first != second) == ([first], True)
        assert again.keys == {"book": again.id}
    finally:
        session.close()


def test_a_rerun_of_a_step_runs_again_what_it_reads_where_that_was_undone(session, bank):
    run = ended(session.run(bank.flow, on_failure="stop"))
    ended(run.compensate())
    bank.broken = False

    for again in (ended(run.rerun("ship")), ended(run.rerun("ship"))):  # as often as one likes
        assert how(again) == {"book": "succeeded", "ship": "succeeded"}
    assert len(set(bank.keys())) == 3


def test_what_a_run_took_over_and_another_one_undid_runs_again_too(session, bank):
    run = ended(session.run(bank.flow, on_failure="stop"))
    taken = ended(run.rerun("ship"))
    assert how(taken) == {"book": "reused", "ship": "failed"}
    ended(run.compensate())
    bank.broken = False

    assert how(ended(taken.rerun("ship"))) == {"book": "succeeded", "ship": "succeeded"}
    assert how(ended(taken.rerun())) == {"book": "succeeded", "ship": "succeeded"}


def test_going_on_from_a_run_that_was_undone_undoes_only_what_it_did_itself(session, bank):
    run = ended(session.run(bank.flow, on_failure="stop"))
    ended(run.compensate())
    again = ended(run.rerun())
    assert again.status == "failed"

    ended(again.compensate())

    assert bank.did == ["book", "ship", "unbook", "book", "ship", "unbook"]
    assert bank.keys("unbook") == bank.keys("book")


# what is used is not undone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(), ("ship",)])
def test_what_a_later_run_goes_on_with_is_not_undone(session, bank, steps):
    run = ended(session.run(bank.flow, on_failure="stop"))
    bank.broken = False
    assert how(ended(run.rerun(*steps)))["book"] == "reused"

    with pytest.raises(PlanError, match=r"^run 1 of w is not undone: run 2 goes on from it, and has succeeded$"):
        run.compensate()
    assert "unbook" not in bank.did


def test_it_is_not_in_a_later_session_either(session, tmp_path, bank):
    run = ended(session.run(bank.flow, on_failure="stop"))
    bank.broken = False
    later = ended(run.rerun("ship"))
    session.close()
    second = Session(Settings(home=tmp_path / "home"))
    try:
        recalled = second.load(run.id)
        recalled.definition = bank.flow
        with pytest.raises(PlanError, match=f"is not undone: run {later.id} goes on from it, and has succeeded$"):
            recalled.compensate()
    finally:
        second.close()


def test_the_same_completion_is_not_undone_twice(session, bank):
    run = ended(session.run(bank.flow, on_failure="stop"))
    again = ended(run.rerun())
    with pytest.raises(PlanError, match=r"^run 1 of w is not undone: run 2 goes on from it: compensate that one$"):
        run.compensate()
    ended(again.compensate())

    with pytest.raises(PlanError, match="nothing of run 1 of w is to be undone: what could be undone is undone"):
        run.compensate()
    assert bank.did.count("unbook") == 1


def test_a_run_is_gone_on_from_once_where_something_can_be_undone(session, bank):
    run = ended(session.run(bank.flow, on_failure="stop"))
    again = ended(run.rerun())

    for verb in (run.rerun, run.resume):
        with pytest.raises(PlanError, match=f"was resumed before, by run {again.id}, which has failed: resume that"):
            verb()
    bank.broken = False
    assert ended(again.rerun()).status == "succeeded"


# what could not be undone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"step": "book"}, {"everything": True}])
def test_a_rerun_says_what_an_earlier_run_could_not_undo(session, bank, asked):
    bank.stuck = True
    run = ended(session.run(bank.flow))
    ((_, key, _),) = run.leftovers
    bank.broken = False

    again = ended(run.rerun(**asked))

    assert (again.status, again.header().note) == ("succeeded", f"book is left over from run 1 (key {key})")


def test_it_says_nothing_once_that_was_undone_after_all(session, bank):
    bank.stuck = True
    run = ended(session.run(bank.flow))
    bank.stuck = bank.broken = False
    assert ended(run.compensate()).status == "compensated"

    assert ended(run.rerun("book")).header().note == ""


# a cancel holds -------------------------------------------------------------------------------------------------------


class Slow:
    """book >> long, where long ends when it may."""

    def __init__(self, **options):
        self.log, self.begun, self.go = [], threading.Event(), threading.Event()

        @step(name="book", compensate=lambda context: self.log.append("unbook"))
        def book(context):
            self.log.append("book")

        @step(name="long", compensate=lambda context, outcome: self.log.append(f"unlong {outcome}"), **options)
        def long(context, book):
            self.begun.set()
            self.go.wait(DEADLINE)
            return "long"

        self.flow = workflow(name="w")(lambda wf: wf.timeline(book >> long))


def test_a_run_that_was_cancelled_is_undone_though_its_last_step_completes_in_time(session):
    made = Slow()
    run = session.run(made.flow)
    assert made.begun.wait(DEADLINE)
    run.cancel()
    made.go.set()
    ended(run)

    assert (run.status, made.log, run.undone) == (
        *("compensated", ["book", "unlong completed", "unbook"]),
        ("long", "book"),
    )
    assert (type(run.error()), str(run.error())) == (
        *(RunCancelled, "run 1 of w was cancelled; 2 of 2 steps had finished"),
    )
    with pytest.raises(RunCancelled):
        run.result(0)


def test_a_run_that_was_cancelled_and_cannot_be_undone_is_cancelled_though_its_last_step_completes(session):
    begun, go = threading.Event(), threading.Event()

    def long(context):
        begun.set()
        go.wait(DEADLINE)

    run = session.run(workflow(name="w")(lambda wf: wf.timeline(step(name="long")(long))))
    assert begun.wait(DEADLINE)
    run.scheduler.cancel()  # without the grace, which may be over
    go.set()
    ended(run)

    assert (run.status, how(run)) == ("cancelled", {"long": "succeeded"})
    assert ended(run.resume()).status == "succeeded"


def test_the_interrupt_key_is_a_cancel_that_holds(session, monkeypatch):
    made = Slow()
    run = session.run(made.flow)
    assert made.begun.wait(DEADLINE)
    waits, wait = threading.Event(), Run._wait

    def waited(*args, **more):
        waits.set()  # a signal before that would go past it
        return wait(*args, **more)

    def interrupt():
        assert waits.wait(DEADLINE)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Run, "_wait", waited)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run.wait(DEADLINE, echo=False)
    assert run.scheduler.stopping() == ("long",)
    made.go.set()
    ended(run)

    assert (run.status, made.log) == ("compensated", ["book", "unlong completed", "unbook"])


def test_a_second_cancel_stops_the_waiting_for_steps_and_undoes_nothing(session):
    made = Slow()
    run = session.run(made.flow)
    assert made.begun.wait(DEADLINE)
    run.cancel()
    assert not run.done
    run.cancel()
    ended(run)  # though `long` still runs
    made.go.set()

    assert (run.status, made.log, how(run)) == ("cancelled", ["book"], {"book": "succeeded", "long": "cancelled"})
    assert "not undone, since that was stopped: book; runs[1].compensate() does it" in run.error().__notes__
    assert ended(run.compensate()).undone == ("book",)
