"""Which colour and pattern a place has where no script runs: the same as in the widget (js/src/palette.ts). Pure.

A pool keeps its look for ever: it is made of its name.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from cerebelum_nb.model.view import Row, Segment

COLOURS: Final = {
    "local": "#008f68",
    "dist": "#1576b7",
    "pool-0": "#b8560b",
    "pool-1": "#b0478f",
    "pool-2": "#117f8b",
    "pool-3": "#7f7400",
    "pool-4": "#94633b",
    "undo": "#8a5cd6",
    "bad": "#d1435b",
    "grey": "#6e7781",
}
"""js/src/css/base.css has the same; each has at least 3:1 on white and on #111."""

POOL_COLOURS: Final = 5
POOL_LOOKS: Final = ("dots", "lattice", "bars", "grid")


class Look(NamedTuple):
    """A pattern: its size, its turn, and stripes as (x, y, width, height), or dots as (x, y, radius)."""

    size: int
    turn: int
    parts: tuple[tuple[float, ...], ...]


LOOKS: Final = {
    "hatch": Look(6, 45, ((0, 0, 1.6, 6),)),
    "back": Look(6, 135, ((0, 0, 2, 6),)),
    "close": Look(5, 135, ((0, 0, 1.6, 5),)),
    "dots": Look(5, 0, ((2.5, 2.5, 1.1),)),
    "bars": Look(5, 0, ((0, 0, 1.5, 5),)),
    "grid": Look(5, 0, ((0, 0, 1, 5), (1, 0, 4, 1))),
    "lattice": Look(6, 45, ((0, 0, 1.2, 6), (1.2, 0, 4.8, 1.2))),
}
_OWN_LOOKS: Final = {"dist": "hatch", "badhatch": "hatch", "grey": "close", "undo": "back"}
_WORD: Final = 0xFFFFFFFF


def pool_paint(name: str) -> str:
    """The look of a pool by its name. Two of one colour still differ by pattern, in 4 of 5 cases by both."""
    mixed = 0x811C9DC5
    units = name.encode("utf-16-le", "surrogatepass")  # a browser counts a character outside the first plane as two
    for low, high in zip(units[::2], units[1::2], strict=True):
        mixed = (mixed ^ (low | high << 8)) * 0x01000193 & _WORD
    mixed = (mixed ^ (mixed >> 15)) * 0x2C1B3C6D & _WORD
    return f"pool-{mixed % POOL_COLOURS}-{(mixed >> 12) % len(POOL_LOOKS)}"


def paint(place: Row | Segment) -> str:
    """How a place is drawn: "local", "dist", or a pool's own look."""
    if not place.remote:
        return "local"
    return "dist" if place.where == "distributed" else pool_paint(place.where)


def is_pool(found: str) -> bool:
    """Whether it is the look of a pool."""
    return found.startswith("pool-")


def colour(found: str) -> str:
    """The plain colour of a look."""
    return COLOURS[found.rpartition("-")[0] if is_pool(found) else found.removesuffix("hatch")]


def fill(found: str) -> str:
    """What a bar is filled with: a colour, or one of `patterns`. What is not in the kernel has a pattern too."""
    return colour(found) if found in ("local", "bad") else f"url(#{found})"


def patterns(wanted: Iterable[str]) -> str:
    """The SVG patterns that `fill` refers to."""
    return f"<defs>{''.join(_pattern(found) for found in sorted(set(wanted)) if fill(found) != colour(found))}</defs>"


def look(found: str) -> str:
    """The name of a look's pattern; empty for a plain colour."""
    return POOL_LOOKS[int(found.rpartition("-")[2])] if is_pool(found) else _OWN_LOOKS.get(found, "")


def _pattern(found: str) -> str:
    size, turn, parts = LOOKS[look(found)]
    drawn = [f'<rect width="{size}" height="{size}" fill="{colour(found)}"/>']
    for x, y, *rest in parts:
        if len(rest) == 1:
            drawn.append(f'<circle cx="{x:g}" cy="{y:g}" r="{rest[0]:g}" fill="#fff" opacity="0.6"/>')
        else:
            at = f'x="{x:g}" y="{y:g}" width="{rest[0]:g}" height="{rest[1]:g}"'
            drawn.append(f'<rect {at} fill="#fff" opacity="0.4"/>')
    return (
        f'<pattern id="{found}" width="{size}" height="{size}" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate({turn})">{"".join(drawn)}</pattern>'
    )
