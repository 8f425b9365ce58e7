"""Results that what follows needs, as they came from the worker; Core checks them, and cannot read them."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.seal import Address, seal, unseal, worker_key
from cerebelum_nb.wire.frames import Finished, Submit

OVER_COUNT, OVER_NBYTES = 256, 16 << 20  # results kept for followers that have not come yet; the oldest go first


class Value(NamedTuple):
    """A result, who has made it, and what gives the attempt: seldom asked, since mostly the same worker goes on."""

    frame: Finished
    worker: str
    attempt: Callable[[], Submit]

    def sent_to(self, worker: str, key: bytes) -> Finished:
        """The result as another worker can open it; as it is where it is not what it says."""
        if worker == self.worker:
            return self.frame
        frame, submit = self.frame, self.attempt()
        address = Address(submit.run, submit.task, submit.number, "to kernel", frame.codec)
        try:
            body = bytes(unseal(worker_key(key, self.worker), address, frame.sealed))
        except PayloadRejected:
            return frame
        return msgspec.structs.replace(frame, sealed=seal(worker_key(key, worker), address, body))


class Values:
    """The result before each attempt that follows another one; and results that something may still follow."""

    def __init__(self) -> None:
        self._of: dict[int, Value] = {}
        self._over: dict[int, Value] = {}
        self._over_nbytes = 0

    def ended(self, value: Value, follower: int | None) -> None:
        """An attempt has ended, and what follows it may go on."""
        if follower is not None:
            self._of[follower] = value
            return
        self._over[value.frame.id] = value
        self._over_nbytes += len(value.frame.sealed)
        while len(self._over) > OVER_COUNT or self._over_nbytes > OVER_NBYTES:
            self.over(next(iter(self._over)))

    def over(self, attempt: int) -> Value | None:
        """Take the result of an attempt that has ended, if it is still here."""
        value = self._over.pop(attempt, None)
        if value is not None:
            self._over_nbytes -= len(value.frame.sealed)
        return value

    def put(self, attempt: int, value: Value) -> None:
        """The result before an attempt."""
        self._of[attempt] = value

    def of(self, attempt: int) -> Value | None:
        """The result before an attempt; None where that has not ended, or there is none."""
        return self._of.get(attempt)

    def pop(self, attempt: int) -> None:
        """An attempt has ended, or will not run."""
        self._of.pop(attempt, None)
