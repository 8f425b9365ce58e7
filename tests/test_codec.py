import asyncio
import datetime
import decimal
import math
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from cerebelum_nb.codec import decode, encode
from cerebelum_nb.errors import WireError

PLAIN = [
    None,
    True,
    False,
    0,
    3,
    -(2**63),
    2**63 - 1,
    2**63,
    2**53 + 1,
    10**400,
    -(10**5000),
    3.0,
    -0.0,
    1e308,
    5e-324,
    math.inf,
    -math.inf,
    "",
    "text é 😀 \x00 \u2028",
    b"",
    bytes(range(256)),
    [],
    [1, 2.0, "x", None, True],
    [2**70, 1],
    [1.5, math.inf],
    (),
    (1, (2, [3, ()])),
    [(1, 2)],
    {},
    {"a": {"b": [1, (2,)]}},
    {"$tuple": [1]},
    {"$tuple": (1,)},
    {"$dict": {}},
    {"$int": "ff", "b": 1},
    {"status": "sleep", "__cerebelum_approval_request__": True},
]
PICKLED = [
    {1: "a", None: 2, (1, 2): 3},
    {1, 2},
    frozenset({"a"}),
    bytearray(b"xy"),
    1 + 2j,
    range(5),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    decimal.Decimal("1.10"),
    "\ud800 alone",
    ["\udfff"],
    {"\ud800": 1},
    np.float64(1.5),
]


def same(one, other):
    """Equal, with the same types all the way down, and the same signs of zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, float):
        return repr(one) == repr(other)
    return one == other


@pytest.mark.parametrize(
    "value", PLAIN, ids=lambda v: f"{v!r:.30}" if not isinstance(v, int) or abs(v) < 2**80 else "huge"
)
def test_plain_values_come_back_the_same_without_pickle(value):
    encoded = encode(value)

    assert encoded.codec in {"json", "json+"}
    assert same(decode(encoded.codec, encoded.data), value)


@pytest.mark.parametrize("value", PICKLED, ids=ascii)
def test_other_values_come_back_the_same(value):
    encoded = encode(value)

    assert encoded.codec == "pickle"
    assert same(decode(encoded.codec, encoded.data), value)


def test_nan_comes_back_as_nan():
    for value in (math.nan, [math.nan, 1.0], {"a": (math.nan,)}):
        encoded = encode(value)
        assert encoded.codec == "json+"
        assert repr(decode(encoded.codec, encoded.data)) == repr(value)


def test_subclasses_of_builtins_keep_their_type():
    class Celsius(float):
        pass

    encoded = encode([Celsius(3.0)])
    assert type(decode(encoded.codec, encoded.data)[0]) is Celsius


def test_deep_and_cyclic_containers_come_back():
    deep = []
    for _ in range(199):
        deep = [deep]
    cyclic = []
    cyclic.append(cyclic)

    assert decode(*_pair(deep)) == deep
    back = decode(*_pair(cyclic))
    assert back[0] is back


def test_a_value_nested_too_deeply_is_refused_in_words():
    deep = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(WireError, match="result is nested too deeply"):
        encode(deep, "result")
    while deep:  # taken apart by hand: freeing it whole recurses too
        deep = deep[0]


ARRAYS = [
    np.arange(12.0).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=np.int32).reshape(3, 4)),
    np.arange(24).reshape(2, 3, 4)[:, ::2, 1:],
    np.array(5.0),
    np.zeros((0, 3)),
    np.array(["a", "bcd"]),
    np.array(["2026-01-01", "NaT"], dtype="datetime64[ns]"),
    np.array([(1, 2.5, [1, 2])], dtype=[("a", "<i4"), ("b", ">f8"), ("c", "u1", (2,))]),
    np.array([1 + 2j, 3]),
    np.array([True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_travel_raw_and_can_be_written_to(array):
    encoded = encode(array)
    back = decode(encoded.codec, encoded.data)

    assert encoded.codec == "numpy"
    assert (back.dtype, back.shape, back.flags.writeable) == (array.dtype, array.shape, True)
    np.testing.assert_array_equal(back, array)
    assert back.flags.f_contiguous == array.flags.f_contiguous or not array.flags.c_contiguous


def test_object_arrays_masked_arrays_and_nested_arrays_go_by_pickle():
    for value in (
        np.array([1, None], dtype=object),
        np.ma.masked_array([1, 2], mask=[True, False]),
        {"a": np.arange(3)},
    ):
        encoded = encode(value)
        assert encoded.codec == "pickle"
        assert type(decode(encoded.codec, encoded.data)) is type(value)


def test_what_cannot_be_sent_is_named_with_its_path_and_type():
    class Box:
        def __init__(self, inside):
            self.inside = inside

    with sqlite3.connect(":memory:") as connection:
        with pytest.raises(WireError, match=r"result\['conn'\]\[1\] is a sqlite3.Connection, which cannot be sent"):
            encode({"a": 1, "conn": [0, connection]}, "result")
        with pytest.raises(WireError, match=r"result\.inside is a sqlite3.Connection"):
            encode(Box(connection), "result")
    with pytest.raises(WireError, match=r"result is a generator"):
        encode((n for n in "ab"), "result")
    connection.close()


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, MemoryError, BaseException])
def test_a_value_that_raises_anything_when_it_is_pickled_is_named(how):
    class Bad:
        def __reduce__(self):
            raise how("on\npurpose")

    class Mute(Bad):
        def __getattribute__(self, name):
            raise how

        def __repr__(self):
            raise how

    with pytest.raises(WireError, match=rf"^result\['a'\] is a .*Bad, which .*\({how.__name__}: on purpose\)"):
        encode({"a": Bad(), "b": 1}, "result")
    with pytest.raises(WireError, match="^result is a dict, which cannot be sent"):
        encode({Mute(): 1}, "result")


def test_an_open_file_is_refused_and_not_copied():
    with open(__file__) as text, open(__file__, "rb") as binary:
        for file in (text, binary):
            with pytest.raises(WireError, match=r"result\[0\] is an _io\."):
                encode([file], "result")


def test_the_standard_streams_arrive_as_those_of_the_other_side(monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)

    assert decode(*_pair([sys.stdout]))[0] is sys.stdout


def test_an_unknown_codec_is_refused():
    with pytest.raises(WireError, match="'msgpack', which this version does not know"):
        decode("msgpack", b"")


def test_size_and_digest_are_those_of_the_data():
    encoded = encode("abc")

    assert (encoded.nbytes, len(encoded.digest())) == (5, 64)


def test_plain_values_load_neither_numpy_nor_cloudpickle():
    code = (
        "import sys; from cerebelum_nb.codec import encode, decode; "
        "e = encode({'a': (1, 2.5, b'x')}); decode(e.codec, e.data); "
        "print([m for m in ('numpy', 'cloudpickle') if m in sys.modules])"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.strip() == "[]"


def _pair(value):
    encoded = encode(value)
    return encoded.codec, encoded.data
