"""What an attempt gave back: opened, read, and how long its ways took."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from cerebelum_nb.codec import Large, decode, one_line
from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.executors.large import LargeValues
from cerebelum_nb.executors.skew import Skew
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Attempt, Listener, Outcome, Signals
from cerebelum_nb.seal import Address, unseal, worker_key
from cerebelum_nb.wire.batches import End, ends_of
from cerebelum_nb.wire.frames import Ended, Finished, Paused, Piece
from cerebelum_nb.wire.lent import SHARED
from cerebelum_nb.wire.pieces import LIMIT_NBYTES, PIECES, Gathered

if TYPE_CHECKING:  # most have a Core of their own, and trust its workers
    from cerebelum_nb.executors.core_process import CoreProcess
    from cerebelum_nb.executors.core_served import ServedCore
    from cerebelum_nb.executors.distrust import Distrust

logger = logging.getLogger(__name__)

TakeBack = Callable[[], "asyncio.Future[Outcome] | None"]  # stops an attempt; done when its code does not run


class Told:
    """Stands for a future where somebody is told the outcome at once."""

    __slots__ = ("_over", "_tell")

    def __init__(self, tell: Callable[[Outcome], None]) -> None:
        self._tell, self._over = tell, False

    def done(self) -> bool:
        """Whether it was told."""
        return self._over

    def set_result(self, outcome: Outcome) -> None:
        """Tell it."""
        self._over = True
        try:
            self._tell(outcome)
        except Exception:  # the listener's bug must not cost every other attempt its connection
            logger.exception("outcome.failed")


class Running(msgspec.Struct, weakref=True):
    """An attempt that was sent, and what was heard of it."""

    attempt: Attempt
    signals: Signals
    outcome: "asyncio.Future[Outcome] | Told | Listener"
    began: float = 0.0  # when we began to make it ready
    sent: float = 0.0  # when it was
    got: float = 0.0  # when Core had it, by Core's clock
    held_s: float = 0.0  # how long Core kept it until a worker took it
    pause: int = 0  # the number of the pause that it is in; 0 when it works
    age_s: float = 0.0  # so long before it was told it had ended
    worker: str = ""  # who has it
    kept: object = None  # what of its arguments is in shared memory
    waits: str = ""  # for room for its result: what there is too little of
    unasked: bool = False  # nobody may wait for it
    long: Gathered | None = None  # its result, as far as that has come in pieces


class Reading:
    """Opens what workers of one Core send.

    Args:
        key: What the connection's envelopes are sealed with; each worker has its own, derived from it.
        large: Values in shared memory; None where there are none.
        distrust: Looks at what workers say, where they are not trusted: only safe codecs are read then.
        limit: No result is longer.
    """

    def __init__(
        self, key: bytes, large: LargeValues | None, distrust: "Distrust | None", limit: int = LIMIT_NBYTES
    ) -> None:
        self._key, self._large, self._distrust, self._limit = key, large, distrust, limit
        self._skew = Skew()

    def piece(self, frame: Piece, running: Running) -> None:
        """Keep a piece of a long result."""
        if running.long is None:
            running.long = Gathered(worker_key(self._key, running.worker), "to kernel", self._limit)
        running.long.take(frame)

    def outcome(self, frame: Finished, running: Running) -> Outcome:
        """How an attempt ended. What cannot be opened or read is how it ended, too."""
        arrived, attempt = perf_counter(), running.attempt
        codec, key = frame.codec, worker_key(self._key, running.worker)
        address = Address(attempt.run, attempt.task, attempt.number, "to kernel", codec)
        try:
            data = unseal(key, address, frame.sealed)
            if codec == PIECES:
                long, running.long = running.long or Gathered(key, "to kernel"), None
                codec, data = long.body(attempt.run, attempt.task, attempt.number, data)
        except PayloadRejected as exc:
            return Outcome("error", error=ErrorInfo("PayloadRejected", str(exc)))
        return self._outcome(frame, codec, data, running, arrived)

    def _outcome(
        self, frame: Finished | End, codec: str, data: bytes | memoryview, running: Running, arrived: float
    ) -> Outcome:
        attempt = running.attempt
        if codec == "error":
            error, transfer_s = self._error_in(data), self._transfer_s(frame, running, arrived)
            return Outcome("error", error=error, run_s=frame.run_s, transfer_s=transfer_s)
        if codec == "cancelled":
            return Outcome("cancelled", error=ErrorInfo("Cancelled", "the step was stopped"), run_s=frame.run_s)
        try:
            if codec == SHARED and self._large is not None:
                value: Any = self._large.received(data)
            else:
                value = decode(codec, data, safe_only=self._distrust is not None)
        except PayloadRejected as exc:
            text = f"the result of step {attempt.step!r} was not read: {exc}"
            return Outcome("error", error=ErrorInfo("PayloadRejected", text), run_s=frame.run_s)
        except BaseException as exc:  # noqa: BLE001  a pickled value may run any code of its class, sys.exit included
            text = f"the result of step {attempt.step!r} came back but cannot be read here: {one_line(exc)}"
            return Outcome("error", error=ErrorInfo("UnreadableResult", text), run_s=frame.run_s)
        transfer_s = self._transfer_s(frame, running, arrived)
        nbytes = value.nbytes if type(value) is Large else len(data)
        return Outcome("ok", value, None, frame.run_s, nbytes, transfer_s=transfer_s, age_s=running.age_s)

    def outcomes(self, frame: Ended, run: str, have: "Sequence[Running | None]") -> "list[Outcome | None]":
        """How attempts of a batch ended, in order; None where nobody asks."""
        arrived, key = perf_counter(), worker_key(self._key, frame.worker)
        try:
            ends = ends_of(key, run, frame)
        except PayloadRejected as exc:
            return [Outcome("error", error=ErrorInfo("PayloadRejected", str(exc)))] * frame.count
        over_s = _over_s(ends[-1])
        return [
            None if running is None else self._ended(frame, end, running, arrived, over_s)
            for running, end in zip(have, ends, strict=True)
        ]

    def _ended(self, frame: Ended, end: End, running: Running, arrived: float, over_s: float) -> Outcome:
        attempt = running.attempt
        if (end.task, end.number) != (attempt.task, attempt.number):
            text = f"what came back for step {attempt.step!r} is another attempt's, or was not begun: it was not read"
            return Outcome("error", error=ErrorInfo("PayloadRejected", text))
        running.got, running.held_s = frame.got, frame.held_s + end.waited_s
        running.age_s = over_s - _over_s(end)
        return self._outcome(end, end.codec, end.body, running, arrived)

    def _error_in(self, data: bytes | memoryview) -> ErrorInfo:
        try:
            error = msgspec.msgpack.decode(data, type=ErrorInfo)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:  # a worker that is not ours any more
            return ErrorInfo("PayloadRejected", f"the worker sent an error that cannot be read: {exc}")
        return error if self._distrust is None else self._distrust.error(error)

    def _transfer_s(self, frame: Finished | End, running: Running, arrived: float) -> tuple[float, float]:
        """How long an attempt's way there took, and its result's way back, from durations on each side alone."""
        there_s = running.held_s + frame.decode_s + frame.run_s + frame.encode_s
        way_s = max(0.0, arrived - running.sent - there_s)
        before_s = self._skew.before(running.sent, running.got, way_s)
        send_s = running.sent - running.began + before_s + frame.decode_s
        return send_s, way_s - before_s + frame.encode_s + perf_counter() - arrived

    def asked(self, frame: Paused, running: Running) -> tuple[Any, str]:
        """What an attempt that waits for an answer asks about, and why that cannot be read, if it cannot."""
        if not frame.codec:
            return None, ""
        attempt = running.attempt
        address = Address(attempt.run, attempt.task, attempt.number, "to kernel", frame.about)
        try:
            body = unseal(worker_key(self._key, running.worker), address, frame.sealed)
            return decode(frame.codec, body, safe_only=self._distrust is not None), ""
        except BaseException as exc:  # noqa: BLE001  as in `outcome`; the question can be answered all the same
            return None, f"what step {attempt.step!r} asks about cannot be read here: {one_line(exc)}\n"


def _over_s(end: End) -> float:
    """When an attempt ended, since its batch came to the worker."""
    return end.waited_s + end.decode_s + end.run_s


def core_lost(core: "CoreProcess | ServedCore", how: str, attempt: Attempt, *, delivered: bool) -> Outcome:
    """Core has ended, or cannot be reached any more, with an attempt."""
    text = f"{core} {how} while it had step {attempt.step!r} (attempt {attempt.number}). "
    text += core.next_one if delivered else "No worker had got it."
    return Outcome("lost", error=ErrorInfo("CoreLost", text), delivered=delivered)


def nobody_took_it() -> Outcome:
    """An attempt was taken back before a worker had it."""
    return Outcome("lost", error=ErrorInfo("NoWorker", "no worker took it"), delivered=False)
