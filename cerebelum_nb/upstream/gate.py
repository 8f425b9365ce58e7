"""A Core of Cerebelum's makers, used for one thing: it says when a step may begin. Lives on one loop.

What it is told is the step's name and a token; function, inputs, result and prints never pass through it. It is taken
for a mailbox that may lose, repeat and hand to anybody what it is given. So each step is an execution of its own with
one task, a token counts once, other people's tasks are refused, and nothing of ours stays with it for as long as it
takes to lose its patience: it waits 300 s for a step, and what it does then ends other executions too.

It also takes an answer for lost that comes before it listens, at once after a task; and a task that nobody answers
for ever comes again every 300 s. So there is a pause before each answer, and tasks that nobody wants are fetched and
answered too.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

import grpc
import grpc.aio

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.upstream.dialling import dial, told
from cerebelum_nb.upstream.schema import METHODS, SERVICE, Number, schema

CALL_S: Final = 5.0
PARKED_MS: Final = 1_000  # of a poll: one that is left behind eats somebody's task
LATER_S: Final = 0.005  # between a task and its answer, at least
HOLD_S: Final = 240.0  # then Core is told that the step is over, though it goes on here
EXECUTE_S: Final = 290.0
CLAIM_S: Final = 20.0  # a task that has not come back to us by then went to somebody else
GRACE_S: Final = 1.0  # a Core of our own kind answers before the task has arrived, theirs when it is over
TRIES: Final = 30
FETCH_S: Final = 600.0  # tasks that nobody wants any more are looked for as long
CLOSE_S: Final = 1.5
_PREFIX: Final = "cnb/"
_NAME_MOST: Final = 80


class Ticket:
    """A step's leave to begin.

    Attributes:
        task_id: Core's number of it, once it has come back to us.
    """

    def __init__(self, step: str) -> None:
        self.token = secrets.token_hex(16)
        self.name = f"{_PREFIX}{re.sub(r'[^ -~]', '?', step)[:_NAME_MOST]}#{self.token}"
        self.task_id = self.execution_id = ""
        self.got = 0.0
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered = False
        self.patience: asyncio.TimerHandle | None = None


class Gate:
    """One kernel's way to one Core.

    Args:
        url: ``grpc://host:port``, or ``grpcs://`` with TLS.
        pool: What its workers are called.
        credentials: For TLS; see `Pool.credentials`.

    Raises:
        ExecutorError: There is no protobuf here, or the credentials cannot be read.
    """

    def __init__(self, url: str, pool: str, credentials: str = "") -> None:
        self.url = url
        self._schema = schema()
        self._pool = pool
        self._me = f"cnb-{secrets.token_hex(4)}"  # its atoms are never freed: one name for all that we do
        self._channel = dial(url, credentials)
        self._waiting: dict[str, Ticket] = {}  # by token; not come back yet
        self._unwanted: dict[str, float] = {}  # tokens of tasks that are to be fetched, and since when
        self._held: set[Ticket] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._polling: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._opened = self._answers_early = self._closing = False

    async def open(self) -> None:
        """See that it is there.

        Raises:
            ExecutorError: It is not, or does not take us; says why.
        """
        metadata = {"pool": self._pool}
        said = await self._asked(
            "Register", worker_id=self._me, language="cerebelum_nb", capabilities=[self._me], metadata=metadata
        )
        if not said.success:
            raise ExecutorError(f"Core {self.url} does not take workers: {said.message[:200]}")
        self._opened, self._answers_early = True, "cerebelum_nb" in said.message

    async def admit(self, step: str) -> Ticket:
        """Wait until Core lets a step begin. Whoever gets a ticket says `over` when the step has ended.

        Raises:
            ExecutorError: Core is not there, or others took the step's task again and again.
        """
        for number in range(TRIES):
            ticket = Ticket(step)
            if await self._came_back(ticket):
                return ticket
            await asyncio.sleep(min(1.0, 0.01 * 2**number))
        raise ExecutorError(
            f"Core {self.url} gave step {step!r} to other workers {TRIES} times: it hands any task to anybody. Let "
            "nobody else poll it, or run the step on workers of our own."
        )

    async def _came_back(self, ticket: Ticket) -> bool:
        self._waiting[ticket.token] = ticket
        sent = False
        try:
            timeline = [{"name": self._me}]
            blueprint = {"workflow_module": ticket.name, "language": "python", "definition": {"timeline": timeline}}
            await self._submit(**blueprint, version=ticket.token)
            executing, sent = self._later(self._call("ExecuteWorkflow", EXECUTE_S, workflow_module=ticket.name)), True
            self._poll_on()
            await asyncio.wait({executing, ticket.came}, timeout=CLAIM_S, return_when=asyncio.FIRST_COMPLETED)
            if not ticket.came.done() and executing.done():
                self._check(executing)
                if self._answers_early:
                    await asyncio.wait({ticket.came}, timeout=GRACE_S)
            return ticket.came.done()
        except BaseException:
            if ticket.came.done():
                self.over(ticket, ok=False)
            raise
        finally:
            if not ticket.came.done():
                del self._waiting[ticket.token]
                if sent:
                    self._unwanted[ticket.token] = monotonic()
                    self._poll_on()

    async def _submit(self, **blueprint: Any) -> None:
        said = await self._asked("SubmitBlueprint", **blueprint)
        if not said.valid:
            raise ExecutorError(f"Core {self.url} refuses a step: {'; '.join(said.errors)[:200]}")

    def _check(self, executing: asyncio.Task[Any]) -> None:
        if isinstance(error := executing.exception(), grpc.aio.AioRpcError):
            raise told(self.url, error)

    def over(self, ticket: Ticket, *, ok: bool) -> None:
        """A step that was let begin has ended."""
        self._held.discard(ticket)
        if ticket.patience is not None:
            ticket.patience.cancel()
        text = "its result is with the notebook" if ok else "the step did not succeed; the notebook knows why"
        self._answer_once(ticket, text, ok=ok)

    def _answer_once(self, ticket: Ticket, text: str, *, ok: bool) -> None:
        if not ticket.answered:
            ticket.answered = True
            self._later(self._answer(ticket.task_id, ticket.execution_id, ticket.got, "step", text, ok=ok))

    async def _answer(  # noqa: PLR0913  the fields of a result
        self, task_id: str, execution_id: str, got: float, kind: str, text: str, *, ok: bool
    ) -> None:
        await asyncio.sleep(max(0.0, got + LATER_S - monotonic()))
        said: dict[str, Any] = {"status": Number.FAILED, "error": {"kind": kind, "message": text}}
        if ok:
            result = self._schema.Struct()
            result.update({"ok": text})
            said = {"status": Number.SUCCESS, "result": result}
        for pause_s in (0.2, 1.0, 3.0, 0.0):
            try:
                await self._call(
                    "SubmitResult", CALL_S, task_id=task_id, execution_id=execution_id, worker_id=self._me, **said
                )
            except grpc.aio.AioRpcError:  # what it thinks of the step changes nothing here
                await asyncio.sleep(pause_s)
            else:
                return

    # tasks ---------------------------------------------------------------------------------------------------------

    def _poll_on(self) -> None:
        self._wake.set()
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="cerebelum upstream poll")

    def _poll_pause_s(self) -> float | None:
        """How long to wait before the next poll; None where there is nothing to poll for.

        Nobody polls for longer than needed: any task may come, also one that is not ours.
        """
        now = monotonic()
        self._unwanted = {token: since for token, since in self._unwanted.items() if now - since < FETCH_S}
        if self._waiting and not self._closing:
            return 0.0
        if not self._unwanted:
            return None
        youngest = now - max(self._unwanted.values())
        return 0.0 if youngest < CLOSE_S else min(30.0, youngest / 4)

    async def _poll(self) -> None:
        while (pause_s := self._poll_pause_s()) is not None:
            self._wake.clear()
            if pause_s:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause_s)
            try:
                poll = {"worker_id": self._me, "timeout_ms": PARKED_MS}
                task = await self._call("PollForTask", PARKED_MS / 1000 + CALL_S, **poll)
            except grpc.aio.AioRpcError as exc:
                await asyncio.sleep(0.2)
                if exc.code() == grpc.StatusCode.NOT_FOUND:  # one of our own kind, that was started anew
                    with contextlib.suppress(ExecutorError):
                        await self.open()
                continue
            if task.task_id:
                self._take(task)

    def _take(self, task: Any) -> None:
        name = task.workflow_module
        token = name.rpartition("#")[2] if name.startswith(_PREFIX) else ""
        self._unwanted.pop(token, None)
        ticket = self._waiting.pop(token, None)
        if ticket is None:
            text = "this worker runs the steps of one notebook only"
            self._later(self._answer(task.task_id, task.execution_id, monotonic(), "not_mine", text, ok=False))
            return
        ticket.task_id, ticket.execution_id, ticket.got = task.task_id, task.execution_id, monotonic()
        self._held.add(ticket)
        patience = "the step goes on, and its result goes to the notebook"
        loop = asyncio.get_running_loop()
        ticket.patience = loop.call_later(HOLD_S, lambda: self._answer_once(ticket, patience, ok=True))
        ticket.came.set_result(None)

    # calls ---------------------------------------------------------------------------------------------------------

    async def _asked(self, method: str, **fields: Any) -> Any:
        try:
            return await self._call(method, CALL_S, **fields)
        except grpc.aio.AioRpcError as exc:
            raise told(self.url, exc) from None

    async def _call(self, method: str, deadline_s: float, **fields: Any) -> Any:
        asked, answered = (getattr(self._schema, name) for name in METHODS[method])
        call = self._channel.unary_unary(f"/{SERVICE}/{method}")
        return answered.FromString(await call(asked(**fields).SerializeToString(), timeout=deadline_s))

    def _later(self, doing: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # somebody has looked, or nobody cares

    async def close(self) -> None:
        """Leave nothing with Core that it would wait for, as far as that takes no time."""
        self._closing = True
        for ticket in list(self._held):
            self.over(ticket, ok=False)
        open_ = [task for task in (*self._tasks, self._polling) if task is not None and not task.done()]
        if open_:
            await asyncio.wait(open_, timeout=CLOSE_S)
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)
        if self._opened:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._call("Unregister", 0.5, worker_id=self._me, reason="shutdown")
        await self._channel.close(None)
