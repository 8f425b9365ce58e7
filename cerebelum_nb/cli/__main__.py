"""``cerebelum``: run a file's or a notebook's workflow in a terminal or in CI."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from cerebelum_nb import __version__
from cerebelum_nb.cli import follow
from cerebelum_nb.cli.core_serve import core, worker
from cerebelum_nb.cli.load import choose, module, workflows
from cerebelum_nb.cli.project import Project, value
from cerebelum_nb.cli.replay import replay
from cerebelum_nb.cli.target import Refused, Request, Target, inputs, strategy, target
from cerebelum_nb.cli.warned import in_one_line
from cerebelum_nb.cli.workers import add_to, workers
from cerebelum_nb.errors import CerebelumError, InternalError
from cerebelum_nb.model import lines
from cerebelum_nb.protocols import Answer

_LISTED: Final = 20  # runs that are to be removed
_EPILOG = """\
A notebook's defining cells are run in order in a kernel of their own, not its runs: cells and lines that start a run
are left out. Exit codes: 0 the run succeeded, 1 it failed or was cancelled, 2 it could not be started.
"""


class _Verbs(click.Group):
    """Our own errors are told in one line, like a wrong pyproject.toml; a bug of ours keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InternalError:
            raise
        except CerebelumError as exc:
            raise Refused(str(exc)) from None


@click.group(cls=_Verbs, epilog="Steps and workflows can also be run from Python and in notebooks; see the README.")
@click.version_option(__version__, prog_name="cerebelum")
def cerebelum() -> None:
    """Run hybrid workflows: each step here or on a worker, as it says."""


def _asks(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every verb that runs something has."""
    options = (
        click.argument("where", metavar="FILE:WORKFLOW"),
        click.option(
            "--inputs", "given", metavar="JSON", default="{}", help="What steps get as `inputs`: an object, or @FILE."
        ),
        click.option(
            "--strategy", "pairs", metavar="STEP=EXECUTOR,...", multiple=True,
            help="Where steps run this time: local, distributed, processes or a pool; `default` stands for the others.",
        ),
        click.option("--until", metavar="STEP", help="Run only this step and what it needs."),
        click.option("--fresh", is_flag=True, help="Take nothing from the cache; results are kept anew."),
        click.option(
            "--on-failure", type=click.Choice(["compensate", "stop"]),
            help="Undo what steps with compensate= did, or leave it; without it, as the workflow says.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@cerebelum.command(epilog=_EPILOG, short_help="Run a workflow and print its value.")
@_asks
def run(  # noqa: PLR0913  its options
    where: str, given: str, pairs: tuple[str, ...], until: str | None, *, fresh: bool, on_failure: str | None
) -> None:
    """Run a workflow and print its value.

    FILE is a .py file or an .ipynb notebook; WORKFLOW may be left out when there is only one.

    \b
    cerebelum run orders.py:order_workflow --inputs '{"order": {"items": []}}'
    cerebelum run orders.ipynb:order_workflow --strategy default=distributed
    """  # noqa: D301  click's mark for lines that stay as they are
    asked = Request(inputs(given), strategy(pairs), until, fresh=fresh, on_failure=on_failure)
    _done(_through(target(where), "run", asked))


@cerebelum.command(epilog=_EPILOG, short_help="Run a workflow with a live line for each step.")
@click.option("--telemetry", is_flag=True, help="End with the total time and the share of local and distributed steps.")
@_asks
def dev(  # noqa: PLR0913  its options
    where: str,
    given: str,
    pairs: tuple[str, ...],
    until: str | None,
    *,
    fresh: bool,
    on_failure: str | None,
    telemetry: bool,
) -> None:
    """Run a workflow with a live line for each step.

    \b
    cerebelum dev --telemetry orders.py:order_workflow --inputs @order.json
    """  # noqa: D301  as above
    asked = Request(inputs(given), strategy(pairs), until, fresh=fresh, on_failure=on_failure)
    _done(_through(target(where), "dev", asked, telemetry=telemetry))


@cerebelum.command(epilog=_EPILOG, short_help="Go on with a run that failed or was cut off.")
@click.argument("where", metavar="FILE:WORKFLOW")
@click.argument("run_id", metavar="[RUN]", default="last")
@click.option(
    "--changed",
    type=click.Choice(["ask", "run", "keep"]),
    default="ask",
    show_default=True,
    help="Steps that were edited since, or other inputs: run again what that touches, or keep results and inputs.",
)
@click.option("--inputs", "given", metavar="JSON", default="{}", help="The inputs again, or other ones.")
@click.option("--force", multiple=True, metavar="STEP", help="Run this step again although it never runs twice.")
def resume(where: str, run_id: str, changed: str, given: str, force: tuple[str, ...]) -> None:
    """Go on with a run that failed, was cancelled or cut off: what has succeeded is not run again.

    RUN is an id from `cerebelum runs`, or a part of it; left out, the workflow's newest unfinished one.

    \b
    cerebelum resume orders.py:order_workflow
    """  # noqa: D301  click's mark for lines that stay as they are
    _done(_through(target(where), "run", Request(inputs(given), {}, None, run_id, changed, force=force)))


@cerebelum.command(epilog=_EPILOG, short_help="Undo what the steps of a run did.")
@click.argument("where", metavar="FILE:WORKFLOW")
@click.argument("run_id", metavar="[RUN]", default="last")
def compensate(where: str, run_id: str) -> None:
    """Undo what a run did that failed with --on-failure stop, was cut off, or could not be undone completely.

    No step runs; what is undone already is not undone again. RUN is an id from `cerebelum runs`, or a part of it; left
    out, the workflow's newest unfinished one.

    \b
    cerebelum compensate orders.py:order_workflow 20261123-1504
    """  # noqa: D301  click's mark for lines that stay as they are
    _done(_through(target(where), "run", Request({}, {}, None, run_id, undo=True)))


@cerebelum.command(short_help="List the runs of this folder's project.")
@click.option("--last", "most", default=20, show_default=True, help="How many, newest first.")
def runs(most: int) -> None:
    """List the runs of this folder's project, also those of notebooks and of kernels that are gone."""
    head, *rows = Project().listed(most)
    click.echo("\n".join(lines.columns(head, rows)) if rows else "Nothing has run yet in this project.")


@cerebelum.command(short_help="Show a run beside an earlier one.")
@click.argument("run_id", metavar="RUN")
@click.argument("other", metavar="[RUN]", required=False)
def compare(run_id: str, other: str | None) -> None:
    """Show a run beside an earlier one: where each step ran, how long it took in both, and the difference.

    RUN is an id from `cerebelum runs`, or a part of it. Without the second one: the run that the first was started
    from, else the one before it of the same workflow.

    \b
    cerebelum compare 20261123-1504 20261123-1459
    """  # noqa: D301  click's mark for lines that stay as they are
    click.echo(str(Project().compared(run_id, other)))


@cerebelum.command(short_help="Remove runs, or what the cache holds, for good.")
@click.argument("names", metavar="RUN...", nargs=-1)
@click.option("--older", type=click.IntRange(1), metavar="DAYS", help="All runs that are older.")
@click.option("--all", "everything", is_flag=True, help="All runs.")
@click.option("--cache", is_flag=True, help="What the cache holds; of runs nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(names: tuple[str, ...], older: int | None, *, everything: bool, cache: bool, yes: bool) -> None:
    """Remove runs of this folder's project for good, with their results and prints; or empty its cache.

    \b
    cerebelum purge --older 7
    """  # noqa: D301  click's mark for lines that stay as they are
    project = Project()
    if cache:
        if names or older is not None or everything:
            raise Refused("--cache empties the cache; runs are removed by a command of their own")
        held = project.cached()
        if held and not yes:
            click.confirm(f"Remove {held} from the cache for good?", abort=True)
        project.empty_cache()
        click.echo(f"{held or 'no result'} removed.")
        return
    chosen, stay = project.chosen(names, older, everything=everything)
    if not chosen:
        click.echo(f"There is no run to remove.{stay}")
        return
    count = f"{len(chosen)} run{'s' if len(chosen) != 1 else ''}"
    if not yes:
        head, *rows = project.described(chosen[:_LISTED])
        click.echo("\n".join(lines.columns(head, rows)))
        more = f"and {len(chosen) - _LISTED} more\n" if len(chosen) > _LISTED else ""
        click.confirm(f"{more}Remove {count}, with results and prints, for good?{stay}", abort=True)
    project.purge(chosen)
    click.echo(f"{count} removed.{stay}")


@cerebelum.command(short_help="Let a step that waits for approval go on.")
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@click.argument("given", metavar="[VALUE]", required=False)
def approve(run_id: str, step: str, given: str | None) -> None:
    """Let a step that waits for approval go on, in whatever kernel it waits.

    RUN is an id from `cerebelum runs`, or a part of it. VALUE is JSON, or text; it is what the step gets.

    \b
    cerebelum approve 20261123 process_payment '{"limit": 500}'
    """  # noqa: D301  click's mark for lines that stay as they are
    click.echo(Project().answer(run_id, step, Answer(approved=True, value=value(given))))


@cerebelum.command(short_help="Say no to a step that waits for approval.")
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@click.argument("reason", default="")
def reject(run_id: str, step: str, reason: str) -> None:
    """Say no to a step that waits for approval, with a REASON.

    \b
    cerebelum reject 20261123 process_payment "too dear"
    """  # noqa: D301  as above
    click.echo(Project().answer(run_id, step, Answer(approved=False, reason=reason)))


def _through(where: Target, verb: str, asked: Request, **options: Any) -> int:
    asked = asked._replace(file=os.path.relpath(where.path))
    marks = lines.marks_for(sys.stdout.encoding)
    if where.is_notebook:
        from cerebelum_nb.cli.kernel import through_kernel  # noqa: PLC0415  loads Jupyter's client

        return through_kernel(where, verb, asked, ascii=marks is lines.ASCII, **options)
    loaded = module(where.path)
    workflow = choose(where.workflow, where.path.name, workflows(vars(loaded), loaded.__name__), vars(loaded))
    if verb == "dev":
        return follow.dev(workflow, asked, marks, **options)
    return follow.run(workflow, asked, marks)


def _done(code: int) -> None:
    sys.stdout.flush()
    click.get_current_context().exit(code)


cerebelum.add_command(core)
add_to(core)
cerebelum.add_command(worker)
cerebelum.add_command(workers)
cerebelum.add_command(replay)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a step may print what this terminal cannot show
    in_one_line()
    cerebelum(prog_name="cerebelum")


if __name__ == "__main__":
    main()
