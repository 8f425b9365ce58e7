"""``cerebelum core serve`` and ``cerebelum worker``: a Core, and workers for it, on as many hosts as there are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cerebelum_nb.cli.core_upstream import approve, reject, serve_sdk, upstream_options
from cerebelum_nb.cli.target import Refused
from cerebelum_nb.config import from_environment
from cerebelum_nb.errors import PlanError, WireError
from cerebelum_nb.model.pools import MOST_SLOTS, check_name
from cerebelum_nb.wire.channel import loading

if TYPE_CHECKING:  # it loads what only a Core that is served needs
    from cerebelum_nb.core.passes import Grant

_DEFAULT = "core.pass"


@click.group(short_help="Serve Cores, and look at them.")
def core() -> None:
    """Serve a Core for several kernels, or look at those of your kernels.

    A Core is the process that hands steps to workers. A kernel starts and ends its own.
    """


@core.command(short_help="Serve a Core for several kernels and hosts.")
@click.option("--listen", metavar="HOST:PORT", help="Take kernels and workers there, with TLS and a pass.")
@click.option(
    "--pass", "path", metavar="FILE", type=click.Path(path_type=Path),
    help="Where the kernels' pass is written; without it, core.pass in the project's .cerebelum.",
)  # fmt: skip
@click.option(
    "--workers-pass", metavar="FILE", type=click.Path(path_type=Path),
    help="Where a pass is written that can only add workers; for hosts that are trusted less.",
)  # fmt: skip
@click.option(
    "--pool-pass", "pool_passes", nargs=2, multiple=True, metavar="NAME FILE", type=(str, click.Path(path_type=Path)),
    help="Where a pass is written that can only add workers for the steps of this pool; may be said again.",
)  # fmt: skip
@click.option("--pool", default="", metavar="NAME", help="Whose steps its own workers run; without it, every pool's.")
@click.option(
    "--slots", default=2, show_default=True, type=click.IntRange(0, MOST_SLOTS),
    help="Its own workers; others may join.",
)  # fmt: skip
@click.option(
    "--days", default=30.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
    help="How long its certificates are good.",
)  # fmt: skip
@click.option(
    "--grace", default=30.0, show_default=True, metavar="SECONDS", type=click.FloatRange(0.1, 86_400),
    help="What runs for a kernel or on another host lives so long without a connection, and goes on when it is back.",
)  # fmt: skip
@upstream_options
def serve(  # noqa: PLR0913, PLR0917  its options
    listen: str | None,
    path: Path | None,
    workers_pass: Path | None,
    pool_passes: tuple[tuple[str, Path], ...],
    pool: str,
    slots: int,
    days: float,
    grace: float,
    upstream_port: int | None,
    upstream_host: str,
    *,
    force: bool,
    lease_s: float,
) -> None:
    """Serve a Core by hand, for several kernels and with workers of several hosts, until it is interrupted.

    It writes a pass: who has that file can run code on the workers. A kernel uses it by its pyproject.toml:

    \b
    cerebelum core serve --listen 10.0.0.5:7801 --slots 4
    [tool.cerebelum.pools.big]
    core = "tls://10.0.0.5:7801"
    pass = ".cerebelum/core.pass"

    With --upstream-port it is a Core for programs of cerebelum-sdk instead: its Worker, DistributedExecutor and
    ExecutionClient.
    """  # noqa: D301  click's mark for lines that stay as they are
    if upstream_port is not None:
        if listen is not None:
            raise Refused("--listen and --upstream-port serve different programs: start a command for each")
        serve_sdk(upstream_host, upstream_port, force=force, lease_s=lease_s)
        return
    with loading():
        from cerebelum_nb.core import served  # noqa: PLC0415  loads gRPC
    from cerebelum_nb.core.passes import Grant  # noqa: PLC0415  only where it is needed
    from cerebelum_nb.wire.credentials import host_and_port  # noqa: PLC0415  only where it is needed

    if listen is None:
        raise Refused("where is it to listen? cerebelum core serve --listen HOST:PORT")
    grants = [Grant("kernel", path or _home() / _DEFAULT, "--pass")]
    if workers_pass is not None:
        grants.append(Grant("worker", workers_pass, "--workers-pass"))
    try:
        for name, its in pool_passes:
            label = name if name == "distributed" else check_name(name, "--pool-pass")
            grants.append(Grant("worker", its, f"--pool-pass {label}", label))
        _check_apart(grants)
        served.serve(host_and_port(listen), grants, pool, slots, days, grace, click.echo)
    except (PlanError, WireError) as exc:
        raise Refused(str(exc)) from None


@click.command(short_help="Add workers to a Core that is served.")
@click.option("--core", "url", default="", metavar="HOST:PORT", help="Where it is; without it, as the pass says.")
@click.option(
    "--pass", "path", metavar="FILE", type=click.Path(path_type=Path),
    help="The pass that `cerebelum core serve` wrote; without it, core.pass in the project's .cerebelum.",
)  # fmt: skip
@click.option(
    "--pool", default="", metavar="NAME", help="Whose steps they run; without it, every pool's, or as the pass says."
)
@click.option("--slots", default=1, show_default=True, type=click.IntRange(1, MOST_SLOTS), help="How many workers.")
def worker(url: str, path: Path | None, pool: str, slots: int) -> None:
    """Add workers to a Core that is served on this or another host, until it is interrupted.

    \b
    cerebelum worker --core 10.0.0.5:7801 --pass core.pass --pool gpu-worker-pool --slots 2
    """  # noqa: D301  as above
    with loading():
        from cerebelum_nb.core import agent  # noqa: PLC0415  loads gRPC
    from cerebelum_nb.wire.credentials import host_and_port, url_of  # noqa: PLC0415  only where it is needed

    try:
        url = url_of(*host_and_port(url)) if url else ""
        agent.serve(url, path or _home() / _DEFAULT, pool, slots, click.echo)
    except WireError as exc:
        raise Refused(str(exc)) from None


core.add_command(approve)
core.add_command(reject)


def _check_apart(grants: Sequence["Grant"]) -> None:
    """See that each pass has a file of its own.

    Raises:
        Refused: Two have the same; names both.
    """
    seen: dict[Path, str] = {}
    for grant in grants:
        other = seen.setdefault(grant.path.resolve(), grant.option)
        if other != grant.option:
            raise Refused(f"{grant.option} is the file of {other}, {str(grant.path)!r}: give it a file of its own")


def _home() -> Path:
    return from_environment().home.absolute()
