"""``cerebelum workers`` and ``cerebelum core status``: what this user's kernels run here, as the system sees it."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from cerebelum_nb.cli.target import Refused
from cerebelum_nb.model.lines import columns

_LOG: Final = "core.log"
_LOG_LINES: Final = 40
_ITS_WORKERS: Final = (
    "workers belong to a kernel, so type `%cerebelum workers {action}{rest}` in its notebook; for workers that several "
    "kernels share, `cerebelum core serve --listen HOST:PORT` and `cerebelum worker --pass FILE --slots 2`"
)
_ITS_CORE: Final = (
    "a Core belongs to a kernel, so type `%cerebelum core {action}{rest}` in its notebook; one that several kernels "
    "share is started by `cerebelum core serve --listen HOST:PORT` and ends with that command"
)
_AS_IN_A_NOTEBOOK: Final = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@dataclass(frozen=True)
class _Found:
    """A Core, and a row for each of its workers."""

    kernel: int
    pool: str
    pid: int
    since: str
    directory: Path
    workers: tuple[tuple[str, ...], ...]


@click.command(context_settings=_AS_IN_A_NOTEBOOK, short_help="List the workers of your kernels here.")
@click.argument("action", required=False, type=click.Choice(["add", "remove", "drain"]))
@click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="")
def workers(action: str | None, rest: tuple[str, ...]) -> None:
    """List the worker processes of this user's kernels on this machine.

    They are added, removed and drained in the notebook they belong to: %cerebelum workers add --pool NAME --slots 2
    """
    if action is not None:
        raise Refused(_ITS_WORKERS.format(action=action, rest=_as_typed(rest)))
    rows = [row for found in _cores() for row in found.workers]
    _table(("kernel", "pool", "worker", "since", "memory"), rows, "No kernel of yours has workers on this machine.")


@click.command(short_help="List the Cores of your kernels here.")
def status() -> None:
    """List the Cores of this user's kernels on this machine."""
    rows = [
        (str(found.kernel), found.pool, str(found.pid), found.since, str(len(found.workers)), str(found.directory))
        for found in _cores()
    ]
    head = ("kernel", "pool", "Core", "since", "workers", "directory")
    _table(head, rows, "No kernel of yours has a Core on this machine.")


@click.command(short_help="Show what a kernel's Core has said last.")
@click.argument("pid", required=False, type=int)
def logs(pid: int | None) -> None:
    """Show the end of what a kernel's Core and its workers have said; PID is the Core's, where there are several."""
    cores = [found for found in _cores() if pid in (None, found.pid)]
    if len(cores) != 1:
        known = ", ".join(f"{found.pid} ({found.pool})" for found in _cores()) or "none"
        what = "which Core?" if pid is None else f"there is no Core {pid}."
        raise Refused(f"{what} Those of your kernels on this machine: {known}")
    try:
        text = (cores[0].directory / _LOG).read_text("utf-8", "replace")
    except OSError as exc:
        raise Refused(f"the log cannot be read: {exc.strerror}") from None
    click.echo("\n".join(text.splitlines()[-_LOG_LINES:]))


def _refusing(action: str) -> click.Command:
    @click.command(action, hidden=True, context_settings=_AS_IN_A_NOTEBOOK)
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def refuse(rest: tuple[str, ...]) -> None:
        raise Refused(_ITS_CORE.format(action=action, rest=_as_typed(rest)))

    return refuse


def add_to(core: click.Group) -> None:
    """Give the group its commands about kernels' Cores."""
    for command in (status, logs, *map(_refusing, ("start", "stop", "restart"))):
        core.add_command(command)


def _as_typed(rest: Sequence[str]) -> str:
    return "".join(f" {word}" for word in rest)


def _cores() -> Iterator[_Found]:
    import psutil  # noqa: PLC0415  only for whoever asks

    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ends just now, or is somebody else's
            line = process.cmdline()
            if line[2:4] == ["-m", "cerebelum_nb.core"] and len(line) > 4 and process.uids().real == os.getuid():
                kernel, pool = process.ppid(), line[5] if len(line) > 5 else "-"
                workers = tuple(filter(None, [_row(kernel, pool, worker) for worker in process.children()]))
                yield _Found(kernel, pool, process.pid, _since(process), Path(line[4]), workers)


def _row(kernel: int, pool: str, worker: Any) -> tuple[str, ...]:
    import psutil  # noqa: PLC0415  as above

    with suppress(psutil.Error):
        return str(kernel), pool, str(worker.pid), _since(worker), f"{worker.memory_info().rss / 2**20:.0f} MiB"
    return ()


def _since(process: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time()))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], nothing: str) -> None:
    click.echo("\n".join(columns(head, rows)) if rows else nothing)
