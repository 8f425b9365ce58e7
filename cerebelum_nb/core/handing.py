"""What Core hands to workers, and what it hears from them."""

import asyncio
import contextlib
import functools
from abc import abstractmethod
from collections.abc import Iterable, Sequence

from cerebelum_nb.core.ahead import Ahead
from cerebelum_nb.core.held import NOTHING_TO_FOLLOW, STOPPED, Coming, Held, Settings
from cerebelum_nb.core.queue import ASIDE_MOST, Queue
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.core.staff import Staff, note
from cerebelum_nb.core.units import Unit, Units
from cerebelum_nb.core.values import Value, Values
from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.seal import worker_key
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.batches import left, without
from cerebelum_nb.wire.frames import (
    GOES_ON,
    STOPS,
    AnyFrame,
    Code,
    Displayed,
    Ended,
    Finished,
    Forget,
    Lost,
    Paused,
    Piece,
    Printed,
    Progress,
    Ready,
    Resumed,
    Started,
    Submit,
    Waits,
)

CODES_PER_WORKER = 1024
SLOW_S = 0.001  # what follows a slower step goes to a worker alone, so that others get their turn
_SAID_BY_WORKERS = frozenset({Finished, Printed, Displayed, Progress, Paused, Resumed, Piece, Waits})


class Handing:
    """Attempts in Core's hands, and the workers that they go to.

    Args:
        count: Slots that there are at first.
    """

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self._queue = Queue(range(1, count + 1))
        self._held: dict[int, Held] = {}
        self._coming = Coming(settings.limit_nbytes)
        self._values = Values()
        self._out = channel.Outbox()
        self._loop = asyncio.get_running_loop()
        self._slots: dict[int, Slot] = {}
        self._units = Units(settings.key, self._queue, self._alone, self._is_dropped, self._values.pop)
        told = self._was_stopped, self._hand_out, self._say, self._stalls
        self._ahead = Ahead(self._queue, self._slots, self._units, *told)
        self._staff = Staff(self._queue, self._units, self._slots, self._out, settings.nursery, self._respawn)

    @abstractmethod
    def _respawn(self, number: int) -> None:
        """Put a new worker into a slot that has none."""

    def _alone(self, submit: Submit, code: Code, got: float) -> None:
        """An attempt of a batch is by itself from now on."""
        self._held[submit.id] = Held(submit, code, got)

    def _say(self, attempt: int | None, text: str) -> None:
        if attempt is None:
            note(text.rstrip())
        else:
            self._out.put(Printed(self._units.running(attempt), "notice", text))

    def _let_go(self, attempt: int) -> None:
        """An attempt is no longer in our hands."""
        self._held.pop(attempt, None)
        self._values.pop(attempt)
        self._coming.pop(attempt)

    def _is_dropped(self, attempt: int) -> None:
        """Nobody will run an attempt, since what it was to follow has given no result."""
        self._let_go(attempt)
        self._out.put(Lost(attempt, NOTHING_TO_FOLLOW, begun=False))

    # to workers ----------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        to: dict[int, list[int]] = {}
        given = self._queue.give()
        for slot, entry in given:  # more may come meanwhile
            if self._queue.is_ready(slot):  # else it gets it when it is: until then it can be taken back
                to.setdefault(slot, []).append(entry)
            elif self._units.break_up(entry):
                given += self._queue.give()
        for slot, attempts in to.items():
            self._send(slot, attempts)
            if self._queue.begins(slot) == attempts[0]:
                self._started(slot)
        for number in self._queue.opened():
            self._respawn(number)
        self._ahead.handed_out(to, len(self._held) + len(self._units))

    def _was_stopped(self, attempt: int) -> None:
        self._let_go(attempt)
        self._out.put(Lost(attempt, STOPPED, begun=False))
        self._units.tell_dropped()

    def _send(self, number: int, entries: Sequence[int]) -> None:
        """Let a worker have them. From here on they may have begun: said first where our death does not hide it."""
        slot, frames = self._slots[number], list[AnyFrame]()
        for entry in entries:
            frames += self._frames_for(slot, entry)
            for attempt in self._units.attempts(entry):
                self._settings.handed.note(attempt)
        slot.give(frames, sum(len(self._units.attempts(entry)) for entry in entries))

    def _started(self, slot: int) -> None:
        attempt = self._queue.begins(slot)
        if attempt is None:
            return
        unit = self._units.get(attempt)
        if unit is None:
            got = self._held[attempt].got
            self._out.hold(Started(attempt, f"worker {slot}", got, self._loop.time() - got))
        elif unit.was_cut:
            self._tell_start(unit, slot)

    def _tell_start(self, unit: Unit, slot: int) -> None:
        """Say that the attempt of a batch which its worker runs has begun: its end will not be there at once."""
        if unit.told != unit.running:
            unit.told = unit.running
            self._out.hold(Started(unit.running, f"worker {slot}", unit.got, unit.held_s))

    def _stalls(self, slot: int) -> None:
        """What a worker runs takes longer than was thought."""
        self._fetch_ends(self._slots[slot])
        unit = self._units.front(slot)
        if unit is not None:
            self._tell_start(unit, slot)
            if len(unit.left) == 1:
                self._queue.is_last(unit.frame.id)

    def _fetch_ends(self, slot: Slot) -> None:
        """Have what a worker keeps: how attempts of its batch have ended, before the one that takes so long."""
        kept = slot.in_gate() if self._units.front(slot.number) is not None else None
        unit = self._units.of(kept.first) if kept is not None else None
        if unit is not None and kept is not None:
            self._from_worker(slot, [left(self._own(slot), unit.frame.run, kept)])

    def _own(self, slot: Slot) -> bytes:
        return worker_key(self._settings.key, f"worker {slot.number}")

    def _frames_for(self, slot: Slot, entry: int) -> Iterable[AnyFrame]:
        value, unit = self._values.of(entry), self._units.get(entry)
        if value is not None:  # else the worker has what comes before it
            yield value.sent_to(f"worker {slot.number}", self._settings.key)
        if unit is not None:
            unit.held_s = self._loop.time() - unit.got
            for code in unit.codes:
                yield from self._code_for(slot, code)
            yield unit.frame
            return
        held = self._held[entry]
        yield from self._code_for(slot, held.code)
        yield from held.pieces
        yield held.submit

    def _code_for(self, slot: Slot, code: Code) -> Iterable[AnyFrame]:
        has = slot.codes
        if code.digest not in has:
            has[code.digest] = None
            yield code
            if len(has) > CODES_PER_WORKER:
                oldest = next(iter(has))
                del has[oldest]
                yield Forget(oldest)

    # from workers --------------------------------------------------------------------------------------------------

    def _from_worker(self, slot: Slot, frames: list[AnyFrame]) -> None:
        if self._slots.get(slot.number) is not slot:
            return  # it is to end, and has nothing to say any more
        if slot.ended:
            self._queue.silence(slot.number, silent=True)  # it gets nothing more
        ended = moved = False
        for frame in frames:
            kind = type(frame)
            if kind is Ended:
                ended |= self._batch_ended(slot, frame)  # type: ignore[arg-type]
            elif kind is Ready:
                self._is_ready(slot)
                moved = True  # it may have room, where what it was to get has been taken back
            elif kind in _SAID_BY_WORKERS:
                unit = self._units.of(frame.id)  # type: ignore[union-attr]
                if not self._is_at(slot, frame, unit):  # type: ignore[arg-type]
                    continue
                if kind is Finished:
                    self._finished(slot, frame, unit)  # type: ignore[arg-type]
                    ended = True
                else:
                    moved |= self._said(frame)  # type: ignore[arg-type]
        if ended or moved:
            self._queue.window = self._ahead.pace.window
            self._staff.let_go()
            self._hand_out()

    def _is_at(self, slot: Slot, frame: Finished | Printed, unit: Unit | None) -> bool:
        """Whether an attempt is with a worker that speaks of it: not another one's, nor one that has ended."""
        if unit is None:
            return self._queue.where(frame.id) == slot.number
        if self._queue.where(unit.frame.id) != slot.number or frame.id != unit.running:
            return False
        self._tell_start(unit, slot.number)
        return True

    def _finished(self, slot: Slot, frame: Finished, unit: Unit | None) -> None:
        """An attempt has ended."""
        slow = frame.run_s > SLOW_S
        if frame.then != STOPS and (unit is None or frame.id == unit.left[-1]):  # something may follow it
            attempt = functools.partial(self._units.submit, unit, frame.id) if unit else self._held[frame.id].get
            follower = self._queue.follower(self._units.entry(frame.id))
            self._values.ended(Value(frame, f"worker {slot.number}", attempt), follower)
        if unit is not None:
            self._units.ended(unit, 1, frame.then, slow=slow)
        else:
            self._queue.finish(frame.id, frame.then, slow=slow)
            self._let_go(frame.id)
        self._ahead.ended(frame)
        (self._out.behind if self._out.slow else self._out.put)(frame)
        self._units.tell_dropped()
        self._started(slot.number)

    def _batch_ended(self, slot: Slot, frame: Ended) -> bool:
        """Attempts of a batch have ended; whether they were ours."""
        unit = self._units.of(frame.id + frame.count - 1)
        if unit is None or self._queue.where(unit.frame.id) != slot.number:
            return False
        known = unit.running - frame.id  # it may have been had from its worker's gate
        if not 0 <= known < frame.count <= known + len(unit.left):
            return False
        if known:
            with contextlib.suppress(PayloadRejected):  # the kernel refuses it, too
                frame = without(self._own(slot), unit.frame.run, frame, known)
        who = f"worker {slot.number}"
        self._out.put(Ended(frame.id, frame.count, frame.sealed, frame.busy_s, who, unit.got, unit.held_s))
        if frame.busy_s:  # what was had from a gate says nothing of that
            self._ahead.pace.took(frame.busy_s / frame.count, frame.count)
        self._units.ended(unit, frame.count, GOES_ON)
        self._units.tell_dropped()
        self._started(slot.number)
        return True

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
            self._queue.resumed(self._units.entry(frame.id))
            return
        entry = self._units.entry(frame.id)
        slot = self._queue.where(entry)
        if slot is not None and self._queue.slots[slot].load > 1:
            self._ahead.take_back(slot)
        if not self._queue.paused(entry):
            text = f"{ASIDE_MOST} steps are paused on workers already: this one keeps its worker's place meanwhile\n"
            self._out.put(Printed(frame.id, "notice", text))
