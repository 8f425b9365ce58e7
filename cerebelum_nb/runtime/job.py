"""One run as its executors see it: what to call with what, and where prints go."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Final

from cerebelum_nb.attempt import Emit
from cerebelum_nb.context import Context, own_copy
from cerebelum_nb.model.events import Stream
from cerebelum_nb.model.plan import CONTEXT, INPUTS, Plan
from cerebelum_nb.protocols import Attempt
from cerebelum_nb.runtime.scheduler import Scheduler, Ticket

PRINT_LIMIT: Final = 1024 * 1024  # characters of prints kept of one attempt


class _Line:
    """What an attempt has printed and nobody has seen: pieces up to the next line end."""

    __slots__ = ("kept", "pending")

    def __init__(self) -> None:
        self.pending: dict[Stream, str] = {}
        self.kept = 0


def _nobody(why: BaseException) -> None:
    """Until a run takes it on, a crash is the caller's own."""
    raise why


class Job:
    """Joins a plan with its scheduler.

    Attributes:
        crash: Called when the scheduler itself fails: the run cannot go on, and must not hang.
    """

    def __init__(self, run: str, plan: Plan, scheduler: Scheduler) -> None:
        self.run, self.plan, self.scheduler = run, plan, scheduler
        self.crash: Callable[[BaseException], None] = _nobody
        self._lines: dict[tuple[int, int], _Line] = {}
        self._lock = threading.Lock()

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
        named = {name: self._one(n, task, number) for name, n in call.keywords}
        return plan.functions[task], args, named

    def _one(self, source: int, task: int, number: int) -> Any:
        if source == CONTEXT:
            return self.context(task, number)
        return own_copy(self.plan.inputs if source == INPUTS else self.scheduler.values[source])

    def context(self, task: int, number: int) -> Context:
        """What the step is told about its run."""
        label = self.scheduler.state.places[task].label
        return Context(self.plan.inputs, self.run, self.plan.workflow, self.plan.names[task], number, label)

    def attempt(self, ticket: Ticket) -> Attempt:
        """The same, complete, for an executor that may be far away."""
        plan, task = self.plan, ticket.task
        call, values, place = plan.calls[task], self.scheduler.values, self.scheduler.state.places[task]
        args = [values[n] if n >= 0 else None if n == CONTEXT else plan.inputs for n in call.positional]
        kwargs = {k: values[n] if n >= 0 else None if n == CONTEXT else plan.inputs for k, n in call.keywords}
        sources = [*call.positional, *(n for _, n in call.keywords)]
        return Attempt(
            run=self.run,
            task=task,
            step=plan.names[task],
            number=ticket.attempt,
            pool=place.executor,
            function=plan.functions[task],
            args=args,
            kwargs=kwargs,
            context_at=call.positional.index(CONTEXT) if CONTEXT in call.positional else None,
            fields={
                "inputs": plan.inputs if CONTEXT in sources else None,
                "execution_id": self.run,
                "workflow_name": plan.workflow,
                "step_name": plan.names[task],
                "attempt": ticket.attempt,
                "executor": place.label,
            },
        )

    def emit_for(self, ticket: Ticket) -> Emit:
        """Where a local attempt's prints go."""
        return functools.partial(self._printed, ticket.task, ticket.attempt)

    def _printed(self, task: int, number: int, stream: Stream, text: str) -> None:
        with self._lock:
            line = self._lines.setdefault((task, number), _Line())
            if line.kept > PRINT_LIMIT:
                return
            line.kept += len(text)
            if line.kept > PRINT_LIMIT:
                text += "\n… it printed more than 1 MiB; the rest is not kept\n"
            whole = line.pending.pop(stream, "") + text
            ready, _, rest = whole.rpartition("\n")
            if len(rest) > 4096:
                ready, rest = whole, ""
            elif ready or whole.startswith("\n"):
                ready += "\n"
            if rest:
                line.pending[stream] = rest
        if ready:
            self.scheduler.printed(task, number, stream, ready)

    def flush(self, ticket: Ticket) -> None:
        """Send what an attempt printed without a line end. Called before its end is written."""
        if not self._lines:
            return
        with self._lock:
            line = self._lines.pop((ticket.task, ticket.attempt), None)
        for stream, text in line.pending.items() if line is not None else ():
            self.scheduler.printed(ticket.task, ticket.attempt, stream, text)
