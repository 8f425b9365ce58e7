"""Digests of what steps close over: the same for the same, another for another, and never an error."""

import datetime as dt
import threading
import types

import pytest

from cerebelum_nb.identity.code import is_edited
from cerebelum_nb.identity.seen import changed, closes_over, digest_of, digests


def cell(source, **names):
    namespace = {"__name__": "__main__", **names}
    exec(source, namespace)
    return namespace


SAME = [
    "1",
    "'text'",
    "[1, 'a', (2.5, None, True)]",
    "{'a': {'b': [1, 2]}}",
    "{'x', 'y', 'z'}",
    "range(3)",
    "__import__('datetime').date(2026, 1, 2)",
    "__import__('pathlib').Path('a/b')",
    "__import__('numpy').arange(5)",
    "type('K', (), {'x': 1, '__module__': '__main__'})",
    "(lambda x: x + 1)",
    "__import__('types').SimpleNamespace(a=1, b=[2])",
]


@pytest.mark.parametrize("source", SAME)
def test_equal_things_have_one_digest(source):
    one, other = eval(source), eval(source)

    assert digest_of(one) == digest_of(other)
    assert digest_of(one)[1]


OTHER = [
    (1, True),
    (1, 1.0),
    (0.0, -0.0),
    ("1", 1),
    ("ab", b"ab"),
    ([1, 2], (1, 2)),
    ([1, [2]], [[1], 2]),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
    (dt.date(2026, 1, 2), dt.date(2026, 1, 3)),
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x=1: x, lambda x=2: x),
    (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
]


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_different_things_have_different_digests(one, other):
    assert digest_of(one) != digest_of(other)


def test_large_and_unknown_things_are_known_by_identity():
    lock, large = threading.Lock(), list(range(100_000))

    for value, other in ((lock, threading.Lock()), (large, list(range(100_000)))):
        assert not digest_of(value)[1]
        assert digest_of(value) == digest_of(value)
        assert digest_of(value) != digest_of(other)


def test_things_that_hold_themselves_or_raise_are_no_trouble():
    class Nasty:
        def __len__(self):
            raise SystemError

        def __repr__(self):
            raise SystemError

    ring = [1]
    ring.append(ring)
    nasty = Nasty()
    nasty.me = nasty

    assert digest_of(ring) == digest_of(ring)
    assert digest_of(nasty) == digest_of(nasty)


def test_what_a_step_closes_over_is_named_with_its_kind_and_its_way():
    names = cell(
        "import math\nK = 2\nclass Box: pass\ndef helper(x): return x * K\n"
        "def step(context, extra=[1]): return helper(math.pi), Box, extra"
    )

    assert [(item.kind, item.name, item.via) for item in closes_over(names["step"])] == [
        ("helper", "helper", ()),
        ("global", "K", ("helper",)),
        ("module", "math", ()),
        ("class", "Box", ()),
        ("default", "extra", ()),
    ]


CHANGES = [
    ("K = 3", ("global 'K' of helper 'helper'",)),
    ("def helper(x): return x - K", ("helper 'helper'",)),
    ("def helper(x):\n    # a comment\n    return x * K", ()),
    ("K = 2", ()),
    ("Box = 5", ("class 'Box'", "global 'Box'")),
    ("class Box:\n    x = 1", ()),
    ("class Box:\n    x = 2", ("class 'Box'",)),
    ("L.append(1)", ("global 'L'",)),
]


@pytest.mark.parametrize(("change", "labels"), CHANGES)
def test_what_changed_is_named(change, labels):
    names = cell(
        "K = 2\nL = []\nclass Box:\n    x = 1\ndef helper(x): return x * K\ndef step(context): return helper(1), Box, L"
    )
    before = digests(names["step"])
    exec(change, names)

    assert changed(before, digests(names["step"])) == labels


@pytest.mark.parametrize(
    ("source", "edited"),
    [
        ("def f(x):\n    return [n + 1 for n in x]", False),
        ("\n\ndef f(x):\n    # why\n    return [n + 1 for n in x]", False),
        ("def f(x):\n    return [n + 2 for n in x]", True),
        ("def f(x):\n    return [n + 1.0 for n in x]", True),
        ("def f(x):\n    return {n + 1 for n in x}", True),
        ("def f(x, y=1):\n    return [n + 1 for n in x]", True),
        ("async def f(x):\n    return [n + 1 for n in x]", True),
    ],
)
def test_comments_and_empty_lines_are_no_edit(source, edited):
    old = cell("def f(x):\n    return [n + 1 for n in x]")["f"]

    assert is_edited(cell(source)["f"], old) is edited
