"""One live connection to one Core: the stream, its writer and reader, and the attempts in its hands."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, cast, get_args

import grpc
import grpc.aio
import msgspec

from cerebelum_nb.capture import LOUD_NBYTES, Shipped, what_weighs
from cerebelum_nb.codec import Encoded
from cerebelum_nb.errors import CaptureError, WireError
from cerebelum_nb.executors.core_process import CoreProcess, to_its_end
from cerebelum_nb.executors.hands import at_work, ended, found
from cerebelum_nb.executors.large import Waiting
from cerebelum_nb.executors.reading import Reading, Running, TakeBack, Told, core_lost, nobody_took_it
from cerebelum_nb.executors.room import Room, tell
from cerebelum_nb.executors.sending import Sending, encoded_call, is_light
from cerebelum_nb.executors.stored import large_values
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.protocols import NOTHING_SENT, Answer, Attempt, Listener, Outcome, Sent, Signals
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.frames import (
    AnyFrame,
    Cancel,
    Displayed,
    Ended,
    Finished,
    Joined,
    Left,
    Lost,
    Paused,
    Piece,
    Ping,
    Printed,
    Progress,
    Resumed,
    Seats,
    Started,
    Waits,
    Withdraw,
    frames_of,
)
from cerebelum_nb.wire.pieces import is_long

LOOKS = 5  # so often in a row nothing may be heard of Core before it counts as silent

_OfAttempt = Finished | Started | Printed | Displayed | Progress | Paused | Resumed | Lost | Piece | Waits
_OF_ATTEMPT = frozenset(get_args(_OfAttempt))
_ENDS = frozenset({Finished, Lost})

if TYPE_CHECKING:  # most have a Core of their own, and trust its workers
    from cerebelum_nb.executors.core_served import ServedCore
    from cerebelum_nb.executors.distrust import Distrust

logger = logging.getLogger(__name__)


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
        self._silence = f"did not answer for {silent_s:g} s"
        self._closing = self._heard = self._silent = False
        self.workers: dict[int, int] = {}  # slot -> pid
        self.asked: list[asyncio.Future[Seats]] = []  # by those who want to know who does what
        self._running: dict[int, Running] = {}
        self.large = large_values(process, self._is_busy) if distrust is None else None
        self._room = Room(self.large, self._stop)
        self._leaving: dict[int, Running] = {}  # cancelled, and maybe not stopped yet
        self._last_id = 0
        self._reading = Reading(process.key, self.large, distrust, process.limit_nbytes)
        self._outbox = channel.Outbox()
        joins = distrust is None and process.pid > 0  # Core has workers of its own
        self._sending = Sending(process.key, self._outbox, self.large, joins=joins)
        self._outbox.put(*process.opening)
        self._channel = process.channel()
        open_stream = self._channel.stream_stream(f"/{channel.SERVICE}/{channel.METHOD}")
        self._stream = open_stream(metadata=process.metadata)
        self._again: Callable[[], bool] = getattr(self._stream, "again", bool)  # one to a served Core outlives silence
        self._task = asyncio.create_task(self._live(), name="cerebelum core link")

    async def run(self, attempt: Attempt, signals: Signals) -> Outcome:
        """Have one attempt run; see `protocols.Executor.run`.

        Raises:
            CaptureError: The step, or what undoes it, closes over something that cannot be sent, or over too much.
            WireError: An argument cannot be sent or is too large.
        """
        if not self.alive:
            return core_lost(self.process, "ended", attempt, delivered=False)
        began = perf_counter()
        shipped = self._sending.ship(attempt)
        if attempt.sends is not None:
            attempt.sends(attempt.task, attempt.number, shipped)
        body, kept = encoded_call(attempt, self.large, self.process.limit_nbytes), None
        if isinstance(body, Waiting):  # what is large is copied where nobody waits for it
            kept = await self._room.ready(body, signals)
            body = kept.encoded
            if not self.alive:
                return core_lost(self.process, "ended", attempt, delivered=False)
        if shipped.nbytes > LOUD_NBYTES:
            text = what_weighs(attempt.function, attempt.step, shipped.nbytes)
            tell(signals.output, "notice", f"{text}\n")
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        running = Running(attempt, signals, outcome, began, kept=kept)
        number = self._send(running, shipped, body)
        try:
            return await outcome
        except asyncio.CancelledError:
            self._stop(number, running)
            raise
        finally:
            self._running.pop(number, None)

    def _stop(self, number: int, running: Running) -> "asyncio.Future[Outcome]":
        """Stop what was sent; what is returned is done when its code does not run."""
        self._sending.close()
        self._outbox.drop(number)
        self._outbox.put(Cancel(number))
        left: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self.alive:
            self._leaving[number] = msgspec.structs.replace(running, outcome=left)
        return left

    def _is_busy(self) -> bool:
        return bool(self._running or self._leaving)

    def notice(self, text: str) -> None:
        """Tell all attempts that are there."""
        for running in self._running.values():
            tell(running.signals.output, "notice", text)

    def tell(self, frame: AnyFrame) -> None:
        """Tell Core something that is about no attempt."""
        self._outbox.put(frame)

    @property
    def sent(self) -> int:
        """How many attempts were sent."""
        return self._last_id

    def at_work(self) -> dict[int, tuple[Attempt, float]]:
        """What it has, by number: the attempt, and for how many seconds a worker may have had it."""
        return at_work(self._running)

    def follow(self, attempts: Sequence[Attempt], heard: Sequence[Listener], then: Callable[[], object]) -> Sent:
        """Send attempts before what they follow has ended: the same as `launch`, for all of them."""
        before, first, sent = self._sending.number_of(attempts[0]), self._last_id + 1, 0
        if not before or not self.alive or self._distrust is not None:
            return NOTHING_SENT
        try:
            for attempt, one in zip(attempts, heard, strict=True):
                before = self._at_once(attempt, one, one, before)
                if not before:
                    break
                sent += 1
        except (CaptureError, WireError) as exc:  # `run` will say so, when its turn comes
            logger.debug("follower.not.sent", extra={"reason": repr(exc)})
        self._outbox.then(then)
        return sent, first, self._take_back

    def launch(self, attempt: Attempt, signals: Signals, ended: Callable[[Outcome], None]) -> TakeBack | None:
        """Send an attempt that nobody awaits: somebody is told how it has ended, on the loop.

        Returns:
            What stops it; None where it cannot be sent now, and `run` is to do it.

        Raises:
            CaptureError: As `run` does.
            WireError: As `run` does.
        """
        number = self._at_once(attempt, signals, Told(ended)) if self.alive and is_light(attempt) else 0
        return functools.partial(self._take_back, number) if number else None

    def _at_once(self, attempt: Attempt, signals: Signals, outcome: Told | Listener, before: int = 0) -> int:
        """Send an attempt for which nobody has to wait: its number; 0 for one that needs more."""
        began = perf_counter()
        shipped = self._sending.ship(attempt)
        body = encoded_call(attempt, self.large, self.process.limit_nbytes)
        if isinstance(body, Waiting) or is_long(body) or shipped.nbytes > LOUD_NBYTES:
            return 0
        if attempt.sends is not None:
            attempt.sends(attempt.task, attempt.number, shipped)
        return self._send(Running(attempt, signals, outcome, began, unasked=True), shipped, body, before)

    def _take_back(self, number: int) -> "asyncio.Future[Outcome] | None":
        running = self._running.pop(number, None)
        return self._stop(number, running) if running is not None and self.alive else None

    def _send(self, running: Running, shipped: Shipped, body: Encoded, before: int = 0) -> int:
        self._last_id += 1
        number = self._last_id
        self._running[number] = running
        send = self._sending.join if running.unasked else self._sending.submit
        send(number, running.attempt, shipped, body, before)
        running.sent = perf_counter()
        return number

    def left(self, run: str, task: int, number: int) -> "asyncio.Future[Outcome | None] | None":
        """Of an attempt that was cancelled and may not have stopped: how it ends."""
        left = found(self._leaving, run, task, number)
        return cast("asyncio.Future[Outcome | None]", left[1].outcome) if left is not None else None

    def withdraw(self, run: str, task: int, number: int) -> None:
        """Take an attempt back if no worker has it yet: its outcome says so then."""
        if (its := found(self._running, run, task, number)) is None:
            return
        sent, running = its
        self._sending.close()
        dropped = self._outbox.drop(sent)  # nobody has got all of it
        self._outbox.put(Cancel(sent) if dropped else Withdraw(sent))
        if dropped and not running.outcome.done():
            running.outcome.set_result(nobody_took_it())

    def answer(self, run: str, task: int, number: int, answer: Answer) -> None:
        """Tell a waiting attempt what somebody said; see `protocols.Executor.answer`.

        Raises:
            WireError: The value cannot be sent or is too large.
        """
        its = found(self._running, run, task, number)
        if its is not None and its[1].pause:
            self._sending.reply(its[0], its[1].pause, its[1].attempt, answer)

    async def close(self, error: ErrorInfo, *, at_once: bool = False) -> None:
        """End Core, `at_once` where it is known not to answer; attempts that still run end as cancelled."""
        self._closing, self._silent = True, self._silent or at_once
        self._finish_all(Outcome("cancelled", error=error))
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def give_up(self) -> None:
        """End Core, which does not answer, because somebody wants it: it counts for no death of its own."""
        self._silent, self._died, self._silence = True, bool, "did not answer"
        self._stream.cancel()
        await asyncio.wait([self._task])

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
            how = await to_its_end(self._bury)
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
        while missed < LOOKS or self._again():
            self._heard, before = False, monotonic()
            self._outbox.put(Ping())
            await asyncio.sleep(pause_s)
            missed = 0 if self._heard else missed + (monotonic() - before <= 2 * pause_s)
        self._silent = True
        self._stream.cancel()

    def _bury(self) -> str:
        how = "" if self._closing else self.process.how_it_ended(0.0 if self._silent else 0.3)
        if self._silent:  # one that somebody serves has no pid, and may only be cut off
            how = f"{self._silence}, {'and was ended' if self.process.pid else 'so its connection was given up'},"
        if self.large is not None:
            self.large.outlive()
        self.process.stop(tuple(self.workers.values()), at_once=self._silent)
        return how

    def _finish_all(self, outcome: Outcome | None, how: str = "") -> None:
        leaving, self._leaving = self._leaving, {}
        for number, running in [*self._running.items(), *leaving.items()]:
            if not running.outcome.done():
                sent = number not in self._outbox.slow  # all of it
                delivered = (sent and self.process.had(number)) or running.attempt.once
                lost = outcome or core_lost(self.process, how, running.attempt, delivered=delivered)
                running.outcome.set_result(lost)
                self._passed(number, running)

    # receiving -----------------------------------------------------------------------------------------------------

    def _take(self, frame: AnyFrame) -> None:
        kind = type(frame)  # on the way of every attempt: `isinstance` of several takes ten times as long
        if kind is Joined or kind is Left:
            self._changed(frame)  # type: ignore[arg-type]
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
        elif kind is Ended:
            self._ended(cast(Ended, frame))
        elif kind is Seats:
            asked, self.asked = self.asked, []
            for waiting in asked:
                if not waiting.done():
                    waiting.set_result(cast(Seats, frame))

    def _ended(self, frame: Ended) -> None:
        """Attempts of a batch have ended."""
        for number, running, outcome in ended(frame, self._reading, self._running, self._leaving):
            if not running.worker:
                running.worker, signals = frame.worker, running.signals
                tell(signals.ran if signals is running.outcome else signals.started, frame.worker)
            running.outcome.set_result(outcome)
            self._leaving.pop(number, None)
            self._passed(number, running)

    def _changed(self, frame: Joined | Left) -> None:
        if (pid := self.workers.pop(frame.slot, None)) is not None and self.large is not None:
            self.large.left_by(pid)
        if isinstance(frame, Joined):
            self.workers[frame.slot] = frame.pid
        self._sending.crew = len(self.workers)

    def _tell_of(self, frame: AnyFrame, running: Running) -> None:
        match frame:
            case Finished():
                running.outcome.set_result(self._reading.outcome(frame, running))
                self._passed(frame.id, running)
            case Started():
                running.worker, running.got, running.held_s = frame.worker, frame.got, frame.held_s
                tell(running.signals.started, frame.worker)
            case Printed():
                tell(running.signals.output, frame.stream, frame.text)
            case Displayed():
                tell(running.signals.displayed, frame.bundle)
            case Progress():
                tell(running.signals.progress, frame.done, frame.text)
            case Paused() | Waits():
                self._waits(frame, running)
            case Resumed():
                running.pause = 0
                tell(running.signals.resumed)
            case Lost():
                running.outcome.set_result(Outcome("lost", error=frame.error, delivered=frame.begun))
                self._passed(frame.id, running)
            case Piece():
                self._reading.piece(frame, running)

    def _passed(self, number: int, running: Running) -> None:
        if running.unasked:  # else who waits for it does that
            self._running.pop(number, None)

    def _waits(self, frame: Paused | Waits, running: Running) -> None:
        if isinstance(frame, Waits):
            self._room.heard(frame, running)
            return
        (asked, unread), running.pause = self._reading.asked(frame, running), frame.pause
        if unread:
            tell(running.signals.output, "notice", unread)
        tell(running.signals.paused, frame.kind, frame.seconds, frame.text, asked)
