"""Workers that have registered, those that wait, and those that hold a step."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from cerebelum_nb.upstream.executions import Execution


class UnknownWorker(Exception):
    """A worker polls that has not registered here."""


class UnknownExecution(Exception):
    """A client asks for an execution that there is not."""


class Refused(Exception):
    """What a client asks for cannot be done; the message says why."""


@dataclass(slots=True)
class Worker:
    """A worker that has registered.

    Attributes:
        steps: What it can run; none for anything.
        seen: When it was last heard of.
        unable: Peer and step: it was asked, and does not know it.
    """

    steps: frozenset[str]
    language: str
    seen: float
    unable: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class Lease:
    """A step in a worker's hands.

    Attributes:
        peer: The worker's end of its connection, as gRPC calls it.
        seen: When it was last heard of.
        gone: Since when its connection is not there.
    """

    task_id: str
    execution: Execution
    number: int
    worker: str
    peer: str
    seen: float
    with_inputs: bool
    gone: float | None = None

    @property
    def step(self) -> str:
        """The step's name."""
        return self.execution.blueprint.steps[self.number]


@dataclass(slots=True, eq=False)
class Poll:
    """A worker that waits for a step."""

    worker: str
    peer: str
    task: "asyncio.Future[tuple[Lease, Any]]"
