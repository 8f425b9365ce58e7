"""Modules of the person's own beside the notebook: a worker finds them by name, and must not keep an old version.

With a function go the names of the local modules that it can reach, each with the time and size of its file. A worker
that imported another version forgets it first, so that what runs is what is on disk.
"""

import dis
import functools
import importlib
import inspect
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

Stamp = tuple[int, int]  # of a file: mtime in ns, size
_PACKAGE: Final = __name__.partition(".")[0]
_loaded: dict[str, Stamp] = {}  # of a worker: what it has imported; beside `sys.modules`, and as global as that


def local_modules(values: Iterable[Any]) -> dict[str, Stamp]:
    """The local modules that some values come from or are, and those that these use in turn, with their stamps."""
    found: dict[str, Stamp] = {}
    todo = [name for value in values for name in _homes(value)]
    while todo:
        name = todo.pop()
        stamp = None if name in found else stamp_of(name)
        if stamp is None:
            continue
        found[name] = stamp
        todo += [name[:i] for i, char in enumerate(name) if char == "."]
        module = sys.modules.get(name)
        if module is not None:
            todo += [home for value in list(vars(module).values()) for home in _homes(value)]
    return dict(sorted(found.items()))


def _homes(value: Any) -> Iterator[str]:
    """Names of modules that a value needs where it arrives."""
    if isinstance(value, ModuleType):
        yield value.__name__
    elif isinstance(value, CodeType):
        yield from imports_of(value)
    else:
        home = getattr(value if isinstance(value, type | FunctionType) else type(value), "__module__", None)
        if isinstance(home, str):
            yield home
        plain = getattr(value, "__wrapped__", value) if isinstance(home, str) and home.startswith(_PACKAGE) else value
        if plain is not value:  # a decorated step
            yield from _homes(plain)


@functools.lru_cache(maxsize=1024)
def imports_of(code: CodeType) -> tuple[str, ...]:
    """Modules that a function's own code imports."""
    names = [str(step.argval) for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME" and step.argval]
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names += imports_of(const)
    return tuple(dict.fromkeys(names))


def stamp_of(name: str) -> Stamp | None:
    """A local module's file as it is now; None for all other modules."""
    if not name or name == "__main__" or name.partition(".")[0] == _PACKAGE or name in by_value():
        return None
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) if module is not None else _file_of(name)
    if not isinstance(file, str) or not file.endswith(".py") or not _is_local(file):
        return None
    try:
        stat = os.stat(file)  # noqa: PTH116  a third of the time
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _file_of(name: str) -> str | None:
    """The file of a module that is not imported here."""
    if "." in name or name in sys.stdlib_module_names:
        return None
    spec = _find(name)
    return spec.origin if spec is not None and spec.has_location else None


def _find(name: str) -> Any:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = find(name, None) if find is not None else None
        except Exception:  # noqa: BLE001, S112  a finder of somebody else
            continue
        if spec is not None:
            return spec
    return None


@functools.lru_cache(maxsize=4096)
def _is_local(file: str) -> bool:
    path = os.path.realpath(file) + os.sep
    paths = sysconfig.get_paths()
    installed = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed += [*site.getsitepackages(), site.getusersitepackages()]
    return not any(path.startswith(os.path.realpath(folder) + os.sep) for folder in installed)


def by_value() -> set[str]:
    """Modules that somebody told cloudpickle to send along."""
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle.list_registry_pickle_by_value() if cloudpickle is not None else set()


def travels_by_value(module: str) -> bool:
    """Whether a module, or one above it, is sent along."""
    registered = by_value()
    return bool(registered) and any(module == name or module.startswith(f"{name}.") for name in registered)


def not_importable(modules: Iterable[str]) -> str | None:
    """The first of some local modules that a worker, which has our ``sys.path``, would not find; None for none."""
    tops = dict.fromkeys(name.partition(".")[0] for name in modules)
    return next((name for name in tops if _find(name) is None), None)


def remedy(name: str) -> str:
    """What to do about a module that a worker does not find."""
    return (
        f"Put its folder on sys.path in the notebook (workers take it over), or send it along: "
        f"import cloudpickle; cloudpickle.register_pickle_by_value({name.partition('.')[0]})"
    )


# where functions arrive ---------------------------------------------------------------------------------------------


def refresh(modules: dict[str, Stamp]) -> None:
    """Forget local modules of another version than these; all of them, so that their classes fit together."""
    known = {name: _loaded.get(name) for name in modules if name in sys.modules}
    if all(modules[name] == stamp for name, stamp in known.items()):
        new = len(known) < len(modules)
    else:
        new = True
        for name in list(sys.modules):
            if name in modules or any(name.startswith(f"{parent}.") for parent in modules):
                del sys.modules[name]
    if new:
        importlib.invalidate_caches()  # they may be younger than the last look into their folder
    _loaded.update(modules)


def everything_in(function: Callable[..., Any], captured: Callable[[Any], Iterable[Any]]) -> list[Any]:
    """A function, its code, and all that it reaches through helpers and classes that travel by value.

    Args:
        captured: What one function reaches directly.
    """
    found: list[Any] = []
    seen: set[int] = set()
    todo: list[Any] = [function]
    while todo and len(seen) < 500:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        found.append(value)
        plain = inspect.unwrap(value) if callable(value) and not isinstance(value, type) else value
        if isinstance(value, type) and value.__module__ == "__main__":
            todo += [getattr(item, "__func__", getattr(item, "fget", item)) for item in vars(value).values()]
        elif isinstance(plain, FunctionType):
            found += [plain, plain.__code__]
            if plain.__module__ == "__main__" or travels_by_value(plain.__module__ or ""):
                todo += list(captured(plain))
    return found
