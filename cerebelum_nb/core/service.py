"""Core's gRPC end: one authenticated stream from the kernel, a queue, and the slots."""

import asyncio
import hmac
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import grpc
import grpc.aio

from cerebelum_nb.core.ahead import Ahead
from cerebelum_nb.core.held import NOTHING_TO_FOLLOW, STOPPED, Coming, Held, Settings, worker_lost
from cerebelum_nb.core.queue import ASIDE_MOST, KILL_AFTER_S, TERMINATE_AFTER_S, Queue
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.spawn import Process
from cerebelum_nb.core.staff import Staff, not_started, note
from cerebelum_nb.core.values import Value, Values
from cerebelum_nb.core.watching import Watching
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.seal import key_to_workers, worker_key
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.frames import (
    STOPS,
    AnyFrame,
    Cancel,
    Code,
    Displayed,
    Finished,
    Forget,
    Joined,
    Left,
    Lost,
    Paused,
    Piece,
    Place,
    Printed,
    Progress,
    Ready,
    Reply,
    Resumed,
    Started,
    Submit,
    Waits,
    Welcome,
    Withdraw,
    frames_of,
)

CODES_PER_WORKER = 256
READY_DEADLINE_S = 30.0  # a worker that takes longer to start is replaced
RESPAWN_S, RESPAWN_CAP_S = 0.1, 5.0  # the wait after a worker that ended before it was ready doubles
LOG_TAIL = 2_000
SLOW_S = 0.001  # what follows a slower step goes to a worker alone, so that others get their turn
_SAID_BY_WORKERS = frozenset({Finished, Printed, Displayed, Progress, Paused, Resumed, Piece, Waits})


class Service:
    """Takes frames from the kernel and from workers, and passes them on.

    Args:
        processes: Worker processes that are already starting; one slot each.
    """

    def __init__(self, settings: Settings, processes: list[Process]) -> None:
        self._settings = settings
        self._place = settings.place
        self._queue = Queue(range(1, len(processes) + 1))
        self._codes: dict[str, Code] = {}
        self._held: dict[int, Held] = {}
        self._coming = Coming(settings.limit_nbytes)
        self._values = Values()
        self._out = channel.Outbox()
        self._taken = False
        self._loop = asyncio.get_running_loop()
        self._slots: dict[int, Slot] = {}
        self._ahead = Ahead(self._queue, self._slots, self._was_stopped, self._hand_out, self._say)
        self._staff = Staff(self._queue, self._slots, self._out, settings.nursery, self._respawn)
        self.stream_ended = asyncio.Event()
        self._watching = Watching(self._started_workers, self._queue.begins, self._say, settings.silent_s)
        for number, process in enumerate(processes, start=1):
            self._welcome(number, process)

    # the kernel's stream -------------------------------------------------------------------------------------------

    async def dispatch(self, _requests: Any, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        """Serve the kernel until it leaves. The token is looked at before anything else."""
        given = dict(context.invocation_metadata() or ()).get(channel.TOKEN, "")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), self._settings.token.encode()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong or missing token")
        if self._taken:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "this Core has its kernel already")
        self._taken = True
        pump = asyncio.create_task(self._out.pump(context.write))
        pump.add_done_callback(lambda _: self.stream_ended.set())  # who cannot write is of no use
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                for frame in frames_of(message):
                    self._from_kernel(frame)
                self._hand_out()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            self.stream_ended.set()

    def _from_kernel(self, frame: AnyFrame) -> None:
        match frame:
            case Submit():
                self._submitted(frame)
            case Cancel():
                self._cancel(frame)
            case Reply():
                self._reply(frame)
            case Withdraw():
                self._withdraw(frame)
            case Code():
                self._codes[frame.digest] = frame
            case Forget():
                self._codes.pop(frame.digest, None)
            case Place():
                self._place = frame
                for slot in self._slots.values():
                    slot.send([frame])
            case Piece():
                self._coming.take(frame)
            case _:
                self._staff.obey(frame)

    def _submitted(self, frame: Submit) -> None:
        before = frame.after
        if before and before not in self._held:
            value = self._values.over(before)
            if value is None:
                self._out.put(Lost(frame.id, NOTHING_TO_FOLLOW, begun=False))
                return
            self._values.put(frame.id, value)
            before = 0
        self._held[frame.id] = Held(frame, self._codes[frame.digest], self._loop.time(), self._coming.pop(frame.id))
        self._queue.add(frame.id, frame.run, before)

    def _reply(self, frame: Reply) -> None:
        slot = self._queue.where(frame.id)
        if slot is not None:  # else it has ended meanwhile
            self._slots[slot].reply(frame)

    # stopping ------------------------------------------------------------------------------------------------------

    def _cancel(self, frame: Cancel) -> None:
        self._ahead.fetch(frame.id)
        self._out.drop(frame.id)
        slot = self._queue.cancel(frame.id, self._loop.time())
        if slot is None:
            self._was_stopped(frame.id)
            return
        self._slots[slot].stop(frame.id)
        for delay_s in (TERMINATE_AFTER_S, KILL_AFTER_S):
            self._loop.call_later(delay_s + 0.01, self._insist)

    def _withdraw(self, frame: Withdraw) -> None:
        self._ahead.fetch(frame.id)
        if self._queue.withdraw(frame.id):
            self._let_go(frame.id)
            self._out.put(Lost(frame.id, ErrorInfo("NoWorker", "no worker took it"), begun=False))
            self._say_dropped()

    def _let_go(self, attempt: int) -> None:
        """An attempt is no longer in our hands."""
        self._held.pop(attempt, None)
        self._values.pop(attempt)
        self._coming.pop(attempt)

    def _say_dropped(self) -> None:
        """What followed an attempt that gave no result is not run; the kernel sends it again if it is to be."""
        for attempt in self._queue.take_dropped():
            self._let_go(attempt)
            self._out.put(Lost(attempt, NOTHING_TO_FOLLOW, begun=False))

    def _insist(self) -> None:
        for number, step in self._queue.overdue(self._loop.time()):
            self._slots[number].signal(signal.SIGTERM if step == "terminate" else signal.SIGKILL)

    # workers -------------------------------------------------------------------------------------------------------

    def _welcome(self, number: int, process: Process) -> None:
        self._enter(Slot(number, process, self._from_worker, self._worker_died))

    def _enter(self, slot: Slot) -> None:
        """A worker begins in its slot."""
        self._slots[slot.number] = slot
        if not slot.takes_back:
            self._queue.one_by_one(slot.number)
        name = f"worker {slot.number}"
        said, key = self._settings, self._settings.key
        slot.send([Welcome(key_to_workers(key), self._place, worker_key(key, name), said.limit_nbytes, said.silent_s)])
        self._out.put(Joined(slot.number, slot.pid))
        self._loop.call_later(READY_DEADLINE_S, self._must_be_ready, slot)

    def _must_be_ready(self, slot: Slot) -> None:
        if self._slots.get(slot.number) is slot and self._queue.is_starting(slot.number):
            slot.signal(signal.SIGKILL)  # stopped or stuck; `_worker_died` goes on from there

    def _started_workers(self) -> list[Slot]:
        return [slot for number, slot in self._slots.items() if self._queue.is_ready(number)]

    def _say(self, attempt: int | None, text: str) -> None:
        if attempt is None:
            note(text.rstrip())
        else:
            self._out.put(Printed(attempt, "notice", text))

    def _hand_out(self) -> None:
        to: dict[int, list[int]] = {}
        for slot, attempt in self._queue.give():
            if self._queue.is_ready(slot):  # else it gets it when it is: until then it can be taken back
                to.setdefault(slot, []).append(attempt)
        for slot, attempts in to.items():
            self._send(slot, attempts)
            if self._queue.begins(slot) == attempts[0]:
                self._started(slot)
        for number in self._queue.opened():
            self._respawn(number)
        self._ahead.handed_out(to, len(self._held))

    def _was_stopped(self, attempt: int) -> None:
        self._let_go(attempt)
        self._out.put(Lost(attempt, STOPPED, begun=False))
        self._say_dropped()

    def _send(self, number: int, attempts: Sequence[int]) -> None:
        """Let a worker have attempts. From here on they may have begun: said first where our death does not hide it."""
        slot, frames, handed = self._slots[number], list[AnyFrame](), self._settings.handed
        for attempt in attempts:
            handed.note(attempt)
            frames += self._frames_for(slot, attempt)
        slot.give(frames, len(attempts))

    def _started(self, slot: int) -> None:
        attempt = self._queue.begins(slot)
        if attempt is not None:
            got = self._held[attempt].got
            self._out.hold(Started(attempt, f"worker {slot}", got, self._loop.time() - got))

    def _frames_for(self, slot: Slot, attempt: int) -> Iterable[AnyFrame]:
        held, has = self._held[attempt], slot.codes
        value = self._values.of(attempt)
        if value is not None:  # else the worker has what comes before it
            yield value.sent_to(f"worker {slot.number}", self._settings.key)
        if held.code.digest not in has:
            has[held.code.digest] = None
            yield held.code
            if len(has) > CODES_PER_WORKER:
                oldest = next(iter(has))
                del has[oldest]
                yield Forget(oldest)
        yield from held.pieces
        yield held.submit

    def _from_worker(self, slot: Slot, frames: list[AnyFrame]) -> None:
        if self._slots.get(slot.number) is not slot:
            return  # it is to end, and has nothing to say any more
        ended = moved = False
        for frame in frames:
            if isinstance(frame, Ready):
                self._is_ready(slot)
                moved = True  # it may have room, where what it was to get has been taken back
                continue
            if type(frame) not in _SAID_BY_WORKERS or self._queue.where(frame.id) != slot.number:  # type: ignore[union-attr]
                continue  # of another worker's attempt, of one that has ended, or not a worker's to say
            if isinstance(frame, Finished):
                follower = self._queue.follower(frame.id)
                if not self._queue.finish(frame.id, frame.then, slow=frame.run_s > SLOW_S):
                    continue
                if frame.then != STOPS:
                    submit = self._held[frame.id].submit
                    self._values.ended(Value(frame, submit, f"worker {slot.number}"), follower)
                self._let_go(frame.id)
                self._ahead.ended(frame)
                (self._out.behind if self._out.slow else self._out.put)(frame)
                self._say_dropped()
                self._started(slot.number)
                ended = True
                continue
            moved |= self._said(frame)  # type: ignore[arg-type]  # of those that have an id
        if ended or moved:
            self._queue.window = self._ahead.pace.window
            self._staff.let_go()
            self._hand_out()

    def _said(self, frame: Printed | Displayed | Progress | Piece | Paused | Resumed) -> bool:
        """What a step says; whether somebody may have to move."""
        if isinstance(frame, Piece):
            self._out.slowly(frame.id, (frame,))
            return False
        self._out.put(frame)
        if not isinstance(frame, Paused | Resumed):
            return False
        self._step_aside(frame)
        return True

    def _is_ready(self, slot: Slot) -> None:
        self._queue.ready(slot.number)
        note(f"worker {slot.number} (pid {slot.pid}) is ready")
        if held := self._queue.held(slot.number):
            self._send(slot.number, held)
        self._started(slot.number)

    def _step_aside(self, frame: Paused | Resumed) -> None:
        if isinstance(frame, Resumed):
            self._queue.resumed(frame.id)
            return
        slot = self._queue.where(frame.id)
        if slot is not None and len(self._queue.held(slot)) > 1:
            self._ahead.take_back(slot)
        if not self._queue.paused(frame.id):
            text = f"{ASIDE_MOST} steps are paused on workers already: this one keeps its worker's place meanwhile\n"
            self._out.put(Printed(frame.id, "notice", text))

    def _worker_died(self, slot: Slot, how: str) -> None:
        self._settings.nursery.forget(slot.pid)
        note(f"worker {slot.number} (pid {slot.pid}) {how.rstrip(',')}")
        death = self._queue.died(slot.number)
        if death.lost is not None:
            held = self._held.pop(death.lost)
            self._values.pop(death.lost)
            self._out.drop(death.lost)
            error = worker_lost(slot, how, held.submit, closed=death.closed) if death.wanted else STOPPED
            self._out.put(Lost(death.lost, error))
        self._say_dropped()
        if death.closed:
            self._slots.pop(slot.number, None)
            self._out.put(Left(slot.number))
            return
        if death.broken:
            self._give_up(slot, how)
        stillborn = self._queue.stillborn(slot.number)
        if not stillborn:
            self._respawn(slot.number)
        else:
            self._loop.call_later(min(RESPAWN_S * 2**stillborn, RESPAWN_CAP_S), self._respawn, slot.number)

    def _respawn(self, number: int) -> None:
        """Put a new worker into a slot that has none."""
        if not self._queue.is_vacant(number):
            return  # it was taken away meanwhile
        try:
            process = self._settings.nursery.spawn()
        except OSError as exc:  # no more processes or memory: it may get better
            not_started(number, exc, RESPAWN_CAP_S)
            self._loop.call_later(RESPAWN_CAP_S, self._respawn, number)
            return
        self._queue.joined(number)
        self._welcome(number, process)
        self._hand_out()

    def _give_up(self, slot: Slot, how: str) -> None:
        text = (
            f"workers do not start: the last one (pid {slot.pid}) {how} before it was ready. "
            f"Their last words are in the traceback. The step can run locally meanwhile."
        )
        error = ErrorInfo("WorkersDoNotStart", text, self._log_tail())
        for attempt in self._queue.give_up_pending():
            self._let_go(attempt)
            self._out.put(Lost(attempt, error, begun=False))

    def _log_tail(self) -> str:
        try:
            return self._settings.log.read_text("utf-8", "replace")[-LOG_TAIL:]
        except OSError:
            return ""


async def serve(
    settings: Settings,
    processes: list[Process],
    socket_path: Path,
    ready: Callable[[], None],
    end: Callable[[], NoReturn],
) -> None:
    """Serve one kernel until its stream ends.

    Args:
        ready: Called when the socket takes connections.
        end: Called at the end.
    """
    service = Service(settings, processes)
    server = grpc.aio.server(options=channel.OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(service.dispatch)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(channel.SERVICE, {channel.METHOD: handler}),))
    server.add_insecure_port(f"unix:{socket_path}")
    await server.start()
    ready()
    await service.stream_ended.wait()
    end()
