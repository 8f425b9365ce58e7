"""`StepMetadata`: a person's function as a step. Still callable as the plain function it is."""

import inspect
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

from cerebelum_nb.dsl.timeline import Chainable
from cerebelum_nb.errors import DefinitionError
from cerebelum_nb.model.workflow import RESERVED, Parameter, StepDef

_NAME: Final = re.compile(r"[\w\-./ ]{1,80}")
_P = inspect.Parameter


class StepMetadata(Chainable):
    """A step: what ``@step`` makes of a function.

    Attributes:
        name: How workflows, strategies and charts call it.
        function: The function as it was written.
        executor: Where it wants to run: ``local``, ``distributed``, or ``auto`` for no wish.
        depends_on: Names of the steps it reads or follows.
        definition: The same as frozen data.
    """

    def __init__(self, definition: StepDef) -> None:
        self.definition = definition
        self.name = definition.name
        self.function = definition.function
        self.executor = definition.executor
        self.depends_on = list(definition.depends_on)
        self.module = getattr(definition.function, "__module__", None) or "__main__"
        self.__name__ = getattr(definition.function, "__name__", definition.name)
        self.__doc__ = getattr(definition.function, "__doc__", None)
        self.__wrapped__ = definition.function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain function, outside any run."""
        return self.function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        mine = self.__dict__.get("name", "?")
        raise AttributeError(
            f"{mine!r} is a step and has no {name!r}. After a run its value is in run.outputs[{mine!r}], "
            "and other steps get it by naming it as a parameter"
        )

    def __reduce__(self) -> Any:
        # Where a worker needs it (a step that calls another as a function), the function is all it needs.
        return (_plain, (self.function,))

    def __repr__(self) -> str:
        wish = "" if self.executor == "auto" else f", executor={self.executor!r}"
        needs = f", needs {', '.join(self.depends_on)}" if self.depends_on else ""
        return f"<step {self.name}{wish}{needs}>"


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def make_step(function: Any, *, name: str | None, executor: str, depends_on: Sequence[str]) -> StepMetadata:
    """Check a function and make a step of it.

    Raises:
        DefinitionError: What is wrong, with the parameter's name and the place.
    """
    if isinstance(function, StepMetadata):
        function = function.function
    if isinstance(function, staticmethod):
        function = function.__func__
    if isinstance(function, type) or not callable(function):
        raise DefinitionError(f"@step goes on a function, not on {function!r:.80}")
    called = getattr(function, "__name__", None)
    if name is None and (called is None or called == "<lambda>"):
        raise DefinitionError("this step has no name of its own: give it one, @step(name='...')")
    chosen = check_name(name if name is not None else str(called))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"step {chosen!r} uses yield: a step returns its value once; return a list instead")
    if not isinstance(executor, str) or not executor:
        raise DefinitionError(f"step {chosen!r}: executor={executor!r} is not a name like 'local' or 'distributed'")
    parameters = _parameters(chosen, function)
    read = [p.name for p in parameters if p.kind == "step"]
    return StepMetadata(
        StepDef(
            name=chosen,
            function=function,
            parameters=parameters,
            depends_on=tuple(dict.fromkeys([*read, *_names(chosen, depends_on)])),
            executor=executor,
            is_async=_is_async(function),
            defined_at=_place(function),
        )
    )


def check_name(name: object, what: str = "step") -> str:
    """A name that is safe to show, to compare and to store.

    Raises:
        DefinitionError: It is reserved, too long, or has characters that do not belong in a name.
    """
    if not isinstance(name, str):
        raise DefinitionError(f"a {what}'s name is text, not {name!r:.60}")
    normal = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(normal) or normal != normal.strip():
        raise DefinitionError(
            f"{name[:40]!a} cannot name a {what}: 1 to 80 letters, digits, '_', '-', '.', '/' or spaces inside"
        )
    if what == "step" and normal in RESERVED:
        raise DefinitionError(
            f"a step cannot be called {normal!r}: the word has a meaning of its own in strategies or steps"
        )
    return normal


def _names(step: str, depends_on: Sequence[str]) -> list[str]:
    if isinstance(depends_on, str) or not all(isinstance(d, str | StepMetadata) for d in depends_on):
        raise DefinitionError(f"step {step!r}: depends_on is a list of step names, got {depends_on!r:.60}")
    return [d.name if isinstance(d, StepMetadata) else d for d in depends_on]


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004  looking for an async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _parameters(step: str, function: Callable[..., Any]) -> tuple[Parameter, ...]:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as exc:
        raise DefinitionError(f"step {step!r}: its parameters cannot be read ({exc}); wrap it in a def") from exc
    found = []
    for p in signature.parameters.values():
        if p.kind in (_P.VAR_POSITIONAL, _P.VAR_KEYWORD):
            continue  # accepted for files written so; nothing is passed there
        kind = p.name if p.name in ("context", "inputs") else "step"
        found.append(
            Parameter(
                p.name,
                kind,  # type: ignore[arg-type]  # one of the three by the line above
                keyword=p.kind is _P.KEYWORD_ONLY,
                optional=p.default is not _P.empty,
            )
        )
    return tuple(found)


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
