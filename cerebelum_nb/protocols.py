"""What you may replace, the Executor, and what passes between it and a run.

An executor is told what to run and answers with an `Outcome`. It never touches the scheduler: on the way it may
call `Signals`, and cancelling it is cancelling the awaited call.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import msgspec

from cerebelum_nb.model.events import ErrorInfo, OutcomeKind, PauseKind, Stream


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an attempt gave back.

    Attributes:
        value: The step's result; only for ``ok``. A `codec.Large` stands for one that stays in shared memory.
        error: What happened; for everything but ``ok``.
        run_s: Seconds the step's own code ran, measured where it ran; 0 where nobody measured.
        nbytes: Size of the encoded result that crossed a boundary; 0 for none.
        source: "attempt", or "cache" for a value that was there already.
        delivered: False where no worker can have begun it: trying it elsewhere does no harm.
        transfer_s: Seconds that its way there and its result's way back took, what was done to make them ready
            included; None where nobody measured.
        age_s: So long before it was told it had ended, since it was told with others.
    """

    kind: OutcomeKind
    value: Any = None
    error: ErrorInfo | None = None
    run_s: float = 0.0
    nbytes: int = 0
    source: str = "attempt"
    delivered: bool = True
    transfer_s: tuple[float, float] | None = None
    age_s: float = 0.0


class After(msgspec.Struct, frozen=True, gc=False):
    """The attempt that another one follows: it may not have ended yet.

    Attributes:
        place: Where its result goes among the arguments: a position, or a keyword; None where it is not read.
    """

    task: int
    number: int
    place: int | str | None


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try of one task, complete: an executor needs nothing else.

    Attributes:
        function: The step's function as the person wrote it, sync or async.
        args: What to call it with, in order. Where `context_at` is a number, that place holds None and takes the
            context. An executor with ``takes_large`` may find a `codec.Large` here, which `codec.whole` reads.
        kwargs: Keyword arguments; None stands under ``context``, if that is there, and takes the context.
        fields: What a `Context` is made from, the inputs included: see `cerebelum_nb.context.Context`.
        once: It must never run twice: once it is on its way, it counts as begun.
        undo: What undoes the step, if anything: it must be able to follow the step to where that runs.
        sends: Told task, number and what is sent of the function (a `capture.Shipped`), by an executor that sends it.
        after: The attempt whose result it reads, where that may not have ended; None stands at that place.
        followed: Another attempt may be sent that reads the result of this one.
    """

    run: str
    task: int
    step: str
    number: int
    pool: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    context_at: int | None = None
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)
    once: bool = False
    undo: Callable[..., Any] | None = None
    sends: Callable[[int, int, Any], None] | None = None
    after: After | None = None
    followed: bool = False

    @property
    def follows(self) -> tuple[Any, ...]:
        """What its call says of the attempt that it follows, if there is one: task, number, place."""
        after = self.after
        return () if after is None else (after.task, after.number, after.place)


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody said to a step that waits for approval.

    Attributes:
        value: What the step gets; only when approved.
        reason: Why not.
    """

    approved: bool
    value: Any = None
    reason: str = ""


class Signals(Protocol):
    """How an executor tells what happens during an attempt; each call returns at once, from any thread."""

    def started(self, worker: str) -> None:
        """The step's code begins to run on a worker."""

    def output(self, stream: Stream, text: str) -> None:
        """The step printed something."""

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        """The step displays something: mime type to content, see `rich`; nothing, to take back what it has shown."""

    def progress(self, done: float, text: str) -> None:
        """The step says how far it is, 0 to 1."""

    def paused(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> None:
        """The step sleeps for so long, or waits so long for an answer (None: for ever); its place is free meanwhile.

        Args:
            asked: What an approval is about: the person's own value, or None.
        """

    def resumed(self) -> None:
        """It goes on."""

    def held(self, why: str) -> None:
        """It waits for room for a large value, and nothing new of its run begins; or, without words, it has some."""


class Listener(Signals, Protocol):
    """Signals of an attempt that nobody awaits; and a future's words for how it ended."""

    def ran(self, worker: str) -> None:
        """Where its code has begun: told just before how it ended, where nobody was told before."""

    def done(self) -> bool:
        """Whether it has ended."""

    def set_result(self, outcome: Outcome) -> None:
        """It has ended."""


# How many attempts were sent, the number of the first of them, and what stops one of them by its number: what that
# gives is done when its code does not run.
Sent = tuple[int, int, Callable[[int], "asyncio.Future[Outcome] | None"]]
NOTHING_SENT: Sent = (0, 0, lambda _number: None)


@runtime_checkable
class Executor(Protocol):
    """A place where attempts run. All methods are called on the session's control loop."""

    name: str
    crosses_boundary: bool  # bytes leave the kernel's process
    capacity: int  # attempts it takes at once; more wait in the scheduler's queue

    async def start(self) -> None:
        """Get ready. May be called again at any time; must be cheap when ready.

        Raises:
            ExecutorError: It cannot; the message says why and what to do.
        """

    async def run(self, attempt: Attempt, signals: Signals) -> Outcome:
        """Run one attempt to its end.

        Never raises for what the step does. Cancelling this call stops the step: the call returns (or raises
        `asyncio.CancelledError`) as soon as the stop is on its way.
        """
        ...

    async def answer(self, run: str, task: int, number: int, answer: Answer) -> None:
        """End an attempt's pause with what somebody said. Does nothing where it does not wait any more."""

    async def close(self) -> None:
        """Stop everything it started. May be called twice."""
