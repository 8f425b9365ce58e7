"""How large a value is, roughly, before anybody encodes it."""

import itertools
import sys
from typing import Any, Final

_SAMPLE: Final = 20  # items of a container that are looked at
_ATOMS: Final = frozenset({bool, int, float})


def rough_nbytes(value: Any, deep: int = 3) -> int:
    """A guess at a value's size that never looks at more than a few of its items."""
    if type(value) in _ATOMS:
        return sys.getsizeof(value)
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    if isinstance(value, dict | list | tuple | set | frozenset) and deep:
        items = list(itertools.islice(value.values() if isinstance(value, dict) else value, _SAMPLE))
        return len(value) * sum(rough_nbytes(item, deep - 1) for item in items) // max(1, len(items))
    usage = getattr(value, "memory_usage", None)
    if hasattr(value, "columns") and callable(usage):
        return int(usage(index=True).sum())
    return sys.getsizeof(value)
