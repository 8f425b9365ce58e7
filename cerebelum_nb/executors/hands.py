"""Attempts that were sent on one connection and have not ended, by number: found, looked at, and those of a batch."""

from collections.abc import Iterator, Mapping
from time import perf_counter

from cerebelum_nb.executors.reading import Reading, Running
from cerebelum_nb.protocols import Attempt, Outcome
from cerebelum_nb.wire.frames import Ended


def found(among: Mapping[int, Running], run: str, task: int, number: int) -> tuple[int, Running] | None:
    """An attempt, and its number on the connection."""
    for sent, running in among.items():
        attempt = running.attempt
        if (attempt.run, attempt.task, attempt.number) == (run, task, number):
            return sent, running
    return None


def at_work(among: Mapping[int, Running]) -> dict[int, tuple[Attempt, float]]:
    """Each attempt, and for how many seconds a worker may have had it."""
    now = perf_counter()
    return {number: (one.attempt, max(0.0, now - one.sent - one.held_s)) for number, one in among.items()}


def ended(
    frame: Ended, reading: Reading, running: Mapping[int, Running], leaving: Mapping[int, Running]
) -> Iterator[tuple[int, Running, Outcome]]:
    """Attempts of a batch have ended: those of which somebody wants to know how."""
    numbers = range(frame.id, frame.id + frame.count)
    if leaving:
        have = [running.get(number) or leaving.get(number) for number in numbers]
    else:
        have = list(map(running.get, numbers))
    known = next((one for one in have if one is not None), None)
    outcomes = reading.outcomes(frame, known.attempt.run, have) if known is not None else []
    for number, one, outcome in zip(numbers, have, outcomes, strict=False):
        if one is not None and outcome is not None and not one.outcome.done():
            yield number, one, outcome
