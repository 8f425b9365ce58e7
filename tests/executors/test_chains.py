"""Chains of remote steps: each link is sent before its turn, and nobody can tell but by the time it takes."""

import contextlib
import os
import re
import time

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.dsl.routes import back_to
from cerebelum_nb.model.events import AttemptFinished, AttemptOutput, AttemptStarted
from cerebelum_nb.model.state import RunState
from cerebelum_nb.runtime import ahead
from cerebelum_nb.store import journal

pytestmark = pytest.mark.timeout(90)
DEADLINE = 30


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    made = Session(Settings(home=tmp_path_factory.mktemp("chains"), workers=2))
    yield made
    made.close()


@pytest.fixture
def early(monkeypatch):
    """Attempts that were sent before their turn, as they were."""
    sent, plain = [], ahead._Sent.__init__

    def noted(self, *key):
        plain(self, *key)
        sent.append(key)

    monkeypatch.setattr(ahead._Sent, "__init__", noted)
    return sent


@pytest.fixture(autouse=True, params=["one by one", "in lines"])
def used_to_short_ones(request, shared):
    """Core keeps lines whole where steps have been short lately; each of these tests is the same with them."""
    if request.param == "in lines":
        for _ in range(2):
            assert shared.run(chain("return 1", *["return x"] * 60)).wait(DEADLINE)


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.002)  # a poll, not a pause


def cell(source, **names):
    space = {"__name__": "__main__", "step": step, "workflow": workflow, **names}
    exec(source, space)
    return space


def chain(*bodies, executor="distributed", **names):
    """A workflow of steps s0, s1 ..., each of which gets the result of the one before as `x`."""
    lines = ["import os, signal, time", "def wait_for(path):", "    while not os.path.exists(path): time.sleep(0.002)"]
    for n, body in enumerate(bodies):
        x = f"s{n - 1}" if n else ""
        lines += [f"@step(executor={executor!r})", f"def s{n}({x}):", f"    x = {x or None}", f"    {body}"]
    lines += ["@workflow", f"def flow(wf): wf.timeline({', '.join(f's{n}' for n in range(len(bodies)))})"]
    return cell("\n".join(lines), **names)["flow"]


def folded(session, run):
    state = RunState()
    for event in journal.read(session.journal_path, run.id):
        state.apply(event)
    return state


def test_the_links_of_a_chain_are_sent_before_their_turn_and_told_in_order(shared, early):
    run = shared.run(chain("return 0", *["print(x); return x + 1"] * 99))

    assert run.result(DEADLINE).outputs["s99"] == 99
    assert len(early) > 80
    kinds = [(type(e).__name__, e.task) for e in run.events if hasattr(e, "task")]
    kinds = [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before]  # a print in pieces
    life = ["AttemptSubmitted", "AttemptStarted", "AttemptOutput", "AttemptFinished", "TaskFinished"]
    assert kinds == [(kind, n) for n in range(100) for kind in life if n or kind != "AttemptOutput"]
    assert folded(shared, run) == run.state
    assert "".join(text for _, _, text in run.printed()[1]) == "".join(f"{n}\n" for n in range(99))


def test_a_link_gets_a_copy_of_its_own_as_if_the_value_had_travelled(shared):
    run = shared.run(chain("return [1, (2, b'3')]", "x.append(4); return x", "x.append(5); return (x, id(x))"))

    outputs = run.result(DEADLINE).outputs
    assert (outputs["s0"], outputs["s1"]) == ([1, (2, b"3")], [1, (2, b"3"), 4])
    assert outputs["s2"][0] == [1, (2, b"3"), 4, 5]


def test_results_of_links_that_ended_come_while_a_later_one_still_runs(shared, tmp_path):
    path = tmp_path / "go"
    run = shared.run(chain("return 1", "return x + 1", f"wait_for({str(path)!r}); return x + 1", "return x"))

    until(lambda: run.state.phase[2] == 3)
    assert run.scheduler.values[:2] == [1, 2]
    path.touch()
    assert run.result(DEADLINE).outputs["s3"] == 3


def test_a_link_that_fails_ends_the_chain_and_what_was_sent_does_not_run(shared, tmp_path, early):
    path = tmp_path / "ran"
    run = shared.run(chain("return 1", "return 1 // 0", f"open({str(path)!r}, 'w'); return 1", "return x"))
    run.wait(DEADLINE)

    assert [row.status for row in run.rows()] == ["succeeded", "failed", "skipped", "skipped"]
    assert len(early) == 3
    assert not path.exists()
    assert run.error().error_type == "ZeroDivisionError"
    assert shared.run(chain("return 1", "return x")).result(DEADLINE).outputs["s1"] == 1


def test_an_envelope_is_opened_for_the_link_that_reads_it(shared):
    run = shared.run(chain("return {'ok': 7}", "return [x]", "return {'error': 'no'}", "return x"))
    run.wait(DEADLINE)

    assert [row.status for row in run.rows()] == ["succeeded", "succeeded", "failed", "skipped"]
    assert run.scheduler.values[:2] == [7, [7]]


def test_the_death_of_a_worker_loses_the_link_that_ran_and_no_other(shared):
    die = "os.kill(os.getpid(), signal.SIGKILL)"
    bad = shared.run(chain("return 1", *["return x + 1"] * 10, die, "return x"))
    good = shared.run(chain("return 1", *["time.sleep(0.002); return x + 1"] * 40))
    bad.wait(DEADLINE)

    assert good.result(DEADLINE).outputs["s40"] == 41
    assert [row.status for row in bad.rows()] == ["succeeded"] * 11 + ["failed", "skipped"]
    assert bad.error().error_type == "WorkerLost"
    assert "running step 's11'" in str(bad.error())
    assert folded(shared, bad) == bad.state


def test_a_cancel_stops_the_link_that_runs_and_those_that_were_sent(shared, tmp_path, early):
    path = tmp_path / "ran"
    run = shared.run(chain("return 1", "time.sleep(60)", f"open({str(path)!r}, 'w')", "return x"))
    until(lambda: run.state.phase[1] == 3)
    began = time.monotonic()
    run.cancel()
    run.wait(DEADLINE)

    assert time.monotonic() - began < 20
    assert run.status == "cancelled"
    assert len(early) == 3
    assert shared.run(chain("return 1", "return x")).result(DEADLINE).outputs["s1"] == 1
    assert not path.exists()


@pytest.fixture
def back(monkeypatch):
    """For each attempt that was taken back: done when it does not run any more."""
    found, plain = [], ahead.Ahead.end

    def noted(self):
        ends = plain(self)
        found.extend(ends)
        return ends

    monkeypatch.setattr(ahead.Ahead, "end", noted)
    return found


def test_a_link_that_was_sent_and_has_not_begun_can_be_moved(shared, tmp_path, early, back):
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    note = f"open({str(ledger)!r}, 'a').write(f'{{os.getpid()}}\\n'); return x + 1"
    run = shared.run(chain(f"wait_for({str(go)!r}); return 1", note, note, "return x"))
    until(lambda: run.state.phase[0] == 3 and len(early) == 3)

    run.move("s1", "local")
    until(lambda: len(back) == 3 and all(end.done() for end in back))
    go.touch()

    assert run.result(DEADLINE).outputs["s3"] == 3
    here, there = ledger.read_text().split()
    assert int(here) == os.getpid() != int(there)
    assert [place.label for place in run.state.places] == ["distributed", "local", "distributed", "distributed"]
    assert [len(row.segments) for row in run.rows()] == [1, 1, 1, 1]
    assert folded(shared, run) == run.state


def test_what_a_chain_does_not_foresee_goes_its_usual_way(shared, early):
    source = """
@step(executor="distributed")
def a(): return 1
@step(executor="distributed", retries=1)
def b(a): return a + 1
@step(executor="distributed", timeout=20)
def c(b): return b + 1
@step(executor="distributed", effects="once")
def d(c): return c + 1
@step(executor="distributed", cache=True)
def e(d): return d + 1
@step
def f(e): return e + 1
@step(executor="distributed")
def g(f): return f + 1
@workflow
def flow(wf): wf.timeline(a, b, c, d, e, f, g)
"""
    assert shared.run(cell(source)["flow"]).result(DEADLINE).outputs["g"] == 7
    assert early == []


def test_others_get_their_turn_between_the_links_of_a_slow_chain(tmp_path):
    session = Session(Settings(home=tmp_path / "home", workers=1))
    with contextlib.closing(session):
        session.run(chain("return 1")).wait(DEADLINE)
        slow = session.run(chain("return 1", *["time.sleep(0.1); return x"] * 20))
        until(lambda: slow.state.phase[1] == 3)
        other = session.run(chain("return 1"))
        other.wait(DEADLINE)

        assert not slow.done
        assert slow.state.phase.count(5) < 15
        assert slow.result(DEADLINE).outputs["s20"] == 1


def test_a_link_that_pauses_lends_its_worker_and_the_chain_goes_on_after_it(tmp_path, early):
    session = Session(Settings(home=tmp_path / "home", workers=1))
    source = """
from cerebelum_nb.helpers import wait_for_approval
@step(executor="distributed")
def a(): return 1
@step(executor="distributed")
async def b(a): return a + await wait_for_approval("how much?")
@step(executor="distributed")
def c(b): return b + 1
@workflow
def flow(wf): wf.timeline(a, b, c)
"""
    with contextlib.closing(session):
        run = session.run(cell(source)["flow"])
        until(lambda: run.approvals)
        assert session.run(chain("return 1", "return x")).result(DEADLINE).outputs["s1"] == 1  # on another worker
        run.approve("b", 40)
        assert run.result(DEADLINE).outputs["c"] == 42
    assert not any("steps are paused" in text for _, _, text in run.printed()[1])


LOOP = """
@step(executor="distributed")
def a(context): return context.attempt
@step(executor="distributed")
def b(a): return (a,)
@step(executor="distributed")
def c(b): return b[0]
@step(executor="distributed")
def d(c): return c
@workflow
def flow(wf): wf.timeline(a >> b >> c >> d).branch(c, lambda c: c >= 3, None, back_to(a))
"""


def test_a_part_that_a_route_goes_back_to_is_sent_ahead_again(shared, early):
    run = shared.run(cell(LOOP, back_to=back_to)["flow"])

    assert run.result(DEADLINE).outputs["d"] == 3
    assert [early.count((1, n)) for n in (1, 2, 3)] == [1, 1, 1]
    assert folded(shared, run) == run.state


BODIES = [
    "return ({seen}, b'x', 1.5)",
    "print('seen', {seen}); return 1",
    "return {{'k': {seen}, 'error': None}}",
    "return {{'ok': {seen}}}",
    "return {{'error': 'said so'}}",
    "raise ValueError(str({seen}))",
    "import threading; return {{'lock': threading.Lock()}}",
    "import time; time.sleep(0.012); return {seen}",
    "import sys; sys.exit(3)",
    "import collections; return collections.OrderedDict(ok={seen})",
]
OPTIONS = ["", "", "", "", "", ", retries=1", ", effects='once'"]


@st.composite
def flows(draw):
    """Source of a workflow of steps of all kinds, mostly remote: stages, their branches, each a chain."""
    steps, stages, n = [], [], 0
    for _ in range(draw(st.integers(1, 3))):
        earlier, branches = n, []
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            links = []
            for _ in range(draw(st.integers(1, 5))):
                readable = [*range(earlier), *links]
                reads = {readable[-1]} if readable and draw(st.integers(0, 5)) else set()
                if readable and not draw(st.integers(0, 3)):
                    reads.add(draw(st.sampled_from(readable)))
                names = ", ".join(f"s{r}" for r in sorted(reads))
                body = draw(st.sampled_from(["return [{seen}]"] * 25 + BODIES)).format(seen=f"[{names}]")
                where = draw(st.sampled_from(["distributed"] * 6 + ["local"]))
                steps += [f"@step(executor={where!r}{draw(st.sampled_from(OPTIONS))})", f"def s{n}({names}): {body}"]
                links.append(n)
                n += 1
            branches.append(" >> ".join(f"s{link}" for link in links))
        stages.append(branches[0] if len(branches) == 1 else f"[{', '.join(branches)}]")
    return "\n".join([*steps, "@workflow", f"def flow(wf): wf.timeline({', '.join(stages)})"])


# Of two that fail side by side, one is first: so the reason for what is skipped is not compared.
MOMENTARY = {"seq", "at", "run_s", "transfer_s", "worker", "until", "reason"}


def told(run):
    """What the run says of each task, without times and whoever ran it; a print may come in pieces."""
    of: dict[str, list[dict[str, object]]] = {}
    for event in run.events:
        if hasattr(event, "task"):
            said = {f: getattr(event, f) for f in event.__struct_fields__ if f not in MOMENTARY}
            before = of.setdefault(run.state.names[event.task], [])
            if isinstance(event, AttemptOutput) and before and before[-1].get("stream") == event.stream:
                before[-1]["text"] += event.text
            else:
                before.append({"event": type(event).__name__, **said})
    return of


def placeless(value):
    """A value in words, without where it is in memory."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


@settings(max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(source=flows())
def test_a_run_is_the_same_with_and_without_sending_ahead(shared, source):
    flow = cell(source)["flow"]
    runs = [shared.run(flow)]
    runs[0].wait(DEADLINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead.Ahead, "lead", lambda self, ticket: self._job.attempt(ticket.task, ticket.attempt))
        runs.append(shared.run(flow))
        runs[1].wait(DEADLINE)

    quick, plain = runs
    assert (quick.done, quick.status) == (True, plain.status)
    assert [placeless(value) for value in quick.scheduler.values] == [placeless(v) for v in plain.scheduler.values]
    assert placeless(sorted(told(quick).items())) == placeless(sorted(told(plain).items()))
    assert folded(shared, quick) == quick.state
    assert not quick.scheduler.ahead
    needs = quick.scheduler.plan.needs
    ended = {e.task: e.seq for e in quick.events if isinstance(e, AttemptFinished)}
    began = {e.task: e.seq for e in quick.events if isinstance(e, AttemptStarted)}
    assert all(ended[need] < began[task] for task in began for need in needs[task] if need in ended)
