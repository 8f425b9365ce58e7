"""What every executor keeps to: one suite of whole runs through a session. `test_contract.py` says on which executors.

It uses one fixture, `place`. A further executor is one more line in the list that makes it.
"""

import datetime as dt
import decimal
import enum
import fractions
import importlib.util
import itertools
import math
import os
import pathlib
import time
import uuid
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from remote_kit import cell

from cerebelum_nb import ExecutionError, PlanError, Session, step, workflow
from cerebelum_nb.model.events import AttemptFinished, AttemptOutput, AttemptProgress, AttemptStarted
from cerebelum_nb.model.state import RunState
from cerebelum_nb.store import journal
from tests.process_kit import is_gone

DEADLINE = 30
STOPPED_S = 5.0  # whatever a step does, it has stopped by then
_names = itertools.count(1)


@dataclass
class Place:
    """One executor, behind a session.

    Attributes:
        name: What steps call it.
        apart: Its steps run in processes of their own, which can be stopped and may be lost.
    """

    name: str
    apart: bool
    session: Session

    def begin(self, function: Any, inputs: Any = None, **options: Any) -> Any:
        """Start a run of one step, called ``one``."""
        made = step(name="one", executor=self.name, **options)(function)
        named = f"w{next(_names)}"
        return self.session.run(workflow(name=named)(lambda wf: wf.timeline(made)), inputs or {})

    def run(self, function: Any, inputs: Any = None, **options: Any) -> Any:
        """The same, to its end."""
        run = self.begin(function, inputs, **options)
        assert run.wait(DEADLINE, echo=False), f"it hangs at {self.name}: {run.rows()}"
        return run

    def value(self, function: Any, inputs: Any = None, **options: Any) -> Any:
        """What the step returns."""
        return self.run(function, inputs, **options).result(DEADLINE).output["ok"]

    def works(self) -> bool:
        """The next step runs as if nothing had happened."""
        return self.value(cell("def one(context): return 1")["one"]) == 1


def until(condition, deadline_s=DEADLINE):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < deadline_s, f"not within {deadline_s} s"
        time.sleep(0.005)
    return time.monotonic() - began


def error_of(run):
    return run.state.errors[0]


def outcomes(run):
    return [e.outcome for e in run.events if type(e) is AttemptFinished]


# -- values ---------------------------------------------------------------------------------------------------------


def test_sync_and_async_steps_give_their_value_where_they_were_sent(place):
    names = cell(
        "import os, asyncio\ndef plain(context): return os.getpid()\n"
        "async def later(context):\n    await asyncio.sleep(0.001)\n    return os.getpid()"
    )
    pids = [place.value(names[name]) for name in ("plain", "later")]

    assert [pid != os.getpid() for pid in pids] == [place.apart] * 2


class Colour(enum.Enum):
    RED = 1


VALUES = [
    None,
    True,
    3,
    3.0,
    -0.0,
    2**53 + 1,
    10**400,
    math.inf,
    math.nan,
    1 + 2j,
    "é😀",
    "\ud800",
    b"\x00\xff",
    bytearray(b"x"),
    (1, [2, (3,)]),
    {1, 2},
    frozenset({"a"}),
    {"a": {1, 2}, 3: None, (1, 2): "t", None: 0},
    {"status": "sleep"},
    range(3),
    slice(1, 2),
    dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC),
    dt.date(2026, 1, 2),
    dt.timedelta(seconds=1.5),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=5),
    pathlib.PurePosixPath("/a/b"),
    Colour.RED,
    np.float32(1.5),
]


def test_every_kind_of_value_goes_there_and_back_as_it_was(place):
    echo = cell("def one(context, inputs): return inputs['values']")["one"]

    back = place.value(echo, {"values": VALUES})

    assert repr(back) == repr(VALUES)
    assert [type(v) for v in back] == [type(v) for v in VALUES]


def test_arrays_go_there_and_back_bit_by_bit(place):
    arrays = [
        np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2],
        np.asfortranarray(np.eye(3)),
        np.array(5),
        np.array([], dtype=np.float32),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2026-01-02"], dtype="M8[D]"),
        np.array([None, {"a": 1}], dtype=object),
    ]
    echo = cell("def one(context, inputs): return inputs['arrays']")["one"]

    back = place.value(echo, {"arrays": arrays})

    for before, after in zip(arrays, back, strict=True):
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype


def test_a_deep_value_and_one_that_holds_itself_come_back(place):
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    names = cell(
        "def depth(context, inputs):\n    n, x = 0, inputs['deep']\n    while x: x, n = x[0], n + 1\n    return n\n"
        "def loop(context):\n    x = [1]\n    x.append(x)\n    return x"
    )

    assert place.value(names["depth"], {"deep": deep}) == 200
    loop = place.value(names["loop"])
    assert loop[0] == 1
    assert loop[1] is loop


def test_a_big_value_goes_there_and_back_whole(place):
    data = bytes(range(256)) * (40 << 10)  # 10 MiB
    turn = cell("def one(context, inputs): return inputs['data'][::-1]")["one"]

    assert place.value(turn, {"data": data}) == data[::-1]


def test_classes_of_cells_come_back_as_the_same_class(place):
    names = cell("class Point:\n    def __init__(self, x): self.x = x\ndef one(context, inputs): return inputs['p']")

    back = place.value(names["one"], {"p": names["Point"](2)})

    assert isinstance(back, names["Point"])
    assert back.x == 2


def test_what_cannot_leave_a_process_is_named_where_it_would_have_to(place):
    opens = cell("import sqlite3\ndef one(context): return {'conn': sqlite3.connect(':memory:')}")["one"]

    run = place.run(opens)

    if not place.apart:
        assert run.status == "succeeded"
        return
    assert error_of(run).type == "UnserializableResult"
    assert "result['conn'] is a sqlite3.Connection" in error_of(run).message
    assert place.works()


def test_the_context_tells_where_the_step_is(place):
    tells = cell(
        "def one(context, inputs):\n"
        "    return context.inputs, context.workflow_name, context.step_name, context.attempt, context.executor"
    )["one"]

    run = place.run(tells, {"a": (1,)})

    label = run.rows()[0].where
    assert run.results[0] == ({"a": (1,)}, run.workflow, "one", 1, label)


def test_what_a_step_does_to_its_input_is_seen_by_nobody_else(place):
    names = cell(
        "def give(context): return [1]\n"
        "def spoil(context, give):\n    give.append(2)\n    return give\n"
        "def look(context, give, spoil): return give"
    )
    give, spoil, look = (step(name=n, executor=place.name)(names[n]) for n in ("give", "spoil", "look"))
    flow = workflow(name=f"w{next(_names)}")(lambda wf: wf.timeline(give >> spoil >> look))

    outputs = place.session.run(flow, {}).result(DEADLINE).outputs

    assert outputs == {"give": [1], "spoil": [1, 2], "look": [1]}


def test_globals_are_those_of_the_moment_it_is_sent_and_apart_each_attempt_has_its_own(place):
    names = cell("seen = []\ndef one(context):\n    seen.append(1)\n    return len(seen)")

    counted = [place.value(names["one"]) for _ in range(3)]
    names["seen"] = [1] * 10

    assert counted == ([1, 1, 1] if place.apart else [1, 2, 3])
    assert place.value(names["one"]) == 11


# -- failures -------------------------------------------------------------------------------------------------------


def test_an_error_has_its_type_its_message_and_the_cells_own_lines(place):
    names = cell(
        "def helper(x):\n    return 1 / x  # the line\n\ndef one(context):\n    return helper(0)  # its caller\n"
    )

    run = place.run(names["one"])

    error = error_of(run)
    assert (run.status, error.type, error.message) == ("failed", "ZeroDivisionError", "division by zero")
    assert "return 1 / x  # the line" in error.traceback
    assert "return helper(0)  # its caller" in error.traceback
    assert "cerebelum_nb" not in error.traceback


RAISED = {
    "import sys; sys.exit(3)": "SystemExit",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise BaseException('b')": "BaseException",
    "raise GeneratorExit": "GeneratorExit",
    "import asyncio; raise asyncio.CancelledError": "CancelledError",
    "raise ExceptionGroup('g', [ValueError('a')])": "ExceptionGroup",
    "def f(): return f()\n    f()": "RecursionError",
    "import no_such_module_here": "ModuleNotFoundError",
    "class Dumb(Exception):\n        def __str__(self): raise SystemExit\n    raise Dumb": "Dumb",
}


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_whatever_a_step_raises_is_its_failure_and_nothing_else(place, kind):
    runs = {place.begin(cell(f"{kind} one(context):\n    {body}")["one"]): name for body, name in RAISED.items()}

    told = {}
    for run, name in runs.items():
        assert run.wait(DEADLINE, echo=False)
        told[name] = (run.status, error_of(run).type, *outcomes(run))

    assert told == {name: ("failed", name, "error") for name in RAISED.values()}
    assert place.works()


def test_a_step_that_fails_is_tried_again_as_often_as_it_says(place, tmp_path):
    fails = cell(
        "import os\ndef one(context, inputs):\n    open(inputs['path'], 'a').write('x')\n"
        "    if context.attempt < 3: raise ValueError(context.attempt)\n    return context.attempt"
    )["one"]

    run = place.run(fails, {"path": str(tmp_path / "tries")}, retries=3, backoff=0.01)

    assert (run.status, run.results[0], outcomes(run)) == ("succeeded", 3, ["error", "error", "ok"])
    assert (tmp_path / "tries").read_text() == "xxx"


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("import os; os._exit(3)", "ended with exit code 3"),
        ("import os; os._exit(0)", "ended with exit code 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV"),
    ],
)
def test_a_worker_that_is_lost_fails_the_step_which_says_how_and_another_takes_its_place(place, body, how):
    if not place.apart:
        pytest.skip("a step in the kernel would end the kernel, which is this process")
    run = place.run(cell(f"def one(context):\n    print('its last words', flush=True)\n    {body}")["one"])

    assert (run.status, error_of(run).type, outcomes(run)) == ("failed", "WorkerLost", ["lost"])
    assert how in error_of(run).message
    assert run.output("one") == "its last words\n"
    assert place.works()


def test_a_step_has_no_keyboard(place):
    if not place.apart:
        pytest.skip("a step in the kernel has the standard input of the kernel, which is this process")
    names = cell("def ask(context): return input('? ')\ndef stop(context): breakpoint()")

    asked, stopped = place.run(names["ask"]), place.run(names["stop"])

    assert (error_of(asked).type, error_of(stopped).type) == ("EOFError", "RuntimeError")
    assert error_of(asked).message.startswith("a step on a worker has no keyboard.")
    assert error_of(stopped).message.startswith("breakpoint() has no terminal on a worker.")


# -- stopping -------------------------------------------------------------------------------------------------------

MARK = "    open(inputs['path'], 'w').write(str(__import__('os').getpid()))\n"  # it runs, and where
NAP = f"import time\ndef one(context, inputs):\n{MARK}    time.sleep(60)"
STUBBORN = {
    "python loop": f"def one(context, inputs):\n{MARK}    while True: pass",
    "sleep": NAP,
    "async sleep": f"import asyncio\nasync def one(context, inputs):\n{MARK}    await asyncio.sleep(60)",
    "C loop": f"def one(context, inputs):\n{MARK}    sum(range(10**12))",
    "regular expression": f"import re\ndef one(context, inputs):\n{MARK}    re.match('(a+)+$', 'a' * 60 + 'b')",
    "catches all": f"import time\ndef one(context, inputs):\n{MARK}    while True:\n"
    "        try: time.sleep(60)\n        except BaseException: pass",
    "ignores signals": f"import signal, time\ndef one(context, inputs):\n"
    f"    for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n{MARK}    while True:\n"
    "        try: time.sleep(60)\n        except BaseException: pass",
    "a child that ignores signals": "import subprocess, sys\ndef one(context, inputs):\n"
    "    code = 'import signal, sys, time, os; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)];'"
    "        'open(sys.argv[1], \"w\").write(str(os.getpid())); time.sleep(60)'\n"
    "    subprocess.run([sys.executable, '-c', code, inputs['path']])",
    "blocks the loop": f"import time\nasync def one(context, inputs):\n{MARK}    time.sleep(60)",
}


INTERRUPTED = {"python loop", "sleep", "async sleep", "regular expression"}  # or killed, where it is deep in C


def began(run, path):
    """Wait until the step's code has left its mark; the process that did."""
    until(lambda: (path.exists() and path.read_text() != "") or run.done)
    assert not run.done, run.rows()
    return int(path.read_text())


@pytest.mark.parametrize("what", STUBBORN)
def test_cancel_ends_whatever_a_step_does_and_its_process_where_it_must(place, what, tmp_path):
    if not place.apart and what != "async sleep":
        pytest.skip("a thread of the kernel cannot be stopped, only left behind: see test_session.py")
    run = place.begin(cell(STUBBORN[what])["one"], {"path": str(tmp_path / "pid")})
    pid = began(run, tmp_path / "pid")
    since = time.monotonic()

    run.cancel()
    assert run.wait(STOPPED_S, echo=False)

    assert (run.status, outcomes(run)) == ("cancelled", ["cancelled"])
    if place.apart and what not in INTERRUPTED:
        until(lambda: is_gone(pid), STOPPED_S)
    assert time.monotonic() - since < STOPPED_S
    assert place.works()


@pytest.mark.parametrize("what", ["sleep", "async sleep", "C loop", "ignores signals"])
def test_a_step_that_takes_too_long_fails_and_is_stopped(place, what, tmp_path):
    if not place.apart and what != "async sleep":
        pytest.skip("a thread of the kernel cannot be stopped, only left behind")
    since = time.monotonic()

    run = place.run(cell(STUBBORN[what])["one"], {"path": str(tmp_path / "pid")}, timeout=0.5)

    assert time.monotonic() - since < STOPPED_S + 0.5
    assert (run.status, error_of(run).type, outcomes(run)) == ("failed", "StepTimeout", ["timeout"])
    assert place.works()


def test_to_cancel_one_run_harms_no_other(place, tmp_path):
    waits = cell(
        "import asyncio, pathlib\nasync def one(context, inputs):\n    pathlib.Path(inputs['mine']).touch()\n"
        "    while not pathlib.Path(inputs['go']).exists(): await asyncio.sleep(0.005)\n    return 'done'"
    )["one"]
    go = tmp_path / "go"
    kept, stopped = (place.begin(waits, {"mine": str(tmp_path / n), "go": str(go)}) for n in ("a", "b"))
    until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())

    stopped.cancel()
    assert stopped.wait(STOPPED_S, echo=False)
    still = kept.status
    go.touch()

    assert (stopped.status, still, kept.result(DEADLINE).output) == ("cancelled", "running", {"ok": "done"})


def test_many_at_once_all_come_back_to_their_own(place):
    names = cell("def square(context, inputs): return inputs['n'] ** 2")
    runs = [place.begin(names["square"], {"n": n}) for n in range(60)]

    assert [run.result(DEADLINE).output["ok"] for run in runs] == [n**2 for n in range(60)]


# -- what a step says -----------------------------------------------------------------------------------------------

TALKS = """
import logging, sys, threading, warnings
def one(context):
    print("one")
    print("two", file=sys.stderr)
    print("three ", end="")
    print("four", flush=True)
    sys.stdout.writelines(["five\\n", "six\\n"])
    handler = logging.StreamHandler()
    logger = logging.getLogger("contract"); logger.addHandler(handler); logger.warning("seven"); logger.removeHandler(handler)
    warnings.simplefilter("always"); warnings.warn("eight")
    print("lone \\ud800")
    return sys.stdout.write("1234\\n")
"""


@pytest.fixture
def warnings_are_shown(monkeypatch):
    """As they are where pytest does not collect them."""
    spec = importlib.util.find_spec("warnings")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    monkeypatch.setattr(warnings, "_showwarnmsg_impl", fresh._showwarnmsg_impl)


@pytest.mark.usefixtures("warnings_are_shown")
def test_prints_stderr_logging_and_warnings_come_in_the_order_in_which_they_were_said(place):
    run = place.run(cell(TALKS)["one"])

    text = run.output("one")
    assert [line for line in text.splitlines() if "eight" not in line and "warnings.warn" not in line] == [
        "one",
        "two",
        "three four",
        "five",
        "six",
        "seven",
        "lone ?",
        "1234",
    ]
    assert text.index("seven") < text.index("UserWarning: eight") < text.index("lone ?")
    streams = {text: e.stream for e in run.events if type(e) is AttemptOutput for text in e.text.split()}
    assert (streams["one"], streams["two"], streams["seven"], streams["lone"]) == (
        "stdout",
        "stderr",
        "stderr",
        "stdout",
    )
    assert run.results[0] == 5


def test_a_print_is_told_while_the_step_runs(place, tmp_path):
    talks = cell(
        "import pathlib, time\ndef one(context, inputs):\n    print('early')\n"
        "    while not pathlib.Path(inputs['go']).exists(): time.sleep(0.005)\n    print('late')"
    )["one"]
    run = place.begin(talks, {"go": str(tmp_path / "go")})

    until(lambda: "early" in run.output("one"))
    said, live = run.rows()[0].said, run.status
    (tmp_path / "go").touch()

    assert (said, live, run.wait(DEADLINE, echo=False)) == ("early", "running", True)
    assert run.output("one") == "early\nlate\n"


FLOOD = """
import sys
def one(context):
    for n in range(60_000):
        print(f"{n:>78}")
    print("the complaint", file=sys.stderr)
    print("the last line")
"""


def test_of_a_flood_all_is_in_a_file_and_the_events_hold_its_beginning_and_its_end(place):
    run = place.run(cell(FLOOD)["one"])

    whole = "".join(f"{n:>78}\n" for n in range(60_000)) + "the complaint\nthe last line\n"
    told = "".join(e.text for e in run.events if type(e) is AttemptOutput and e.stream != "notice")
    assert run.output("one") == whole
    assert len(whole) > 4 * len(told) / 1.5
    assert whole.startswith(told[: 1 << 20])
    assert told.endswith(whole[-4096:])
    tail = "".join(text for stream, text in run.details("one").output if stream != "notice")
    assert whole.endswith(tail)
    path = run.files.text_path(0, 1)
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, len(whole))


SHOWS = """
class Table:
    def __repr__(self): return "a table"
    def _repr_html_(self): return "<b>bold</b>"
    def _repr_png_(self): return b"\\x89PNG\\r\\n\\x1a\\n" + b"0" * 10
    def _repr_javascript_(self): return "alert(1)"
def one(context):
    from IPython.display import display
    print("before")
    display(Table(), 3)
    print("after")
"""


def test_what_a_step_displays_stands_among_its_prints_and_is_kept_in_a_file(place, shell):
    run = place.run(cell(SHOWS)["one"])

    assert list(run.details("one").output) == [
        ("stdout", "before\n"),
        ("shown 1.1", "a table\n"),
        ("stdout", "3\n"),
        ("stdout", "after\n"),
    ]
    assert run.files.shown(0, 1, 1) == {
        "text/plain": b"a table",
        "text/html": b"<b>bold</b>",
        "image/png": b"\x89PNG\r\n\x1a\n" + b"0" * 10,
    }
    assert run.output("one") == "before\na table\n3\nafter\n"


def test_clear_output_takes_back_what_was_shown(place, shell):
    clears = cell(
        "from IPython.display import clear_output\ndef one(context):\n"
        "    for n in range(3):\n        clear_output(wait=True)\n        print(n)\n"
    )["one"]

    run = place.run(clears)

    assert "".join(text for _, text in run.details("one").output) == "2\n"


def test_clear_output_as_the_last_thing_leaves_nothing_shown(place, shell):
    clears = cell("from IPython.display import clear_output\ndef one(context):\n    print(1)\n    clear_output()\n")[
        "one"
    ]

    run = place.run(clears)

    assert "".join(text for _, text in run.details("one").output) == ""


def test_progress_is_told_and_folds_to_the_last_of_it(place):
    moves = cell(
        "from cerebelum_nb import ProgressReporter\nimport asyncio\nasync def one(context):\n"
        "    reporter = ProgressReporter(context)\n"
        "    reporter.update(25, 'a quarter')\n    await asyncio.sleep(0.15)\n    reporter.update(100, 'all')"
    )["one"]

    run = place.run(moves)

    assert [(e.done, e.text) for e in run.events if type(e) is AttemptProgress][-1] == (1.0, "all")
    assert run.state.progress[0] == (1.0, "all")


def test_a_step_that_asks_goes_on_with_the_answer_where_it_stopped(place):
    asks = cell(
        "from cerebelum_nb import wait_for_approval\nasync def one(context):\n    print('before')\n"
        "    return [await wait_for_approval('may I', data={'n': 1}), 'went on']"
    )["one"]
    run = place.begin(asks)

    until(lambda: run.approvals)
    (question,) = run.approvals
    run.approve("one", {"yes": 2})

    assert (question.step, question.data) == ("one", {"n": 1})
    assert run.result(DEADLINE).output == {"ok": [{"yes": 2}, "went on"]}
    assert (run.output("one"), outcomes(run)) == ("before\n", ["ok"])


# -- the run --------------------------------------------------------------------------------------------------------


def test_the_journal_folds_to_the_live_state_and_tells_the_same_life_everywhere(place):
    run = place.run(cell("def one(context):\n    print('x')\n    return 1")["one"])

    state = RunState()
    for event in journal.read(place.session.journal_path, run.id):
        state.apply(event)

    assert state == run.state
    kinds = [type(e) for e in run.events if getattr(e, "task", None) == 0]
    life = [kind for kind in kinds if kind in (AttemptStarted, AttemptOutput, AttemptFinished)]
    assert [kind for kind, _ in itertools.groupby(life)] == [  # one print is two writes, which may come one by one
        AttemptStarted,
        AttemptOutput,
        AttemptFinished,
    ]
    assert run.output("one") == "x\n"


def test_closing_twice_stops_what_runs_and_then_refuses(place, new_place, tmp_path):
    own = new_place()
    run = own.begin(cell(STUBBORN["async sleep"])["one"], {"path": str(tmp_path / "pid")})
    pid = began(run, tmp_path / "pid")

    own.session.close()
    own.session.close()

    assert run.status == "cancelled"
    assert not place.apart or is_gone(pid)
    with pytest.raises(PlanError, match="this session is closed"):
        own.begin(cell("def one(context): return 1")["one"])
    with pytest.raises(ExecutionError):
        place.value(cell("def one(context): raise ValueError")["one"])  # the other one works on
