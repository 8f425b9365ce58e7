"""The embedded Core: ``python -m cerebelum_nb.core DIRECTORY``. Started by the kernel; see executors/core_process.py.

Reads one JSON line of settings and secrets from its stdin, and lives for as long as that pipe and the kernel do.
However it ends, the directory, which the kernel made for it, goes with it.
"""

import json
import mmap
import os
import select
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from cerebelum_nb.core.spawn import Nursery
from cerebelum_nb.wire import lifeline
from cerebelum_nb.wire.ledger import NBYTES, Ledger

SOCKET = "core.sock"
LOG = "core.log"
HANDED = "handed"
_PARENT_POLL_S = 0.25
_LET_GO_S = 2.0


def main() -> None:
    """Serve the kernel, and leave nothing behind. Does not return."""
    directory, nursery = Path(sys.argv[1]), Nursery()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        _end(directory, nursery)  # the kernel died while we started
    said = json.loads(line)
    try:
        _serve(said, directory, nursery)
    except BaseException:  # noqa: BLE001  nothing may keep us from ending
        traceback.print_exc()
    if nursery.ending or os.getppid() != said["kernel"]:
        _end(directory, nursery)
    nursery.end()
    os._exit(1)  # the kernel reads our last words, and removes them with the directory


def _serve(said: dict[str, Any], directory: Path, nursery: Nursery) -> None:
    """Spawn workers, watch the kernel, and only then load gRPC: the three take their time side by side."""
    nursery.env, nursery.segments, nursery.kernel = said["env"], said["segments"], said["kernel"]
    nursery.lifeline = lifeline.of(said["kernel"])
    if os.getppid() != said["kernel"]:
        _end(directory, nursery)  # it died while we started
    threading.Thread(target=_watch, args=(directory, nursery), name="lifeline", daemon=True).start()
    nursery.large_nbytes = said["large_nbytes"]
    processes = [nursery.spawn() for _ in range(said["slots"])]

    import asyncio  # noqa: PLC0415  see above

    from cerebelum_nb.wire.channel import loading  # noqa: PLC0415  see above
    from cerebelum_nb.wire.frames import Place  # noqa: PLC0415

    with loading():
        from cerebelum_nb.core.held import Settings  # noqa: PLC0415
        from cerebelum_nb.core.service import serve  # noqa: PLC0415

    settings = Settings(
        token=said["token"],
        key=bytes.fromhex(said["key"]),
        place=Place(tuple(map(os.fsencode, said["path"])), os.fsencode(said["cwd"])),
        log=directory / LOG,
        nursery=nursery,
        handed=Ledger(_shared(directory / HANDED)),
        limit_nbytes=said["limit_nbytes"],
        silent_s=said["worker_silent_s"],
    )
    # It ends from inside: to take a gRPC server and a loop down in order would only take time.
    asyncio.run(serve(settings, processes, directory / SOCKET, _say_ready, lambda: _end(directory, nursery)))


def _shared(path: Path) -> mmap.mmap:
    """Bytes that the kernel, which made the file, can read also when we are dead."""
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, NBYTES)
    finally:
        os.close(fd)


def _say_ready() -> None:
    sys.stdout.write(json.dumps({"ready": os.getpid()}) + "\n")
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _watch(directory: Path, nursery: Nursery) -> None:
    """End Core when the kernel ends: its pipe closes, or its process ends while a forked child still holds the pipe."""
    lifeline.go_on_without_parent()
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    timeout_ms: float | None = _PARENT_POLL_S * 1000
    if nursery.lifeline is not None:  # else, on some systems, we look who our parent is
        poll.register(nursery.lifeline, select.POLLIN)
        timeout_ms = None
    while os.getppid() == nursery.kernel and not poll.poll(timeout_ms):
        pass
    _end(directory, nursery)


def _end(directory: Path, nursery: Nursery) -> NoReturn:
    """Leave nothing behind: no worker, no child of one, no file."""
    nursery.end()
    if nursery.segments:  # a kernel that lives takes over first what it needs of them, and then lets go of us
        until = time.monotonic() + _LET_GO_S
        while os.getppid() == nursery.kernel and time.monotonic() < until and not select.select([0], [], [], 0.02)[0]:
            pass
        shutil.rmtree(nursery.segments[0], ignore_errors=True)
    for _ in range(10):  # a file may appear while its directory goes
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            break
        time.sleep(0.01)
    os._exit(0)


if __name__ == "__main__":
    main()
