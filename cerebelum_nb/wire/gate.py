"""The gate before a worker: which of the attempts that it was sent may still begin. Shared memory and a file's lock.

A worker that is sent several attempts at once holds up the later ones while the first takes long. Core takes them back
here, at once and for certain, also while a step keeps the worker's interpreter to itself.
"""

import contextlib
import fcntl
import mmap
import os
import struct

_TWO = struct.Struct("<QQ")  # attempts that came to the gate, counted by the worker; up to which it is shut, by Core


class Gate:
    """One side of it. The lock is the process's: each side has one thread that comes here.

    Args:
        fd: Of a file of 16 bytes that both sides have; closed with the gate.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._shared = mmap.mmap(fd, _TWO.size)
        self._count = 0

    def passes(self) -> bool:
        """Whether the worker may begin its next attempt; if not, it was taken back."""
        self._count += 1
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            _, shut = _looked(self._shared)
            _TWO.pack_into(self._shared, 0, self._count, shut)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)
        return self._count > shut

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
            _TWO.pack_into(self._shared, 0, came, sent)
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
    return _TWO.unpack_from(shared)


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
    os.truncate(fd, _TWO.size)
    return Gate(fd)
