"""Core and its workers by dice: attempts that follow others, and attempts that come in batches, workers that die,
stops, slow steps, results that fail, workers that are frozen for a while.

Core's own service, queue and values run here, and the worker's own rule of what it keeps; processes and wires are played.
"""

import random
from collections import deque
from types import SimpleNamespace

import pytest

from cerebelum_nb.codec import Encoded
from cerebelum_nb.core import service
from cerebelum_nb.core.queue import KILL_AFTER_S
from cerebelum_nb.core.slots import Slot
from cerebelum_nb.seal import Address, key_to_workers, seal, unseal, worker_key
from cerebelum_nb.wire import batches
from cerebelum_nb.wire.batches import End, Item
from cerebelum_nb.wire.frames import (
    GOES_ON,
    Batch,
    Cancel,
    Code,
    Ended,
    Finished,
    Forget,
    Joined,
    Left,
    Lost,
    Ping,
    Place,
    Printed,
    Ready,
    Started,
    Submit,
    Welcome,
)
from cerebelum_nb.wire.gate import Left as InGate
from cerebelum_nb.worker.kept import TURN_S, Kept

KEY = b"k" * 32


def address_of(submit):
    return Address(submit.run, submit.task, submit.number, "to kernel", "json")


class World:
    """A clock, and who is called when."""

    def __init__(self):
        self.now, self.timers, self.slots, self.heard = 0.0, [], [], []
        self.handed = SimpleNamespace(note=lambda _attempt: None)

    def call_soon(self, call, *args):
        call(*args)

    def time(self):
        return self.now

    def call_later(self, seconds, call, *args):
        self.timers.append((self.now + seconds, call, args))

    def pass_time(self, seconds):
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, call, args in due:
            call(*args)


class Worker:
    """A worker as Core's slot sees it: what it was sent waits in its line; what it says waits to be heard."""

    def __init__(self, world, number, pid, on_frames, on_death):
        self.world, self.number, self.pid, self.codes = world, number, pid, {}
        self.on_frames, self.on_death = on_frames, on_death
        self.line, self.said, self.stopped = deque(), deque(), set()
        self.kept, self.runs, self.given, self.dead, self.retired = Kept(), None, None, False, False
        self.sent = self.came = self.shut = 0
        self.asked, self.heard, self.patience, self.frozen = 0, 0, 1, False
        self.takes_back = world.in_batches or bool(world.dice.randrange(4))  # else it is on another host
        self.whole, self.unsaid = [], []  # attempts as they came in batches; how some of them ended
        self.own = worker_key(KEY, f"worker {number}")
        world.slots.append(self)

    def send(self, frames):
        self.line += frames

    def stop(self, attempt):
        self.stopped.add(attempt)

    def signal(self, _how):
        self.dies()

    @property
    def left(self):
        return max(0, self.sent - max(self.came, self.shut))

    def in_gate(self):
        if not self.unsaid or (not self.dead and self.world.dice.randrange(8) == 0):
            return None  # it stands in its gate
        in_place = self.unsaid if self.runs is not None or self.world.dice.randrange(2) else self.unsaid[:-1]
        return InGate(in_place[0][0], len(in_place), b"".join(end for _, end in in_place)) if in_place else None

    ended = False
    answered = True
    heir = Slot.heir

    def give(self, frames, attempts):
        self.sent += attempts
        self.send(frames)

    def take_back(self):
        """As the gate does it."""
        if not self.takes_back or self.world.dice.randrange(8) == 0:
            return 0  # it stands there just now
        before, self.shut = self.shut, self.sent
        return max(0, self.sent - max(self.came, before))

    def unbegun(self):
        return max(0, self.sent - max(self.came, self.shut))

    def ask(self):
        self.asked += 1

    def look(self):
        return False

    def end(self, _why):
        self.dies()

    def retire(self):
        self.retired = True

    def dies(self):
        if not self.dead:
            self.dead = self.ended = True
            self.asked = 0
            self.hears_all()
            self.on_death(self, "was killed")

    def hears_all(self):
        while self.said:
            self.on_frames(self, [self.said.popleft()])

    def steps(self, dice):
        """One thing that the process does."""
        if self.unsaid and not dice.randrange(8):
            self.settles()
        self.heard, self.asked = self.heard + self.asked, 0
        if self.runs is not None:
            submit, self.runs = self.runs, None
            self.ends(submit, dice)
        else:
            said = len(self.said)
            while self.line and self.runs is None and len(self.said) == said:  # what is over is passed by at once
                self.takes(self.line.popleft(), dice)

    def takes(self, frame, dice):
        match frame:
            case Welcome():
                self.said.append(Ready())
            case Finished():
                self.kept.given(frame)
            case Submit():
                self.came += 1
                if self.came > self.shut and self.kept.goes_on(frame, self.world.now):
                    self.begins(frame, dice)
            case Batch():
                items = enumerate(batches.items_of(key_to_workers(KEY), frame))
                opened = [batches.batched(frame, place, item) for place, item in items]
                self.line.extendleft([*opened, "settle"][::-1])
                self.whole = opened
            case "settle":
                self.settles()
            case _:
                assert isinstance(frame, Code | Place | Forget)

    def settles(self):
        if self.unsaid:
            first = self.unsaid[0][0]
            ends = [end for _, end in self.unsaid]
            self.said.append(batches.ended(self.own, first, self.world.sent[first].run, ends, 0.0))
            self.unsaid.clear()

    def begins(self, submit, dice):
        if submit.after:  # it reads what is before it, from here or as it came
            of, given = self.kept._of, self.kept._given
            read = b"%d" % self.kept._id
            if given is not None:
                read = bytes(unseal(self.own, address_of(self.world.sent[given.id]), given.sealed))
            assert read == b"%d" % submit.after, (of, submit)
        if submit.id in self.stopped:
            self.ends(submit, dice)
            return
        self.world.began(submit.id, self)
        self.runs = submit

    def ends(self, submit, dice):
        codec = "cancelled" if submit.id in self.stopped else dice.choice(["json"] * 12 + ["error"])
        self.kept.look_at(None)
        then = self.kept.keep(submit, Encoded(codec, b""), self.world.now)
        is_whole = any(submit is one for one in self.whole)
        is_over = is_whole and submit.followed and (then != GOES_ON or submit is self.whole[-1])
        if is_whole and not is_over and dice.randrange(16):
            self.unsaid.append((submit.id, batches.end_of(End(submit.task, submit.number, codec, b""))))
            return
        self.settles()
        ran = dice.choice([0.0, 0.1]) if not self.world.in_batches else 0.0
        sealed = seal(self.own, address_of(submit), b"%d" % submit.id)
        self.said.append(Finished(submit.id, codec, sealed, ran, 0.0, 0.0, then))


class Play(World):
    """A kernel with lines of attempts, and Core."""

    def __init__(self, seed, monkeypatch, *, in_batches=False):
        super().__init__()
        self.in_batches = in_batches
        self.dice = random.Random(seed)
        self.begun, self.over, self.sent, self.cancelled = {}, {}, {}, set()
        self.pids = 0
        monkeypatch.setattr(service, "Slot", self.slot)
        monkeypatch.setattr(service.asyncio, "get_running_loop", lambda: self)
        monkeypatch.setattr(service.asyncio, "Event", object)
        monkeypatch.setattr(service, "Watching", lambda *_: None)
        out = SimpleNamespace(put=self.hear, hold=self.hear, slow=False, drop=lambda _attempt: None)
        monkeypatch.setattr(service.channel, "Outbox", lambda: out)
        nursery = SimpleNamespace(spawn=self.spawn, forget=lambda _pid: None)
        log = SimpleNamespace(read_text=lambda *_: "")
        settings = service.Settings("", KEY, Place((), b""), log, nursery, self.handed)
        self.core = service.Service(settings, [self.spawn() for _ in range(self.dice.choice([1, 2, 3]))])
        self.core._from_kernel(Code("f", b""))
        if in_batches:
            self.core._ahead.pace.average_s = 0.0

    def spawn(self):
        self.pids += 1
        return SimpleNamespace(pid=self.pids)

    def slot(self, number, process, on_frames, on_death):
        return Worker(self, number, process.pid, on_frames, on_death)

    def began(self, attempt, worker):
        assert attempt not in self.begun or self.begun[attempt].dead, "it ran twice"
        assert attempt not in self.over, "it ran after its end"
        before = self.sent[attempt].after
        assert not before or self.over.get(before, before in self.results()) in (True, "json"), "too early"
        self.begun[attempt] = worker

    def results(self):
        said = {f.id for worker in self.slots for f in worker.said if isinstance(f, Finished) and f.codec == "json"}
        for worker in self.slots:
            said |= {number for number, _ in worker.unsaid}
            for frame in worker.said:
                said |= set(range(frame.id, frame.id + frame.count)) if isinstance(frame, Ended) else set()
        return said

    def hear(self, *frames):
        for frame in frames:
            self.heard.append(frame)
            if isinstance(frame, Ended):
                for number in range(frame.id, frame.id + frame.count):
                    assert number in self.begun
                    assert number not in self.over, f"{number} ended twice"
                    self.over[number] = "json"
            elif isinstance(frame, Finished | Lost):
                unknown = frame.id in self.cancelled and isinstance(frame, Lost)
                assert frame.id not in self.over or unknown, f"{frame.id} ended twice: {frame}"
                if isinstance(frame, Lost) and not frame.begun:
                    assert frame.id in self.cancelled or frame.id not in self.begun, "it had begun"
                if isinstance(frame, Finished):
                    assert frame.id in self.begun or frame.codec == "cancelled"
                self.over.setdefault(frame.id, frame.codec if isinstance(frame, Finished) else "lost")
            elif isinstance(frame, Started):
                assert frame.id not in self.over
                assert frame.id in self.sent
            else:
                assert isinstance(frame, Joined | Left | Ping | Printed)

    def submit(self, after=0):
        number = len(self.sent) + 1
        followed = bool(self.dice.randrange(4))
        self.sent[number] = frame = Submit(
            number, f"r{self.dice.randrange(2)}", number, 1, "s", "f", "json", b"", after, followed
        )
        self.core._from_kernel(frame)

    def submit_batch(self, after=0):
        first, count, run = len(self.sent) + 1, self.dice.randrange(2, 9), f"r{self.dice.randrange(2)}"
        items = [Item(number, 1, "s", "f", "json", b"") for number in range(first, first + count)]
        batch = batches.batch(key_to_workers(KEY), first, run, items, after)
        for place, item in enumerate(items):
            self.sent[first + place] = batches.batched(batch, place, item)
        self.core._from_kernel(batch)

    def go(self):
        dice = self.dice
        if self.in_batches and not dice.randrange(8):
            self.submit_batch()
        match dice.randrange(12):
            case 0:
                self.submit()
            case 1 | 2 | 3:
                led = {frame.after for frame in self.sent.values()}
                last = [n for n, f in self.sent.items() if f.followed and n not in led and n > len(self.sent) - 30]
                if last:
                    send = self.submit_batch if self.in_batches and dice.randrange(2) else self.submit
                    send(dice.choice(last[-3:]))
            case 4 if self.sent and not dice.randrange(4):
                self.cancelled.add(attempt := dice.choice([*self.sent][-12:]))
                self.core._from_kernel(Cancel(attempt))
            case 5:
                self.pass_time(dice.choice([0.0001, TURN_S / 3, TURN_S * 2, KILL_AFTER_S]))
            case 6 if not dice.randrange(8) and (alive := self.alive()):
                dice.choice(alive).dies()
            case 7 if alive := self.alive():
                frozen = dice.choice(alive)
                frozen.frozen = not frozen.frozen
            case _:
                self.move_on()
        self.core._hand_out()

    def alive(self):
        return [worker for worker in self.slots if not worker.dead]

    def move_on(self):
        for worker in self.alive():
            for _ in range(self.dice.randrange(4) if not worker.frozen else 0):
                worker.steps(self.dice)
            count = self.dice.randrange(len(worker.said) + 1)
            frames = [worker.said.popleft() for _ in range(count)]
            if frames:
                worker.on_frames(worker, frames)
            if worker.retired and not worker.line and worker.runs is None and not worker.said:
                worker.dies()

    def ends(self):
        """Left alone, everything comes to an end."""
        for worker in self.slots:
            worker.frozen = False
        for _ in range(3 * len(self.sent) + 100):
            self.move_on()
            self.pass_time(0.01)
            self.core._hand_out()
            if len(self.over) == len(self.sent):
                break
        unheard = [n for n in self.sent if n not in self.over and n not in self.cancelled]
        assert not unheard
        assert not self.core._values._of
        assert not set(self.core._held) - self.cancelled
        assert not self.core._queue._behind._next
        assert not [*self.core._units._units, *self.core._units._at, *self.core._queue._weights]
        assert {state.load for state in self.core._queue.slots.values()} <= {0}


@pytest.mark.parametrize("seed", range(150))
def test_lines_by_dice(seed, monkeypatch):
    play = Play(seed, monkeypatch)
    for _ in range(150):
        play.go()
    play.ends()
    assert play.over


@pytest.mark.parametrize("seed", range(150))
def test_batches_by_dice(seed, monkeypatch):
    play = Play(seed, monkeypatch, in_batches=True)
    for _ in range(150):
        play.go()
    play.ends()
    assert any(isinstance(frame, Ended) for frame in play.heard)
