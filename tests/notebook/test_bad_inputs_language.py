"""Timelines, strategies, steps and results that cannot be: one row each.

Rows 7 to 28 of the table of bad inputs. Each row ends with what the person reads, and with the kernel and the next
cell alive.
"""

import ast
import os

import pytest
from kerneldriver import Kernel

pytestmark = pytest.mark.kernel

BOTH = """
import datetime, decimal, enum, math, pathlib, socket, sqlite3, threading, uuid
from cerebelum_nb import step, workflow

class Colour(enum.Enum):
    RED = 1

def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value

def ring():
    ring = []
    ring.append(ring)
    return ring

def same(one, other):
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    return one == other and repr(one) == repr(other)

def ran(make, where):
    one = step(name="one", executor=where)(make)
    read = step(name="read")(lambda context, one: one)
    return workflow(name="w_values")(lambda wf: wf.timeline(one >> read)).run().result(60).outputs["read"]

def alike(make):
    return same(ran(make, "local"), ran(make, "distributed"))
"""


@pytest.fixture(scope="module")
def nb(tmp_path_factory):
    started = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path_factory.mktemp("home"))})
    started(f"%cd {tmp_path_factory.mktemp('notebook')}")
    started(BOTH)
    started("%%cerebelum_step load\ninputs.get('rows', [1, 2])")
    started("%%cerebelum_step total\nsum(load)")
    started("%%cerebelum_workflow wf\nload >> total")
    yield started
    started.stop()


def step_of(head, body="return 1", name="f"):
    return f"@step\ndef {name}({head}): {body}\n"


def run_of(timeline):
    return f"@workflow\ndef w(wf): wf.timeline({timeline})\nw.run().result(20)"


def named(name):
    return f"step(name={name})(lambda context: 1)"


NAME = "cannot name a step: 1 to 80 letters"

# row, the cell, error, what is said
REFUSED = [
    (7, "%%cerebelum_workflow w\nload >> total >> load", "PlanError", ["has a cycle: load comes back after itself"]),
    (7, step_of("context, f") + run_of("f"), "PlanError", ["step 'f' needs itself; rename the parameter"]),
    (7, step_of("context, g") + step_of("context, f", name="g") + run_of("[f, g], load"), "PlanError",
     ["has a cycle: f -> g -> f", "write g before f"]),
    (8, "%%cerebelum_workflow w\nlod >> total", "DefinitionError",
     ["line 2: there is no step 'lod'. Did you mean 'load'?", "Run its cell first"]),
    (8, step_of("context, totl") + run_of("load >> total >> f"), "PlanError",
     ["step 'f' needs 'totl'", "Did you mean 'total'?", "Steps there: load, total, f."]),
    (9, "@step(name='same')\ndef s1(context): return 1\n@step(name='same')\ndef s2(context): return 2\n" + run_of("s1, s2"),
     "PlanError", ["has two steps called 'same'", "Give one another name"]),
    (10, "%%cerebelum_workflow w\n[]", "DefinitionError", ["line 2: an empty list stands in the timeline"]),
    (10, "%%cerebelum_workflow w\nload >> []", "DefinitionError", ["an empty list stands in the timeline"]),
    (10, run_of(""), "PlanError", ["workflow 'w' has no steps"]),
    (11, "%%cerebelum_workflow w\n[load, load] >> total", "PlanError", ["has load twice. A step stands once"]),
    (12, "@step(executor='distribued')\ndef f(context): return 1\n" + run_of("f"), "PlacementError",
     ["there is no executor 'distribued'", "Did you mean 'distributed'?", "Known here: local, distributed, processes."]),
    (12, "%cerebelum_run wf --strategy total=distribued", "PlacementError", ["Did you mean 'distributed'?"]),
    (12, "%%cerebelum_step f --executor distribued\n1", "PlacementError", ["Did you mean 'distributed'?"]),
    (13, "%cerebelum_run wf --strategy totl=local", "PlanError", ["names the step 'totl'", "Did you mean 'total'?"]),
    (14, "await wf.execute({}, use_local=True, execution_strategy={'total': 'local'})", "PlanError",
     ["use_local=True and execution_strategy={'total': 'local'} contradict each other"]),
    (15, step_of("context, extra") + run_of("load >> f"), "PlanError", ["step 'f' needs 'extra'"]),
    (16, "wf.run([1])", "PlanError", ["inputs is a dict like {'order': ...}, not list [1]"]),
    (16, "wf.run('x')", "PlanError", ["inputs is a dict like {'order': ...}, not str 'x'"]),
    (16, step_of("context, inputs", "return inputs['order']") + run_of("f"), "ExecutionError", ["KeyError: 'order'"]),
    (17, named("'<img src=x onerror=alert(1)>'"), "DefinitionError", [NAME]),
    (18, named(r"'a\u202eb'"), "DefinitionError", [r"'a\u202eb' " + NAME]),
    (18, named(r"'a\x00b'"), "DefinitionError", [r"'a\x00b' " + NAME]),
    (18, named(r"'\ud800'"), "DefinitionError", [r"'\ud800' " + NAME]),
    (18, named("'x' * 10_000"), "DefinitionError", [NAME]),
    (18, named(r"'\U0001f600'"), "DefinitionError", [NAME]),
    (18, r"@step(name='caf\u00e9')" + "\ndef s1(context): return 1\n" + r"@step(name='cafe\u0301')" + "\ndef s2(context): return 2\n" + run_of("s1, s2"),
     "PlanError", ["has two steps called 'caf\u00e9'"]),
    (19, step_of("context", name="default"), "DefinitionError", ["a step cannot be called 'default'"]),
    (19, "%%cerebelum_step inputs\n1", "DefinitionError", ["a step cannot be called 'inputs'"]),
    (19, named("'context'"), "DefinitionError", ["a step cannot be called 'context'"]),
    (20, "step(lambda context: 1)", "DefinitionError", ["this step has no name of its own"]),
    (20, "import functools\nstep(functools.partial(max, 1))", "DefinitionError", ["this step has no name of its own"]),
    (20, "step(int)", "DefinitionError", ["@step goes on a function, not on <class 'int'>"]),
    (20, "step(3)", "DefinitionError", ["@step goes on a function, not on 3"]),
    (20, "class C:\n    @step\n    @classmethod\n    def m(cls, context): return 1", "DefinitionError",
     ["a classmethod cannot be a step"]),
    (21, "@step\ndef f(context):\n    yield 1", "DefinitionError", ["step 'f' uses yield", "return a list instead"]),
    (21, "@step\nasync def f(context):\n    yield 1", "DefinitionError", ["step 'f' uses yield"]),
    *(
        (22, f"ran(lambda context: {value}, 'distributed')", "InvalidReturnValueError",
         ["step 'one' failed (distributed, attempt 1): UnserializableResult: ", said])
        for value, said in (
            ("(n for n in range(3))", "result is a generator"),
            ("open('/dev/null')", "result is an _io.TextIOWrapper"),
            ("threading.Lock()", "result is a _thread.lock"),
            ("{'a': [1, {'conn': sqlite3.connect(':memory:')}]}", "result['a'][1]['conn'] is a sqlite3.Connection"),
        )
    ),
    (22, "async def late(): pass\nran(lambda context: late(), 'local')", "InvalidReturnValueError",
     ["step 'one' returned a coroutine: write async def, or await it"]),
    (27, "ran(lambda context: deep(2_000), 'distributed')", "InvalidReturnValueError", ["nested too deeply"]),
    (27, "ran(lambda context: deep(100_000), 'distributed')", "InvalidReturnValueError", ["nested too deeply"]),
]  # fmt: skip

# row, an expression that is true, what is said beside it
TAKEN = [
    (14, "(await wf.execute({}, use_local=True)).output == {'ok': 3}", "use_local is deprecated: write execution_strategy"),
    (16, "wf.run(None).result(20).output == {'ok': 3}", ""),
    (16, "wf.run({'more': 1}).result(20).output == {'ok': 3}", ""),
    (22, "ran(lambda context: open('/dev/null'), 'local').close() is None", "its result is an open file, which stays in this"),
    (22, "list(ran(lambda context: (n for n in [7]), 'local')) == [7]", "its result is a generator: whoever reads it first"),
    (23, "alike(lambda context: [float('nan'), float('inf'), -float('inf'), -0.0])", ""),
    (24, "alike(lambda context: [2**53 + 1, 10**400, -2**63, True, False, 3, 3.0])", ""),
    (25, "alike(lambda context: [b'x', {1, 2}, (1, (2,)), datetime.datetime(2020, 1, 1), decimal.Decimal('1.10')])", ""),
    (25, "alike(lambda context: [uuid.UUID(int=5), Colour.RED, pathlib.Path('a'), 1 + 2j, frozenset({1}), range(3)])", ""),
    (26, "alike(lambda context: {1: 'a', (1, 2): 'b', None: 'c', '1': 'd', True: 'e', 'z': 0, 'a': 0})", ""),
    *((27, f"alike(lambda context: deep({levels}))", "") for levels in (33, 49, 200)),
    (28, "(lambda r: r[0] is r)(ran(lambda context: ring(), 'distributed'))", ""),
]  # fmt: skip


def alive(nb):
    assert nb("6 * 7").value == "42"
    assert nb("wf.run({'rows': [40, 2]}).result(20).outputs['total']").value == "42"


@pytest.mark.parametrize(
    ("row", "cell", "error", "said"), REFUSED, ids=[f"{row}: {cell[:70]!r}" for row, cell, _, _ in REFUSED]
)
def test_what_cannot_be_is_refused_in_few_lines_and_the_next_cell_runs(nb, row, cell, error, said):
    answer = nb.run(cell)

    text = answer.traceback + answer.out + answer.err
    assert (answer.status, answer.ename) == ("error", error), text
    for piece in said:
        assert piece in text
    assert "cerebelum_nb/" not in text
    assert len(answer.traceback.splitlines()) < 12
    alive(nb)


@pytest.mark.parametrize(("row", "expression", "said"), TAKEN, ids=[f"{row}: {text[:70]}" for row, text, _ in TAKEN])
def test_what_is_unusual_is_taken_as_it_is(nb, row, expression, said):
    answer = nb.run(expression)

    assert (answer.status, answer.value) == ("ok", "True"), answer.traceback
    assert said in answer.out + answer.err
    alive(nb)


SIGNATURES = """
@step
def nobody(): return 1
@step
def behind(load, /, *args, total=None, context, **kwargs): return (load, args, total, sorted(kwargs))
@step
def optional(context, missing=5, *, load): return (missing, load)
class Own:
    def __call__(self, context): return "own"
own, lam = step(name="own")(Own()), step(name="lam")(lambda context: "lam")
@workflow
def w_signatures(wf): wf.timeline(load, [nobody, behind, optional, own, lam])
sorted(w_signatures.run().result(20).outputs.items(), key=lambda item: item[0])
"""


def test_15_and_20_every_kind_of_signature_gets_what_it_asks_for(nb):
    assert ast.literal_eval(nb(SIGNATURES).value) == [
        ("behind", ([1, 2], (), None, [])),
        ("lam", "lam"),
        ("load", [1, 2]),
        ("nobody", 1),
        ("optional", (5, [1, 2])),
        ("own", "own"),
    ]
