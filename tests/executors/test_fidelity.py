"""What a step is given and what it gives back is the same wherever it runs: every kind of value, to the type and bit."""

import collections
import datetime as dt
import decimal
import enum
import fractions
import math
import pathlib
import signal
import uuid
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from remote_kit import cell

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings

DEADLINE = 60
CLASSES = cell("""
import dataclasses, enum

class Point:
    def __init__(self, x, y): self.x, self.y = x, y

@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    values: tuple

class Celsius(float): pass

class Size(enum.Enum):
    SMALL = "s"
    LARGE = [1]
""")
Point, Row, Celsius, Size = (CLASSES[name] for name in ("Point", "Row", "Celsius", "Size"))


class Pair(NamedTuple):
    a: Any
    b: Any


def _objects(items):
    """An array of objects."""
    array = np.empty(len(items), dtype=object)
    for n, item in enumerate(items):
        array[n] = item
    return array


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    session = Session(Settings(home=tmp_path_factory.mktemp("home"), workers=1, keep_results=False))
    give = step(name="give")(cell("def give(context, inputs): return inputs['value']")["give"])
    flow = workflow(name="fidelity")(lambda wf: wf.timeline(give))

    def there_and_back(value, where):
        return session.run(flow, {"value": value}, everywhere=where).result(DEADLINE).outputs["give"]

    yield there_and_back
    session.close()


def alike(one, other):
    """Equal, with the same types all the way down; not only where Python calls it equal."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.flags.f_contiguous or other.flags.c_contiguous or not other.flags.f_contiguous
        if one.dtype.hasobject:
            alike(one.tolist(), other.tolist())
            return
        np.testing.assert_array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(other))
        assert np.ma.getdata(one).tobytes() == np.ma.getdata(other).tobytes()
    elif isinstance(one, np.generic):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        alike(list(one.items()), list(other.items()))
    elif isinstance(one, set | frozenset):
        assert len(one) == len(other)
        alike(sorted(one, key=repr), sorted(other, key=repr))
    elif isinstance(one, list | tuple | collections.deque):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            alike(a, b)
    elif isinstance(one, enum.Enum | type):
        assert one is other
    elif isinstance(one, Point):
        alike(vars(one), vars(other))
    elif isinstance(one, memoryview):
        assert (one, one.format, one.readonly) == (other, other.format, other.readonly)
    else:
        assert repr(one) == repr(other)
        if not isinstance(one, dt.datetime):
            return
        assert (one.fold, one.utcoffset(), one.tzname()) == (other.fold, other.utcoffset(), other.tzname())


ZONES = st.one_of(st.none(), st.just(dt.UTC), st.timezones(), st.just(dt.timezone(dt.timedelta(hours=5, minutes=45))))
KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.binary(max_size=8),
    st.complex_numbers(),
    st.dates(),
    st.datetimes(timezones=ZONES),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.builds(pathlib.Path, st.text("ab/.", max_size=6)),
    st.sampled_from([Size.SMALL, Size.LARGE, signal.SIGINT, ..., int, Point]),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.builds(Celsius, st.floats(allow_nan=False)),
    st.builds(Row, st.text(max_size=3), st.tuples(st.floats())),
)
ARRAYS = st.one_of(
    npst.arrays(npst.scalar_dtypes(), npst.array_shapes(min_dims=0, min_side=0, max_side=4)),
    npst.arrays(npst.scalar_dtypes(), npst.array_shapes(min_dims=2, max_side=3)).map(np.asfortranarray),
    npst.arrays(npst.scalar_dtypes(), npst.array_shapes(max_dims=1, min_side=2)).map(lambda a: a[::-1]),
    npst.arrays(npst.array_dtypes(max_size=3), st.integers(0, 3)),
    st.lists(KEYS, max_size=4).map(_objects),
    npst.arrays(np.int64, 3).map(lambda a: np.ma.masked_array(a, mask=a > 0)),
    npst.scalar_dtypes().flatmap(npst.from_dtype).filter(lambda value: isinstance(value, np.generic)),
)
LEAVES = st.one_of(
    KEYS,
    KEYS,
    ARRAYS,
    st.binary(max_size=6).map(bytearray),
    st.builds(slice, st.integers(), st.none()),
    st.builds(Point, KEYS, st.lists(KEYS, max_size=2)),
    st.builds(Pair, KEYS, KEYS),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.sets(KEYS, max_size=3),
        st.frozensets(KEYS, max_size=3),
        st.lists(inner, max_size=3).map(collections.deque),
        st.dictionaries(KEYS, inner, max_size=2).map(collections.OrderedDict),
    ),
    max_leaves=10,
)


@given(value=VALUES)
@example(value=[-0.0, math.nan, math.inf, 2**53 + 1, -(10**400), True, 3, 3.0])
@example(value={"status": "sleep", "__cerebelum_approval_request__": True})
@example(value={"$tuple": [1], "$set": {"$dict": {}}})
@example(value={1: "a", "1": "b", (1,): "c", None: "d"})
@example(value=[decimal.Decimal("sNaN"), decimal.Decimal("1E+3"), fractions.Fraction(1, 3), uuid.UUID(int=1)])
@example(value=[memoryview(b"ab"), memoryview(bytearray(6)).cast("h")])
@example(value="\ud800")
@example(value=[Size.SMALL, np.array([], dtype=">M8[Y]"), np.arange(4, dtype=">i2")[::2]])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_every_value_is_the_same_here_and_on_a_worker(place, value):
    alike(place(value, "local"), value)
    alike(place(value, "distributed"), value)


LARGE = [
    np.arange(300_000.0).reshape(3, -1),
    np.asfortranarray(np.arange(300_000.0).reshape(3, -1)),
    np.ma.masked_array(np.arange(200_000.0), mask=np.arange(200_000) % 2),
    np.array([("a", 1.5)] * 100_000, dtype=[("s", "U3"), ("f", "<f8")]),
    b"x" * (3 << 20),
    bytearray(3 << 20),
    [1.5, math.nan] * 60_000,
    {n: str(n) for n in range(80_000)},
    "é" * (1 << 20),
    Point(np.arange(300_000), {"deep": [np.zeros(200_000, dtype="m8[s]"), {1, 2}]}),
]


@pytest.mark.parametrize("value", LARGE, ids=lambda value: f"{value!r:.20}")
def test_large_values_are_the_same_here_and_on_a_worker(place, value):
    alike(place(value, "local"), value)
    alike(place(value, "distributed"), value)


def test_nesting_is_kept_and_what_is_too_deep_is_said(place):
    for levels in (33, 49, 200, 400):
        deep: list = [levels]
        for _ in range(levels):
            deep = [deep]
        assert place(deep, "distributed") == deep


def test_tables_are_equal_by_their_own_helpers(place):
    pd, testing = pytest.importorskip("pandas"), pytest.importorskip("pandas.testing")
    frame = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "f": [1.5, math.nan, -0.0],
            "s": ["a", None, "c"],
            "c": pd.Categorical(["u", "v", "u"], ordered=True),
            "t": pd.date_range("2026-01-01", periods=3, tz="Europe/Berlin"),
            "o": [1, "x", (2,)],
        }
    )
    wide = pd.DataFrame(np.arange(400_000.0).reshape(-1, 4), columns=list("abcd"))
    for value in (frame, frame.set_index(["n", "s"]), wide, frame.convert_dtypes(dtype_backend="numpy_nullable")):
        for where in ("local", "distributed"):
            testing.assert_frame_equal(place(value, where), value)
    for where in ("local", "distributed"):
        testing.assert_series_equal(place(frame["t"], where), frame["t"])


def test_arrow_tables_are_equal(place):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"n": [1, None], "s": pa.array(["a", "a"]).dictionary_encode(), "l": [[1], []]})
    for value in (table, table.slice(1), pa.table({"x": np.arange(300_000)}), table.to_batches()[0], table["n"]):
        for where in ("local", "distributed"):
            assert place(value, where).equals(value)
