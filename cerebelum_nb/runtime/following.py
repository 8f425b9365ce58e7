"""Tasks whose attempt was sent before its turn, behind the one whose result it reads: which may be, and their turn."""

from cerebelum_nb.model.events import AttemptStarted, AttemptSubmitted
from cerebelum_nb.model.state import READY
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.behind import Follower, foreseen
from cerebelum_nb.runtime.moving import Moving
from cerebelum_nb.runtime.steering import call_all


class Following(Moving):
    """A log whose next attempts may be on their way already; see `ahead`."""

    def follow(
        self,
        lane: str,
        ended: AttemptSubmitted | AttemptStarted,
        outcome: Outcome,
        key: tuple[int, int],
        worker: str = "",
    ) -> AttemptSubmitted | None:
        """An attempt ended that another one follows: write it, leave with that one; None where it is not its turn.

        Args:
            key: Task and attempt of the one that was sent already.
            worker: Where its code has begun to run; empty where it has not.
        """
        with self._lock:
            state, now, taken = self.state, self.now(), None
            self._settle(ended.task, ended.attempt, None, outcome, now)
            task, number = key
            if (
                state.phase[task] == READY
                and state.attempt[task] + 1 == number
                and state.places[task].lane == lane
                and not self.held
            ):
                taken = AttemptSubmitted(state.seq + 1, now, task, number)
                self._write(taken)
                if worker:
                    self._write(AttemptStarted(state.seq + 1, now, task, number, worker))
            pokes = self._after()
        if pokes:
            call_all(pokes)
        return taken

    def followers(self, lane: str, task: int, most: int) -> list[Follower]:
        """What can be sent behind an attempt that has not ended, in order: plain steps that wait for nothing else."""
        with self._lock:
            return [] if self.held or self._halted else foreseen(self.plan, self.state, lane, task, most)
