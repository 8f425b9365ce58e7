"""What makes two attempts of a step the same: the one place where the keys of the cache are made. Pure.

A key is a digest of the step's name and code, of all that it carries (helpers, globals, closure variables, defaults,
classes, modules), of its declared version, and of what it is given. Beside the key its parts are known by the names
that people use, so that a miss can say which of them is another one.
"""

import dis
import hashlib
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from cerebelum_nb.capture import captured, modules
from cerebelum_nb.codec import whole
from cerebelum_nb.identity.content import (
    ATOMS,
    DIGEST_NBYTES,
    ROOM_NBYTES,
    TOO_MUCH,
    Look,
    NotComparable,
    attributes_used,
    code_digest,
    digest,
    pack,
)
from cerebelum_nb.identity.seen import label_of, plain_function, reached

FORMAT: Final = 1  # of keys and of stored results
CODE: Final = "its code"
VERSION: Final = "its version"
WORKFLOW: Final = "the workflow"
PYTHON: Final = "Python or the format of the cache"
_SHORT: Final = 64  # bytes of a value that goes into a key as it is
_REMEMBERED: Final = 1 << 14  # functions
_MANY_INPUTS: Final = 100
_ANOTHER_EACH_RUN: Final = frozenset({"attempt", "execution_id", "executor", "idempotency_key"})
_SEES_ALL: Final = frozenset({"locals", "vars", "eval", "exec", "dir"})
_PLAIN_CONTEXT: Final = frozenset({"inputs", "step_name", "workflow_name"})

Parts = tuple[tuple[str, bytes], ...]  # what people call it, its digest


class NotCached(Exception):
    """There is no key; the text says why."""


class Carried(NamedTuple):
    """What a step is before it is given anything.

    Attributes:
        base: Digest of all parts.
        reads_inputs: It can see the run's inputs through its context.
        parameters: Names of what it takes by position.
    """

    base: bytes
    parts: Parts
    reads_inputs: bool
    parameters: tuple[str, ...]


class _Known(NamedTuple):
    """What was found out about a function, as long as its look holds."""

    function: Callable[..., Any]
    workflow: str
    version: str
    code: CodeType | None
    defaults: tuple[Any, ...] | None
    look: Look | None  # None where the function reaches nothing
    made: Carried
    changeable: tuple[tuple[int, Any, frozenset[str]], ...]  # parts that may be others now: place, value, names


class Carrier:
    """Remembers what steps carry; what of it can change is read again each time."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def carried(
        self, function: Callable[..., Any], step: str, workflow: str, version: str, room: int = ROOM_NBYTES
    ) -> Carried:
        """What a step carries now.

        Args:
            room: Bytes that may be read; with less than usual, nothing is found out anew.

        Raises:
            NotCached: Something that it carries cannot be compared.
            NotComparable: There is more of it than there is room.
        """
        known = self._known.get(step)
        if known is not None:
            same, other_workflow, other_version, code, defaults, look, made, changeable = known
            if (
                same is function
                and same.__code__ is code  # only functions are remembered
                and same.__defaults__ is defaults
                and other_workflow == workflow
                and other_version == version
                and (look is None or look.holds())
            ):
                return _again(known, step, room) if changeable else made
        if room < ROOM_NBYTES:
            raise NotComparable(TOO_MUCH)
        made, look, changeable = _found(function, step, workflow, version)
        if look.is_stable and isinstance(function, FunctionType):
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            also = look if look.reaches else None
            code, defaults = function.__code__, function.__defaults__
            self._known[step] = _Known(function, workflow, version, code, defaults, also, made, changeable)
        return made


def _again(known: _Known, step: str, room: int) -> Carried:
    look, parts = Look(room), list(known.made.parts)
    for place, value, names in known.changeable:
        label = parts[place][0]
        try:
            parts[place] = label, digest(value, look, names)
        except NotComparable as exc:
            if room < ROOM_NBYTES:
                raise
            raise NotCached(_cannot(label, exc)) from None
    return known.made._replace(base=_base(step, parts), parts=tuple(parts))


def _cannot(label: str, why: NotComparable) -> str:
    return f"it carries the {label}, whose content cannot be compared ({why}); pass it as an input"


def _base(step: str, parts: Sequence[tuple[str, bytes]]) -> bytes:
    return hashlib.blake2b(pack([step, *parts]), digest_size=DIGEST_NBYTES).digest()


def _found(
    function: Callable[..., Any], step: str, workflow: str, version: str
) -> tuple[Carried, Look, tuple[tuple[int, Any, frozenset[str]], ...]]:
    look = Look()
    look.files = modules.local_modules(modules.everything_in(function, lambda f: [value for *_, value in captured(f)]))
    parts = [(PYTHON, pack([sys.version_info[:2], FORMAT])), (CODE, _own_code(function, look))]
    if version:
        parts.append((VERSION, pack(version)))
    things = list(reached(function))
    names = frozenset[str]().union(*(attributes_used(code) for code in _codes(function, things)))
    changeable, code_is_stable = [], look.is_stable
    for kind, name, via, value in things:
        label = label_of(kind, name, via)
        plain = plain_function(value) if kind == "helper" else None
        look.is_stable = True
        try:
            parts.append((label, _code_of(plain, look) if plain is not None else digest(value, look, names)))
        except NotComparable as exc:
            raise NotCached(_cannot(label, exc)) from None
        if not look.is_stable and plain is not None:
            code_is_stable = False
        elif not look.is_stable:
            changeable.append((len(parts) - 1, value, names))
    look.is_stable = code_is_stable
    parts += [(f"module {name!r}", pack(stamp)) for name, stamp in look.files.items()]
    reads, sees_workflow = _reads_context(function)
    if sees_workflow:
        parts.append((WORKFLOW, pack(workflow)))
    made = Carried(_base(step, parts), tuple(parts), reads, _parameters(function))
    return made, look, tuple(changeable)


def _own_code(function: Callable[..., Any], look: Look) -> bytes:
    """Digest of a step's code, wrappers around it included; what they reach is told by its own names."""
    plain, found = inspect.unwrap(function), b""
    for layer in {id(each): each for each in (function, plain)}.values():
        try:
            found += _code_of(layer, look) if isinstance(layer, FunctionType) else digest(layer, look)
        except NotComparable as exc:
            raise NotCached(f"its function is or holds what cannot be compared ({exc})") from None
        if not isinstance(layer, FunctionType):
            look.is_stable = False
    return found


def _code_of(function: FunctionType, look: Look) -> bytes:
    """Digest of one function's code and attributes, without what it reaches."""
    look.note(function)
    own = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    return code_digest(function.__code__) + (digest(own, look) if own else b"")


def _codes(function: Callable[..., Any], things: Iterable[tuple[str, str, tuple[str, ...], Any]]) -> list[CodeType]:
    functions = [function, inspect.unwrap(function), *(plain_function(value) for *_, value in things)]
    return [f.__code__ for f in functions if isinstance(f, FunctionType)]


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    by_place = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind in by_place)


# the context --------------------------------------------------------------------------------------------------------


def _reads_context(function: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether a step can see the inputs through its context, and whether it can see its workflow's name.

    Raises:
        NotCached: It reads what is another one in each run.
    """
    if "context" not in inspect.signature(function).parameters:
        return False, False
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return True, True
    used = uses_of(function.__code__, "context")
    if changing := sorted(_ANOTHER_EACH_RUN.intersection(used)):
        raise NotCached(f"it reads context.{changing[0]}, which is another one in each run")
    handed_on = bool(set(used) - _PLAIN_CONTEXT)
    return handed_on or "inputs" in used, handed_on or "workflow_name" in used


@lru_cache(maxsize=1024)
def uses_of(code: CodeType, name: str) -> frozenset[str]:
    """What a function does with one of its parameters: attributes that it reads; "" for all else, as handing it on."""
    if not _SEES_ALL.isdisjoint(code.co_names):
        return frozenset({""})
    found = set()
    steps = list(dis.get_instructions(code))
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        loaded = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if name not in loaded or not step.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE", "MAKE_CELL")):
            continue
        is_read = loaded[-1] == name and loaded.count(name) == 1 and "FAST" in step.opname
        is_read = is_read and after is not None and after.opname in ("LOAD_ATTR", "LOAD_METHOD")
        found.add(str(after.argval) if is_read and after is not None else "")
    return frozenset(found)


# what it is given ---------------------------------------------------------------------------------------------------


def token(value: Any, room: int = ROOM_NBYTES) -> bytes:
    """A value as it goes into a key: short plain ones as they are, others as their digest.

    Args:
        room: Bytes that may be read.

    Raises:
        NotComparable: It cannot be read exactly, or is too large.
    """
    kind = type(value)
    if kind in ATOMS or (
        (kind is list and len(value) <= _SHORT and set(map(type, value)) <= ATOMS)
        or (kind is dict and len(value) <= _SHORT and _is_flat(value))
    ):
        try:
            data = pack(value)
        except (OverflowError, UnicodeEncodeError):
            pass
        else:
            if len(data) <= _SHORT:
                return b"=" + data
    return digest(whole(value), Look(room))


def _is_flat(value: dict[Any, Any]) -> bool:
    return set(map(type, value)) <= {str} and set(map(type, value.values())) <= ATOMS


def key_of(base: bytes, tokens: Sequence[bytes]) -> bytes:
    """The key of an attempt: of what it carries, and of what it is given in this order."""
    return hashlib.blake2b(pack([base, *tokens]), digest_size=DIGEST_NBYTES).digest()


def input_parts(inputs: Any) -> Parts:
    """A run's inputs as parts that people know.

    Raises:
        NotComparable: One of them cannot be read exactly.
    """
    inputs = whole(inputs)
    if type(inputs) is not dict or len(inputs) > _MANY_INPUTS or set(map(type, inputs)) - {str}:
        return (("the inputs", digest(inputs)),)
    return tuple((f"input {name!r}", digest(value)) for name, value in inputs.items())


def difference(before: Parts, now: Parts) -> str:
    """What is another one now, as people read it: ``argument 'total' changed``; at most two are named."""
    one, other = _by_label(before), _by_label(now)
    names = [label for label in dict.fromkeys([*other, *one]) if one.get(label) != other.get(label)]
    if not names:
        return "the earlier result is gone"
    told = f"{names[0]}, {names[1]} and {len(names) - 2} more" if len(names) > 2 else " and ".join(names)
    return f"{told} changed"


def _by_label(parts: Parts) -> Mapping[str, Counter[bytes]]:
    found: dict[str, Counter[bytes]] = {}
    for label, what in parts:
        found.setdefault(label, Counter())[what] += 1
    return found
