"""What a step may ask for beside its name, place and order: checked where the step is defined, kept as data.

`ACTS` says which of them do something in this version. The others are kept with the step and shown, and whoever uses
one is told so once.
"""

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, get_args

import msgspec

from cerebelum_nb.errors import DefinitionError

OnFailure = Literal["compensate", "stop"]
ExecutorName = Literal["local", "distributed", "processes", "auto"] | str  # noqa: PYI051  editors offer the literals

ACTS: Final[Mapping[str, bool]] = {
    "retries": True,
    "backoff": True,
    "retry_on": True,
    "timeout": True,
    "queue_timeout": True,
    "cache": True,
    "version": True,
    "idempotent": True,
    "effects": True,
    "compensate": True,
    "compensate_retries": True,
    "compensate_timeout": True,
    "compensate_unknown": True,
    "point_of_no_return": True,
    "labels": False,
    "cost": False,
    "resources": False,
    "fallback": True,
    "max_queue": True,
}

RETRIES_LIMIT: Final = 1000
YEAR_S: Final = 366 * 24 * 3600.0  # a longer time is a slip of the pen
EFFECTS: Final = ("none", "once")
_DURATION: Final = "seconds as a number above 0 and at most a year, or a timedelta"


class Backoff(msgspec.Struct, frozen=True):
    """Pauses between attempts: the first, what each next one is multiplied with, and the longest."""

    first_s: float = 0.0
    factor: float = 1.0
    longest_s: float = YEAR_S


class StepOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step's options; each default means that nothing was asked."""

    retries: int = 0  # attempts after the first
    backoff: Backoff = Backoff()
    retry_on: tuple[type[BaseException], ...] = ()  # none for any error
    timeout: float | None = None  # seconds for one attempt
    queue_timeout: float | None = None  # seconds until a worker takes it
    cache: bool = False
    version: str = ""  # of what it does, as the cache knows it: another one, and nothing earlier counts
    idempotent: bool = False  # running it twice does no harm
    effects: str = ""  # "none", or "once": never run again
    compensate: Callable[..., Any] | None = None  # undoes what it did
    compensate_retries: int = 3  # attempts of that after the first
    compensate_timeout: float | None = None  # seconds for one of them
    compensate_unknown: bool = False  # also where nobody knows whether the step did anything
    point_of_no_return: bool = False  # once it has completed, nothing of the run is undone
    labels: tuple[str, ...] = ()  # what its result holds: "pii"
    cost: float | None = None  # of one run, in the person's own currency
    resources: dict[str, float] = {}  # what a worker must have: {"gpu": 1}
    fallback: tuple[str, ...] = ()  # executors to try when its own is not there; "error" for none
    max_queue: int | None = None  # where more than so many wait for its executor, it goes to its fallback

    def __str__(self) -> str:
        """As people read it in a table: ``retries=3, timeout=5s``."""
        return ", ".join(f"{name}={_shown(name, getattr(self, name))}" for name in used(self))


def used(options: StepOptions) -> tuple[str, ...]:
    """The options that say something else than their default."""
    return tuple(name for name in ACTS if getattr(options, name) != getattr(NOTHING, name))


def idle(options: StepOptions) -> str:
    """The used options that do nothing in this version, as people list them; empty for none."""
    names = [name for name in used(options) if not ACTS[name]]
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


NOTHING: Final = StepOptions()


def bad_on_failure(value: object) -> str:
    """What is wrong with `on_failure` as it is written; empty for nothing. None stands for the default."""
    if value is None or value in get_args(OnFailure):
        return ""
    said = "on_failure is 'compensate', which undoes what steps with compensate= did, or 'stop', which leaves it"
    return f"{said}; not {_bounded(value)}"


# checking -----------------------------------------------------------------------------------------------------------


class _Bad(Exception):
    """A value that an option does not take; its text says what it takes."""


def checked(step: str, given: Mapping[str, Any], base: StepOptions = NOTHING) -> StepOptions:
    """Options as they were written, checked and in one form.

    Args:
        step: What errors call the step.
        given: Option to value; each name is one of `ACTS`.
        base: What holds where nothing is given.

    Raises:
        DefinitionError: A value that the option does not take; says which values it takes.
    """
    made: dict[str, Any] = {}
    for name, value in given.items():
        try:
            made[name] = _CHECKS[name](value)
        except _Bad as bad:
            raise DefinitionError(f"step {step!r}: {name}={_bounded(value)}: it takes {bad}") from None
    options = msgspec.structs.replace(base, **made) if made else base
    _check_together(step, options)
    return options


def _check_together(step: str, options: StepOptions) -> None:
    """What says once that it has effects must not say elsewhere that it may run twice, or need not run."""
    effects = 'effects="once"' if options.effects == "once" else "compensate" if options.compensate else ""
    if effects and options.cache:
        raise DefinitionError(f"step {step!r}: {effects} says that it changes something outside; cache=True skips it")
    if options.effects == "once":
        for name, more in (("retries", options.retries > 0), ("idempotent", options.idempotent)):
            if more:
                raise DefinitionError(f'step {step!r}: effects="once" never runs it twice; take {name} away')


def _bounded(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except Exception:  # noqa: BLE001  a person's own __repr__ may do anything
        return f"a {type(value).__name__}"


def _retries(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= RETRIES_LIMIT:
        raise _Bad(f"a whole number of further attempts, 0 to {RETRIES_LIMIT}")
    return value


def _backoff(value: Any) -> Backoff:
    if isinstance(value, Backoff):
        return value
    takes = "seconds between attempts, a timedelta, or (first, factor, longest) as in (1, 2, 60)"
    try:
        if not isinstance(value, tuple | list):
            return Backoff(_seconds(value))
        first, factor, longest = value
        first_s, longest_s = _seconds(first), _seconds(longest)
    except (_Bad, ValueError):
        raise _Bad(takes) from None
    if not _is_number(factor) or not 1 <= factor <= 1000 or longest_s < first_s:
        raise _Bad(f"{takes}: the factor is 1 to 1000, the longest no less than the first")
    return Backoff(first_s, float(factor), longest_s)


def _retry_on(value: Any) -> tuple[type[BaseException], ...]:
    kinds = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not kinds or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise _Bad("an exception class like ConnectionError, or a tuple of them")
    return kinds


def _timeout(value: Any) -> float | None:
    return None if value is None else _seconds(value)


def _seconds(value: Any) -> float:
    if isinstance(value, dt.timedelta):
        value = value.total_seconds()
    if not _is_number(value) or not 0 < value <= YEAR_S:
        raise _Bad(_DURATION)
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Bad("True or False")
    return value


def _version(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not 0 < len(str(value)) <= 80:
        raise _Bad("a short text or a number, like '2'")
    return str(value)


def _max_queue(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Bad("how many steps may wait for its executor, a whole number from 0")
    return value


def _effects(value: Any) -> str:
    if value is None:
        return ""
    if value not in EFFECTS:
        raise _Bad("'none' for a step that changes nothing outside, or 'once' for one that must never run twice")
    return str(value)


def _compensate(value: Any) -> Any:
    if value is not None and (isinstance(value, type) or not callable(value)):
        raise _Bad("the function that undoes what the step did")
    return value


def _labels(value: Any) -> tuple[str, ...]:
    return _words(value, "a word like 'pii', or a list of them")


def _fallback(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    words = _words(value, takes := "'local', 'error', or a list of executors to try in order")
    if not words or ("error" in words and len(words) > 1):
        raise _Bad(takes)
    return words


def defaults(workflow: str, given: Mapping[str, Any]) -> StepOptions:
    """What a workflow says for steps that say nothing, checked: `fallback` and `max_queue`.

    Raises:
        DefinitionError: A value that the option does not take.
    """
    made: dict[str, Any] = {}
    for name, value in given.items():
        try:
            made[name] = _CHECKS[name](value)
        except _Bad as bad:
            raise DefinitionError(f"workflow {workflow!r}: {name}={_bounded(value)}: it takes {bad}") from None
    return StepOptions(**made)


def _words(value: Any, takes: str) -> tuple[str, ...]:
    listed: Iterable[Any] = (value,) if isinstance(value, str) else value
    if not isinstance(listed, tuple | list | set | frozenset):
        raise _Bad(takes)
    words = tuple(sorted(listed, key=str) if isinstance(listed, set | frozenset) else listed)
    if not all(isinstance(w, str) and w.isprintable() and 0 < len(w.strip()) == len(w) <= 80 for w in words):
        raise _Bad(takes)
    return tuple(dict.fromkeys(words))


def _cost(value: Any) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or value < 0:
        raise _Bad("what one run costs, a number from 0")
    return float(value)


def _resources(value: Any) -> dict[str, float]:
    takes = "a dict of what a worker must have to how much of it, like {'gpu': 1}"
    if not isinstance(value, Mapping):
        raise _Bad(takes)
    _words(list(value), takes)
    if not all(_is_number(amount) and amount > 0 for amount in value.values()):
        raise _Bad(takes)
    return {name: float(amount) for name, amount in value.items()}


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "retries": _retries,
    "backoff": _backoff,
    "retry_on": _retry_on,
    "timeout": _timeout,
    "queue_timeout": _timeout,
    "cache": _yes_or_no,
    "version": _version,
    "idempotent": _yes_or_no,
    "effects": _effects,
    "compensate": _compensate,
    "compensate_retries": _retries,
    "compensate_timeout": _timeout,
    "compensate_unknown": _yes_or_no,
    "point_of_no_return": _yes_or_no,
    "labels": _labels,
    "cost": _cost,
    "resources": _resources,
    "fallback": _fallback,
    "max_queue": _max_queue,
}


# showing ------------------------------------------------------------------------------------------------------------


def _shown(name: str, value: Any) -> str:
    if isinstance(value, Backoff):
        first = f"{value.first_s:g}s"
        return first if value.factor == 1 else f"{first} x{value.factor:g} up to {value.longest_s:g}s"
    if name in ("timeout", "queue_timeout", "compensate_timeout") and value is not None:
        return f"{value:g}s"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "+".join(f"{amount:g} {what}" for what, amount in value.items())
    if isinstance(value, tuple):
        return "+".join(str(getattr(item, "__name__", item)) for item in value)
    return str(getattr(value, "__name__", value))
