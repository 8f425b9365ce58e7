"""What a step reaches while it is replayed: prints go to whoever asked, pauses are short, answers the old ones."""

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cerebelum_nb.attempt import enter
from cerebelum_nb.errors import ExecutionError
from cerebelum_nb.model.events import PauseKind, Stream
from cerebelum_nb.model.lines import duration
from cerebelum_nb.protocols import Answer
from cerebelum_nb.rich import for_message, plain_of

LONGEST_S: Final = 1.0  # of a sleep
QUIET_S: Final = 0.5  # between two lines of progress
STOP_S: Final = 2.0  # how long a step that awaits may take to stop

on_failed_replay: list[
    Callable[[BaseException], object]
] = []  # told before it is raised: the notebook shows it shorter


class Console:
    """Where a replay is heard: the cell, or the terminal, of whoever asked for it."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._outside = contextvars.copy_context()  # there, what is printed is nobody's attempt
        self._told: tuple[float, str] = (0.0, "")
        self._noted: set[str] = set()

    def write(self, stream: Stream, text: str) -> None:
        """Print. From any thread."""
        self._outside.copy().run(_write, "stderr" if stream == "stderr" else "stdout", text)

    def show(self, bundle: Mapping[str, bytes]) -> None:
        """Display."""
        self._outside.copy().run(_show, bundle)

    def progress(self, done: float, text: str) -> None:
        """Say how far it is, not too often."""
        at, line = time.monotonic(), f"{self._step}: {100 * done:.0f} %{f', {text}' if text else ''}\n"
        if line != self._told[1] and (done >= 1 or at - self._told[0] >= QUIET_S):
            self._told = at, line
            self.write("stdout", line)

    def note(self, text: str) -> None:
        """Say something about the replay itself, once."""
        if text not in self._noted:
            self._noted.add(text)
            self.write("notice", f"replay: {text}\n")


def _write(name: str, text: str) -> None:
    out = getattr(sys, name)
    out.write(text)
    out.flush()


def _show(bundle: Mapping[str, bytes]) -> None:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        _write("stdout", plain_of(bundle) if bundle else "")
    elif bundle:
        shell.display_pub.publish(for_message(bundle))


class Answers:
    """What the attempt was told by people, in order.

    Args:
        complete: There were no others; where it waited for one more, nobody answered.
    """

    def __init__(self, said: Sequence[Answer], *, complete: bool) -> None:
        self._left, self._complete = list(said), complete

    def next(self, asks: str, limit_s: float | None, console: Console) -> Answer | str | None:
        """The answer to the next question; None where its time ran out; else why there is none."""
        if self._left:
            console.note(f"{asks!r} is answered as it was")
            return self._left.pop(0)
        if self._complete and limit_s is not None:
            console.note(f"nobody had answered {asks!r} in time")
            return None
        known = "nobody had answered it" if self._complete else "what was answered is not kept"
        return f"the step asks {asks!r}, and {known}: a replay asks nobody"


def rested(seconds: float | None, console: Console) -> float:
    """How long a replay sleeps instead."""
    if seconds is None or seconds <= LONGEST_S:
        return seconds or 0.0
    console.note(f"a sleep of {duration(seconds * 1e3, ' ')} is cut to {LONGEST_S:g} s")
    return LONGEST_S


class ReplayHere:
    """The `attempt.Here` of a replay in this process."""

    def __init__(self, console: Console, answers: Answers) -> None:
        self._console, self._answers = console, answers

    def __call__(self, stream: Stream, text: str) -> None:
        """The step prints."""
        self._console.write(stream, text)

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        """The step displays something."""
        self._console.show(bundle)

    def progress(self, done: float, text: str) -> None:
        """The step says how far it is."""
        self._console.progress(done, text)

    async def pause(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> Answer | None:  # noqa: ARG002
        """Sleep, but not for long; or get the answer that the attempt got."""
        if kind != "approval":
            await asyncio.sleep(rested(seconds, self._console))
            return None
        found = self._answers.next(text, seconds, self._console)
        if isinstance(found, str):
            raise ExecutionError(found)
        return found


class ReplaySignals:
    """The `protocols.Signals` of a replay on another executor.

    Args:
        reply: Ends a pause of the step after so many seconds.
    """

    def __init__(self, console: Console, answers: Answers, reply: Callable[[float, Answer], None]) -> None:
        self._console, self._answers, self._reply = console, answers, reply

    def started(self, worker: str) -> None:
        """The step begins."""

    def output(self, stream: Stream, text: str) -> None:
        """The step prints."""
        self._console.write(stream, text)

    def displayed(self, bundle: Mapping[str, bytes]) -> None:
        """The step displays something."""
        self._console.show(bundle)

    def progress(self, done: float, text: str) -> None:
        """The step says how far it is."""
        self._console.progress(done, text)

    def paused(self, kind: PauseKind, seconds: float | None, text: str, asked: Any) -> None:  # noqa: ARG002
        """As `ReplayHere.pause`, by word to the worker."""
        if kind != "approval":
            short = rested(seconds, self._console)
            if short != seconds:
                self._reply(short, Answer(approved=True))
            return
        found = self._answers.next(text, seconds, self._console)
        if found is not None:
            self._reply(0.0, Answer(approved=False, reason=found) if isinstance(found, str) else found)

    def resumed(self) -> None:
        """The step goes on."""

    def held(self, why: str) -> None:
        """It waits for room."""
        if why:
            self._console.note(why)


def called_here(call: Callable[[], Any], here: ReplayHere, *, is_async: bool) -> Any:
    """Call a step's function, as an attempt that `here` stands for, and give what it comes to.

    A plain one runs in this very thread, so that an interrupt and a debugger reach it; it sees no running loop, as on a
    worker. One that is awaited gets a thread and a loop of its own.
    """
    context = contextvars.copy_context()
    context.run(enter, lambda: here)
    if is_async:
        return _awaited(call, context)
    loop = asyncio._get_running_loop()  # noqa: SLF001  public by name, and the only way
    asyncio._set_running_loop(None)  # noqa: SLF001
    try:
        return context.run(call)
    finally:
        asyncio._set_running_loop(loop)  # noqa: SLF001


class _Awaited:
    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.value: Any = None
        self.error: BaseException | None = None

    def main(self) -> None:
        try:
            asyncio.run(self._settled())
        except BaseException as exc:  # noqa: BLE001  a step may stop its loop
            self.error = self.error or exc

    async def _settled(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            self.value = await self._call()
        except BaseException as exc:  # noqa: BLE001  raised again by whoever waits
            self.error = exc

    def cancel(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)


def _awaited(call: Callable[[], Any], context: contextvars.Context) -> Any:
    running = _Awaited(call)
    thread = threading.Thread(target=context.run, args=(running.main,), name="cerebelum-replay", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt as exc:
        running.cancel()
        thread.join(STOP_S)
        stopped = running.error
        raise exc.with_traceback(stopped.__traceback__ if stopped is not None else None) from None
    if running.error is not None:
        raise running.error
    return running.value
