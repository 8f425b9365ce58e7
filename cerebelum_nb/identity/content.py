"""What a value is, to the last bit, as a digest that is the same in every process; or that it cannot be said. Pure.

Plain values, arrays, functions and classes are read directly, all other objects through what pickle would take of
them. Nothing is known by its identity alone: what cannot be read this way is `NotComparable`.
"""

import copyreg
import hashlib
import inspect
import sys
from collections.abc import Iterable
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import msgspec

from cerebelum_nb.capture import modules, travels_by_name
from cerebelum_nb.capture.reach import names_used
from cerebelum_nb.codec import a_kind_of
from cerebelum_nb.identity.code import bare
from cerebelum_nb.identity.seen import plain_function

ROOM_NBYTES: Final = 64 << 20  # read in one look; larger things are not compared
TOO_MUCH: Final = f"there is more than {ROOM_NBYTES >> 20} MiB of it"
DIGEST_NBYTES: Final = 16
ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})
GONE: Final = object()
pack: Final = msgspec.msgpack.encode  # exact for atoms: 1, 1.0 and True differ, so do 0.0 and -0.0
_BY_REPR: Final = frozenset({complex, range, slice, type(...), type(NotImplemented)})
_PER_CLASS: Final = frozenset(
    {
        *("__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__"),
        *("__annotations__", "__dataclass_fields__", "__dataclass_params__", "_abc_impl", "__abstractmethods__"),
    }
)


class NotComparable(Exception):
    """A value whose content nobody can read exactly; the text says what it is."""


class Look:
    """One look at what a function carries, or at one value.

    Attributes:
        room: Bytes that may still be read.
        is_stable: Nothing that was read can change as long as `holds`.
        files: Local modules that were used, as they were.
        known: Digests of functions and classes so far: a list may hold a thousand objects of one class.
    """

    __slots__ = ("_cells", "_functions", "_globals", "files", "is_stable", "known", "room")

    def __init__(self, room: int = ROOM_NBYTES) -> None:
        self.room = room
        self.is_stable = True
        self.files: dict[str, modules.Stamp] = {}
        self.known: dict[int, bytes] = {}
        self._functions: list[tuple[FunctionType, CodeType, Any, Any]] = []
        self._globals: list[tuple[dict[str, Any], str, Any]] = []
        self._cells: list[tuple[Any, Any]] = []

    def note(self, function: FunctionType) -> None:
        """A function was read: what it reaches must stay the same objects."""
        code = function.__code__
        self._functions.append((function, code, function.__defaults__, function.__kwdefaults__))
        space = function.__globals__
        self._globals += [(space, name, space.get(name, GONE)) for name in names_used(code)]
        self._cells += [(cell, _in_cell(cell)) for cell in function.__closure__ or ()]
        if function.__kwdefaults__ or function.__dict__:
            self.is_stable = False

    @property
    def reaches(self) -> bool:
        """It read more than one function alone."""
        named = any(function.__kwdefaults__ is not None for function, *_ in self._functions)
        return bool(len(self._functions) > 1 or self._globals or self._cells or self.files or named)

    def holds(self) -> bool:
        """The same look would read the same; only of a stable one."""
        for function, code, defaults, named in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults or function.__dict__:
                return False
            if function.__kwdefaults__ is not named:
                return False
        for space, name, value in self._globals:
            if space.get(name, GONE) is not value:
                return False
        for cell, value in self._cells:
            if _in_cell(cell) is not value:
                return False
        return not self.files or all(modules.stamp_of(name) == stamp for name, stamp in self.files.items())


def digest(value: Any, look: Look | None = None, names: Iterable[str] = ()) -> bytes:
    """A value's content as 16 bytes.

    Args:
        names: Of a module: what is used of it.

    Raises:
        NotComparable: It cannot be read exactly, or is too large.
    """
    return _digest(value, look if look is not None else Look(), frozenset(), names)


def _digest(value: Any, look: Look, on_the_way: frozenset[int], names: Iterable[str] = ()) -> bytes:
    content = _Content(look, on_the_way)
    try:
        if isinstance(value, ModuleType):
            content.module(value, names)
        else:
            content.take(value)
    except NotComparable:
        raise
    except RecursionError:
        raise NotComparable("it is nested too deeply") from None
    except BaseException as exc:  # noqa: BLE001  a person's objects may do anything, sys.exit included
        raise NotComparable(f"{a_kind_of(value)} raises {type(exc).__name__} when it is looked at") from None
    return content.hash.digest()


@lru_cache(maxsize=4096)
def code_digest(code: CodeType) -> bytes:
    """What a function's code does, wherever it stands, without what it reaches."""
    return hashlib.blake2b(repr(bare(code)).encode("utf-8", "surrogatepass"), digest_size=DIGEST_NBYTES).digest()


@lru_cache(maxsize=4096)
def attributes_used(code: CodeType) -> frozenset[str]:
    """Names in a function's code, nested functions included: what it may read of a module."""
    return frozenset(code.co_names).union(*(attributes_used(c) for c in code.co_consts if isinstance(c, CodeType)))


def versioned(module: str) -> bytes:
    """A module's name with the version of the package it is of."""
    package = module.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "")
    return pack([module, version if type(version) is str else ""])


class _Content:
    """Reads one value. All that is fed says itself how long it is, so that no two values read alike."""

    def __init__(self, look: Look, on_the_way: frozenset[int]) -> None:
        self.hash = hashlib.blake2b(digest_size=DIGEST_NBYTES)
        self._look = look
        self._open = set(on_the_way)

    def _feed(self, data: bytes) -> None:
        self._look.room -= len(data) + 8
        if self._look.room < 0:
            raise NotComparable(TOO_MUCH)
        self.hash.update(data)

    def take(self, value: Any) -> None:
        kind = type(value)
        if kind in ATOMS:
            self._atoms(value)
        elif kind in _BY_REPR:
            self._feed(pack(["repr", repr(value)]))
        elif id(value) in self._open:
            self._feed(b"again")
        elif kind is FunctionType or isinstance(value, type):
            if (known := self._look.known.get(id(value))) is None:
                inside = _Content(self._look, frozenset((*self._open, id(value))))
                inside._larger(value, kind)
                known = self._look.known[id(value)] = inside.hash.digest()
            self._feed(known)
        else:
            self._open.add(id(value))
            self._larger(value, kind)
            self._open.discard(id(value))

    def _atoms(self, value: Any) -> None:
        try:
            self._feed(pack(value))
        except (OverflowError, UnicodeEncodeError):
            self._feed(pack(["int", hex(value)] if type(value) is int else ["str", *map(ord, value)]))

    def _items(self, items: list[Any]) -> None:
        if len(items) > self._look.room:
            raise NotComparable(TOO_MUCH)
        if set(map(type, items)) <= ATOMS:
            try:
                self._feed(pack(items))
            except (OverflowError, UnicodeEncodeError):
                pass
            else:
                return
        self._feed(pack(len(items)))
        for item in items:
            self.take(item)

    def _larger(self, value: Any, kind: type) -> None:
        if kind is tuple:
            self._feed(b"tuple")
            self._items(list(value))
        elif kind is frozenset or kind is set:
            self._look.is_stable = self._look.is_stable and kind is frozenset
            on_the_way = frozenset(self._open)
            self._feed(pack([kind.__name__, *sorted(_digest(item, self._look, on_the_way) for item in value)]))
        elif (plain := plain_function(value)) is not None:
            self._function(plain)
        elif isinstance(value, ModuleType):
            if modules.stamp_of(value.__name__) is not None:
                raise NotComparable(f"it is or holds module {value.__name__!r}, of which anything may be used")
            self.module(value, ())
        elif isinstance(value, type):
            self._class(value)
        elif kind is BuiltinFunctionType and isinstance(value.__self__, ModuleType | None):
            self._feed(b"builtin" + versioned(value.__module__ or "builtins") + pack(value.__qualname__))
        else:
            self._look.is_stable = False
            self._changeable(value, kind)

    def _changeable(self, value: Any, kind: type) -> None:
        if kind is list:
            self._feed(b"list")
            self._items(value.copy())
        elif kind is dict:
            self._feed(b"dict")
            self._items(list(value))
            self._items(list(value.values()))
        elif kind is bytearray:
            self._feed(b"bytearray" + pack(bytes(value)))
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject:
            self._array(value)
        elif isinstance(wrapped := getattr(value, "__wrapped__", None), FunctionType):  # as of lru_cache
            self._feed(b"wrapped")
            self._class(kind)
            self.take(wrapped)
        else:
            self._reduced(value, kind)

    def _array(self, value: Any) -> None:
        if value.nbytes > self._look.room:
            raise NotComparable(TOO_MUCH)
        by_column = value.flags.f_contiguous and not value.flags.c_contiguous
        numpy = sys.modules["numpy"]
        self._feed(pack(["array", repr(numpy.lib.format.dtype_to_descr(value.dtype)), value.shape, bool(by_column)]))
        self._feed(value.tobytes("F" if by_column else "C"))

    def _reduced(self, value: Any, kind: type) -> None:
        """Through what pickle takes of it, which is all of it."""
        reduce = copyreg.dispatch_table.get(kind)
        try:
            parts = reduce(value) if reduce is not None else value.__reduce_ex__(5)
        except TypeError:
            raise NotComparable(f"it is or holds {a_kind_of(value)}") from None
        if isinstance(parts, str):
            home = str(getattr(value, "__module__", "") or "__main__")
            if home == "__main__" or modules.stamp_of(home) is not None:
                raise NotComparable(f"it is or holds {a_kind_of(value)}")
            self._feed(b"name" + versioned(home) + pack(parts))
            return
        make, args, state, items, pairs = (*parts, None, None, None)[:5]
        self._feed(b"object")
        self.take(make)
        self.take(args)
        self.take(state)
        self._items(list(items or ()))
        self._items([part for pair in pairs or () for part in pair])

    def _function(self, function: FunctionType) -> None:
        home = function.__module__ or "__main__"
        by_name = travels_by_name(function)
        if by_name and modules.stamp_of(home) is None:
            self._feed(b"function" + versioned(home) + pack(function.__qualname__))
            return
        self._look.note(function)
        self._feed(b"code" + code_digest(function.__code__))
        own = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
        self.take((function.__defaults__, function.__kwdefaults__, own))
        reached = [("", _in_cell(cell)) for cell in function.__closure__ or ()]
        space = function.__globals__
        reached += [(name, space[name]) for name in names_used(function.__code__) if name in space]
        for name, value in reached:
            self._feed(pack(name))
            if by_name:
                self._of_a_file(value, attributes_used(function.__code__))
            elif isinstance(value, ModuleType):
                self.module(value, attributes_used(function.__code__))
            elif value is not GONE:
                self.take(value)

    def _of_a_file(self, value: Any, names: Iterable[str] = ()) -> None:
        """Part of a module of the person's own, whose file counts too: what cannot be read goes by that."""
        try:
            self._feed(_digest(value, self._look, frozenset(self._open), names))
        except NotComparable:
            self._feed(b"?" + pack(type(value).__qualname__))

    def module(self, module: ModuleType, names: Iterable[str]) -> None:
        name = module.__name__
        if name == "__main__" or (module.__spec__ is None and name not in sys.builtin_module_names):
            raise NotComparable(f"it is or holds module {name!r}, which was made by hand")
        self._feed(b"module" + versioned(name))
        if modules.stamp_of(name) is None or id(module) in self._open:
            return
        # The file may have changed since it was imported: what is used of it counts as it is here.
        self._open.add(id(module))
        self._look.is_stable = False
        for used in sorted(set(names) & vars(module).keys()):
            self._feed(pack(used))
            value = vars(module)[used]
            if isinstance(value, ModuleType):
                self.module(value, names)
            else:
                self.take(value)
        self._open.discard(id(module))

    def _class(self, value: type) -> None:
        home = value.__module__
        self._feed(b"class" + versioned(home) + pack(value.__qualname__))
        if home != "__main__" and modules.stamp_of(home) is None and not modules.travels_by_value(home):
            if "<locals>" in value.__qualname__:
                raise NotComparable(f"class {value.__qualname__!r} was made inside a function")
            return
        self._look.is_stable = False
        take = self.take if home == "__main__" else self._of_a_file
        for base in value.__bases__:
            take(base)
        for name, item in vars(value).items():
            if name not in _PER_CLASS:
                self._feed(pack(name))
                for part in _parts_of(item):
                    take(part)


def _parts_of(item: Any) -> tuple[Any, ...]:
    """What stands behind an attribute of a class."""
    if isinstance(item, property):
        return item.fget, item.fset, item.fdel
    if isinstance(item, staticmethod | classmethod):
        return type(item).__name__, item.__func__
    if inspect.ismemberdescriptor(item) or inspect.isgetsetdescriptor(item):
        return ("slot",)
    return (item.func,) if type(item).__name__ == "cached_property" else (item,)


def _in_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return GONE
