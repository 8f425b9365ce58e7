"""`@step` and `@workflow`: build plain objects, put them in the registry."""

import datetime as dt
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, overload

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.step import StepMetadata, make_step
from cerebelum_nb.dsl.workflow import Workflow
from cerebelum_nb.errors import DefinitionError, NotActiveYet
from cerebelum_nb.model.options import ACTS, Backoff, ExecutorName, OnFailure, idle
from cerebelum_nb.model.typed import nearest

P = ParamSpec("P")
R = TypeVar("R")

Seconds = float | dt.timedelta


@overload
def step(function: Callable[P, R], /) -> StepMetadata[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    executor: ExecutorName = "auto",
    depends_on: Sequence[str | StepMetadata] = (),
    retries: int = ...,
    backoff: Seconds | tuple[Seconds, float, Seconds] | Backoff = ...,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ...,
    timeout: Seconds | None = ...,
    queue_timeout: Seconds | None = ...,
    cache: bool = ...,
    version: str | int = ...,
    idempotent: bool = ...,
    effects: Literal["none", "once"] | None = ...,
    compensate: Callable[..., Any] | None = ...,
    compensate_retries: int = ...,
    compensate_timeout: Seconds | None = ...,
    compensate_unknown: bool = ...,
    point_of_no_return: bool = ...,
    labels: str | Sequence[str] = ...,
    cost: float | None = ...,
    resources: Mapping[str, float] = ...,
    fallback: ExecutorName | Sequence[ExecutorName] | None = ...,
    max_queue: int | None = ...,
) -> Callable[[Callable[P, R]], StepMetadata[P, R]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    executor: ExecutorName = "auto",
    depends_on: Sequence[str | StepMetadata] = (),
    **options: Any,
) -> Any:
    """Make a step of a function, sync or async: ``@step`` or ``@step(executor="distributed", retries=3)``.

    The function's parameters say what it reads: ``context``, ``inputs`` (the run's), and the names of other steps,
    whose results it gets. Times are seconds as numbers, or `timedelta`. Which options already act, and which are only
    kept and shown, is said when one is used.

    Args:
        name: Its name, if not the function's.
        executor: ``local`` runs it in this process, ``distributed`` on a worker, ``processes`` in a process of this
            machine (for work that keeps a core busy), a pool's name there; ``auto`` leaves it to the workflow.
        depends_on: Steps it must follow without reading their results; a function with ``**kwargs`` gets these too.
        retries: How often it is tried again after an error. A try that took too long and does not stop is awaited
            first, for up to 30 s, unless running twice does no harm.
        backoff: Pause between tries: seconds, or (first, factor, longest).
        retry_on: Errors after which it is tried again; without it, any that can pass.
        timeout: How long one try may take.
        queue_timeout: How long it may wait for a worker.
        cache: Use an earlier result when code, what it closes over and inputs are the same.
        version: Of what it does, for the cache: with another one no earlier result counts.
        idempotent: Running it twice does no harm.
        effects: ``none`` for a step that changes nothing outside, ``once`` for one that must never run twice.
        compensate: The function that undoes it, called when the run fails after it: it takes any of ``context``,
            ``result``, ``inputs``, ``outcome`` and results of steps before it. It runs at least once, so it must do no
            harm twice. Of a step that completed several times, since a way led back to it, it is called once, with
            the last result: all had the same ``context.idempotency_key``, and what was done under that is to be undone.
            The run's error says how often it had completed. With one such step anywhere in a workflow, a failure stops
            the run's other steps that still run.
        compensate_retries: How often that is tried again; 3 unless said.
        compensate_timeout: How long one try of it may take.
        compensate_unknown: Undo it also where nobody knows whether it did anything, since it raised, took too long,
            was stopped or lost its worker; ``outcome`` is then ``unknown``. What still runs is awaited for up to 30 s.
        point_of_no_return: Once it has completed, nothing of the run is undone.
        labels: What its result holds, like ``pii``.
        cost: What one run of it costs.
        resources: What its worker must have, like ``{"gpu": 1}``.
        fallback: Executors to try when its own is not there, or ``error`` for none.
        max_queue: Where more than so many steps wait for its executor, it goes to its fallback.

    Raises:
        DefinitionError: The function cannot be a step, or an option has a wrong value; says why.
    """
    for option in options:
        if option not in ACTS:
            known = ("name", "executor", "depends_on", *ACTS)
            raise DefinitionError(f"@step has no option {option!r}.{nearest(option, known)} It takes {_listed(known)}.")

    def decorate(target: Callable[..., Any]) -> StepMetadata:
        made = make_step(target, name=name, executor=executor, depends_on=depends_on, options=options)
        if asleep := idle(made.options) if options else "":
            verbs = "are kept with the step and do" if " and " in asleep else "is kept with the step and does"
            warnings.warn(
                f"step {made.name!r}: {asleep} {verbs} nothing in this version", NotActiveYet, stacklevel=2 + bare
            )
        registry.add_step(made)
        return made

    bare = function is not None
    return decorate if function is None else decorate(function)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


@overload
def workflow(definition: Callable[[Any], Any], /) -> Workflow: ...
@overload
def workflow(
    *,
    name: str | None = None,
    executor: ExecutorName = "auto",
    execution_strategy: Mapping[str, ExecutorName] | None = None,
    core_url: str | None = None,
    on_failure: OnFailure | None = None,
    fallback: ExecutorName | Sequence[ExecutorName] | None = None,
    max_queue: int | None = None,
) -> Callable[[Callable[[Any], Any]], Workflow]: ...
def workflow(  # noqa: PLR0913  the specification's, and what its runs are asked by default
    definition: Callable[[Any], Any] | None = None,
    /,
    *,
    name: str | None = None,
    executor: ExecutorName = "auto",
    execution_strategy: Mapping[str, ExecutorName] | None = None,
    core_url: str | None = None,
    on_failure: OnFailure | None = None,
    fallback: ExecutorName | Sequence[ExecutorName] | None = None,
    max_queue: int | None = None,
) -> Workflow | Callable[[Callable[[Any], Any]], Workflow]:
    """Make a workflow of a function that takes ``wf`` and calls ``wf.timeline(...)``.

    Args:
        name: Its name, if not the function's.
        executor: Where its steps run unless they say otherwise.
        execution_strategy: Step name or ``default`` to executor.
        core_url: Kept for files written for the SDK, where it counts only for ``execute(distributed=True)``.
        fallback: Executors for steps whose own is not there, unless they say otherwise; ``error`` for none.
        max_queue: Where more than so many steps wait for an executor, those with a fallback go there.
        on_failure: What becomes of its runs that fail or are cancelled: ``compensate`` stops its other steps and undoes
            what steps with ``compensate=`` did, ``stop`` leaves it. Without it, ``compensate``. A nested workflow goes
            by the run's.

    Raises:
        DefinitionError: It is not such a function.
    """
    if core_url is not None and not isinstance(core_url, str):
        raise DefinitionError(f"@workflow: core_url is text like 'localhost:9090', not {core_url!r:.60}")

    def decorate(target: Callable[[Any], Any]) -> Workflow:
        if isinstance(target, type) or not callable(target):
            raise DefinitionError(f"@workflow goes on a function that takes wf, not on {target!r:.80}")
        made = Workflow(
            str(name or getattr(target, "__name__", "")),
            target,
            registry,
            executor=executor,
            execution_strategy=execution_strategy,
            on_failure=on_failure,
            fallback=fallback,
            max_queue=max_queue,
        )
        made.core_url = core_url
        registry.add_workflow(made)
        return made

    return decorate if definition is None else decorate(definition)
