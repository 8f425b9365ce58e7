"""How errors look in a cell: one message, the cell's own lines, nothing of our machinery.

IPython asks an exception for ``_render_traceback_``; `install` gives our errors one, `folded` gives one to a person's
own exception that passes through a magic.
"""

import asyncio
import difflib
import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

import IPython

import cerebelum_nb
from cerebelum_nb.attempt import TRACEBACK_LIMIT, cut
from cerebelum_nb.errors import CerebelumError, CompensationFailed, ExecutionError
from cerebelum_nb.model.state import FAILED, SUCCEEDED
from cerebelum_nb.model.typed import listed
from cerebelum_nb.notebook.stale import old_classes
from cerebelum_nb.runtime.onward import asked_first, onward, replay_line, replays
from cerebelum_nb.runtime.replaying import on_failed_replay
from cerebelum_nb.runtime.scheduler import UNDO_GRACE_S

_FRAME: Final = re.compile(r'^(\s*)File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)
SOON_S: Final = 0.3  # a step that has not stopped by then is left to itself
_LINES: Final = 40  # of a step's traceback
_PACKAGES: Final = Path(cerebelum_nb.__file__).parent, Path(IPython.__file__).parent
_STANDARD: Final = sysconfig.get_path("stdlib") + os.sep
_NOT_THEIRS: Final = tuple(f"{path}{os.sep}" for path in _PACKAGES)
_NO_MAGIC: Final = re.compile(r"magic(?: function)? `(?P<sign>%%?)(?P<name>\w+)")
_OURS: Final = ("cerebelum", "cerebelum_step", "cerebelum_workflow", "cerebelum_run")
_MAGIC_CALL: Final = (".run_line_magic(", ".run_cell_magic(")


class CellSyntaxError(CerebelumError):
    """A cell's text is not Python. Shown as Python's own SyntaxError, without the way through the magic."""


CellSyntaxError.__name__ = CellSyntaxError.__qualname__ = "SyntaxError"


def install(ip: Any) -> None:
    """From now on, all errors of this package look short in this notebook."""
    render = lambda error: lines_of(error, ip)  # noqa: E731  becomes a method, so it is asked with the error alone
    CerebelumError._render_traceback_ = render  # type: ignore[attr-defined]
    on_failed_replay[:] = [lambda exc: show_as_replayed(exc, ip)]
    ip.events.register("post_run_cell", _hint_at_magics)
    if not ip.custom_exceptions:  # IPython has one place for this; whoever came first keeps it
        ip.set_custom_exc((KeyboardInterrupt, asyncio.CancelledError), _show_interrupt)


def _hint_at_magics(result: Any) -> None:
    """After IPython's own word on a magic that nobody knows: the one of ours that looks like it."""
    said = str(getattr(result, "error_in_exec", None) or "")
    unknown = _NO_MAGIC.search(said)
    if unknown is None:
        return
    written = unknown["name"]
    ours = {**{name: name for name in _OURS}, **{name.removeprefix("cerebelum_"): name for name in _OURS}}
    close = difflib.get_close_matches(written, ours, n=1, cutoff=0.7)
    if close:
        sign = "%" if ours[close[0]] in ("cerebelum", "cerebelum_run") and unknown["sign"] == "%" else "%%"
        sign = "%" if ours[close[0]] == "cerebelum" else sign
        print(f"Did you mean {sign}{ours[close[0]]}? %cerebelum help lists all.", file=sys.stderr)  # noqa: T201


def _show_interrupt(ip: Any, etype: Any, value: Any, tb: TracebackType | None, tb_offset: int | None = None) -> None:
    """Show an interrupt: in one line if the cell was waiting for a run, else as IPython does."""
    run = None if hasattr(value, "_render_traceback_") else _waiting_for(tb)
    if run is not None:
        run.wait(SOON_S)
        etype, value = KeyboardInterrupt, interrupted(KeyboardInterrupt(), after_interrupt(run))
    ip.showtraceback((etype, value, tb), tb_offset=tb_offset)


def _waiting_for(tb: TracebackType | None) -> Any:
    """The run whose own code a traceback ends in, or None."""
    for frame, _ in reversed(list(traceback.walk_tb(tb))):
        if frame.f_globals.get("__name__") == "cerebelum_nb.runtime.awaited" and "self" in frame.f_locals:
            return frame.f_locals["self"]
    return None


def after_interrupt(run: Any) -> str:
    """What an interrupt did to a run, and how to go on, in one line."""
    state = run.state
    done = sum(phase == SUCCEEDED for phase in state.phase[: run.plan.steps])
    left = [t for t in range(run.plan.steps) if state.phase[t] != SUCCEEDED and t not in run.plan.left_out]
    if state.status == "succeeded" or (not left and not run.done and not run.scheduler.is_undoing()):
        return f"run {run.number} of {run.workflow} had just finished."
    failed = [t for t in left if state.phase[t] == FAILED and t in state.errors]
    why = f" ({state.names[failed[0]]} failed: {_said(state.errors[failed[0]])})" if failed else ""
    if not run.done and run.scheduler.is_undoing():
        how = f"runs[{run.number}].wait() waits for it, runs[{run.number}].cancel() stops it"
        if running := run.scheduler.stopping():
            named = f"step{'s' * (len(running) > 1)} {listed([repr(name) for name in running])}"
            waits = f"waiting up to {UNDO_GRACE_S:g} s for {named} to stop, then it is undone"
            return f"run {run.number} is being stopped{why}: {waits}; {how}, and nothing is undone."
        return f"run {run.number} is stopped{why}, and what it did is undone in the background; {how}."
    said = "cancelled" if run.done else "is being cancelled, a step has not stopped yet"
    first = asked_first(run)
    continues = f"%cerebelum_run {run.workflow} --from {state.names[left[0]]} continues." if left else ""
    go_on = f"{first[0].upper()}{first[1:]}." if first else continues
    undone = f" and what it did undone: {', '.join(run.undone)}" if run.undone else ""
    return f"run {run.number} {said}{undone}; {done} of {run.plan.steps} steps had finished. {go_on}".rstrip()


def _said(error: Any) -> str:
    return ": ".join(part for part in (error.type, error.message) if part)


def lines_of(error: CerebelumError, ip: Any) -> list[str]:
    """An error as it is shown in a cell."""
    if isinstance(error, CellSyntaxError) and isinstance(error.__cause__, SyntaxError):
        shown: list[str] = ip.SyntaxTB.structured_traceback(SyntaxError, error.__cause__, [])
        return shown
    _debug_theirs(error, ip)
    lines = [f"{type(error).__name__}: {error.told if isinstance(error, ExecutionError) else error}"]
    if isinstance(error, ExecutionError):
        lines += [f"{note[0].upper()}{note[1:]}" for note in error.notes]
    if isinstance(error, CompensationFailed):
        cause, only = error.__cause__, error.run is not None and error.run.undoes_only
        mine = [f"This is runs[{error.run.number}]."] if error.run is not None else []
        return [*(_of_its_cause(cause, ip) if not only else ()), *lines, *mine]
    if isinstance(error, ExecutionError) and error.step_name is not None:
        lines += _step_frames(error.traceback, ip)
        if error.run is not None:
            lines += old_classes(error.run, ip.user_ns)
            lines.append(f"This is runs[{error.run.number}]; {onward(error.run)}.")
            if replays(error.run, error.step_name):
                lines.append(f"{replay_line(error.run.number, error.step_name)} runs it again here, for %debug.")
        return lines
    return [*_cell_frames(error.__traceback__, ip), *lines]


def _debug_theirs(error: CerebelumError, ip: Any) -> None:
    """Let %debug open the last frame that is the person's own: what we did below it is of no use to them."""
    last: TracebackType | None = None
    tb = error.__traceback__
    while tb is not None:
        if _is_theirs(tb.tb_frame.f_code.co_filename):
            last = tb
        tb = tb.tb_next
    if last is not None:
        last.tb_next = None
        ip.InteractiveTB.tb = error.__traceback__  # else an older error's, as some versions have it


def _is_theirs(filename: str) -> bool:
    own = not filename.startswith(_STANDARD) or "site-packages" in filename
    return own and not filename.startswith((*_NOT_THEIRS, "<frozen"))


def _of_its_cause(cause: BaseException | None, ip: Any) -> list[str]:
    """Why the run was to be undone; how to go on is said once, by what came of that."""
    if not isinstance(cause, ExecutionError):
        return []
    return [line for line in lines_of(cause, ip) if not line.startswith("This is runs[")]


def _step_frames(text: str, ip: Any) -> list[str]:
    """The step's own traceback, with cells called as people call them, without what the message has said already."""
    if not text:
        return []
    lines = with_cell_names(text.rstrip(), ip).splitlines()
    if lines[0].startswith("Traceback") and sum("Traceback (most" in line for line in lines) == 1:
        last_frame = max((i for i, line in enumerate(lines) if line.startswith("  ")), default=0)
        lines = lines[1 : last_frame + 1]
    return lines if len(lines) <= _LINES else [*lines[: _LINES // 2], "  …", *lines[-_LINES // 2 :]]


def with_cell_names(text: str, ip: Any) -> str:
    """A traceback with ``Cell In[3]`` instead of a cell's file name."""
    return _FRAME.sub(lambda m: f"{m[1]}{cell_name(m['file'], ip)}, line {m['line']}", text)


def cell_number(ip: Any, *, begun: bool = True) -> int:
    """The number of the cell that runs, as it stands beside it.

    IPython counts on before a cell or after it, as its version has it; the list of inputs is one ahead in neither.

    Args:
        begun: Its text is in the history already; it is not while `pre_run_cell` is told.
    """
    history = getattr(ip, "history_manager", None)
    if history is None:
        return int(ip.execution_count)
    return len(history.input_hist_parsed) - begun


def cell_name(filename: str, ip: Any) -> str:
    """``Cell In[3]`` for a cell's file name, else the file in quotes."""
    named = _cell(filename, ip)
    return f"{named[0]} {named[1]}" if named else f'File "{filename}"'


def _cell(filename: str, ip: Any) -> tuple[str, str] | None:
    named: tuple[str, str] | None = ip.compile.format_code_name(filename)
    return named


def _cell_frames(tb: TracebackType | None, ip: Any) -> list[str]:
    """Where in the person's cells an error comes from; nothing for a magic, whose cell is the place."""
    shown = []
    for filename, line in _frames(tb):
        if _cell(filename, ip):
            text = linecache.getline(filename, line).strip()
            if text and not text.startswith("%%") and not any(call in text for call in _MAGIC_CALL):
                shown.append(f"  {cell_name(filename, ip)}, line {line}\n    {text}")
    return shown


def _frames(tb: TracebackType | None) -> Iterator[tuple[str, int]]:
    for frame, line in traceback.walk_tb(tb):
        yield frame.f_code.co_filename, line


def line_in(exc: BaseException, filename: str) -> int:
    """The innermost line of a cell that an error comes from; 0 for none."""
    return next((line for name, line in reversed(list(_frames(exc.__traceback__))) if filename and name == filename), 0)


def folded(exc: BaseException, filename: str, ip: Any) -> BaseException:
    """A person's exception that shows only what lies in and below their cell."""
    if isinstance(exc, CerebelumError):
        return exc
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename != filename:
        tb = tb.tb_next
    if tb is not None:
        inner = tb
        _renders_as(exc, lambda: ip.InteractiveTB.structured_traceback(type(exc), exc, inner, tb_offset=0))
    return exc


def show_as_replayed(exc: BaseException, ip: Any) -> None:
    """Let what a step raised in a replay be shown, and debugged, from the step's own frames on."""
    inner = exc.__traceback__  # who replays has left out what is ours

    def render() -> list[str]:
        ip.InteractiveTB.tb = exc.__traceback__ = inner  # one of them is what %debug takes, as its version has it
        if isinstance(exc, ExecutionError) and exc.step_name is not None:
            return lines_of(exc, ip)
        text = cut("".join(traceback.format_exception(type(exc), exc, inner)).rstrip(), TRACEBACK_LIMIT)
        return with_cell_names(text, ip).splitlines()

    _renders_as(exc, render)


def _renders_as(exc: BaseException, render: Callable[[], list[str]]) -> None:
    exc._render_traceback_ = render  # type: ignore[attr-defined]


def interrupted(exc: KeyboardInterrupt, message: str) -> KeyboardInterrupt:
    """An interrupt that says in one line what it did."""
    exc.args = (message,)
    _renders_as(exc, lambda: [f"KeyboardInterrupt: {message}"])
    return exc


def refuse_syntax(exc: SyntaxError) -> NoReturn:
    """Let a cell fail with its syntax error alone."""
    exc.__cause__ = exc.__context__ = exc.__traceback__ = None  # how we found it is of no use to anybody
    raise CellSyntaxError(str(exc)) from exc
