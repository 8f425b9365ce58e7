"""Tasks that go elsewhere by themselves: their place did not take them, lost them, is known to be away, or is crowded.

Nothing here costs a run whose steps name no other place and no time to wait: it is looked after a few times a second
only where somebody asked for it.
"""

import functools
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from cerebelum_nb.model.events import AttemptSubmitted, ErrorInfo, Placement, TaskMoved, TaskResumed
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import ENDED, READY, SUBMITTED, WAITING
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.elsewhere import Reach, Unreachable, no_worker, places_for, poisoned, to_move, why_elsewhere
from cerebelum_nb.runtime.steering import Poke, Steering, call_all

Later = Callable[[float, Callable[[], object]], object]
INLINE: Final = frozenset({"local", "threads"})  # lanes whose taker runs the step at once, in this process
LOOK_S, LOOK_MOST_S = 0.02, 0.25  # how often somebody looks at what waits
LOOK_TASK_S: Final = 5e-6  # and not so often where there are many of them
STOPPED_S, STOPPED_LOOK_S = 30.0, 0.05  # how long what was stopped may go on before nobody waits for it, and the looks


class Moving(Steering):
    """A steered log whose tasks may go elsewhere."""

    def __init__(self, plan: Plan, stop: Callable[[str, int, int], object], later: Later, reach: Reach | None) -> None:
        super().__init__(plan, stop)
        self._later, self._reach = later, reach if reach is not None else Unreachable()
        self._options, self._fallbacks = plan.options, plan.fallbacks
        self._outside: list[Poke] = []  # to be called without the lock: stops of ended attempts, timers
        self._rest: dict[int, tuple[Placement, ...]] = {}  # tasks that went elsewhere -> where else they may go
        self._killed: dict[int, int] = {}  # task -> workers that it has ended
        self._asked: dict[tuple[int, int], str] = {}  # attempts that are to be taken back -> why they move, if they do
        self._waits: dict[int, tuple[str, int, float]] = {}  # task -> its lane, its attempt, and since when
        bounded = [t for t in plan.fallbacks if plan.options[t].max_queue is not None]
        limits = [(t, asked.queue_timeout) for t, asked in plan.options.items() if asked.queue_timeout is not None]
        self._bounded = frozenset(bounded)
        self._watched = tuple(sorted({*bounded, *(t for t, _ in limits)}))
        shortest = min([LOOK_MOST_S, *(limit / 10 for _, limit in limits), *(0.05 for _ in bounded[:1])])
        self._looks = 0
        self._undo_waits_since = 0.0  # since when what is to be undone still runs; 0 while nobody waits for that
        self._undo_looks = False
        self._waited_for: tuple[str, ...] = ()
        self._look_s = max(LOOK_S, shortest, LOOK_TASK_S * len(self._watched))

    @abstractmethod
    def _try_again(self, task: int, number: int, outcome: Outcome, now: float) -> bool:
        """Have a failed attempt followed by another in the same place, if its step says so."""

    def move(self, task: int, placement: Placement, *, force: bool = False) -> bool:
        """Give a task another placement; see `Steering.move`. From there it may go to all its other places again."""
        self._rest.pop(task, None)
        return super().move(task, placement, force=force)

    # after an attempt ------------------------------------------------------------------------------------------------

    def _judged(self, task: int, outcome: Outcome) -> Outcome:
        """How an attempt ended, with what is known of those before it."""
        if outcome.error is None or outcome.error.type != "WorkerLost":
            return outcome
        self._killed[task] = self._killed.get(task, 0) + 1
        return poisoned(outcome, self._killed[task])

    def _goes_on(self, task: int, number: int, outcome: Outcome, now: float) -> bool:
        """Whether another attempt follows: elsewhere at once where nobody took it, else first in the same place."""
        crowded = self._asked.pop((task, number), "") if self._asked else ""
        if not outcome.delivered and task in self._fallbacks:
            why = crowded or why_elsewhere(self._options[task], outcome, self.state.places[task].label)
            if why and self._move_on(task, why, now):
                return True
        if self._try_again(task, number, outcome, now):
            return True
        if not outcome.delivered or task not in self._fallbacks:
            return False
        why = why_elsewhere(self._options[task], outcome, self.state.places[task].label)
        return bool(why) and self._move_on(task, why, now)

    def _next_places(self, task: int) -> tuple[Placement, ...]:
        rest = self._rest.get(task, self._fallbacks.get(task, ()))
        return places_for(self.state.places[task].executor, rest)

    def _move_on(self, task: int, why: str, now: float) -> bool:
        """Send a task that is ready, or whose attempt has ended, to the next of its places, if there is one."""
        places = self._next_places(task)
        if not places:
            return False
        again = (task,) if self.state.phase[task] == ENDED else ()
        self._rest[task] = places[1:]
        placed = msgspec.structs.replace(places[0], reason=why)
        self._write(TaskMoved(self.state.seq + 1, now, task, placed, again))
        return True

    # before one -----------------------------------------------------------------------------------------------------

    def _divert(self, queue: deque[int], lane: str, now: float) -> None:
        """What stands first in a queue goes elsewhere, where its place is known to be away."""
        while queue and (task := queue[0]) in self._fallbacks and self._next_places(task):
            why = self._reach.refuses(lane)
            if not why:
                return
            self._move_on(task, why, now)

    def _look_soon(self) -> None:
        self._looks += 1
        self._outside.append(functools.partial(self._later, self._look_s, functools.partial(self._look, self._looks)))

    def _look(self, number: int) -> None:
        """See what has waited too long, or in too long a queue.

        Args:
            number: Of this look: each happens once, however often its timer rings.
        """
        with self._lock:
            if number != self._looks:
                return
            state, now, waits = self.state, self.now(), dict[int, tuple[str, int, float]]()
            if state.status not in ("new", "running"):
                return
            for task in self._watched:
                if READY <= (phase := state.phase[task]) <= SUBMITTED:
                    key = state.places[task].lane, state.attempt[task] + (phase == READY)
                    known = self._waits.get(task)
                    waits[task] = (*key, known[2] if known is not None and known[:2] == key else now)
            self._waits = waits
            if waits and not self._halted and not self.held:
                self._thin_out(now)
                self._give_up_waiting(now)
            self._look_soon()
            pokes = self._after()
        call_all(pokes)

    def _give_up_waiting(self, now: float) -> None:
        for task, (lane, number, since) in self._waits.items():
            limit = self._options[task].queue_timeout
            if limit is None or lane in INLINE or now - since < limit or (task, number) in self._asked:
                continue
            place = self.state.places[task]
            if place.lane != lane:
                continue  # it has just gone elsewhere
            if self.state.phase[task] == READY:
                self._write(AttemptSubmitted(self.state.seq + 1, now, task, number))
                self._settle(task, number, None, no_worker(place.label, limit, self._reach.workers(lane)), now)
            else:
                self._take_back(task, number, lane, limit, "")

    def _thin_out(self, now: float) -> None:
        """Queues that are longer than their tasks allow lose the newest of these."""
        for executor in {self.state.places[task].executor for task in self._bounded.intersection(self._waits)}:
            waiting = self._waiting(executor)
            leaves = [(task, self._bound(task)) for task in waiting]
            for task, why in to_move(leaves, len(waiting)):
                if self.state.phase[task] == READY:
                    self._move_on(task, why, now)
                else:
                    self._take_back(task, self.state.attempt[task], self.state.places[task].lane, None, why)

    def _waiting(self, executor: str) -> list[int]:
        """What waits for an executor, newest first, but for what is being taken back."""
        state = self.state
        lanes = [lane for lane in state.ready if lane == executor or (executor == "local" and lane in INLINE)]
        ready = [task for lane in lanes for task in reversed(state.ready[lane])]
        sent, task = list[int](), state.phase.find(SUBMITTED)
        while task >= 0:
            if state.places[task].executor == executor and (task, state.attempt[task]) not in self._asked:
                sent.append(task)
            task = state.phase.find(SUBMITTED, task + 1)
        return ready + sorted(sent, key=lambda t: (state.submitted[t], t), reverse=True)

    def _bound(self, task: int) -> int | None:
        if task not in self._bounded or self.state.places[task].rule == "person" or not self._next_places(task):
            return None
        return self._options[task].max_queue

    def _take_back(self, task: int, number: int, lane: str, limit_s: float | None, why: str) -> None:
        self._asked[task, number] = why
        self._outside.append(functools.partial(self._reach.withdraw, lane, task, number, limit_s))

    # what was stopped and goes on ------------------------------------------------------------------------------------

    def _still_runs(self, task: int) -> str:
        return self._reach.still_runs(task, self.state.attempt[task])

    def _side_by_side(self, task: int, outcome: Outcome) -> bool:
        """Whether another attempt now would run beside one that goes on, of a step that does not say it may."""
        options = self._options[task]
        harmless = options.idempotent or options.effects == "none"
        return outcome.kind == "timeout" and not harmless and bool(self._still_runs(task))

    def retry(self, task: int, failed: int) -> None:
        """The pause after a failed attempt is over; the next one begins when what was stopped has ended."""
        with self._lock:
            state, now = self.state, self.now()
            if state.phase[task] != WAITING or task not in state.paused or state.attempt[task] != failed:
                return  # it was cancelled, or moved
            waits = self._side_by_side(task, Outcome(state.past[task][-1].outcome))
            if waits and now < state.paused[task].until + STOPPED_S:
                again = functools.partial(self.retry, task, failed)
                self._outside.append(functools.partial(self._later, STOPPED_LOOK_S, again))
            else:
                self._write(TaskResumed(state.seq + 1, now, task, failed))
                if waits:
                    self._write(AttemptSubmitted(state.seq + 1, now, task, failed + 1))
                    self._settle(task, failed + 1, None, _beside(failed, self._still_runs(task)), now)
            pokes = self._after()
        call_all(pokes)

    def _undo_waits(self, tasks: Iterable[int]) -> bool:
        """Whether something that is to be undone still runs, though it was stopped: its effect would come after."""
        self._waited_for = tuple(self.plan.names[task] for task in tasks if self._still_runs(task))
        if not self._waited_for:
            return False
        now = self.now()
        self._undo_waits_since = self._undo_waits_since or now
        if now - self._undo_waits_since >= STOPPED_S:
            return False
        if not self._undo_looks:
            self._undo_looks = True
            self._outside.append(functools.partial(self._later, STOPPED_LOOK_S, self._look_to_undo))
        return True

    def stopping(self) -> tuple[str, ...]:
        """Steps that are waited for, so that the run can be undone then."""
        found, state = super().stopping(), self.state
        waits = self._undoes and state.status == "running" and not state.compensating
        return found or (self._waited_for if waits else ())

    def _look_to_undo(self) -> None:
        with self._lock:
            self._undo_looks = False
            pokes = self._after()
        call_all(pokes)


def _beside(failed: int, why: str) -> Outcome:
    """How an attempt ends that would run beside one that does not stop."""
    text = (
        f"attempt {failed} took too long, and {STOPPED_S:g} s later {why}, so it is not tried again beside that: "
        "give what it calls a timeout of its own, make it async, or say idempotent=True"
    )
    return Outcome("error", error=ErrorInfo("StillRuns", text))
