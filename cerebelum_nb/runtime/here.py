"""A local attempt as its own code reaches it: where its prints go, how far it is, and how it waits."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cerebelum_nb.model.events import PauseKind, Stream
from cerebelum_nb.protocols import Answer

if TYPE_CHECKING:
    from cerebelum_nb.runtime.following import Ticket
    from cerebelum_nb.runtime.job import Job

BRIEF_S: Final = 0.02  # a shorter sleep is told to nobody


class LocalAttempt:
    """The `attempt.Here` of the kernel's own lanes."""

    __slots__ = ("_job", "_ticket")

    def __init__(self, job: "Job", ticket: "Ticket") -> None:
        self._job, self._ticket = job, ticket

    def __call__(self, stream: Stream, text: str) -> None:
        """The step prints."""
        self._job.printed(self._ticket, stream, text)

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        """The step displays something; see `attempt.Here.displayed`."""
        self._job.displayed(self._ticket, bundle)

    def progress(self, done: float, text: str) -> None:
        """The step says how far it is, 0 to 1."""
        self._job.progress(self._ticket, done, text)

    async def pause(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> Answer | None:
        """Sleep, or wait for an answer; see `attempt.Here.pause`."""
        if kind == "sleep" and seconds is not None and seconds < BRIEF_S:
            await asyncio.sleep(seconds)
            return None
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def reply(answer: Answer) -> None:
            with contextlib.suppress(RuntimeError):  # its loop is gone, and so is the step
                loop.call_soon_threadsafe(_settle, answered, answer)

        pause = self._job.paused(self._ticket, kind, seconds, text, asked, reply)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await answered
            return None
        finally:
            self._job.resumed(self._ticket, pause)


def _settle(answered: "asyncio.Future[Answer]", answer: Answer) -> None:
    if not answered.done():
        answered.set_result(answer)
