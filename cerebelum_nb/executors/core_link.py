"""One live connection to one Core: the stream, its writer and reader, and the attempts in its hands."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import Any

import grpc
import grpc.aio
import msgspec

from cerebelum_nb.attempt import printable
from cerebelum_nb.capture import LOUD_NBYTES, Shipped, Shipper, what_weighs
from cerebelum_nb.codec import Encoded, decode, encode, one_line
from cerebelum_nb.errors import CaptureError, PayloadRejected, WireError
from cerebelum_nb.executors.core_process import CoreProcess, in_thread, place
from cerebelum_nb.executors.skew import Skew
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import Answer, Attempt, Outcome, Signals
from cerebelum_nb.seal import TAG_NBYTES, Address, seal, unseal
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.frames import (
    AnyFrame,
    Cancel,
    Code,
    Finished,
    Forget,
    Joined,
    Left,
    Lost,
    Paused,
    Ping,
    Place,
    Printed,
    Progress,
    Reply,
    Resumed,
    Started,
    Submit,
    Withdraw,
    check_size,
    frames_of,
)

CODES_NBYTES = 64 << 20  # of functions that Core keeps for us; the oldest are forgotten first
CODES_COUNT = 512
REASON_LIMIT = 4_000  # characters of why somebody said no
LOOKS = 5  # so often in a row nothing may be heard of Core before it counts as silent

_OfAttempt = Finished | Started | Printed | Progress | Paused | Resumed | Lost

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


class Link:
    """Sends attempts to Core and hands back what comes. Lives on one loop; ends once and for all.

    Args:
        silent_s: A Core that is not heard of for so long is ended, with its workers.
        died: Called when Core is gone against our wish, before anybody hears of their attempt.
    """

    def __init__(self, process: CoreProcess, silent_s: float, died: Callable[[], object]) -> None:
        self.process = process
        self.alive = True
        self._silent_s, self._died = silent_s, died
        self._closing = self._heard = self._silent = False
        self.workers: dict[int, int] = {}  # slot -> pid
        self._running: dict[int, _Running] = {}
        self._leaving: dict[int, _Running] = {}  # cancelled, and maybe not stopped yet
        self._last_id = 0
        self._skew = Skew()
        self._shipper = Shipper()
        self._codes: dict[str, int] = {}  # what Core has -> its size, least recently used first
        self._place: tuple[list[str], str] = ([], "")
        self._outbox = channel.Outbox()
        self._channel = grpc.aio.insecure_channel(f"unix:{process.socket}", options=channel.OPTIONS)
        open_stream = self._channel.stream_stream(f"/{channel.SERVICE}/{channel.METHOD}")
        self._stream = open_stream(metadata=((channel.TOKEN, process.token),))
        self._task = asyncio.create_task(self._live(), name="cerebelum core link")

    async def run(self, attempt: Attempt, signals: Signals) -> Outcome:
        """Have one attempt run; see `protocols.Executor.run`.

        Raises:
            CaptureError: The step, or what undoes it, closes over something that cannot be sent, or over too much.
            WireError: An argument cannot be sent or is too large.
        """
        if not self.alive:
            return _core_lost(self.process.pid, "ended", attempt, delivered=False)
        began = perf_counter()
        shipped = self._shipper.ship(attempt.function, attempt.step)
        self._check_undo(attempt)
        inputs = [list(attempt.args), dict(attempt.kwargs), dict(attempt.fields), attempt.context_at]
        body = encode(inputs, f"the input of step {attempt.step!r}")
        check_size(f"the input of step {attempt.step!r}", body.nbytes)
        if shipped.nbytes > LOUD_NBYTES:
            text = what_weighs(attempt.function, attempt.step, shipped.nbytes)
            _tell(signals.output, "notice", f"{text}\n")
        self._last_id += 1
        number = self._last_id
        running = _Running(attempt, signals, asyncio.get_running_loop().create_future(), began)
        self._running[number] = running
        self._submit(number, attempt, shipped, body)
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

    # sending -------------------------------------------------------------------------------------------------------

    def _check_undo(self, attempt: Attempt) -> None:
        """What undoes a step must be able to follow it: found only when it is needed, it would be too late."""
        if attempt.undo is None:
            return
        called = f"undo {attempt.step}"
        try:
            self._shipper.ship(attempt.undo, called)
        except CaptureError as exc:
            why = str(exc).removeprefix(f"step {called!r} ").partition(". ")[0].rstrip(".")
            why = why.removesuffix(", which cannot be sent to a worker")
            raise CaptureError(
                f"what undoes step {attempt.step!r} cannot be sent to a worker, so the step did not begin: it {why}. "
                "Define it without that, or run the step locally."
            ) from exc

    def _submit(self, number: int, attempt: Attempt, shipped: Shipped, body: Encoded) -> None:
        if (now := place()) != self._place:  # a cell may have said %cd or sys.path.insert
            self._place = now
            self._outbox.put(Place(tuple(map(os.fsencode, now[0])), os.fsencode(now[1])))
        self._send_code(shipped)
        address = Address(attempt.run, attempt.task, attempt.number, "to worker", f"{shipped.digest} {body.codec}")
        self._outbox.put(
            Submit(
                number,
                attempt.run,
                attempt.task,
                attempt.number,
                attempt.step,
                shipped.digest,
                body.codec,
                seal(self.process.key, address, body.data),
            )
        )

    def _send_code(self, shipped: Shipped) -> None:
        if shipped.digest in self._codes:
            self._codes[shipped.digest] = self._codes.pop(shipped.digest)  # used last, forgotten last
            return
        sealed = seal(self.process.key, Address("", 0, 0, "code", shipped.digest), shipped.payload)
        self._outbox.put(Code(shipped.digest, sealed))
        self._codes[shipped.digest] = shipped.nbytes
        while len(self._codes) > CODES_COUNT or (len(self._codes) > 1 and sum(self._codes.values()) > CODES_NBYTES):
            oldest = next(iter(self._codes))
            del self._codes[oldest]
            self._outbox.put(Forget(oldest))

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
            how = f"did not answer for {self._silent_s:g} s, and was ended,"
        self.process.stop(tuple(self.workers.values()), at_once=self._silent)
        return how

    def _finish_all(self, outcome: Outcome | None, how: str = "") -> None:
        leaving, self._leaving = self._leaving, {}
        for number, running in [*self._running.items(), *leaving.items()]:
            if not running.outcome.done():
                delivered = number <= self.process.handed or running.attempt.once
                lost = outcome or _core_lost(self.process.pid, how, running.attempt, delivered=delivered)
                running.outcome.set_result(lost)

    # receiving -----------------------------------------------------------------------------------------------------

    def _take(self, frame: AnyFrame) -> None:
        if isinstance(frame, Joined):
            self.workers[frame.slot] = frame.pid
        elif isinstance(frame, Left):
            self.workers.pop(frame.slot, None)
        elif not isinstance(frame, Ping):
            # Core sends nothing else
            assert isinstance(frame, _OfAttempt)
            running = self._running.get(frame.id)
            if running is not None and not running.outcome.done():  # else nobody waits for it any more
                self._tell_of(frame, running)
            elif isinstance(frame, Finished | Lost) and (left := self._leaving.pop(frame.id, None)) is not None:
                self._tell_of(frame, left)

    def _tell_of(self, frame: _OfAttempt, running: _Running) -> None:
        match frame:
            case Finished():
                running.outcome.set_result(self._outcome(frame, running))
            case Started():
                running.got, running.held_s = frame.got, frame.held_s
                _tell(running.signals.started, frame.worker)
            case Printed():
                _tell(running.signals.output, frame.stream, frame.text)
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
                asked = decode(frame.codec, unseal(self.process.key, address, frame.sealed))
            except BaseException as exc:  # noqa: BLE001  as in `_outcome`; the question can be answered all the same
                text = f"what step {attempt.step!r} asks about cannot be read here: {one_line(exc)}\n"
                _tell(running.signals.output, "notice", text)
        _tell(running.signals.paused, frame.kind, frame.seconds, frame.text, asked)

    def _outcome(self, frame: Finished, running: _Running) -> Outcome:
        arrived, attempt = perf_counter(), running.attempt
        address = Address(attempt.run, attempt.task, attempt.number, "to kernel", frame.codec)
        try:
            data = unseal(self.process.key, address, frame.sealed)
        except PayloadRejected as exc:
            return Outcome("error", error=ErrorInfo("PayloadRejected", str(exc)))
        if frame.codec == "error":
            error, transfer_s = msgspec.msgpack.decode(data, type=ErrorInfo), self._transfer_s(frame, running, arrived)
            return Outcome("error", error=error, run_s=frame.run_s, transfer_s=transfer_s)
        if frame.codec == "cancelled":
            return Outcome("cancelled", error=ErrorInfo("Cancelled", "the step was stopped"), run_s=frame.run_s)
        try:
            value = decode(frame.codec, data)
        except BaseException as exc:  # noqa: BLE001  a pickled value may run any code of its class, sys.exit included
            text = f"the result of step {attempt.step!r} came back but cannot be read here: {one_line(exc)}"
            return Outcome("error", error=ErrorInfo("UnreadableResult", text), run_s=frame.run_s)
        transfer_s = self._transfer_s(frame, running, arrived)
        return Outcome("ok", value, None, frame.run_s, len(frame.sealed) - TAG_NBYTES, transfer_s=transfer_s)

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


def _core_lost(pid: int, how: str, attempt: Attempt, *, delivered: bool) -> Outcome:
    text = f"Core (pid {pid}) {how} while it had step {attempt.step!r} (attempt {attempt.number}). "
    if delivered:
        text += "A new Core starts with the next attempt."
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
