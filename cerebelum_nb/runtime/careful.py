"""Attempts that must be known of before they do anything: their code begins once their beginning is on disk to stay.

Those of steps that run once, that can be undone, and of what undoes them. Where the journal cannot be written, where
the run was cancelled or the task moved meanwhile, the code does not run at all.
"""

import asyncio
import contextlib
import threading
from typing import Final

from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.once import NEVER_BEGAN
from cerebelum_nb.runtime.following import Ticket
from cerebelum_nb.runtime.scheduler import Scheduler

NOT_BEGUN: Final = Outcome("cancelled", error=ErrorInfo("Cancelled", NEVER_BEGAN), delivered=False)
LOOK_S: Final = 0.25  # a thread that waits looks so often whether its attempt is still wanted


async def not_to_begin(scheduler: Scheduler, ticket: Ticket) -> Outcome | None:
    """Wait until a careful attempt's beginning is on disk; on any loop.

    Returns:
        How the attempt ended without running; None where its code may begin.
    """
    loop, told, heard = asyncio.get_running_loop(), list[bool](), asyncio.Event()

    def tell(kept: bool) -> None:  # noqa: FBT001  as `when_on_disk` calls it
        told.append(kept)
        with contextlib.suppress(RuntimeError):  # that loop has closed: nobody waits there any more
            loop.call_soon_threadsafe(heard.set)

    scheduler.hurry(ticket.seq, tell)
    await heard.wait()  # ends at the latest when the pump gives the run up; a cancel ends it too
    return _verdict(scheduler, ticket, told)


def not_to_begin_here(scheduler: Scheduler, ticket: Ticket) -> Outcome | None:
    """The same for a thread, which waits."""
    told, heard = list[bool](), threading.Event()

    def tell(kept: bool) -> None:  # noqa: FBT001  as `when_on_disk` calls it
        told.append(kept)
        heard.set()

    scheduler.hurry(ticket.seq, tell)
    while not heard.wait(LOOK_S):
        if not scheduler.may_begin(ticket.task, ticket.attempt):
            break  # stopped, or too late: nobody needs to hear how the disk is
    return _verdict(scheduler, ticket, told)


def _verdict(scheduler: Scheduler, ticket: Ticket, told: list[bool]) -> Outcome | None:
    if told == [True] and scheduler.may_begin(ticket.task, ticket.attempt):
        return None
    return NOT_BEGUN
