"""What is undone, and in which order: graphs and failures at random, and the scheduler driven without an executor."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cerebelum_nb import PlanError, step, workflow
from cerebelum_nb.model.events import (
    AttemptStarted,
    ErrorInfo,
    Placement,
    TaskFinished,
    decode_lines,
    encode_lines,
)
from cerebelum_nb.model.options import StepOptions
from cerebelum_nb.model.plan import Call, Plan
from cerebelum_nb.model.state import PHASES, SUCCEEDED, RunState
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules import planner
from cerebelum_nb.rules.placement import Places, Wishes
from cerebelum_nb.rules.undoing import (
    Stands,
    is_on_request,
    is_unknown,
    left_in_doubt,
    line_of,
    to_undo,
    was_stopped,
)
from cerebelum_nb.runtime.scheduler import Scheduler

LOCAL = Placement("local", "local", "local", False, "session", "the default")
CORE = Placement("core", "core", "distributed", True, "decorator", "the step says so")
ASK = StepOptions(compensate=len)
DIAMOND = ((), (0,), (0,), (1, 2))
FAILED = Outcome("error", error=ErrorInfo("TypeError", "no"))  # a kind that is not tried again
LOST = Outcome("lost", error=ErrorInfo("WorkerLost", "it died"))


def plan_of(needs, undo, *, options=None, places=None, **more):
    """A plan whose tasks `undo` are undone by the tasks that follow, in this order."""
    n, m = len(needs), len(undo)
    chosen = places or [0] * n
    return Plan(
        workflow="w",
        inputs={},
        names=(*(f"s{i}" for i in range(n)), *(f"undo s{i}" for i in undo)),
        needs=(*needs, *[()] * m),
        places=(LOCAL, CORE),
        place=(*chosen, *[chosen[i] for i in undo]),
        functions=(len,) * (n + m),
        calls=(Call(()),) * (n + m),
        asynchronous=(True,) * (n + m),
        answer=n - 1,
        options={**dict.fromkeys(undo, ASK), **(options or {})},
        undo=tuple(undo),
        **more,
    )


class Kit:
    """A scheduler, what it asks for, and the hand that plays its lanes."""

    def __init__(self, plan, **start):
        self.stops, self.timers, self.live, self.log = [], [], [], []
        poke = {lane: lambda: None for lane in ("local", "threads", "core")}
        self.s = Scheduler(
            plan,
            poke=poke,
            stop=lambda *a: self.stops.append(a),
            urgent=lambda: None,
            later=lambda seconds, call: self.timers.append((seconds, call)),
        )
        self.s.start("r", **start)

    def take(self):
        for lane in ("local", "threads", "core"):
            while (ticket := self.s.turn(lane)) is not None:
                self.live.append(ticket)
        return [t.task for t in self.live]

    def end(self, task, value=None, outcome=None):
        ticket = next(t for t in self.live if t.task == task)
        self.live.remove(ticket)
        self.s.turn("", ticket, value, outcome)

    def play(self, fails=(), order=None):
        """Run on to the end; the tasks in `fails` fail."""
        while self.take():
            task = (order.choice(self.live) if order is not None else self.live[0]).task
            self.end(task, f"of {task}", FAILED if task in fails else None)

    def told_at(self, kind, task):
        return next(e.seq for e in self.s.log if isinstance(e, kind) and e.task == task)

    @property
    def phases(self):
        return [PHASES[p] for p in self.s.state.phase]


def refolded(kit):
    state = RunState()
    for event in decode_lines(encode_lines(kit.s.log)):
        state.apply(event)
    return state == kit.s.state


@st.composite
def graphs(draw):
    """A plan with edges to earlier tasks only, some of its tasks undoable, some failing; and who fails to be undone."""
    n = draw(st.integers(1, 9))
    needs = [tuple(sorted(draw(st.sets(st.integers(0, i - 1), max_size=3)))) if i else () for i in range(n)]
    undo = sorted(draw(st.sets(st.integers(0, n - 1))))
    fails = draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=2))
    stuck = draw(st.sets(st.sampled_from(undo))) if undo else set()
    return needs, undo, fails, stuck, random.Random(draw(st.integers(0, 9999)))


def above(needs, task):
    return {task}.union(*(above(needs, need) for need in needs[task]))


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_exactly_what_completed_is_undone_after_all_that_depends_on_it(graph):
    needs, undo, fails, stuck, order = graph
    plan = plan_of(needs, undo)
    kit = Kit(plan)
    kit.play({*fails, *(plan.steps + i for i, task in enumerate(undo) if task in stuck)}, order)

    state = kit.s.state
    done = {t for t in undo if state.phase[t] == SUCCEEDED}
    began = [e.task for e in kit.s.log if isinstance(e, AttemptStarted)]
    ended = [e.task for e in kit.s.log if isinstance(e, TaskFinished)]
    tried = [undo[t - plan.steps] for t in began if t >= plan.steps]
    assert sorted(tried) == sorted(done)
    assert state.undone == done - stuck
    for later in done:
        for earlier in above(needs, later) & done - {later}:  # its undoing begins when that of `later` has ended
            one, other = (plan.steps + undo.index(t) for t in (earlier, later))
            assert kit.told_at(AttemptStarted, one) > kit.told_at(TaskFinished, other)
    assert not {t for t in tried if ended.count(plan.steps + undo.index(t)) != 1}
    failed = "failed" if any(state.phase[t] != SUCCEEDED for t in range(plan.steps)) else "succeeded"
    assert state.status == ("compensation_failed" if done & stuck else "compensated" if done else failed)
    assert refolded(kit)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_wherever_a_run_is_cut_off_the_next_one_undoes_the_rest_and_nothing_that_is_known_to_be_undone(graph):
    needs, undo, fails, _, order = graph
    plan = plan_of(needs, undo)
    kit = Kit(plan)
    kit.play(fails, order)

    for length in range(1, len(kit.s.log) + 1):
        state = RunState()
        for event in kit.s.log[:length]:
            state.apply(event)
        cut = Scheduler(plan, poke=dict.fromkeys(state.ready, list), stop=lambda *_: None, urgent=list)
        cut.state = state
        cut.cancel("its kernel ended", undo=False)
        cut.abandon()
        cut.abandon(undoing=True)
        done = {t for t in undo if state.phase[t] == SUCCEEDED}
        stands = frozenset(task for _, task in line_of([state]).done.values() if task in undo)
        assert stands == done - state.undone
        assert state.status != "running"
        if stands:
            there = {t: ("", "") for t in range(plan.steps) if state.phase[t] == SUCCEEDED and t not in state.undone}
            following = Kit(plan, reused=there, stands=Stands(stands), undo_now="as asked")
            following.play()
            assert following.s.state.undone == stands
            assert following.s.state.status == "compensated"


def test_independent_steps_are_undone_side_by_side():
    kit = Kit(plan_of(DIAMOND, (0, 1, 2)))
    kit.play({3})

    assert kit.s.state.needs[4:] == ((5, 6), (), ())
    assert kit.s.state.status == "compensated"


def test_steps_that_run_are_stopped_and_awaited_before_anything_is_undone():
    kit = Kit(plan_of(((), (), ()), (0, 2), places=[0, 0, 1]))
    kit.take()
    kit.end(0, "a")
    kit.end(1, outcome=FAILED)
    assert kit.stops == [("core", 2, 1)]
    assert kit.s.state.compensating == ()

    kit.end(2, outcome=Outcome("cancelled"))

    assert kit.take() == [3]
    assert [PHASES[p] for p in kit.s.state.phase[:3]] == ["succeeded", "failed", "cancelled"]


def test_what_completes_while_it_is_awaited_is_undone_too():
    kit = Kit(plan_of(((), ()), (0,)))
    kit.take()
    kit.end(1, outcome=FAILED)

    kit.end(0, "late but done")

    assert kit.take() == [2]
    assert kit.s.values[0] == "late but done"


def test_a_step_that_does_not_stop_is_left_behind_after_a_while_and_nobody_knows_what_it_did():
    kit = Kit(plan_of(((), (), ()), (0, 1)))
    kit.take()
    kit.end(0, "a")
    kit.end(2, outcome=FAILED)
    ((seconds, abandon),) = kit.timers

    abandon()

    assert seconds == 5.0
    kit.live = [t for t in kit.live if t.task != 1]
    assert kit.take() == [3]
    kit.end(3)
    assert (kit.s.state.status, left_in_doubt(kit.s.state)) == ("compensated", [1])


def test_that_timer_does_not_end_what_undoes():
    kit = Kit(plan_of(((), ()), (0,)))
    kit.take()
    kit.end(0, "a")
    kit.end(1, outcome=FAILED)
    kit.take()

    kit.timers[0][1]()

    assert kit.phases[2] == "running"


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("kind", ["lost", "timeout", "cancelled"])
def test_an_attempt_of_which_nobody_knows_is_undone_only_where_the_step_says_so(kind, asked):
    options = {1: StepOptions(compensate=len, compensate_unknown=asked)}
    kit = Kit(plan_of(((), ()), (0, 1), options=options))
    kit.take()
    kit.end(0, "a")
    if kind == "cancelled":
        kit.s.cancel()
    kit.end(1, outcome=Outcome(kind, error=ErrorInfo("WorkerLost", "")))
    kit.play()

    assert kit.s.state.undone == ({0, 1} if asked else {0})
    assert kit.s.in_doubt == ({1} if asked else frozenset())
    assert left_in_doubt(kit.s.state) == ([] if asked else [1])


def test_a_step_that_never_began_is_no_unknown_one():
    options = {0: StepOptions(compensate=len, compensate_unknown=True)}
    for outcome in (Outcome("timeout"), Outcome("lost", delivered=False), Outcome("cancelled")):
        kit = Kit(plan_of(((),), (0,), options=options, places=[1]))
        kit.take()
        kit.end(0, outcome=outcome)

        assert (kit.s.state.compensating, is_unknown(kit.s.state, 0)) == ((), False)


def test_a_worker_that_is_lost_before_it_could_say_that_it_began_leaves_doubt():
    options = {0: StepOptions(compensate=len, compensate_unknown=True)}
    kit = Kit(plan_of(((),), (0,), options=options, places=[1]))
    kit.take()
    kit.end(0, outcome=LOST)

    assert kit.s.in_doubt == {0}


def test_an_unknown_attempt_is_remembered_when_another_one_fails_plainly():
    options = {0: StepOptions(compensate=len, compensate_unknown=True, retries=1)}
    kit = Kit(plan_of(((),), (0,), options=options))
    kit.take()
    kit.end(0, outcome=LOST)
    kit.take()
    kit.end(0, outcome=FAILED)

    assert kit.s.in_doubt == {0}


def test_nothing_is_undone_past_a_point_of_no_return_and_the_other_steps_go_on():
    options = {1: StepOptions(point_of_no_return=True)}
    kit = Kit(plan_of(((), (0,), (1,), (1,), (3,)), (0,), options=options))
    kit.play({2})

    assert kit.phases == ["succeeded", "succeeded", "failed", "succeeded", "succeeded", "waiting"]
    assert kit.s.state.status == "failed"


def test_a_run_that_is_to_stop_undoes_nothing():
    kit = Kit(plan_of(DIAMOND, (0, 1, 2), undone_if=False))
    kit.play({1})

    assert kit.phases[:4] == ["succeeded", "failed", "succeeded", "skipped"]
    assert (kit.s.state.status, kit.s.state.compensating) == ("failed", ())


def test_a_cancel_undoes_and_does_not_stop_what_it_begins():
    kit = Kit(plan_of(((), (0,), (1,)), (0, 1)))
    for task in (0, 1):
        kit.take()
        kit.end(task, task)

    kit.s.cancel()
    kit.take()
    assert (kit.phases[2], kit.stops) == ("cancelled", [])
    kit.play()

    assert (kit.s.state.status, kit.s.state.why_undone) == ("compensated", "the run was cancelled")


def test_a_cancel_of_a_running_step_waits_for_its_end_and_only_then_undoes():
    kit = Kit(plan_of(((), (0,)), (0,)))
    kit.take()
    kit.end(0, 0)
    kit.take()
    kit.s.cancel()

    assert (kit.stops, kit.s.is_undoing()) == ([("local", 1, 1)], True)
    kit.end(1, outcome=Outcome("cancelled"))
    assert kit.take() == [2]


def test_a_second_cancel_stops_the_undoing_and_what_is_left_is_known():
    kit = Kit(plan_of(((), (0,), (1,), (2,)), (0, 1, 2)))
    for task in range(3):
        kit.take()
        kit.end(task, task)
    kit.s.cancel()
    kit.take()
    kit.end(6)
    kit.take()

    kit.s.cancel()

    assert kit.stops == [("local", 5, 1)]
    kit.end(5, outcome=Outcome("cancelled"))
    assert kit.phases[4:] == ["cancelled", "cancelled", "succeeded"]
    assert (kit.s.state.status, kit.s.state.undone, was_stopped(kit.s.state)) == ("compensation_failed", {2}, True)
    assert refolded(kit)


def test_a_cancel_without_undo_undoes_nothing_even_while_steps_are_stopped_for_it():
    kit = Kit(plan_of(((), (), ()), (0,)))
    kit.take()
    kit.end(0, 0)
    kit.end(1, outcome=FAILED)

    kit.s.cancel(undo=False)
    kit.end(2, outcome=Outcome("cancelled"))

    assert (kit.s.state.status, kit.s.state.compensating) == ("cancelled", ())


def test_undoing_that_fails_is_tried_again_and_hinders_no_other():
    options = {5: StepOptions(retries=2)}
    kit = Kit(plan_of(((), (0,), (1,), (2,)), (0, 1), options=options))
    for task in range(3):
        kit.take()
        kit.end(task, task)
    kit.take()
    kit.end(3, outcome=FAILED)
    for _ in range(2):
        assert kit.take() == [5]
        kit.end(5, outcome=Outcome("error", error=ErrorInfo("OSError", "not now")))
    kit.take()
    kit.end(5)
    kit.play({4})

    assert (kit.s.state.retried[5], kit.s.state.undone) == (2, {1})
    assert kit.s.state.status == "compensation_failed"


def test_what_is_undone_runs_where_the_step_ran():
    kit = Kit(plan_of(((), (0,)), (0,)))
    kit.s.move(0, CORE)
    kit.take()
    kit.end(0, 0)
    kit.take()
    kit.end(1, outcome=FAILED)

    assert (kit.s.state.places[2].lane, kit.s.state.places[2].rule) == ("core", "compensation")


def test_a_step_that_was_sent_back_is_undone_with_its_last_result():
    kit = Kit(plan_of(((), (0,), ()), (0,)))
    kit.take()
    kit.end(2, 2)
    kit.end(0, "first")
    kit.take()
    kit.s.move(0, LOCAL)
    kit.live = []
    kit.take()
    kit.end(0, outcome=FAILED)

    assert kit.take() == [3]
    assert (kit.s.values[0], kit.s.in_doubt) == ("first", frozenset())


def test_what_a_run_reused_is_undone_only_as_far_as_it_stands_for_this_line():
    plan = plan_of(((), (0,), (1,), (2,)), (0, 1, 2))
    reused = {0: ("a", ""), 1: ("b", "")}
    other = Kit(plan, reused=reused)
    other.play({3})
    own = Kit(plan, reused=reused, stands=Stands(frozenset({1})))
    own.play({3})

    assert other.s.state.undone == {2}
    assert own.s.state.undone == {1, 2}


def test_what_stands_and_was_to_run_again_is_undone_with_its_known_result():
    kit = Kit(plan_of(((), (0,)), (1,)), stands=Stands(frozenset({1})), known={1: "of an earlier run"})
    kit.take()
    kit.end(0, outcome=FAILED)

    assert kit.take() == [2]
    assert kit.s.values[1] == "of an earlier run"


def test_undoing_on_request_runs_no_step():
    kit = Kit(
        plan_of(((), (0,), (1,)), (0, 1)),
        reused={0: ("a", ""), 1: ("b", "")},
        stands=Stands(frozenset({0, 1})),
        undo_now="as asked",
    )
    kit.play()

    assert kit.phases == ["succeeded", "succeeded", "skipped", "succeeded", "succeeded"]
    assert (kit.s.state.status, is_on_request(kit.s.state)) == ("compensated", True)
    assert [e.task for e in kit.s.log if isinstance(e, AttemptStarted)] == [4, 3]


def test_an_unknown_attempt_of_an_earlier_run_is_undone_where_the_step_says_so():
    options = {1: StepOptions(compensate=len, compensate_unknown=True)}
    kit = Kit(plan_of(((), (0,)), (1,), options=options), stands=Stands(unknown=frozenset({1})))
    kit.take()
    kit.end(0, outcome=FAILED)

    assert kit.s.in_doubt == {1}


def test_ten_thousand_steps_are_put_in_order_at_once():
    n = 10_000
    needs = tuple((i - 1,) if i else () for i in range(n))
    plan = plan_of(needs, tuple(range(n)))
    kit = Kit(plan, reused=dict.fromkeys(range(n - 1), (None, "")), stands=Stands(frozenset(range(n - 1))))

    found = to_undo(plan, kit.s.state, Stands(frozenset(range(n - 1))))

    assert found.needs[:2] == ((n + 1,), (n + 2,))
    assert found.needs[n - 2] == ()


# over several runs --------------------------------------------------------------------------------------------------


def lived(run, plan, fails=(), cut_off=None, **start):
    """A run's state; `cut_off` is the task at whose beginning its kernel ended."""
    kit = Kit(plan, **start)
    kit.s.state.run = run
    while kit.take():
        if cut_off in [t.task for t in kit.live]:
            kit.s.cancel(undo=False)
            kit.s.abandon()
            kit.s.abandon(undoing=True)
            break
        task = kit.live[0].task
        kit.end(task, task, FAILED if task in fails else None)
    return kit.s.state


CHAIN = ((), (0,), (1,))


def test_a_line_knows_what_stands_and_who_did_it():
    plan = plan_of(CHAIN, (0, 1), undone_if=False)
    first = lived("one", plan, {1})
    second = lived("two", plan, {2}, reused={0: ("a", "")})

    assert line_of([first, second]).done == {"s0": ("one", 0), "s1": ("two", 1)}


def test_what_the_first_run_of_a_line_reused_is_another_lines():
    plan = plan_of(CHAIN, (0, 1), undone_if=False)
    rerun = lived("two", plan, {2}, reused={0: ("a", "")})

    assert line_of([rerun]).done == {"s1": ("two", 1)}
    assert line_of([rerun], whole=False).done == {"s0": ("two", 0), "s1": ("two", 1)}


def test_what_was_undone_has_another_key_from_the_next_run_on():
    plan = plan_of(CHAIN, (0, 1))
    first = lived("one", plan, {2, 3})  # s0 is not undone
    again = lived("two", plan, {2}, reused={0: ("a", "")})

    assert line_of([first]).undone == {"s1"}
    both = line_of([first, again])
    assert (both.undone, both.keys, both.done) == ({"s1"}, {"s1": "two"}, {"s0": ("one", 0)})


def test_a_line_remembers_what_nobody_knows_until_it_is_known():
    plan = plan_of(CHAIN, (0, 1))
    cut = lived("one", plan, cut_off=1)
    early = lived("two", plan_of(((), (), (1,)), (0, 1)), {2}, cut_off=0)
    done = lived("three", plan_of(CHAIN, (0, 1), undone_if=False), {2}, reused={0: ("a", "")})

    assert line_of([cut]).unknown == {"s1"}
    assert line_of([cut, early]).unknown == {"s1"}
    assert line_of([cut, done]).unknown == {"s2"}  # which raised


# planning -----------------------------------------------------------------------------------------------------------


def planned(undo, **options):
    @step
    def order(context, inputs): ...

    @step(compensate=undo, **options)
    def charge(context, order): ...

    @step
    def audit(context, order): ...

    made = workflow(name="w")(lambda wf: wf.timeline(order >> [charge, audit]))
    return planner.plan(made.define(), {}, Wishes(), Places(frozenset(), ("local",)))


def test_what_undoes_gets_its_arguments_by_name():
    made = planned(lambda order, outcome, result, context, inputs, charge, more=1: None)

    call = made.calls[3]
    assert (call.positional, dict(call.keywords)) == (
        *((),),
        {"order": 0, "outcome": -3, "result": 1, "context": -1, "inputs": -2, "charge": 1},
    )
    assert (made.names[3], made.undo, made.steps) == ("undo charge", (1,), 3)


@pytest.mark.parametrize(
    ("undo", "why"),
    [
        (lambda resul: 1, "what undoes step 'charge' needs 'resul': .* Did you mean 'result'"),
        (lambda audit: 1, "what undoes step 'charge' needs 'audit': it takes .* results of steps before that step"),
    ],
)
def test_what_it_cannot_get_is_refused_before_anything_runs(undo, why):
    with pytest.raises(PlanError, match=why):
        planned(undo)


def test_its_retries_and_times_are_those_that_the_step_says():
    options = planned(len_of := (lambda context: None), compensate_retries=7, compensate_timeout=2).options[3]

    assert (options.retries, options.timeout, options.compensate) == (7, 2.0, None)
    assert planned(len_of).options[3].retries == 3
