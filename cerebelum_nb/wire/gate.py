"""The gate before a worker: which of the attempts that it was sent may still begin. Shared memory and a file's lock.

A worker that is sent several attempts at once holds up the later ones while the first takes long. Core takes them back
here, at once and for certain, also while a step keeps the worker's interpreter to itself. And a worker that gathers
what it has to say leaves it here before it begins the next attempt: it is found here when that one takes long, or is
its end.
"""

import contextlib
import fcntl
import mmap
import os
import struct
from typing import NamedTuple

# Attempts that came to the gate, counted by the worker; up to which it is shut, by Core; of what the worker has left
# here the first number, how many parts it has, and their bytes.
_HEAD = struct.Struct("<QQQQQ")
LEFT_NBYTES = 1 << 17  # what can be left here
_NBYTES = _HEAD.size + LEFT_NBYTES
_CAME_SHUT = struct.Struct("<QQ")


class Left(NamedTuple):
    """Parts that a worker has left in its gate.

    Attributes:
        first: The number of the attempt that the first part is about; the others follow.
        parts: How many there are.
        data: All of them, one after the other.
    """

    first: int
    parts: int
    data: bytes


class Gate:
    """One side of it. The lock is the process's: each side has one thread that comes here.

    Args:
        fd: Of a small file that both sides have; closed with the gate.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._shared = mmap.mmap(fd, _NBYTES)
        self._count = 0
        self._first = self._parts = self._nbytes = 0  # of what is to be found here
        self._new: list[bytes] = []  # of these, what is not here yet

    def leave(self, number: int, part: bytes) -> bool:
        """Have something found here from the worker's next attempt on; whether there is room for as much once more."""
        if not self._parts:
            self._first = number
        self._new.append(part)
        self._parts += 1
        self._nbytes += len(part)
        return self._nbytes + len(part) <= LEFT_NBYTES

    def clear(self) -> None:
        """All that was left has been sent."""
        self._parts = self._nbytes = 0
        self._new.clear()

    def passes(self) -> bool:
        """Whether the worker may begin its next attempt; if not, it was taken back."""
        self._count += 1
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            _, shut = _looked(self._shared)
            if self._new:
                data = b"".join(self._new)
                end = _HEAD.size + self._nbytes
                self._shared[end - len(data) : end] = data
                self._new.clear()
            _HEAD.pack_into(self._shared, 0, self._count, shut, self._first, self._parts, self._nbytes)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)
        return self._count > shut

    def left(self) -> Left | None:
        """What the worker has left here, if anything; None also where it stands in the gate just now.

        It may have been sent meanwhile.
        """
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        try:
            _, _, first, parts, nbytes = _HEAD.unpack_from(self._shared)
            return Left(first, parts, self._shared[_HEAD.size : _HEAD.size + nbytes]) if parts else None
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def shut(self, sent: int) -> int:
        """Let nothing of what was sent so far begin any more.

        Args:
            sent: How many attempts the worker was sent.

        Returns:
            How many of them, the last ones, will not begin; 0 also where the worker stands in the gate just now.
        """
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 0
        try:
            came, before = _looked(self._shared)
            _CAME_SHUT.pack_into(self._shared, 0, came, sent)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)
        return max(0, sent - max(came, before))

    def waiting(self, sent: int) -> int:
        """How many of what the worker was sent have not come here yet. Nobody is kept out: it may be less at once."""
        return max(0, sent - max(_looked(self._shared)))

    def close(self) -> None:
        """It is not needed any more."""
        self._shared.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)


def _looked(shared: mmap.mmap) -> tuple[int, int]:
    return _CAME_SHUT.unpack_from(shared)


def new_gate() -> Gate:
    """A gate whose file has no name, so that nothing stays of it.

    Raises:
        OSError: There is no memory or no place for it.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("cerebelum-gate")
    else:
        import tempfile  # noqa: PLC0415  it takes a while, and workers start with this module

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.set_inheritable(fd, False)
    os.truncate(fd, _NBYTES)
    return Gate(fd)
