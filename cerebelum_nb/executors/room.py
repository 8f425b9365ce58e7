"""Attempts whose values find no room: their run is held while they wait, and nothing is lost or run twice for that."""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from weakref import ref

from cerebelum_nb.errors import NoRoom
from cerebelum_nb.executors.core_process import in_thread
from cerebelum_nb.executors.large import LargeValues, Ready, Waiting
from cerebelum_nb.executors.reading import Running
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Outcome, Signals
from cerebelum_nb.wire.frames import Waits

ROOM_S: Final = 60.0  # how long an attempt waits for room
TRY_S: Final = 0.25  # how often
_FREE: Final = "`%cerebelum purge --memory` lets go of what ended runs hold"
logger = logging.getLogger(__name__)


class Room:
    """What a link does where there is no room. On its loop.

    Args:
        large: None where no memory is shared; then nothing waits.
        stop: Has a worker stop an attempt whose outcome is there.
    """

    def __init__(self, large: LargeValues | None, stop: Callable[[int, Running], object]) -> None:
        self._large, self._stop = large, stop

    async def ready(self, waiting: Waiting, signals: Signals) -> Ready:
        """Arguments as they are sent, as soon as there is room for them.

        Raises:
            NoRoom: There was none for too long.
        """
        until, is_held = monotonic() + ROOM_S, False
        try:
            while True:
                ready = await in_thread(_tried, waiting)
                if isinstance(ready, Ready):
                    return ready
                if monotonic() >= until:
                    raise NoRoom(_in_vain(ready))
                if self._large is not None:
                    self._large.relieve()
                if not is_held:
                    is_held = True
                    tell(signals.held, _held(ready))
                await asyncio.sleep(TRY_S)
        finally:
            if is_held:
                tell(signals.held, "")

    def heard(self, frame: Waits, running: Running) -> None:
        """A worker has a result and no room for it; or it has found some."""
        running.waits = ""
        if not frame.text or self._large is None:
            tell(running.signals.held, "")
            return
        running.waits = f"the result of step {running.attempt.step!r}{frame.text.removeprefix('result')}"
        self._large.relieve()
        tell(running.signals.held, _held(running.waits))
        asyncio.get_running_loop().call_later(ROOM_S, self._give_up, frame.id, ref(running))

    def _give_up(self, number: int, still: "ref[Running]") -> None:
        running = still()
        if running is not None and running.waits and not running.outcome.done():
            running.outcome.set_result(Outcome("error", error=ErrorInfo("NoRoom", _in_vain(running.waits))))
            self._stop(number, running)


def _tried(waiting: Waiting) -> Ready | str:
    try:
        return waiting.ready()
    except NoRoom as exc:
        return str(exc)  # the error itself would hold the frames, and these the arguments


def _held(why: str) -> str:
    return f"held: {why}; it goes on when there is room: {_FREE}"


def _in_vain(why: str) -> str:
    return (
        f"{why}, and in {ROOM_S:g} s there came none. Make some ({_FREE}), or write the value to a file and hand over "
        "its path; then resume the run"
    )


def tell(signal: Callable[..., None], *args: Any) -> None:
    """Tell a listener something."""
    try:
        signal(*args)
    except Exception:  # the listener's bug must not cost every other attempt its connection
        logger.exception("signal.failed")
