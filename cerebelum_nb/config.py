"""`Settings`: one frozen record; defaults, then ``pyproject.toml``, then the environment, then keywords.

[tool.cerebelum]
workers = 4

[tool.cerebelum.strategy]                              # step, nested workflow or "default" -> executor
process_payment = "distributed"

    [tool.cerebelum.pools]                                 # more workers, under names of their own
    gpu-worker-pool = 1

    [tool.cerebelum.pools.partner]                         # and what else is said of one: see `model.pools.Pool`
    slots = 2
    env = { OMP_NUM_THREADS = "1" }
    trust = "untrusted"

[tool.cerebelum.environments.production.strategy]      # where CEREBELUM_ENV=production
default = "distributed"
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.pools import MOST_SLOTS, Pool, core_url, pool_of
from cerebelum_nb.model.typed import nearest, strategy_of

_HOUR_S: Final = 3600


@cache
def cores() -> int:
    """How many processors this process may use: of the machine, of its own set, and of its container."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        found = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        found = min(found, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        pass
    return min(found, MOST_SLOTS)


class Settings(msgspec.Struct, frozen=True):
    """What a session goes by.

    Attributes:
        home: Folder for journal and results; made when first needed, readable by its owner only.
        workers: Worker processes of the embedded Core; as many as there are processors.
        processes: Worker processes of ``executor="processes"``; the same.
        runs_in_memory: Ended runs that keep their results in memory; those of older ones go to files.
        default_executor: Where steps run when nothing says otherwise.
        keep_results: Whether results are written to `home`, for later sessions.
        keep_days: Runs that are older are removed when a session first writes.
        keep_mib: What all kept results may take, in MiB; the oldest runs are removed first.
        cache_mib: What the results of steps with ``cache=True`` may take, in MiB; the least recently used go first.
        large_kib: Values of more KiB are in memory that the kernel and its workers share, and are read without a copy.
        shared_mib: What large results of runs that have ended may take of that memory, in MiB. The oldest are let go of
            first, those that are in `home` before others; those of the newest run stay.
        shared_minutes: How long those that are in `home` too stay there.
        output_mib: What is kept of all that one attempt prints, in MiB; of what follows only its end. Workers send
            no more than 64 in full.
        transfer_mib: What one value may take that is sent to a worker or comes from one, in MiB, where they share no
            memory.
        values_url: Storage that this kernel and the workers of served Cores reach, for values of more than 16 MiB:
            ``file:///mnt/shared/values``, ``s3://bucket/folder``, or what else fsspec knows; needs the extra
            ``storage`` on both sides. Not encrypted there. Empty: they go over the line.
        strategy: Step, nested workflow or ``default`` to executor, for every workflow in this environment; weaker than
            what a run says, stronger than a step's decorator. Its ``default`` is weaker than all that names a place.
        core_silent_s: A Core that is not heard of for so many seconds is ended, and another one started; to one that
            somebody serves another connection is made.
        worker_silent_s: A worker that neither answers nor uses the processor for so many seconds is ended; its step is
            lost. A notice comes first.
        core_url: A Core that somebody serves, for distributed steps instead of the embedded one: ``tls://host:port``,
            or ``grpc://host:port`` for one of Cerebelum's makers, ``grpcs://`` with TLS, which needs the extra
            ``upstream``.
        core_pass: File with its pass; empty for core.pass in `home`. For ``grpcs://`` see `Pool.credentials`.
        pools: Name to pool, a name that steps and strategies may use; also given as a number of slots, or as a table.
    """

    home: Path = Path(".cerebelum")
    workers: int = msgspec.field(default_factory=cores)
    processes: int = msgspec.field(default_factory=cores)
    runs_in_memory: int = 20
    default_executor: str = "local"
    keep_results: bool = True
    keep_days: int = 30
    keep_mib: int = 2048
    cache_mib: int = 1024
    large_kib: int = 1024
    shared_mib: int = 4096
    shared_minutes: int = 10
    output_mib: int = 64
    transfer_mib: int = 1024
    values_url: str = ""
    strategy: Mapping[str, str] = {}
    pools: Mapping[str, Pool] = {}
    core_silent_s: float = 20.0
    worker_silent_s: float = 60.0
    core_url: str = ""
    core_pass: str = ""

    def __post_init__(self) -> None:
        if any(not isinstance(pool, Pool) for pool in self.pools.values()):
            made = {name: pool_of(name, given, "Settings(pools=...)") for name, given in self.pools.items()}
            msgspec.structs.force_setattr(self, "pools", made)


def from_environment(folder: Path | None = None) -> Settings:
    """Defaults, changed by the nearest ``pyproject.toml`` and then by environment variables.

    ``CEREBELUM_ENV`` chooses one of the file's environments. ``CEREBELUM_HOME``, ``CEREBELUM_WORKERS``,
    ``CEREBELUM_DEFAULT_EXECUTOR`` and ``CEREBELUM_STRATEGY`` (``step=executor,default=executor``) go before the file.

    Args:
        folder: Where to look for the file, and above; None for the current folder.

    Raises:
        PlanError: A value that makes no sense; names the variable, or the file and the key.
    """
    found = _from_file(folder if folder is not None else Path.cwd(), os.environ.get("CEREBELUM_ENV", ""))
    env = os.environ
    if "CEREBELUM_HOME" in env:
        found["home"] = Path(env["CEREBELUM_HOME"])
    if "CEREBELUM_WORKERS" in env:
        text = env["CEREBELUM_WORKERS"]
        found["workers"] = _workers(int(text) if text.isdecimal() else text, f"CEREBELUM_WORKERS={text!r}")
    if "CEREBELUM_DEFAULT_EXECUTOR" in env:
        found["default_executor"] = env["CEREBELUM_DEFAULT_EXECUTOR"]
    if "CEREBELUM_STRATEGY" in env:
        try:
            found["strategy"] = {**found.get("strategy", {}), **strategy_of(env["CEREBELUM_STRATEGY"])}
        except ValueError as exc:
            raise PlanError(f"CEREBELUM_STRATEGY {exc}") from None
    return Settings(**found)


def _from_file(folder: Path, environment: str) -> dict[str, Any]:
    """What the nearest ``pyproject.toml`` says, its environment included."""
    path = next((p for above in (folder, *folder.parents) if (p := above / "pyproject.toml").is_file()), None)
    table: Any = {}
    if path is not None:
        try:
            tool = tomllib.loads(path.read_text("utf-8")).get("tool", {})
        except (OSError, ValueError) as exc:
            raise PlanError(f"{path} cannot be read: {exc}") from None
        if not isinstance(tool, dict):
            raise PlanError(f"{path}: [tool] is a table, not {tool!r:.40}")
        table = tool.get("cerebelum", {})
    environments = table.get("environments", {}) if isinstance(table, dict) else {}
    found = _checked(table, "tool.cerebelum", path, also=("environments",))
    if environment:
        if not isinstance(environments, dict) or environment not in environments:
            where = "there is no pyproject.toml here or above"
            if path is not None:
                where = f"{path} has {', '.join(environments) or 'none'} in [tool.cerebelum.environments]"
            raise PlanError(f"CEREBELUM_ENV={environment!r}: {where}.{nearest(environment, environments)}")
        chosen = _checked(environments[environment], f"tool.cerebelum.environments.{environment}", path)
        found = {**found, **chosen, "strategy": {**found.get("strategy", {}), **chosen.get("strategy", {})}}
    return found


def _checked(table: Any, name: str, path: Path | None, also: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise PlanError(f"{path}: [{name}] is a table, not {table!r:.40}")
    found: dict[str, Any] = {}
    for key, value in table.items():
        where = f"{path}: {key} in [{name}]"
        if key in _CHECKS:
            found[key] = _CHECKS[key](value, where)
        elif key not in also:
            raise PlanError(f"{where} is not known.{nearest(key, (*_CHECKS, *also))} There are: {', '.join(_CHECKS)}.")
    if "home" in found and path is not None:
        found["home"] = path.parent / found["home"]
    if path is not None:
        for pool in list(found.get("pools", {}).values()):
            if pool.credentials:
                kept = str(path.parent / pool.credentials)
                found["pools"][pool.name] = msgspec.structs.replace(pool, credentials=kept)
        if "core_pass" in found:
            found["core_pass"] = str(path.parent / found["core_pass"])
    return found


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise PlanError(f"{where} is text, not {value!r:.40}")
    return value


def _values_url(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.partition("://")[2]:
        raise PlanError(f"{where} is a URL that fsspec knows, like file:///mnt/shared/values, not {value!r:.60}")
    return value


def _yes_or_no(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise PlanError(f"{where} is true or false, not {value!r:.40}")
    return value


def _number(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f"{where} is a whole number from 1, not {value!r:.40}")
    return value


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= _HOUR_S:
        raise PlanError(f"{where} is a number of seconds, 0.5 to {_HOUR_S}, not {value!r:.40}")
    return float(value)


def _strategy(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise PlanError(f"{where} is a table of step to executor, not {value!r:.40}")
    for step, executor in value.items():
        if not isinstance(executor, str) or not executor:
            raise PlanError(f"{where} is a table of step to executor: that of {step!r} is {executor!r:.40}")
    return value


def _pools(value: Any, where: str) -> dict[str, Pool]:
    if not isinstance(value, dict):
        raise PlanError(f"{where} is a table of pool to its number of workers, or to a table")
    return {name: pool_of(name, given, where) for name, given in value.items()}


def _workers(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SLOTS:
        raise PlanError(f"{where} is not a number of worker processes from 1 to {MOST_SLOTS}")
    return value


_CHECKS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "home": _text,
    "workers": _workers,
    "processes": _workers,
    "default_executor": _text,
    "keep_results": _yes_or_no,
    "keep_days": _number,
    "keep_mib": _number,
    "cache_mib": _number,
    "large_kib": _number,
    "shared_mib": _number,
    "shared_minutes": _number,
    "output_mib": _number,
    "transfer_mib": _number,
    "values_url": _values_url,
    "strategy": _strategy,
    "pools": _pools,
    "core_silent_s": _seconds,
    "worker_silent_s": _seconds,
    "core_url": core_url,
    "core_pass": _text,
}
