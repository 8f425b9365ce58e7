"""What steps have really done, written down by the steps themselves: a line for each effect."""

import os
from collections import Counter
from pathlib import Path

import msgspec

from cerebelum_nb.context import Context


class Effect(msgspec.Struct, frozen=True, array_like=True):
    """Something that a step did."""

    step: str
    attempt: int
    key: str  # the step's idempotency key
    run: str


class Ledger:
    """A file to which steps append, wherever they run. A line is written whole or not at all.

    Args:
        path: On a disk that has room: it says what happened also when nothing else can be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def note(self, context: Context, effect: str = "") -> None:
        """Write down that a step has done something.

        Args:
            effect: What it did, where that is not the step's name.
        """
        line = Effect(effect or context.step_name, context.attempt, context.idempotency_key, context.execution_id)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, msgspec.json.encode(line) + b"\n")  # one write: lines of several processes never mix
        finally:
            os.close(fd)

    def effects(self) -> list[Effect]:
        """All of them, in order."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line, type=Effect) for line in lines]

    def counts(self) -> Counter[str]:
        """How often each has happened."""
        return Counter(effect.step for effect in self.effects())
