"""Words that people type and read: the nearest known name for a typo, a strategy written as text, many names as few."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

_NAMES: Final = 6  # that are listed before "and .. more"


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint for a name nobody knows: `` Did you mean 'x'?``, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def strategy_of(text: str) -> dict[str, str]:
    """``step=executor,default=executor`` as a map.

    Raises:
        ValueError: A piece that is no such pair, or a step twice; the message goes after the option's name.
    """
    pairs: dict[str, str] = {}
    for pair in (piece.strip() for piece in text.split(",")):
        step, equals, executor = (part.strip() for part in pair.partition("="))
        if not (step and equals and executor):
            raise ValueError(f"takes pairs like step=local,default=distributed, not {pair!r}")
        if step in pairs:
            raise ValueError(f"names {step!r} twice")
        pairs[step] = executor
    return pairs


def counted(count: int, what: str) -> str:
    """A number of things: "1 worker", "2 workers"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Names with commas, the first few of many."""
    if len(names) <= _NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMES])} and {len(names) - _NAMES} more"
