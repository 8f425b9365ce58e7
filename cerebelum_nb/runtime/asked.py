"""What is asked of one run, beside its workflow, its inputs and where its steps go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cerebelum_nb.rules.kept import Steps
from cerebelum_nb.rules.once import Force, Ran
from cerebelum_nb.runtime.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of one run.

    Attributes:
        until: Run only this step and what it needs.
        parent: The run whose results are reused.
        again: The step, or steps, of it to run again; None to run only what did not succeed.
        given: Step name -> a result of an earlier run, and where it comes from as a sentence.
        keep_edited: Reuse results also of steps that were edited since.
        run_id: The new run's id; empty for any.
        undo_now: Run no step, only undo what `parent` did; why, as a sentence.
        fresh: Take nothing from the cache.
        force: Steps that run again although they never run twice; True for all.
        code: The same as a line of Python that insists.
        ran: Those of `parent`'s steps that never run twice and have begun.
        left_over: Steps that run again though an earlier run could not undo them, in words.
        on_failure: "compensate" or "stop"; empty for what the workflow says, or `parent` was asked.
    """

    until: str | None = None
    parent: Run | None = None
    again: Steps | None = None
    given: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    keep_edited: bool = False
    run_id: str = ""
    undo_now: str = ""
    fresh: bool = False
    force: Force = False
    code: str = ""
    ran: Mapping[str, Ran] = field(default_factory=dict)
    left_over: str = ""
    on_failure: str = ""

    @property
    def goes_on(self) -> bool:
        """It is the same piece of work as `parent`: idempotency keys stay, and what that did is undone with it."""
        return self.parent is not None and self.again is None


ORDINARY: Final = Asked()
