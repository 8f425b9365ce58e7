"""Where a step runs, and which rule said so: one pure function. The only place that knows what "distributed" means."""

from collections.abc import Mapping
from typing import Final

import msgspec

from cerebelum_nb.errors import PlacementError, PlanError
from cerebelum_nb.model.events import Placement
from cerebelum_nb.model.typed import nearest

AUTO: Final = "auto"
DEFAULT: Final = "default"
DISTRIBUTED: Final = "distributed"
CORE: Final = "core"  # the executor that this stands for
_HOW_A_POOL_IS_MADE: Final = (
    "A pool of that name is made by `%cerebelum workers add --pool {} --slots 1` or by "
    "cerebelum_nb.session.current().add_workers, or declared in [tool.cerebelum.pools] of pyproject.toml."
)


class Places(msgspec.Struct, frozen=True):
    """The executors of a session, by the names people use."""

    remote: frozenset[str]  # executors whose attempts leave the process
    executors: tuple[str, ...]  # every executor's own name
    cores: Mapping[str, str] = {}  # URL of a Core elsewhere -> the executor that goes there

    @property
    def labels(self) -> tuple[str, ...]:
        """The names to offer: one for each place, as people say it."""
        return tuple(DISTRIBUTED if e == CORE else e for e in self.executors)

    @property
    def known(self) -> tuple[str, ...]:
        """Every name that is understood."""
        return (*self.labels, *(e for e in self.executors if e not in self.labels))

    def resolve(self, name: str) -> str:
        """The executor behind a name.

        Raises:
            KeyError: Nobody knows it.
        """
        executor = CORE if name == DISTRIBUTED else self.cores.get(name, name)
        if executor not in self.executors:
            raise KeyError(name)
        return executor


class Wishes(msgspec.Struct, frozen=True):
    """Who asked for what, strongest first."""

    person: Mapping[str, str] = {}  # moved by click or `rerun(executor=)`
    strategy: Mapping[str, str] = {}  # execution_strategy of this run, its "default" included
    workflow_executor: str = AUTO
    workflow_strategy: Mapping[str, str] = {}
    configured: Mapping[str, str] = {}  # the strategy of this environment, its "default" included
    session_default: str = "local"
    everywhere: str = ""  # deprecated use_local: one place for all steps
    core: str = ""  # URL of the Core that "distributed" means in this run; empty for the session's own

    def meant(self, name: str) -> str:
        """The place that a name stands for in this run."""
        return self.core if self.core and name == DISTRIBUTED else name


def wish(step: str, decorator: str, wishes: Wishes, scope: str = "", nested: str = "") -> tuple[str, str, str]:
    """The name that wins for a step, the rule behind it and the reason as a sentence.

    Args:
        scope: The nested workflow it belongs to, whose name in a map stands for all its steps.
        nested: Where that workflow wants it.
    """
    name, rule, reason = _wish(step, decorator, wishes, scope, nested)
    return wishes.meant(name), rule, reason


def _wish(  # noqa: C901, PLR0911  one for each rule
    step: str, decorator: str, wishes: Wishes, scope: str, nested: str
) -> tuple[str, str, str]:
    if step in wishes.person:
        return wishes.person[step], "person", f"you moved it to {wishes.person[step]!r}"
    if wishes.everywhere:
        who = f"DistributedExecutor({wishes.core!r})" if wishes.core else "use_local"
        return wishes.everywhere, "strategy", f"{who} puts every step on {wishes.everywhere!r}"
    mine = _named(step, scope, wishes.strategy)
    if mine != AUTO:
        return mine, "strategy", f"execution_strategy says {mine!r} for this step"
    mine = _named(step, scope, wishes.configured)
    if mine != AUTO:
        return mine, "configuration", f"the configuration says {mine!r} for this step"
    if decorator != AUTO:
        return decorator, "decorator", f'the step says executor="{decorator}"'
    fallback = wishes.strategy.get(DEFAULT, AUTO)
    if fallback != AUTO:
        return fallback, "map-default", f"execution_strategy's default is {fallback!r}"
    mine = _named(step, scope, wishes.workflow_strategy)
    if mine == AUTO and nested:
        return nested, "workflow", f"the nested workflow {scope!r} says {nested!r}"
    if mine == AUTO:
        mine = wishes.workflow_strategy.get(DEFAULT, AUTO)
    if mine != AUTO:
        return mine, "workflow", f"the workflow's own strategy says {mine!r}"
    if wishes.workflow_executor != AUTO:
        return wishes.workflow_executor, "workflow", f'the workflow says executor="{wishes.workflow_executor}"'
    mine = wishes.configured.get(DEFAULT, AUTO)
    if mine != AUTO:
        return mine, "configuration", f"the configuration's default is {mine!r}"
    return wishes.session_default, "session", f"nothing else was asked, and the default is {wishes.session_default!r}"


def _named(step: str, scope: str, strategy: Mapping[str, str]) -> str:
    """What a map says of a step by name, or of the nested workflow it belongs to."""
    mine = strategy.get(step, AUTO)
    while mine == AUTO and scope:
        mine, scope = strategy.get(scope, AUTO), scope.rpartition("/")[0]
    return mine


def place(step: str, wanted: tuple[str, str, str], places: Places, *, is_async: bool) -> Placement:
    """Make a placement of the wish that won.

    Raises:
        PlacementError: Nobody knows the executor.
    """
    name, rule, reason = wanted
    try:
        executor = places.resolve(name)
    except KeyError:
        raise PlacementError(_unknown(step, name, reason, places)) from None
    if executor == "local":
        return Placement("local", "local" if is_async else "threads", "local", False, rule, reason)
    label = DISTRIBUTED if executor == CORE else executor
    return Placement(executor, executor, label, executor in places.remote, rule, reason)


def _unknown(step: str, name: str, reason: str, places: Places) -> str:
    return f"step {step!r}: there is no executor {name!r} ({reason}).{who_else(name, places)}"


def who_else(name: str, places: Places) -> str:
    """What may have been meant by the name of an executor that is not there."""
    near = nearest(name, places.labels)
    pools = "" if near else f" {_HOW_A_POOL_IS_MADE.format(name)}"
    return f"{near} Known here: {', '.join(places.labels)}.{pools}"


def check_map(what: str, strategy: Mapping[str, str], steps: Mapping[str, object] | tuple[str, ...]) -> None:
    """Refuse a strategy that names a step which does not exist.

    Raises:
        PlanError: With the nearest step's name.
    """
    if not isinstance(strategy, Mapping):
        raise PlanError(f"{what} is a dict of step name to executor, not {strategy!r:.60}")
    for step, name in strategy.items():
        if step != DEFAULT and step not in steps:
            raise PlanError(
                f"{what} names the step {step!r}, which the workflow does not have.{nearest(step, list(steps))}"
            )
        if not isinstance(name, str):
            raise PlanError(f"{what}[{step!r}] is {name!r:.60}, not the name of an executor")
