"""Carries attempts of one run to an executor that is awaited, and brings outcomes back. Lives on the control loop."""

import asyncio
import contextlib
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

import msgspec

from cerebelum_nb.attempt import describe
from cerebelum_nb.codec import whole
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Answer, Attempt, Executor, Outcome
from cerebelum_nb.rules.breaker import Breaker
from cerebelum_nb.rules.elsewhere import no_worker
from cerebelum_nb.runtime.ahead import Ahead
from cerebelum_nb.runtime.careful import not_to_begin
from cerebelum_nb.runtime.following import Ticket
from cerebelum_nb.runtime.job import Job, looked_up
from cerebelum_nb.runtime.scheduler import UNDO_GRACE_S
from cerebelum_nb.runtime.signals import Heard, Launched, Opening, Pause

AT_ONCE: Final = 64  # attempts that are sent in one turn of the loop: the first are under way while the next are made


class Courier:
    """One run's lane to one executor: each of its rounds takes a ticket, awaits the executor, and takes the next.

    Most attempts need no round. They are launched, and what is heard of them in one message is written, and followed
    by the next tickets, in one grip of the scheduler: with thousands of short steps that is most of what they cost.
    """

    def __init__(
        self, job: Job, executor: Executor, loop: asyncio.AbstractEventLoop, breaker: Breaker | None = None
    ) -> None:
        self._job, self._executor, self._loop, self._breaker = job, executor, loop, breaker
        self._starting: set[tuple[int, int]] = set()  # attempts that wait until the executor is there
        self._taken_back: dict[tuple[int, int], float | None] = {}  # as far as nobody has begun them
        self._rounds: set[asyncio.Task[None]] = set()
        self._at_work: dict[tuple[int, int], asyncio.Task[None] | Launched | Opening] = {}
        self._launch = getattr(executor, "launch", None) if getattr(executor, "takes_large", False) else None
        self._launched = 0  # of those at work
        self._begun: list[tuple[Ticket, str]] = []  # launched ones, with their worker: to be written soon
        self._ended: list[tuple[Ticket, Outcome]] = []
        self._settles = False  # soon
        self._held_back = False  # poked while all rounds were busy
        self._paused: dict[tuple[int, int], Pause] = {}  # by task and attempt; they lend their rounds
        self._answers: set[asyncio.Task[None]] = set()
        self._held: set[tuple[int, int]] = set()  # attempts that wait for room

    def poke(self) -> None:
        """Work waits. From any thread."""
        self._loop.call_soon_threadsafe(self._open)

    def stop(self, task: int, attempt: int) -> None:
        """Stop an attempt. From any thread."""
        self._loop.call_soon_threadsafe(self._cancel, (task, attempt))

    def carries(self, key: tuple[int, int]) -> bool:
        """Whether an attempt is out, or was stopped and may not have ended. From any thread."""
        return key in self._at_work

    def withdraw(self, task: int, attempt: int, limit_s: float | None) -> None:
        """Take an attempt back if nobody has begun it; see `elsewhere.Reach`. From any thread."""
        self._loop.call_soon_threadsafe(self._withdraw, (task, attempt), limit_s)

    def _withdraw(self, key: tuple[int, int], limit_s: float | None) -> None:
        if key not in self._at_work:
            return
        self._taken_back[key] = limit_s
        take_back = getattr(self._executor, "withdraw", None)  # not all can
        if key in self._starting or (take_back is None and limit_s is not None):
            self._at_work[key].cancel()
        elif take_back is not None:
            take_back(self._job.run, *key)

    @property
    def workers(self) -> int:
        """How many workers the executor has, as far as it says."""
        return getattr(self._executor, "workers", 0)

    def took(self) -> None:
        """A worker has begun an attempt."""
        if self._breaker is not None:
            self._breaker.took()

    def _cancel(self, key: tuple[int, int]) -> None:
        at_work = self._at_work.get(key)
        if at_work is not None:
            at_work.cancel()

    def paused(self, ticket: Ticket, pause: Pause) -> None:
        """An attempt does nothing for a while, so another may be carried."""
        self._paused[ticket.task, ticket.attempt] = pause
        self._tell(ticket, pause)
        self._open()

    def resumed(self, ticket: Ticket) -> None:
        """It goes on. Its round works on, and ends after it where others have its place."""
        self._paused.pop((ticket.task, ticket.attempt), None)
        self._job.resumed(ticket)

    def held(self, key: tuple[int, int], why: str) -> None:
        """An attempt waits for room, and the run with it; or it goes on."""
        if why or key in self._held:
            (self._held.add if why else self._held.discard)(key)
            self._job.held(why, key)

    def _tell(self, ticket: Ticket, pause: Pause) -> None:
        def reply(answer: Answer) -> None:
            with contextlib.suppress(RuntimeError):  # the session was closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer, ticket, pause, answer)

        self._job.paused(ticket, pause.kind, pause.left_s(), pause.text, pause.asked, reply)

    def _answer(self, ticket: Ticket, pause: Pause, answer: Answer) -> None:
        if self._waits(ticket, pause):  # else it is over, and the next one is another question
            sent = self._loop.create_task(self._send(ticket, pause, answer))
            self._answers.add(sent)
            sent.add_done_callback(self._answers.discard)

    def _waits(self, ticket: Ticket, pause: Pause) -> bool:
        return self._paused.get((ticket.task, ticket.attempt)) is pause

    async def _send(self, ticket: Ticket, pause: Pause, answer: Answer) -> None:
        try:
            await self._executor.answer(self._job.run, ticket.task, ticket.attempt, answer)
        except Exception as exc:  # noqa: BLE001  told where the person looks
            text = f"the answer did not reach the step, which waits for another: {describe(exc).message}\n"
            self._job.scheduler.printed(ticket.task, ticket.attempt, "notice", text)
            if self._waits(ticket, pause):
                self._job.resumed(ticket)
                self._tell(ticket, pause)

    def _busy(self) -> int:
        return len(self._rounds) + self._launched - len(self._paused)

    def _open(self) -> None:
        room = self._executor.capacity - self._busy()
        if room <= 0:
            self._held_back = True
        elif self._launch is not None:
            self._go_on(room, poked=True)
        else:
            self._enter(self._round())

    def _enter(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        made = self._loop.create_task(work)
        self._rounds.add(made)
        made.add_done_callback(self._closed)
        return made

    def _closed(self, ended: asyncio.Task[None]) -> None:
        self._rounds.discard(ended)
        if not ended.cancelled() and (bug := ended.exception()) is not None:
            self._job.crash(bug)
        if self._held_back:
            self._held_back = False
            self._open()

    # without a round ------------------------------------------------------------------------------------------------

    def begun(self, ticket: Ticket, worker: str) -> None:
        """A launched attempt's code begins to run."""
        self._begun.append((ticket, worker))
        self._settle_soon()

    def tell_begun(self) -> None:
        """Write what has begun: something else is about to be written of it."""
        if self._begun:
            begun, self._begun = self._begun, []
            self._job.scheduler.turns("", begun, (), 0)

    def ended(self, launched: Launched, outcome: Outcome | None) -> None:
        """A launched attempt has ended; with None it has not begun, and is sent again."""
        ticket = self._back(launched)
        if outcome is None:
            self._carry_by_round(ticket)
            return
        self._ended.append((ticket, self._judged(ticket, outcome, launched.began)))
        self._settle_soon()

    def recall(self, launched: Launched) -> None:
        """Stop a launched attempt."""
        ticket = self._back(launched)
        left = launched.take_back()
        self._at_work[ticket.task, ticket.attempt] = Opening()  # further stops change nothing
        self._enter(self._recalled(ticket, launched.began, left))

    async def _recalled(self, ticket: Ticket, began: float, left: "asyncio.Future[Outcome] | None") -> None:
        outcome = self._judged(ticket, await self._stopped(ticket, begins=True, left=left), began)
        del self._at_work[ticket.task, ticket.attempt]
        self._job.flush(ticket)
        self._job.scheduler.turn("", ticket, outcome=outcome)
        self._open()

    def _back(self, launched: Launched) -> Ticket:
        ticket, self._launched = launched.ticket, self._launched - 1
        key = (ticket.task, ticket.attempt)
        del self._at_work[key]
        if key in self._paused:
            self.resumed(ticket)
        if self._held:
            self.held(key, "")
        return ticket

    def _settle_soon(self) -> None:
        if not self._settles:
            self._settles = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """Write what was heard of launched attempts, and send what comes next."""
        self._settles = False
        room = self._executor.capacity - self._busy()
        poked, self._held_back = self._held_back and room > 0, room <= 0
        self._go_on(max(room, 0), poked=poked)

    def _go_on(self, room: int, *, poked: bool) -> None:
        begun, self._begun = self._begun, []
        ended, self._ended = self._ended, []
        if begun:
            self.took()
        try:
            for ticket, _ in ended:
                self._job.flush(ticket)
            for ticket in self._job.scheduler.turns(self._executor.name, begun, ended, min(room, AT_ONCE), poked=poked):
                if not self._was_launched(ticket):
                    self._carry_by_round(ticket)
        except Exception as bug:  # noqa: BLE001  as of a round's, see `_closed`
            self._job.crash(bug)

    def _was_launched(self, ticket: Ticket) -> bool:
        """Send an attempt, if it needs nothing that only a round does."""
        job, task = self._job, ticket.task
        if self._launch is None or task in job.plan.careful or (job.cache is not None and task in job.plan.cached):
            return False
        scheduler = job.scheduler
        if len(scheduler.state.children[task]) == 1 and scheduler.followers(self._executor.name, task, 1):
            return False  # see `Ahead`
        launched = Launched(self, job, ticket)
        try:
            take_back = self._launch(job.attempt(task, ticket.attempt), launched, launched.ended)
        except Exception:  # noqa: BLE001  a round meets it again, and says so
            return False
        if take_back is None:
            return False
        launched.take_back = take_back
        self._at_work[task, ticket.attempt] = launched
        self._launched += 1
        return True

    # rounds ---------------------------------------------------------------------------------------------------------

    def _carry_by_round(self, ticket: Ticket) -> None:
        self._at_work[ticket.task, ticket.attempt] = opening = Opening()
        self._enter(self._round(ticket, opening))

    async def _round(self, ticket: Ticket | None = None, opening: Opening | None = None) -> None:
        turn, name = self._job.scheduler.turn, self._executor.name
        me = asyncio.current_task()
        assert me is not None
        if opening is not None and opening.stopped:
            me.cancel()
        ticket, ahead = ticket or turn(name), Ahead(self._job, self._executor, self._loop)
        while ticket is not None:
            key = (ticket.task, ticket.attempt)
            self._at_work[key] = me
            try:
                outcome = await (self._in_turn if ahead.has(ticket) else self._carry)(ticket, ahead)
            finally:
                del self._at_work[key]
                if key in self._paused:  # stopped or lost: nobody can answer it any more
                    self.resumed(ticket)
                if self._held:
                    self.held(key, "")
            self._job.flush(ticket)
            if ahead.left:
                await ahead.gone()
            if self._busy() > self._executor.capacity:
                ahead.end()
                self._held_back = True  # others have its place; what waits is taken when one of them ends
                turn("", ticket, outcome=outcome)
                return
            if me.cancelling():
                ahead.end()
                turn("", ticket, outcome=outcome)
                self._open()  # a fresh round goes on: this task is marked cancelled
                return
            ticket = ahead.turn(ticket, outcome)
            if ticket is not None and not ahead.has(ticket) and self._was_launched(ticket):
                return

    async def _in_turn(self, ticket: Ticket, ahead: Ahead) -> Outcome:
        """An attempt was sent before its turn, which has come."""
        began = monotonic()
        try:
            outcome = await ahead.outcome(Heard(self, self._job, ticket))
        except asyncio.CancelledError:
            outcome = await self._stopped(ticket, begins=True)
        if not outcome.delivered:
            return await self._carry(ticket, ahead)
        if self._breaker is not None:
            self._breaker.ended(outcome, began)
        return outcome

    async def _carry(self, ticket: Ticket, ahead: Ahead) -> Outcome:
        cache = self._job.cache
        if cache is None or ticket.task not in self._job.plan.cached:
            return await self._carried(ticket, ahead)
        try:
            found = cache.at_once(ticket) or await looked_up(self._loop, cache, ticket)
        except asyncio.CancelledError:
            self._taken_back.pop((ticket.task, ticket.attempt), None)
            return Outcome("cancelled", error=ErrorInfo("Cancelled", "stopped before it was sent"), delivered=False)
        if found is not None:
            return found
        outcome = await self._carried(ticket, ahead)
        if outcome.kind == "ok":
            cache.made(ticket, outcome.value)
        return outcome

    async def _carried(self, ticket: Ticket, ahead: Ahead) -> Outcome:
        began = monotonic()
        return self._judged(ticket, await self._sent(ticket, (ticket.task, ticket.attempt), ahead), began)

    def _judged(self, ticket: Ticket, outcome: Outcome, began: float) -> Outcome:
        """What an attempt's end means, where it was taken back; the breaker is told."""
        if self._taken_back and (key := (ticket.task, ticket.attempt)) in self._taken_back:
            limit_s = self._taken_back.pop(key)
            if limit_s is None and not outcome.delivered:  # its place is well: only its queue is too long
                return Outcome("cancelled", error=ErrorInfo("Moved", "taken back: its queue was long"), delivered=False)
            stopped = outcome.kind == "cancelled" and not hasattr(self._executor, "withdraw")
            if limit_s is not None and (stopped or not outcome.delivered):
                label = self._job.scheduler.state.places[ticket.task].label
                nobody = no_worker(label, limit_s, self.workers)
                outcome = msgspec.structs.replace(nobody, delivered=outcome.delivered)
        if self._breaker is not None:
            self._breaker.ended(outcome, began)
        return outcome

    async def _sent(self, ticket: Ticket, key: tuple[int, int], ahead: Ahead) -> Outcome:
        begins = False
        try:
            self._starting.add(key)
            try:
                await self._executor.start()
                if ticket.task in self._job.plan.careful:
                    never = await not_to_begin(self._job.scheduler, ticket)
                    if never is not None:
                        return never
            finally:
                self._starting.discard(key)
            begins = True
            attempt = ahead.lead(ticket)
            if not getattr(self._executor, "takes_large", False):
                attempt = _whole(attempt)
            return await self._executor.run(attempt, Heard(self, self._job, ticket))
        except asyncio.CancelledError:
            return await self._stopped(ticket, begins=begins)
        except CerebelumError as exc:  # the executor's own words: no step code has failed
            return Outcome("error", error=ErrorInfo(type(exc).__name__, str(exc)), delivered=begins)
        except Exception as exc:  # noqa: BLE001  recorded: a broken executor must not hang the run
            return Outcome("error", error=describe(exc), delivered=begins)

    async def _stopped(self, ticket: Ticket, *, begins: bool, left: "asyncio.Future[Outcome] | None" = None) -> Outcome:
        """An attempt was stopped. Where what the run did is undone next, it is said only when the step has ended.

        Args:
            left: Done when its code does not run, where that is known already.
        """
        stopped = Outcome("cancelled", error=ErrorInfo("Cancelled", "stopped on the worker"), delivered=begins)
        if not begins or not hasattr(self._executor, "gone") or not self._job.scheduler.is_undoing():
            return stopped
        end = left or asyncio.ensure_future(self._executor.gone(self._job.run, ticket.task, ticket.attempt))
        await asyncio.wait([end], timeout=UNDO_GRACE_S)
        ended = end.result() if end.done() else None
        end.cancel()
        if ended is not None and ended.delivered:  # it had begun, and may have had its effect
            self._job.scheduler.had_begun(ticket.task, ticket.attempt)
        # It may just have completed: then it is undone as what has.
        return ended if ended is not None and ended.kind == "ok" else stopped


def _whole(attempt: Attempt) -> Attempt:
    """An attempt with all values themselves, for an executor that knows of no shared memory."""
    args, kwargs = [whole(arg) for arg in attempt.args], {key: whole(arg) for key, arg in attempt.kwargs.items()}
    fields = {key: whole(value) for key, value in attempt.fields.items()}
    return msgspec.structs.replace(attempt, args=args, kwargs=kwargs, fields=fields)
