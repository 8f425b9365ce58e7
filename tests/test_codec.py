import asyncio
import collections
import contextlib
import datetime as dt
import decimal
import enum
import fractions
import math
import pathlib
import pickle
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
import zoneinfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cerebelum_nb.codec import apart, decode, encode, together
from cerebelum_nb.errors import PayloadRejected, WireError

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


class Colour(enum.Enum):
    RED = (1,)
    BLUE = "b"


TAGGED = [
    {1: "a", None: 2, (1, 2): 3, 1.5: {}, frozenset({1}): 0},
    {"$items": [[1, 2]]},
    {1, 2},
    frozenset({"a"}),
    {(1, frozenset())},
    bytearray(b"xy"),
    b"z" * 10_000,
    [bytearray(10_000), b"y" * 5_000],
    1 + 2j,
    complex(-0.0, math.inf),
    range(5),
    range(2**70, 0, -1),
    slice(1, None, 2),
    ...,
    dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 25, 2, 30, 0, 123456, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
    dt.datetime(1, 1, 1),  # noqa: DTZ001  also without a zone
    dt.datetime.max,  # noqa: DTZ901  the same
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-3, seconds=1))),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2), "CEST")),
    dt.date(2026, 2, 28),
    dt.time(1, 2, 3, 4, tzinfo=dt.UTC, fold=1),
    dt.timedelta(-1, 5, 7),
    decimal.Decimal("1.10"),
    decimal.Decimal("-0"),
    decimal.Decimal("-Infinity"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=5),
    pathlib.Path("/a/../b c"),
    pathlib.PureWindowsPath("c:/x"),
    Colour.RED,
    {Colour.BLUE: [Colour.RED]},
    signal.SIGINT,
    socket.AF_INET,
    collections.deque([1, (2,)], maxlen=3),
    collections.OrderedDict([("b", 1), (2, "a")]),
    collections.Counter("aab"),
    np.float64(-0.0),
    np.int8(3),
    np.bool_(True),
    np.str_("a\0"),
    np.bytes_(b""),
    np.datetime64("2026-01-01T00:00", "m"),
    np.complex64(1j),
    np.longdouble(1) / 3,
]
PICKLED = [
    "\ud800 alone",
    ["\udfff"],
    {"\ud800": 1},
    re.IGNORECASE | re.MULTILINE,
    collections.defaultdict(list, {"a": [1]}),
    ValueError,
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


@pytest.mark.parametrize("value", TAGGED, ids=lambda v: f"{v!r:.40}")
def test_values_that_json_has_no_word_for_come_back_the_same_without_pickle(value):
    encoded = encode(value)

    assert encoded.codec in {"json+", "parts"}
    back = decode(encoded.codec, encoded.data, safe_only=True)
    assert same(back, value)
    assert repr(back) == repr(value) or isinstance(value, set | frozenset)


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

    assert encoded.codec in {"parts", "json+"}
    assert (back.dtype, back.shape, back.flags.writeable) == (array.dtype, array.shape, True)
    np.testing.assert_array_equal(back, array)
    assert back.flags.f_contiguous == array.flags.f_contiguous or not array.flags.c_contiguous


SPECIAL_ARRAYS = [
    np.array([1, None, "a", [2], (3,), -0.0], dtype=object).reshape(2, 3),
    np.asfortranarray(np.array([[1, None], ["a", 2**80]], dtype=object)),
    np.array(None, dtype=object),
    np.array([], dtype=object),
    np.ma.masked_array([1, 2], mask=[True, False], fill_value=7),
    np.ma.masked_array([[1.5, 2]], hard_mask=True),
    np.ma.masked_array(np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), mask=[(True, False)]),
    np.rec.array([(1, "x")], dtype=[("n", "i4"), ("s", "U3")]),
    np.zeros(3, dtype=np.dtype([("a", "u1"), ("b", "f8")], align=True)),
    np.zeros(2, dtype=[(("a title", "a"), "i4"), ("b", [("c", "f4", (2, 3))])]),
    np.array([], dtype="U"),
    np.array(["", ""], dtype="S0"),
    np.arange(3, dtype=">i8"),
    np.arange(10)[::-2],
    np.broadcast_to(np.arange(3), (4, 3)),
    np.zeros((2, 0, 3), order="F"),
    np.array([b"\0a", b"b\0"], dtype="V2"),
]


@pytest.mark.parametrize("array", SPECIAL_ARRAYS, ids=lambda a: f"{type(a).__name__} {a.dtype}{a.shape}"[:50])
def test_every_kind_of_array_goes_without_pickle_alone_and_inside_of_something(array):
    for value, find in ((array, lambda v: v), ({"a": [1, (array,)]}, lambda v: v["a"][1][0])):
        encoded = encode(value)
        back = find(decode(encoded.codec, encoded.data, safe_only=True))

        assert type(back) is type(array)
        assert (back.dtype, back.shape, back.flags.writeable) == (array.dtype, array.shape, True)
        np.testing.assert_array_equal(np.ma.getdata(back), np.ma.getdata(array))
        np.testing.assert_array_equal(np.ma.getmask(back), np.ma.getmask(array))
        assert repr(back) == repr(array).replace(", 'aligned': True", "")


def test_what_one_process_holds_twice_is_one_thing_where_it_arrives():
    row, array = {"a": 1}, np.arange(2)
    for value in ([row, row], [array, array], {"a": row, "b": (row,)}):
        first, second = decode(*_pair(value)).values() if isinstance(value, dict) else decode(*_pair(value))
        assert (second[0] if isinstance(second, tuple) else second) is first
    halves = []
    for _ in range(100):  # written out, it would have 2**100 places
        halves = [halves, halves]
    assert decode(*_pair(halves))[0] is not None


def test_the_arguments_of_a_step_know_nothing_of_each_other():
    row = {"a": [1]}

    encoded = encode([[row, row], {}, {"inputs": row}], levels=2)

    assert encoded.codec == "json"


def test_large_buffers_stand_beside_a_pickle_and_can_be_written_to():
    class Box:
        def __init__(self, inside):
            self.inside = inside

    encoded = encode(Box(np.arange(10_000)))
    back = decode(*_pair(Box(np.arange(10_000)))).inside

    assert encoded.codec == "pickle5"
    np.testing.assert_array_equal(back, np.arange(10_000))
    assert back.flags.writeable


def test_apart_copies_nothing_and_together_reads_without_a_copy():
    array = np.arange(100_000.0)
    array.flags.writeable = False

    parts = apart({"a": array, "b": b"x" * 9_000})
    back = together(parts.codec, parts.head, parts.buffers)

    assert np.shares_memory(back["a"], array)
    assert not back["a"].flags.writeable
    assert back["b"] == b"x" * 9_000


class Bomb:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path(BOMB),))


BOMB = "/nowhere/it went off"


@pytest.mark.parametrize("codec", ["pickle", "pickle5"])
def test_a_pickle_from_a_place_that_is_not_trusted_is_refused_unread(codec, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "BOMB", str(tmp_path / "bomb"))
    data = pickle.dumps(Bomb())

    with pytest.raises(PayloadRejected, match="a pickle, which can run code"):
        decode(codec, data, safe_only=True)
    with pytest.raises(PayloadRejected, match="a pickle, which can run code"):
        together("pickle", data, [], safe_only=True)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("json", b"{"),
        ("json", b"[" * 100_000),
        ("json+", b'{"$enum": ["antigravity", "Colour", "RED"]}'),
        ("json+", b'{"$enum": ["os", "system", "RED"]}'),
        ("json+", b'{"$array": ["|O", [1], "C", 0]}'),
        ("json+", b'{"$array": ["<f8", [1], "C", 0]}'),
        ("json+", b'{"$scalar": ["|O", "AAAAAAAAAAA="]}'),
        ("json+", b'{"$set": [[1]]}'),
        ("json+", b'{"$raw": 3}'),
        ("json+", b'{"$raw": "x"}'),
        ("parts", b""),
        ("parts", b"\xff\xff\xff\xff"),
        ("parts", b"\x00\x00\x00\x01" + bytes(8)),
        ("numpy", b'\x00\x00\x00\x0c["|O",[1],1]' + bytes(8)),
    ],
)
def test_damaged_and_hostile_values_are_refused_where_nobody_is_trusted(codec, data):
    with pytest.raises(PayloadRejected):
        decode(codec, data, safe_only=True)
    assert "antigravity" not in sys.modules


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_give_a_value_or_a_refusal(data):
    value = {"a": np.arange(3), "t": (1, {2}), "d": dt.date(2026, 1, 1), "m": np.ma.masked_array([1], mask=[True])}
    encoded = bytearray(encode(value).data)
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PayloadRejected):
        decode("parts", bytes(encoded), safe_only=True)


def test_what_was_kept_by_an_earlier_version_is_read():
    head = b'["<i4",[2,2],"F"]'
    data = len(head).to_bytes(4, "big") + head + np.arange(4, dtype="<i4").tobytes()

    np.testing.assert_array_equal(decode("numpy", data), np.arange(4).reshape(2, 2, order="F"))


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


VIEWS = [
    memoryview(b"abc"),
    memoryview(bytearray(b"abc")),
    memoryview(b"abcdef")[::2],
    memoryview(bytes(8)).cast("d"),
    memoryview(b"abcdef").cast("B", (2, 3)),
    memoryview(bytes(10_000)),
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.format} {view.shape} {view.readonly}")
@pytest.mark.parametrize("around", [lambda view: [view], lambda view: [view, print]], ids=["plain", "pickle"])
def test_a_view_of_bytes_is_one_again(view, around):
    encoded = encode(around(view))
    (found, *_) = decode(encoded.codec, encoded.data)

    assert (encoded.codec == "pickle") == (around(view)[-1] is print)
    assert type(found) is memoryview
    assert found == view
    assert (found.format, found.shape, found.readonly) == (view.format, view.shape, view.readonly)
