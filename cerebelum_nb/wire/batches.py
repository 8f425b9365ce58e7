"""Light attempts of one run that travel together: one frame and one seal for all of them, and for what they gave.

What a frame and a seal cost is more than a quick step's work. Nothing else changes by it: each attempt has its own
number, begins and ends by itself, and can be stopped, taken back and lost by itself.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.seal import Address, Direction, seal, unseal
from cerebelum_nb.wire.frames import Batch, Ended, Submit
from cerebelum_nb.wire.gate import Left

MOST: Final = 16  # attempts in one
MOST_IN_LINE: Final = 128  # where each reads the result of the one before it
LIGHT_NBYTES: Final = 4096  # of one's arguments, or its result; what is heavier goes by itself


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One attempt, as `frames.Submit` has it."""

    task: int
    number: int
    step: str
    digest: str
    codec: str
    body: bytes


class End(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How one attempt ended, as `frames.Finished` has it."""

    task: int
    number: int
    codec: str
    body: bytes
    run_s: float = 0.0
    decode_s: float = 0.0
    encode_s: float = 0.0
    waited_s: float = 0.0  # in its worker, for those before it


NOT_OPENED: Final = Item(0, 0, "", "", "", b"")  # stands for what was no batch of ours
_Some = TypeVar("_Some", Item, End)
_encode = msgspec.msgpack.Encoder().encode
_items = msgspec.msgpack.Decoder(list[Item]).decode
_ends = msgspec.msgpack.Decoder(list[End]).decode


def _opened(decode: Callable[[memoryview], list[_Some]], body: memoryview, count: int) -> list[_Some]:
    try:
        found = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PayloadRejected(f"a batch of {count} attempts cannot be read: {exc}") from None
    if len(found) != count:
        raise PayloadRejected(f"a batch of {count} attempts has {len(found)} in it")
    return found


def _address(run: str, first: int, count: int, direction: Direction) -> Address:
    return Address(run, first, count, direction, "batch")


def batch(key: bytes, first: int, run: str, items: Sequence[Item], after: int = 0) -> Batch:
    """Attempts in one frame.

    Args:
        first: The number of the first one on the connection; the others follow.
        after: What the first one follows, where each follows the one before it.
    """
    digests = tuple({item.digest: None for item in items})
    sealed = seal(key, _address(run, first, len(items), "to worker"), _encode(items))
    return Batch(first, run, len(items), digests, sealed, bool(after), after)


def single(key: bytes, number: int, run: str, item: Item, after: int = 0) -> Submit:
    """One attempt by itself."""
    address = Address(run, item.task, item.number, "to worker", f"{item.digest} {item.codec}")
    sealed = seal(key, address, item.body)
    said = item.task, item.number, item.step, item.digest, item.codec
    return Submit(number, run, *said, sealed, after, bool(after))


def batched(frame: Batch, place: int, item: Item) -> Submit:
    """One attempt of a batch that was opened: its arguments are in the item."""
    said = item.task, item.number, item.step, item.digest, item.codec
    return Submit(frame.id + place, frame.run, *said, b"", before(frame, place), frame.line)


def before(frame: Batch, place: int) -> int:
    """What one attempt of a batch follows; 0 for nothing."""
    return (frame.id + place - 1 if place else frame.after) if frame.line else 0


def check(key: bytes, frame: Batch) -> None:
    """See that a batch is the kernel's, and what it says of itself.

    Raises:
        PayloadRejected: It is not.
    """
    unseal(key, _address(frame.run, frame.id, frame.count, "to worker"), frame.sealed)


def items_of(key: bytes, frame: Batch) -> list[Item]:
    """The attempts of a batch.

    Raises:
        PayloadRejected: It was not made with this key, or says something else of itself.
    """
    body = unseal(key, _address(frame.run, frame.id, frame.count, "to worker"), frame.sealed)
    return _opened(_items, body, frame.count)


def end_of(end: End) -> bytes:
    """The end of one attempt, as it goes into a frame."""
    return _encode(end)


def ended(key: bytes, first: int, run: str, ends: Sequence[bytes], busy_s: float) -> Ended:
    """Ends of attempts in one frame.

    Args:
        key: The worker's own.
        ends: Each by `end_of`.
        busy_s: So long its worker was busy with them.
    """
    return left(key, run, Left(first, len(ends), b"".join(ends)), busy_s)


def left(key: bytes, run: str, found: Left, busy_s: float = 0.0) -> Ended:
    """The same of what a worker has left in its gate."""
    first, count, ends = found
    body = b"\xdc" + count.to_bytes(2, "big") + ends  # an array, as msgpack writes it
    return Ended(first, count, seal(key, _address(run, first, count, "to kernel"), body), busy_s)


def without(key: bytes, run: str, frame: Ended, known: int) -> Ended:
    """The same without the first ones, which are known already.

    Raises:
        PayloadRejected: It is not the worker's.
    """
    ends = [_encode(end) for end in ends_of(key, run, frame)[known:]]
    return ended(key, frame.id + known, run, ends, frame.busy_s)


def ends_of(key: bytes, run: str, frame: Ended) -> list[End]:
    """How they ended.

    Raises:
        PayloadRejected: It was not made with this key, or is not of these attempts.
    """
    body = unseal(key, _address(run, frame.id, frame.count, "to kernel"), frame.sealed)
    return _opened(_ends, body, frame.count)
