"""The options that magics and verbs take: for those that read a line, and for Tab completion. Quick to import."""

from collections.abc import Mapping
from typing import Final

from cerebelum_nb.notebook.arguments import Option

STEP_OPTIONS: Final = (
    Option("--executor"),
    Option("--depends", "names"),
    Option("--run", "flag"),
    Option("--inputs"),
    Option("--force", "flag"),
    Option("--effects"),
    Option("--retries"),
    Option("--timeout"),
    Option("--fallback", "names"),
    Option("--cache", "flag"),
    Option("--version"),
    Option("--label", "names", repeats=True),
    Option("--compensates"),
)
WORKFLOW_OPTIONS: Final = (Option("--executor"), Option("--strategy", "map"), Option("--fallback", "names"))
RUN_OPTIONS: Final = (
    Option("--strategy", "map"),
    Option("--from"),
    Option("--until"),
    Option("--fresh", "flag"),
    Option("--on-failure"),
    Option("--detach", "flag"),
)
OF_VERBS: Final[Mapping[str, tuple[Option, ...]]] = {  # of those that take any
    "resume": (Option("--changed"), Option("--force", "names")),
    "rerun": (Option("--executor"), Option("--force", "flag")),
    "replay": (Option("--attempt"), Option("--executor"), Option("--force", "flag")),
    "purge": (Option("--older"), *(Option(name, "flag") for name in ("--all", "--cache", "--memory", "--yes"))),
    "workers": (Option("--pool"), Option("--slots"), Option("--slot"), Option("--env", repeats=True)),
    "core": (Option("--pool"), Option("--force", "flag")),
}
