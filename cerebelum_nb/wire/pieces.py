"""A body that is too long for one message: it goes before its frame in pieces, which others overtake.

Each piece is sealed by itself, bound to its attempt, its direction, its place and the size of the whole, and is checked
when it comes, so that nothing is kept that is not ours. The frame itself then says only how to read what has come.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from cerebelum_nb.codec import Encoded
from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.seal import Address, Direction, seal, unseal
from cerebelum_nb.wire.frames import Piece, Submit

PIECES: Final = "pieces"  # the codec of a body that has come before
PIECE_NBYTES: Final = (1 << 20) - (1 << 12)  # with what is around it, a message of the usual size
WHOLE_NBYTES: Final = 4 << 20  # what is not longer goes in its frame
LIMIT_NBYTES: Final = 1 << 30  # where nobody says otherwise
OPTION: Final = "transfer_mib"  # who does


class Pieced(msgspec.Struct, frozen=True, array_like=True):
    """What stands in the frame: how to read the body, and its size."""

    codec: str
    nbytes: int


def is_long(encoded: Encoded) -> bool:
    """Whether it goes in pieces."""
    return len(encoded.data) > WHOLE_NBYTES


def described(encoded: Encoded) -> Encoded:
    """What stands for a body that goes in pieces."""
    return Encoded(PIECES, msgspec.msgpack.encode(Pieced(encoded.codec, encoded.nbytes)))


def cut(key: bytes, submit: Submit, direction: Direction, encoded: Encoded) -> Iterator[Piece]:
    """A body's pieces; each is made when it is asked for."""
    nbytes = encoded.nbytes
    for number, start in enumerate(range(0, nbytes, PIECE_NBYTES)):
        address = Address(submit.run, submit.task, submit.number, direction, _about(number, nbytes))
        sealed = seal(key, address, encoded.data[start : start + PIECE_NBYTES])
        yield Piece(submit.id, (submit.run, submit.task, submit.number), number, nbytes, sealed)


def _about(number: int, nbytes: int) -> str:
    return f"piece {number} of {nbytes}"


class Gathered:
    """The pieces of one body, as far as they have come.

    Args:
        key: What they are sealed with.
        limit: No body may be longer.
    """

    def __init__(self, key: bytes, direction: Direction, limit: int = LIMIT_NBYTES) -> None:
        self._key, self._direction, self._limit = key, direction, limit
        self._of: tuple[str, int, int] | None = None
        self._body = bytearray()
        self._next = 0
        self._wrong = ""

    def take(self, piece: Piece) -> None:
        """Check a piece, and put it in its place. What is wrong with one is said by `body`."""
        if self._wrong:
            return
        address = Address(*piece.of, self._direction, _about(piece.number, piece.nbytes))
        try:
            data = unseal(self._key, address, piece.sealed)
        except PayloadRejected as exc:
            self._refuse(str(exc))
            return
        if self._of is None and 0 < piece.nbytes <= self._limit:
            self._of, self._body = piece.of, bytearray(piece.nbytes)
        start = piece.number * PIECE_NBYTES
        length = min(PIECE_NBYTES, len(self._body) - start)
        if (piece.of, piece.nbytes, piece.number, len(data)) != (self._of, len(self._body), self._next, length):
            self._refuse(f"piece {piece.number} of {piece.nbytes} bytes is not the one that was to come")
            return
        self._body[start : start + length] = data
        self._next += 1

    def _refuse(self, why: str) -> None:
        self._wrong, self._body = why, bytearray()

    def body(self, run: str, task: int, number: int, description: bytes | memoryview) -> tuple[str, memoryview]:
        """The codec and the body, once all has come. It is given away.

        Raises:
            PayloadRejected: It is damaged, another attempt's, or not all here; nothing of it was read.
        """
        try:
            said = msgspec.msgpack.decode(description, type=Pieced)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise PayloadRejected(f"what is said of a long value cannot be read: {exc}") from None
        body, self._body = self._body, bytearray()
        whole = -(-said.nbytes // PIECE_NBYTES)
        if self._wrong or (self._of, len(body), self._next) != ((run, task, number), said.nbytes, whole):
            why = self._wrong or f"{self._next} of {whole} pieces have come"
            raise PayloadRejected(f"a long value of task {task}, attempt {number} of run {run!r} is not here: {why}")
        return said.codec, memoryview(body)


def fits(count: int, limit: int) -> bool:
    """Whether so many pieces can belong to one body; asked where they cannot be opened."""
    return count <= -(-limit // PIECE_NBYTES)
