"""Choosing a way: what `wf.diverge`, `wf.branch` and `back_to` say, and how a value is held against their patterns.

A decision is a step of its own, made here: it gets the result it decides by, and gives the number of the way to take.
"""

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from cerebelum_nb.errors import CerebelumError, DefinitionError

OTHERWISE: Final = "_"
LOOPS: Final = 3  # how often `back_to` goes back when nothing is said
LOOPS_LIMIT: Final = 1000


class NoRoute(CerebelumError):
    """A value matches no pattern of its `diverge`."""


@dataclass(frozen=True, slots=True)
class BackTo:
    """A way that goes back: made by `back_to`."""

    target: Any
    limit: int


@dataclass(frozen=True, slots=True)
class RawWay:
    """One way as it is written.

    Attributes:
        label: How people read it: the pattern, or which branch it is.
        target: Steps as they may stand in a timeline, a `BackTo`, or None for nothing.
    """

    label: str
    target: Any


@dataclass(frozen=True, slots=True)
class RawRoute:
    """One `diverge` or `branch` as it is written.

    Attributes:
        after: The step whose result decides.
        choose: Takes that result, gives the place of the way in `ways`.
    """

    call: str
    after: Any
    ways: tuple[RawWay, ...]
    choose: Callable[[Any], Awaitable[int]]


def back_to(step: Any, limit: int = LOOPS) -> BackTo:
    """A target for `wf.diverge` and `wf.branch`: run again from an earlier step on.

    Args:
        step: That step; it and everything below it runs again, as its next attempt.
        limit: How often at most; one time more fails the run.

    Raises:
        DefinitionError: `limit` is no number from 1 to 1000.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LOOPS_LIMIT:
        raise DefinitionError(f"back_to(..., limit={limit!r:.40}): the limit is a whole number from 1 to {LOOPS_LIMIT}")
    return BackTo(step, limit)


def diverging(from_step: Any, patterns: Any) -> RawRoute:
    """What ``wf.diverge(from_step, patterns)`` says.

    Raises:
        DefinitionError: `patterns` is no dict of pattern to target, or empty.
    """
    called = f"diverge({_named(from_step)}, ...)"
    if not isinstance(patterns, Mapping) or not patterns:
        raise DefinitionError(
            f"{called} takes a dict of pattern to step, like {{'ok': ship, '_': refund}}, not {patterns!r:.60}"
        )
    listed = list(patterns)
    order = [i for i, p in enumerate(listed) if p != OTHERWISE] + [i for i, p in enumerate(listed) if p == OTHERWISE]

    async def choose(value: Any, _ways: tuple[str, ...] = tuple(map(_shown, listed))) -> int:
        # Its ways are a default because they are part of what it does: other patterns are an edited decision.
        for i in order:
            found = _matches(value, listed[i])
            if await found if inspect.isawaitable(found) else found:
                return i
        raise NoRoute(
            f"{_named(from_step)} gave {value!r:.80}, which no pattern of {called} matches: "
            f"{', '.join(map(_shown, listed))}. Add '_' for all the rest."
        )

    return RawRoute(called, from_step, tuple(RawWay(_shown(p), target) for p, target in patterns.items()), choose)


def branching(after: Any, condition: Any, when_true: Any, when_false: Any) -> RawRoute:
    """What ``wf.branch(after, condition, when_true, when_false)`` says.

    Raises:
        DefinitionError: `condition` cannot be called.
    """
    called = f"branch(after={_named(after)}, ...)"
    if not callable(condition) or hasattr(condition, "definition"):
        raise DefinitionError(
            f"{called} needs a condition that takes the step's result, like lambda total: total > 100, "
            f"not {condition!r:.60}"
        )

    with contextlib.suppress(ValueError):  # some built-ins do not tell their parameters
        try:
            inspect.signature(condition).bind(None)
        except TypeError as exc:
            raise DefinitionError(
                f"{called}: its condition is called with one value, the result of {_named(after)}: {exc}"
            ) from None

    async def choose(value: Any) -> int:
        answer = condition(value)
        return 0 if (await answer if inspect.isawaitable(answer) else answer) else 1

    choose.__wrapped__ = condition  # type: ignore[attr-defined]  # an edited condition is an edited decision
    return RawRoute(called, after, (RawWay("true", when_true), RawWay("false", when_false)), choose)


def _matches(value: Any, pattern: Any) -> Any:
    if isinstance(pattern, type):
        return isinstance(value, pattern) and not (pattern is int and isinstance(value, bool))
    if callable(pattern) and not isinstance(pattern, Enum):
        return pattern(value)
    if pattern == OTHERWISE and isinstance(pattern, str):
        return True
    if isinstance(pattern, str) and not isinstance(value, str):
        # Files written for the SDK can only say it in text: "True", "3", "None".
        if isinstance(value, Enum):
            return pattern in (value.name, value.value)
        return isinstance(value, bool | int | float | None) and str(value) == pattern
    return isinstance(value, bool) == isinstance(pattern, bool) and bool(value == pattern)


def _shown(pattern: Any) -> str:
    if pattern == OTHERWISE and isinstance(pattern, str):
        return "the rest"
    if isinstance(pattern, type):
        return pattern.__name__
    if callable(pattern) and not isinstance(pattern, Enum):
        return str(getattr(pattern, "__name__", "a condition"))
    return f"{pattern!r:.40}"


def _named(step: Any) -> str:
    return step if isinstance(step, str) else str(getattr(step, "name", None) or f"{step!r:.40}")
