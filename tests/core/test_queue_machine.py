"""Core's queue against a simple model; hypothesis drives both: workers die, start, pause; results come twice and late."""

import random

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cerebelum_nb.core.queue import BROKEN_AFTER, Queue

PICK = st.integers(0, 1000)  # one of those there are


class Worker:
    """As the model sees a slot's worker."""

    def __init__(self, *, here=True):
        self.here, self.ready, self.holds, self.rests = here, False, [], False
        self.drains = self.told = False  # it gets nothing more; it was asked to end


class QueueMachine(RuleBasedStateMachine):
    @initialize(slots=st.integers(1, 3), window=st.integers(1, 3), seed=st.integers(0, 10**9))
    def begin(self, slots, window, seed):
        self.dice = random.Random(seed)
        self.slots, self.window = slots, window
        self.queue = Queue(range(1, slots + 1), window)
        self.workers = {slot: Worker() for slot in range(1, slots + 1)}
        self.leaving, self.waiting, self.ended, self.stopping = set(), [], {}, set()
        self.last, self.clock, self.told = 0, 0.0, []

    def one_of(self, things, pick):
        return sorted(things)[pick % len(things)]

    def ends(self, attempt):
        assert attempt not in self.ended, "it ended twice"
        self.ended[attempt] = True
        self.stopping.discard(attempt)

    # what comes from the kernel -------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 4))
    def are_added(self, count):
        for _ in range(count):
            self.last += 1
            self.queue.add(self.last)
            self.waiting.append(self.last)

    @precondition(lambda self: self.last)
    @rule(pick=PICK)
    def is_cancelled(self, pick):
        attempt = 1 + pick % self.last
        holder = self.holder(attempt)
        assert self.queue.cancel(attempt, self.clock) == holder
        if holder is not None:
            self.stopping.add(attempt)
        elif attempt in self.waiting:
            self.waiting.remove(attempt)
            self.ends(attempt)

    @rule(seconds=st.sampled_from([0.1, 0.6, 2.0]))
    def time_passes(self, seconds):
        self.clock += seconds
        for slot, how in self.queue.overdue(self.clock):
            worker = self.workers[slot]
            assert worker.holds[0] in self.stopping, "somebody is told off who does what is wanted"
            assert (worker.holds[0], how) not in self.told
            assert how == "kill" or worker.ready
            self.told.append((worker.holds[0], how))

    # what Core does -------------------------------------------------------------------------------------------------

    @rule()
    def are_given(self):
        for slot, attempt in self.queue.give():
            worker = self.workers[slot]
            assert attempt == self.waiting.pop(0), "not who came first"
            assert self.holder(attempt) is None, "it is in two slots"
            assert worker.here
            assert not self.is_aside(slot)
            assert not worker.drains
            worker.holds.append(attempt)
            assert len(worker.holds) <= self.window

    @rule()
    def slots_are_opened_and_closed(self):
        for slot in self.queue.closed():
            worker = self.workers.pop(slot)
            assert not worker.holds, "a worker is let go of with work in its hands"
            self.leaving.add(slot)
        for slot in self.queue.opened():
            assert slot not in self.workers
            assert slot not in self.leaving
            self.workers[slot] = Worker(here=False)

    @precondition(lambda self: any(not worker.here for worker in self.workers.values()))
    @rule(pick=PICK)
    def joins(self, pick):
        slot = self.one_of([slot for slot, worker in self.workers.items() if not worker.here], pick)
        self.queue.joined(slot)
        self.workers[slot].here = True

    @precondition(lambda self: any(worker.ready and len(worker.holds) > 1 for worker in self.workers.values()))
    @rule(pick=PICK)
    def are_taken_back(self, pick):
        crowded = [slot for slot, worker in self.workers.items() if worker.ready and len(worker.holds) > 1]
        assert sorted(self.queue.crowded()) == sorted(crowded)
        slot = self.one_of(crowded, pick)
        holds = self.workers[slot].holds
        first = len(holds) - (1 + pick % (len(holds) - 1))
        back, holds[first:] = holds[first:], []
        stopped = self.queue.take_back(slot, len(back))
        assert sorted(stopped) == [attempt for attempt in back if attempt in self.stopping]
        self.waiting[:0] = [attempt for attempt in back if attempt not in stopped]
        for attempt in stopped:
            self.ends(attempt)

    # what a person asks for -----------------------------------------------------------------------------------------

    @rule(slots=st.integers(0, 4))
    def are_to_be(self, slots):
        opened, gone = self.queue.resize(slots)
        self.slots = slots
        self.are_gone(gone)
        for slot in opened:
            assert slot not in self.workers
            assert slot not in self.leaving
            self.workers[slot] = Worker(here=False)
        assert self.counted() == slots

    @precondition(lambda self: self.workers)
    @rule(pick=PICK)
    def is_not_wanted(self, pick):
        slot = self.one_of(self.workers, pick)
        left = self.queue._slots[slot].leaving
        self.are_gone(self.queue.remove(slot))
        if not left:
            self.slots = max(0, self.slots - 1)
            assert slot not in self.workers or self.queue._slots[slot].leaving

    def are_gone(self, slots):
        for slot in slots:
            assert not self.workers.pop(slot).here, "nobody ends its worker"

    @precondition(lambda self: self.workers)
    @rule(pick=PICK)
    def is_drained(self, pick):
        slot = self.one_of(self.workers, pick)
        worker = self.workers[slot]
        if self.queue.drain(slot):
            worker.drains = True
        for slot in self.queue.drained():
            worker = self.workers[slot]
            assert worker.drains
            assert not worker.told, "it is told twice"
            assert not worker.holds, "a worker is let go of with work in its hands"
            worker.told = True

    # what workers do ------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(worker.here and not worker.ready for worker in self.workers.values()))
    @rule(pick=PICK)
    def gets_ready(self, pick):
        slot = self.one_of([slot for slot, worker in self.workers.items() if worker.here and not worker.ready], pick)
        self.queue.ready(slot)
        self.workers[slot].ready = True

    def at_work(self):
        return {worker.holds[0]: slot for slot, worker in self.workers.items() if worker.ready and worker.holds}

    @precondition(lambda self: self.at_work())
    @rule(pick=PICK)
    def finishes(self, pick):
        attempt = self.one_of(self.at_work(), pick)
        worker = self.workers[self.at_work()[attempt]]
        assert self.queue.finish(attempt)
        worker.holds.pop(0)
        worker.rests = False
        self.ends(attempt)

    @rule(pick=PICK)
    def a_result_comes_that_is_nobodys(self, pick):
        strangers = [*self.ended, *self.waiting, self.last + 1, -1]
        assert not self.queue.finish(self.one_of(strangers, pick)), "what is not at work has ended"

    @precondition(lambda self: self.at_work())
    @rule(pick=PICK)
    def pauses(self, pick):
        attempt = self.one_of(self.at_work(), pick)
        if self.queue.paused(attempt):
            self.workers[self.at_work()[attempt]].rests = True

    @rule(pick=PICK)
    def goes_on(self, pick):
        attempt = self.one_of([*self.at_work(), *self.ended, -1], pick)
        self.queue.resumed(attempt)
        if attempt in self.at_work():
            self.workers[self.at_work()[attempt]].rests = False

    @precondition(lambda self: any(worker.here for worker in self.workers.values()))
    @rule(pick=PICK)
    def dies(self, pick):
        slot = self.one_of([slot for slot, worker in self.workers.items() if worker.here], pick)
        worker = self.workers[slot]
        held, shot = worker.holds, bool(worker.holds) and any(worker.holds[0] == a for a, _ in self.told)
        shot = shot or worker.told
        aside, before = self.is_aside(slot), self.queue.stillborn(slot)
        if held and worker.ready and self.counted() < self.slots and not self.queue._slots[slot].leaving:
            aside = False  # nobody had taken its place, which is its own again
        death = self.queue.died(slot)
        lost = held[0] if held and worker.ready else None
        assert death.lost == lost
        assert death.wanted == (lost is not None and lost not in self.stopping)
        assert death.closed == aside
        if not worker.ready and not aside:
            assert death.broken == (before + (not shot) >= BROKEN_AFTER)
        if lost is not None:
            self.ends(lost)
            held = held[1:]
        for attempt in [a for a in held if a in self.stopping]:
            self.ends(attempt)
        self.waiting[:0] = [a for a in held if a not in self.ended]  # they had not begun: first in the line again
        self.told = [(a, how) for a, how in self.told if a in self.stopping]
        if death.closed:
            del self.workers[slot]
        else:
            self.workers[slot] = Worker(here=False)

    @precondition(lambda self: self.leaving)
    @rule(pick=PICK)
    def is_gone(self, pick):
        slot = self.one_of(self.leaving, pick)
        death = self.queue.died(slot)
        assert (death.lost, death.wanted, death.broken, death.closed) == (None, False, False, True)
        self.leaving.remove(slot)

    @rule(sure=st.integers(0, 20))
    def all_is_given_up(self, sure):
        if sure == 20:
            assert self.queue.give_up_pending() == self.waiting
            for attempt in self.waiting:
                self.ends(attempt)
            self.waiting.clear()

    # what must hold -------------------------------------------------------------------------------------------------

    def holder(self, attempt):
        found = [slot for slot, worker in self.workers.items() if attempt in worker.holds]
        assert len(found) <= 1, "it is in two slots"
        return found[0] if found else None

    def is_aside(self, slot):
        return self.queue._slots[slot].aside

    @invariant()
    def nothing_is_lost_and_no_more_count_than_there_are_slots(self):
        if not hasattr(self, "queue"):
            return
        for attempt in range(1, self.last + 1):
            assert self.queue.where(attempt) == self.holder(attempt)
            assert (attempt in self.waiting) + (self.holder(attempt) is not None) + (attempt in self.ended) == 1
        for slot, worker in self.workers.items():
            assert self.queue.begins(slot) == (worker.holds[0] if worker.ready and worker.holds else None)
            assert self.queue.is_starting(slot) == (worker.here and not worker.ready)
            assert self.is_aside(slot) >= worker.rests
        assert self.counted() == self.queue._counted <= self.slots

    def counted(self):
        return sum(not self.is_aside(slot) for slot in self.workers)

    def play_on(self):
        """Some way on by dice, since hypothesis alone seldom gets far."""
        for _ in range(self.dice.choice([10, 50, 150])):
            pick = self.dice.randrange(1000)
            match self.dice.randrange(17):
                case 0 | 1:
                    self.are_added(1)
                case 2 | 3:
                    self.are_given()
                case 4 | 5:
                    self.slots_are_opened_and_closed()
                case 6 if any(not worker.here for worker in self.workers.values()):
                    self.joins(pick)
                case 7 | 8 if any(worker.here and not worker.ready for worker in self.workers.values()):
                    self.gets_ready(pick)
                case 9 | 10 if self.at_work():
                    self.dice.choice([self.finishes, self.pauses, self.pauses])(pick)
                case 11:
                    self.goes_on(pick)
                case 12 if self.leaving:
                    self.is_gone(pick)
                case 13 if any(worker.here for worker in self.workers.values()):
                    self.dies(pick)
                case 14 if pick < 200:
                    self.are_to_be(pick % 5)
                case 15 if self.workers and pick < 200:
                    self.is_not_wanted(pick)
                case 16 if self.workers:
                    self.is_drained(pick)
            self.nothing_is_lost_and_no_more_count_than_there_are_slots()

    def teardown(self):
        """Left alone, all that waits is done, and there are as many workers as in the beginning."""
        if not hasattr(self, "queue"):
            return
        self.play_on()
        if not self.slots:
            self.are_to_be(1)
        for _ in range(3 * self.last + 10):
            for slot, worker in self.workers.items():
                if not worker.here:
                    self.queue.joined(slot)
                    worker.here = True
                if not worker.ready:
                    self.queue.ready(slot)
                    worker.ready = True
            self.those_that_were_told_end()
            if self.at_work():
                self.finishes(0)
            self.slots_are_opened_and_closed()
            self.are_given()
        self.nothing_is_lost_and_no_more_count_than_there_are_slots()
        assert sorted(self.ended) == list(range(1, self.last + 1))
        assert not any(worker.holds for worker in self.workers.values())

    def those_that_were_told_end(self):
        for slot, worker in list(self.workers.items()):
            if worker.drains and not worker.holds:
                self.is_drained(slot)  # which names it, if nobody has
                if self.workers[slot].told:
                    self.dies_with(slot)

    def dies_with(self, slot):
        death = self.queue.died(slot)
        assert death.lost is None
        if death.closed:
            del self.workers[slot]
        else:
            self.workers[slot] = Worker(here=False)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
