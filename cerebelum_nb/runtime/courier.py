"""Carries attempts of one run to an executor that is awaited, and brings outcomes back. Lives on the control loop."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from cerebelum_nb.attempt import describe
from cerebelum_nb.codec import whole
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.events import ErrorInfo, PauseKind, Stream
from cerebelum_nb.protocols import Answer, Attempt, Executor, Outcome
from cerebelum_nb.rich import checked
from cerebelum_nb.rules.breaker import Breaker
from cerebelum_nb.rules.elsewhere import no_worker
from cerebelum_nb.runtime.ahead import Ahead
from cerebelum_nb.runtime.careful import not_to_begin
from cerebelum_nb.runtime.job import Job, looked_up
from cerebelum_nb.runtime.scheduler import UNDO_GRACE_S, Ticket


@dataclass(frozen=True, slots=True, eq=False)
class _Pause:
    """Why an attempt does nothing."""

    kind: PauseKind
    seconds: float | None
    text: str
    asked: Any
    since: float = field(default_factory=monotonic)

    def left_s(self) -> float | None:
        """Seconds until it is over by itself, if ever."""
        return None if self.seconds is None else max(0.0, self.since + self.seconds - monotonic())


class _Signals:
    """What happens on the way, told to the scheduler."""

    __slots__ = ("_courier", "_job", "_ticket")

    def __init__(self, courier: "Courier", job: Job, ticket: Ticket) -> None:
        self._courier, self._job, self._ticket = courier, job, ticket

    def started(self, worker: str) -> None:
        self._courier.took()
        self._job.scheduler.began(self._ticket.task, self._ticket.attempt, worker)

    def output(self, stream: Stream, text: str) -> None:
        self._job.heard(self._ticket, stream, text)

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        self._job.displayed(self._ticket, checked(bundle))

    def progress(self, done: float, text: str) -> None:
        self._job.progress(self._ticket, done, text)

    def paused(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> None:
        self._courier.paused(self._ticket, _Pause(kind, seconds, text, asked))

    def resumed(self) -> None:
        self._courier.resumed(self._ticket)

    def held(self, why: str) -> None:
        self._courier.held((self._ticket.task, self._ticket.attempt), why)


class Courier:
    """One run's lane to one executor: each of its rounds takes a ticket, awaits the executor, and takes the next."""

    def __init__(
        self, job: Job, executor: Executor, loop: asyncio.AbstractEventLoop, breaker: Breaker | None = None
    ) -> None:
        self._job, self._executor, self._loop, self._breaker = job, executor, loop, breaker
        self._starting: set[tuple[int, int]] = set()  # attempts that wait until the executor is there
        self._taken_back: dict[tuple[int, int], float | None] = {}  # as far as nobody has begun them
        self._rounds: set[asyncio.Task[None]] = set()
        self._at_work: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._held_back = False  # poked while all rounds were busy
        self._paused: dict[tuple[int, int], _Pause] = {}  # by task and attempt; they lend their rounds
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

    def paused(self, ticket: Ticket, pause: _Pause) -> None:
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

    def _tell(self, ticket: Ticket, pause: _Pause) -> None:
        def reply(answer: Answer) -> None:
            with contextlib.suppress(RuntimeError):  # the session was closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer, ticket, pause, answer)

        self._job.paused(ticket, pause.kind, pause.left_s(), pause.text, pause.asked, reply)

    def _answer(self, ticket: Ticket, pause: _Pause, answer: Answer) -> None:
        if self._waits(ticket, pause):  # else it is over, and the next one is another question
            sent = self._loop.create_task(self._send(ticket, pause, answer))
            self._answers.add(sent)
            sent.add_done_callback(self._answers.discard)

    def _waits(self, ticket: Ticket, pause: _Pause) -> bool:
        return self._paused.get((ticket.task, ticket.attempt)) is pause

    async def _send(self, ticket: Ticket, pause: _Pause, answer: Answer) -> None:
        try:
            await self._executor.answer(self._job.run, ticket.task, ticket.attempt, answer)
        except Exception as exc:  # noqa: BLE001  told where the person looks
            text = f"the answer did not reach the step, which waits for another: {describe(exc).message}\n"
            self._job.scheduler.printed(ticket.task, ticket.attempt, "notice", text)
            if self._waits(ticket, pause):
                self._job.resumed(ticket)
                self._tell(ticket, pause)

    def _busy(self) -> int:
        return len(self._rounds) - len(self._paused)

    def _open(self) -> None:
        if self._busy() >= self._executor.capacity:
            self._held_back = True
            return
        made = self._loop.create_task(self._round())
        self._rounds.add(made)
        made.add_done_callback(self._closed)

    def _closed(self, ended: asyncio.Task[None]) -> None:
        self._rounds.discard(ended)
        if not ended.cancelled() and (bug := ended.exception()) is not None:
            self._job.crash(bug)
        if self._held_back:
            self._held_back = False
            self._open()

    async def _round(self) -> None:
        turn, name = self._job.scheduler.turn, self._executor.name
        me = asyncio.current_task()
        assert me is not None
        ticket, ahead = turn(name), Ahead(self._job, self._executor, self._loop)
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

    async def _in_turn(self, ticket: Ticket, ahead: Ahead) -> Outcome:
        """An attempt was sent before its turn, which has come."""
        began = monotonic()
        try:
            outcome = await ahead.outcome(_Signals(self, self._job, ticket))
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
        key, began = (ticket.task, ticket.attempt), monotonic()
        outcome = await self._sent(ticket, key, ahead)
        if key in self._taken_back:
            limit_s = self._taken_back.pop(key)
            if limit_s is None and not outcome.delivered:  # its place is well: only its queue is too long
                return Outcome("cancelled", error=ErrorInfo("Moved", "taken back: its queue was long"), delivered=False)
            stopped = outcome.kind == "cancelled" and not hasattr(self._executor, "withdraw")
            if limit_s is not None and (stopped or not outcome.delivered):
                label = self._job.scheduler.state.places[ticket.task].label
                nobody = no_worker(label, limit_s, self.workers)
                outcome = dataclasses.replace(nobody, delivered=outcome.delivered)
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
            return await self._executor.run(attempt, _Signals(self, self._job, ticket))
        except asyncio.CancelledError:
            return await self._stopped(ticket, begins=begins)
        except CerebelumError as exc:  # the executor's own words: no step code has failed
            return Outcome("error", error=ErrorInfo(type(exc).__name__, str(exc)), delivered=begins)
        except Exception as exc:  # noqa: BLE001  recorded: a broken executor must not hang the run
            return Outcome("error", error=describe(exc), delivered=begins)

    async def _stopped(self, ticket: Ticket, *, begins: bool) -> Outcome:
        """An attempt was stopped. Where what the run did is undone next, it is said only when the step has ended."""
        stopped = Outcome("cancelled", error=ErrorInfo("Cancelled", "stopped on the worker"), delivered=begins)
        if not begins or not hasattr(self._executor, "gone") or not self._job.scheduler.is_undoing():
            return stopped
        end = asyncio.ensure_future(self._executor.gone(self._job.run, ticket.task, ticket.attempt))
        await asyncio.wait([end], timeout=UNDO_GRACE_S)
        ended = end.result() if end.done() else None
        end.cancel()
        # It may just have completed: then it is undone as what has.
        return ended if ended is not None and ended.kind == "ok" else stopped


def _whole(attempt: Attempt) -> Attempt:
    """An attempt with all values themselves, for an executor that knows of no shared memory."""
    args, kwargs = [whole(arg) for arg in attempt.args], {key: whole(arg) for key, arg in attempt.kwargs.items()}
    fields = {key: whole(value) for key, value in attempt.fields.items()}
    return dataclasses.replace(attempt, args=args, kwargs=kwargs, fields=fields)
