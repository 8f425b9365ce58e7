"""`runs`: by number, from the end, and a clear line for what is not there."""

import pytest

from cerebelum_nb.dsl.runs import Runs


class Home:
    """A session that has had these runs."""

    def __init__(self, *runs):
        self.runs = list(runs)

    def runner(self):
        return self


def test_runs_are_found_by_their_number_and_from_the_end():
    runs = Runs(Home("one", "two", "three"))

    assert (runs[1], runs[3], runs[-1], len(runs), list(runs)) == ("one", "three", "three", 3, ["one", "two", "three"])
    assert repr(runs) == "'one'\n'two'\n'three'"


@pytest.mark.parametrize(
    ("home", "number", "message"),
    [
        (Home("one"), 2, "there is no run 2: this session has runs 1 to 1"),
        (Home("one"), 0, "there is no run 0"),
        (Home("one"), -2, "there is no run -2"),
        (Home(), 1, "there is no run 1: nothing has run in this session"),
    ],
)
def test_a_run_that_is_not_there_is_told_clearly(home, number, message):
    with pytest.raises(IndexError, match=message):
        Runs(home)[number]
