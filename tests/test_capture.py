import importlib
import linecache
import pickle
import subprocess
import sys
import threading

import pytest

from cerebelum_nb.capture import Shipper, opened, ship, versions
from cerebelum_nb.errors import CaptureError


def cell(source, namespace=None, name="/nowhere/ipykernel_1/cell.py"):
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    exec(compile(source, name, "exec"), namespace)
    return namespace


def refusal(function, step="x"):
    with pytest.raises(CaptureError) as refused:
        ship(function, step)
    return str(refused.value)


def test_a_function_is_made_again_with_its_helpers_classes_closures_and_defaults():
    names = cell(
        "import math\n"
        "class Box:\n    def __init__(self, x): self.x = x\n"
        "def helper(x): return Box(x + K)\n"
        "K = 2\n"
        "def outer():\n    free = [10]\n"
        "    def step(x, y=3, *, z=4): return [helper(x).x, free, y, z, math.floor(0.5), [K for _ in 'a']]\n"
        "    return step\n"
    )

    assert opened(ship(names["outer"]()).payload)()(1) == [3, [10], 3, 4, 0, [2]]


def test_each_opening_makes_a_function_of_its_own():
    make = opened(ship(cell("seen = []\ndef step():\n    seen.append(1)\n    return len(seen)")["step"]).payload)

    assert [make()(), make()(), make()()] == [1, 1, 1]


@pytest.mark.parametrize(
    "source",
    [
        "count = 1\ndef step():\n    global count\n    count += 1\n    return count",
        "count = 1\ndef step():\n    globals()['count'] = count + 1\n    return count",
        "def step():\n    globals()['count'] = globals().get('count', 1) + 1\n    return globals()['count']",
        "count = 1\ndef helper():\n    global count\n    count += 1\n    return count\ndef step(): return helper()",
        "def step():\n    step.count = getattr(step, 'count', 1) + 1\n    return step.count",
        "def step(): return helper()\ndef helper(n=1):\n    helper.__defaults__ = (n + 1,)\n    return n + 1",
        "def made():\n    n = 1\n    def step():\n        nonlocal n\n        n += 1\n        return n\n    return step\nstep = made()",
        "def step(*, n=1):\n    step.__kwdefaults__['n'] = n + 1\n    return n + 1",
        "def step(n=[1]):\n    n.append(1)\n    return len(n)",
    ],
)
def test_what_a_call_changes_does_not_show_in_the_next_opening(source):
    make = opened(ship(cell(source)["step"]).payload)

    assert [make()() for _ in range(3)] == [2, 2, 2]


def test_a_function_that_nothing_has_changed_is_not_made_again():
    make = opened(ship(cell("import math\nk = 2\ndef step(n: int = 3): return math.pi * k * n")["step"]).payload)

    first = make()
    first()

    assert make() is first


def test_functions_of_modules_travel_by_name():
    shipped = ship(linecache.getlines)

    assert shipped.nbytes < 100
    assert opened(shipped.payload)() is linecache.getlines


def test_decorated_steps_of_a_module_travel_by_name_and_arrive_as_functions(tmp_path, monkeypatch):
    (tmp_path / "steps_of_mine.py").write_text(
        "import threading\nfrom cerebelum_nb.dsl.decorators import step\nlock = threading.Lock()\n"
        "@step\ndef guarded():\n    with lock: return 7\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    steps_of_mine = importlib.import_module("steps_of_mine")

    made = opened(ship(steps_of_mine.guarded.function).payload)()

    assert made.__name__ == "guarded"
    assert type(made) is type(opened)
    assert made() == 7


def test_a_step_that_calls_another_step_takes_its_plain_function_along():
    names = cell(
        "from cerebelum_nb.dsl.decorators import step\n@step\ndef one(): return 1\ndef two(): return one() + 1"
    )

    assert opened(ship(names["two"]).payload)()() == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def x(): return lock", "uses the global 'lock', a _thread.lock, which"),
        ("def x(): return [lock for _ in 'ab']", "uses the global 'lock', a _thread.lock, which"),
        (
            "def load(): return lock\ndef x(): return load()",
            "uses the global 'lock' through helper 'load', a _thread.lock",
        ),
        (
            "def a(): return lock\ndef b(): return a()\ndef x(): return b()",
            "uses the global 'lock' through helper 'b' and 'a', a _thread.lock",
        ),
        (
            "def make(l):\n    def x(): return l\n    return x\nx = make(lock)",
            "uses the closure variable 'l', a _thread.lock",
        ),
        ("def x(a, b=lock): pass", "uses the default of 'b', a _thread.lock"),
        ("def x(*, b=lock): pass", "uses the default of 'b', a _thread.lock"),
        (
            "deep = {'a': [1, lock]}\ndef x(): return deep",
            "uses the global 'deep', a _thread.lock (it is deep['a'][1]), which",
        ),
        ("gen = (n for n in 'a')\ndef x(): return gen", "uses the global 'gen', a generator, which"),
    ],
)
def test_what_cannot_be_sent_is_named_with_how_the_step_comes_to_it(source, said):
    message = refusal(cell(source, {"__name__": "__main__", "lock": threading.Lock()})["x"])

    assert message.startswith(f"step 'x' {said}")
    assert message.endswith("Create it inside the step, pass it as an input, or run the step locally.")


def test_names_that_only_look_like_the_culprit_are_not_blamed():
    namespace = {"__name__": "__main__", "lock": threading.Lock(), "conn": threading.RLock()}
    names = cell("def x(o):\n    o.lock = 1\n    return o.lock, conn", namespace)

    assert "the global 'conn'" in refusal(names["x"])
    del names["conn"]
    assert ship(names["x"])


def test_recursive_helpers_are_walked_once():
    names = cell("def a(n): return n and b(n - 1)\ndef b(n): return n and a(n - 1) or bad", {"__name__": "__main__"})
    names["bad"] = threading.Lock()

    assert "the global 'bad' through helper 'b'" in refusal(names["a"])
    names["bad"] = 5
    assert opened(ship(names["a"]).payload)()(3) == 5


CHANGES = [
    ("K = 1\ndef step(): return K", "K = 2"),
    ("L = [1]\ndef step(): return list(L)", "L.append(2)"),
    ("D = {'a': {'b': 1}}\ndef step(): return D['a']['b']", "D['a']['b'] = 2"),
    ("def helper(): return 1\ndef step(): return helper()", "def helper(): return 2"),
    ("def inner(): return 1\ndef helper(): return inner()\ndef step(): return helper()", "def inner(): return 2"),
    ("K = 1\ndef step(x: int = 0) -> 'int': return K", "K = 2"),
    ("class C:\n    x = 1\ndef step(): return C.x", "C.x = 2"),
    ("def step(a=1): return a", "step.__defaults__ = (2,)"),
    ("def step(a=1): return a", "step.__code__ = (lambda a: a + 1).__code__"),
    ("T = (1, [1])\ndef step(): return T[1][0]", "T[1][0] = 2"),
    ("def step(): return step.x\nstep.x = 1", "step.x = 2"),
    ("def step(): return K", "K = 2"),
]


@pytest.mark.parametrize(("source", "change"), CHANGES, ids=[change for _, change in CHANGES])
def test_a_remembered_function_is_never_stale(source, change):
    names, shipper = cell(source), Shipper()
    function = names["step"]
    first = shipper.ship(function)
    again = shipper.ship(function)
    assert again.digest == first.digest

    exec(change, names)
    after = shipper.ship(function)

    assert after.digest != first.digest
    assert opened(after.payload)()() == 2 or isinstance(opened(after.payload)()(), list)


def test_a_function_that_reaches_only_what_cannot_change_is_pickled_once():
    names = cell(
        "import math\nK = 'text'\ndef helper(x: int): return math.pi\ndef step(x: list[int] | None): return helper(K)"
    )
    shipper = Shipper()

    assert shipper.ship(names["step"]) is shipper.ship(names["step"])


def test_the_cells_source_travels_so_that_tracebacks_can_show_it():
    source = "def helper():\n    raise ValueError  # in the cell\ndef step(): helper()\n"
    name = "/nowhere/ipykernel_1/traveller.py"
    payload = ship(cell(source, name=name)["step"]).payload
    del linecache.cache[name]

    opened(payload)
    linecache.checkcache(name)

    assert linecache.getline(name, 2) == "    raise ValueError  # in the cell\n"


def test_a_payload_opens_in_a_process_that_has_none_of_it():
    payload = ship(cell("K = 20\ndef helper(x): return x + K\ndef step(x): return helper(x) * 2")["step"]).payload
    code = "import sys; from cerebelum_nb.capture import opened; print(opened(sys.stdin.buffer.read())()(1))"

    ran = subprocess.run([sys.executable, "-c", code], input=payload, capture_output=True, timeout=60, check=True)

    assert ran.stdout.strip() == b"42"


def test_shipping_does_not_unpickle_or_call_anything():
    class Trap:
        def __reduce__(self):
            return (pickle.loads, (b"not a pickle",))

    names = cell("def step(): return trap", {"__name__": "__main__", "trap": Trap()})

    assert ship(names["step"]).nbytes > 0


def test_too_much_is_refused_and_the_largest_variables_are_named():
    names = cell(
        "def helper(): return table\ndef step(extra=b'y' * (4 << 20)): return helper(), note",
        {"__name__": "__main__", "table": bytes(15 << 20), "note": "small"},
    )

    assert refusal(names["step"]) == (
        "step 'x' takes 19.0 MiB along to a worker with each attempt: the global 'table' (15.0 MiB), "
        "the default of 'extra' (4.0 MiB). Pass it as an input, or load it inside the step. "
        "At most 16 MiB can go with a step's function."
    )
    names["table"] = b""
    assert ship(names["step"]).nbytes > 4 << 20


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt, BaseException])
def test_a_captured_value_that_raises_anything_when_it_is_pickled_is_named(how):
    class Bad:
        def __reduce__(self):
            raise how("on purpose")

    message = refusal(cell("def step(): return bad", {"__name__": "__main__", "bad": Bad()})["step"])

    assert message.startswith("step 'x' uses the global 'bad', a ")


def test_a_captured_open_file_is_refused_and_not_copied():
    with open(__file__) as file:
        assert "the global 'file', an _io.TextIOWrapper" in refusal(
            cell("def step(): return file.read()", {"__name__": "__main__", "file": file})["step"]
        )


KEYS = [
    ("API_KEY", "abcdef0123456789", "API_KEY"),
    ("db_password", "correcthorse", "db_password"),
    ("x", "sk-proj-abcdefghijklmnop1234", "x"),
    ("x", "AKIAABCDEFGHIJKLMNOP", "x"),
    ("x", "ghp_" + "a1" * 18, "x"),
    ("x", "-----BEGIN RSA PRIVATE KEY-----\nabc", "x"),
    ("conf", {"url": "u", "secret": "0123456789"}, "conf['secret']"),
    ("cache_key", "orders-of-2026", None),
    ("token_count", "many of them!!", None),
    ("password", "", None),
    ("secret", "a sentence about it", None),
    ("keys", ["a", "b"], None),
    ("n", 5, None),
]


@pytest.mark.parametrize(("name", "value", "where"), KEYS)
def test_keys_and_passwords_do_not_travel_with_a_function(name, value, where):
    names = cell(f"def helper(): return {name}\ndef step(): return helper()", {"__name__": "__main__", name: value})

    if where is None:
        assert ship(names["step"]).nbytes
    else:
        said = refusal(names["step"])
        assert said.startswith(f"step 'x' uses the global {where}, which looks like a key or password")
        assert str(value)[:12] not in said


def test_another_python_is_refused_with_both_versions():
    theirs = {**versions.mine(), "Python": "3.9"}

    with pytest.raises(
        CaptureError, match=r"the worker has Python 3\.\d+, where the notebook has Python 3\.9: it cannot"
    ):
        versions.check(theirs)
    versions.check(versions.mine())
