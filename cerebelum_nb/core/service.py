"""Core's gRPC end: one authenticated stream from the kernel, a queue, and the slots."""

import asyncio
import hmac
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import grpc
import grpc.aio

from cerebelum_nb.core.handing import Handing
from cerebelum_nb.core.held import STOPPED, Held, Settings, worker_lost
from cerebelum_nb.core.queue import KILL_AFTER_S, TERMINATE_AFTER_S
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.spawn import Process
from cerebelum_nb.core.staff import not_started, note
from cerebelum_nb.core.units import Unit
from cerebelum_nb.core.watching import Watching
from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.seal import key_to_workers, worker_key
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.frames import (
    AnyFrame,
    Batch,
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
    Reply,
    Resumed,
    Submit,
    Waits,
    Welcome,
    Withdraw,
    frames_of,
)

CODES_PER_WORKER = 256
AGAIN_S = 0.001  # after so long it is looked at again whether a worker has begun what is to be stopped
READY_DEADLINE_S = 30.0  # a worker that takes longer to start is replaced
RESPAWN_S, RESPAWN_CAP_S = 0.1, 5.0  # the wait after a worker that ended before it was ready doubles
LOG_TAIL = 2_000
SLOW_S = 0.001  # what follows a slower step goes to a worker alone, so that others get their turn
_SAID_BY_WORKERS = frozenset({Finished, Printed, Displayed, Progress, Paused, Resumed, Piece, Waits})


class Service(Handing):
    """Takes frames from the kernel and from workers, and passes them on.

    Args:
        processes: Worker processes that are already starting; one slot each.
    """

    def __init__(self, settings: Settings, processes: list[Process]) -> None:
        super().__init__(settings, len(processes))
        self._place = settings.place
        self._codes: dict[str, Code] = {}
        self._taken = False
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
            case Submit() | Batch():
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

    def _submitted(self, frame: Submit | Batch) -> None:
        if isinstance(frame, Submit):
            self._single(frame)
            return
        try:
            if not self._ahead.pace.suits(frame.count, line=frame.line):  # each goes to who is free first
                for submit in self._units.singles(frame):
                    self._single(submit)
            elif (after := self._before(frame)) is not None:
                codes = [self._codes[digest] for digest in frame.digests]
                self._units.add(Unit(frame, codes, self._loop.time(), frame.count), after)
            else:
                for attempt in range(frame.id, frame.id + frame.count):
                    self._is_dropped(attempt)
        except PayloadRejected as exc:
            for attempt in range(frame.id, frame.id + frame.count):
                self._out.put(Lost(attempt, ErrorInfo("PayloadRejected", str(exc))))

    def _single(self, frame: Submit) -> None:
        after = self._before(frame)
        if after is None:
            self._is_dropped(frame.id)
            return
        self._held[frame.id] = Held(frame, self._codes[frame.digest], self._loop.time(), self._coming.pop(frame.id))
        self._queue.add(frame.id, frame.run, after)

    def _before(self, frame: Submit | Batch) -> int | None:
        """What an attempt or a batch follows in the queue; None where there is no such thing.

        Returns:
            0 where it follows nothing, or something that has ended and whose result is here.
        """
        unit = self._units.of(frame.after)
        if unit is not None:
            return unit.frame.id if frame.after == unit.left[-1] and not unit.was_cut else None
        if not frame.after or frame.after in self._held:
            return frame.after
        value = self._values.over(frame.after)
        if value is None:
            return None
        self._values.put(frame.id, value)
        return 0

    def _reply(self, frame: Reply) -> None:
        slot = self._queue.where(self._units.entry(frame.id))
        if slot is not None:  # else it has ended meanwhile
            self._slots[slot].reply(frame)

    # stopping ------------------------------------------------------------------------------------------------------

    def _cancel(self, frame: Cancel) -> None:
        self._ahead.fetch(frame.id)
        self._out.drop(frame.id)
        unit = self._units.of(frame.id)
        if unit is not None and not self._is_last(unit, frame):
            return
        slot = self._queue.cancel(self._units.entry(frame.id), self._loop.time())
        if slot is None:
            self._was_stopped(frame.id)
            return
        self._slots[slot].stop(frame.id)
        for delay_s in (TERMINATE_AFTER_S, KILL_AFTER_S):
            self._loop.call_later(delay_s + 0.01, self._insist)

    def _is_last(self, unit: Unit, frame: Cancel) -> bool:
        """Whether an attempt that is to be stopped is the last that the worker of its batch has begun.

        Else it has ended there, which will be said; or the worker stood in its gate just now, and is looked at again.
        """
        if self._slots[self._queue.where(unit.frame.id) or 0].unbegun():
            self._loop.call_later(AGAIN_S, self._cancel, frame)
            return False
        if frame.id != unit.left[-1]:
            return False
        unit.stopping = frame.id
        return True

    def _withdraw(self, frame: Withdraw) -> None:
        self._ahead.fetch(frame.id)
        if self._queue.withdraw(frame.id):
            self._let_go(frame.id)
            self._out.put(Lost(frame.id, ErrorInfo("NoWorker", "no worker took it"), begun=False))
            self._units.tell_dropped()

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

    def _worker_died(self, slot: Slot, how: str) -> None:
        self._settings.nursery.forget(slot.pid)
        note(f"worker {slot.number} (pid {slot.pid}) {how.rstrip(',')}")
        self._fetch_ends(slot)
        unit = self._units.front(slot.number)
        lost = self._units.lost(unit, slot.left) if unit is not None else []
        death = self._queue.died(slot.number)
        if unit is None and death.lost is not None:
            lost = [self._held[death.lost].submit]
        for submit in lost:
            wanted = death.wanted if unit is None else submit.id != unit.stopping
            self._let_go(submit.id)
            self._out.drop(submit.id)
            self._out.put(Lost(submit.id, worker_lost(slot, how, submit, closed=death.closed) if wanted else STOPPED))
        self._units.tell_dropped()
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
            for one in self._units.attempts(attempt):
                self._let_go(one)
                self._out.put(Lost(one, error, begun=False))

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
