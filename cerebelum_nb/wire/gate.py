"""The gate before a worker: which of the attempts that it was sent may still begin. Shared memory and a file's lock.

A worker that is sent several attempts at once holds up the later ones while the first takes long. Core takes them back
here, at once and for certain, also while a step keeps the worker's interpreter to itself. And a worker that gathers
what it has to say leaves it here before it begins the next attempt: it is found here when that one takes long, or is
its end.

The worker comes here for every attempt, and takes the lock only where the gate was shut. For that each side first
writes and then reads what the other one writes (Dekker's way): of two that meet, one sees the other at least, and
what Core saw then counts. That needs writes to be seen in order, and a fence between writing and reading. Where the
processor does not promise the first, the worker always takes the lock.
"""

import contextlib
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

# Numbers of 8 bytes, each written by one side alone. The worker: attempts that came to the gate. Core: up to which it
# is shut, and up to which it was open before. The worker: of what it has left here the number of the first part; and,
# in one number, so that all of it is seen at once, how often it began anew, how many parts there are, their bytes.
_CAME, _SHUT, _OPEN, _FIRST, _LEFT = range(5)
_HEAD_NBYTES: Final = 5 * 8
LEFT_NBYTES: Final = 1 << 17  # what can be left here
_NBYTES: Final = _HEAD_NBYTES + LEFT_NBYTES
_ORDERED: Final = os.uname().machine in {"x86_64", "amd64"}  # others see what one processor writes in that order
_LOOKS: Final = 4  # at what the worker may be writing just now


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
        self._words = memoryview(self._shared)[:_HEAD_NBYTES].cast("Q")  # each is read and written in one piece
        self._fence = threading.Lock()  # to take it is one, as any instruction is that locks memory
        self._count = 0
        self._first = self._parts = self._nbytes = 0  # of what is to be found here
        self._began_anew = 0
        self._new: list[bytes] = []  # of these, what is not here yet
        self._is_anew = False  # what is here was sent

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
        self._is_anew = True

    def passes(self) -> bool:
        """Whether the worker may begin its next attempt; if not, it was taken back."""
        self._count += 1
        if not _ORDERED:
            with self._locked():
                return self._comes() or self._count <= self._words[_OPEN]
        if self._comes():
            return True
        with self._locked():  # Core was here, or is: it has seen us, or it has not
            return self._count <= self._words[_OPEN]

    def _comes(self) -> bool:
        if self._new or self._is_anew:
            self._put_down()
        self._words[_CAME] = self._count
        with self._fence:
            pass
        return self._count > self._words[_SHUT]

    def _put_down(self) -> None:
        if self._is_anew:
            self._words[_LEFT], self._is_anew = 0, False
            self._began_anew = (self._began_anew + 1) & 0xFFFF
            self._words[_FIRST] = self._first
        elif not self._words[_LEFT]:
            self._words[_FIRST] = self._first
        if self._new:
            data = b"".join(self._new)
            end = _HEAD_NBYTES + self._nbytes
            self._shared[end - len(data) : end] = data
            self._new.clear()
            self._words[_LEFT] = self._began_anew << 48 | self._parts << 32 | self._nbytes

    def left(self) -> Left | None:
        """What the worker has left here, if anything; None also where it stands in the gate just now.

        It may have been sent meanwhile.
        """
        if _ORDERED:
            return self._left()
        try:
            with self._locked(wait=False):
                return self._left()
        except OSError:
            return None

    def _left(self) -> Left | None:
        for _ in range(_LOOKS):
            if not (found := self._words[_LEFT]):
                return None
            end = _HEAD_NBYTES + (found & 0xFFFFFFFF)
            left = Left(self._words[_FIRST], found >> 32 & 0xFFFF, self._shared[_HEAD_NBYTES:end])
            if self._words[_LEFT] == found:
                return left
        return None

    def shut(self, sent: int) -> int:
        """Let nothing of what was sent so far begin any more.

        Args:
            sent: How many attempts the worker was sent.

        Returns:
            How many of them, the last ones, will not begin; 0 also where the worker stands in the gate just now.
        """
        words = self._words
        try:
            with self._locked(wait=False):
                before, words[_SHUT] = words[_SHUT], sent
                with self._fence:
                    pass
                came = words[_CAME]
                if came > before:  # else it has not come to what was shut then: all of that stays shut
                    words[_OPEN] = came
        except OSError:
            return 0
        return max(0, sent - max(came, before))

    def waiting(self, sent: int) -> int:
        """How many of what the worker was sent have not come here yet. Nobody is kept out: it may be less at once."""
        return max(0, sent - max(self._words[_CAME], self._words[_SHUT]))

    @contextlib.contextmanager
    def _locked(self, *, wait: bool = True) -> Iterator[None]:
        fcntl.lockf(self.fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """It is not needed any more."""
        self._words.release()
        self._shared.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)


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
