"""What a step closes over, as digests: to list it, and to say after a run what has changed since. Pure.

Digests are cheap, so that they can be taken at every run: code without its line numbers, plain values by their content
up to a size, large or unknown objects by their identity.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

import msgspec

from cerebelum_nb.capture import captured, modules, travels_by_name
from cerebelum_nb.identity.code import bare

ROOM_NBYTES: Final = 1 << 18  # of a value whose content is looked at
_ATOMS: Final = (type(None), bool, int, float, complex)
_BY_REPR: Final = frozenset({"datetime", "decimal", "fractions", "uuid", "pathlib", "zoneinfo"})


class Item(msgspec.Struct, frozen=True):
    """One thing that a step closes over.

    Attributes:
        kind: helper, class, module, global, closure variable, default.
        via: Helpers through which the step comes to it.
        digest: 8 hex digits of its content; of a large or unknown object, which one it is.
        exact: It is the content's.
    """

    kind: str
    name: str
    via: tuple[str, ...]
    value: Any
    digest: str
    exact: bool

    @property
    def label(self) -> str:
        """What people call it."""
        return label_of(self.kind, self.name, self.via)


def label_of(kind: str, name: str, via: tuple[str, ...]) -> str:
    """What people call something that a step closes over."""
    through = f" of helper {via[-1]!r}" if via else ""
    return f"{kind} {name!r}{through}"


def closes_over(function: Callable[..., Any]) -> list[Item]:
    """All that a step closes over, helpers' own things after them; builtins are left out."""
    return [Item(kind, name, via, value, *digest_of(value)) for kind, name, via, value in reached(function)]


def digests(function: Callable[..., Any]) -> dict[str, str]:
    """Label to digest: to compare later."""
    return {item.label: item.digest for item in closes_over(function)}


def changed(before: dict[str, str], now: dict[str, str]) -> tuple[str, ...]:
    """Labels whose things are others now, or are new, or gone."""
    return tuple(label for label in dict.fromkeys([*before, *now]) if before.get(label) != now.get(label))


def reached(function: Callable[..., Any]) -> Iterator[tuple[str, str, tuple[str, ...], Any]]:
    """The same without digests: kind, name, helpers on the way, value."""
    yield from _reached(function, (), {id(function)})


def _reached(
    function: Callable[..., Any], via: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[str, str, tuple[str, ...], Any]]:
    for what, name, value in captured(function):
        kind = "default" if what == "default of" else what
        plain = plain_function(value)
        if isinstance(value, ModuleType) or (isinstance(value, type) and value.__module__ != "__main__"):
            kind = "module"
        elif isinstance(value, type):
            kind = "class"
        elif plain is not None:
            kind = "module" if travels_by_name(plain) else "helper"
        yield kind, name, via, value
        if kind == "helper" and plain is not None and id(plain) not in seen:
            seen.add(id(plain))
            yield from _reached(plain, (*via, name), seen)


def digest_of(value: Any) -> tuple[str, bool]:
    """A value's digest, and whether it is of the content."""
    digest = _Digest()
    with contextlib.suppress(Exception):  # a person's objects may do anything
        if digest.take(value):
            return digest.hex(), True
    size = ""
    with contextlib.suppress(Exception):  # a person's __len__ may do anything
        size = f"{getattr(value, 'shape', '') or len(value)}"
    which = _Digest()
    which.feed(f"{type(value).__qualname__} {id(value)} {size}")
    return which.hex(), False


def plain_function(value: Any) -> FunctionType | None:
    """The function that a value is, or that a step was made of."""
    if str(type(value).__module__).startswith("cerebelum_nb.dsl"):
        value = getattr(value, "function", None)
    return value if isinstance(value, FunctionType) else None


class _Digest:
    """Takes values in until there are too many of them, or one whose content it does not know."""

    def __init__(self, on_the_way: frozenset[int] = frozenset()) -> None:
        self._hash = hashlib.blake2b(digest_size=4)
        self._room = ROOM_NBYTES
        self._open = set(on_the_way)  # containers on the way down

    def hex(self) -> str:
        return self._hash.hexdigest()

    def feed(self, data: str | bytes) -> bool:
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        self._room -= len(raw) + 50
        if self._room >= 0:
            self._hash.update(len(raw).to_bytes(8, "little") + raw)
        return self._room >= 0

    def take(self, value: Any) -> bool:
        kind = type(value)
        if kind in _ATOMS or kind.__module__ in _BY_REPR or kind is range or kind is slice:
            return self.feed(f"{kind.__name__} {value!r}")
        if kind in (str, bytes, bytearray):
            return len(value) <= self._room and self.feed(kind.__name__) and self.feed(value)
        if id(value) in self._open:
            return self.feed("again")
        if len(self._open) > 50:
            return False
        self._open.add(id(value))
        taken = self._take_larger(value, kind)
        self._open.discard(id(value))
        return taken

    def _take_larger(self, value: Any, kind: type) -> bool:  # noqa: PLR0911  one case per kind reads best
        if kind in (list, tuple):
            return self.feed(kind.__name__) and all(self.take(item) for item in list(value)) and self.feed("end")
        if kind is dict:
            return self.feed("dict") and all(self.take(k) and self.take(v) for k, v in list(value.items()))
        if kind in (set, frozenset):
            parts = [self._part(item) for item in value]
            return all(parts) and self.feed("set") and all(map(self.feed, sorted(parts)))
        if (plain := plain_function(value)) is not None:
            return self._take_function(plain)
        if isinstance(value, ModuleType):
            return self.feed(f"module {value.__name__} {modules.stamp_of(value.__name__)}")
        if isinstance(value, type):
            return self._take_class(value)
        if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            plain_data = value.nbytes <= self._room and not value.dtype.hasobject
            return plain_data and self.feed(f"{value.shape} {value.dtype}") and self.feed(value.tobytes())
        if kind.__module__ in ("builtins", "functools", "_io", "_thread") or not hasattr(value, "__dict__"):
            return False
        return self.feed(f"{kind.__module__}.{kind.__qualname__}") and self.take(vars(value))

    def _take_function(self, function: FunctionType) -> bool:
        if travels_by_name(function):
            home = function.__module__
            return self.feed(f"function {home}.{function.__qualname__} {modules.stamp_of(home)}")
        given = (function.__defaults__, function.__kwdefaults__)
        return self.feed(repr(bare(function.__code__))) and self.take(given)

    def _take_class(self, value: type) -> bool:
        if value.__module__ != "__main__":
            return self.feed(f"class {value.__module__}.{value.__qualname__} {modules.stamp_of(value.__module__)}")
        own = {k: v for k, v in vars(value).items() if k not in _PER_CLASS}
        parts = {k: self._part(getattr(v, "__func__", getattr(v, "fget", v))) for k, v in own.items()}
        return self.feed(f"class {value.__qualname__} {[b.__qualname__ for b in value.__mro__]} {parts}")

    def _part(self, value: Any) -> str:
        """A digest of its own; empty for what has no known content."""
        digest = _Digest(frozenset(self._open))
        return digest.hex() if digest.take(value) else ""


_PER_CLASS: Final = frozenset({"__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__"})
