"""Workflows by dice: what a seed makes is the same in every process, and it is known what must come out."""

import asyncio
import hashlib
import linecache
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.context import Context
from cerebelum_nb.dsl.decorators import step, workflow
from cerebelum_nb.dsl.step import StepMetadata
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.testing.chaos.ledger import Ledger

LEFT, RIGHT, LAST = "left", "right", "last"


class Piece(msgspec.Struct, frozen=True):
    """A step by dice."""

    name: str
    needs: tuple[str, ...]
    remote: bool
    is_async: bool
    ms: int  # how long it takes
    torn: bool  # its first attempt fails
    once: bool = False
    undone: bool = False  # it says how it is undone
    idempotent: bool = False


class Drawn(msgspec.Struct, frozen=True):
    """A workflow by dice."""

    name: str
    pieces: tuple[Piece, ...]
    decides: str  # the step that decides; empty for none
    bad: str  # the step that fails as long as the file `bad` is there; empty for none

    @property
    def careful(self) -> frozenset[str]:
        """Steps that must not be done twice."""
        return frozenset(piece.name for piece in self.pieces if piece.once)

    def outputs(self) -> dict[str, str]:
        """What each step that runs must give."""
        found: dict[str, str] = {}
        for piece in self.pieces:
            if self.decides and piece.name in (LEFT, RIGHT) and piece.name != way(found[self.decides]):
                continue
            found[piece.name] = result(piece.name, {need: found[need] for need in piece.needs if need in found})
        return found


def drawn(seed: int) -> Drawn:
    """A workflow of four to ten steps in layers, perhaps with a decision."""
    dice = random.Random(seed)  # noqa: S311  to be the same again
    pieces: list[Piece] = []
    layers: list[list[str]] = []
    for layer in range(dice.randint(2, 4)):
        names = [f"s{layer}{letter}" for letter in "abc"[: dice.randint(1, 3)]]
        above = layers[-1] if layers else []
        pieces += [_piece(dice, name, tuple(dice.sample(above, min(len(above), dice.randint(1, 2))))) for name in names]
        layers.append(names)
    decides = dice.choice(layers[0]) if dice.random() < 0.4 else ""
    if decides:
        pieces += [_piece(dice, LEFT, (decides,)), _piece(dice, RIGHT, (decides,))]
    last = Piece(
        LAST, (*layers[-1], *((LEFT, RIGHT) if decides else ())), remote=False, is_async=True, ms=0, torn=False
    )
    bad = dice.choice(pieces).name if dice.random() < 0.2 else ""
    return Drawn(f"drawn{seed}", (*pieces, last), decides, bad)


def _piece(dice: random.Random, name: str, needs: tuple[str, ...]) -> Piece:
    kind = dice.choice(["plain"] * 7 + ["once", "undone", "undone"])
    return Piece(
        name,
        needs,
        remote=dice.random() < 0.4,
        is_async=dice.random() < 0.5,
        ms=dice.choice([0, 0, 5, 30]),
        torn=dice.random() < 0.15,
        once=kind == "once",
        undone=kind == "undone",
        idempotent=dice.random() < 0.3,
    )


def result(name: str, given: Mapping[str, str]) -> str:
    """What a step gives: nothing else gives the same."""
    return hashlib.sha256(repr((name, sorted(given.items()))).encode()).hexdigest()[:12]


def way(value: str) -> str:
    """Which way a decision takes."""
    return LEFT if int(value, 16) % 2 else RIGHT


def begins(context: Context, name: str) -> None:
    """What each step does first: its effect, and its failure where it is to fail."""
    inputs: Any = context.inputs
    Ledger(inputs["ledger"]).note(context)
    if name in inputs["torn"] and context.attempt == 1:
        raise OSError("torn")
    if name == inputs["bad"] and Path(inputs["ledger"]).with_name("bad").exists():
        raise ValueError("bad")


def rests(context: Context, name: str) -> float:
    """Seconds that a step takes."""
    inputs: Any = context.inputs
    return float(inputs["ms"].get(name, 0)) / 1000


def undoes(context: Context) -> None:
    """What undoes a step: an effect of its own."""
    inputs: Any = context.inputs
    Ledger(inputs["ledger"]).note(context, f"undo {context.step_name}")


_STEP: Final = """
{prefix}def {name}(context{parameters}):
    begins(context, {name!r})
    {pause}(rests(context, {name!r}))
    given = {{n: v for n, v in dict({given}).items() if v is not None}}
    return result({name!r}, given)
"""
_SPACE: Final = {"begins": begins, "rests": rests, "result": result, "asyncio": asyncio, "time": time}


def defined(what: Drawn) -> Workflow:
    """The same as people would write it: functions from a cell, a timeline, perhaps a decision."""
    steps = {piece.name: _step(what, piece) for piece in what.pieces}
    layers = sorted({name[:2] for name in steps if name not in (LEFT, RIGHT, LAST)})

    def timeline(wf: Any) -> None:
        wf.timeline(
            *[[made for name, made in steps.items() if name.startswith(layer)] for layer in layers], steps[LAST]
        )
        if what.decides:
            wf.branch(steps[what.decides], lambda value: way(value) == LEFT, steps[LEFT], steps[RIGHT])

    return workflow(name=what.name)(timeline)


def _step(what: Drawn, piece: Piece) -> StepMetadata:
    optional = piece.name == LAST
    parameters = "".join(f", {need}{'=None' if optional else ''}" for need in piece.needs)
    source = _STEP.format(
        prefix="async " if piece.is_async else "",
        name=piece.name,
        parameters=parameters,
        pause="await asyncio.sleep" if piece.is_async else "time.sleep",
        given=", ".join(f"{need}={need}" for need in piece.needs),
    )
    file = f"<{what.name}.{piece.name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space: dict[str, Any] = {"__name__": "__main__", **_SPACE}
    exec(compile(source, file, "exec"), space)  # noqa: S102  our own text
    asked: dict[str, Any] = {"executor": "distributed"} if piece.remote else {}
    if piece.torn:
        asked["retries"] = 2
    if piece.once:
        asked["effects"] = "once"
        asked.pop("retries", None)
    if piece.undone:
        asked["compensate"] = undoes
    if piece.idempotent and not piece.once:
        asked["idempotent"] = True
    return step(**asked)(space[piece.name])


def inputs_of(what: Drawn, ledger: Path) -> dict[str, Any]:
    """What its runs are given."""
    return {
        "ledger": str(ledger),
        "ms": {piece.name: piece.ms for piece in what.pieces},
        "torn": [piece.name for piece in what.pieces if piece.torn and not piece.once],
        "bad": what.bad,
    }
