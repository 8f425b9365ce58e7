"""With which function an attempt is replayed, and how that is called: as it was sent, or what is left of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cerebelum_nb.capture import versions
from cerebelum_nb.capture.kept import Apart
from cerebelum_nb.codec import one_line
from cerebelum_nb.errors import PlanError
from cerebelum_nb.identity.code import is_edited
from cerebelum_nb.model.plan import Call, Plan
from cerebelum_nb.runtime.host import Host
from cerebelum_nb.runtime.tried import Tried

if TYPE_CHECKING:
    from cerebelum_nb.runtime.run import Run


@dataclass(frozen=True)
class Recipe:
    """How an attempt is called again, and with what.

    Attributes:
        names: What the numbers of the call stand for.
        inputs_of: The task whose result it gets as inputs; None for the run's own.
        once: Its step says ``effects="once"``.
        undone: Its step says what undoes it.
        sent: Its function as it was sent; None where that is not kept.
        function: What is called then.
        note: What there is to say about that.
    """

    names: tuple[str, ...]
    call: Call
    inputs_of: int | None
    once: bool
    undone: bool
    sent: bytes | None
    function: Callable[..., Any] | None
    note: str = ""

    def made(self, apart: Apart, what: str) -> tuple[Callable[..., Any], list[str]]:
        """The function, and what there is to say about it.

        Raises:
            PlanError: What it captured cannot be read here.
        """
        if self.sent is None:
            assert self.function is not None
            return self.function, [self.note] if self.note else []
        try:
            function, changed = apart.function(self.sent)
        except Exception as exc:
            raise PlanError(f"{what} cannot be replayed: what was sent cannot be made here ({one_line(exc)})") from exc
        return function, [f"module {name} is as loaded here; its file has changed since" for name in changed]


def recipe_of(run: "Run", host: Host, one: Tried) -> Recipe:
    """What is left of an attempt.

    Raises:
        PlanError: Its run is one of an earlier kernel, what was sent is not kept, and its workflow is not defined.
        CerebelumError: What is kept cannot be read.
    """
    sent = run.codes.of(one.task, one.number) if run.codes is not None else None
    note = ""
    if sent is None and one.remote:
        kept = run.results.sent(one.task)
        if kept is None or kept["attempt"] != one.number:
            note = "what was sent to the worker is not kept"
        elif kept["made_with"] != versions.mine():
            made_with = " and ".join(f"{name} {version}" for name, version in kept["made_with"].items())
            note = f"what was sent to the worker cannot be read here: it was made with {made_with}"
        elif run.is_recalled:
            return _kept(run, kept)
        else:
            sent = kept["code"]
    if not run.is_recalled:
        return _recipe(run.plan, one.task, sent, f"{note}: it runs with the globals of now" if note else "")
    try:
        plan = host.plan(run.definition, strategy=run.wishes.strategy)
    except PlanError as exc:
        raise PlanError(f"{note or 'its kernel has ended'}, and {exc}") from None
    if one.step not in plan.names:
        raise PlanError(f"{note or 'its kernel has ended'}, and workflow {run.workflow!r} has no step {one.step!r} now")
    task = plan.number_of(one.step)
    how = "was edited since" if is_edited(plan.functions[task], run.plan.functions[one.task]) else "has the same code"
    return _recipe(plan, task, None, f"{note or 'its kernel has ended'}: today's {one.step} runs, which {how}")


def _recipe(plan: Plan, task: int, sent: bytes | None, note: str) -> Recipe:
    asked = plan.options.get(task)
    once = asked is not None and asked.effects == "once"
    given = plan.calls[task], plan.inputs_of.get(task), once, task in plan.undo
    return Recipe(plan.names, *given, sent, plan.functions[task], note)


def _kept(run: "Run", kept: dict[str, Any]) -> Recipe:
    keywords = tuple((name, source) for name, source in kept["keywords"])
    call = Call(tuple(kept["positional"]), keywords, frozenset(kept["optional"]))
    return Recipe(run.plan.names, call, kept["inputs_of"], kept["once"], kept["undone"], kept["code"], None)
