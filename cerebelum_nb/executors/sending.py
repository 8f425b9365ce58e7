"""What goes to Core with an attempt: where to look for modules, the function, what it is called with."""

import asyncio
import os
from collections.abc import Iterable
from itertools import chain, islice

import msgspec

from cerebelum_nb.attempt import printable
from cerebelum_nb.capture import Shipped, Shipper
from cerebelum_nb.codec import Encoded, encode, whole
from cerebelum_nb.errors import CaptureError
from cerebelum_nb.executors.core_process import LastPlace, place
from cerebelum_nb.executors.large import LargeValues, Waiting
from cerebelum_nb.protocols import Answer, Attempt
from cerebelum_nb.seal import Address, key_to_workers, seal
from cerebelum_nb.wire import batches
from cerebelum_nb.wire.batches import Item, single
from cerebelum_nb.wire.channel import Outbox
from cerebelum_nb.wire.frames import Code, Forget, Place, Reply, Submit, check_size
from cerebelum_nb.wire.pieces import LIMIT_NBYTES, OPTION, cut, described, is_long

CODES_NBYTES = 64 << 20  # of functions that Core keeps for us; the oldest are forgotten first
CODES_COUNT = 1024
REASON_LIMIT = 4_000  # characters of why somebody said no
FOLLOWED_COUNT = 1_024  # attempts that are known as such, at least; what follows an older one waits for its end
LIGHT = 1_000  # items or characters
_ATOMS = frozenset({type(None), bool, int, float})
_SIZED = frozenset({str, bytes, list, tuple, dict, set})
_json = msgspec.json.Encoder().encode
_NOTHING = encode([[], {}, None, None])


class Sending:
    """Sends attempts into one connection's outbox, and each function once.

    Args:
        joins: Light attempts go in batches.

    Attributes:
        crew: How many workers they are for.
    """

    def __init__(self, key: bytes, outbox: Outbox, large: LargeValues | None = None, *, joins: bool = False) -> None:
        self._key, self._outbox, self._joins = key_to_workers(key), outbox, joins
        self._shipper = Shipper()
        self._codes: dict[str, int] = {}  # what Core has -> its size, least recently used first
        self._place = LastPlace()
        self._looked = False  # where that is, in this turn of the loop
        self._based = large.based if large is not None else None
        self._followed: dict[tuple[str, int, int], int] = {}  # attempts that others may follow, the oldest first
        self._gathered: list[Item] = []  # attempts that leave with this turn's message
        self._first, self._run = 0, ""  # the number of the first of them, and whose they are
        self._after = 0  # what it follows; the others follow each other then
        self.crew = 1
        outbox.gathered = self.close

    def number_of(self, attempt: Attempt) -> int:
        """The number of what an attempt may follow; 0 for nothing."""
        if (after := attempt.after) is None:
            return 0
        if (
            self._after
            and (last := self._gathered[-1:])
            and (last[0].task, last[0].number) == (after.task, after.number)
        ):
            self.close()
        return self._followed.get((attempt.run, after.task, after.number), 0)

    def ship(self, attempt: Attempt) -> Shipped:
        """An attempt's function, ready to be sent.

        Raises:
            CaptureError: The step, or what undoes it, closes over something that cannot be sent, or over too much.
        """
        shipped = self._shipper.ship(attempt.function, attempt.step)
        if attempt.undo is not None:
            self._check_undo(attempt)
        return shipped

    def _check_undo(self, attempt: Attempt) -> None:
        """What undoes a step must be able to follow it: found only when it is needed, it would be too late."""
        assert attempt.undo is not None
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

    def submit(self, number: int, attempt: Attempt, shipped: Shipped, body: Encoded, before: int = 0) -> None:
        """Put an attempt into the outbox, after what Core must know for it.

        Args:
            before: The number of the one that it follows; it is called where that was.
        """
        if self._based is not None:
            body = self._based(body)
        long = body if is_long(body) else None
        if long is not None:
            body = described(long)
        if attempt.followed and long is None:
            self._is_followed(attempt.run, attempt.task, attempt.number, number)
        self.close()
        if not before and not self._looked:
            self._look()
        self._send_code(shipped)
        address = Address(attempt.run, attempt.task, attempt.number, "to worker", f"{shipped.digest} {body.codec}")
        submit = Submit(
            number,
            attempt.run,
            attempt.task,
            attempt.number,
            attempt.step,
            shipped.digest,
            body.codec,
            seal(self._key, address, body.data),
            before,
            attempt.followed,
        )
        if long is None:
            self._outbox.put(submit)
        else:
            self._outbox.slowly(number, chain(cut(self._key, submit, "to worker", long), (submit,)))

    def join(self, number: int, attempt: Attempt, shipped: Shipped, body: Encoded, before: int = 0) -> None:
        """Send an attempt, a light one together with others of its run that come in this turn of the loop."""
        if not self._joins or body.nbytes > batches.LIGHT_NBYTES or attempt.once or bool(before) != attempt.followed:
            self.submit(number, attempt, shipped, body, before)
            return
        last = self._first + len(self._gathered) - 1
        if attempt.run != self._run or number != last + 1 or before != (last if self._after else 0):
            self.close()
        if not self._looked:
            self._look()
        self._send_code(shipped)
        if not self._gathered:
            self._first, self._run, self._after = number, attempt.run, before
            self._outbox.stir()
        self._gathered.append(Item(attempt.task, attempt.number, attempt.step, shipped.digest, body.codec, body.data))

    def _is_followed(self, run: str, task: int, number: int, sent: int) -> None:
        self._followed[run, task, number] = sent
        if len(self._followed) > 2 * FOLLOWED_COUNT:  # many at once: to find the first of a dict takes ever longer
            for oldest in list(islice(self._followed, FOLLOWED_COUNT)):
                del self._followed[oldest]

    def close(self) -> None:
        """Put what was gathered into the outbox: before anything else is said of it."""
        items, self._gathered = self._gathered, []
        size = max(1, min(batches.MOST, len(items) // (2 * max(1, self.crew))))
        if self._after and items:  # a line has one worker
            size = batches.MOST_IN_LINE
            self._is_followed(self._run, items[-1].task, items[-1].number, self._first + len(items) - 1)
        for start in range(0, len(items), size):
            some, first = items[start : start + size], self._first + start
            after = (first - 1 if start else self._after) if self._after else 0
            if len(some) > 1:
                self._outbox.put(batches.batch(self._key, first, self._run, some, after))
            else:
                self._outbox.put(single(self._key, first, self._run, some[0], after))

    def _look(self) -> None:
        """See whether a cell has said %cd or sys.path.insert. Once for all that leaves in this turn of the loop.

        What is asked of the system gives other threads the interpreter, and it takes a while to have it back.
        """
        self._looked = True
        asyncio.get_running_loop().call_soon(self._turn_is_over)
        if self._place.moved():
            path, cwd = place()
            self._outbox.put(Place(tuple(map(os.fsencode, path)), os.fsencode(cwd)))

    def _turn_is_over(self) -> None:
        self._looked = False

    def reply(self, number: int, pause: int, attempt: Attempt, answer: Answer) -> None:
        """Put what somebody said to an attempt's pause into the outbox.

        Raises:
            WireError: The value cannot be sent or is too large.
        """
        what = f"the value for step {attempt.step!r}"
        body = encode(answer.value if answer.approved else None, what)
        check_size(what, body.nbytes)
        reply = Reply(number, pause, answer.approved, printable(answer.reason)[:REASON_LIMIT], body.codec, b"")
        address = Address(attempt.run, attempt.task, attempt.number, "to worker", reply.about)
        self._outbox.put(msgspec.structs.replace(reply, sealed=seal(self._key, address, body.data)))

    def _send_code(self, shipped: Shipped) -> None:
        if shipped.digest in self._codes:
            self._codes[shipped.digest] = self._codes.pop(shipped.digest)  # used last, forgotten last
            return
        sealed = seal(self._key, Address("", 0, 0, "code", shipped.digest), shipped.payload)
        self._outbox.put(Code(shipped.digest, sealed))
        self._codes[shipped.digest] = shipped.nbytes
        if self._outbox.slow:  # what is still on its way there needs its function
            return
        while len(self._codes) > CODES_COUNT or (len(self._codes) > 1 and sum(self._codes.values()) > CODES_NBYTES):
            oldest = next(iter(self._codes))
            del self._codes[oldest]
            self._outbox.put(Forget(oldest))


def is_light(attempt: Attempt) -> bool:
    """Whether what a step is called with is made ready in no time, as far as one sees without doing it."""
    given = attempt.args
    if attempt.kwargs:
        given = [*given, *attempt.kwargs.values()]
    if attempt.fields:
        given = [*given, attempt.fields.get("inputs")]
    for value in given:
        kind = type(value)
        if kind not in _ATOMS and (kind not in _SIZED or len(value) > LIGHT):
            return False
    return True


def encoded_call(attempt: Attempt, large: LargeValues | None, limit: int = LIMIT_NBYTES) -> Encoded | Waiting:
    """What the step is called with, as bytes; without shared memory at most so many.

    Raises:
        WireError: Something in it cannot be sent, or it is too large.
    """
    args, kwargs, after = attempt.args, attempt.kwargs, attempt.follows
    if not args and not kwargs and not after:
        return _NOTHING
    wants_context = attempt.context_at is not None or "context" in kwargs
    if after and not wants_context and not _some(args) and not (kwargs and _some(kwargs.values())):
        return Encoded("json", _json([args, kwargs, None, None, *after]))
    fields = dict(attempt.fields) if wants_context else None
    what = f"the input of step {attempt.step!r}"
    if large is not None:
        return large.arguments(attempt, fields, what)
    if fields is not None:
        fields["inputs"] = whole(fields.get("inputs"))
    args, kwargs = [whole(arg) for arg in args], {key: whole(arg) for key, arg in kwargs.items()}
    body = encode([args, kwargs, fields, attempt.context_at, *after], what, 2)
    check_size(what, body.nbytes, limit, OPTION)
    return body


def _some(values: Iterable[object]) -> bool:
    """Whether there is anything but None."""
    for value in values:  # noqa: SIM110  thrice as quick as `any`
        if value is not None:
            return True
    return False
