"""The runs of the project in this folder, as the command line sees them: from the journal, beside a live kernel."""

import contextlib
import datetime as dt
import json
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.cli.target import Refused
from cerebelum_nb.config import from_environment
from cerebelum_nb.errors import CerebelumError, PlanError
from cerebelum_nb.model.compare import Comparison, Told, compare
from cerebelum_nb.model.state import RunState
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.model.view import header, row
from cerebelum_nb.protocols import Answer
from cerebelum_nb.runtime.history import Entry, History
from cerebelum_nb.store import cache
from cerebelum_nb.store.ended import Ended
from cerebelum_nb.store.journal import read
from cerebelum_nb.store.mailbox import Mailbox
from cerebelum_nb.store.results import Archive


@contextlib.contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Around what reads or writes a project's files: what is wrong with them is told and is no traceback of ours."""
    try:
        yield
    except CerebelumError as exc:
        raise Refused(str(exc)) from None
    except (OSError, UnicodeError, sqlite3.Error) as exc:
        raise Refused(f"{what}: {exc}") from None


TAKEN_S: Final = 5.0  # how long an answer waits to be taken before somebody is told
LOOK_S: Final = 0.05
_HEAD: Final = ("run", "workflow", "status", "started")


class Project:
    """A project's folder, read without running anything."""

    def __init__(self) -> None:
        try:
            self.home = from_environment().home.absolute()
        except CerebelumError as exc:
            raise Refused(str(exc)) from None
        self.history = History(lambda: self.journal, Archive(self.home, Ended(1)))

    @property
    def journal(self) -> Path:
        """Where its events are."""
        return self.home / "journal.db"

    @_in_one_line("the runs cannot be read")
    def listed(self, most: int) -> list[tuple[str, ...]]:
        """The newest runs as rows of text, newest first, under a head."""
        return [_HEAD, *map(_as_row, self.history.entries(most))]

    @_in_one_line("the runs cannot be read")
    def described(self, runs: Sequence[str]) -> list[tuple[str, ...]]:
        """Certain runs as rows of text, under a head."""
        return [_HEAD, *(_as_row(entry) for entry in self.history.entries(sys.maxsize) if entry.run in runs)]

    @_in_one_line("the runs cannot be read")
    def chosen(self, names: Sequence[str], older: int | None, *, everything: bool) -> tuple[list[str], str]:
        """The ids of runs that are over, as they were asked for; and which others stay, in words.

        Raises:
            Refused: Nothing was asked for, a run that is not there or still runs, or they cannot be read.
        """
        entries = self.history.entries(sys.maxsize)
        running = {e.run for e in entries if e.status == "running"}
        still = "1 run still runs and stays" if len(running) == 1 else f"{len(running)} runs still run and stay"
        stay = f" {still}." if running else ""
        if everything:
            return [e.run for e in entries if e.run not in running], stay
        if older is not None:
            return self.history.outdated(older, sys.maxsize, time.time()), stay
        if not names:
            raise Refused("which runs? Name them, or say --older DAYS or --all; `cerebelum runs` lists them")
        found = list(dict.fromkeys(self.history.find(name) for name in names))
        if wrong := running.intersection(found):
            raise Refused(f"run {min(wrong)} still runs: cancel it where it runs, or wait for its end")
        return found, ""

    def purge(self, runs: Sequence[str]) -> None:
        """Remove runs for good.

        Raises:
            Refused: The files cannot be written.
        """
        with _in_one_line(f"runs cannot be removed from {self.home}"):
            self.history.purge(runs)

    @_in_one_line("the runs cannot be read")
    def compared(self, name: str, other: str | None) -> Comparison:
        """A run beside another one: by default the one that it was started from, else the one before it.

        Raises:
            Refused: There is no such run, or none before it.
        """
        run = self.history.find(name)
        parent = self._folded(run)[0].parent
        before = self.history.find(other) if other is not None else parent or self._before(run)
        return compare(self._told(run), self._told(before))

    def _before(self, run: str) -> str:
        entries = self.history.entries()
        place = next(i for i, entry in enumerate(entries) if entry.run == run)
        found = (e.run for e in entries[place + 1 :] if e.workflow == entries[place].workflow)
        before = next(found, None)
        if before is None:
            raise Refused(f"{run} is the first run of {entries[place].workflow}: name the run to compare it with")
        return before

    def _told(self, run: str) -> Told:
        state, last = self._folded(run)
        status = next((e.status for e in self.history.entries() if e.run == run), state.status)
        now = time.time() if status == "running" else last
        made = header(state, number=0, now=now, total=len(state.names))
        rows = [row(state, task) for task in range(len(state.names)) if task not in state.undo or state.attempt[task]]
        return Told(run, msgspec.structs.replace(made, status=status), rows)

    def _folded(self, run: str) -> tuple[RunState, float]:
        """A run as its events tell it, and when the last of them was."""
        state, last = RunState(), 0.0
        for event in read(self.journal, run):
            state.apply(event)
            last = event.at
        if not state.names:
            raise PlanError(f"the journal has no run {run!r} any more")
        return state, last

    def cached(self) -> str:
        """What its cache holds, as people read it; empty for nothing."""
        return cache.held(self.home)

    def empty_cache(self) -> None:
        """Remove all that its cache holds.

        Raises:
            Refused: The file cannot be written.
        """
        try:
            cache.purge(self.home)
        except sqlite3.Error as exc:
            raise Refused(f"the cache in {self.home} cannot be emptied: {exc}") from None

    @_in_one_line("the run cannot be answered")
    def answer(self, name: str, step: str, answer: Answer) -> str:
        """Answer a step that waits in some kernel, and wait until that has heard it.

        Returns:
            What to say: which run and step it was.

        Raises:
            Refused: That step does not wait, or nobody takes the answer.
        """
        run = self.history.find(name)
        waiting = self._waiting(run)
        if step not in waiting:
            raise Refused(
                f"step {step!r} of run {run} does not wait for approval.{nearest(step, waiting)} "
                f"Waiting there: {', '.join(waiting) or 'no step'}."
            )
        try:
            letter = Mailbox(self.home).post(run, step, answer)
        except (OSError, ValueError) as exc:
            raise Refused(f"the answer cannot be left in {self.home}: {exc}") from None
        until = time.monotonic() + TAKEN_S
        while letter.exists():
            if time.monotonic() > until:
                letter.unlink(missing_ok=True)
                raise Refused(
                    f"the kernel of run {run} did not take the answer within {TAKEN_S:.0f} s: it is busy or gone"
                )
            time.sleep(LOOK_S)
        return f"step {step} of run {run} {'goes on' if answer.approved else 'was told no'}"

    def _waiting(self, run: str) -> list[str]:
        state, _ = self._folded(run)
        return [state.names[task] for task, pause in state.paused.items() if pause.kind == "approval"]


def _as_row(entry: Entry) -> tuple[str, ...]:
    at = dt.datetime.fromtimestamp(entry.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return entry.run, entry.workflow, entry.status, at


def value(text: str | None) -> Any:
    """The value of an approval: JSON, or plain text that is none; True for nothing."""
    if text is None:
        return True
    try:
        return json.loads(text)
    except ValueError as exc:
        if text.lstrip()[:1] in ("{", "[", '"'):
            raise Refused(f"VALUE begins like JSON and is none: {exc}") from None
        return text
