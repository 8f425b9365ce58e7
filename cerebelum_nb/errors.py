"""Every error a person can meet, by who must act.

CerebelumError
├── DefinitionError        your step or workflow is written wrongly; found where it is defined
├── PlanError              the workflow cannot run as asked; found before anything runs
│   └── PlacementError     an executor that does not exist or cannot take the step
├── ExecutionError         the run did not succeed
│   ├── StepFailed         your step raised, was stopped or lost: holds step, attempt, executor, traceback
│   └── RunCancelled       somebody cancelled the run
├── ExecutorError          the place where steps run has trouble: Core did not start, a worker died
├── WireError              the connection: refused, cut, not authenticated, too large
│   └── PayloadRejected    a sealed envelope that does not open: nothing in it was read
├── CaptureError           what a step closes over cannot be shipped; names the variable
├── NotYet                 a documented feature that this version does not have
└── InternalError          our bug: please report it
"""

from typing import Any


class CerebelumError(Exception):
    """Base of every error that cerebelum_nb raises on purpose."""


class DefinitionError(CerebelumError):
    """A step or workflow is written wrongly; raised by the decorator or the cell."""


class PlanError(CerebelumError):
    """The workflow cannot run as asked; raised before any step runs."""


class PlacementError(PlanError):
    """A step asks for an executor that does not exist here."""


class ExecutionError(CerebelumError):
    """A run ended without success.

    Attributes:
        message: What happened, in one line.
        step_name: The step that ended the run, or None.
        error: The error as text, or None.
        run: The run that ended so, to look at and to go on from; None where nothing ran.
    """

    def __init__(self, message: str, *, step_name: str | None = None, error: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.step_name = step_name
        self.error = error
        self.run: Any = None


class StepFailed(ExecutionError):
    """A step raised, exited, was lost or could not be sent.

    Attributes:
        attempt: Number of the attempt, from 1.
        executor: Where it ran, as people name it: ``local``, ``distributed``.
        error_type: Name of the exception's class, where it ran.
        traceback: The step's own frames as text, from where it ran; may hold user data.
    """

    def __init__(  # noqa: PLR0913  each is a field people read
        self,
        message: str,
        *,
        step_name: str,
        attempt: int,
        executor: str,
        error_type: str,
        error: str,
        traceback: str,
    ) -> None:
        super().__init__(message, step_name=step_name, error=error)
        self.attempt = attempt
        self.executor = executor
        self.error_type = error_type
        self.traceback = traceback


class RunCancelled(ExecutionError):
    """The run was cancelled before it could end."""


class ExecutorError(CerebelumError):
    """The place where steps run has trouble."""


class WireError(CerebelumError):
    """The connection to a Core or worker failed."""


class PayloadRejected(WireError):
    """A sealed envelope did not open; nothing in it was read."""


class CaptureError(CerebelumError):
    """A step closes over something that cannot be sent to a worker."""


class NotYet(CerebelumError):
    """Documented, and not in this version."""


class InternalError(CerebelumError):
    """A bug in cerebelum_nb. Please report it with the message."""
