"""The scheduler and the fold against a model that knows only the rules; hypothesis drives them, and lets results come
twice, late, in another order, and from attempts that are long over."""

import random

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptStarted,
    AttemptSubmitted,
    ErrorInfo,
    Placement,
    RouteTaken,
    RunCompensating,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskMoved,
    TaskRetrying,
    decode_lines,
    encode_lines,
)
from cerebelum_nb.model.options import Backoff, StepOptions
from cerebelum_nb.model.plan import Call, Plan
from cerebelum_nb.model.state import SUCCEEDED, RunState
from cerebelum_nb.model.workflow import Way
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.runtime.scheduler import Scheduler

LOCAL = Placement("local", "local", "local", False, "session", "the default")
CORE = Placement("core", "core", "distributed", True, "decorator", "the step says so")
PLACES = st.sampled_from([LOCAL, CORE])
LANES = st.sampled_from(["local", "core"])
BAD = st.sampled_from(["error", "timeout", "lost", "cancelled"])


@st.composite
def options(draw):
    return StepOptions(
        retries=draw(st.integers(0, 2)),
        backoff=Backoff(draw(st.sampled_from([1.0, 0.0]))),
        timeout=draw(st.sampled_from([None, 1.0])),
        queue_timeout=draw(st.sampled_from([None, 1.0])),
        idempotent=draw(st.booleans()),
        compensate_unknown=draw(st.booleans()),
        point_of_no_return=draw(st.integers(0, 9)) == 0,
    )


@st.composite
def plans(draw):
    """Small graphs with options, what undoes some steps, and perhaps a decision with two ways on and one back."""
    n = draw(st.integers(1, 8))
    needs = [draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set() for i in range(n)]
    ways = {}
    if n >= 4 and draw(st.booleans()):
        decision = draw(st.integers(1, n - 3))
        needs[decision].add(0)
        needs[decision + 1] = {decision}
        needs[decision + 2] = {decision}
        ways[decision] = (
            Way("'left'", steps=(decision + 1,)),
            Way("'right'", steps=(decision + 2,)),
            Way("'back'", back_to=(0,), limit=2),
        )
    undo = sorted(draw(st.sets(st.sampled_from(sorted(set(range(n)) - set(ways))), max_size=3)))
    asked = {task: draw(options()) for task in {*undo, *draw(st.sets(st.integers(0, n - 1), max_size=3))} - set(ways)}
    asked |= {n + i: draw(options()) for i in range(len(undo))}
    total = n + len(undo)
    return Plan(
        workflow="w",
        inputs={},
        names=(*(f"s{i}" for i in range(n)), *(f"undo s{task}" for task in undo)),
        needs=(*(tuple(sorted(need)) for need in needs), *[()] * len(undo)),
        places=(LOCAL, CORE),
        place=tuple(draw(st.integers(0, 1)) for _ in range(total)),
        functions=(len,) * total,
        calls=(Call(()),) * total,
        asynchronous=(True,) * total,
        answer=n - 1,
        options=asked,
        ways=ways,
        undo=tuple(undo),
    )


class Rules:
    """What may follow what, told by events alone."""

    def __init__(self, plan):
        self.plan = plan
        self.done, self.passed, self.ended, self.undoing = set(), set(), set(), {}
        self.alive, self.last = {}, dict.fromkeys(range(len(plan.names)), 0)
        self.value, self.ok, self.over = {}, None, False
        self.ever_done, self.unknown = set(), set()  # by attempts, sent back since or not
        self.began = set()

    def take(self, event):
        assert not self.over, "something after the last event"
        ok, self.ok = self.ok, None
        match event:
            case AttemptSubmitted(task=task, attempt=number):
                self.begins(task, number)
            case AttemptStarted(task=task, attempt=number):
                self.began.add((task, number))
                if self.alive.get(task) != number:
                    self.begins(task, number)
            case AttemptFinished(task=task, attempt=number, outcome=outcome):
                assert self.alive.pop(task) == number
                self.ok = (task, number) if outcome == "ok" else None
                if outcome != "ok" and (task, number) in self.began:
                    self.unknown.add(task)
            case TaskFinished(task=task, status="succeeded", source="attempt"):
                assert ok is not None, "it succeeded without an attempt that did"
                assert ok[0] == task
                self.value[task] = ok[1]
                self.done.add(task)
                self.ever_done.add(task)
                self.ended.add(task)
            case TaskFinished(task=task, status=status, source=source):
                assert task not in self.alive
                self.ended.add(task)
                if status == "succeeded":
                    self.done.add(task)
                if source == "route":
                    self.passed.add(task)
            case TaskRetrying(task=task):
                assert task not in self.alive
            case RouteTaken(again=again) | TaskMoved(again=again):
                assert not self.alive.keys() & set(again), "sent back while it runs"
                for of in (self.done, self.passed, self.ended):
                    of.difference_update(again)
            case RunCompensating(tasks=tasks):
                assert not self.alive
                assert not self.undoing
                assert self.ended >= set(range(self.plan.steps))
                for task in tasks:
                    step = self.plan.undo[task - self.plan.steps]
                    assert step in self.ever_done | self.unknown, "undone without having been done"
                    below = self.plan.below(step)
                    self.undoing[task] = {t for t in tasks if self.plan.undo[t - self.plan.steps] in below}
            case RunFinished(status=status):
                assert not self.alive
                assert self.ended >= {*range(self.plan.steps), *self.undoing}
                assert (status == "succeeded") <= (self.done | self.passed >= set(range(self.plan.steps)))
                assert (status == "compensated") <= bool(self.undoing)
                self.over = True

    def begins(self, task, number):
        assert task not in self.alive, "two attempts at once"
        assert number == self.last[task] + 1
        self.last[task], self.alive[task] = number, number
        if task >= self.plan.steps:
            assert task in self.undoing
            assert self.undoing[task] <= self.ended, "undone before what depends on it"
        else:
            assert not self.undoing, "a step begins while the run is undone"
            assert set(self.plan.needs[task]) <= self.done | self.passed, "it begins before what it needs"


class RunMachine(RuleBasedStateMachine):
    tickets = Bundle("tickets")  # also those that are long over
    timers = Bundle("timers")

    @initialize(plan=plans(), reused=st.sets(st.integers(0, 6), max_size=2), seed=st.integers(0, 10**9), target=tickets)
    def begin(self, plan, reused, seed):
        self.dice = random.Random(seed)
        self.rang, self.stopped = [], []
        lanes = ("local", "threads", "core")
        self.run = Scheduler(
            plan,
            poke=dict.fromkeys(lanes, lambda: None),
            stop=lambda *what: self.stopped.append(what),
            urgent=lambda: None,
            later=lambda _, call: self.rang.append(call),
        )
        self.rules, self.fold, self.plan, self.values = Rules(plan), RunState(), plan, {}
        known = {t for t in reused if t < plan.steps and t not in plan.ways and plan.above(t) <= reused}
        self.run.start("r", reused=dict.fromkeys(known, ("reused", "from an earlier run")))
        return multiple()

    # what executors say ---------------------------------------------------------------------------------------------

    @rule(lane=LANES, target=tickets)
    def take(self, lane):
        return self.left_with(self.run.turn(lane))

    def left_with(self, ticket):
        return multiple() if ticket is None else ticket

    def is_stale(self, ticket):
        return self.rules.alive.get(ticket.task) != ticket.attempt

    def turn(self, ticket, lane, value=None, outcome=None):
        """An attempt ends; where it is over already, nothing of it may be written."""
        stale, late, before = self.is_stale(ticket), self.run.late, len(self.run.log)
        values = list(self.run.values)
        following = self.run.turn(lane, ticket, value, outcome)
        if stale:
            assert self.run.late == late + 1
            new = self.run.log[before:]
            assert [type(e) for e in new] in ([], [AttemptStarted], [AttemptSubmitted])
            assert self.run.values == values
        return self.left_with(following)

    @rule(ticket=tickets, lane=st.sampled_from(["", "local", "core"]), way=st.integers(0, 2), target=tickets)
    def succeeds(self, ticket, lane, way):
        value = way if ticket.task in self.plan.ways else (ticket.task, ticket.attempt)
        return self.turn(ticket, lane, value)

    @rule(ticket=tickets, lane=st.sampled_from(["", "local", "core"]), kind=BAD, target=tickets)
    def fails(self, ticket, lane, kind):
        return self.turn(ticket, lane, None, Outcome(kind, error=ErrorInfo("OSError", "torn")))

    @rule(ticket=tickets)
    def begins_there(self, ticket):
        self.run.began(ticket.task, ticket.attempt, "worker 1")

    @rule(ticket=tickets)
    def says_something(self, ticket):
        stale, before = self.is_stale(ticket), len(self.run.log)
        self.run.printed(ticket.task, ticket.attempt, "stdout", "hello\n")
        self.run.progress(ticket.task, ticket.attempt, 0.5, "half")
        assert len(self.run.log) == before + 2 * (not stale)

    @rule(ticket=tickets, kind=st.sampled_from(["sleep", "approval"]))
    def rests(self, ticket, kind):
        self.run.paused(ticket.task, ticket.attempt, kind, 0.0, "")

    @rule(ticket=tickets)
    def goes_on(self, ticket):
        self.run.resumed(ticket.task, ticket.attempt)

    # what clocks and people say -------------------------------------------------------------------------------------

    @rule(target=timers)
    def set_timers(self):
        rang, self.rang = self.rang, []
        return multiple(*rang)

    @rule(timer=timers)
    def a_timer_rings_perhaps_twice(self, timer):
        timer()

    @rule(timer=consumes(timers))
    def a_timer_rings_once(self, timer):
        timer()

    @rule(task=st.integers(0, 6), place=PLACES)
    def is_moved(self, task, place):
        if task < self.plan.steps and task not in self.plan.ways:
            self.run.move(task, place)

    @rule(undo=st.booleans(), sure=st.integers(0, 20))
    def is_cancelled(self, undo, sure):
        if sure == 20:
            self.run.cancel(undo=undo)

    @rule(undoing=st.booleans())
    def is_given_up(self, undoing):
        if self.run.is_halted():
            self.run.abandon(undoing=undoing)

    # what must hold -------------------------------------------------------------------------------------------------

    @invariant()
    def all_holds(self):
        """The log follows the rules and folds to the live state; a result is that of the attempt that succeeded."""
        if not hasattr(self, "run"):
            return
        for event in decode_lines(encode_lines(self.run.drain())):
            self.fold.apply(event)
            if not isinstance(event, RunStarted):
                self.rules.take(event)
        assert self.fold == self.run.state
        for task, phase in enumerate(self.run.state.phase):
            if phase == SUCCEEDED and task not in self.plan.ways:
                reused = task in self.run.state.reused
                assert self.run.values[task] == ("reused" if reused else (task, self.rules.value[task]))

    def play_on(self):
        """Some way on by dice, since hypothesis alone seldom gets far: results that come twice, late or never."""
        tickets = []
        for _ in range(self.dice.choice([10, 60, 150])):
            lane, again = self.dice.choice(["local", "core"]), self.dice.random() < 0.3
            if tickets and (again or self.dice.random() < 0.6):
                ticket = self.dice.choice(tickets)
                kind = self.dice.choice(["ok", "ok", "ok", "error", "lost", "timeout"])
                if kind == "ok":
                    self.succeeds(ticket, "", self.dice.randrange(3))
                elif self.dice.random() < 0.5:
                    self.begins_there(ticket)
                else:
                    self.turn(ticket, "", None, Outcome(kind, error=ErrorInfo("OSError", "torn")))
            elif (taken := self.run.turn(lane)) is not None:
                tickets.append(taken)
            for timer in list(self.rang) if self.dice.random() < 0.3 else ():  # one may set another
                timer()
            self.all_holds()

    def teardown(self):
        if not hasattr(self, "run"):
            return
        self.play_on()
        for _ in range(2):  # the second time for what undoes it
            self.run.cancel(undo=False)
            self.run.abandon()
            self.run.abandon(undoing=True)
        self.all_holds()
        assert self.rules.over, "it does not end"


TestRunMachine = RunMachine.TestCase
TestRunMachine.settings = settings(
    max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
