"""``cerebelum replay``: one attempt of an earlier run again, in this process; the run stays as it is."""

import sys
import traceback
from pathlib import Path

import click

from cerebelum_nb.cli.load import module
from cerebelum_nb.cli.target import Refused, target
from cerebelum_nb.errors import CerebelumError, ExecutionError, InternalError
from cerebelum_nb.runtime.onward import as_typed
from cerebelum_nb.runtime.replay import Prepared
from cerebelum_nb.runtime.replaying import on_failed_replay
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.session import Session, current


@click.command(short_help="Run one attempt of a step again, to see why it failed.")
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Which one; without it, the last.")
@click.option("--executor", metavar="E", help="Where; without it, in this process.")
@click.option("--file", "where", metavar="FILE", help="A .py file that defines the workflow, as it is now.")
@click.option("--force", is_flag=True, help="Also a step that changes something outside.")
def replay(  # noqa: PLR0913  its options
    run_id: str, step: str, attempt: int | None, executor: str | None, where: str | None, *, force: bool
) -> None:
    """Run one attempt of a STEP again with what it was given, to see why it failed.

    RUN is an id from `cerebelum runs`, or a part of it. What failed on a worker runs as it was sent there; for all else
    name the FILE that defines it. Nothing of the run changes. Exit codes: 0 the step gave a result, 1 it failed, 2 it
    cannot be replayed.

    \b
    cerebelum replay 20261123-1504 score
    """  # noqa: D301  click's mark for lines that stay as they are
    if where is not None:
        found = target(where)
        if found.is_notebook:
            raise Refused(f"{where} is a notebook: run its cells in Jupyter, then %cerebelum replay {run_id} {step}")
        module(found.path)
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)  # what was sent by its module's name is mostly here
    session = current()
    try:
        code = _gone_through(_prepared(session, run_id, step, attempt, executor, force=force))
    finally:
        session.close()
    sys.stdout.flush()
    click.get_current_context().exit(code)


def _prepared(  # noqa: PLR0913  as `Run.replay`, and whose
    session: Session, run_id: str, step: str, attempt: int | None, executor: str | None, *, force: bool
) -> Prepared:
    called = f"cerebelum replay {run_id}"
    run = session.load(run_id)
    try:
        return run.prepared_replay(step, attempt, executor, force=force)
    except InternalError:
        raise
    except CerebelumError as exc:
        told = _by_id(as_typed(str(exc), called), run)
        here = "run the cells that define it and its steps, then try again"
        raise Refused(told.replace(here, f"name its file: `{called} {step} --file FILE`")) from None


def _by_id(text: str, run: Run) -> str:
    """A run of this short session as people know it: its number here means nothing."""
    return text.replace(f"run {run.number} ", f"run {run.id} ").replace(f"(run {run.number},", f"(run {run.id},")


def _gone_through(ready: Prepared) -> int:
    """Run it, print what comes of it, and give the exit code."""
    click.echo(_by_id(ready.told, ready.run))

    def show(exc: BaseException) -> None:
        exc.__notes__ = [_by_id(note, ready.run) for note in getattr(exc, "__notes__", ())]
        _show(exc)

    on_failed_replay.append(show)
    try:
        click.echo(_by_id(str(ready.go()), ready.run))
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        return 1
    except Exception:  # noqa: BLE001  shown already, from the step's own frames on
        return 1
    finally:
        on_failed_replay.remove(show)
    return 0


def _show(exc: BaseException) -> None:
    sys.stdout.flush()
    if isinstance(exc, ExecutionError) and exc.step_name is not None:
        notes = "".join(f"{note}\n" for note in exc.notes)
        trace = f"{exc.traceback.rstrip()}\n" if exc.traceback.rstrip() else ""
        sys.stderr.write(f"Error: {exc.told}\n{trace}{notes}")
    else:
        sys.stderr.write("".join(traceback.format_exception(exc)))
