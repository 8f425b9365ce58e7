"""What writing and reading one value keeps in mind."""

from collections.abc import Callable, Sequence
from typing import Any


class NotPlain(Exception):
    """A value that typed JSON does not hold."""


class Writing:
    """One value on its way to bytes.

    Args:
        apart: So many levels are parts that know nothing of each other.
        inner: Writes a part of the value, at a depth.

    Attributes:
        buffers: What stands beside the JSON.
        tagged: Something had to be tagged.
    """

    __slots__ = ("_apart", "_seen", "buffers", "inner", "tagged")

    def __init__(self, apart: int, inner: Callable[[Any, "Writing", int], Any]) -> None:
        self._apart, self.inner = apart, inner
        self._seen: set[int] | None = None
        self.buffers: list[memoryview] = []
        self.tagged = False

    def tag(self, name: str, value: Any) -> dict[str, Any]:
        """A value that JSON has no word for."""
        self.tagged = True
        return {f"${name}": value}

    def beside(self, raw: memoryview) -> int:
        """Put bytes beside the JSON; their number."""
        self.buffers.append(raw)
        return len(self.buffers) - 1

    def enter(self, value: Any, depth: int) -> None:
        """Begin with something that can be changed.

        Raises:
            NotPlain: It is in the value twice, and must be one thing again where it arrives.
        """
        if depth <= self._apart or self._seen is None:
            self._seen = {id(value)}
        elif id(value) in self._seen:
            raise NotPlain
        else:
            self._seen.add(id(value))


class Reading:
    """One value on its way from bytes.

    Args:
        buffers: What stands beside the JSON; arrays are made over them without a copy.
        safe_only: It comes from somebody who is not trusted.
        inner: Reads a part of the value.
    """

    __slots__ = ("buffers", "inner", "safe_only")

    def __init__(self, buffers: Sequence[Any], safe_only: bool, inner: Callable[[Any, "Reading"], Any]) -> None:  # noqa: FBT001
        self.buffers, self.safe_only, self.inner = buffers, safe_only, inner
