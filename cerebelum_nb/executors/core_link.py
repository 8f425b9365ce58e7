"""One live connection to one Core: the stream, its writer and reader, and the attempts in its hands."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, cast, get_args

import grpc
import grpc.aio
import msgspec

from cerebelum_nb.attempt import printable
from cerebelum_nb.capture import LOUD_NBYTES, what_weighs
from cerebelum_nb.codec import Large, decode, encode, one_line
from cerebelum_nb.errors import PayloadRejected, WireError
from cerebelum_nb.executors.core_process import CoreProcess, in_thread
from cerebelum_nb.executors.large import LargeValues, Waiting
from cerebelum_nb.executors.sending import Sending, encoded_call
from cerebelum_nb.executors.skew import Skew
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Answer, Attempt, Outcome, Signals
from cerebelum_nb.seal import TAG_NBYTES, Address, seal, unseal, worker_key
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.frames import (
    AnyFrame,
    Cancel,
    Displayed,
    Finished,
    Joined,
    Left,
    Lost,
    Paused,
    Ping,
    Printed,
    Progress,
    Reply,
    Resumed,
    Seats,
    Started,
    Withdraw,
    check_size,
    frames_of,
)
from cerebelum_nb.wire.segments import SHARED

REASON_LIMIT = 4_000  # characters of why somebody said no
LOOKS = 5  # so often in a row nothing may be heard of Core before it counts as silent

_OfAttempt = Finished | Started | Printed | Displayed | Progress | Paused | Resumed | Lost
_OF_ATTEMPT = frozenset(get_args(_OfAttempt))
_ENDS = frozenset({Finished, Lost})

if TYPE_CHECKING:  # most have a Core of their own, and trust its workers
    from cerebelum_nb.executors.core_served import ServedCore
    from cerebelum_nb.executors.distrust import Distrust

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    attempt: Attempt
    signals: Signals
    outcome: "asyncio.Future[Outcome]"
    began: float = 0.0  # when we began to make it ready
    sent: float = 0.0  # when it was
    got: float = 0.0  # when Core had it, by Core's clock
    held_s: float = 0.0  # how long Core kept it until a worker took it
    pause: int = 0  # the number of the pause that it is in; 0 when it works
    worker: str = ""  # who has it
    kept: object = None  # what of its arguments is in shared memory


class Link:
    """Sends attempts to Core and hands back what comes. Lives on one loop; ends once and for all.

    Args:
        silent_s: A Core that is not heard of for so long is ended, with its workers.
        died: Called when Core is gone against our wish, before anybody hears of their attempt.
        distrust: Looks at what workers say, where they are not trusted.
    """

    def __init__(
        self,
        process: "CoreProcess | ServedCore",
        silent_s: float,
        died: Callable[[], object],
        distrust: "Distrust | None" = None,
    ) -> None:
        self.process = process
        self._distrust = distrust
        self.alive = True
        self._silent_s, self._died = silent_s, died
        self._closing = self._heard = self._silent = False
        self.workers: dict[int, int] = {}  # slot -> pid
        self.asked: list[asyncio.Future[Seats]] = []  # by those who want to know who does what
        self._running: dict[int, _Running] = {}
        shares = bool(process.segments) and distrust is None
        self._large = LargeValues(process.segments, process.large_nbytes, self._is_busy) if shares else None
        self._leaving: dict[int, _Running] = {}  # cancelled, and maybe not stopped yet
        self._last_id = 0
        self._skew = Skew()
        self._outbox = channel.Outbox()
        self._sending = Sending(process.key, self._outbox)
        self._outbox.put(*process.opening)
        self._channel = process.channel()
        open_stream = self._channel.stream_stream(f"/{channel.SERVICE}/{channel.METHOD}")
        self._stream = open_stream(metadata=process.metadata)
        self._task = asyncio.create_task(self._live(), name="cerebelum core link")

    async def run(self, attempt: Attempt, signals: Signals) -> Outcome:
        """Have one attempt run; see `protocols.Executor.run`.

        Raises:
            CaptureError: The step, or what undoes it, closes over something that cannot be sent, or over too much.
            WireError: An argument cannot be sent or is too large.
        """
        if not self.alive:
            return _core_lost(self.process, "ended", attempt, delivered=False)
        began = perf_counter()
        shipped = self._sending.ship(attempt)
        if attempt.sends is not None:
            attempt.sends(attempt.task, attempt.number, shipped)
        body, kept = encoded_call(attempt, self._large), None
        if isinstance(body, Waiting):  # what is large is copied where nobody waits for it
            kept = await in_thread(body.ready)
            body = kept.encoded
            if not self.alive:
                return _core_lost(self.process, "ended", attempt, delivered=False)
        if shipped.nbytes > LOUD_NBYTES:
            text = what_weighs(attempt.function, attempt.step, shipped.nbytes)
            _tell(signals.output, "notice", f"{text}\n")
        self._last_id += 1
        number = self._last_id
        running = _Running(attempt, signals, asyncio.get_running_loop().create_future(), began, kept=kept)
        self._running[number] = running
        self._sending.submit(number, attempt, shipped, body)
        running.sent = perf_counter()
        try:
            return await running.outcome
        except asyncio.CancelledError:
            self._outbox.put(Cancel(number))
            if self.alive:
                self._leaving[number] = replace(running, outcome=asyncio.get_running_loop().create_future())
            raise
        finally:
            self._running.pop(number, None)

    def _is_busy(self) -> bool:
        return bool(self._running or self._leaving)

    def tell(self, frame: AnyFrame) -> None:
        """Tell Core something that is about no attempt."""
        self._outbox.put(frame)

    @property
    def sent(self) -> int:
        """How many attempts were sent."""
        return self._last_id

    def at_work(self) -> dict[int, tuple[Attempt, float]]:
        """What it has, by number: the attempt, and for how many seconds a worker may have had it."""
        now = perf_counter()
        return {n: (r.attempt, max(0.0, now - r.sent - r.held_s)) for n, r in self._running.items()}

    async def gone(self, run: str, task: int, number: int) -> Outcome | None:
        """Return when the code of an attempt that was cancelled no longer runs: how it ended, if it has said so."""
        for running in self._leaving.values():
            attempt = running.attempt
            if (attempt.run, attempt.task, attempt.number) == (run, task, number):
                return await running.outcome
        return None

    def withdraw(self, run: str, task: int, number: int) -> None:
        """Take an attempt back if no worker has it yet: its outcome says so then."""
        for sent, running in self._running.items():
            attempt = running.attempt
            if (attempt.run, attempt.task, attempt.number) == (run, task, number):
                self._outbox.put(Withdraw(sent))

    def answer(self, run: str, task: int, number: int, answer: Answer) -> None:
        """Tell a waiting attempt what somebody said; see `protocols.Executor.answer`.

        Raises:
            WireError: The value cannot be sent or is too large.
        """
        for sent, running in self._running.items():
            attempt = running.attempt
            if running.pause and (attempt.run, attempt.task, attempt.number) == (run, task, number):
                what = f"the value for step {attempt.step!r}"
                body = encode(answer.value if answer.approved else None, what)
                check_size(what, body.nbytes)
                reason = printable(answer.reason)[:REASON_LIMIT]
                reply = Reply(sent, running.pause, answer.approved, reason, body.codec, b"")
                address = Address(run, task, number, "to worker", reply.about)
                self._outbox.put(msgspec.structs.replace(reply, sealed=seal(self.process.key, address, body.data)))
                return

    async def close(self, error: ErrorInfo) -> None:
        """End Core; attempts that still run end as cancelled."""
        self._closing = True
        self._finish_all(Outcome("cancelled", error=error))
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    # living --------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Write and read until the stream ends, by our wish or not; then leave nothing running and nobody waiting."""
        pump = asyncio.create_task(self._outbox.pump(self._stream.write), name="cerebelum core writer")
        pump.add_done_callback(lambda _: self._stream.cancel())  # who cannot write must not wait for answers
        watch = asyncio.create_task(self._watch(), name="cerebelum core watch")
        try:
            while (message := await self._stream.read()) is not grpc.aio.EOF:
                self._heard = True
                for frame in frames_of(message):
                    self._take(frame)
        except (grpc.aio.AioRpcError, WireError, asyncio.CancelledError) as exc:
            # `read` raises CancelledError also when the stream, and not we, was cancelled; both mean the end.
            logger.debug("core.stream.ended", extra={"reason": repr(exc)})
        finally:
            self.alive = False
            pump.cancel()
            watch.cancel()
            await asyncio.gather(pump, watch, return_exceptions=True)
            how = await _to_its_end(self._bury)
            if not self._closing:
                self._died()
            self._finish_all(None, how)
            await self._channel.close()

    async def _watch(self) -> None:
        """End the stream when Core does not answer any more: stopped, stuck or cut off.

        Only looks that came in time count: where we were held up ourselves, by a suspended machine or a busy one,
        nothing can be said of Core.
        """
        missed, pause_s = 0, self._silent_s / LOOKS
        while missed < LOOKS:
            self._heard, before = False, monotonic()
            self._outbox.put(Ping())
            await asyncio.sleep(pause_s)
            missed = 0 if self._heard or monotonic() - before > 2 * pause_s else missed + 1
        self._silent = True
        self._stream.cancel()

    def _bury(self) -> str:
        how = "" if self._closing else self.process.how_it_ended(0.0 if self._silent else 0.3)
        if self._silent:
            ours = self.process.pid  # 0: somebody serves it, and it may only be cut off
            done = "and was ended," if ours else "so its connection was given up,"
            how = f"did not answer for {self._silent_s:g} s, {done}"
        if self._large is not None:
            self._large.outlive()
        self.process.stop(tuple(self.workers.values()), at_once=self._silent)
        return how

    def _finish_all(self, outcome: Outcome | None, how: str = "") -> None:
        leaving, self._leaving = self._leaving, {}
        for number, running in [*self._running.items(), *leaving.items()]:
            if not running.outcome.done():
                delivered = self.process.had(number) or running.attempt.once
                lost = outcome or _core_lost(self.process, how, running.attempt, delivered=delivered)
                running.outcome.set_result(lost)

    # receiving -----------------------------------------------------------------------------------------------------

    def _take(self, frame: AnyFrame) -> None:
        kind = type(frame)  # on the way of every attempt: `isinstance` of several takes ten times as long
        if kind is Joined:
            self._worker_ended(frame.slot)  # type: ignore[union-attr]
            self.workers[frame.slot] = frame.pid  # type: ignore[union-attr]
        elif kind is Left:
            self._worker_ended(frame.slot)  # type: ignore[union-attr]
        elif kind in _OF_ATTEMPT:
            frame = cast(_OfAttempt, frame)
            if self._distrust is not None:
                frame = cast(_OfAttempt, self._distrust.seen(frame))
                kind = type(frame)  # an empty one is of attempt 0, which is nobody's
            running = self._running.get(frame.id)
            if running is not None and not running.outcome.done():  # else nobody waits for it any more
                self._tell_of(frame, running)
            elif kind in _ENDS and (left := self._leaving.pop(frame.id, None)) is not None:
                self._tell_of(frame, left)
        elif kind is Seats:
            asked, self.asked = self.asked, []
            for waiting in asked:
                if not waiting.done():
                    waiting.set_result(cast(Seats, frame))

    def _worker_ended(self, slot: int) -> None:
        pid = self.workers.pop(slot, None)
        if pid is not None and self._large is not None:
            self._large.left_by(pid)

    def _tell_of(self, frame: AnyFrame, running: _Running) -> None:
        match frame:
            case Finished():
                running.outcome.set_result(self._outcome(frame, running))
            case Started():
                running.worker, running.got, running.held_s = frame.worker, frame.got, frame.held_s
                _tell(running.signals.started, frame.worker)
            case Printed():
                _tell(running.signals.output, frame.stream, frame.text)
            case Displayed():
                _tell(running.signals.displayed, frame.bundle)
            case Progress():
                _tell(running.signals.progress, frame.done, frame.text)
            case Paused():
                self._paused(frame, running)
            case Resumed():
                running.pause = 0
                _tell(running.signals.resumed)
            case Lost():
                running.outcome.set_result(Outcome("lost", error=frame.error, delivered=frame.begun))

    def _paused(self, frame: Paused, running: _Running) -> None:
        attempt, asked = running.attempt, None
        running.pause = frame.pause
        if frame.codec:
            address = Address(attempt.run, attempt.task, attempt.number, "to kernel", frame.about)
            try:
                body = unseal(worker_key(self.process.key, running.worker), address, frame.sealed)
                asked = decode(frame.codec, body, safe_only=self._distrust is not None)
            except BaseException as exc:  # noqa: BLE001  as in `_outcome`; the question can be answered all the same
                text = f"what step {attempt.step!r} asks about cannot be read here: {one_line(exc)}\n"
                _tell(running.signals.output, "notice", text)
        _tell(running.signals.paused, frame.kind, frame.seconds, frame.text, asked)

    def _outcome(self, frame: Finished, running: _Running) -> Outcome:
        arrived, attempt = perf_counter(), running.attempt
        address = Address(attempt.run, attempt.task, attempt.number, "to kernel", frame.codec)
        try:
            data = unseal(worker_key(self.process.key, running.worker), address, frame.sealed)
        except PayloadRejected as exc:
            return Outcome("error", error=ErrorInfo("PayloadRejected", str(exc)))
        if frame.codec == "error":
            error, transfer_s = self._error_in(data), self._transfer_s(frame, running, arrived)
            return Outcome("error", error=error, run_s=frame.run_s, transfer_s=transfer_s)
        if frame.codec == "cancelled":
            return Outcome("cancelled", error=ErrorInfo("Cancelled", "the step was stopped"), run_s=frame.run_s)
        try:
            if frame.codec == SHARED and self._large is not None:
                value: Any = self._large.received(data)
            else:
                value = decode(frame.codec, data, safe_only=self._distrust is not None)
        except PayloadRejected as exc:
            text = f"the result of step {attempt.step!r} was not read: {exc}"
            return Outcome("error", error=ErrorInfo("PayloadRejected", text), run_s=frame.run_s)
        except BaseException as exc:  # noqa: BLE001  a pickled value may run any code of its class, sys.exit included
            text = f"the result of step {attempt.step!r} came back but cannot be read here: {one_line(exc)}"
            return Outcome("error", error=ErrorInfo("UnreadableResult", text), run_s=frame.run_s)
        transfer_s = self._transfer_s(frame, running, arrived)
        nbytes = value.nbytes if type(value) is Large else len(frame.sealed) - TAG_NBYTES
        return Outcome("ok", value, None, frame.run_s, nbytes, transfer_s=transfer_s)

    def _error_in(self, data: memoryview) -> ErrorInfo:
        try:
            error = msgspec.msgpack.decode(data, type=ErrorInfo)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:  # a worker that is not ours any more
            return ErrorInfo("PayloadRejected", f"the worker sent an error that cannot be read: {exc}")
        return error if self._distrust is None else self._distrust.error(error)

    def _transfer_s(self, frame: Finished, running: _Running, arrived: float) -> tuple[float, float]:
        """How long an attempt's way there took, and its result's way back, from durations on each side alone."""
        there_s = running.held_s + frame.decode_s + frame.run_s + frame.encode_s
        way_s = max(0.0, arrived - running.sent - there_s)
        before_s = self._skew.before(running.sent, running.got, way_s)
        send_s = running.sent - running.began + before_s + frame.decode_s
        return send_s, way_s - before_s + frame.encode_s + perf_counter() - arrived


def _tell(signal: Callable[..., None], *args: Any) -> None:
    try:
        signal(*args)
    except Exception:  # the listener's bug must not cost every other attempt its connection
        logger.exception("signal.failed")


def _core_lost(core: "CoreProcess | ServedCore", how: str, attempt: Attempt, *, delivered: bool) -> Outcome:
    text = f"{core} {how} while it had step {attempt.step!r} (attempt {attempt.number}). "
    if delivered:
        text += core.next_one
    else:
        text += "No worker had got it."
    return Outcome("lost", error=ErrorInfo("CoreLost", text), delivered=delivered)


async def _to_its_end(function: Callable[[], str]) -> str:
    """Run in a thread to the end even if we are cancelled meanwhile: processes must not be left half buried."""
    task = asyncio.ensure_future(in_thread(function))
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
