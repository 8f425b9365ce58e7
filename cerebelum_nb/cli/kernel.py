"""A notebook's workflow from the command line: a real kernel runs the cells that define it, then the run itself.

The kernel is this very Python with the notebook's folder as its own; it ends with this process. What the run prints
comes back as it is printed; an interrupt is passed on and cancels the run there.
"""

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import IO, Any, Final

import click

from cerebelum_nb.cli.cells import defining
from cerebelum_nb.cli.target import Refused, Request, Target

START_S: Final = 60.0  # a cold disk
POLL_S: Final = 0.25
QUIET_POLLS: Final = 4  # after a reply whose "idle" was lost
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_ANSWER: Final = "__cerebelum_exit_code__"

Message = dict[str, Any]


class Died(Exception):
    """The kernel ended before it answered."""


def code_cells(path: Path) -> list[str]:
    """The text of a notebook's code cells, in order.

    Raises:
        Refused: It is no notebook.
    """
    try:
        book = json.loads(path.read_text("utf-8"))
        cells = book["cells"]
        return [_source(cell) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused(f"{path.name} is not a notebook of format 4 ({type(exc).__name__}: {exc})") from None


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def through_kernel(target: Target, verb: str, request: Request, **options: Any) -> int:
    """Define what the notebook defines, then run its workflow there; gives the exit code.

    Args:
        verb: ``run`` or ``dev``.
        options: Passed on to `inside.answer`.

    Raises:
        Refused: The notebook is none, or a defining cell fails.
    """
    cells = defining(code_cells(target.path))
    try:
        with _kernel(target.path.parent) as kernel:
            file = target.path.name
            numbers = {
                _define(kernel, file, number, cell): number for number, cell in enumerate(cells, 1) if cell.strip()
            }
            said = json.dumps(
                {
                    **request._asdict(),
                    "notebook": file,
                    "workflow": target.workflow,
                    "verb": verb,
                    "cells": numbers,
                    **options,
                }
            )
            code = f"import cerebelum_nb.cli.inside as {_ANSWER}\n{_ANSWER} = {_ANSWER}.answer({said!r}, globals())"
            reply = kernel.run(code, _pass_on, ask=_ANSWER)
    except Died as exc:
        sys.stderr.write(f"Error: {exc}\n")
        return 1
    told = reply.get("user_expressions", {}).get(_ANSWER, {})
    with contextlib.suppress(KeyError, ValueError):
        return int(told["data"]["text/plain"])
    if reply.get("status") == "error" and reply.get("ename") != "KeyboardInterrupt":
        sys.stderr.write(f"Error: {reply.get('ename')}: {reply.get('evalue')}\n")
    return 1


def _define(kernel: "_Kernel", file: str, number: int, cell: str) -> int:
    """Run one cell; gives the kernel's own number of it."""
    printed: list[str] = []

    def keep(message: Message) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = kernel.run(cell, keep)
    if reply.get("ename") == "KeyboardInterrupt":
        raise click.Abort
    if reply.get("status") == "error":
        # The kernel's own words, without colours; its last line says what is wrong.
        trace = _COLOURS.sub("", "\n".join(reply.get("traceback") or [])).strip()
        told = re.sub(rf"Cell In\s?\[{reply.get('execution_count')}\]", f"Code cell {number}", trace)
        told = told or f"{reply.get('ename')}: {reply.get('evalue')}"
        raise Refused(f"code cell {number} of {file} fails, so nothing was run.\n{''.join(printed)}{told}")
    return int(reply.get("execution_count") or 0)


def _pass_on(message: Message) -> None:
    if message["msg_type"] == "stream":
        out = sys.stderr if message["content"]["name"] == "stderr" else sys.stdout
        out.write(message["content"]["text"])
        out.flush()


class _Kernel:
    """A started kernel and its client."""

    def __init__(self, manager: Any, client: Any) -> None:
        self._manager, self._client = manager, client

    def run(self, code: str, hear: Callable[[Message], None], *, ask: str | None = None) -> dict[str, Any]:
        """Run code to its end; what it shows goes to `hear`. An interrupt here interrupts it there.

        Raises:
            Died: The kernel ended.
        """
        wanted = {} if ask is None else {ask: ask}
        request = self._client.execute(code, allow_stdin=False, user_expressions=wanted)
        reply: dict[str, Any] | None = None
        quiet = 0  # polls without a word since the reply
        while reply is None or quiet < QUIET_POLLS:
            try:
                message = self._heard(request)
                if message is None:
                    quiet += reply is not None
                    reply = reply or self._reply(request)
                elif message["msg_type"] != "status":
                    hear(message)
                elif message["content"]["execution_state"] == "idle":
                    while reply is None:
                        reply = self._reply(request)
                    break
            except KeyboardInterrupt:
                self._manager.interrupt_kernel()
        return reply

    def _heard(self, request: str) -> Message | None:
        try:
            message: Message = self._client.get_iopub_msg(timeout=POLL_S)
        except Empty:
            if not self._manager.is_alive():
                raise Died("the notebook's kernel died; run the notebook in Jupyter to see why") from None
            return None
        mine = message.get("parent_header", {}).get("msg_id") == request
        return message if mine else {"msg_type": "other"}

    def _reply(self, request: str) -> dict[str, Any] | None:
        try:
            message = self._client.get_shell_msg(timeout=POLL_S)
        except Empty:
            return None
        if message["parent_header"].get("msg_id") != request:
            return None
        content: dict[str, Any] = message["content"]
        return content


@contextlib.contextmanager
def _kernel(folder: Path) -> Iterator[_Kernel]:
    # Late: a run of a plain file needs none of this.
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager  # noqa: PLC0415
    from jupyter_client.manager import KernelManager  # noqa: PLC0415

    class ThisPython(KernelSpecManager):
        """Whatever kernels are installed: the one that has this package is this Python's."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
            return KernelSpec(argv=argv, display_name=kernel_name, language="python")

    manager = KernelManager(kernel_spec_manager=ThisPython())
    # What cells print comes as messages. The kernel's own complaints, mostly about sockets that close while it ends,
    # are for nobody unless it does not start.
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        yield from _started(manager, folder, complaints)


def _started(manager: Any, folder: Path, complaints: IO[str]) -> Iterator[_Kernel]:
    manager.start_kernel(cwd=str(folder), stdout=subprocess.DEVNULL, stderr=complaints)
    try:
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=START_S)
        except RuntimeError as exc:
            complaints.seek(0)
            raise Died(f"no kernel could be started for the notebook: {exc}\n{complaints.read()[-2000:]}") from exc
        yield _Kernel(manager, client)
        client.stop_channels()
    finally:
        with _no_interrupt():
            manager.shutdown_kernel(now=False)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """A second Ctrl-C must not leave the kernel behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
