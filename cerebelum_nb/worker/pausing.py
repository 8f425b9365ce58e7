"""How a step on a worker sleeps, or waits for an answer. Loaded with the first pause: it needs asyncio."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import msgspec

from cerebelum_nb import codec
from cerebelum_nb.errors import ExecutionError, WireError
from cerebelum_nb.model.events import PauseKind
from cerebelum_nb.protocols import Answer
from cerebelum_nb.seal import Address, Direction, seal, unseal
from cerebelum_nb.wire.frames import Paused, Reply, Resumed, Submit, check_size

UNTOLD_S: Final = 0.02  # a shorter pause is over before anybody could make use of it
_Waiting = asyncio.Future[Reply]


class Pauses:
    """The pauses of one attempt. A step may be in several at once; Core is told of one, a question before a sleep.

    Args:
        keys: Of what the kernel seals, and of what we do.
        tell: Sends a frame, now.
    """

    def __init__(self, submit: Submit, keys: tuple[bytes, bytes], tell: Callable[[Paused | Resumed], None]) -> None:
        self._submit, self._tell = submit, tell
        self._key, self._own = keys
        self._numbers = itertools.count(1)
        self._open: dict[int, Paused] = {}
        self._since: dict[int, float] = {}
        self._told = 0
        self._lock = threading.Lock()  # a step may have loops in threads of its own
        self._waiting: dict[int, _Waiting] = {}

    async def pause(
        self, kind: PauseKind, seconds: float | None, text: str, asked: Any, *, alone: bool
    ) -> Answer | None:
        """Sleep for so long, or wait so long for an answer; see `attempt.Here`.

        Args:
            alone: We are in a child that the step forked: nobody hears us.
        """
        if alone and kind == "approval":
            raise ExecutionError("a process that the step forked cannot wait for an approval: let the step itself wait")
        if alone or (seconds is not None and seconds < UNTOLD_S):
            await asyncio.sleep(seconds or 0.0)
            return None
        number = next(self._numbers)
        frame = self._frame(number, kind, seconds, text, asked)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._opens(frame)
            async with asyncio.timeout(seconds):
                reply = await waiting
        except TimeoutError:
            return None
        finally:
            del self._waiting[number]
            self._closes(number)
        return self._opened(reply)

    def _frame(self, number: int, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> Paused:
        """What Core is told.

        Raises:
            WireError: What is asked about cannot be sent.
        """
        if asked is None:
            return Paused(self._submit.id, number, kind, seconds, text)
        what = f"the data of wait_for_approval in step {self._submit.step!r}"
        body = codec.encode(asked, what)
        check_size(what, body.nbytes)
        frame = Paused(self._submit.id, number, kind, seconds, text, body.codec)
        sealed = seal(self._own, self._address("to kernel", frame.about), body.data)
        return msgspec.structs.replace(frame, sealed=sealed)

    def _opens(self, pause: Paused) -> None:
        with self._lock:
            self._open[pause.pause], self._since[pause.pause] = pause, monotonic()
            self._tell_which()

    def _closes(self, number: int) -> None:
        with self._lock:
            del self._open[number], self._since[number]
            self._tell_which()

    def _tell_which(self) -> None:
        """Tell of the oldest question, else of the oldest sleep; or that the step goes on."""
        first = min(self._open.values(), key=lambda pause: (pause.kind != "approval", pause.pause), default=None)
        now = first.pause if first is not None else 0
        if now == self._told:
            return
        if self._told:
            self._tell(Resumed(self._submit.id))
        if first is not None:
            self._tell(self._as_of_now(first))
        self._told = now

    def _as_of_now(self, pause: Paused) -> Paused:
        passed_s = monotonic() - self._since[pause.pause]
        if pause.seconds is None or passed_s < UNTOLD_S:
            return pause
        return msgspec.structs.replace(pause, seconds=max(0.0, pause.seconds - passed_s))

    def _opened(self, reply: Reply) -> Answer:
        """What was said, checked before it is read.

        Raises:
            PayloadRejected: It was not said by our kernel about this pause.
            WireError: The value cannot be read here.
        """
        data = unseal(self._key, self._address("to worker", reply.about), reply.sealed)
        try:
            value = codec.decode(reply.codec, data)
        except BaseException as exc:
            text = f"the value that came with the approval cannot be read on the worker: {codec.one_line(exc)}"
            raise WireError(text) from exc
        return Answer(reply.approved, value, reply.reason)

    def _address(self, direction: Direction, about: str) -> Address:
        return Address(self._submit.run, self._submit.task, self._submit.number, direction, about)

    def hear(self, reply: Reply) -> None:
        """An answer has come. From the control thread."""
        waiting = self._waiting.get(reply.pause)
        if waiting is not None and reply.id == self._submit.id:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits
                waiting.get_loop().call_soon_threadsafe(_settle, waiting, reply)


def _settle(waiting: _Waiting, reply: Reply) -> None:
    if not waiting.done():
        waiting.set_result(reply)
