"""`Settings`: one frozen record; defaults, then the environment, then keywords."""

import os
from pathlib import Path

import msgspec

from cerebelum_nb.errors import PlanError


class Settings(msgspec.Struct, frozen=True):
    """What a session goes by.

    Attributes:
        home: Folder for journal and results; made when first needed, readable by its owner only.
        workers: Worker processes of the embedded Core.
        runs_in_memory: Ended runs that keep their results in memory; those of older ones go to files.
        default_executor: Where steps run when nothing says otherwise.
    """

    home: Path = Path(".cerebelum")
    workers: int = 2
    runs_in_memory: int = 20
    default_executor: str = "local"


def from_environment() -> Settings:
    """Defaults, changed by ``CEREBELUM_HOME``, ``CEREBELUM_WORKERS`` and ``CEREBELUM_DEFAULT_EXECUTOR``.

    Raises:
        PlanError: A value that makes no sense; names the variable.
    """
    env = os.environ
    workers = env.get("CEREBELUM_WORKERS", "2")
    if not workers.isdecimal() or not 1 <= int(workers) <= 256:
        raise PlanError(f"CEREBELUM_WORKERS={workers!r} is not a number of worker processes from 1 to 256")
    return Settings(
        home=Path(env.get("CEREBELUM_HOME", ".cerebelum")),
        workers=int(workers),
        default_executor=env.get("CEREBELUM_DEFAULT_EXECUTOR", "local"),
    )
