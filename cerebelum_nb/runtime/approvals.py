"""Steps of one run that wait for somebody's word."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cerebelum_nb.protocols import Answer


@dataclass(frozen=True, slots=True)
class Approval:
    """A step that waits.

    Attributes:
        type: What it asks for, in its own words.
        data: What the decision is about: the person's own value, or None. Never stored.
        until: UTC seconds when it gives up; 0 for never.
        executor: Where it waits, as people say it.
    """

    step: str
    type: str
    data: Any
    until: float
    executor: str
    reply: Callable[[Answer], None] = field(repr=False)


class Approvals:
    """Who waits, by task, and what was said. From any thread."""

    def __init__(self) -> None:
        self._waiting: dict[int, Approval] = {}
        self._said: dict[tuple[int, int], list[Answer]] = {}
        self._lock = threading.Lock()

    def add(self, task: int, approval: Approval) -> None:
        """A step begins to wait."""
        with self._lock:
            self._waiting[task] = approval

    def drop(self, task: int) -> None:
        """It does not wait any more."""
        if self._waiting:
            with self._lock:
                self._waiting.pop(task, None)

    def all(self) -> tuple[Approval, ...]:
        """Those who wait, who came first first."""
        with self._lock:
            return tuple(self._waiting.values())

    def answer(self, task: int, answer: Answer) -> bool:
        """Answer a step; False when it does not wait, or somebody else was first."""
        with self._lock:
            waiting = self._waiting.pop(task, None)
        if waiting is not None:
            waiting.reply(answer)
        return waiting is not None

    def note(self, task: int, attempt: int, answer: Answer) -> None:
        """Remember what an attempt was told."""
        with self._lock:
            self._said.setdefault((task, attempt), []).append(answer)

    def said(self, task: int, attempt: int) -> list[Answer]:
        """What an attempt was told, in order."""
        return list(self._said.get((task, attempt), ()))
