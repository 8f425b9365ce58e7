"""Start a run, tell it line by line, and say how it ended as an exit code. Used here and inside a notebook's kernel."""

import contextlib
import io
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from cerebelum_nb.cli.target import Refused, Request
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import CerebelumError, ExecutionError, InternalError, PlanError, RunCancelled
from cerebelum_nb.model import lines
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    AttemptSubmitted,
    RouteTaken,
    RunCompensating,
    TaskFinished,
    TaskPaused,
    TaskRetrying,
)
from cerebelum_nb.rules.kept import as_options
from cerebelum_nb.runtime.onward import asked_first
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.session import current, existing

FRAME_S: Final = 0.05  # how often new events are looked for
SLOW_S: Final = 0.1  # a local step that runs longer is announced before its end
NAP_S: Final = 1.0  # shorter sleeps are not worth a line
NamePlaces = Callable[[str], str]
STOP_S: Final = 2.0  # how long a cancelled run may take to end


class Teller:
    """Prints what happens in one run, in the order in which it happened.

    Args:
        marks: What stands before a step's line.
        running: Announce steps when they begin, not only when they end.
    """

    def __init__(self, run: Run, marks: lines.Marks, *, running: bool) -> None:
        self._run, self._marks, self._running = run, marks, running
        self._told, self._prints = 0, lines.Prints()  # events
        self._slept: set[tuple[int, int, bool]] = set()  # told once: a poll sleeps again and again, and says so
        self._begun: dict[int, float] = {}  # local tasks that run and are not announced yet -> since when
        self._ended = threading.Event()

    def follow(self) -> None:
        """Print until the run has ended and all is told."""
        unwatch = self._run.watch(self._wake)
        try:
            while not self._run.done:
                self._ended.wait(FRAME_S)
                self.tell()
        finally:
            unwatch()
        self.tell()

    def _printed(self, event: AttemptOutput | AttemptFinished) -> None:
        step = self._run.plan.names[event.task]
        if isinstance(event, AttemptOutput):
            told = [(str(event.stream), self._prints.take(step, event.stream, event.text))]
        else:
            told = self._prints.end(step)
        for stream, text in told:
            _write(sys.stderr if stream == "stderr" else sys.stdout, text)

    def _wake(self, ended: bool) -> None:  # noqa: FBT001  the watcher's protocol
        if ended:
            self._ended.set()

    def tell(self) -> None:
        """Print what is new."""
        new = self._run.events[self._told :]
        self._told += len(new)
        for event in new:
            if isinstance(event, AttemptOutput | AttemptFinished):
                self._printed(event)
            elif isinstance(event, AttemptSubmitted | AttemptStarted):
                self._starts(event)
            elif isinstance(event, TaskPaused):
                self._begun.pop(event.task, None)
                self._pauses(event)
            elif isinstance(event, TaskRetrying):
                self._begun.pop(event.task, None)
                row = self._run.rows([event.task])[0]
                self._say(lines.again(row, event.text, event.until - event.at, self._marks))
            elif isinstance(event, RouteTaken):
                self._decides(event)
            elif isinstance(event, RunCompensating):
                self._say(lines.undoes(event.why))
            elif isinstance(event, TaskFinished) and event.task not in self._run.plan.left_out:
                self._begun.pop(event.task, None)
                self._ends(event.task)
        for task in [t for t, since in self._begun.items() if time.monotonic() - since > SLOW_S]:
            del self._begun[task]
            self._say(lines.began(self._run.rows([task])[0], self._marks))

    def _starts(self, event: AttemptSubmitted | AttemptStarted) -> None:
        if not self._running:
            return
        row = self._run.rows([event.task])[0]
        if not row.remote:
            self._begun[event.task] = time.monotonic()
        elif isinstance(event, AttemptSubmitted):
            self._say(lines.began(row, self._marks))

    def _pauses(self, event: TaskPaused) -> None:
        row = self._run.rows([event.task])[0]
        if event.kind == "approval":
            # This process follows; whoever answers does it in another terminal.
            answer = f"cerebelum approve {self._run.id} {shlex.quote(row.step)}"
            self._say(lines.asks(row, event.text, answer, self._marks))
        elif (
            event.until - event.at >= NAP_S
            and (nap := (event.task, event.attempt, bool(event.text))) not in self._slept
        ):
            self._slept.add(nap)
            self._say(lines.sleeps(row, event.until - event.at, self._marks, event.text))

    def _decides(self, event: RouteTaken) -> None:
        names = self._run.plan.names
        back_to = names[event.again[0]] if event.again else ""
        self._say(lines.decided(names[event.task], f"took {event.way}", self._marks, back_to))

    def _ends(self, task: int) -> None:
        row = self._run.rows([task])[0]
        if row.kind == "decision" and row.status == "succeeded":
            return  # told when it was taken
        error = ""
        if row.status == "failed":
            details = self._run.details(row.step)
            error = ": ".join(part for part in (details.error_type, details.error) if part)
        self._say(lines.ended(row, self._marks, error))

    @staticmethod
    def _say(line: str) -> None:
        _write(sys.stdout, f"{line}\n")


def start(workflow: Workflow, request: Request) -> Run:
    """Start a run.

    Raises:
        Refused: The workflow cannot run as asked.
    """
    try:
        if request.resume:
            return _resumed(workflow.name, request)
        return current().run(
            workflow,
            request.inputs,
            strategy=request.strategy,
            until=request.until,
            fresh=request.fresh,
            on_failure=request.on_failure,
        )
    except InternalError:
        raise
    except CerebelumError as exc:
        raise Refused(str(exc)) from exc


def _resumed(workflow: str, request: Request) -> Run:
    session = current()
    last = request.resume == "last"
    to_be = "undone" if request.undo else "resumed"
    before = session.load(session.history.unfinished(workflow, to_be=to_be) if last else request.resume)
    if before.workflow != workflow:
        raise Refused(f"run {before.id} is one of {before.workflow!r}, not of {workflow!r}")
    changed: Any = request.changed
    try:
        if request.undo:
            made = before.compensate()
        else:
            made = before.resume(inputs=request.inputs or None, changed=changed, force=request.force)
    except PlanError as exc:
        raise Refused(as_options(in_shell(str(exc), before, request))) from None
    if made.undoes_only and not request.undo:
        _write(sys.stdout, f"Run {before.id} was cut off while it was undone: that goes on.\n")
    return made


def run(workflow: Workflow, request: Request, marks: lines.Marks, *, name_places: NamePlaces = str) -> int:
    """Run to the end: a line for each step, then the value. Gives the exit code.

    Args:
        name_places: Rewrites a traceback's file names for people.
    """
    return _through(workflow, request, marks, live=False, summed=False, name_places=name_places)


def dev(
    workflow: Workflow, request: Request, marks: lines.Marks, *, telemetry: bool, name_places: NamePlaces = str
) -> int:
    """Run with live lines, then the summary. Gives the exit code."""
    return _through(workflow, request, marks, live=True, summed=telemetry, name_places=name_places)


def _through(  # noqa: PLR0913  what the two verbs differ in
    workflow: Workflow, request: Request, marks: lines.Marks, *, live: bool, summed: bool, name_places: NamePlaces
) -> int:
    try:
        going = start(workflow, request)
        teller = Teller(going, marks, running=live)
        _write(sys.stdout, f"{lines.title(workflow.name)}\n")
        try:
            teller.follow()
        except KeyboardInterrupt:
            return _interrupted(going, request)
        if summed:
            _write(sys.stdout, "\n" + "\n".join(lines.summary(going.header(), going.rows(_asked(going)))) + "\n")
        failure = going.error()
        if failure is not None:
            _write(sys.stderr, in_shell(_failed(failure, name_places) + _how_to_go_on(going), going, request))
            return 1
        if not live and not going.undoes_only:
            _write(sys.stdout, f"{_value(going, request.until)!r}\n")
        return 0
    finally:
        # Now, while threads may still be started: at the interpreter's end it is too late for some. Closing waits for
        # runs, and waiting echoes what steps printed, which has been told.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            session = existing()
            if session is not None:
                session.close()


def _interrupted(going: Run, request: Request) -> int:
    """Cancel a run, and say so in one line; what it did is undone before we end, unless somebody insists."""
    ended = threading.Event()
    going.watch(lambda is_end: ended.set() if is_end else None)
    try:
        going.interrupt()
        if going.scheduler.is_undoing():
            _write(sys.stderr, "Stopping, and undoing what it did; a further interrupt stops that too.\n")
            while not going.done:
                ended.wait(FRAME_S)
        else:
            ended.wait(STOP_S)
    except KeyboardInterrupt:  # a second one: do not wait
        going.cancel(undo=False)
        with contextlib.suppress(KeyboardInterrupt):
            ended.wait(STOP_S if going.state.compensating else 0.0)
    failure = going.error()
    notes = _notes(failure) if failure is not None else ""
    cause = failure.__cause__ if failure is not None else None
    had_failed = isinstance(cause, ExecutionError) and not isinstance(cause, RunCancelled)
    first = f"Error: {getattr(cause, 'told', cause)}\n" if had_failed else ""
    told = f"{first}Cancelled: {failure or 'the run is being stopped'}\n{notes}{_how_to_go_on(going)}"
    _write(sys.stderr, in_shell(told, going, request))
    return 1


def _value(going: Run, until: str | None) -> object:
    return going.outputs[until or going.plan.names[_asked(going)[-1]]]


def _asked(going: Run) -> list[int]:
    """Its tasks, but for those that `until` leaves out."""
    return [task for task in range(going.plan.steps) if task not in going.plan.left_out]


def _failed(failure: ExecutionError, name_places: NamePlaces) -> str:
    trace = failure.traceback.rstrip()
    told = f"Error: {failure.told}\n" + (f"{name_places(trace)}\n" if trace else "") + _notes(failure)
    cause = failure.__cause__  # what was undone before has been told before
    shown = isinstance(cause, ExecutionError) and not (failure.run is not None and failure.run.undoes_only)
    return f"{_failed(cause, name_places)}{told}" if shown and isinstance(cause, ExecutionError) else told


def _notes(failure: ExecutionError) -> str:
    """What was undone, and what may be left; not where it failed, which is told already."""
    return "".join(f"{note[0].upper()}{note[1:]}\n" for note in failure.notes)


def _how_to_go_on(going: Run) -> str:
    """The run's id, and what goes on from it; `in_shell` makes commands of that."""
    handle = f"runs[{going.number}]"
    if going.done and going.status == "compensation_failed":
        return f"This is run {going.id}; {handle}.compensate() tries again\n"
    return f"This is run {going.id}; {asked_first(going) or f'{handle}.resume() goes on'}\n"


def in_shell(text: str, run: Run, request: Request) -> str:
    """Lines of Python about a run, as they are typed in a terminal."""
    where = f"{shlex.quote(f'{request.file}:{run.workflow}')} {run.id}"

    def typed(found: re.Match[str]) -> str:
        verb, given = found.groups()
        if given.startswith("results="):
            return f'in Python Run.load("{run.id}").resume({given})'
        named = re.fullmatch(r'force=\["(.*)"\]', given)
        return f"`cerebelum {verb} {where}{f' --force {shlex.quote(named[1])}' if named else ''}`"

    return re.sub(rf"runs\[{run.number}\]\.(resume|compensate)\((.*?)\)(?= |$)", typed, text, flags=re.MULTILINE)


def _write(out: TextIO, text: str) -> None:
    out.write(text)
    out.flush()
