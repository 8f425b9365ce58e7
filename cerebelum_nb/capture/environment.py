"""What a process runs in (Python, packages, directory), and what two of them do not have in common. Pure but `here`."""

import os
import platform
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Final, NamedTuple

import msgspec

from cerebelum_nb.errors import ExecutorError

NOTHING: Final = "-"  # as a table says that something is not there
_OURS: Final = "cerebelum-nb"  # what speaks at both ends: the very same version
_BY_GENERATION: Final = ("cloudpickle", "msgspec")  # functions and frames are read with them: the same first number


class Environment(msgspec.Struct, frozen=True):
    """What a process runs in.

    Attributes:
        python: Implementation and version: ``CPython 3.12.4``.
        platform: System and machine: ``Linux x86_64``.
        packages: Distribution to version, by normal names: lower case, with hyphens.
        cwd: Its directory.
        path: Where it looks for modules.
        variables: The names of its environment variables. Never their values.
    """

    python: str
    platform: str
    packages: dict[str, str] = {}
    cwd: str = ""
    path: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


class Difference(NamedTuple):
    """Something that two environments do not have in common.

    Attributes:
        what: ``python``, a package, ``variable HOME``.
        ours: As it is here; ``-`` for nothing.
        theirs: As it is there.
        matters: Steps could not be read there, or would do something else.
    """

    what: str
    ours: str
    theirs: str
    matters: bool


def here() -> Environment:
    """The environment of this process. Reads what is installed, which takes a while."""
    packages: dict[str, str] = {}
    for found in metadata.distributions():
        name = found.metadata["Name"] if found.metadata is not None else None
        if name:  # what was half removed has none; of two, Python imports the first
            packages.setdefault(_normal(name), found.version)
    packages[_OURS] = sys.modules["cerebelum_nb"].__version__  # also where it is only on the path
    try:
        cwd = os.getcwd()  # noqa: PTH109  text, as it is shown
    except FileNotFoundError:
        cwd = ""
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{platform.system()} {platform.machine()}",
        packages=dict(sorted(packages.items())),
        cwd=cwd,
        path=tuple(sys.path),
        variables=tuple(sorted(os.environ)),
    )


def differences(ours: Environment, theirs: Environment, imports: Collection[str] = ()) -> tuple[Difference, ...]:
    """What two environments do not have in common, what matters first.

    Args:
        ours: The notebook's.
        theirs: The worker's.
        imports: Top-level modules or distributions that a step uses: another generation of one of them matters, and so
            does one that is only here.
    """
    used = {_normal(name) for name in imports}
    found = [_python(ours.python, theirs.python), Difference("platform", ours.platform, theirs.platform, False)]
    for name in sorted({*ours.packages, *theirs.packages}):
        mine, other = ours.packages.get(name, NOTHING), theirs.packages.get(name, NOTHING)
        found.append(Difference(name, mine, other, _matters(name, mine, other, used)))
    found.append(Difference("cwd", ours.cwd, theirs.cwd, False))
    found += _only_in("path", ours.path, theirs.path)
    found += _only_in("variable", ours.variables, theirs.variables)
    return tuple(sorted((d for d in found if d.ours != d.theirs), key=lambda d: not d.matters))


def check_fits(ours: Environment, theirs: Environment, who: str, imports: Collection[str] = ()) -> None:
    """Refuse a worker whose environment differs in what matters.

    Args:
        who: The worker, as an error names it: ``worker 'gpu-1' (pid 71)``.

    Raises:
        ExecutorError: Says what matters in its first line; all differences follow as a table.
    """
    found = differences(ours, theirs, imports)
    wrong = [d for d in found if d.matters]
    if wrong:
        said = "; ".join(f"{d.what} {d.theirs}, here {d.ours}" for d in wrong)
        table = "\n".join(as_table(found, theirs=who.partition(" ")[0]))
        raise ExecutorError(
            f"{who} cannot take steps of this notebook: it has {said}. Install the same there, or start it with "
            f"the notebook's Python. All differences, * for those that matter:\n{table}"
        )


def as_table(found: Iterable[Difference], ours: str = "notebook", theirs: str = "worker") -> list[str]:
    """Differences as lines of columns, with a mark before those that matter."""
    rows = [("", "what", ours, theirs), *(("*" if d.matters else "", d.what, d.ours, d.theirs) for d in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _python(ours: str, theirs: str) -> Difference:
    """Functions travel as bytecode, which every minor version of every implementation has of its own."""
    return Difference("python", ours, theirs, _parts(ours, 2) != _parts(theirs, 2))


def _matters(name: str, mine: str, other: str, used: Collection[str]) -> bool:
    if name == _OURS:
        return mine != other
    if name in _BY_GENERATION:
        return _parts(mine, 1) != _parts(other, 1)
    return name in used and mine != NOTHING and _parts(mine, 1) != _parts(other, 1)


def _parts(version: str, count: int) -> Sequence[str]:
    return version.split(".")[:count]


def _only_in(what: str, ours: Sequence[str], theirs: Sequence[str]) -> list[Difference]:
    """What only one side has, a line each. Only names are said."""
    mine, other = dict.fromkeys(ours), dict.fromkeys(theirs)
    return [
        *(Difference(f"{what} {name}", "yes", NOTHING, False) for name in mine if name not in other),
        *(Difference(f"{what} {name}", NOTHING, "yes", False) for name in other if name not in mine),
    ]


def distributions_of(modules: Iterable[str], installed: Mapping[str, Sequence[str]] | None = None) -> frozenset[str]:
    """The distributions that top-level modules come from: ``PIL`` from ``pillow``. One nobody installed stands as is.

    Args:
        installed: Module to distributions; None for what is installed here, which takes a while to read.
    """
    known = metadata.packages_distributions() if installed is None else installed
    return frozenset(_normal(dist) for name in modules for dist in known.get(name.partition(".")[0], (name,)))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
