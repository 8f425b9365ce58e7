"""Keys of the cache: equal for what is the same, others for what is not, and none where nobody can say."""

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import math
import os
import pathlib
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from cerebelum_nb.identity.cachekey import Carrier, NotCached, difference, input_parts, key_of, token, uses_of
from cerebelum_nb.identity.content import Look, NotComparable, digest


def cell(source, **names):
    namespace = {"__name__": "__main__", **names}
    exec(source, namespace)
    return namespace


def carried(function, step="s", workflow="w", version="", carrier=None):
    return (carrier or Carrier()).carried(function, step, workflow, version)


def why_not(function):
    with pytest.raises(NotCached) as caught:
        carried(function)
    return str(caught.value)


class Point:
    def __init__(self, x):
        self.x = x


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Row:
    a: int
    b: list


# values -------------------------------------------------------------------------------------------------------------

OTHER = [
    (1, 2),
    (1, True),
    (1, 1.0),
    (0, False),
    (0.0, -0.0),
    (math.nan, 0.0),
    (2**63, 2**63 + 1),
    (10**30, 10**30 + 1),
    ("1", 1),
    ("ab", b"ab"),
    ("é", "e\u0301"),
    ("\ud800", "\ud801"),
    (b"a", bytearray(b"a")),
    (None, "None"),
    ([1, 2], (1, 2)),
    ([1, [2]], [[1], 2]),
    ([[], []], [[[]]]),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({1: "a"}, {"1": "a"}),
    ({1, 2}, {1, 3}),
    ({1, 2}, frozenset({1, 2})),
    (dt.date(2026, 1, 2), dt.date(2026, 1, 3)),
    (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    (pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b")),
    (np.arange(3), np.arange(4)),
    (np.arange(3), np.arange(3.0)),
    (np.zeros((2, 3)), np.zeros((3, 2))),
    (np.zeros((2, 3)), np.asfortranarray(np.zeros((2, 3)))),
    (np.array([1, None], object), np.array([1, 2], object)),
    (np.int64(1), 1),
    (np.float64(1), np.float32(1)),
    (np.random.default_rng(1), np.random.default_rng(2)),
    (collections.Counter("a"), collections.Counter("b")),
    (collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.deque([1]), collections.deque([2])),
    (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    (Point(1), Point(2)),
    (Slotted(1), Slotted(2)),
    (Colour.RED, Colour.BLUE),
    (Row(1, [2]), Row(1, [3])),
    (ValueError("a"), ValueError("b")),
    (range(3), range(4)),
    (slice(1), slice(2)),
    (1j, 2j),
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x=1: x, lambda x=2: x),
    (functools.partial(max, 1), functools.partial(max, 2)),
    ({"f": len}, {"f": max}),
]


@pytest.mark.parametrize(("one", "other"), OTHER, ids=lambda v: type(v).__name__)
def test_other_values_have_other_tokens(one, other):
    assert token(one) != token(other)


@pytest.mark.parametrize("value", [v for pair in OTHER for v in pair], ids=lambda v: type(v).__name__)
def test_a_copy_has_the_same_token(value):
    assert token(copy.deepcopy(value)) == token(value)


def test_tokens_next_to_each_other_stay_apart():
    assert key_of(b"", [token("ab"), token("c")]) != key_of(b"", [token("a"), token("bc")])
    assert key_of(b"", [token([1]), token(2)]) != key_of(b"", [token([1, 2])])


def test_a_view_of_an_array_is_what_it_shows():
    whole = np.arange(10)

    assert token(whole[::2]) == token(np.array([0, 2, 4, 6, 8]))
    assert token(whole[::2]) != token(whole[1::2])


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        (i for i in range(3)),
        {"deep": [threading.Lock()]},
        open(os.devnull),  # noqa: SIM115  closed with the test's process
        threading.local(),
    ],
    ids=["lock", "generator", "deep", "file", "local"],
)
def test_what_has_no_content_has_no_token(value):
    with pytest.raises(NotComparable):
        token(value)


def test_an_object_that_misbehaves_has_no_token():
    class Nasty:
        def __reduce_ex__(self, protocol):
            sys.exit(3)

    with pytest.raises(NotComparable, match="SystemExit"):
        token(Nasty())


def test_rings_have_tokens_and_deep_ones_have_none():
    def ring():
        made = [1]
        made.append(made)
        return made

    deep = []
    for _ in range(10_000):
        deep = [deep, object]

    assert token(ring()) == token(ring())
    with pytest.raises(NotComparable, match="too deeply"):
        token(deep)


def test_large_values_have_none():
    with pytest.raises(NotComparable, match="more than 64 MiB"):
        token(np.zeros(70 << 20, np.uint8))
    with pytest.raises(NotComparable, match="more than 64 MiB"):
        token(["x" * (1 << 20)] * 70)


def test_tokens_are_the_same_in_every_process():
    source = """
import collections, sys
import numpy as np
from cerebelum_nb.identity.cachekey import Carrier, key_of, token
RATE = {"x", "y", "z"}
class K:
    limits = frozenset({"a", "b", "c"})
    def m(self): return RATE
def fx(v): return v in ("p", "q") and v in {"r", "s", "t"} and np.pi
def step(inputs, k=K()): return fx(inputs)
c = Carrier().carried(step, "step", "w", "")
values = [{"a", "b", "c"}, {1: K()}, np.arange(3), collections.Counter("abc"), K(), fx]
print(key_of(c.base, [token(v) for v in values]).hex())
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(said) == 1


# what a step carries ------------------------------------------------------------------------------------------------

BASE = """
import functools
RATE = 2
TABLE = {"a": [1]}
def deep(x): return x * RATE
def fx(x): return deep(x)
class Model:
    factor = 3
    def use(self, x): return x * self.factor * RATE
HANDLERS = {"f": deep}
@functools.lru_cache
def kept(x): return x + 1
def step(total, extra=1):
    return fx(total) + TABLE["a"][0] + Model().use(total) + HANDLERS["f"](total) + kept(total) + extra
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("RATE = 2", "RATE = 2  # a comment", ""),
        ("x * self.factor * RATE", "x  *  self.factor * RATE", ""),
        ("+ extra", "- extra", "its code changed"),
        ("extra=1", "extra=2", "default 'extra' changed"),
        ("[1]}", "[2]}", "global 'TABLE' changed"),
        ("factor = 3", "factor = 4", "class 'Model' changed"),
        ("x * self.factor", "x + self.factor", "class 'Model' changed"),
        ("return x + 1", "return x + 2", "global 'kept' changed"),
        ("return deep(x)", "return -deep(x)", "helper 'fx' changed"),
    ],
)
def test_what_changed_is_named(old, new, told):
    before, now = carried(cell(BASE)["step"]), carried(cell(BASE.replace(old, new))["step"])

    assert (before.base == now.base) == (told == "")
    if told:
        assert difference(before.parts, now.parts) == told


def test_a_global_that_is_reached_in_many_ways_changes_all_of_them():
    before, now = carried(cell(BASE)["step"]), carried(cell(BASE.replace("RATE = 2", "RATE = 3"))["step"])

    assert before.base != now.base
    assert {label for label, _ in set(before.parts) ^ set(now.parts)} == {
        "global 'RATE' of helper 'deep'",
        "class 'Model'",
        "global 'HANDLERS'",
    }
    assert difference(before.parts, now.parts).endswith(" and 1 more changed")


def test_name_version_and_workflow_count_where_they_can_matter():
    plain, seen = cell("def s(a): return a")["s"], cell("def s(context): return context.workflow_name")["s"]

    assert carried(plain, step="t").base != carried(plain).base
    assert difference(carried(plain).parts, carried(plain, version="2").parts) == "its version changed"
    assert carried(plain, workflow="v").base == carried(plain).base
    assert difference(carried(seen).parts, carried(seen, workflow="v").parts) == "the workflow changed"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import threading\nlock = threading.Lock()\ndef s(a): return lock", "global 'lock'"),
        ("def h(x): return conn\nimport sqlite3\nconn = sqlite3.connect(':memory:')\ndef s(a): return h(a)",
         "global 'conn' of helper 'h'"),
        ("def make(g):\n  def s(a): return g\n  return s\ns = make(i for i in ())", "closure variable 'g'"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named(source, name):
    assert why_not(cell(source)["s"]).startswith(f"it carries the {name}, whose content cannot be compared (")
    assert why_not(cell(source)["s"]).endswith("; pass it as an input")


def test_nothing_is_known_by_its_identity_alone():
    names = cell("class M:\n  def __init__(s): s.w = [1]\nmodel = M()\ndef s(a): return model.w")
    carrier = Carrier()
    before = carried(names["s"], carrier=carrier)
    assert carried(names["s"], carrier=carrier) == before

    names["model"].w.append(2)

    assert difference(before.parts, carried(names["s"], carrier=carrier).parts) == "global 'model' changed"


@pytest.mark.parametrize(
    "change",
    [
        "names.update(RATE=5)",
        "names.update(len=lambda x: 0)",
        "exec('def fx(x): return 0', names)",
        "setattr(names['fx'], 'limit', 3)",
        "setattr(names['fx'], '__defaults__', (9,))",
        "names['TABLE'].update(b=1)",
        "setattr(names['fx'], '__code__', (lambda x=1: 7).__code__)",
    ],
)
def test_a_remembered_step_notices_every_change(change):
    names = cell("RATE = 2\nTABLE = {}\ndef fx(x=1): return x * RATE\ndef step(a): return fx(len(a)), TABLE")
    carrier = Carrier()
    before = carried(names["step"], carrier=carrier)
    assert carried(names["step"], carrier=carrier).base == before.base

    exec(change, {"names": names})

    now = carried(names["step"], carrier=carrier)
    assert now.base != before.base
    assert now.base == carried(names["step"]).base


def test_a_closure_that_is_refilled_is_noticed():
    def make():
        n = 1

        def step(a):
            return n

        def refill():
            nonlocal n
            n = 2

        return step, refill

    step, refill = make()
    carrier = Carrier()
    before = carried(step, carrier=carrier)

    refill()

    assert difference(before.parts, carried(step, carrier=carrier).parts) == "closure variable 'n' changed"


def test_a_little_room_finds_nothing_out_anew_and_reads_nothing_large():
    names = cell("DATA = [0] * 100_000\ndef s(a): return DATA")
    carrier = Carrier()
    with pytest.raises(NotComparable):
        carrier.carried(names["s"], "s", "w", "", 1000)
    carrier.carried(names["s"], "s", "w", "")
    with pytest.raises(NotComparable):
        carrier.carried(names["s"], "s", "w", "", 1000)

    names["DATA"] = [0]
    assert carrier.carried(names["s"], "s", "w", "")
    assert carrier.carried(names["s"], "s", "w", "", 1000)


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A module of the person's own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "my_rates.py"
    path.write_text("import my_base\nRATE = 2\nOTHER = 1\ndef fx(x): return x * RATE\n")
    (tmp_path / "my_base.py").write_text("X = 1\n")
    yield path
    for name in ("my_rates", "my_base"):
        sys.modules.pop(name, None)


def test_local_modules_count_with_their_files_and_with_what_is_used_of_them(local):
    names = cell("import my_rates\ndef s(a): return my_rates.RATE * a")
    before = carried(names["s"])
    assert carried(names["s"]).base == before.base

    names["my_rates"].OTHER = 5
    assert carried(names["s"]).base == before.base
    names["my_rates"].RATE = 5
    assert difference(before.parts, carried(names["s"]).parts) == "module 'my_rates' changed"
    names["my_rates"].RATE = 2
    (local.parent / "my_base.py").write_text("X = 22\n")
    assert difference(before.parts, carried(names["s"]).parts) == "module 'my_base' changed"


def test_functions_of_local_modules_count_as_they_are_in_memory(local):
    names = cell("from my_rates import fx\ndef s(a): return fx(a)")
    carrier = Carrier()
    before = carried(names["s"], carrier=carrier)
    assert carried(names["s"], carrier=carrier).base == before.base

    sys.modules["my_rates"].RATE = 3
    changed = carried(names["s"], carrier=carrier)
    assert changed.base != before.base
    sys.modules["my_rates"].RATE = 2
    local.write_text(local.read_text() + "# another file\n")
    assert difference(before.parts, carried(names["s"], carrier=carrier).parts) == "module 'my_rates' changed"


def test_what_cannot_be_read_of_a_local_module_goes_by_its_file(local):
    local.write_text("import threading\nlock = threading.Lock()\nRATE = 1\ndef fx(x):\n  with lock: return x * RATE\n")
    names = cell("from my_rates import fx\ndef s(a): return fx(a)")
    before = carried(names["s"])

    sys.modules["my_rates"].RATE = 3
    assert carried(names["s"]).base != before.base
    sys.modules["my_rates"].RATE = 1
    assert carried(names["s"]).base == before.base
    local.write_text(local.read_text() + "\n")
    assert difference(before.parts, carried(names["s"]).parts) == "module 'my_rates' changed"


# the context --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "uses"),
    [
        ("return 1", set()),
        ("return context.inputs['a']", {"inputs"}),
        ("return context.inputs, context.step_name", {"inputs", "step_name"}),
        ("return context", {""}),
        ("return f(context)", {""}),
        ("return f(other, context)", {""}),
        ("x = context\n    return x.inputs", {""}),
        ("return [i for i in range(3) if context.inputs]", {""}),
        ("return (lambda: context)()", {""}),
        ("return locals()", {""}),
        ("return getattr(context, 'inputs')", {""}),
        ("context.inputs = 3", set()),
        ("return context.attempt", {"attempt"}),
    ],
)
def test_what_a_step_does_with_its_context(body, uses):
    function = cell(f"def s(context, other=1):\n    {body}")["s"]

    found = uses_of(function.__code__, "context")
    assert found == uses or (body.startswith("context.inputs =") and found <= {""})


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("def s(context, a): return a", False),
        ("def s(context): return context.inputs", True),
        ("def s(context): return f(context)", True),
        ("async def s(context): return context.step_name", False),
        ("def s(inputs): return inputs", False),
    ],
)
def test_whoever_reads_or_hands_on_its_context_reads_the_inputs(source, reads):
    assert carried(cell(source)["s"]).reads_inputs is reads


@pytest.mark.parametrize("name", ["attempt", "execution_id", "executor", "idempotency_key"])
def test_what_is_another_one_in_each_run_is_not_cached(name):
    function = cell(f"def s(context): return context.{name}")["s"]

    assert why_not(function) == f"it reads context.{name}, which is another one in each run"


def test_a_wrapped_step_counts_with_its_wrapper():
    source = """
import functools
def wrap(f):
    @functools.wraps(f)
    def inner(*args, **kwargs): return f(*args, **kwargs) + LIFT
    return inner
LIFT = 1
@wrap
def s(context, a): return a
"""
    before, now = carried(cell(source)["s"]), carried(cell(source.replace("+ LIFT", "- LIFT"))["s"])
    lifted = carried(cell(source.replace("LIFT = 1", "LIFT = 2"))["s"])

    assert difference(before.parts, now.parts) == "its code changed"
    assert difference(before.parts, lifted.parts) == "global 'LIFT' changed"
    assert before.reads_inputs


def test_inputs_are_parts_by_their_names():
    before, now = input_parts({"a": 1, "b": [1]}), input_parts({"a": 1, "b": [2], "c": 0})

    assert difference(before, now) == "input 'b' and input 'c' changed"
    assert [label for label, _ in input_parts([1])] == ["the inputs"]


def test_classes_are_read_once_for_all_their_objects():
    look = Look()
    digest([Point(i) for i in range(100)], look)
    few = Look()
    digest([Point(0)], few)

    assert (Look().room - look.room) / (Look().room - few.room) < 30
