"""A Python file as a module, and the workflow that is meant in it."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from cerebelum_nb.cli.target import Refused
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.typed import nearest


def module(path: Path) -> ModuleType:
    """Import a file under the name that workers find it by too; its folder is put on ``sys.path``.

    Raises:
        Refused: The file does not load; tells the file's own lines.
    """
    root, name = path.parent, path.stem
    while (root / "__init__.py").exists() and root.name.isidentifier():
        root, name = root.parent, f"{root.name}.{name}"
    for folder in dict.fromkeys((str(path.parent), str(root))):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        if _is_found_as(name, path):
            return importlib.import_module(name)
        return _under_a_private_name(path)
    except Exception as exc:
        raise Refused(_told(exc, path)) from exc
    except SystemExit as exc:
        raise Refused(
            f"{path.name} calls sys.exit({exc.code!r}) when it is loaded: put that under `if __name__ == '__main__':`"
        ) from exc


def _is_found_as(name: str, path: Path) -> bool:
    if name in sys.modules or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def _under_a_private_name(path: Path) -> ModuleType:
    """For a file whose own name means another module, or is none: its steps travel to workers by value."""
    from cloudpickle import register_pickle_by_value  # noqa: PLC0415  rare

    name = f"cerebelum_file_{path.stem.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    made.__spec__ = None  # capture then takes it for what it is: importable nowhere else
    register_pickle_by_value(made)
    return made


def _told(exc: Exception, path: Path) -> str:
    """An error while a file loads: the person's lines, not the importer's."""
    own = _from_file(exc.__traceback__, path)
    if isinstance(exc, CerebelumError) and own is not None:
        line = [frame.lineno for frame in traceback.extract_tb(own) if Path(frame.filename) == path][-1]
        return f"{path.name}, line {line}: {exc}"
    if own is None and not isinstance(exc, SyntaxError):
        return f"{path.name} cannot be loaded: {type(exc).__name__}: {exc}"
    # A file that is not Python never began to run: the whole traceback is the importer's.
    text = "".join(traceback.TracebackException(type(exc), exc, own, compact=True).format())
    return f"{path.name} cannot be loaded.\n{text.rstrip()}"


def _from_file(tb: TracebackType | None, path: Path) -> TracebackType | None:
    while tb is not None and Path(tb.tb_frame.f_code.co_filename) != path:
        tb = tb.tb_next
    return tb


def workflows(names: Mapping[str, Any], own: str) -> dict[str, Workflow]:
    """The workflows among a module's names, by name; those it only imported give way to its own.

    Args:
        own: The module's name.
    """
    found = {value.name: value for value in names.values() if isinstance(value, Workflow)}
    mine = {name: value for name, value in found.items() if value.__module__ == own}
    return mine or found


def choose(name: str, file: str, offered: Mapping[str, Workflow], names: Mapping[str, Any]) -> Workflow:
    """The workflow that is meant: by name, by the variable that holds it, or the only one.

    Raises:
        Refused: There is none, no such one, or several to choose from.
    """
    if not offered:
        raise Refused(f"{file} has no workflow: decorate a function that takes wf with @workflow")
    if not name:
        if len(offered) == 1:
            return next(iter(offered.values()))
        raise Refused(f"which workflow? {_listed(file, offered)} Write {file}:{next(iter(offered))}")
    if name in offered:
        return offered[name]
    held = names.get(name)
    if isinstance(held, Workflow):
        return held
    raise Refused(f"{file} has no workflow {name!r}.{nearest(name, offered)} {_listed(file, offered)}")


def _listed(file: str, offered: Iterable[str]) -> str:
    return f"Workflows in {file}: {', '.join(offered)}."
