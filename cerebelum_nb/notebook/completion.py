"""What Tab offers after our magics: verbs, options, names of steps and workflows, runs, executors."""

import contextlib
import importlib
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.notebook import manual
from cerebelum_nb.notebook.arguments import Option
from cerebelum_nb.notebook.options import OF_VERBS, RUN_OPTIONS, STEP_OPTIONS, WORKFLOW_OPTIONS

_EXECUTORS: Final = ("local", "distributed", "processes")  # until a session knows better
_OPTIONS: Final[dict[str, Sequence[Option]]] = {
    "%%cerebelum_step": STEP_OPTIONS,
    "%%cerebelum_workflow": WORKFLOW_OPTIONS,
    "%cerebelum_run": RUN_OPTIONS,
    "%%cerebelum_run": RUN_OPTIONS,
    "%cerebelum": (),
}
_ASSIGNED: Final = re.compile(r"^[\w\s,.\[\]]+=\s*(?=%[a-z])")  # `run = %cerebelum_run`
_LAST: Final = re.compile(r"[^=,]*$")  # of a word like `a=local,b=dis`, what is being written


def install(ip: Any) -> None:
    """Offer completions in this notebook."""
    completer = importlib.import_module("IPython.core.completer")
    if not hasattr(completer, "context_matcher"):  # an old IPython: Python's own words come first there
        for magic in _OPTIONS:
            ip.set_hook("complete_command", lambda _ip, event: offers(event.text_until_cursor), str_key=magic)
        return

    @completer.context_matcher(identifier="cerebelum_nb")  # type: ignore[untyped-decorator]
    def matches(context: Any) -> dict[str, Any]:
        found = [name for name in offers(context.text_until_cursor) if name.startswith(context.token)]
        kind = completer.SimpleCompletion
        return {
            "completions": [kind(name, type="cerebelum") for name in found],
            "suppress": bool(found),
            "ordered": True,
        }

    ip.Completer.custom_matchers.append(matches)


def offers(line: str) -> list[str]:
    """What may stand where the cursor is.

    Args:
        line: The line up to the cursor.
    """
    words = _ASSIGNED.sub("", line).split()
    if not words or words[0] not in _OPTIONS:
        return []
    partial = "" if line[-1:].isspace() else words.pop()
    if not words:
        return []
    magic, before = words[0], words[1:]
    option, equals, value = partial.partition("=")
    if option.startswith("--") and equals:
        return list(_values(option, value, before))
    if before and (before[-1].startswith("--") or before[-1].endswith((",", "="))):
        chosen = next((word for word in reversed(before) if word.startswith("--")), "")
        values = list(_values(chosen, partial, before))
        if values:
            return values
    return [name for name in _candidates(magic, before) if name not in before]


def _values(option: str, partial: str, before: Sequence[str]) -> Iterable[str]:
    """What may follow an option."""
    head = _LAST.sub("", partial)
    if option == "--strategy":
        if head.endswith("="):
            return _executors()
        return [f"{name}=" for name in ("default", *registry.steps)]
    if option == "--from":
        return _steps_of_latest(before[0] if before else "") or registry.steps
    known: dict[str, Callable[[], Iterable[str]]] = {
        "--executor": _executors,
        "--pool": _pools,
        "--slot": lambda: _slots(before),
        "--until": lambda: registry.steps,
        "--changed": lambda: ("run", "keep"),
        "--force": lambda: registry.steps if before[:1] == ["resume"] else (),
        "--depends": lambda: registry.steps,
    }
    return known.get(option, tuple)()


def _candidates(magic: str, before: Sequence[str]) -> Iterable[str]:
    if magic == "%cerebelum" and before and before[0] in manual.ACTIONS:
        return _options_of(before[0]) if before[1:] else manual.ACTIONS[before[0]]
    if magic == "%cerebelum" and before[:1] == ["replay"]:
        return _replayable(before[1:])
    if magic == "%cerebelum":
        return _after_verb(before) if before else manual.VERBS
    if magic.endswith("cerebelum_run") and not before:
        return registry.workflows
    return [option.name for option in _OPTIONS[magic]]


def _after_verb(before: Sequence[str]) -> Iterable[str]:
    verb, *words = before
    if verb == "help":
        return [*manual.VERBS, *manual.magic_names()]
    if verb == "steps":
        return [] if words else registry.steps
    if verb in _OF_RUNS:
        most, is_meant = _OF_RUNS[verb]
        numbers = [str(run.number) for run in reversed(_runs()) if is_meant(run)]
        return [*([*numbers, "last"] if len(words) < most else []), *_options_of(verb)]
    if verb not in ("rerun", "approve", "reject"):
        return []
    if not words:
        live = [run for run in _runs() if verb == "rerun" or not run.done]
        return [*(str(run.number) for run in reversed(live)), "last"]
    more = _options_of(verb)
    return [*_steps_of(words[0], waiting=verb != "rerun"), *more] if len(words) == 1 else more


def _options_of(verb: str) -> list[str]:
    return [option.name for option in OF_VERBS.get(verb, ())]


def _replayable(words: Sequence[str]) -> Iterable[str]:
    """Steps that began; of the last run, until another one is named."""
    options = _options_of("replay")
    runs = {str(run.number): run for run in reversed(_runs())}
    if words and words[0] not in (*runs, "last"):
        return options
    found = runs.get(words[0]) if words and words[0] != "last" else next(iter(runs.values()), None)
    steps = [row.step for row in found.rows() if row.segments] if found is not None else []
    if not words:
        return [*steps, *runs, "last"]
    return [*steps, *options] if len(words) == 1 else options


def _has_failed(run: Any) -> bool:
    return bool(run.done and run.status != "succeeded")


_OF_RUNS: Final[dict[str, tuple[int, Callable[[Any], bool]]]] = {  # most runs, which runs
    "compare": (2, lambda _run: True),
    "compensate": (1, _has_failed),
    "purge": (1_000, lambda run: run.done),
    "resume": (1, _has_failed),
}


def _session() -> Any:
    module = sys.modules.get("cerebelum_nb.session")
    return module.existing() if module is not None else None


def _runs() -> list[Any]:
    session = _session()
    return session.runs if session is not None else []


def _executors() -> Sequence[str]:
    session = _session()
    if session is not None:
        return tuple(session.executors)
    from cerebelum_nb.config import from_environment  # noqa: PLC0415  keeps %load_ext quick

    with contextlib.suppress(CerebelumError):  # it is told when a session begins
        return (*_EXECUTORS, *(name for name in from_environment().pools if name not in _EXECUTORS))
    return _EXECUTORS


def _pools() -> Sequence[str]:
    return [name for name in _executors() if name != "local"]


def _slots(before: Sequence[str]) -> Sequence[str]:
    """The workers of the pool that the line names, as far as it is known without asking its Core."""
    pool = next((word for said, word in itertools.pairwise(before) if said == "--pool"), "distributed")
    pool = next((word.removeprefix("--pool=") for word in before if word.startswith("--pool=")), pool)
    session = _session()
    executor = session.pools.made.get("core" if pool == "distributed" else pool) if session is not None else None
    link = getattr(executor, "link", None)
    return [str(slot) for slot in sorted(link.workers)] if link is not None else ()


def _steps_of(number: str, *, waiting: bool) -> Sequence[str]:
    runs = _runs()
    found = runs[-1:] if number == "last" else [run for run in runs if str(run.number) == number]
    if not found:
        return ()
    return [asked.step for asked in found[0].approvals] if waiting else found[0].plan.names


def _steps_of_latest(workflow: str) -> Sequence[str]:
    return next((run.plan.names for run in reversed(_runs()) if run.workflow == workflow), ())
