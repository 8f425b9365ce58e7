"""`Workflow`: a named timeline. Data; running it is the session's business, reached through the registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from cerebelum_nb.dsl.definition import define, with_defaults
from cerebelum_nb.dsl.nested import SubWorkflow
from cerebelum_nb.dsl.routes import RawRoute, branching, diverging
from cerebelum_nb.dsl.step import StepMetadata, check_name
from cerebelum_nb.dsl.timeline import Composition, Order, stages_of
from cerebelum_nb.errors import CerebelumError, DefinitionError, NotYet
from cerebelum_nb.model.options import ExecutorName, OnFailure, bad_on_failure, defaults
from cerebelum_nb.model.typed import nearest
from cerebelum_nb.model.workflow import WorkflowDef


class WorkflowBuilder:
    """What a workflow's function gets as ``wf``."""

    def __init__(self) -> None:
        self.order = Order()
        self.routes: list[RawRoute] = []

    def timeline(self, *items: Any) -> Self:
        """Put steps in order, after whatever an earlier call put there.

        Args:
            items: Steps, lists of steps that run side by side, and chains of them with ``>>``; several arguments
                run one after the other. One flat list alone is a sequence too, as in files written for the SDK.

        Raises:
            DefinitionError: Something in it is not a step.
        """
        if len(items) == 1 and isinstance(items[0], list | tuple):
            items = tuple(items[0])
        for item in items:
            self.order.then(item)
        return self

    def diverge(self, from_step: Any, patterns: Any) -> Self:
        """Take one of several ways, by a step's result. What follows the step in the timeline goes on after that way.

        Args:
            from_step: The step whose result decides.
            patterns: Pattern to target. A pattern is a value, a type, a function that says yes or no, or ``"_"`` for
                all the rest; the first that fits counts. A target is a step, a list or chain of steps, a part of
                the timeline, `back_to`, or None for going on. The steps of other ways are skipped.

        Raises:
            DefinitionError: `patterns` is no such dict.
        """
        self.routes.append(diverging(from_step, patterns))
        return self

    def branch(self, after: Any, condition: Any, when_true: Any, when_false: Any = None) -> Self:
        """Take one of two ways, by a condition. What follows the step in the timeline goes on after that way.

        Args:
            after: The step whose result decides.
            condition: Called with that result, sync or async.
            when_true: A target as for `diverge`; None for going on.
            when_false: The same.

        Raises:
            DefinitionError: `condition` cannot be called.
        """
        self.routes.append(branching(after, condition, when_true, when_false))
        return self


class Home(Protocol):
    """Where a workflow lives: who knows the newest definition of a step, and who runs workflows."""

    def newest(self, step: StepMetadata) -> StepMetadata:
        """The newest definition of a step."""

    def runner(self) -> Any:
        """The session."""


@dataclass(frozen=True)
class ValidationReport:
    """What `Workflow.validate` found; what cannot run is raised instead."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Workflow:
    """A workflow: what ``@workflow`` makes of a function.

    Attributes:
        name: How runs, charts and the command line call it.
        executor: Where its steps run unless something nearer says otherwise; ``auto`` for no wish.
        execution_strategy: Its own map of step name or ``default`` to executor.
        core_url: The Core that ``execute(distributed=True)`` would serve, in files written for the SDK.
        on_failure: What becomes of its runs that fail: ``compensate``, ``stop``, or None for the default.
        defaults: What holds for its steps that say nothing of it: ``fallback`` and ``max_queue``.
    """

    core_url: str | None = None

    def __init__(  # noqa: PLR0913  what `@workflow` takes
        self,
        name: str,
        definition: Callable[[WorkflowBuilder], Any],
        home: Home,
        *,
        executor: str = "auto",
        execution_strategy: Mapping[str, str] | None = None,
        on_failure: str | None = None,
        fallback: Any = None,
        max_queue: int | None = None,
    ) -> None:
        if wrong := bad_on_failure(on_failure):
            raise DefinitionError(f"workflow {name!r}: {wrong}")
        self.on_failure = on_failure
        self.defaults = defaults(name, {"fallback": fallback, "max_queue": max_queue})
        self.name = check_name(name, "workflow")
        self.definition = definition
        self._home = home
        self.executor = executor
        self.execution_strategy = dict(execution_strategy or {})
        self.__name__ = self.name
        self.__doc__ = getattr(definition, "__doc__", None)
        self.__module__ = getattr(definition, "__module__", "__main__")

    def define(self, inside: tuple[str, ...] = ()) -> WorkflowDef:
        """The timeline as it stands now: the function is asked again each time, with each step's newest definition.

        Args:
            inside: The workflows that this one is nested in, outermost first.

        Raises:
            DefinitionError: The function is not a plain ``def name(wf)``, or puts something else than steps in order.
            PlanError: The timeline is empty, or the workflow contains itself.
        """
        return with_defaults(define(self, self.build(), self._home, inside), self.defaults)

    def build(self) -> WorkflowBuilder:
        """What its function says, as it is written.

        Raises:
            DefinitionError: The function raises, or is no plain ``def name(wf)``.
        """
        builder = WorkflowBuilder()
        try:
            answer = self.definition(builder)
        except CerebelumError:
            raise
        except Exception as exc:
            hint = nearest(exc.name, dir(builder)) if isinstance(exc, AttributeError) and exc.obj is builder else ""
            told = f"{type(exc).__name__}: {exc}{f'.{hint}' if hint else ''}"
            raise DefinitionError(f"the function of workflow {self.name!r} raised {told}") from exc
        if hasattr(answer, "__await__"):
            answer.close()
            raise DefinitionError(f"workflow {self.name!r} is an async def; a workflow is a plain def that takes wf")
        return builder

    def as_step(self, name: str | None = None, *, executor: str = "auto", inputs: Any = None) -> SubWorkflow:
        """This workflow as one step of another: put it into a timeline. Its steps are called ``name/step``.

        Args:
            name: What other steps call its result; the workflow's own name by default.
            executor: Where its steps run unless they say otherwise.
            inputs: A step whose result its steps get as ``inputs``; None for the run's own inputs.

        Raises:
            DefinitionError: `name` cannot be a step's.
        """
        chosen = check_name(self.name if name is None else name)
        source = "" if inputs is None else check_name(getattr(inputs, "name", inputs))
        return SubWorkflow(self, chosen, executor, source)

    def run(  # noqa: PLR0913  what a person may ask of a run, all by keyword
        self,
        inputs: Any = None,
        *,
        execution_strategy: Mapping[str, str] | None = None,
        until: str | None = None,
        start_at: str | None = None,
        fresh: bool = False,
        on_failure: OnFailure | None = None,
    ) -> Any:
        """Start a run and return at once with the live `Run`: await it, watch it, cancel it, move its steps.

        Args:
            inputs: What steps get as ``inputs``; usually a dict.
            execution_strategy: Step name or ``default`` to executor, for this run.
            until: Run only this step and what it needs.
            start_at: Run this step and what depends on it; reuse the latest run's other results.
            fresh: Take nothing from the cache; what steps with ``cache=True`` give is kept anew.
            on_failure: ``compensate`` stops the other steps and undoes what steps with ``compensate=`` did when the run
                fails or is cancelled, ``stop`` leaves it; without it, as the workflow says, else ``compensate``.

        Raises:
            PlanError: The workflow cannot run as asked; nothing has run then.
        """
        return self._home.runner().run(
            self,
            inputs,
            strategy=execution_strategy,
            until=until,
            start_at=start_at,
            fresh=fresh,
            on_failure=on_failure,
        )

    def validate(self) -> ValidationReport:
        """Check and place it without running anything.

        Raises:
            DefinitionError: It is written wrongly.
            PlanError: It cannot run as it stands.
        """
        self._home.runner().plan(self)
        return ValidationReport()

    async def execute(  # noqa: PLR0913  the specification's, the SDK's in its order, and what `run` takes
        self,
        inputs: Any = None,
        executor: Any = None,
        distributed: bool = False,  # noqa: FBT001, FBT002  the SDK's
        max_reconnect_attempts: int = 0,  # noqa: ARG002  the SDK's
        reconnect_max_delay: float = 60.0,  # noqa: ARG002  the SDK's
        *,
        use_local: bool | None = None,
        execution_strategy: Mapping[str, ExecutorName] | None = None,
        until: str | None = None,
        start_at: str | None = None,
        fresh: bool = False,
        on_failure: OnFailure | None = None,
    ) -> Any:
        """Run to the end and return an `ExecutionResult` (hybrid specification, appendix A).

        Args:
            inputs: What steps get as ``inputs``; usually a dict.
            executor: A `HybridExecutor`, `DSLLocalExecutor` or `DistributedExecutor`; None for the session's own.
            distributed: The SDK's way to serve a Core elsewhere as a worker; only its own workflows do.
            max_reconnect_attempts: Goes with `distributed`.
            reconnect_max_delay: Goes with `distributed`.
            use_local: Deprecated. True runs every step locally, False every step remotely.
            execution_strategy: Step name or ``default`` to executor, for this run.
            until: Run only this step and what it needs.
            start_at: Run this step and what depends on it; reuse the latest run's other results.
            fresh: Take nothing from the cache; what steps with ``cache=True`` give is kept anew.
            on_failure: ``compensate`` or ``stop``, as for `run`.

        Raises:
            PlanError: The workflow cannot run as asked; nothing has run then.
            ExecutionError: A step failed.
            RunCancelled: The run was cancelled.
            CompensationFailed: One of these, and not all that its steps did could be undone.
            NotYet: `distributed` is true.
        """
        if distributed:
            raise NotYet(
                "distributed=True makes this a worker of a Core elsewhere, which only the SDK's own workflows do. "
                'To run the steps on workers here, write execution_strategy={"default": "distributed"}; to have a Core '
                "elsewhere say when they begin, executor=DistributedExecutor(core_url)"
            )
        return await self._home.runner().execute(
            self,
            inputs,
            executor=executor,
            use_local=use_local,
            strategy=execution_strategy,
            until=until,
            start_at=start_at,
            fresh=fresh,
            on_failure=on_failure,
        )

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse, and say how a workflow is run."""
        raise DefinitionError(
            f"a workflow is run, not called: {self.name}.run({{...}}) or await {self.name}.execute({{...}})"
        )

    def timeline(self) -> str:
        """Its steps in order, as they would be written: ``a >> [b, c] >> d``.

        Raises:
            DefinitionError: As `define`.
        """
        builder = self.build()
        return repr(Composition(tuple(stage for item in builder.order.items for stage in stages_of(item))))

    def __repr__(self) -> str:
        try:
            return f"<workflow {self.name}: {self.timeline()}>"
        except Exception as exc:  # noqa: BLE001  a repr is shown also while a definition is being mended
            return f"<workflow {self.name}, not ready: {exc}>"
