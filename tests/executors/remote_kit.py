"""What the tests of remote execution share."""

import asyncio
import itertools
import linecache
import time
from collections.abc import Callable
from typing import Any

import msgspec

from cerebelum_nb.codec import whole
from cerebelum_nb.protocols import Attempt

DEADLINE_S = 30.0
_cells = itertools.count(1)
_tasks = itertools.count(1)


class Heard:
    """Signals that keep what they hear."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.begun = asyncio.Event()
        self.waits = asyncio.Event()

    def started(self, worker: str) -> None:
        self.heard.append(("started", worker))
        self.begun.set()

    def output(self, stream: str, text: str) -> None:
        self.heard.append((stream, text))

    def displayed(self, bundle: Any) -> None:
        self.heard.append(("displayed", dict(bundle)))

    def progress(self, done: float, text: str) -> None:
        self.heard.append(("progress", (done, text)))

    def paused(self, kind: str, seconds: float | None, text: str, asked: Any) -> None:
        self.heard.append(("paused", (kind, seconds, text, asked)))
        self.waits.set()

    def resumed(self) -> None:
        self.heard.append(("resumed", None))
        self.waits.clear()

    def held(self, why: str) -> None:
        self.heard.append(("held", why))

    def text(self, stream: str = "stdout") -> str:
        return "".join(text for name, text in self.heard if name == stream)


def cell(source: str, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a cell as IPython does: in `__main__`, from a file that does not exist, its text in `linecache`."""
    name = f"/nowhere/ipykernel_1/{next(_cells)}.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    exec(compile(source, name, "exec"), namespace)
    return namespace


def attempt(function: Callable[..., Any], *args: Any, step: str = "", **more: Any) -> Attempt:
    kwargs = more.pop("kwargs", {})
    name = step or getattr(function, "__name__", "step")
    return Attempt(
        run="r",
        task=next(_tasks),
        step=name,
        number=1,
        pool="default",
        function=function,
        args=args,
        kwargs=kwargs,
        **more,
    )


async def run(executor: Any, function: Callable[..., Any], *args: Any, heard: Heard | None = None, **more: Any) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        outcome = await executor.run(attempt(function, *args, **more), heard or Heard())
    return msgspec.structs.replace(outcome, value=whole(outcome.value))


async def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> float:
    """Wait for a condition; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < deadline_s, f"not within {deadline_s} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


MARK = "    import os; open(path, 'w').write(str(os.getpid()))\n"  # the first line of a step that says where it runs
C_CODE = f"def step(path):\n{MARK}    sum(range(10**12))"


async def begin(core, function, *args):
    """Start an attempt and wait until it runs."""
    heard = Heard()
    running = asyncio.ensure_future(core.run(attempt(function, *args), heard))
    async with asyncio.timeout(30):
        await heard.begun.wait()
    return running, heard


def sleeper() -> Callable[..., Any]:
    return cell("import time, os\ndef nap(path):\n    open(path, 'w').write(str(os.getpid()))\n    time.sleep(60)\n")[
        "nap"
    ]


async def pid_in(path):
    await until(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


async def paused(core, step, *args, **kwargs):
    """Start an attempt and wait until it pauses."""
    heard, tried = Heard(), attempt(step, *args, kwargs=kwargs)
    running = asyncio.ensure_future(core.run(tried, heard))
    await until(lambda: heard.waits.is_set() or running.done())
    assert not running.done(), running.result()
    return running, heard, tried


async def say(core, tried, answer):
    await core.answer(tried.run, tried.task, tried.number, answer)
