"""``cerebelum core serve --upstream-port``: a Core for programs of the SDK, and how its approvals are answered."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import click

from cerebelum_nb.cli.project import value
from cerebelum_nb.cli.target import Refused
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.wire.channel import loading

_PORT = 9090


def upstream_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `cerebelum core serve` takes for programs of the SDK."""
    options = (
        click.option(
            "--upstream-port", type=click.IntRange(0, 65535), metavar="PORT",
            help="Serve programs that are written for cerebelum-sdk there; 0 for a free port.",
        ),
        click.option("--upstream-host", default="127.0.0.1", show_default=True, metavar="HOST"),
        click.option("--force", is_flag=True, help="Let others than this machine reach it, who need no password."),
        click.option(
            "--lease", "lease_s", default=3600.0, show_default=True, type=click.FloatRange(min=1), metavar="SECONDS",
            help="An SDK's worker that is not heard of for so long has lost its step.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def serve_sdk(host: str, port: int, *, force: bool, lease_s: float) -> None:
    """Serve programs of the SDK until interrupted.

    Raises:
        Refused: It cannot; says why.
    """
    from cerebelum_nb.upstream import serve_upstream  # noqa: PLC0415  only where it is needed

    try:
        with contextlib.suppress(KeyboardInterrupt), loading():
            asyncio.run(serve_upstream(host, port, force=force, lease_s=lease_s, say=click.echo))
    except CerebelumError as exc:
        raise Refused(str(exc)) from None


def _where(command: Callable[..., None]) -> Callable[..., None]:
    """Which execution of which Core."""
    core = click.option("--core", "url", default=f"127.0.0.1:{_PORT}", show_default=True, metavar="HOST:PORT")
    return click.argument("execution")(click.argument("step", default="")(core(command)))


@click.command(short_help="Let a step of an SDK's workflow go on.")
@_where
@click.option("--value", "given", metavar="VALUE", help="JSON, or text: the step's output.")
def approve(url: str, execution: str, step: str, given: str | None) -> None:
    """Let a step of an SDK's workflow go on that waits for approval. STEP may be left out when only one waits.

    \b
    cerebelum core approve 3f2c2b9e-... process_payment --value '{"limit": 500}'
    """  # noqa: D301  click's mark for lines that stay as they are
    _decide(url, execution, step, approved=True, value=value(given))


@click.command(short_help="Say no to a step of an SDK's workflow.")
@_where
@click.option("--reason", default="", help="Why not.")
def reject(url: str, execution: str, step: str, reason: str) -> None:
    """Say no to a step of an SDK's workflow that waits for approval: its execution fails."""
    _decide(url, execution, step, approved=False, reason=reason)


def _decide(url: str, execution: str, step: str, **said: Any) -> None:
    from cerebelum_nb.upstream.deciding import decide  # noqa: PLC0415  loads gRPC

    try:
        done = decide(url, execution, step, **said)
    except CerebelumError as exc:
        raise Refused(str(exc)) from None
    click.echo(f"{done} {'approved' if said['approved'] else 'rejected'}.")
