"""What a run asks of the session that it belongs to."""

import asyncio
import concurrent.futures
import contextlib
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.protocols import Answer, Attempt, Outcome, Signals
from cerebelum_nb.rules.kept import Changed, Kept, Steps
from cerebelum_nb.rules.once import Force

if TYPE_CHECKING:
    from cerebelum_nb.runtime.run import Run


_openers: list[Callable[[], Any]] = []  # how the process's session is had: told by `session`, which is above


def opens_with(opener: Callable[[], Any]) -> None:
    """Tell how the process's session is had."""
    _openers[:] = [opener]


def current_host() -> Any:
    """The process's session, opened when first asked for."""
    if not _openers:
        importlib.import_module("cerebelum_nb").open_session()  # which tells
    return _openers[0]()


class Host(Protocol):
    """What a run asks of its session."""

    loop: asyncio.AbstractEventLoop
    runs: "list[Run]"  # all that it has, oldest first

    @property
    def prices(self) -> Mapping[str, float]:
        """What a slot costs an hour, by executor, where it costs anything."""

    def load(self, name: str) -> "Run":
        """A run from the journal, by a part of its id."""

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something on the control loop after a while. From any thread."""

    def placement(self, run: "Run", step: str, executor: str) -> Placement:
        """Where a step of the run goes when a person says so."""

    def rerun(  # noqa: PLR0913  as `Run.rerun`
        self,
        run: "Run",
        step: Steps | None,
        executor: str | None,
        *,
        until: str | None = None,
        force: Force = False,
        code: str = "",
    ) -> "Run":
        """A new run of the same workflow that reuses what is not affected."""

    def resume(
        self,
        run: "Run",
        changed: Changed,
        *,
        force: Force = False,
        results: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> "Run":
        """A new run of the same workflow that runs what has not succeeded."""

    def compensate(self, run: "Run") -> "Run":
        """A new run that only undoes what an earlier one did."""

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Entered by whoever blocks until a run ends: it may be a step."""

    def plan(self, workflow: Any, *, strategy: Mapping[str, str] | None = None) -> Plan:
        """A workflow as it is now, checked and placed, without inputs."""

    def is_up(self, executor: str) -> bool:
        """Whether somebody has used a remote executor in this session."""

    def shares(self, executor: str) -> bool:
        """Whether a remote executor's workers share memory with this process."""

    def carry(self, attempt: Attempt, signals: Signals) -> "concurrent.futures.Future[Outcome]":
        """Have an attempt run that is no run's. From any thread; cancelling what is returned stops it."""

    def say(self, attempt: Attempt, after_s: float, answer: Answer) -> None:
        """End a pause of such an attempt, after a while. From any thread."""

    def would_rerun(
        self, run: "Run", step: Steps | None, executor: str | None, *, until: str | None = None, code: str = ""
    ) -> Kept:
        """What that would run and reuse."""
