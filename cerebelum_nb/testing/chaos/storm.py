"""Runs by dice in one kernel, each with one trouble by dice; and what must hold after each. Runs in forked kernels."""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cerebelum_nb.config import Settings
from cerebelum_nb.errors import CerebelumError, PlanError
from cerebelum_nb.runtime.run import Run
from cerebelum_nb.session import Session
from cerebelum_nb.store.journal import read_runs
from cerebelum_nb.testing.chaos.checks import Tale, Watch, broken, tale
from cerebelum_nb.testing.chaos.dice import Drawn, defined, drawn, inputs_of
from cerebelum_nb.testing.chaos.faults import Disk, clock_moved, cores, corrupt, frozen, kill, workers_of
from cerebelum_nb.testing.chaos.ledger import Ledger
from cerebelum_nb.testing.chaos.points import Point, at
from cerebelum_nb.testing.chaos.proxy import BOTH, Proxy, proxied

ENDS_WITHIN_S: Final = 25.0
SILENT_S: Final = 1.0  # after which a Core is given up
HOUR_S: Final = 3600.0
RESUMES: Final = 4
KILLS: Final = 0.4  # of all runs lose their kernel


class Trouble:
    """What goes wrong in one run.

    Args:
        lines: The proxies to Cores, newest last.
    """

    def __init__(self, run: Run, dice: random.Random, lines: Sequence[Proxy], disk: Path) -> None:
        self.run, self.dice, self.lines, self.disk = run, dice, lines, disk
        self.hold_s = dice.choice([0.02, 0.1, 0.3])

    def strike(self, what: str) -> None:
        """Let it go wrong, and where that passes, wait until it has."""
        getattr(self, f"_{what}")()

    def _core(self) -> int | None:
        found = cores()
        return self.dice.choice(found) if found else None

    def _worker(self) -> int | None:
        core = self._core()
        found = workers_of(core) if core is not None else []
        return self.dice.choice(found) if found else None

    def _wait(self) -> None:
        self.run.wait(self.hold_s, echo=False)

    def _nothing(self) -> None:
        pass

    def _kill_worker(self) -> None:
        if (pid := self._worker()) is not None:
            kill(pid)

    def _kill_core(self) -> None:
        if (pid := self._core()) is not None:
            kill(pid)

    def _freeze_worker(self) -> None:
        if (pid := self._worker()) is not None:
            with frozen(pid):
                self._wait()

    def _freeze_core(self) -> None:
        if (pid := self._core()) is not None:
            with frozen(pid):
                self._wait()

    def _freeze_core_for_long(self) -> None:
        if (pid := self._core()) is not None:
            with frozen(pid):
                self.run.wait(4 * SILENT_S, echo=False)

    def _line(self, act: Callable[[Proxy], object]) -> None:
        if self.lines:
            act(self.lines[-1])
            self._wait()
            self.lines[-1].heal()

    def _cut_line(self) -> None:
        self._line(lambda line: line.cut())

    def _half_open_line(self) -> None:
        direction = self.dice.choice(BOTH)
        self._line(lambda line: line.cut(direction))

    def _cut_line_for_long(self) -> None:
        if self.lines:
            self.lines[-1].cut()
            self.run.wait(4 * SILENT_S, echo=False)
            self.lines[-1].heal()

    def _lose_line(self) -> None:
        self._line(lambda line: line.lose())

    def _reset_line(self) -> None:
        self._line(lambda line: line.reset())

    def _slow_line(self) -> None:
        def slow(line: Proxy) -> None:
            line.delay_s = 0.05

        self._line(slow)

    def _dripping_line(self) -> None:
        def drip(line: Proxy) -> None:
            line.drip = 2000

        self._line(drip)

    def _cancel(self) -> None:
        self.run.cancel()

    def _move(self) -> None:
        step = self.dice.choice(self.run.plan.names[: self.run.plan.steps])
        with contextlib.suppress(PlanError):  # it has ended, or it is a decision
            self.run.move(step, self.dice.choice(["local", "distributed"]))

    def _fill_disk(self) -> None:
        disk = Disk(self.disk)
        disk.fill()
        self._wait()
        disk.free()

    def _clock_back(self) -> None:
        with clock_moved(-HOUR_S):
            self._wait()

    def _clock_on(self) -> None:
        with clock_moved(24 * HOUR_S):
            self._wait()

    def _damage_result(self) -> None:
        """Later: when the run has ended."""


TROUBLES: Final = (
    "nothing",
    "kill_worker",
    "kill_core",
    "freeze_worker",
    "freeze_core",
    "freeze_core_for_long",
    "cut_line",
    "half_open_line",
    "cut_line_for_long",
    "lose_line",
    "reset_line",
    "slow_line",
    "dripping_line",
    "cancel",
    "move",
    "fill_disk",
    "clock_back",
    "clock_on",
    "damage_result",
)


def trouble_of(seed: int) -> str:
    """What goes wrong in the run of a seed; where nothing does, the kernel itself is killed."""
    dice = random.Random(~seed)  # noqa: S311  to be the same again
    return "kill_kernel" if dice.random() < KILLS else dice.choice(TROUBLES)


def point_of(seed: int) -> Point:
    """Where it goes wrong."""
    dice = random.Random(seed ^ 0xC4A05)  # noqa: S311
    return Point(f"event {dice.randrange(40)}", dice.random() < 0.5, dice.choice([0.0, 0.0, 0.03]))


def storm(folder: str, seeds: Sequence[int], disk: str) -> list[dict[str, Any]]:
    """Runs in one kernel, one after the other.

    Args:
        folder: For what the runs write down.
        disk: Where the project is; it may become full. Empty where there is no such disk.
    """
    _warm(Path(folder))
    watch = Watch(Path(os.environ["TMPDIR"]))
    told = _one_by_one(Path(folder), seeds, disk)
    if left := watch.left():
        told[-1]["broken"] += [*left, f"after the runs of seeds {list(seeds)}"]
    return told


def _warm(folder: Path) -> None:
    """A run without trouble, so that what stays open for good is opened."""
    with _opened(folder / "warm") as session:
        run = session.run(defined(drawn(0)), inputs_of(drawn(0), folder / "warm.ledger"))
        run.wait(ENDS_WITHIN_S, echo=False)


def _one_by_one(folder: Path, seeds: Sequence[int], disk: str) -> list[dict[str, Any]]:
    """In a frame of its own: a session that is closed keeps its loops until nobody holds it any more."""
    with proxied() as lines, _opened(Path(disk or folder) / "home") as session:
        return [_one(session, lines, folder, seed, Path(disk) if disk else None) for seed in seeds]


def _one(session: Session, lines: Sequence[Proxy], folder: Path, seed: int, disk: Path | None) -> dict[str, Any]:
    """One run with its trouble, gone on from until it has succeeded."""
    what, where, trouble, dice = drawn(seed), folder / str(seed), trouble_of(seed), random.Random(seed)  # noqa: S311
    where.mkdir()
    (where / "bad").touch()
    reached = threading.Event()
    with at(point_of(seed), reached.set):
        run = session.run(defined(what), inputs_of(what, where / "ledger"))
        late = time.monotonic() + ENDS_WITHIN_S
        while not reached.is_set() and not run.done and time.monotonic() < late:
            reached.wait(0.005)
        if trouble != "fill_disk" or disk is not None:
            Trouble(run, dice, lines, disk or folder).strike(trouble)
        chain = Chain(session, what, where)
        chain.follow(run)
    if trouble == "damage_result":
        chain.damaged(dice)
    return {"seed": seed, "trouble": trouble, "broken": chain.broken(), "runs": len(chain.runs)}


def begin(folder: str, seed: int) -> str:
    """A run whose kernel will be killed."""
    what, where = drawn(seed), Path(folder)
    (where / "bad").touch()
    with _opened(where / "home") as session:
        run = session.run(defined(what), inputs_of(what, where / "ledger"))
        run.wait(ENDS_WITHIN_S, echo=False)
        return run.status


def go_on(folder: str, seed: int) -> dict[str, Any]:
    """The same in another kernel, until it has succeeded."""
    what, where = drawn(seed), Path(folder)
    with _opened(where / "home") as session:
        defined(what)
        chain = Chain(session, what, where)
        if (where / "home" / "journal.db").exists() and (known := read_runs(where / "home" / "journal.db")):
            chain.follow(session.load(known[0][0].run))
        return {"seed": seed, "trouble": "kill_kernel", "broken": chain.broken(), "runs": len(chain.runs)}


@contextlib.contextmanager
def _opened(home: Path) -> Iterator[Session]:
    session = Session(Settings(home=home, workers=2, core_silent_s=SILENT_S))
    try:
        yield session
    finally:
        session.close()


class Chain:
    """A run and those that went on from it, and what is wrong with them."""

    def __init__(self, session: Session, what: Drawn, where: Path) -> None:
        self.session, self.what, self.where = session, what, where
        self.home = session.settings.home
        self.ledger = Ledger(where / "ledger")
        self.runs: list[Run] = []
        self.refused = ""
        self.wrong: list[str] = []

    def follow(self, run: Run) -> None:
        """Go on from a run until it has succeeded, or may not go on."""
        for _ in range(RESUMES):
            self.runs.append(run)
            if not run.wait(ENDS_WITHIN_S, echo=False):
                rows, last = [(row.step, row.status) for row in run.rows()], run.events[-8:]
                self.wrong.append(f"run {run.id} does not end: {rows}; its last events are {last}")
                run.cancel()
                return
            if run.status == "succeeded":
                return
            (self.where / "bad").unlink(missing_ok=True)
            try:
                run = run.resume(changed="run")
            except PlanError as refused:
                self.refused = str(refused)
                return
        left = [(one.status, [(r.step, r.status) for r in one.rows() if r.status != "succeeded"]) for one in self.runs]
        self.wrong.append(f"it has not succeeded after {RESUMES} runs: {left}, {self.runs[-1].error()}")

    def damaged(self, dice: random.Random) -> None:
        """Damage a result of the last run: it must never be taken for a result."""
        last, expected = self.runs[-1], self.what.outputs()
        names = [name for name in expected if name in last.outputs]
        if last.status != "succeeded" or not names:
            return
        name, how = dice.choice(names), dice.choice(["flip", "truncate", "delete"])
        if not corrupt(self.home, last.id, last.plan.number_of(name), how):  # type: ignore[arg-type]
            return
        other = Session(self.session.settings)
        try:
            loaded = other.load(last.id)
            try:
                found = loaded.outputs
            except CerebelumError:
                found = {}
            wrong = {n: v for n, v in found.items() if v != expected.get(n)}
            self.wrong += [f"the result of {name} was damaged ({how}) and is read as {v!r}" for v in wrong.values()]
        finally:
            other.close()

    def broken(self) -> list[str]:
        """All that is wrong."""
        ids = [run.id for run in self.runs]
        live = [run for run in self.runs if not run.is_recalled]
        found = [*self.wrong, *broken(self.home, began=ids, live=live)]
        if not self.runs or self.wrong:
            return found
        tales = [tale(self.home, run) for run in ids]
        counts = Counter((effect.run, effect.step) for effect in self.ledger.effects())
        found += self._too_often(ids, tales, counts)
        found += self._end(tales)
        return found

    def _too_often(self, ids: list[str], tales: list[Tale], counts: Counter[tuple[str, str]]) -> list[str]:
        found = []
        total = self.ledger.counts()
        found += [f"{step}, which must be done once, was done {total[step]} times" for step in self._once(total)]
        for run, told in zip(ids, tales, strict=True):
            if told.status:  # else its kernel was killed, and perhaps not all of it is known
                found += [
                    f"{step} of run {run} was done {n} times in {told.attempts.get(step, 0)} attempts"
                    for (of, step), n in counts.items()
                    if of == run and n > told.attempts.get(step, 0)
                ]
        for before, after, told in zip(ids, ids[1:], tales, strict=False):
            undone = any(step.startswith("undo ") for step in told.attempts)
            again = [step for step in told.completed if counts[after, step] and not undone]
            found += [f"{step} had completed in run {before} and was done again in {after}" for step in again]
        return found

    def _once(self, total: Counter[str]) -> list[str]:
        return [step for step in self.what.careful if total[step] > 1]

    def _end(self, tales: list[Tale]) -> list[str]:
        last, found = self.runs[-1], []
        if self.refused:
            cut = [step for step in self.what.careful if any(step in told.attempts for told in tales)]
            if not cut or not any(step in self.refused for step in cut):
                found.append(f"it may not go on, and no step forbids it: {self.refused}")
        elif last.outputs != self.what.outputs():
            found.append(f"it gave {last.outputs}, not {self.what.outputs()}")
        for piece in self.what.pieces:
            deeds = [e.step for e in self.ledger.effects() if e.step in (piece.name, f"undo {piece.name}")]
            if last.status == "succeeded" and deeds and deeds[-1] != piece.name:
                found.append(f"the run has succeeded, and {piece.name} is undone")
        return found
