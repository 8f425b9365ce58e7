"""Every error a person can meet, by who must act.

CerebelumError
├── DSLError                       what you wrote cannot run as it is
│   ├── DefinitionError            your step or workflow is written wrongly; found where it is defined
│   ├── PlanError                  the workflow cannot run as asked; found before anything runs
│   │   └── PlacementError         an executor that does not exist or cannot take the step
│   └── CaptureError               what a step closes over cannot be shipped; names the variable
├── ExecutionError                 the run did not succeed: your step raised; holds step, attempt, executor, traceback
│   ├── StepExecutionError         your step ended without a result or an ordinary exception; a DSLError too
│   │   ├── StepTimeoutError       it took longer than it may
│   │   ├── RetryExhaustedError    all its tries failed
│   │   └── InvalidReturnValueError   what it returned cannot be its result
│   ├── RunCancelled               somebody cancelled the run
│   └── CompensationFailed         not all that the run did could be undone; names what is left: a human must act
├── ExecutorError                  the place where steps run has trouble: Core did not start, a worker died
│   └── ResultLost                 a result of an earlier run that is not kept
├── WireError                      the connection: refused, cut, not authenticated, too large
│   ├── NoRoom                     a large value finds no room in shared memory, nor on disk
│   └── PayloadRejected            a sealed envelope that does not open: nothing in it was read
├── NotYet                         a documented feature that this version does not have
└── InternalError                  our bug: please report it

NotActiveYet                       a warning: an option that is kept with the step and does nothing in this version

The SDK's names for the same: StepDefinitionError is DefinitionError; WorkflowDefinitionError, DependencyError and
ValidationError are PlanError; SerializationError is CaptureError; WorkerError is ExecutorError.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class CerebelumError(Exception):
    """Base of every error that cerebelum_nb raises on purpose."""


class DSLError(CerebelumError):
    """What is written cannot run as it is.

    Attributes:
        message: What is wrong, in one line.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.message = str(self)


class DefinitionError(DSLError):
    """A step or workflow is written wrongly; raised by the decorator or the cell."""


class PlanError(DSLError):
    """The workflow cannot run as asked; raised before any step runs."""

    @property
    def errors(self) -> list[str]:
        """What is wrong, as a list: the first thing that was found."""
        return [str(self)]


class PlacementError(PlanError):
    """A step asks for an executor that does not exist here."""


class CaptureError(DSLError):
    """A step closes over something that cannot be sent to a worker."""


class ExecutionError(CerebelumError):
    """A run ended without success; as text, in the words that files written for the SDK expect.

    Attributes:
        message: What happened, in one line.
        step_name: The step that ended the run, or None.
        error: The error as text, or None.
        attempt: Number of the attempt, from 1; 0 where no step failed.
        executor: Where it ran, as people name it: ``local``, ``distributed``.
        error_type: Name of the exception's class, where it ran; ``StepError`` where a step returned ``{"error": ...}``.
        traceback: The step's own frames as text, from where it ran; may hold user data.
        run: The run that ended so, to look at and to go on from; None where nothing ran.
    """

    def __init__(  # noqa: PLR0913  each is a field people read
        self,
        message: str,
        step_name: str | None = None,
        error: str | None = None,
        *,
        attempt: int = 0,
        executor: str = "",
        error_type: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(message if step_name is None else f"Execution failed at step '{step_name}': {message}")
        self.message = message
        self.step_name = step_name
        self.error = error
        self.attempt = attempt
        self.executor = executor
        self.error_type = error_type
        self.traceback = traceback
        self.run: Any = None

    @property
    def notes(self) -> list[str]:
        """What else there is to say, a line each: what was undone, and what may be left."""
        return [note for note in getattr(self, "__notes__", ()) if not note.startswith("\n")]

    @property
    def told(self) -> str:
        """The same in our words, with where it happened: ``step 'x' failed (local, attempt 1): ValueError: why``."""
        if self.step_name is None or not self.attempt:
            return str(self)
        said = ": ".join(part for part in (self.error_type, self.error) if part)
        return f"step {self.step_name!r} failed ({self.executor}, attempt {self.attempt}): {said}"


class StepExecutionError(ExecutionError, DSLError):
    """A step ended without a result and without an ordinary exception: it exited, was stopped or was lost."""


class StepTimeoutError(StepExecutionError):
    """A step took longer than it may."""


class RetryExhaustedError(StepExecutionError):
    """Every try failed; ``__cause__`` is the last error, where there was one."""


class InvalidReturnValueError(StepExecutionError):
    """What a step returned cannot be its result."""


class RunCancelled(ExecutionError):
    """The run was cancelled before it could end."""


class Leftover(NamedTuple):
    """Something that a step did and that was to be undone, and is not.

    Attributes:
        key: The idempotency key that the step had: what it did can be found by it.
        error: Why it is not undone, in one line.
    """

    step: str
    key: str
    error: str


class CompensationFailed(ExecutionError):
    """The run failed or was cancelled, and not all that its steps did could be undone; its cause is ``__cause__``.

    Attributes:
        leftovers: What is left, one for each step: a human must act.
        errors: What the functions that undo raised.
    """

    def __init__(
        self, message: str, leftovers: Sequence[Leftover] = (), errors: "ExceptionGroup[ExecutionError] | None" = None
    ) -> None:
        super().__init__(message)
        self.leftovers = tuple(leftovers)
        self.errors = errors


class ExecutorError(CerebelumError):
    """The place where steps run has trouble."""


class ResultLost(ExecutorError):
    """A result of an earlier run is needed and is not kept."""


class WireError(CerebelumError):
    """The connection to a Core or worker failed."""


class NoRoom(WireError):
    """A large value finds no room, neither in shared memory nor in files; says what is full and what it takes."""


class PayloadRejected(WireError):
    """A sealed envelope did not open; nothing in it was read."""


class NotYet(CerebelumError):
    """Documented, and not in this version."""


class InternalError(CerebelumError):
    """A bug in cerebelum_nb. Please report it with the message."""


class NotActiveYet(UserWarning):
    """An option is kept with the step and does nothing in this version."""


# The SDK's names for the same errors, so that its users' `except` clauses catch them.
StepDefinitionError = DefinitionError
WorkflowDefinitionError = DependencyError = ValidationError = PlanError
SerializationError = CaptureError
WorkerError = ExecutorError
