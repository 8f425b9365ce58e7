"""Attempts in numbers: those that end together; those sent before their turn, behind the one whose result they read."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence

from cerebelum_nb.model.events import AttemptStarted, AttemptSubmitted
from cerebelum_nb.model.state import READY
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.behind import Follower, foreseen
from cerebelum_nb.runtime.moving import Moving
from cerebelum_nb.runtime.steering import call_all

Ticket = AttemptSubmitted | AttemptStarted
# An attempt that was sent before its turn: task, number, the worker where it has begun, how it has ended.
Behind = tuple[int, int, str, Outcome | None]


class Following(Moving):
    """A log whose attempts come in numbers: those that end together (see `plain`), and those sent before their turn."""

    _coming: defaultdict[str, bool]

    @abstractmethod
    def _begins(self, task: int, attempt: int, worker: str, now: float) -> None:
        """A submitted attempt's code begins to run."""

    def turns(
        self,
        lane: str,
        begun: Iterable[tuple[Ticket, str]],
        ended: Iterable[tuple[Ticket, Outcome]],
        most: int,
        *,
        poked: bool = False,
    ) -> list[AttemptSubmitted]:
        """Many at once: attempts began or ended. Write it, leave with the lane's next tickets; see `Scheduler.turn`.

        Args:
            begun: With the worker of each.
            most: So many tickets at most.
            poked: The lane was poked, and is there now.
        """
        taken: list[AttemptSubmitted] = []
        with self._lock:
            state, now = self.state, self.now()
            if poked:
                self._coming[lane] = False
            for ticket, worker in begun:
                self._begins(ticket.task, ticket.attempt, worker, now)
            now = self.now()
            for ticket, outcome in ended:
                self._settle(ticket.task, ticket.attempt, None, outcome, now)
            queue = state.ready.get(lane)
            while queue and len(taken) < most and not self.held:
                if self._fallbacks:
                    self._divert(queue, lane, now)
                    if not queue:
                        break
                task = queue[0]
                taken.append(AttemptSubmitted(state.seq + 1, now, task, state.attempt[task] + 1))
                self._write(taken[-1])
            pokes = self._after()
        if pokes:
            call_all(pokes)
        return taken

    def follow(
        self,
        lane: str,
        ended: Ticket,
        worker: str,
        outcome: Outcome,
        behind: Sequence[Behind],
    ) -> tuple[int, AttemptSubmitted | None]:
        """An attempt ended that others follow, each the one before it: write it, and those that have ended as well.

        Each has the time at which it began and ended on its worker, as far as what is written already leaves that open.

        Args:
            worker: Where its code has begun, where that is not written.
            behind: Those that were sent already. The first that has not ended is the last of them.

        Returns:
            How many of them have ended for the run; and the one whose turn has come. None where it is not its turn, or
            where none is left.
        """
        done = 0
        taken: AttemptSubmitted | None = None
        with self._lock:
            state, now = self.state, self.now()
            phase, attempts, places, write = state.phase, state.attempt, state.places, self._write
            times = _times(now, outcome, behind)
            began, over = times.pop()
            if worker:
                self._begins(ended.task, ended.attempt, worker, max(self._last_at, began))
            at = max(self._last_at, over)
            self._settle(ended.task, ended.attempt, None, outcome, at)
            for task, number, there, its_outcome in behind:
                if phase[task] != READY or attempts[task] + 1 != number or places[task].lane != lane or self.held:
                    break
                began, over = times.pop() if its_outcome is not None else (now, now)
                ticket = AttemptSubmitted(state.seq + 1, at, task, number)
                write(ticket)
                at = max(at, began)
                if there:
                    write(AttemptStarted(state.seq + 1, at, task, number, there))
                if its_outcome is None:
                    taken = ticket
                    break
                at = max(at, over)
                self._settle(task, number, None, its_outcome, at)
                done += 1
            pokes = self._after()
        if pokes:
            call_all(pokes)
        return done, taken

    def followers(self, lane: str, task: int, most: int) -> list[Follower]:
        """What can be sent behind an attempt that has not ended, in order: plain steps that wait for nothing else."""
        with self._lock:
            return [] if self.held or self._halted else foreseen(self.plan, self.state, lane, task, most)


def _times(now: float, outcome: Outcome, behind: Sequence[Behind]) -> list[tuple[float, float]]:
    """When attempts began and ended that followed each other, the last one first: each before the next one began."""
    times, next_began = [], now
    outcomes = [one[3] for one in behind]
    for found in (*reversed(outcomes), outcome):
        if found is not None:
            over = min(next_began, now - found.age_s)
            next_began = over - found.run_s
            times.append((next_began, over))
    return times
