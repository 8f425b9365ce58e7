"""Sealed envelopes: bytes bound to one attempt and one direction, checked before anything in them is read.

HMAC-SHA256 under a key that the kernel makes for one Core, and that goes only there: by pipes, and between machines by
TLS. Workers get keys that are made from it. It says who made the bytes; it does not hide them.
"""

import hashlib
import hmac
import os
from functools import lru_cache
from typing import Literal, NamedTuple

from cerebelum_nb.errors import PayloadRejected

KEY_NBYTES = 32
TAG_NBYTES = 32
_BLOCK_NBYTES = 64  # of SHA-256
_SMALL = 1 << 16  # bytes that are copied to save the making of an object

Direction = Literal["to worker", "to kernel", "code"]


class Address(NamedTuple):
    """What an envelope belongs to. It is not in the envelope: both ends know it, and a wrong guess does not open."""

    run: str
    task: int
    attempt: int
    direction: Direction
    codec: str


def new_key() -> bytes:
    """A fresh key for one Core and its workers."""
    return os.urandom(KEY_NBYTES)


@lru_cache(maxsize=512)
def key_to_workers(key: bytes) -> bytes:
    """The key of all that is said to workers: they open that, and cannot tell from it what others seal with."""
    return hmac.digest(key, b"cerebelum key to workers", "sha256")


@lru_cache(maxsize=512)
def worker_key(key: bytes, worker: str) -> bytes:
    """The key that one worker seals with: others, which have keys of their own, cannot say anything in its name."""
    return hmac.digest(key, b"cerebelum worker key\0" + worker.encode(), "sha256")


def seal(key: bytes, address: Address, body: bytes) -> bytes:
    """Put a body into an envelope: its tag, then the body."""
    return _tag(key, address, body) + body


def unseal(key: bytes, address: Address, envelope: bytes) -> memoryview:
    """The body of an envelope that was sealed with this key for this address.

    Raises:
        PayloadRejected: A byte was changed, or it was made with another key or for another attempt, direction or codec.
    """
    view = memoryview(envelope)
    body = view[TAG_NBYTES:]
    if len(view) < TAG_NBYTES or not hmac.compare_digest(view[:TAG_NBYTES], _tag(key, address, body)):
        raise PayloadRejected(
            f"a message for task {address.task}, attempt {address.attempt} of run {address.run!r} has no valid seal "
            f"({len(view)} bytes, {address.direction}). It was damaged or is not ours; nothing in it was read."
        )
    return body


def _tag(key: bytes, address: Address, body: bytes | memoryview) -> bytes:
    run, task, attempt, direction, codec = address
    # Free text has its length before it: ("ab", "c") and ("a", "bc") must not seal alike.
    head = f"{task}:{attempt}:{direction}:{len(run)}:{run}:{len(codec)}:{codec}:".encode("utf-8", "surrogatepass")
    begun, ending = _begun(key)
    digest, ending = begun.copy(), ending.copy()
    if len(body) <= _SMALL:
        digest.update(head + body)
    else:
        digest.update(head)
        digest.update(body)
    ending.update(digest.digest())
    return ending.digest()


@lru_cache(maxsize=512)
def _begun(key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Both hashes of an HMAC (RFC 2104), the key taken in already: half of what a small message's tag costs."""
    key = (key if len(key) <= _BLOCK_NBYTES else hashlib.sha256(key).digest()).ljust(_BLOCK_NBYTES, b"\0")
    return hashlib.sha256(bytes(b ^ 0x36 for b in key)), hashlib.sha256(bytes(b ^ 0x5C for b in key))
