"""What a step is given: its own copy."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cerebelum_nb.context import own_copy


def table(rows=3):
    return pd.DataFrame({"n": np.arange(rows), "x": np.ones(rows)})


def written(given):
    """What a step does to its input, in all the ways that people do."""
    given.loc[0, "n"] = 7
    given.iloc[1] = 9
    given["new"] = 1
    if isinstance(given, pd.DataFrame):
        given["x"] = 0
        del given["x"]
    return given


@pytest.mark.parametrize("rows", [3, 1_000_000])
@pytest.mark.parametrize("inside", [lambda value: value, lambda value: {"a": [value]}["a"][0]])
def test_nobody_sees_what_a_step_does_to_a_table(rows, inside):
    made = table(rows)

    written(inside(own_copy(made)))

    pd.testing.assert_frame_equal(made, table(rows))


def test_nobody_sees_what_a_step_does_to_a_column():
    made = table()["n"]
    given = own_copy(made)

    given.loc[0] = 7
    given.iloc[1] = 9

    pd.testing.assert_series_equal(made, table()["n"])


def test_a_table_is_not_copied_where_pandas_copies_it_when_it_is_written_to():
    made = table()

    assert np.shares_memory(own_copy(made)["n"].to_numpy(), made["n"].to_numpy())


@pytest.mark.parametrize(("rows", "is_copied"), [(3, True), (1_000_000, False)])
def test_a_table_of_an_older_pandas_is_copied_up_to_the_size_that_is_shared(monkeypatch, rows, is_copied):
    asked = []
    made = table(rows)
    monkeypatch.setattr(pd.DataFrame, "copy", lambda self, deep: asked.append(deep) or self)
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(__version__="2.3.3"))

    own_copy(made)

    assert asked == [is_copied]
