"""The clean process that forks kernels: ``python -m cerebelum_nb.testing.chaos.forking MODULE``. See `kernels`."""

import contextlib
import faulthandler
import functools
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from cerebelum_nb.testing.chaos.faults import kill
from cerebelum_nb.testing.chaos.kernels import Ended, Request
from cerebelum_nb.testing.chaos.points import at

_LATE_S: Final = 5.0  # a kernel that takes longer than its time says where it stands, and has this long for it


def _main() -> None:
    """Read requests, a line each; fork, wait, answer."""
    module = import_module(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is no answer
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        theirs, ours = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(theirs)
            _kernel(request, functools.partial(getattr(module, request.function), *request.args), ours)
        os.close(ours)
        answers.write(msgspec.json.encode(_wait(request, pid, theirs)) + b"\n")
        answers.flush()


def _log(request: Request) -> Path:
    return Path(f"{request.temporary}.log")  # beside it: in it, it would be left behind


def _wait(request: Request, pid: int, pipe: int) -> Ended:
    """What became of a kernel. Its pipe ends with it: nobody else has it."""
    log, timeout_s = _log(request), request.timeout_s
    until, said, late = time.monotonic() + timeout_s + _LATE_S, b"", False
    while not late:
        late = not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]
        piece = b"" if late else os.read(pipe, 1 << 16)
        if not piece:
            break
        said += piece
    if late:
        kill(pid)
    os.close(pipe)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    words = log.read_text("utf-8", "replace")[-8000:] if log.exists() else ""
    log.unlink(missing_ok=True)
    if late:
        return Ended(pid, signal.SIGKILL, None, f"it did not end within {timeout_s:g} s. {words}")
    if code < 0:
        return Ended(pid, -code)
    if not said:
        return Ended(pid, 0, None, words or f"it ended with exit code {code} and said nothing")
    value, error = json.loads(said)
    return Ended(pid, 0, value, error)


def _kernel(request: Request, function: Callable[[], Any], pipe: int) -> NoReturn:
    """In the child: run, say what came of it, end without ceremony."""
    os.setpgid(0, 0)
    words = os.open(_log(request), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for here, there in ((nothing, 0), (words, 1), (words, 2)):
        os.dup2(here, there)
    os.environ["TMPDIR"] = tempfile.tempdir = request.temporary
    os.environ.pop("XDG_RUNTIME_DIR", None)
    faulthandler.dump_traceback_later(request.timeout_s, exit=False, file=sys.__stderr__ or 2)
    point = request.at
    try:
        with at(point, lambda: kill(os.getpid())) if point is not None else contextlib.nullcontext():
            said = json.dumps([function(), ""])
    except BaseException:  # noqa: BLE001  told to whoever waits
        said = json.dumps([None, traceback.format_exc()])
    data = said.encode()
    while data:
        data = data[os.write(pipe, data) :]
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main()
