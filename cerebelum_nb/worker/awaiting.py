"""Async steps: one event loop in the main thread for all of them. Loaded with the first one: asyncio takes a while."""

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable
from typing import Any

from cerebelum_nb.worker.stopping import Stopping

LEFTOVERS_S = 0.5  # what an async step left running has this long to end


class Awaiting:
    """Awaits what async steps return."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def result(self, awaitable: Awaitable[Any], context: contextvars.Context, stopping: Stopping) -> Any:
        """What it comes to. Raises what it raises, sys.exit included."""
        if self._loop.is_closed():  # by a step
            self._loop = asyncio.new_event_loop()
        task = self._loop.create_task(_settled(awaitable), context=context)
        stopping.by_calling(lambda: self._loop.call_soon_threadsafe(task.cancel))
        result, error = self._loop.run_until_complete(task)
        if error is not None:
            raise error
        return result

    def cancel_leftovers(self) -> None:
        """Tasks that a step started and did not await end with it, as with `asyncio.run`."""
        if self._loop.is_closed() or not (left := asyncio.all_tasks(self._loop)):
            return
        for task in left:
            task.cancel()
        with contextlib.suppress(BaseException):  # nobody waits for what they raise
            self._loop.run_until_complete(asyncio.wait(left, timeout=LEFTOVERS_S))


async def _settled(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """The step's result or exception as data: sys.exit and KeyboardInterrupt would tear the loop down."""
    try:
        return await awaitable, None
    except BaseException as exc:  # noqa: BLE001  raised again outside the loop
        return None, exc
