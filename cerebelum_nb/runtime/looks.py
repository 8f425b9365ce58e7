"""A run as people look at it: its rows, its events, what it printed. Changes nothing."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model import view
from cerebelum_nb.model.critical import Outlooks
from cerebelum_nb.model.events import AnyEvent, AttemptFinished, AttemptOutput
from cerebelum_nb.model.plan import Plan
from cerebelum_nb.model.state import RunState
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.rich import Bundle, Shown, checked
from cerebelum_nb.runtime.scheduler import Scheduler
from cerebelum_nb.runtime.watchers import OnRows, Watchers
from cerebelum_nb.store.outputs import Folder


class Looks:
    """What there is to see of a run.

    Attributes:
        number: Counted in the session, from 1.
        parent: The run whose results it reuses, or None.

    Args:
        ended: Whether it has.
        prices: What a slot costs an hour now, by executor.
    """

    def __init__(  # noqa: PLR0913, PLR0917  all that a look needs
        self,
        number: int,
        plan: Plan,
        scheduler: Scheduler,
        parent: Any,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], bool],
        prices: Callable[[], Mapping[str, float]],
    ) -> None:
        self.number, self.plan, self.scheduler, self.parent = number, plan, scheduler, parent
        self._ended, self._prices = ended, prices
        self._watchers = Watchers(loop, lambda: bool(self.state.dirty), ended)
        self._events: list[AnyEvent] = []
        self._printed: list[tuple[str, str, str]] = []
        self._speaking: set[str] = set()  # steps that have printed and have not ended
        self._displaying: dict[str, None] = {}  # steps that displayed more than text, in order
        self._crashed: BaseException | None = None
        self.files: Folder | None = None  # where long outputs are
        self.is_recalled = False  # from the journal of an earlier kernel
        self.is_cut_off = False  # that kernel's end was its end
        self.note = ""  # what holds it up, in words
        self.left_over = ""  # what it does again though an earlier run could not undo it, in words
        self.outlooks = Outlooks()  # who starts a run may know an earlier one

    @property
    def state(self) -> RunState:
        """The live fold of its events."""
        return self.scheduler.state

    @property
    def events(self) -> tuple[AnyEvent, ...]:
        """Its events so far, as far as they are in the journal."""
        return tuple(self._events)

    @property
    def status(self) -> str:
        """How it stands, or how it ended.

        ``running``, ``succeeded``, ``failed``, ``cancelled``, ``compensated``, ``compensation_failed``; or, of an
        earlier kernel that ended in the middle of it, ``interrupted``.
        """
        if self._crashed is not None:
            return "failed"
        if self.is_cut_off and self.state.status == "cancelled":
            return "interrupted"
        return self.state.status if self._ended() else "running"

    def header(self) -> view.Header:
        """The run as a whole."""
        reused_from = self.parent.number if self.parent is not None else 0
        made = self.scheduler.read(
            lambda s: view.header(
                s,
                number=self.number,
                now=self.scheduler.now(),
                reused_from=reused_from,
                total=self.plan.steps - len(self.plan.left_out),
                note="; ".join(filter(None, (self.note, self.left_over))),
                outlook=self.outlooks.at(s, self.scheduler.now()),
                prices=self._prices(),
            )
        )
        return msgspec.structs.replace(made, status=self.status)  # until its end is on disk, it runs

    @property
    def cost(self) -> float:
        """What its attempts cost so far, by the `price` of their pools; 0.0 where none has one."""
        return self.header().cost

    def rows(self, tasks: Sequence[int] | None = None) -> list[view.Row]:
        """Its tasks as drawn; all of them, or those asked for. What undoes a step is there once it is to run."""
        chosen = range(len(self.plan.names)) if tasks is None else tasks
        idle = self.plan.undo and set(self.state.undo).difference(self.state.compensating)
        if idle:
            chosen = [task for task in chosen if task not in idle]
        rows = self.scheduler.read(lambda s: [view.row(s, t) for t in chosen])
        return [self._with_its_time(row) if row.status == "reused" else row for row in rows]

    def _with_its_time(self, row: view.Row) -> view.Row:
        """A reused row with how long it ran in the run that it comes from."""
        names = self.parent.plan.names if self.parent is not None else ()
        if self.parent is None or row.step not in names:
            return row
        (source,) = self.parent.rows([names.index(row.step)])
        return msgspec.structs.replace(row, ms=source.ms)

    def details(self, step: str) -> view.Details:
        """What a step printed and how it failed."""
        task = self._task(step)
        return self.scheduler.read(lambda s: view.details(s, task))

    def output(self, step: str, attempt: int = 0) -> str:
        """All that an attempt of a step printed, both streams in the order in which it came; also while it runs.

        Args:
            attempt: Which one; 0 for the last.

        Raises:
            PlanError: The run has no such step.
        """
        task, number, said = self._said_by(step, attempt)
        kept = self.files.read(task, number) if self.files is not None else None
        if kept is not None:
            return kept
        return "".join(e.text for e in said if e.stream != "notice")

    def displayed(self, step: str, attempt: int = 0) -> Shown:
        """What an attempt of a step displayed, such as figures and tables; also while it runs. A cell shows it.

        Args:
            attempt: Which one; 0 for the last.

        Raises:
            PlanError: The run has no such step.
        """
        task, number, said = self._said_by(step, attempt)
        if not number and self.parent is not None and step in self.parent.plan.names:  # its result is reused
            found: Shown = self.parent.displayed(step)
            return found
        kept: list[int] = []
        for e in said:
            if e.shown > 0:
                kept.append(e.shown)
            elif e.shown:  # what was shown before is taken back
                kept.clear()
        contents = [self.files.shown(task, number, of) for of in kept] if self.files is not None else []
        # Files of an earlier kernel are anybody's who could write there: their HTML runs nothing.
        bundles = [Bundle(checked(content), framed=self.is_recalled) for content in contents if content]
        return Shown(f"step {step!r} of run {self.number}", bundles)

    def _said_by(self, step: str, attempt: int) -> tuple[int, int, Iterator[AttemptOutput]]:
        """A step's task, the attempt that is meant, and what that has printed and displayed."""
        task = self._task(step)
        number = attempt or self.state.attempt[task]
        of = task, number
        return task, number, (e for e in self.events if type(e) is AttemptOutput and (e.task, e.attempt) == of)

    def printed(self, since: int = 0) -> tuple[int, list[tuple[str, str, str]]]:
        """What steps printed, in order of arrival, from a place on: (step, stream, text); and the next place."""
        new = self._printed[since:]
        return since + len(new), new

    def take_dirty(self) -> list[int]:
        """Tasks that changed since the last call. For one reader: the view."""
        dirty = self.state.dirty
        return [dirty.pop() for _ in range(len(dirty))]

    def watch(self, on_rows: OnRows) -> Callable[[], None]:
        """Be told on the control loop, ten times a second at most, that rows changed; with True after the last event.

        Returns:
            A function that ends it.
        """
        return self._watchers.add(on_rows)

    def deliver(self, batch: Sequence[AnyEvent]) -> None:
        """Events that are in the journal."""
        self._events.extend(batch)
        names = self.plan.names
        for e in batch:
            if type(e) is AttemptOutput:
                self._printed.append((names[e.task], e.stream, e.text))
                self._speaking.add(names[e.task])
                if e.shown > 0:
                    self._displaying[names[e.task]] = None
            elif type(e) is AttemptFinished and self._speaking:
                self._speaking.discard(names[e.task])

    def _task(self, step: str) -> int:
        if step not in self.plan.names:
            raise PlanError(f"run {self.number} has no step {step!r}.{nearest(step, list(self.plan.names))}")
        return self.plan.number_of(step)
