"""What a run asks of the session that it belongs to."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cerebelum_nb.model.events import Placement
from cerebelum_nb.runtime.kept import Changed, Kept

if TYPE_CHECKING:
    from cerebelum_nb.runtime.run import Run


class Host(Protocol):
    """What a run asks of its session."""

    loop: asyncio.AbstractEventLoop

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something on the control loop after a while. From any thread."""

    def placement(self, run: "Run", step: str, executor: str) -> Placement:
        """Where a step of the run goes when a person says so."""

    def rerun(self, run: "Run", step: str | None, executor: str | None) -> "Run":
        """A new run of the same workflow that reuses what is not affected."""

    def resume(self, run: "Run", changed: Changed) -> "Run":
        """A new run of the same workflow that runs what has not succeeded."""

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Entered by whoever blocks until a run ends: it may be a step."""

    def would_rerun(self, run: "Run", step: str | None, executor: str | None) -> Kept:
        """What that would run and reuse."""
