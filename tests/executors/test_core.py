"""Attempts through a real Core: what comes back, what is said on the way, what is refused."""

import asyncio
import importlib
import os
import sys
import time

import numpy as np
import psutil
import pytest
import pytest_asyncio
from remote_kit import Heard, attempt, cell, run, until

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.protocols import Executor, Outcome

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=2)
    yield executor
    await executor.close()


async def test_it_is_an_executor_that_crosses_a_boundary(core):
    assert isinstance(core, Executor)
    assert (core.name, core.crosses_boundary, core.capacity) == ("core", True, 256)


async def test_a_step_runs_in_another_process_and_its_result_comes_back(core):
    heard = Heard()

    outcome = await run(core, cell("import os\ndef where(): return os.getpid()")["where"], heard=heard)

    assert outcome.kind == "ok"
    assert outcome.value not in (os.getpid(), core.pids[0])
    assert outcome.value in core.pids
    assert outcome.nbytes > 0
    assert 0 < outcome.run_s < 1
    assert [name for name, _ in heard.heard] == ["started"]


@pytest.mark.parametrize(("side", "writable"), [(500, True), (1000, False)])
async def test_arrays_come_back_whole_and_small_ones_are_the_caller_s_own(core, side, writable):
    array = np.arange(side * side, dtype=np.float32).reshape(side, side)

    outcome = await run(core, cell("def double(a): return a * 2")["double"], array)

    np.testing.assert_array_equal(outcome.value, array * 2)
    assert outcome.value.flags.writeable is writable
    assert array.nbytes <= outcome.nbytes < array.nbytes + 200


async def test_the_ways_there_and_back_are_measured_and_fit_into_the_time_that_passed(core):
    names = cell("import time\ndef make(n): return bytes(n)\ndef take(data): pass\ndef nap(): time.sleep(0.2)")

    async def timed(function, *args):
        began = time.perf_counter()
        outcome = await run(core, function, *args)
        passed = time.perf_counter() - began
        send, fetch = outcome.transfer_s
        assert send > 0
        assert fetch > 0
        assert send + outcome.run_s + fetch <= passed
        return send, fetch

    async def best(function, *args):  # each way's: whatever else the machine does only adds to it
        return [min(ways) for ways in zip(*[await timed(function, *args) for _ in range(5)], strict=True)]

    await timed(names["nap"])
    large_result, large_input = await best(names["make"], 20_000_000), await best(names["take"], bytes(20_000_000))

    assert large_result[0] < large_result[1]
    assert large_input[0] > large_input[1]
    assert sum(await best(names["nap"])) < 0.5


async def test_waiting_for_a_worker_is_neither_a_way_there_nor_back(core):
    names = cell("import time\ndef nap(): time.sleep(0.3)")
    await run(core, names["nap"])

    async def longest():
        outcomes = await asyncio.gather(*(run(core, names["nap"]) for _ in range(6)))
        return max(sum(outcome.transfer_s) for outcome in outcomes)

    assert min([await longest() for _ in range(3)]) < 0.3  # as long as one of them works


async def test_the_ways_of_what_failed_are_measured_too(core):
    failed = await run(core, cell("def fail(): raise ValueError('no')")["fail"])

    assert failed.kind == "error"
    assert min(failed.transfer_s) > 0


async def test_async_steps_run_on_one_loop_and_leave_no_task_behind(core):
    names = cell(
        "import asyncio\n"
        "async def spread():\n"
        "    asyncio.create_task(asyncio.sleep(60), name='left over')\n"
        "    await asyncio.sleep(0.01)\n"
        "    return id(asyncio.get_running_loop())\n"
        "async def others(): return id(asyncio.get_running_loop()), len(asyncio.all_tasks())\n"
    )
    one = CoreExecutor(slots=1)

    first = await run(one, names["spread"])
    second = await run(one, names["others"])
    await one.close()

    assert second.value == (first.value, 1)


@pytest.mark.parametrize(
    ("context_at", "args", "kwargs"), [(0, [None, 5], {}), (None, [5], {"context": None}), (None, [5], {})]
)
async def test_the_context_is_made_where_the_step_runs(core, context_at, args, kwargs):
    fields = {
        "inputs": {"a": (1,)},
        "execution_id": "r",
        "workflow_name": "w",
        "step_name": "s",
        "executor": "distributed",
    }
    step = cell(
        "def first(context, x): return (x, context.inputs, context.executor, type(context).__name__)\n"
        "def named(x, context=0): return (x, context and (context.inputs, context.step_name))"
    )["first" if context_at == 0 else "named"]

    outcome = await run(core, step, *args, kwargs=kwargs, context_at=context_at, fields=fields)

    expected = {0: (5, {"a": (1,)}, "distributed", "Context")}.get(context_at, (5, ({"a": (1,)}, "s") if kwargs else 0))
    assert outcome.value == expected


BAD = (
    "import sys, asyncio\n"
    "def fail(how): raise how\n"
    "class Bad:\n"
    "    def __init__(self, how, where): self.how, self.where = how, where\n"
    "    def __reduce__(self):\n"
    "        return fail(self.how()) if self.where == 'here' else (fail, (self.how(),))\n"
    "hows = [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, BaseException]\n"
    "def step(n, where): return Bad(hows[n], where)\n"
    "def take(bad): return 1\n"
)


@pytest.mark.parametrize("n", range(5))
async def test_a_value_that_raises_anything_when_it_is_written_or_read_is_an_error_and_harms_nobody(core, n):
    names = cell(BAD)
    bad, kind = names["Bad"], names["hows"][n]

    written = await run(core, names["step"], n, "here")
    read = await run(core, names["step"], n, "there")
    sent = await run(core, names["take"], bad(kind, "here"))
    received = await run(core, names["take"], bad(kind, "there"))
    captured = await run(
        core, cell("def step(): return bad", {"__name__": "__main__", "bad": bad(kind, "here")})["step"]
    )

    outcomes = [written, read, sent, received, captured]
    assert [(o.kind, o.error.type) for o in outcomes] == [
        ("error", "UnserializableResult"),
        ("error", "UnreadableResult"),
        ("error", "WireError"),
        ("error", kind.__name__),
        ("error", "CaptureError"),
    ]
    assert kind.__name__ in written.error.message
    assert kind.__name__ in read.error.message
    assert (await run(core, cell("def step(): return 1")["step"])).value == 1


async def test_an_error_that_cannot_even_be_printed_does_not_escape(core):
    source = (
        "class Dumb(Exception):\n    def __str__(self): raise SystemExit\n"
        "def fail(): raise Dumb\n"
        "class Bad:\n    def __reduce__(self): return fail, ()\n"
        "class Worse:\n    def __reduce__(self): fail()\n"
        "def bad(): return Bad()\ndef worse(): return Worse()\n"
    )

    outcomes = [await run(core, cell(source)[name]) for name in ("bad", "worse")]

    assert [o.error.type for o in outcomes] == ["UnreadableResult", "UnserializableResult"]
    assert all("Dumb: its __str__ raised SystemExit" in o.error.message for o in outcomes)


async def test_a_sync_step_that_returns_a_coroutine_or_an_open_file_is_told_so(core):
    names = cell(
        "import os, functools\nasync def inner(): return 1\ndef lazy(): return inner()\n"
        "def opens(): return {'file': open(os.devnull)}\n"
        "part = functools.partial(inner)\n"
        "class Call:\n    async def __call__(self): return 2\n"
    )

    lazy, opens = await run(core, names["lazy"]), await run(core, names["opens"])

    assert (lazy.error.type, lazy.error.message) == (
        "UnserializableResult",
        "step 'lazy' returned a coroutine: write async def, or await it",
    )
    assert opens.error.type == "UnserializableResult"
    assert opens.error.message.startswith("result['file'] is an _io.TextIOWrapper, which cannot be sent")
    assert [(await run(core, f)).value for f in (names["inner"], names["part"], names["Call"]())] == [1, 1, 2]


async def test_a_workflow_cannot_be_run_inside_a_step_and_says_what_to_do(core, monkeypatch):
    monkeypatch.setattr(registry, "_steps", {})  # a workflow takes its registry along: not other tests' steps
    monkeypatch.setattr(registry, "workflows", {})
    names = cell(
        "from cerebelum_nb import workflow, step\n@step\ndef one(): return 1\n"
        "@workflow\ndef flow(wf): wf.timeline(one)\ndef outer(): return flow.run()\n"
        "def fresh():\n    import cerebelum_nb\n    return flow.run()\n"
    )

    for name in ("outer", "fresh"):
        outcome = await run(core, names[name])
        assert (outcome.kind, outcome.error.type) == ("error", "PlanError")
        assert outcome.error.message == (
            "a step on a worker cannot run workflows: call the step's function directly, or run the outer step locally"
        )


async def test_a_step_does_not_see_what_an_earlier_one_did_to_its_process():
    core = CoreExecutor(slots=1)
    names = cell(
        "import os, signal\n"
        "def look(): return dict(os.environ), os.getenv('PATH'), os.getcwd(), signal.getsignal(signal.SIGTERM),"
        " signal.getsignal(signal.SIGINT).__name__, os.popen('echo $HOME $LEFT').read()\n"
        "def change():\n"
        "    os.environ['LEFT'] = 'x'; os.environ.pop('PATH'); os.environ['HOME'] = '/nowhere'; os.chdir('/')\n"
        "    for each in (signal.SIGTERM, signal.SIGINT): signal.signal(each, signal.SIG_IGN)\n"
        "def replace(): os.environ = {}\n"
    )
    first = await run(core, names["look"])

    for each in ("change", "replace"):
        await run(core, names[each])
        assert (await run(core, names["look"])).value == first.value
    await core.close()


async def test_an_argument_that_cannot_be_sent_is_an_error_and_nothing_is_started(core):
    heard = Heard()

    outcome = await run(core, cell("def step(x): return x")["step"], (n for n in "a"), heard=heard)

    assert (outcome.kind, outcome.error.type) == ("error", "WireError")
    assert "generator" in outcome.error.message
    assert heard.heard == []


async def test_a_global_that_cannot_be_sent_is_named(core):
    names = cell("import threading\nlock = threading.Lock()\ndef load():\n    with lock: return 1\n")

    outcome = await run(core, names["load"], step="x")

    assert outcome == Outcome(
        "error",
        error=ErrorInfo(
            "CaptureError",
            "step 'x' uses the global 'lock', a _thread.lock, which cannot be sent to a worker. "
            "Create it inside the step, pass it as an input, or run the step locally.",
        ),
    )


async def test_much_that_goes_along_with_a_step_is_told_once_per_attempt_and_too_much_is_refused(core):
    names = cell("def step(): return len(table)", {"__name__": "__main__", "table": bytes(3 << 20)})
    heard = [Heard(), Heard()]

    outcomes = [await run(core, names["step"], heard=each) for each in heard]
    names["table"] = bytes(17 << 20)
    refused = await run(core, names["step"])

    assert [o.value for o in outcomes] == [3 << 20] * 2
    for each in heard:
        assert each.text("notice") == (
            "step 'step' takes 3.0 MiB along to a worker with each attempt: the global 'table' (3.0 MiB). "
            "Pass it as an input, or load it inside the step.\n"
        )
    assert (refused.kind, refused.error.type) == ("error", "CaptureError")
    assert "the global 'table' (17.0 MiB). Pass it as an input" in refused.error.message


async def test_helpers_and_globals_are_those_at_submit(core):
    names = cell(
        "import math\nfactor = 2\ndef helper(x): return x * factor + math.floor(0.5)\ndef step(x): return helper(x)"
    )

    first = await run(core, names["step"], 10)
    names["factor"] = 3
    second = await run(core, names["step"], 10)
    cell("def helper(x): return 'new'", names)
    third = await run(core, names["step"], 10)

    assert [first.value, second.value, third.value] == [20, 30, "new"]


async def test_prints_arrive_in_order_before_the_outcome(core):
    source = (
        "import sys, threading, os\n"
        "def step():\n"
        "    print('one')\n"
        "    print('two', file=sys.stderr)\n"
        "    print('three \\ud800')\n"
        "    t = threading.Thread(target=print, args=('from a thread',)); t.start(); t.join()\n"
        "    return 1\n"
    )
    heard = Heard()

    outcome = await run(core, cell(source)["step"], heard=heard)

    assert outcome.value == 1
    assert heard.heard[1:] == [("stdout", "one\n"), ("stderr", "two\n"), ("stdout", "three ?\nfrom a thread\n")]


async def test_what_child_processes_and_c_code_print_is_shown_as_the_steps_own(core, tmp_path):
    heard = Heard()
    source = (
        "import os, subprocess, multiprocessing, pathlib, time\n"
        "def step(path):\n"
        "    os.write(1, 'descriptor é\\n'.encode())\n"
        "    os.system('echo shell; echo complaint >&2')\n"
        "    subprocess.run(['echo', 'subprocess'])\n"
        "    import sys; subprocess.run(['echo', 'given'], stdout=sys.stdout)\n"
        "    child = multiprocessing.get_context('fork').Process(target=print, args=('forked',))\n"
        "    child.start(); child.join()\n"
        "    while not pathlib.Path(path).exists(): time.sleep(0.005)\n"
        "    os.system('echo last')\n"
    )

    running = asyncio.ensure_future(run(core, cell(source)["step"], str(tmp_path / "go"), heard=heard))
    await until(lambda: "forked" in heard.text())
    (tmp_path / "go").touch()

    assert (await running).kind == "ok"
    assert heard.text() == "descriptor é\nshell\nsubprocess\ngiven\nforked\nlast\n"
    assert heard.text("stderr") == "complaint\n"


async def test_a_flood_from_a_child_process_is_cut_and_ends_with_the_step(core):
    heard = Heard()
    step = cell(
        "import subprocess\nfrom pathlib import Path\ndef step():\n"
        "    flood = Path('/proc', str(subprocess.Popen(['yes']).pid), 'io')\n"
        "    while 'wchar: 0' in flood.read_text(): pass\n"
        "    subprocess.run(['seq', '300000'])"
    )

    outcome = await run(core, step["step"], heard=heard)

    assert outcome.kind == "ok"
    assert 300_000 < len(heard.text().splitlines()) < 60_000_000


async def test_a_step_that_closes_its_standard_descriptors_harms_nobody():
    core, heard = CoreExecutor(slots=1), Heard()
    names = cell("import os\ndef closes():\n    os.close(1); os.close(2)\n    print('on')\ndef one(): return 1")

    await run(core, names["closes"], heard=heard)

    assert heard.text() == "on\n"
    assert (await run(core, names["one"])).value == 1
    await core.close()


async def test_a_module_beside_the_notebook_imports_on_workers(core, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    await core.start()
    (tmp_path / "beside_the_notebook.py").write_text("def f(): return 'here'\ndef g(x): return x + f()")
    beside_the_notebook = importlib.import_module("beside_the_notebook")

    inside = await run(
        core, cell("import os\ndef step():\n    import beside_the_notebook as b\n    return b.f(), os.getcwd()")["step"]
    )
    by_name = await run(core, beside_the_notebook.g, "I am ")
    sys.modules.pop("beside_the_notebook")

    assert (inside.value, by_name.value) == (("here", str(tmp_path)), "I am here")


async def test_what_no_memory_is_shared_for_is_refused_with_size_and_limit_when_it_is_too_large():
    core = CoreExecutor(slots=1, pool=Pool("strangers", 1, trust="untrusted"), limit_nbytes=64 << 20)
    result = await run(core, cell("def big(): return bytes(65 << 20) + b'x'")["big"])
    argument = await run(core, cell("def take(x): return 1")["take"], np.zeros(65 << 17))
    after = await run(core, cell("def fits(): return 'é' * (5 << 20)")["fits"])
    await core.close()

    assert "the result of step 'big' is 65.0 MiB when encoded; at most 64 MiB" in result.error.message
    assert "the input of step 'take' is 65.0 MiB when encoded; at most 64 MiB" in argument.error.message
    assert after.value == "é" * (5 << 20)


async def test_many_attempts_at_once_all_come_back_to_their_callers(core):
    step = cell("def step(x): return x * 2")["step"]

    outcomes = await asyncio.gather(*[run(core, step, n) for n in range(500)])

    assert [o.value for o in outcomes] == [2 * n for n in range(500)]


async def test_starting_from_many_places_starts_one_core(core):
    before = {p.pid for p in psutil.Process().children()}  # other tests may have theirs

    await asyncio.gather(*[core.start() for _ in range(10)])
    await core.start()

    ours = [p.pid for p in psutil.Process().children() if p.pid not in before and "cerebelum_nb.core" in p.cmdline()]
    assert ours == [core.pids[0]]


async def test_closing_twice_ends_all_processes_and_answers_what_runs(core):
    heard = Heard()
    running = asyncio.ensure_future(core.run(attempt(cell("import time\ndef nap(): time.sleep(60)")["nap"]), heard))
    async with asyncio.timeout(20):
        await heard.begun.wait()
    pids, directory = core.pids, core._link.process.directory

    await core.close()
    await core.close()

    assert (await running).kind == "cancelled"
    assert len(pids) == 3
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not directory.exists()


async def test_after_close_it_can_be_started_again(core):
    await core.start()
    await core.close()

    assert (await run(core, cell("def step(): return 1")["step"])).value == 1


async def test_a_child_that_a_step_forks_does_not_speak_for_it(core):
    step = cell(
        "import os\ndef step():\n    if os.fork() == 0:\n        return 'the child'\n    os.wait()\n    return 'the parent'"
    )["step"]

    assert [(await run(core, step)).value for _ in range(3)] == ["the parent"] * 3
