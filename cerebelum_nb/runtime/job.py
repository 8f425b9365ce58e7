"""One run as its executors see it: what to call with what, and where prints go."""

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Protocol

from cerebelum_nb.attempt import describe
from cerebelum_nb.context import Context, own_copy
from cerebelum_nb.errors import ResultLost
from cerebelum_nb.model.events import PauseKind, Stream
from cerebelum_nb.model.plan import CONTEXT, INPUTS, OUTCOME, Call, Plan
from cerebelum_nb.protocols import After, Answer, Attempt, Outcome
from cerebelum_nb.runtime.approvals import Approval, Approvals
from cerebelum_nb.runtime.following import Ticket
from cerebelum_nb.runtime.here import LocalAttempt
from cerebelum_nb.runtime.output import Output
from cerebelum_nb.runtime.scheduler import MISSING, Scheduler
from cerebelum_nb.store.outputs import Folder
from cerebelum_nb.store.results import ResultRef

QUIET_S: Final = 0.05  # between two pieces of what an attempt prints, so that a million lines are a few hundred events


class _Pending:
    """What an attempt has printed, and how far it is, and nobody has been told."""

    __slots__ = ("output", "pieces", "progress", "told_at")

    def __init__(self) -> None:
        self.pieces: list[tuple[Stream, str]] = []
        self.progress: tuple[float, str] | None = None
        self.output: Output | None = None  # once it has printed
        self.told_at = 0.0  # on the clock of perf_counter

    def take(self) -> list[tuple[Stream, str]]:
        """All of it, pieces of one stream joined."""
        pieces, self.pieces = self.pieces, []
        return [(stream, "".join(text for _, text in group)) for stream, group in groupby(pieces, key=itemgetter(0))]


@dataclass(frozen=True, slots=True, eq=False)
class _Pause:
    """Why an attempt does nothing."""

    kind: PauseKind
    until: float  # UTC seconds; 0 for ever
    text: str
    approval: Approval | None  # what there is to answer


@dataclass(frozen=True, slots=True)
class Before:
    """A pause that an earlier attempt came to, in a run that is resumed.

    Attributes:
        until: When a sleep ends, UTC seconds; in the past for one that was over.
        answer: What was said to an approval; None where nothing was.
    """

    kind: PauseKind
    until: float
    answer: Answer | None = None

    @property
    def reply(self) -> Answer:
        """What the step gets."""
        return self.answer if self.answer is not None else Answer(approved=True)


class Cached(Protocol):
    """The cache, as whoever runs attempts sees it; see `lookups.Lookups`."""

    @property
    def threads(self) -> concurrent.futures.Executor:
        """Where `look` is called for those who hold a loop."""

    def at_once(self, ticket: Ticket) -> Outcome | None:
        """A result that can be had without holding anybody up."""

    def look(self, ticket: Ticket) -> Outcome | None:
        """A result, or None for a miss. May read files."""

    def made(self, ticket: Ticket, value: Any) -> None:
        """An attempt returned this. Called before anybody else can see it."""


async def looked_up(loop: asyncio.AbstractEventLoop, cache: Cached, ticket: Ticket) -> Outcome | None:
    """What the cache has, read in a thread of its own, so that the loop goes on."""
    try:
        return await loop.run_in_executor(cache.threads, cache.look, ticket)
    except RuntimeError:  # the session was closed meanwhile: nobody waits for this any more
        return None


def _at_once(_seconds: float, call: Callable[[], None]) -> None:
    """Until a run takes it on, there is no clock."""
    call()


def _unheard(why: str, by: object) -> None:
    """Until a run takes it on."""


def _nobody(why: BaseException) -> None:
    """Until a run takes it on, a crash is the caller's own."""
    raise why


class Job:
    """Joins a plan with its scheduler.

    Attributes:
        crash: Called when the scheduler itself fails: the run cannot go on, and must not hang.
    """

    def __init__(
        self, run: str, plan: Plan, scheduler: Scheduler, root: str = "", keys: Mapping[str, str] | None = None
    ) -> None:
        """Join them.

        Args:
            root: The run that this one goes on from, if any: its steps keep their idempotency keys.
            keys: Steps that have another one, since they were undone and run again -> what it is made of instead.
        """
        self._keys = keys or {}
        self._undoes = dict(zip(plan.undo, plan.functions[plan.steps :], strict=True)) if plan.undo else {}
        self.run, self.plan, self.scheduler, self.root = run, plan, scheduler, root or run
        self.crash: Callable[[BaseException], None] = _nobody
        self.held: Callable[[str, object], object] = _unheard  # told why the run is held, and by which of its attempts
        self.approvals = Approvals()
        self.tracebacks: dict[int, TracebackType | None] = {}  # of local steps that raised; they keep its frames alive
        self.past: dict[int, list[Before]] = {}  # pauses of attempts that a kernel's end cut off
        self.later: Callable[[float, Callable[[], None]], None] = _at_once
        self.cache: Cached | None = None  # where a step of the plan may be served from it
        self.files: Folder | None = None  # where long outputs and what is displayed are kept
        self.sends: Callable[[int, int, Any], None] | None = None  # told how functions are sent; see `kept.Codes`
        self._pauses: dict[tuple[int, int], list[_Pause]] = {}  # by task and attempt
        self._shown: dict[tuple[int, int], _Pause] = {}
        self._telling = False
        self._pending: dict[tuple[int, int], _Pending] = {}
        self._lock = threading.RLock()  # a finalizer may print while its own thread is in here

    def call(self, task: int, number: int) -> tuple[Any, list[Any], dict[str, Any]]:
        """The function of a task and its arguments, each the step's own copy."""
        plan, values = self.plan, self.scheduler.values
        call = plan.calls[task]
        args = [
            own_copy(values[n]) if n >= 0 else self.context(task, number) if n == CONTEXT else own_copy(plan.inputs)
            for n in call.positional
        ]
        if not call.keywords:
            return plan.functions[task], args, {}
        named = {name: self._one(n, task, number) for name, n in self.given(call)}
        return plan.functions[task], args, named

    def given(self, call: Call) -> Iterable[tuple[str, int]]:
        """The keywords of a call, without those whose task a route passed by: they keep their defaults."""
        if not call.optional:
            return call.keywords
        values = self.scheduler.values
        return [(k, n) for k, n in call.keywords if n < 0 or k not in call.optional or values[n] is not MISSING]

    def _one(self, source: int, task: int, number: int) -> Any:
        return self.context(task, number) if source == CONTEXT else own_copy(self._given_by(source, task))

    def _given_by(self, source: int, task: int) -> Any:
        """What stands at a place of a call; None for the context, which is made where the step runs."""
        if source >= 0:
            value = self.scheduler.values[source]
            if type(value) is ResultRef:
                raise ResultLost(f"the result of {self.plan.names[source]!r} is not kept: {value.stored.why}")
            return None if value is MISSING else value
        if source == OUTCOME:
            return "unknown" if self.scheduler.state.undo[task] in self.scheduler.in_doubt else "completed"
        return self.plan.inputs if source == INPUTS else None

    def context(self, task: int, number: int) -> Context:
        """What the step is told about its run."""
        label = self.scheduler.state.places[task].label
        step = self._called(task)
        root = self._keys.get(step, self.root) if self._keys else self.root
        return Context(self.inputs(task), self.run, self.plan.workflow, step, number, label, root)

    def _called(self, task: int) -> str:
        """A step's name; what undoes it goes by the same, and so has its idempotency key."""
        undo = self.scheduler.state.undo
        return self.plan.names[undo[task] if undo and task in undo else task]

    def inputs(self, task: int) -> Any:
        """What a task gets as the run's inputs."""
        source = self.plan.inputs_of.get(task)
        return self.plan.inputs if source is None else self.scheduler.values[source]

    def attempt(self, task: int, number: int, after: After | None = None, *, followed: bool = False) -> Attempt:
        """The same, complete, for an executor that may be far away.

        Args:
            after: What it follows; see `Attempt`.
            followed: Others may follow it.
        """
        plan = self.plan
        call, place = plan.calls[task], self.scheduler.state.places[task]
        args: Sequence[Any] = (None,)
        kwargs: Mapping[str, Any] = {}
        context_at: int | None = None
        if after is None or call.positional != (after.task,) or call.keywords:  # it is called with something else, too
            args = [self._given_by(n, task) for n in call.positional]
            kwargs = {k: self._given_by(n, task) for k, n in self.given(call)} if call.keywords else kwargs
            context_at = call.positional.index(CONTEXT) if CONTEXT in call.positional else None
        return Attempt(
            self.run,
            task,
            plan.names[task],
            number,
            place.executor,
            plan.functions[task],
            args,
            kwargs,
            context_at,
            self._fields(task, number) if context_at is not None or "context" in kwargs else {},
            once=task in plan.careful and plan.options[task].effects == "once",
            undo=self._undoes.get(task) if self._undoes else None,
            sends=self.sends,
            after=after,
            followed=followed,
        )

    def _fields(self, task: int, number: int) -> dict[str, Any]:
        """What a context is made from."""
        called = self._called(task)
        return {
            "inputs": self.inputs(task),
            "execution_id": self.run,
            "workflow_name": self.plan.workflow,
            "step_name": called,
            "attempt": number,
            "executor": self.scheduler.state.places[task].label,
            "root": self._keys.get(called, self.root),
        }

    def here(self, ticket: Ticket) -> Callable[[], LocalAttempt]:
        """What gives a local attempt as its own code reaches it."""
        return functools.partial(LocalAttempt, self, ticket)

    def failure(self, ticket: Ticket, exc: BaseException) -> Outcome:
        """A local step raised: what is told of it, and its frames kept for a debugger."""
        told = describe(exc)
        self.tracebacks[ticket.task] = exc.__traceback__
        return Outcome("error", error=told)

    def paused(  # noqa: PLR0913, PLR0917  what `Signals.paused` takes, whose it is, and how to answer
        self,
        ticket: Ticket,
        kind: PauseKind,
        seconds: float | None,
        text: str,
        asked: Any,
        reply: Callable[[Answer], None],
    ) -> _Pause:
        """A running attempt sleeps, or waits for an answer, which `reply` takes. From any thread.

        Returns:
            What `resumed` takes: an attempt may be in several pauses at once.
        """
        key, now = (ticket.task, ticket.attempt), self.scheduler.now()
        until = 0.0 if seconds is None else now + seconds
        before = self.past[ticket.task].pop(0) if self.past.get(ticket.task) else None
        approval: Approval | None = None
        if before is not None and before.kind == kind and (before.answer is not None or kind == "sleep"):
            # It came to this before its kernel ended: what was slept is slept, what was said stays said.
            if before.answer is not None:
                self.approvals.note(*key, before.answer)
            until = max(now, min(until, before.until))
            self.later(until - now, lambda: reply(before.reply))
        elif kind == "approval":
            step, place = self.plan.names[ticket.task], self.scheduler.state.places[ticket.task]

            def answered(answer: Answer) -> None:
                self.approvals.note(*key, answer)
                reply(answer)

            approval = Approval(step, text, asked, until, place.label, answered)
        made = _Pause(kind, until, text, approval)
        with self._lock:
            if (pending := self._pending.get(key)) is not None:  # what it printed before belongs before
                self._tell(*key, pending)
            self._pauses.setdefault(key, []).append(made)
            self._show_pause(key)
        return made

    def resumed(self, ticket: Ticket, pause: _Pause | None = None) -> None:
        """It goes on after one pause; without `pause`, after all. From any thread."""
        key = (ticket.task, ticket.attempt)
        with self._lock:
            opened = self._pauses.get(key, [])
            opened[:] = [p for p in opened if pause is not None and p is not pause]
            self._show_pause(key)

    def _show_pause(self, key: tuple[int, int]) -> None:
        """Of several pauses at once the oldest question is shown, else the oldest sleep."""
        opened, shown = self._pauses[key], self._shown.get(key)
        first = next((p for p in opened if p.approval is not None), opened[0] if opened else None)
        if first is shown:
            return
        if shown is not None:
            self.approvals.drop(key[0])
            self.scheduler.resumed(*key)
        if first is None:
            self._pauses.pop(key)
            self._shown.pop(key, None)
            return
        self._shown[key] = first
        if first.approval is not None:
            self.approvals.add(key[0], first.approval)
        self.scheduler.paused(*key, first.kind, first.until, first.text)

    def progress(self, ticket: Ticket, done: float, text: str) -> None:
        """A running attempt says how far it is. From any thread."""
        with self._lock:
            pending = self._pending.setdefault((ticket.task, ticket.attempt), _Pending())
            pending.progress = done, text
            now = perf_counter()
            if not self._telling and now - pending.told_at >= QUIET_S:
                pending.told_at = now
                self._tell(ticket.task, ticket.attempt, pending)

    def printed(self, ticket: Ticket, stream: Stream, text: str) -> None:
        """A local attempt printed something. From any thread."""
        task, number = ticket.task, ticket.attempt
        with self._lock:
            pending = self._pending.setdefault((task, number), _Pending())
            pending.pieces.append((stream, text))
            now = perf_counter()
            if self._telling:
                return  # such a finalizer's: told with what follows
            if now - pending.told_at < QUIET_S or not text.endswith("\n"):
                return  # soon, with what follows
            pending.told_at = now
            self._tell(task, number, pending)

    def heard(self, ticket: Ticket, stream: Stream, text: str) -> None:
        """An attempt elsewhere printed something, which was gathered there. From any thread."""
        key = (ticket.task, ticket.attempt)
        with self._lock:
            self._say(*key, self._pending.setdefault(key, _Pending()), stream, text)

    def displayed(self, ticket: Ticket, bundle: Mapping[str, bytes]) -> None:
        """An attempt displays something, or takes back what was shown. From any thread.

        Args:
            bundle: As `rich.checked` leaves it; empty for taking back.
        """
        key = (ticket.task, ticket.attempt)
        with self._lock:
            pending = self._pending.setdefault(key, _Pending())
            self._tell(*key, pending)  # what it printed before belongs before
            output = pending.output = pending.output or Output(self.files, *key)
            text, shown = output.display(bundle)
            self.scheduler.printed(*key, "stdout", text, shown)

    def flush_old(self) -> None:
        """Tell what has waited for more. Called ten times a second."""
        if self._pending:
            with self._lock:
                for (task, number), pending in self._pending.items():
                    self._tell(task, number, pending)

    def flush(self, ticket: Ticket) -> None:
        """Tell what an attempt printed last. Called before its end is written."""
        if self._pending:
            with self._lock:
                pending = self._pending.pop((ticket.task, ticket.attempt), None)
                if pending is not None:
                    self._tell(ticket.task, ticket.attempt, pending)
                    for stream, text in pending.output.end() if pending.output is not None else ():
                        self.scheduler.printed(ticket.task, ticket.attempt, stream, text)

    def _tell(self, task: int, number: int, pending: _Pending) -> None:
        self._telling = True
        try:
            for stream, text in pending.take():
                self._say(task, number, pending, stream, text)
            if pending.progress is not None:
                (done, doing), pending.progress = pending.progress, None
                self.scheduler.progress(task, number, done, doing)
        finally:
            self._telling = False

    def _say(self, task: int, number: int, pending: _Pending, stream: Stream, text: str) -> None:
        output = pending.output = pending.output or Output(self.files, task, number)
        for told_of, told in output.take(stream, text):
            self.scheduler.printed(task, number, told_of, told)
