"""Memory that kernel and workers share: how much of it is taken, and how it is given back."""

from typing import Any

from cerebelum_nb.executors.crew import Crew
from cerebelum_nb.executors.held import shared_memory
from cerebelum_nb.notebook import listing
from cerebelum_nb.notebook.arguments import Arguments, UsageError


def free(args: Arguments, session: Any, usage: str) -> str:
    """Let go of what ended runs hold there, as a line; where something would be lost only with ``--yes``.

    Raises:
        UsageError: A line that cannot be meant.
    """
    if args.words or args.text or "--all" in args.flags:
        raise UsageError(f"--memory is about all runs that have ended, and removes none of them.\n{usage}")
    lost = session.in_memory.lost_if_freed()
    if lost and "--yes" not in args.flags:
        return (
            f"This lets go of {listing.human(session.in_memory.nbytes())} of large results, of which "
            f"{listing.human(lost)} are not kept on disk: these steps would have to run again. Add --yes to do it."
        )
    freed = session.free_memory()
    return f"{listing.human(freed)} of shared memory freed." if freed else "No shared memory to free."


def freed(nbytes: int) -> str:
    """What a removal gave back beside, as a sentence; empty for nothing."""
    return f" {listing.human(nbytes)} of shared memory freed." if nbytes else ""


def held(crew: Crew) -> list[str]:
    """How much of it there is, as a line; none where there is none."""
    used, spare = shared_memory(crew.made.values())
    if not used + spare:
        return []
    return [f"shared memory: {listing.human(used)} of large values, {listing.human(spare)} kept for the next ones"]
