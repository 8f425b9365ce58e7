"""Several kernels on one Core: a `Service` for each, which take workers from the same hosts in fair shares.

A worker process serves one kernel in its life: kernels have keys, folders and modules of their own. So a share that
goes to another kernel is a worker that ends after its attempt, and a new one there.
"""

import asyncio
import shlex
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, Protocol

from cerebelum_nb.core.agents import RemoteSlot
from cerebelum_nb.core.held import Settings
from cerebelum_nb.core.pace import Pace
from cerebelum_nb.core.service import RESPAWN_CAP_S, Service
from cerebelum_nb.core.slots import OnDeath, OnFrames, Slot
from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.core.staff import not_started, seats
from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.credentials import SCHEME
from cerebelum_nb.wire.frames import AnyFrame, Batch, Drain, Joined, Left, Look, Printed, Resize, Seats, Submit

TURN_S: Final = 1.0  # where kernels are more than workers, each has one for so long at least
_SOON_S: Final = 0.02


class Host(Protocol):
    """Where workers can be started.

    Attributes:
        slots: As many count at once.
        pool: Whose steps its workers run; empty for everybody's.
        usable: New ones can be started now.
    """

    name: str
    slots: int
    pool: str
    usable: bool

    def open(self, number: int, on_frames: OnFrames, on_death: OnDeath, silent_s: float) -> Slot:
        """Start a worker.

        Args:
            silent_s: It is ended where it neither answers nor does anything for so long.

        Raises:
            OSError: The system refuses another process.
        """
        ...


class Here:
    """The host that Core runs on."""

    usable = True

    def __init__(self, name: str, slots: int, nursery: Nursery, pool: str = "") -> None:
        self.name, self.slots, self.pool = name, slots, pool
        self._nursery = nursery

    def open(self, number: int, on_frames: OnFrames, on_death: OnDeath, silent_s: float) -> Slot:  # noqa: ARG002
        """Start a worker; see `Host`. Who uses it watches it."""

        def died(slot: Slot, how: str) -> None:
            self._nursery.forget(slot.pid)
            on_death(slot, how)

        return Slot(number, self._nursery.spawn(), on_frames, died)


class Workers:
    """The hosts of a Core, and the kernels that want steps run there. A host may be for the steps of one pool only."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self.services: list[SharedService] = []
        self._alive: dict[Slot, tuple[Host, SharedService]] = {}
        self._loop = asyncio.get_running_loop()
        self._soon: asyncio.TimerHandle | None = None
        self._turn: asyncio.TimerHandle | None = None

    @property
    def pools(self) -> list[str]:
        """The pools that hosts are for, where these are not for all."""
        return sorted({host.pool for host in self.hosts} - {""})

    def serves(self, pool: str) -> bool:
        """Whether there are workers for it."""
        return self.count(pool) > 0

    def count(self, pool: str) -> int:
        """How many workers take its steps, whoever has them now."""
        return sum(host.slots for host in self.hosts if host.pool in ("", pool))

    def add(self, host: Host) -> None:
        """A host has joined."""
        self.hosts.append(host)
        self.changed()

    def remove(self, host: Host) -> None:
        """It has left; the death of its workers is told by itself, after this."""
        self.hosts.remove(host)
        self.share()

    def enter(self, service: "SharedService") -> None:
        """A kernel has come."""
        self.services.append(service)
        self.share()

    def leave(self, service: "SharedService") -> None:
        """A kernel has gone: what its workers do is of no use to anybody."""
        self.services.remove(service)
        for slot, (_, its) in self._alive.items():
            if its is service:
                slot.signal(signal.SIGKILL)
        self.changed()

    def changed(self) -> None:
        """Somebody has more or less to do than before: look at the shares soon."""
        if self._soon is None:
            self._soon = self._loop.call_later(_SOON_S, self._look)

    def _look(self) -> None:
        self._soon = None
        self.share()

    def _next_turn(self) -> None:
        self._turn = None
        self.share()

    def share(self) -> None:
        """Give each kernel its share, smaller ones first: what they leave, others get."""
        shares = self._shares()
        for service in sorted(self.services, key=lambda s: shares[s] - s.share):
            if service.share != shares[service]:
                service.allow(shares[service])
        for service in self.services:
            service.fill()
        if any(service.is_short for service in self.services):
            self._make_way()

    def _make_way(self) -> None:
        """Let workers end on hosts for all whose pool has room on hosts of its own: others have nowhere else to go."""
        own = Counter[str]()
        for host, free in self._free().items():
            own[host.pool] += max(0, free)
        for slot, (host, its) in list(self._alive.items()):
            if its.alive and not host.pool and own[its.pool] > 0:
                own[its.pool] -= 1
                its.move(slot.number)

    def _shares(self) -> "dict[SharedService, int]":
        """Equal parts; nobody gets more than it needs while another one needs it, and what is left stays where it is.

        Where there are fewer workers than kernels with work, they take turns.
        """
        wants = {service: service.demand for service in self.services}
        room, shares = _Room(self.hosts), dict.fromkeys(self.services, 0)
        turn = sorted((s for s in self.services if wants[s]), key=lambda s: s.share > 0)
        more = _one_more(shares, turn, room)
        if any(not shares[service] and self.serves(service.pool) for service in turn):
            if self._turn is not None and self._is_full(turn):
                return {service: service.share if service in turn else 0 for service in self.services}
            if self._turn is None:
                self._turn = self._loop.call_later(TURN_S, self._next_turn)
        while more:
            more = _one_more(shares, [service for service in more if shares[service] < wants[service]], room)
        for service in self.services:
            while shares[service] < service.share and room.take(service.pool):
                shares[service] += 1
        more = self.services
        while more:
            more = _one_more(shares, sorted(more, key=lambda s: shares[s]), room)
        return shares

    def _is_full(self, turn: "list[SharedService]") -> bool:
        """Whether those have all that they could have, however it is shared out among them."""
        room = _Room(self.hosts)
        fits = all(room.take(service.pool) for service in turn for _ in range(service.share))
        return fits and not any(room.take(service.pool) for service in turn)

    def _free(self) -> dict[Host, int]:
        """Where workers can be started now, and how many."""
        room = {host: host.slots for host in self.hosts if host.usable}
        for slot, (host, its) in self._alive.items():
            if host in room and not its.is_aside(slot.number):
                room[host] -= 1
        return room

    def open(self, number: int, service: "SharedService") -> Slot | None:
        """Start a worker where there is the most room, first on hosts of its pool; None where there is no room yet.

        Raises:
            OSError: The system refuses another process.
        """
        room = {host: free for host, free in self._free().items() if free > 0 and host.pool in ("", service.pool)}
        host = max(room, key=lambda host: (host.pool != "", room[host]), default=None)
        if host is None:
            return None

        def died(slot: Slot, how: str) -> None:
            del self._alive[slot]
            if service.alive:
                service.has_died(slot, how)
            self.changed()

        slot = host.open(number, service.has_said, died, service.silent_s)
        self._alive[slot] = (host, service)
        return slot


class _Room:
    """How many workers can still be given away. A pool's own go first: others cannot use them."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._left = Counter[str]()
        for host in hosts:
            self._left[host.pool] += host.slots

    def take(self, pool: str) -> bool:
        """Take one for this pool, if there is one."""
        name = pool if self._left[pool] > 0 else ""
        self._left[name] -= 1
        if self._left[name] >= 0:
            return True
        self._left[name] = 0
        return False


def _one_more(
    shares: "dict[SharedService, int]", services: "Iterable[SharedService]", room: _Room
) -> "list[SharedService]":
    """Give each one more, in this order, as far as there is room: those that got one."""
    got = [service for service in services if room.take(service.pool)]
    for service in got:
        shares[service] += 1
    return got


class SharedService(Service):
    """One kernel's `Service`, with as many slots as its share of the workers.

    Args:
        where: URL of this Core.
        pool: Whose workers are to take the steps, beside those that take everybody's.
    """

    def __init__(self, settings: Settings, workers: Workers, where: str, pool: str) -> None:
        super().__init__(settings, [])
        self.alive = True
        self.share = 0
        self._ahead.pace = OneByOne()
        self.pool = pool
        self._workers, self._where = workers, where
        self.silent_s = settings.silent_s
        self._pump: asyncio.Task[None] | None = None
        self.has_said: Callable[[Slot, list[AnyFrame]], None] = self._from_worker
        self.has_died: Callable[[Slot, str], None] = self._worker_died

    @property
    def demand(self) -> int:
        """Attempts that want a worker."""
        slots = self._queue.slots
        aside = sum(bool(slot.holding) for slot in slots.values() if slot.aside and not slot.leaving)
        return max(0, len(self._held) - self._queue.following - aside)

    def is_aside(self, number: int) -> bool:
        """Whether the step of a slot is paused, so that its worker does not count."""
        state = self._queue.slots.get(number)
        return state is not None and state.aside and not state.leaving

    def speak(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Say from now on to the kernel what there is to say."""
        self._pump = self._loop.create_task(self._out.pump(write))

    def take(self, frames: list[AnyFrame]) -> None:
        """What the kernel says.

        Raises:
            WireError: It cannot be.
        """
        for frame in frames:
            self._from_kernel(frame)
        self._hand_out()

    def allow(self, share: int) -> None:
        """Have so many slots; those that are too many end after their attempt."""
        self.share = share
        _, gone = self._queue.resize(share)
        for number in gone:
            self._slots.pop(number, None)
            self._out.put(Left(number))
        self._staff.let_go()

    def fill(self) -> None:
        """Have workers in all slots, as far as there is room for them."""
        for number in [number for number, state in self._queue.slots.items() if state.vacant]:
            slot = self._slots.get(number)
            if slot is None or not self._queue.stillborn(number):
                self._respawn(number)

    @property
    def is_short(self) -> bool:
        """Whether it has slots that no worker could be started for."""
        return any(state.vacant for state in self._queue.slots.values())

    def move(self, number: int) -> None:
        """Let a worker end after its attempt, so that the next one is started where there is more room."""
        self._queue.drain(number)
        self._staff.let_go()

    def end(self) -> None:
        """The kernel is gone."""
        self.alive = False
        self._watching.stop()
        if self._pump is not None:
            self._pump.cancel()
        self._workers.leave(self)

    # what differs where workers are shared ---------------------------------------------------------------------------

    def _from_kernel(self, frame: AnyFrame) -> None:
        if isinstance(frame, Resize) or (isinstance(frame, Drain) and not frame.again):
            return  # how many there are is said where they are started
        if isinstance(frame, Look):
            self._out.put(Seats(seats(self._queue, self._units), self._queue.waiting, self._workers.count(self.pool)))
            return
        if isinstance(frame, Batch):
            raise WireError("attempts in a batch are for a Core that has workers of its own")
        if isinstance(frame, Submit) and (frame.id < 1 or frame.id in self._held):  # it could come behind itself
            raise WireError(f"attempt {frame.id} was sent already, or has no number")
        super()._from_kernel(frame)
        if isinstance(frame, Submit) and not self._workers.serves(self.pool):
            there = ", ".join(map(repr, self._workers.pools)) or "none"
            command = f"cerebelum worker --core {self._where.removeprefix(SCHEME)} --pool {shlex.quote(self.pool)}"
            text = f"no worker for pool {self.pool!r} at Core {self._where} (pools there: {there}), so the step waits: "
            self._out.put(Printed(frame.id, "notice", f"{text}{command}\n"))

    def _hand_out(self) -> None:
        super()._hand_out()
        self._workers.changed()

    def _respawn(self, number: int) -> None:
        """Put a new worker into a slot that has none; where there is no room yet, `fill` does it later."""
        if not self.alive or not self._queue.is_vacant(number):
            return
        try:
            slot = self._workers.open(number, self)
        except OSError as exc:
            not_started(number, exc, RESPAWN_CAP_S)
            self._loop.call_later(RESPAWN_CAP_S, self._respawn, number)
            return
        if slot is None:
            return
        if isinstance(slot, RemoteSlot):
            slot.on_here = lambda here: self._out.put(Joined(here.number, here.pid))
            slot.on_notice = partial(self._noticed, slot)
        self._queue.joined(number)
        self._enter(slot)
        self._hand_out()

    def _noticed(self, slot: Slot, text: str) -> None:
        attempt = self._queue.begins(slot.number) if self._slots.get(slot.number) is slot else None
        if attempt is not None:
            self._out.put(Printed(attempt, "notice", text))


class OneByOne(Pace):
    """What a worker on another host has cannot be taken back from it, so it has one attempt at a time."""

    window = 1

    def __init__(self) -> None:
        self.average_s = 1.0  # nobody waits for one kernel's answer while others are there

    def took(self, seconds: float, attempts: int = 1) -> None:
        """Nothing follows from it."""


class Untracked(Nursery):
    """Of a service whose workers are others' to count."""

    def forget(self, pid: int) -> None:
        """Nothing: it may be another host's number."""
