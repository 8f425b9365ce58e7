"""Attempts that are sent before their turn, behind the one whose result they read, so that no link of a chain waits.

Only the road is shortened. An attempt begins, for the run, when its turn comes: the scheduler settles what was before
it and gives its ticket, as for any other; until then what it says is kept. Whatever is not as it was foreseen ends the
line: what was sent is taken back, and goes its usual way when its turn comes.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from cerebelum_nb.model.events import PauseKind, Stream
from cerebelum_nb.protocols import NOTHING_SENT, After, Attempt, Executor, Outcome, Sent, Signals
from cerebelum_nb.runtime.following import Behind, Ticket
from cerebelum_nb.runtime.job import Job

FIRST: Final = 16  # attempts that are sent with the first one; then twice as many each time
MORE: Final = 128  # that are sent at once at most
QUICK_S: Final = (
    0.003  # where they take longer to make ready, fewer are: functions that were never sent hold up the loop
)
MOST: Final = 384  # that are on their way at most
GONE_S: Final = 5.0  # for so long a recalled attempt that has begun may take to stop


class _Sent:
    """An attempt that was sent. Its signals, which are kept until its turn comes.

    Attributes:
        number: What its executor calls it, and
        stop: stops it, with that number.
        worker: Where its code runs, as far as that is known and nobody was told.
        early: What else it said before its turn.
        outcome: How it ended, be it before its turn.
    """

    __slots__ = ("_wakes", "attempt", "early", "number", "outcome", "signals", "stop", "task", "worker")

    def __init__(self, task: int, attempt: int) -> None:
        self.task, self.attempt = task, attempt
        self.number = 0
        self.stop = NOTHING_SENT[2]
        self.signals: Signals | None = None
        self.worker = ""
        self.early: list[tuple[str, tuple[Any, ...]]] | None = None
        self.outcome: Outcome | None = None
        self._wakes: asyncio.Future[Outcome] | None = None

    def done(self) -> bool:
        """Whether it has ended, be it before its turn."""
        return self.outcome is not None

    def set_result(self, outcome: Outcome) -> None:
        """It has ended."""
        self.outcome = outcome
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(outcome)

    async def end(self, loop: asyncio.AbstractEventLoop) -> Outcome:
        """How it ends."""
        if self.outcome is not None:
            return self.outcome
        self._wakes = loop.create_future()
        return await self._wakes

    def begin(self, signals: Signals) -> None:
        """Its turn has come; where it runs was told with that."""
        self.signals, self.worker, early = signals, "", self.early
        for name, args in early or ():
            getattr(signals, name)(*args)

    def take_worker(self) -> str:
        """Where its code has begun, if nobody was told."""
        worker, self.worker = self.worker, ""
        return worker

    def _say(self, name: str, *args: Any) -> None:
        if self.signals is None:
            self.early = self.early or []
            self.early.append((name, args))
        else:
            getattr(self.signals, name)(*args)

    def started(self, worker: str) -> None:
        if self.signals is None:
            self.worker = worker
        else:
            self.signals.started(worker)

    def ran(self, worker: str) -> None:
        """Where its code has begun, which is written with its end."""
        self.worker = worker

    def output(self, stream: Stream, text: str) -> None:
        self._say("output", stream, text)

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        self._say("displayed", bundle)

    def progress(self, done: float, text: str) -> None:
        self._say("progress", done, text)

    def paused(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> None:
        self._say("paused", kind, seconds, text, asked)

    def resumed(self) -> None:
        self._say("resumed")

    def held(self, why: str) -> None:
        self._say("held", why)


class Ahead:
    """What one round of a courier has sent before its turn. Lives on the control loop."""

    def __init__(self, job: Job, executor: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self._job, self._loop, self._lane = job, loop, executor.name
        self._follow: Callable[..., Sent] | None = getattr(executor, "follow", None)  # see `CoreExecutor.follow`
        self._sent: deque[_Sent] = deque()
        self._last: tuple[int, int] | None = None  # task and attempt of what the next one would follow
        self._room = FIRST
        self._current: _Sent | None = None  # whose turn it is
        self.left: list[asyncio.Future[Any]] = []  # recalled, and maybe not stopped yet
        self._coming = False
        self._lead: Ticket | None = None  # what the line began with
        self._recall: Callable[[], object] = bool  # takes it back

    def lead(self, ticket: Ticket) -> Attempt:
        """An attempt goes its usual way, now: send what follows it behind it."""
        if self._follow is None or not self._job.scheduler.followers(self._lane, ticket.task, 1):
            return self._job.attempt(ticket.task, ticket.attempt)
        self._lead, self._last, self._room = ticket, (ticket.task, ticket.attempt), FIRST
        self._recall = functools.partial(self._recall_from, ticket)
        self._job.scheduler.ahead.add(self._recall)
        self._send_soon()  # the loop comes to it when this one has been sent, and before anything leaves
        return self._job.attempt(ticket.task, ticket.attempt, followed=True)

    def _send_soon(self) -> None:
        if not self._coming:
            self._coming = True
            self._loop.call_soon(self._send_more)

    def _send_more(self) -> None:
        """Send some; and again when they have left, as long as there are more."""
        self._coming = False
        room = min(self._room, MOST - len(self._sent))
        if self._last is None or self._follow is None or room <= 0:
            return
        began = monotonic()
        (task, number), attempts, behind = self._last, list[Attempt](), list[_Sent]()
        for follower in self._job.scheduler.followers(self._lane, task, room):
            after = After(task, number, follower.place)
            task, number = follower.task, follower.number
            attempts.append(self._job.attempt(task, number, after, followed=True))
            behind.append(_Sent(task, number))
        sent, first, stop = self._follow(attempts, behind, self._send_more) if behind else NOTHING_SENT
        for place, one in enumerate(behind[:sent]):
            one.number, one.stop = first + place, stop
            self._sent.append(one)
        self._room = min(2 * room, MORE) if monotonic() - began < QUICK_S else max(1, room // 4)
        self._coming = sent == room
        self._last = (task, number) if self._coming else None  # else the line ends here

    def has(self, ticket: Ticket) -> bool:
        """It was sent already."""
        return bool(self._sent) and (self._sent[0].task, self._sent[0].attempt) == (ticket.task, ticket.attempt)

    def turn(self, ticket: Ticket, outcome: Outcome) -> Ticket | None:
        """An attempt has ended: write it, leave with the next ticket, which is that of what was sent behind it.

        Of that the first ones may have ended, too: they are written in the same grip of the scheduler.
        """
        scheduler = self._job.scheduler
        if self._sent and outcome.kind == "ok":
            worker = self._current.take_worker() if self._current is not None else ""
            if self._last is not None and self._sent[-1].outcome is not None:
                self._send_more()  # all that was sent has ended: what follows has nothing to wait for
            done, follower = scheduler.follow(self._lane, ticket, worker, outcome, self._behind())
            for _ in range(done):
                self._sent.popleft()
            if follower is not None:
                return follower
            self.end()
            return scheduler.turn(self._lane)
        self.end()
        return scheduler.turn(self._lane, ticket, outcome=outcome)

    def _behind(self) -> list[Behind]:
        """What was sent, up to the first that has not ended, or not well, or that says something."""
        found = list[Behind]()
        for sent in self._sent:
            outcome = sent.outcome
            if outcome is None or outcome.kind != "ok" or sent.early:
                found.append((sent.task, sent.attempt, sent.worker, None))
                break
            found.append((sent.task, sent.attempt, sent.worker, outcome))
        return found

    async def outcome(self, signals: Signals) -> Outcome:
        """How what was sent first of all ends; its turn has come."""
        self._current = sent = self._sent.popleft()
        sent.begin(signals)
        if self._last is not None and len(self._sent) <= MOST - MORE:
            self._send_soon()
        try:
            outcome = await sent.end(self._loop)
        except asyncio.CancelledError:
            self.end()
            sent.stop(sent.number)
            raise
        if not outcome.delivered:
            self.end()
        return outcome

    def _recall_from(self, lead: Ticket) -> None:
        """What was foreseen may not come: take back what was sent behind an attempt. From any thread."""
        self._loop.call_soon_threadsafe(self._recalled, lead)

    def _recalled(self, lead: Ticket) -> None:
        if lead is self._lead:  # else that line has ended
            self.left += self.end()

    async def gone(self) -> None:
        """Return when what was recalled does not run: it may have begun meanwhile, and runs elsewhere next."""
        await asyncio.wait(self.left, timeout=GONE_S)
        self.left.clear()

    def end(self) -> list[asyncio.Future[Any]]:
        """Take back what was sent, and send no more; what is returned is done when each does not run any more."""
        self._last = self._lead = None
        self._coming = False
        current = self._current
        if current is not None and current.signals is not None and (worker := current.take_worker()):
            current.signals.started(worker)
        self._job.scheduler.ahead.discard(self._recall)
        sent, self._sent = self._sent, deque()
        ends = [one.stop(one.number) for one in sent]
        return [end for end in ends if end is not None]
