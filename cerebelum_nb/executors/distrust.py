"""What workers of an untrusted pool say, before anybody believes it: bounded, plain, and nothing that can run code."""

import math
from typing import Final

import msgspec

from cerebelum_nb.attempt import printable
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.rich import plain_of
from cerebelum_nb.wire.frames import AnyFrame, Displayed, Finished, Lost, Paused, Piece, Printed, Progress

RESULT_NBYTES: Final = 16 << 20
ERROR_NBYTES: Final = 1 << 20
ASKED_NBYTES: Final = 1 << 20
OUTPUT_LIMIT: Final = 4 << 20  # characters of one attempt
TEXT_LIMIT: Final = 1_000
MESSAGE_LIMIT, TRACEBACK_LIMIT = 4_000, 40_000
NOTHING: Final = Printed(0, "notice", "")  # of no attempt
_LONGEST_S: Final = 1e8


class Distrust:
    """Looks at each frame that comes from a pool.

    Args:
        pool: What people call it.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self._printed: dict[int, int] = {}
        self._long: dict[int, int] = {}  # results that come in pieces: their sizes

    def seen(self, frame: AnyFrame) -> AnyFrame:
        """The frame as it may be handed on, or another one instead of it; `NOTHING` where it is dropped."""
        match frame:
            case Finished():
                self._printed.pop(frame.id, None)
                return self._finished(frame)
            case Lost():
                self._printed.pop(frame.id, None)
                self._long.pop(frame.id, None)
            case Printed():
                return self._room_for(frame)
            case Displayed():
                return self._room_for(Printed(frame.id, "stdout", plain_of(frame.bundle))) if frame.bundle else NOTHING
            case Progress():
                done = min(1.0, max(0.0, frame.done)) if math.isfinite(frame.done) else 0.0
                return Progress(frame.id, done, printable(frame.text[:TEXT_LIMIT]))
            case Paused():
                return self._paused(frame)
            case Piece():
                self._long[frame.id] = frame.nbytes
                frame = frame if 0 < frame.nbytes <= RESULT_NBYTES else NOTHING
        return frame

    def _finished(self, frame: Finished) -> AnyFrame:
        limit = ERROR_NBYTES if frame.codec == "error" else RESULT_NBYTES
        nbytes = max(self._long.pop(frame.id, 0), len(frame.sealed))
        if nbytes > limit:
            text = (
                f"the result has {nbytes / 2**20:.1f} MiB, and of pool {self.pool!r}, which is untrusted, "
                f"at most {limit >> 20} MiB are taken; nothing in it was read. Return less, or run the step elsewhere"
            )
            return Lost(frame.id, ErrorInfo("PayloadRejected", text))
        times = {name: _seconds(getattr(frame, name)) for name in ("run_s", "decode_s", "encode_s")}
        return msgspec.structs.replace(frame, **times)

    def _room_for(self, frame: Printed) -> AnyFrame:
        had = self._printed.get(frame.id, 0)
        self._printed[frame.id] = had + len(frame.text)
        text = printable(frame.text[: max(0, OUTPUT_LIMIT - had)])
        return Printed(frame.id, frame.stream, text) if text else NOTHING

    @staticmethod
    def _paused(frame: Paused) -> Paused:
        codec, sealed = (frame.codec, frame.sealed) if len(frame.sealed) <= ASKED_NBYTES else ("", b"")
        seconds = None if frame.seconds is None else _seconds(frame.seconds)
        text = printable(frame.text[:TEXT_LIMIT])
        return Paused(frame.id, frame.pause, frame.kind, seconds, text, codec, sealed)

    @staticmethod
    def error(error: ErrorInfo) -> ErrorInfo:
        """What a step raised, of bounded length."""
        return ErrorInfo(
            printable(error.type[:TEXT_LIMIT]),
            printable(error.message[:MESSAGE_LIMIT]),
            printable(error.traceback[:TRACEBACK_LIMIT]),
            tuple(printable(kind[:TEXT_LIMIT]) for kind in error.kinds[:50]),
        )


def _seconds(value: float) -> float:
    return min(_LONGEST_S, max(0.0, value)) if math.isfinite(value) else 0.0
