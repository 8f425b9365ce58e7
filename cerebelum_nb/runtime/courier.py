"""Carries attempts of one run to an executor that is awaited, and brings outcomes back. Lives on the control loop."""

import asyncio

from cerebelum_nb.attempt import describe
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.events import ErrorInfo, Stream
from cerebelum_nb.protocols import Executor, Outcome
from cerebelum_nb.runtime.job import Job
from cerebelum_nb.runtime.scheduler import Ticket


class _Signals:
    """What happens on the way, told to the scheduler."""

    __slots__ = ("_job", "_ticket")

    def __init__(self, job: Job, ticket: Ticket) -> None:
        self._job, self._ticket = job, ticket

    def started(self, worker: str) -> None:
        self._job.scheduler.began(self._ticket.task, self._ticket.attempt, worker)

    def output(self, stream: Stream, text: str) -> None:
        self._job.scheduler.printed(self._ticket.task, self._ticket.attempt, stream, text)


class Courier:
    """One run's lane to one executor: each of its rounds takes a ticket, awaits the executor, and takes the next."""

    def __init__(self, job: Job, executor: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self._job, self._executor, self._loop = job, executor, loop
        self._rounds: set[asyncio.Task[None]] = set()
        self._at_work: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._held_back = False  # poked while all rounds were busy

    def poke(self) -> None:
        """Work waits. From any thread."""
        self._loop.call_soon_threadsafe(self._open)

    def stop(self, task: int, attempt: int) -> None:
        """Stop an attempt. From any thread."""
        self._loop.call_soon_threadsafe(self._cancel, (task, attempt))

    def _cancel(self, key: tuple[int, int]) -> None:
        at_work = self._at_work.get(key)
        if at_work is not None:
            at_work.cancel()

    def _open(self) -> None:
        if len(self._rounds) >= self._executor.capacity:
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
        ticket = turn(name)
        while ticket is not None:
            key = (ticket.task, ticket.attempt)
            self._at_work[key] = me
            try:
                outcome = await self._carry(ticket)
            finally:
                del self._at_work[key]
            if me.cancelling():
                turn("", ticket, outcome=outcome)
                self._open()  # a fresh round goes on: this task is marked cancelled
                return
            ticket = turn(name, ticket, outcome=outcome)

    async def _carry(self, ticket: Ticket) -> Outcome:
        try:
            await self._executor.start()
            return await self._executor.run(self._job.attempt(ticket), _Signals(self._job, ticket))
        except asyncio.CancelledError:
            return Outcome("cancelled", error=ErrorInfo("Cancelled", "stopped on the worker"))
        except CerebelumError as exc:  # the executor's own words: no step code has failed
            return Outcome("error", error=ErrorInfo(type(exc).__name__, str(exc)))
        except Exception as exc:  # noqa: BLE001  recorded: a broken executor must not hang the run
            return Outcome("error", error=describe(exc))
