"""The line of a magic, taken apart: words, options, and for runs a Python expression. Pure, no IPython.

Options may stand before, between or after the rest. A piece is separated by spaces that are outside of quotes and
brackets, so ``%cerebelum_run wf {"who": "Ann Lee"} --detach`` is a name, an expression and an option.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.typed import nearest, strategy_of

_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_PAIR: Final = re.compile(r"[^\W\d]\w*=(?!=)")
Kind = Literal["text", "names", "map", "flag"]


class UsageError(CerebelumError):
    """A magic was called wrongly; nothing has run."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a magic.

    Attributes:
        kind: What follows: text, names with commas, pairs with commas, or nothing.
        repeats: It may stand several times; its names add up.
    """

    name: str
    kind: Kind = "text"
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a magic's line says.

    Attributes:
        words: All that is no option, piece by piece.
        rest: The same as one text, without the first word: the expression.
    """

    words: tuple[str, ...] = ()
    rest: str = ""
    text: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()


def read_line(line: str, options: Sequence[Option], usage: str) -> Arguments:
    """Take a magic's line apart.

    Args:
        options: The options it may hold.
        usage: How the magic is used; shown with what is wrong.

    Raises:
        UsageError: An option nobody knows, one without its value, or one twice.
    """
    reader = _Reader({option.name: option for option in options}, split(line), usage)
    while reader.pieces:
        reader.take()
    found, known = reader.values, reader.known
    return Arguments(
        words=tuple(reader.words),
        rest=" ".join(reader.words[1:]),
        text={n: v for n, v in found.items() if known[n].kind == "text"},
        names={n: _names(v) for n, v in found.items() if known[n].kind == "names"},
        maps={n: _pairs(n, v, usage) for n, v in found.items() if known[n].kind == "map"},
        flags=frozenset(n for n in found if known[n].kind == "flag"),
    )


@dataclass(slots=True)
class _Reader:
    known: dict[str, Option]
    pieces: list[str]  # what is left
    usage: str
    words: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    def take(self) -> None:
        """Take the next word, or the next option with its value."""
        piece = self.pieces.pop(0)
        if not _is_option(piece):
            self.words.append(piece)
            return
        name, equals, given = piece.partition("=")
        option = self._option(name)
        if option.kind == "flag":
            if equals:
                raise UsageError(f"{name} takes no value.\n{self.usage}")
            self.values[name] = ""
            return
        if not equals:
            if not self.pieces or _is_option(self.pieces[0]):
                raise UsageError(f"{name} needs a value.\n{self.usage}")
            given = self.pieces.pop(0)
        if option.kind != "text":  # `a, b` and `a=x , b=y` are one value
            while self.pieces and (given.endswith((",", "=")) or self.pieces[0].startswith((",", "="))):
                given += self.pieces.pop(0)
        value = _unquoted(given, name, self.usage)
        self.values[name] = f"{self.values[name]},{value}" if name in self.values else value

    def _option(self, name: str) -> Option:
        option = self.known.get(name)
        if option is None:
            offered = ", ".join(o.name for o in self.known.values()) or "no options"
            hint = nearest(name, self.known)
            if name == "--executor" and "--strategy" in self.known:
                hint = " Where a run's steps go is --strategy default=E for all, --strategy STEP=E for one."
            raise UsageError(f"unknown option {name}.{hint} It takes: {offered}.\n{self.usage}")
        if name in self.values and not option.repeats:
            raise UsageError(f"{name} stands twice.\n{self.usage}")
        return option


def _is_option(piece: str) -> bool:
    return piece.startswith("--") and len(piece) > 2 and (piece[2].isalpha())


def split(line: str) -> list[str]:
    """The pieces of a line; a quote or bracket that is never closed takes all that follows."""
    pieces: list[str] = []
    start: int | None = None
    closing: list[str] = []
    at = 0
    while at < len(line):
        char = line[at]
        if char.isspace() and not closing:
            if start is not None:
                pieces.append(line[start:at])
            start, at = None, at + 1
            continue
        start = at if start is None else start
        if char in "'\"":
            at = _end_of_string(line, at)
            continue
        if char in _OPEN:
            closing.append(_OPEN[char])
        elif closing and char == closing[-1]:
            closing.pop()
        at += 1
    if start is not None:
        pieces.append(line[start:])
    return pieces


def _end_of_string(line: str, at: int) -> int:
    quote = line[at] * 3 if line.startswith(line[at] * 3, at) else line[at]
    at += len(quote)
    while at < len(line) and not line.startswith(quote, at):
        at += 2 if line[at] == "\\" else 1
    return min(at + len(quote), len(line))


def _unquoted(value: str, name: str, usage: str) -> str:
    if value[:1] in ("'", '"'):
        if len(value) < 2 or value[-1] != value[0]:
            raise UsageError(f"{name} has a quote that is never closed: {value[:40]}\n{usage}")
        value = value[1:-1]
    if not value.strip():
        raise UsageError(f"{name} needs a value.\n{usage}")
    return value.strip()


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def _pairs(name: str, value: str, usage: str) -> dict[str, str]:
    try:
        return strategy_of(value)
    except ValueError as exc:
        raise UsageError(f"{name} {exc}.\n{usage}") from None


def inputs_expression(words: Sequence[str], usage: str) -> str:
    """The inputs that stand on a line as one Python expression: as it is, or made of pairs like ``who="Ann" n=3``.

    Raises:
        UsageError: Pairs and something else.
    """
    pairs = [bool(_PAIR.match(word)) for word in words]
    if not any(pairs):
        return " ".join(words)
    if not all(pairs):
        other = words[pairs.index(False)]
        raise UsageError(
            f"pairs like {words[pairs.index(True)][:40]} and {other[:40]!r} do not go together: write only pairs, with "
            f"no spaces around = and brackets around what has spaces, or one expression.\n{usage}"
        )
    if empty := next((word for word in words if word.endswith("=")), None):
        raise UsageError(f"{empty} needs a value right after it, with no space.\n{usage}")
    return f"dict({', '.join(words)})"


def whole(option: str, text: str | None, usage: str) -> int | None:
    """An option's value as a whole number, 0 or more; None as it is.

    Raises:
        UsageError: It is no such number.
    """
    if text is None or (text.isascii() and text.isdigit()):
        return None if text is None else int(text)
    raise UsageError(f"{option} is a whole number, 0 or more, not {text[:40]!r}.\n{usage}")


def seconds(option: str, text: str | None, usage: str) -> float | None:
    """An option's value as seconds, more than 0; None as it is.

    Raises:
        UsageError: It is no such number.
    """
    try:
        number = None if text is None else float(text.removesuffix("s"))
    except ValueError:
        number = math.nan
    if number is None or (math.isfinite(number) and number > 0):
        return number
    raise UsageError(f"{option} is a number of seconds, more than 0, not {text!r:.40}.\n{usage}")
