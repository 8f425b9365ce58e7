"""How much memory kernel and workers share, over all pools."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cerebelum_nb.protocols import Executor

if TYPE_CHECKING:  # it loads what only an executor needs
    from cerebelum_nb.executors.large import LargeValues


def shared_memory(executors: Iterable[Executor]) -> tuple[int, int]:
    """Bytes that large values are in, and that are kept for the next ones."""
    held = [large.segments.held() for large in _shared(executors)]
    return sum(used for used, _ in held), sum(free for _, free in held)


def free_memory(executors: Iterable[Executor]) -> int:
    """Give back to the system what nobody needs: so many bytes."""
    return sum(large.free() for large in _shared(executors))


def _shared(executors: Iterable[Executor]) -> "list[LargeValues]":
    return [large for one in list(executors) if (large := getattr(one, "shared", None)) is not None]
