"""What Tab offers after our magics: verbs, options, names of steps and workflows, executors."""

from collections.abc import Sequence
from typing import Any, Final

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.notebook import manual
from cerebelum_nb.notebook.arguments import Option
from cerebelum_nb.notebook.magics import RUN_OPTIONS, STEP_OPTIONS, WORKFLOW_OPTIONS

_EXECUTORS: Final = ("local", "distributed")
_OPTIONS: Final[dict[str, Sequence[Option]]] = {
    "%%cerebelum_step": STEP_OPTIONS,
    "%%cerebelum_workflow": WORKFLOW_OPTIONS,
    "%cerebelum_run": RUN_OPTIONS,
    "%%cerebelum_run": RUN_OPTIONS,
    "%cerebelum": (Option("--executor"),),
}


def install(ip: Any) -> None:
    """Offer completions in this notebook."""
    for magic in _OPTIONS:
        ip.set_hook("complete_command", lambda _ip, event: offers(event.line, event.symbol), str_key=magic)


def offers(line: str, symbol: str) -> list[str]:
    """What may stand where the cursor is.

    Args:
        line: The line up to the cursor.
        symbol: The word that has begun there; may be empty.
    """
    words = line.lstrip().split()
    if not words or words[0] not in _OPTIONS:
        return []
    magic, before = words[0], words[1:] if not symbol else words[1:-1]
    return [name for name in _candidates(magic, before) if name not in before]


def _candidates(magic: str, before: Sequence[str]) -> list[str]:
    values = {
        "--executor": _EXECUTORS,
        "--from": registry.steps,
        "--until": registry.steps,
        "--depends": registry.steps,
        "--strategy": [f"{name}=" for name in ("default", *registry.steps)],
    }
    if before and before[-1] in values:
        return list(values[before[-1]])
    options = [option.name for option in _OPTIONS[magic] if not option.later]
    if magic == "%cerebelum":
        verb = before[0] if before else ""
        after = {"": manual.VERBS, "help": [*manual.VERBS, *manual.magic_names()], "rerun": [*registry.steps, *options]}
        return list(after.get(verb, ()))
    if magic.endswith("cerebelum_run") and not before:
        return list(registry.workflows)
    return options
