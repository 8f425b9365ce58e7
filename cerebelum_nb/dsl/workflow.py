"""`Workflow`: a named timeline. Data; running it is the session's business, reached through the registry."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from cerebelum_nb.dsl.step import StepMetadata, check_name
from cerebelum_nb.dsl.timeline import Composition, Order, stages_of
from cerebelum_nb.errors import CerebelumError, DefinitionError, NotYet, PlanError
from cerebelum_nb.model.workflow import WorkflowDef


class WorkflowBuilder:
    """What a workflow's function gets as ``wf``."""

    def __init__(self) -> None:
        self.order = Order()

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

    def diverge(self, *_args: Any, **_kwargs: Any) -> Self:
        """Choose one of several ways by a step's result; not in this version."""
        raise NotYet("wf.diverge comes with a later version; until then decide inside a step")

    def branch(self, *_args: Any, **_kwargs: Any) -> Self:
        """Choose between two ways by a condition; not in this version."""
        raise NotYet("wf.branch comes with a later version; until then decide inside a step")


class Home(Protocol):
    """Where a workflow lives: who knows the newest definition of a step, and who runs workflows."""

    def newest(self, step: StepMetadata) -> StepMetadata:
        """The newest definition of a step."""

    def runner(self) -> Any:
        """The session."""


class Workflow:
    """A workflow: what ``@workflow`` makes of a function.

    Attributes:
        name: How runs, charts and the command line call it.
        executor: Where its steps run unless something nearer says otherwise; ``auto`` for no wish.
        execution_strategy: Its own map of step name or ``default`` to executor.
    """

    def __init__(
        self,
        name: str,
        definition: Callable[[WorkflowBuilder], Any],
        home: Home,
        *,
        executor: str = "auto",
        execution_strategy: Mapping[str, str] | None = None,
    ) -> None:
        self.name = check_name(name, "workflow")
        self.definition = definition
        self._home = home
        self.executor = executor
        self.execution_strategy = dict(execution_strategy or {})
        self.__name__ = self.name
        self.__doc__ = getattr(definition, "__doc__", None)
        self.__module__ = getattr(definition, "__module__", "__main__")

    def define(self) -> WorkflowDef:
        """The timeline as it stands now: the function is asked again each time, with each step's newest definition.

        Raises:
            DefinitionError: The function is not a plain ``def name(wf)``, or puts something else than steps in order.
            PlanError: The timeline is empty.
        """
        builder = WorkflowBuilder()
        answer = self._ask(builder)
        if hasattr(answer, "__await__"):
            answer.close()
            raise DefinitionError(f"workflow {self.name!r} is an async def; a workflow is a plain def that takes wf")
        steps = []
        for step in builder.order.steps:
            if not isinstance(step, StepMetadata):
                raise DefinitionError(f"workflow {self.name!r} holds {step!r:.60}, which is not a step")
            steps.append(self._home.newest(step).definition)
        if not steps:
            raise PlanError(f"workflow {self.name!r} has no steps: put some in order with wf.timeline(a >> b)")
        return WorkflowDef(
            self.name, tuple(steps), tuple(builder.order.follows), self.executor, self.execution_strategy
        )

    def _ask(self, builder: WorkflowBuilder) -> Any:
        try:
            return self.definition(builder)
        except CerebelumError:
            raise
        except Exception as exc:
            raise DefinitionError(f"the function of workflow {self.name!r} raised {type(exc).__name__}: {exc}") from exc

    def run(
        self,
        inputs: Any = None,
        *,
        execution_strategy: Mapping[str, str] | None = None,
        until: str | None = None,
        start_at: str | None = None,
    ) -> Any:
        """Start a run and return at once with the live `Run`: await it, watch it, cancel it, move its steps.

        Args:
            inputs: What steps get as ``inputs``; usually a dict.
            execution_strategy: Step name or ``default`` to executor, for this run.
            until: Run only this step and what it needs.
            start_at: Run this step and what depends on it; reuse the latest run's other results.

        Raises:
            PlanError: The workflow cannot run as asked; nothing has run then.
        """
        return self._home.runner().run(self, inputs, strategy=execution_strategy, until=until, start_at=start_at)

    async def execute(  # noqa: PLR0913  the specification's, and what `run` takes
        self,
        inputs: Any = None,
        executor: Any = None,
        *,
        use_local: bool | None = None,
        execution_strategy: Mapping[str, str] | None = None,
        until: str | None = None,
        start_at: str | None = None,
    ) -> Any:
        """Run to the end and return an `ExecutionResult` (hybrid specification, appendix A).

        Args:
            inputs: What steps get as ``inputs``; usually a dict.
            executor: A `HybridExecutor`, `DSLLocalExecutor` or `DistributedExecutor`; None for the session's own.
            use_local: Deprecated. True runs every step locally, False every step remotely.
            execution_strategy: Step name or ``default`` to executor, for this run.
            until: Run only this step and what it needs.
            start_at: Run this step and what depends on it; reuse the latest run's other results.

        Raises:
            PlanError: The workflow cannot run as asked; nothing has run then.
            StepFailed: A step failed.
            RunCancelled: The run was cancelled.
        """
        return await self._home.runner().execute(
            self,
            inputs,
            executor=executor,
            use_local=use_local,
            strategy=execution_strategy,
            until=until,
            start_at=start_at,
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
        builder = WorkflowBuilder()
        self._ask(builder)
        return repr(Composition(tuple(stage for item in builder.order.items for stage in stages_of(item))))

    def __repr__(self) -> str:
        try:
            return f"<workflow {self.name}: {self.timeline()}>"
        except Exception as exc:  # noqa: BLE001  a repr is shown also while a definition is being mended
            return f"<workflow {self.name}, not ready: {exc}>"
