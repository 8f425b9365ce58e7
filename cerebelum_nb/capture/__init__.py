"""What a step closes over: ship its function with the globals it uses as they are now, and make it again elsewhere.

Functions of notebook cells travel by value, with their helpers, classes and globals; functions of modules by name.
Local modules that they use are found by name too, each in the version that is on disk (`modules`).
"""

import contextlib
import functools
import hashlib
import importlib
import inspect
import linecache
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import msgspec

from cerebelum_nb.capture import modules, versions
from cerebelum_nb.capture.keys import looks_secret
from cerebelum_nb.capture.reach import DEEP, Reach, captured_by, is_importable
from cerebelum_nb.codec import a_kind_of, find_unpicklable, one_line, picklable, pickled
from cerebelum_nb.errors import CaptureError

_REMEMBERED, _REMEMBERED_NBYTES = 1024, 64 << 20  # functions whose payload is kept, and all of these together
_MEMORY_NBYTES = 1 << 20  # a larger payload is made anew each time rather than kept
LOUD_NBYTES = 1 << 20  # a larger payload is told to the person
LIMIT_NBYTES = 16 << 20  # a larger one is refused


class Payload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A function on its way: by name, or as a pickle; the text of the cells it was written in; modules it needs."""

    module: str
    qualname: str
    pickled: bytes
    sources: dict[str, str]
    files: dict[str, modules.Stamp]
    made_with: dict[str, str] = {}  # versions that the pickle can be read with


@dataclass(frozen=True, slots=True)
class Shipped:
    """A function ready to be sent.

    Attributes:
        payload: What `opened` takes; seal it before it leaves.
        digest: SHA-256 of the payload, hex: equal digests are equal functions with equal globals.
        files: Of the local modules it needs, as they were.
    """

    payload: bytes
    digest: str
    files: dict[str, modules.Stamp] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of the payload."""
        return len(self.payload)


class Shipper:
    """Ships functions, and remembers the payloads of those that cannot have changed.

    A function is remembered only with all it reaches: code, defaults, closures, globals and helpers, by identity, and
    only when all of that is immutable. Any new global, any list among them, and it is made anew.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Reach, Shipped]] = {}
        self._nbytes = 0

    def ship(self, function: Callable[..., Any], step: str = "") -> Shipped:
        """See `ship`; the same answer, sooner."""
        if modules.by_value():
            return ship(function, step)
        known = self._known.get(id(function))
        # What is remembered keeps the function alive, so an equal id is the same object.
        if known is not None and known[0].is_as_it_was():
            files = known[1].files
            if not files or all(modules.stamp_of(name) == stamp for name, stamp in files.items()):
                return known[1]
        reach, shipped = Reach.of(function), ship(function, step)
        if reach is not None and shipped.nbytes <= _MEMORY_NBYTES:
            if len(self._known) >= _REMEMBERED or self._nbytes > _REMEMBERED_NBYTES:
                self._known.clear()  # what is still in use is soon here again
                self._nbytes = 0
            self._known[id(function)] = (reach, shipped)
            self._nbytes += shipped.nbytes
        return shipped


def ship(function: Callable[..., Any], step: str = "") -> Shipped:
    """A function with the globals it uses as they are now, as bytes.

    Raises:
        CaptureError: It reaches something that cannot be sent, or too much; names the variable and how the step comes
            to it.
    """
    step = step or getattr(function, "__name__", repr(function))
    files = modules.local_modules(modules.everything_in(function, lambda f: [value for *_, value in captured(f)]))
    if files and (lost := modules.not_importable(files)) is not None:
        raise CaptureError(f"step {step!r} uses module {lost!r}, which workers cannot import. {modules.remedy(lost)}")
    if (name := _name_of(function)) is not None:
        payload = Payload(*name, b"", {}, files)
    else:
        _check_keys(function, step, set())
        payload = Payload("", "", _pickled(function, step), _sources(function), files, versions.mine())
    data = msgspec.msgpack.encode(payload)
    if len(data) > LIMIT_NBYTES:
        raise CaptureError(
            f"{what_weighs(function, step, len(data))} At most {LIMIT_NBYTES >> 20} MiB can go with a step's function."
        )
    return Shipped(data, hashlib.sha256(data).hexdigest(), files)


def opened(payload: bytes | memoryview) -> Callable[[], Callable[..., Any]]:
    """What gives a shipped function as it was, on each call. Open only what was sealed by us: a pickle can run code."""
    parts = msgspec.msgpack.decode(payload, type=Payload)
    versions.check(parts.made_with)
    for name, text in parts.sources.items():
        lines = text.splitlines(keepends=True)
        linecache.cache[name] = (len(text), None, lines, name)  # no time: `checkcache` leaves it alone
    return functools.partial(_Made().given, parts)


class _Made:
    """A function that was made, for as long as nobody has changed what it reaches: most do not."""

    def __init__(self) -> None:
        self._function: Any = None
        self._reach: Reach | None = None

    def given(self, parts: Payload) -> Callable[..., Any]:
        """The function, made anew if need be."""
        if self._reach is None or not self._reach.is_as_it_was():
            self._function = _made(parts)
            by_value = not parts.module and not parts.files
            self._reach = Reach.of(self._function, every_global=True) if by_value else None
        return self._function  # type: ignore[no-any-return]


def _made(parts: Payload) -> Callable[..., Any]:
    if parts.files:
        modules.refresh(parts.files)
    try:
        if parts.module:
            return _by_name(parts.module, parts.qualname)
        return pickle.loads(parts.pickled)  # type: ignore[no-any-return]  # noqa: S301  sealed, see `opened`
    except ModuleNotFoundError as exc:
        name = exc.name or "?"
        raise CaptureError(f"the worker cannot import module {name!r} ({exc}). {modules.remedy(name)}") from exc


def again(payload: bytes, loads: Callable[[bytes], Any]) -> tuple[Callable[..., Any], dict[str, modules.Stamp]]:
    """A shipped function made again where it came from, and its local modules as they were: they stay as loaded here.

    Args:
        loads: Reads what travels by value.
    """
    parts = msgspec.msgpack.decode(payload, type=Payload)
    for name, text in parts.sources.items():
        linecache.cache.setdefault(name, (len(text), None, text.splitlines(keepends=True), name))
    return _by_name(parts.module, parts.qualname) if parts.module else loads(parts.pickled), parts.files


# by name ------------------------------------------------------------------------------------------------------------


def _name_of(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Module and name under which a worker finds the function too, or None: cells, lambdas, nested functions."""
    home = getattr(function, "__module__", None) or "__main__"
    module = sys.modules.get(home)
    qualname = getattr(function, "__qualname__", "<")
    if module is None or module.__name__ == "__main__" or "<" in qualname or not is_importable(module):
        return None
    if modules.travels_by_value(home):
        return None
    try:
        found = _by_name(module.__name__, qualname)
    except AttributeError:
        return None
    return (module.__name__, qualname) if found is function else None


def travels_by_name(function: Callable[..., Any]) -> bool:
    """Whether a worker imports the function rather than getting it."""
    return _name_of(function) is not None


def _by_name(module: str, qualname: str) -> Callable[..., Any]:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if str(type(found).__module__).startswith("cerebelum_nb.dsl"):  # a decorated step: what it was made of
        found = found.function
    return found  # type: ignore[no-any-return]


# by value -----------------------------------------------------------------------------------------------------------


def _check_keys(function: Callable[..., Any], step: str, seen: set[int]) -> None:
    seen.add(id(function))
    for what, name, value in captured(function):
        if (plain := _plain_function(value)) is not None and _name_of(plain) is None:
            if id(plain) not in seen:
                _check_keys(plain, step, seen)
        elif (where := looks_secret(name, value)) is not None:
            raise CaptureError(
                f"step {step!r} uses the {what} {where}, which looks like a key or password and would travel with the "
                "step's function. Read it inside the step, as from os.environ, pass it as an input, or run the step "
                "locally."
            )


def _pickled(function: Callable[..., Any], step: str) -> bytes:
    try:
        return pickled(function)
    except BaseException as exc:  # what it captures may do anything, sys.exit included
        raise CaptureError(_why_not(function, step, exc)) from exc


def _why_not(function: Callable[..., Any], step: str, exc: BaseException) -> str:
    found = _culprit(function, set())
    if found is None:
        return f"step {step!r} cannot be sent to a worker ({one_line(exc)}). Run the step locally."
    helpers, what, name, value = found
    path, inner = find_unpicklable(value, name)
    inside = f" (it is {path})" if path != name else ""
    through = f" through helper {' and '.join(map(repr, helpers))}" if helpers else ""
    return (
        f"step {step!r} uses the {what} {name!r}{through}, {a_kind_of(inner)}{inside}, "
        f"which cannot be sent to a worker. "
        f"Create it inside the step, pass it as an input, or run the step locally."
    )


def _culprit(function: Callable[..., Any], seen: set[int]) -> tuple[list[str], str, str, Any] | None:
    """Helpers on the way, what it is, its name, its value: of the first captured thing that pickle refuses."""
    seen.add(id(function))
    for what, name, value in captured(function):
        if (plain := _plain_function(value)) is not None and _name_of(plain) is None:
            if id(plain) not in seen and (found := _culprit(plain, seen)) is not None:
                return [name, *found[0]], *found[1:]
        elif not picklable(value):
            return [], what, name, value
    return None


def what_weighs(function: Callable[..., Any], step: str, nbytes: int) -> str:
    """A sentence on a large payload: the largest things the step captures, and what to do. Costs as much as sending."""
    weights: dict[int, tuple[int, str]] = {}
    _weigh(function, weights, set())
    largest = sorted(weights.values(), reverse=True)[:3]
    names = ", ".join(f"{name} ({size / 2**20:.1f} MiB)" for size, name in largest if size > largest[0][0] / 10)
    return (
        f"step {step!r} takes {nbytes / 2**20:.1f} MiB along to a worker with each attempt: {names}. "
        f"Pass it as an input, or load it inside the step."
    )


def _weigh(function: Callable[..., Any], weights: dict[int, tuple[int, str]], seen: set[int]) -> None:
    seen.add(id(function))
    for what, name, value in captured(function):
        if (plain := _plain_function(value)) is not None and _name_of(plain) is None:
            if id(plain) not in seen:
                _weigh(plain, weights, seen)
        elif id(value) not in weights:
            with contextlib.suppress(BaseException):  # it was pickled a moment ago, and may be another by now
                weights[id(value)] = len(pickled(value)), f"the {what} {name!r}"


def _plain_function(value: Any) -> FunctionType | None:
    if str(type(value).__module__).startswith("cerebelum_nb.dsl"):
        value = getattr(value, "function", None)
    return value if isinstance(value, FunctionType) else None


def captured(function: Callable[..., Any]) -> Iterator[tuple[str, str, Any]]:
    """What a function reaches outside itself: what it is (global, closure variable, default), its name, its value."""
    plain = inspect.unwrap(function)
    for layer in {id(each): each for each in (function, plain)}.values():
        if isinstance(layer, FunctionType):
            yield from captured_by(layer)


# sources ------------------------------------------------------------------------------------------------------------


def _sources(function: Callable[..., Any]) -> dict[str, str]:
    """Text of the cells in which the function and its helpers were written: a worker has no such files."""
    sources: dict[str, str] = {}
    _collect_sources(function, sources, set())
    return sources


def _collect_sources(value: Any, sources: dict[str, str], seen: set[int]) -> None:
    if id(value) in seen or len(seen) > 10 * DEEP:
        return
    seen.add(id(value))
    if isinstance(value, type) and value.__module__ == "__main__":
        for item in vars(value).values():
            _collect_sources(getattr(item, "__func__", getattr(item, "fget", item)), sources, seen)
        return
    plain = _plain_function(value)
    if plain is None:
        return
    name = plain.__code__.co_filename
    if name not in sources and _is_cell(name) and (lines := linecache.getlines(name)):
        sources[name] = "".join(lines)
    for _, _, item in captured(plain):
        _collect_sources(item, sources, seen)


def _is_cell(name: str) -> bool:
    import tempfile  # noqa: PLC0415  not needed where functions arrive

    kernels = os.path.join(tempfile.gettempdir(), "ipykernel_")  # noqa: PTH118  a prefix of names, not a path
    return name.startswith(kernels) or not os.path.exists(name)  # noqa: PTH110  it need not be a path at all
