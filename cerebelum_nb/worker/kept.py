"""A worker's last result, for the attempt that follows: that one gets its own copy, as if it had travelled."""

from typing import Any

from cerebelum_nb.codec import Encoded, decode
from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.protocols import After
from cerebelum_nb.seal import Address, unseal
from cerebelum_nb.wire.frames import GIVEN_BACK, GOES_ON, STOPS, Finished, Submit
from cerebelum_nb.wire.lent import SHARED
from cerebelum_nb.wire.pieces import PIECES, is_long

TURN_S = 0.01  # a line of attempts has a worker for so long; what comes then waits as others do
_NOT_KEPT = frozenset({"error", "cancelled", SHARED, PIECES})  # what is large goes the usual way, and is not copied


class Kept:
    """At most one result. The main thread's own."""

    def __init__(self) -> None:
        self._id = 0
        self._of: tuple[str, int, int] = ("", 0, 0)  # run, task, attempt
        self._encoded: Encoded | None = None
        self._given: Finished | None = None  # instead: one that another worker has made, as it came
        self._since = 0.0  # when the line got its turn
        self._readable = True

    def given(self, frame: Finished) -> None:
        """What follows this comes next."""
        self._id, self._given, self._encoded = frame.id, frame, None

    def goes_on(self, submit: Submit, now: float) -> bool:
        """Whether an attempt runs: not where what it follows gave nothing here. Core knows what becomes of it then."""
        if submit.after and submit.after != self._id:
            return False
        if not submit.after or self._given is not None:
            self._since = now
        return True

    def look_at(self, value: Any) -> None:
        """What the attempt that runs has returned. The kernel opens envelopes: what follows reads what is in them."""
        self._readable = type(value) is not dict or ("ok" not in value and "error" not in value)

    def keep(self, submit: Submit, encoded: Encoded, now: float, *, inside: bool = False) -> int:
        """Keep the result of the attempt that has ended, where something follows it.

        Args:
            inside: What follows came in the same batch: the line's turn does not end before that is over.

        Returns:
            What becomes of that; see `frames.Finished`.
        """
        self._id, self._given, self._encoded = 0, None, None
        if not submit.followed or encoded.codec in _NOT_KEPT or is_long(encoded) or not self._readable:
            return STOPS
        if not inside and now - self._since > TURN_S:
            return GIVEN_BACK
        self._id, self._of, self._encoded = submit.id, (submit.run, submit.task, submit.number), encoded
        return GOES_ON

    def put(self, key: bytes, run: str, after: After, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Put the result of what an attempt follows where it is read.

        Args:
            key: What it is sealed with, where another worker has made it.

        Raises:
            PayloadRejected: What is here is something else.
        """
        if isinstance(after.place, int):
            args[after.place] = self._read(key, run, after)
        elif after.place is not None:
            kwargs[after.place] = self._read(key, run, after)

    def _read(self, key: bytes, run: str, after: After) -> Any:
        given = self._given
        if given is not None:
            address = Address(run, after.task, after.number, "to kernel", given.codec)
            return decode(given.codec, unseal(key, address, given.sealed))
        if self._encoded is None or self._of != (run, after.task, after.number):
            raise PayloadRejected(f"the result of task {after.task}, attempt {after.number} of run {run!r} is not here")
        return decode(self._encoded.codec, self._encoded.data)
