"""`@step` and `@workflow`: build plain objects, put them in the registry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, overload

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.step import StepMetadata, make_step
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import DefinitionError, NotYet

ExecutorName = Literal["local", "distributed", "auto"] | str  # noqa: PYI051  editors offer the literals

_LATER = frozenset(
    {
        "retries",
        "backoff",
        "retry_on",
        "timeout",
        "cache",
        "idempotent",
        "effects",
        "compensate",
        "labels",
        "cost",
        "resources",
    }
)


@overload
def step(function: Callable[..., Any], /) -> StepMetadata: ...
@overload
def step(
    *, name: str | None = None, executor: ExecutorName = "auto", depends_on: Sequence[str] = (), **later: Any
) -> Callable[[Callable[..., Any]], StepMetadata]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    executor: ExecutorName = "auto",
    depends_on: Sequence[str] = (),
    **later: Any,
) -> StepMetadata | Callable[[Callable[..., Any]], StepMetadata]:
    """Make a step of a function, sync or async: ``@step`` or ``@step(executor="distributed")``.

    The function's parameters say what it reads: ``context``, ``inputs`` (the run's), and the names of other steps,
    whose results it gets.

    Args:
        name: Its name, if not the function's.
        executor: ``local`` runs it in this process, ``distributed`` on a worker, ``auto`` leaves it to the workflow.
        depends_on: Steps it must follow without reading their results.

    Raises:
        DefinitionError: The function cannot be a step; says why.
        NotYet: An option that this version does not have.
    """
    for option in later:
        if option in _LATER:
            raise NotYet(f"@step({option}=...) comes with a later version; remove it for now")
        raise DefinitionError(f"@step has no option {option!r}. It takes name, executor and depends_on.")

    def decorate(target: Callable[..., Any]) -> StepMetadata:
        made = make_step(target, name=name, executor=executor, depends_on=depends_on)
        registry.add_step(made)
        return made

    return decorate if function is None else decorate(function)


@overload
def workflow(definition: Callable[[Any], Any], /) -> Workflow: ...
@overload
def workflow(
    *, name: str | None = None, executor: ExecutorName = "auto", execution_strategy: Mapping[str, str] | None = None
) -> Callable[[Callable[[Any], Any]], Workflow]: ...
def workflow(
    definition: Callable[[Any], Any] | None = None,
    /,
    *,
    name: str | None = None,
    executor: ExecutorName = "auto",
    execution_strategy: Mapping[str, str] | None = None,
) -> Workflow | Callable[[Callable[[Any], Any]], Workflow]:
    """Make a workflow of a function that takes ``wf`` and calls ``wf.timeline(...)``.

    Args:
        name: Its name, if not the function's.
        executor: Where its steps run unless they say otherwise.
        execution_strategy: Step name or ``default`` to executor.

    Raises:
        DefinitionError: It is not such a function.
    """

    def decorate(target: Callable[[Any], Any]) -> Workflow:
        if isinstance(target, type) or not callable(target):
            raise DefinitionError(f"@workflow goes on a function that takes wf, not on {target!r:.80}")
        made = Workflow(
            str(name or getattr(target, "__name__", "")),
            target,
            registry,
            executor=executor,
            execution_strategy=execution_strategy,
        )
        registry.add_workflow(made)
        return made

    return decorate if definition is None else decorate(definition)
