"""What a worker runs in, and what of that is other than here: asked while a step is replayed."""

import concurrent.futures
import contextlib
import inspect
import re
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from cerebelum_nb.capture import modules
from cerebelum_nb.capture.environment import Difference, as_table, differences, distributions_of
from cerebelum_nb.capture.telling import about, environment_in
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.protocols import Attempt, Outcome
from cerebelum_nb.runtime.host import Host
from cerebelum_nb.runtime.replaying import Answers, Console, ReplaySignals
from cerebelum_nb.runtime.tried import Tried

if TYPE_CHECKING:
    from cerebelum_nb.runtime.run import Run

ASK_S: Final = 3.0  # how long a worker may take to say what it runs in
# The empty path is the directory; paths are compared; a worker has a backend of its own that shows figures.
_NOT_TOLD: Final = frozenset({"path", "variable PYTHONPATH", "variable MPLBACKEND"})
_MOST: Final = 20  # differences that are told
_NOISE: Final = re.compile(  # of a terminal, a front end or one process: no step's result depends on it
    r"variable (_|SHLVL|PS1|(OLD)?PWD|LS_COLORS|TERM\w*|COLORTERM|COLUMNS|LINES|(GIT_)?PAGER|CLICOLOR\w*"
    r"|(FORCE|NO)_COLOR|JPY_\w+|IPY_\w+|PYDEVD_\w+|VSCODE_\w+|SSH_\w+|DBUS_\w+|XDG_SESSION\w*|WINDOWID|(\w+_)?P?PID)"
    r"|path .*([/\\]\.ipython|[/\\]IPython[/\\]extensions|[/\\]python\d+\.zip)"
)


class Neighbour:
    """Asks a worker of the executor where an attempt ran what it runs in, while the step runs here."""

    def __init__(self, run: "Run", host: Host, one: Tried, function: Callable[..., Any]) -> None:
        self._one, self._function = one, function
        self._salt = secrets.token_hex(8)
        self._answer: concurrent.futures.Future[Outcome] | None = None
        place = next((p for p in (*run.plan.places, run.state.places[one.task]) if p.label == one.where), None)
        if place is not None and host.is_up(place.executor):
            attempt = Attempt(
                f"asks-{self._salt}", 0, "about", 1, place.executor, about, [self._salt], {}, fields={"inputs": None}
            )
            self._answer = host.carry(attempt, _Deaf())

    def told(self) -> tuple[tuple[Difference, ...] | None, list[str]]:
        """What it does not have in common with this process, and the same as lines."""
        if self._answer is None:
            return None, [
                f"  no worker of {self._one.where} runs: nobody knows how its environment differs from this one"
            ]
        try:
            outcome = self._answer.result(ASK_S)
            found = self._differences(outcome.value) if outcome.kind == "ok" else None
        except (CerebelumError, TimeoutError, concurrent.futures.CancelledError):
            found = None
        self._answer.cancel()
        if found is None:
            return None, [f"  no worker of {self._one.where} said within {ASK_S:g} s what it runs in"]
        who = f"a worker of {self._one.where} (pid {outcome.value['pid']})"
        if not found:
            return found, [f"  {who} and this process run in the same environment"]
        shown = [line.rstrip() for line in as_table(found[:_MOST], "here", "worker")]
        more = [f"     and {len(found) - _MOST} more: runs[...].replay(...).environment"] if len(found) > _MOST else []
        return found, [f"  {who} and this process differ:", *(f"  {line}" for line in [*shown, *more])]

    def _differences(self, said: Mapping[str, Any]) -> tuple[Difference, ...]:
        mine = about(self._salt)
        found = list(differences(environment_in(mine), environment_in(dict(said)), _imports(self._function)))
        if mine["host"] != said["host"]:
            found.append(Difference("host", mine["host"], said["host"], False))
        ours, theirs = mine["values"], said["values"]
        changed = [name for name in ours if name in theirs and ours[name] != theirs[name]]
        found += [Difference(f"variable {name}", "one value", "another", False) for name in changed]
        found = [d for d in found if (what := d.what.strip()) not in _NOT_TOLD and not _NOISE.fullmatch(what)]
        return tuple(sorted(found, key=lambda d: (not d.matters, d.what.startswith(("variable", "path")))))


def _imports(function: Callable[..., Any]) -> frozenset[str]:
    """Distributions of the modules that a function uses."""
    with contextlib.suppress(Exception):  # only for the marks in a table
        code = getattr(inspect.unwrap(function), "__code__", None)
        names = set(modules.imports_of(code)) if code is not None else set()
        names |= {value.__name__ for value in getattr(function, "__globals__", {}).values() if inspect.ismodule(value)}
        return distributions_of({name.partition(".")[0] for name in names})
    return frozenset()


class _Deaf(ReplaySignals):
    """Hears nothing."""

    def __init__(self) -> None:
        super().__init__(Console("about"), Answers((), complete=True), lambda _after_s, _answer: None)
