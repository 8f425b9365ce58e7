"""Where a task goes when its place does not take it, loses it or is crowded: the rules. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from cerebelum_nb.model.events import ErrorInfo, Placement
from cerebelum_nb.model.options import StepOptions
from cerebelum_nb.protocols import Outcome

POISON: Final = 3  # workers that one step may end
TIMEOUTS: Final = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception")  # as `retry_on` may name it
NOWHERE: Final = "error"  # as `fallback` says that there is no other place
_LOST: Final = frozenset({"WorkerLost", "CoreLost"})


class Reach(Protocol):
    """What a run asks of the places where its tasks go. Each call returns at once, from any thread."""

    def withdraw(self, lane: str, task: int, attempt: int, limit_s: float | None) -> None:
        """Take an attempt back if nobody has begun it; its outcome says so then.

        Args:
            limit_s: The time that it may wait, which is over; None where its queue is too long.
        """

    def refuses(self, lane: str) -> str:
        """Why a task that can run elsewhere should, as a sentence; empty for no reason."""

    def workers(self, lane: str) -> int:
        """How many workers there are."""

    def still_runs(self, task: int, attempts: int) -> str:
        """What still runs of a task's first so many attempts though they were stopped, as a sentence; empty for none.

        It counts also what an earlier run of the same line has left behind here.
        """


class Unreachable:
    """Nobody to ask: for runs that are over, and for tests."""

    def withdraw(self, lane: str, task: int, attempt: int, limit_s: float | None) -> None:
        """Nothing can be taken back."""

    def refuses(self, lane: str) -> str:  # noqa: ARG002  see `Reach`
        """Nothing is known."""
        return ""

    def workers(self, lane: str) -> int:  # noqa: ARG002  see `Reach`
        """There are none."""
        return 0

    def still_runs(self, task: int, attempts: int) -> str:  # noqa: ARG002  see `Reach`
        """Nothing is known."""
        return ""


def places_for(executor: str, declared: Sequence[Placement]) -> tuple[Placement, ...]:
    """The places where a step may go instead of its own, in order; each once."""
    found: dict[str, Placement] = {}
    for place in declared:
        if place.executor != executor:
            found.setdefault(place.executor, place)
    return tuple(found.values())


def why_elsewhere(options: StepOptions, outcome: Outcome, label: str) -> str:
    """Why a failed attempt's task may go elsewhere, as a sentence; empty where it must not.

    It may where nobody can have begun it. Where that is not known, only if its step says that running it twice does
    no harm. What the step itself raised would be raised elsewhere too.
    """
    if outcome.kind == "cancelled" or outcome.error is None:
        return ""
    if not outcome.delivered:
        said = _short(outcome.error).replace(f" in pool {label!r}", "").replace("worker took it", "worker")
        return f"{label!r} did not take it: {said}"
    may_have_run = options.effects == "once" or not (options.idempotent or options.retries)
    if outcome.kind != "lost" or outcome.error.type not in _LOST or may_have_run:
        return ""
    return f"{label!r} lost it: {_short(outcome.error)}"


def _short(error: ErrorInfo) -> str:
    """An error's first sentence, without the full stop."""
    return error.message.partition(". ")[0].rstrip(".")


def no_worker(label: str, limit_s: float, workers: int) -> Outcome:
    """How an attempt ends that nobody took in time."""
    text = f"no worker in pool {label!r} took it within {limit_s:g} s ({workers} registered)"
    if not workers:
        text = f"no worker in pool {label!r} (0 registered): nobody took it within {limit_s:g} s"
    return Outcome("timeout", error=ErrorInfo("NoWorker", text, "", TIMEOUTS), delivered=False)


def add_one(pool: str) -> str:
    """How a pool gets a worker, as a sentence."""
    return f"To add one: %cerebelum workers add --pool {pool} --slots 1"


def crowded(waiting: int, most: int) -> str:
    """Why a task goes elsewhere whose queue is too long."""
    return f"its queue was {waiting} long (max_queue={most})"


def poisoned(outcome: Outcome, killed: int) -> Outcome:
    """The same outcome; or another one, where the step has ended too many workers."""
    if killed < POISON or outcome.error is None:
        return outcome
    text = f"it has ended {killed} workers, so it is not tried again. The last time: {outcome.error.message}"
    return Outcome("lost", error=ErrorInfo("PoisonStep", text))


def to_move(waiting: Iterable[tuple[int, int | None]], most: int) -> list[tuple[int, str]]:
    """Which tasks leave a queue, newest first, each with the reason.

    Args:
        waiting: Those that wait, newest first: the task, and how many may wait where it can leave; None where it stays.
        most: How many they are.
    """
    found: list[tuple[int, str]] = []
    for task, bound in waiting:
        if bound is not None and most > bound:
            found.append((task, crowded(most, bound)))
            most -= 1
    return found
