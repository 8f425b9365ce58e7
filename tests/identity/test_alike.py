"""Whether two results are the same, and where they differ."""

import dataclasses
import math

import numpy as np
import pytest

from cerebelum_nb.identity.alike import differences


class Plain:
    def __init__(self, **held):
        self.__dict__.update(held)


@dataclasses.dataclass
class Point:
    x: int


class Odd:
    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


def twin():
    """Another class of the same name, as one that a pickle makes."""
    made = type("Point", (), {"__eq__": lambda a, b: type(a) is type(b) and vars(a) == vars(b), "__hash__": None})
    made.__module__ = Point.__module__
    found = made()
    found.x = 1
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1),
        (math.nan, math.nan),
        ({"a": [1, (2, {3})]}, {"a": [1, (2, {3})]}),
        (Plain(a=[1]), Plain(a=[1])),
        (Point(1), twin()),
        (np.array([1.0, math.nan]), np.array([1.0, math.nan])),
        (np.float32(1), np.float32(1)),
    ],
)
def test_what_is_the_same_has_no_differences(one, other):
    assert differences(one, other) == ()


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (1, 1.0, "the result: a int then, a float now"),
        (1, True, "the result: a int then, a bool now"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "the result['a'][1]: 2 then, 3 now"),
        ({"a": 1}, {}, "the result['a']: not there now"),
        ({}, {"a": 1}, "the result['a']: not there then"),
        ([1], [1, 2], "the result: 1 items then, 2 now"),
        ({1}, {2}, "the result: {1} then, {2} now"),
        (Plain(a=1), Plain(a=2), "the result.__dict__['a']: 1 then, 2 now"),
        (np.array([1, 2]), np.array([1, 3]), "the result: Arrays are not equal; Mismatched elements: 1 / 2 (50%)"),
        (np.zeros(2), np.zeros(2, "f4"), "the result: dtype float64 then, float32 now"),
        (np.zeros(2), np.zeros(3), "the result: Arrays are not equal; (shapes (3,), (2,) mismatch)"),
        (Odd(), Odd(), "the result: cannot be compared (RuntimeError: no)"),
    ],
)
def test_the_place_where_two_results_differ_is_named(one, other, told):
    (line,) = differences(one, other)
    assert line.startswith(told)


def test_tables_are_compared_exactly_by_what_pandas_has_for_that():
    pd = pytest.importorskip("pandas")
    assert differences(pd.DataFrame({"a": [1, None]}), pd.DataFrame({"a": [1, None]})) == ()
    assert differences(pd.Index([1, 2]), pd.Index([1, 2])) == ()
    (series,) = differences(pd.Series([1]), pd.Series([2]))
    (frame,) = differences({"t": pd.DataFrame({"a": [1.0]})}, {"t": pd.DataFrame({"a": [1.0 + 1e-9]})})
    assert series.startswith("the result: Series are different")
    assert frame.startswith("the result['t']: DataFrame.iloc")


def test_only_the_first_differences_are_told_and_depth_ends():
    told = differences(list(range(100)), list(range(1, 101)))
    deep, other = [0], [1]
    for _ in range(200):
        deep, other = [deep], [other]

    assert (len(told), told[-1]) == (11, "and more")
    assert differences(deep, other)[0].endswith("nested too deeply to be compared")
