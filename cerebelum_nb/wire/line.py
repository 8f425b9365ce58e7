"""Frames over a socket between Core and one worker: each message has its length before it."""

import struct
from collections.abc import Iterable, Iterator

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.frames import (
    MAX_MESSAGE_NBYTES,
    SOFT_NBYTES,
    AnyFrame,
    Ended,
    Finished,
    encoded,
    frames_of,
    messages,
)

_LENGTH = struct.Struct(">I")
READ_NBYTES = 1 << 18


def packed(frames: list[AnyFrame]) -> bytes:
    """Frames as bytes for the socket."""
    if len(frames) == 1 and isinstance(frames[0], Finished | Ended) and len(frames[0].sealed) <= SOFT_NBYTES:
        message = encoded(frames)
        return _LENGTH.pack(len(message)) + message
    return b"".join(part for message in messages(frames) for part in (_LENGTH.pack(len(message)), message))


def each_packed(frames: Iterable[AnyFrame]) -> Iterator[bytes]:
    """The same message by message, each made when it is asked for."""
    for message in messages(frames):
        yield _LENGTH.pack(len(message)) + message


class Splitter:
    """Cuts the bytes that arrive into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[AnyFrame]:
        """The frames that are complete now, in order.

        Raises:
            WireError: What arrives is not ours.
        """
        rest = self._rest
        rest += data
        frames: list[AnyFrame] = []
        start = 0
        while len(rest) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest, start)
            if length > MAX_MESSAGE_NBYTES:
                raise WireError(f"a message announces {length} bytes; the limit is {MAX_MESSAGE_NBYTES}.")
            end = start + _LENGTH.size + length
            if len(rest) < end:
                break
            frames += frames_of(bytes(memoryview(rest)[start + _LENGTH.size : end]))
            start = end
        del rest[:start]
        return frames
