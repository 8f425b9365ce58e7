"""`StepMetadata`: a person's function as a step. Still callable as the plain function it is."""

import inspect
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol

import msgspec

from cerebelum_nb.dsl.timeline import Chainable
from cerebelum_nb.errors import DefinitionError
from cerebelum_nb.model.options import NOTHING, StepOptions, checked
from cerebelum_nb.model.workflow import RESERVED, Parameter, StepDef, Undo

if TYPE_CHECKING:  # a plain `StepMetadata` in an annotation is a step of any kind; Python itself says so from 3.13 on
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    R = TypeVar("R", default=Any)
    F = TypeVar("F", bound=Callable[..., Any] | None)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")
    F = TypeVar("F")

_NAME_LIMIT: Final = 80
_BETWEEN: Final = frozenset("-./ ")  # beside what Python takes in names
# Letters and marks that nobody sees: two names that look alike must not be two steps.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_P = inspect.Parameter


class StepHome(Protocol):
    """Where a step lives: who knows its newest definition."""

    def newest(self, step: "StepMetadata") -> "StepMetadata":
        """The newest definition of a step."""

    def is_undone_by(self, step: "StepMetadata", function: Callable[..., Any] | None) -> None:
        """Remember what undoes a step, for when it is defined again."""


class StepMetadata(Chainable, Generic[P, R]):
    """A step: what ``@step`` makes of a function.

    Attributes:
        name: How workflows, strategies and charts call it.
        function: The function as it was written.
        executor: Where it wants to run: ``local``, ``distributed``, ``processes``, a pool, or ``auto`` for no wish.
        depends_on: Names of the steps it reads or follows.
        options: What else it asks for: retries, timeout and the like.
        definition: The same as frozen data.
        home: Where it lives.
    """

    home: "StepHome | None" = None

    def __init__(self, definition: StepDef) -> None:
        self.definition = definition
        self.name = definition.name
        self.function: Callable[P, R] = definition.function
        self.executor = definition.executor
        self.depends_on = list(definition.depends_on)
        self.options: StepOptions = definition.options
        self.module = getattr(definition.function, "__module__", None) or "__main__"
        self.__name__ = getattr(definition.function, "__name__", definition.name)
        self.__doc__ = getattr(definition.function, "__doc__", None)
        self.__wrapped__ = definition.function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function, outside any run."""
        return self.function(*args, **kwargs)

    @property
    def dependencies(self) -> list[str]:
        """Names of the steps whose results it reads."""
        return [p.name for p in self.definition.parameters if p.kind == "step"]

    @property
    def has_context(self) -> bool:
        """Whether it takes the run's context."""
        return any(p.kind == "context" for p in self.definition.parameters)

    @property
    def has_inputs(self) -> bool:
        """Whether it takes the run's inputs."""
        return any(p.kind == "inputs" for p in self.definition.parameters)

    @property
    def parameters(self) -> list[str]:
        """Names of what it takes."""
        return [p.name for p in self.definition.parameters]

    def compensate(self, function: F) -> F:
        """Say which function undoes this step: ``@charge.compensate``, also in a later cell; None takes it away.

        It takes any of ``context``, ``result`` (or the step's own name), ``inputs``, ``outcome``, and results of steps
        before this one, and is called when a run fails or is cancelled after this step has completed: at least once,
        so it must do no harm twice. ``context.idempotency_key`` is the step's own. Of a step that completed several
        times, since the workflow went back to it, it is called once, with the last result: it is to undo all that was
        done under that key. Timelines that have the step already are undone so from their next run on; it holds also
        for the step as it is defined again.

        Raises:
            DefinitionError: It is no such function, or the step contradicts it.
        """
        newest = self if self.home is None else self.home.newest(self)
        newest.undo_with(function)
        if self.home is not None:
            self.home.is_undone_by(newest, function)
        return function

    def undo_with(self, function: Callable[..., Any] | None) -> None:
        """Take a function that undoes it into its definition.

        Raises:
            DefinitionError: As `compensate`.
        """
        options = checked(self.name, {"compensate": function}, self.options)
        undo = _undo(self.name, function)
        self.definition = msgspec.structs.replace(self.definition, options=options, undo=undo)
        self.options = options

    if not TYPE_CHECKING:  # else every misspelt attribute would look right to a type checker

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
        asks = f", {self.options}" if str(self.options) else ""
        return f"<step {self.name}{wish}{needs}{asks}>"


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def make_step(
    function: Any,
    *,
    name: str | None,
    executor: str,
    depends_on: Sequence[Any],
    options: Mapping[str, Any] | None = None,
) -> StepMetadata:
    """Check a function and make a step of it. A step made anew keeps what is not said again.

    Args:
        options: Option to value, as written; see `cerebelum_nb.model.options`.

    Raises:
        DefinitionError: What is wrong, with the parameter's name and the place.
    """
    base = NOTHING
    if isinstance(function, StepMetadata):
        old = function.definition
        function, base, name = old.function, old.options, old.name if name is None else name
        executor = old.executor if executor == "auto" else executor
        depends_on = old.depends_on if depends_on == () else depends_on
    if isinstance(function, staticmethod):
        function = function.__func__
    _check_kind(function)
    called = getattr(function, "__name__", None)
    if name is None and (called is None or called == "<lambda>"):
        raise DefinitionError("this step has no name of its own: give it one, @step(name='...')")
    chosen = check_name(name if name is not None else str(called))
    if _yields(function):
        raise DefinitionError(f"step {chosen!r} uses yield: a step returns its value once; return a list instead")
    if not isinstance(executor, str) or not executor or not executor.isprintable():
        raise DefinitionError(f"step {chosen!r}: executor={executor!r} is not a name like 'local' or 'distributed'")
    parameters = _parameters(chosen, function)
    followed = _names(chosen, depends_on)
    if _takes_any(function):  # it reads whatever it is said to depend on
        known = {p.name for p in parameters}
        parameters += tuple(Parameter(n, "step", keyword=True) for n in dict.fromkeys(followed) if n not in known)
    read = [p.name for p in parameters if p.kind == "step"]
    asked = checked(chosen, options or {}, base)
    return StepMetadata(
        StepDef(
            name=chosen,
            function=function,
            parameters=parameters,
            depends_on=tuple(dict.fromkeys([*read, *followed])),
            executor=executor,
            is_async=_is_async(function),
            defined_at=_place(function),
            options=asked,
            undo=_undo(chosen, asked.compensate),
        )
    )


def _undo(step: str, function: Callable[..., Any] | None) -> Undo | None:
    """What undoes a step, as it is called.

    Raises:
        DefinitionError: It cannot be a step itself.
    """
    if function is None:
        return None
    if isinstance(function, StepMetadata):
        function = function.function
    called = f"{step} (compensate)"
    _check_kind(function)
    if _yields(function):
        raise DefinitionError(f"what undoes step {step!r} uses yield: write it without")
    parameters = _parameters(called, function)
    for p in inspect.signature(function).parameters.values():
        if p.kind in (_P.VAR_POSITIONAL, _P.VAR_KEYWORD):
            raise DefinitionError(
                f"what undoes step {step!r} takes any of context, result, inputs, outcome and results of steps before "
                f"it, each by its name: write them out instead of {str(p).partition(':')[0]}"
            )
        if p.kind is _P.POSITIONAL_ONLY:
            raise DefinitionError(
                f"step {called!r}: parameter {p.name!r} stands before '/', and all is given by name; take the '/' away"
            )
    return Undo(function, parameters, _is_async(function))


def check_name(name: object, what: str = "step") -> str:
    """A name that is safe to show, to compare and to store.

    Raises:
        DefinitionError: It is reserved, too long, or has characters that do not belong in a name.
    """
    if not isinstance(name, str):
        raise DefinitionError(f"a {what}'s name is text, not {name!r:.60}")
    normal = unicodedata.normalize("NFC", name)
    if not 0 < len(normal) <= _NAME_LIMIT or not all(map(_may_stand, normal)) or normal != normal.strip():
        raise DefinitionError(
            f"{name[:40]!a} cannot name a {what}: 1 to 80 letters, digits, '_', '-', '.', '/' or spaces inside"
        )
    if what == "step" and normal in RESERVED:
        raise DefinitionError(
            f"a step cannot be called {normal!r}: the word has a meaning of its own in strategies or steps"
        )
    return normal


def _may_stand(char: str) -> bool:
    # Python's own rule for names, which knows the marks that many scripts write their vowels with.
    return char in _BETWEEN or (f"a{char}".isidentifier() and not _UNSEEN.match(char))


def _check_kind(function: Any) -> None:
    if isinstance(function, classmethod):
        raise DefinitionError("a classmethod cannot be a step: nobody passes the class; make it a staticmethod")
    if isinstance(function, type) or not callable(function):
        raise DefinitionError(f"@step goes on a function, not on {function!r:.80}")


def _yields(function: Any) -> bool:
    codes = (function, getattr(type(function), "__call__", None))  # noqa: B004  looking for a __call__ that yields
    return any(inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code) for code in codes)


def _names(step: str, depends_on: Sequence[Any]) -> list[str]:
    listed = depends_on if isinstance(depends_on, list | tuple | set | frozenset) else (None,)
    names = [getattr(d, "name", None) if isinstance(d, Chainable) else d for d in listed]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise DefinitionError(f"step {step!r}: depends_on is a list of step names, got {depends_on!r:.60}")
    return [unicodedata.normalize("NFC", str(name)) for name in names]


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004  looking for an async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _parameters(step: str, function: Callable[..., Any]) -> tuple[Parameter, ...]:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as exc:
        raise DefinitionError(f"step {step!r}: its parameters cannot be read ({exc}); wrap it in a def") from exc
    found = []
    for place, p in enumerate(signature.parameters.values()):
        if p.kind in (_P.VAR_POSITIONAL, _P.VAR_KEYWORD):
            continue  # accepted for files written so; `**kwargs` gets what `depends_on` names
        if place == 0 and p.name in ("self", "cls") and _in_class(function):
            raise DefinitionError(
                f"step {step!r} is a method: nobody passes its {p.name!r}. Make it a staticmethod, or a step of an "
                f"object's own: step(name={step!r})(thing.{step})"
            )
        kind = p.name if p.name in ("context", "inputs") else "step"
        optional = p.default is not _P.empty
        if kind == "step" and optional and p.kind is _P.POSITIONAL_ONLY:
            raise DefinitionError(
                f"step {step!r}: parameter {p.name!r} has a default and stands before '/', so it cannot be left out "
                "where no such step is in the timeline; take the '/' or the default away"
            )
        found.append(
            Parameter(
                p.name,
                kind,  # type: ignore[arg-type]  # one of the three by the line above
                keyword=p.kind is _P.KEYWORD_ONLY,
                optional=optional,
            )
        )
    return tuple(found)


def _takes_any(function: Callable[..., Any]) -> bool:
    return any(p.kind is _P.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _in_class(function: Callable[..., Any]) -> bool:
    outer = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    return "." in outer


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
