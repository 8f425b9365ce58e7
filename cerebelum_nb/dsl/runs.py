"""`runs`: the session's runs by their number, so that a line of code names the run that it means."""

from collections.abc import Iterator
from typing import Any

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.workflow import Home


class Runs:
    """The runs of this session: ``runs[4]`` is run 4, ``runs[-1]`` the newest."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, number: int) -> Any:
        """A run by its number.

        Raises:
            IndexError: There is no such run; says which there are.
        """
        known = self._all()
        place = number - 1 if number > 0 else number
        if number == 0 or not -len(known) <= place < len(known):
            told = f"this session has runs 1 to {len(known)}" if known else "nothing has run in this session"
            raise IndexError(f"there is no run {number}: {told}")
        return known[place]

    def load(self, name: str) -> Any:
        """A run from the journal, also one of an earlier kernel; it gets a number here.

        Args:
            name: Its id, a part of it that only it has, or ``last`` for the newest.

        Raises:
            PlanError: There is no such run, or another kernel runs it just now.
        """
        return self._home.runner().load(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def _all(self) -> list[Any]:
        found: list[Any] = self._home.runner().runs
        return found

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._all())) or "<no runs yet>"


runs = Runs(registry)
