"""How a process of ours learns that another one has ended, without asking again and again."""

import contextlib
import os
import signal

_PR_SET_PDEATHSIG = 1


def of(pid: int) -> int | None:
    """A file that can be read once a process has ended; None where the system has no such thing, or it has ended."""
    with contextlib.suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return None


def go_on_without_parent() -> None:
    """Have the system wake this process, should it be stopped, when the one that started it ends: so that it can end.

    On Linux; elsewhere nothing is done.
    """
    with contextlib.suppress(Exception):  # only a help: nothing depends on it
        import ctypes  # noqa: PLC0415  it takes a while; called when all else has begun

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0)
