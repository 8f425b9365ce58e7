"""A Core for programs of the SDK, over real connections."""

import asyncio
import contextlib
import time

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.upstream import check_host, dispatch, serve_upstream
from cerebelum_nb.upstream.deciding import decide
from cerebelum_nb.upstream.schema import METHODS, Number, schema
from tests.upstream.kit import DEADLINE_S, plain, served, struct

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


def adds(step, inputs):
    """A step gives its name and what it got, by name."""
    return {"ok": {"step": step, "got": sorted(inputs)}}


async def test_steps_get_the_inputs_and_what_they_depend_on():
    async with served() as server:
        client, worker = server.client(), await server.worker("a", "b")
        await client.submit("flow", "a", "b a")

        execution = await client.begin("flow", {"n": 3})
        first = await worker.poll()
        await worker.answer(first, {"ok": [1, {"x": None}]})
        second = await worker.poll()

        assert (first.step_name, plain(first.step_inputs)) == ("a", {"inputs": {"n": 3}})
        assert (second.step_name, plain(second.step_inputs)) == ("b", {"a": [1, {"x": None}], "inputs": {"n": 3}})
        assert (first.execution_id, first.workflow_module) == (execution, "flow")
        assert plain(first.context) == {"execution_id": execution, "step_name": "a"}


async def test_an_output_without_ok_is_handed_on_whole():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        await client.begin("flow")
        await worker.answer(await worker.poll(), {"value": 5})

        assert plain((await worker.poll()).step_inputs)["a"] == {"value": 5}


async def test_what_may_run_side_by_side_does_and_a_step_without_dependencies_keeps_its_place():
    async with served() as server:
        client = server.client()
        one, two = await server.worker(), await server.worker()
        await client.submit("flow", "a", "b a", "c a", "d", "e a")
        await client.begin("flow")
        await one.answer(await one.poll(), {"ok": 1})

        b, c = await asyncio.gather(one.poll(), two.poll())
        assert {b.step_name, c.step_name} == {"b", "c"}
        await one.answer(b, {"ok": 1})
        early = asyncio.ensure_future(one.poll(300))
        assert (await early).task_id == ""  # d waits for c too
        await two.answer(c, {"ok": 1})
        d = await two.poll()
        assert (d.step_name, (await one.poll(300)).task_id) == ("d", "")  # and e for d
        await two.answer(d, {"ok": 1})
        assert (await one.poll()).step_name == "e"


@pytest.mark.parametrize("timeout_ms", [0, -5, 150])
async def test_a_poll_is_held_also_where_it_asks_for_no_time_so_that_nobody_spins(timeout_ms):
    async with served() as server:
        worker = await server.worker()
        began = asyncio.get_running_loop().time()
        assert (await worker.poll(timeout_ms)).task_id == ""
        assert asyncio.get_running_loop().time() - began >= 0.09


async def test_a_worker_gets_only_what_it_can_do():
    async with served() as server:
        client, other = server.client(), await server.worker("x")
        await client.submit("flow", "a")
        waiting = asyncio.ensure_future(other.poll(2_000))
        execution = await client.begin("flow")
        await said(server, "step 'a' of workflow 'flow' waits: the worker here does not offer it")
        able = await server.worker("a")
        running = asyncio.ensure_future(able.work(adds))

        await client.ended(execution)
        assert (await waiting).task_id == ""
        running.cancel()


async def test_a_step_that_a_worker_does_not_know_after_all_goes_to_another():
    async with served() as server:
        client, wrong = server.client(), await server.worker()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        await wrong.answer(await wrong.poll(), status=Number.FAILED, error={"kind": "not_found", "message": "a"})

        again = asyncio.ensure_future(wrong.poll(500))
        right = await server.worker()
        await right.answer(await right.poll(), {"ok": 1})
        await client.ended(execution)
        assert (await again).task_id == ""


@pytest.mark.parametrize("takes_inputs", [True, False])
async def test_a_step_that_was_called_wrongly_is_called_the_other_way_and_that_is_remembered(takes_inputs):
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        for attempts in ([True, False], [False]) if not takes_inputs else ([True], [True]):
            execution = await client.begin("flow")
            for has_inputs in attempts:
                task = await worker.poll()
                assert ("inputs" in plain(task.step_inputs)) is has_inputs
                wrong = {"error": "mod.<locals>.a() got an unexpected keyword argument 'inputs'"}
                await worker.answer(task, {"ok": 1} if has_inputs is takes_inputs else wrong)
            await client.ended(execution)

        await worker.register("a", name=worker.name)  # its code may be another one
        await client.begin("flow")
        assert "inputs" in plain((await worker.poll()).step_inputs)


async def test_a_plain_function_that_was_called_wrongly_is_known_by_its_short_traceback():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        said = {"kind": "TypeError", "message": "fn() got an unexpected keyword argument 'inputs'"}
        short, long = '  File "sdk.py", line 1\n', '  File "sdk.py", line 1\n  File "mine.py", line 2\n'

        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), status=Number.FAILED, error={**said, "stacktrace": short})
        await worker.answer(await worker.poll(), {"ok": 1})
        await client.ended(execution)

        await worker.register(name=worker.name)
        await worker.register("a", name=worker.name)
        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), status=Number.FAILED, error={**said, "stacktrace": long})
        said = await client.ended(execution, Number.FAILED_EXECUTION)
        assert said.error.kind == "TypeError"


async def test_an_error_of_a_steps_own_helper_is_the_steps_error():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), {"error": "helper() got an unexpected keyword argument 'inputs'"})

        assert (await client.ended(execution, Number.FAILED_EXECUTION)).error.message.startswith("helper()")


FAILS = [
    ({"output": {"error": "no"}}, ("error", "no")),
    ({"output": {"error": None}}, ("error", "None")),
    (
        {"status": Number.FAILED, "error": {"kind": "KeyError", "message": "'k'", "stacktrace": "x"}},
        ("KeyError", "'k'"),
    ),
    ({"status": Number.TIMEOUT}, ("timeout", "the worker says that the step took too long")),
    ({"status": Number.CANCELLED}, ("cancelled", "the worker says that the step was cancelled")),
    ({"status": 0}, ("bad_status", "the worker says status 0 of step 'a', which means nothing")),
    (
        {"output": {"ok": [1, {"x": float("nan")}]}},
        ("not_finite", "step 'a' returned NaN or infinity, which workers cannot read. Return None or a text instead."),
    ),
]


SDK = '  File "distributed.py", line 5, in _execute_task\n    {}\n'
UNSENDABLE = [
    (SDK.format("result_struct = self._dict_to_struct(output)"), True),
    (SDK.format("return TaskResult("), True),
    (
        SDK.format("output = await step_function(ctx, **inputs)")
        + '  File "mine.py"\n  x = self._dict_to_struct(output)\n',
        False,
    ),
    ("", False),
]


@pytest.mark.parametrize(("trace", "is_theirs"), UNSENDABLE)
async def test_an_output_that_the_sdk_cannot_send_is_told_in_words(trace, is_theirs):
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        error = {"kind": "ValueError", "message": "Unexpected type", "stacktrace": trace}
        await worker.answer(await worker.poll(), status=Number.FAILED, error=error)

        said = await client.ended(execution, Number.FAILED_EXECUTION)
        words = (
            "what step 'a' returned cannot be sent (Unexpected type): return dicts with text as keys, lists, text, "
            "numbers, True, False and None, at most 30 of them in each other"
        )
        assert (said.error.kind, said.error.message) == ("ValueError", words if is_theirs else "Unexpected type")


@pytest.mark.parametrize(("answer", "error"), FAILS)
async def test_what_a_worker_says_of_a_step_that_failed_is_told(answer, error):
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), **answer)

        said = await client.ended(execution, Number.FAILED_EXECUTION)

        assert (said.error.kind, said.error.message) == error
        (step,) = said.completed_steps
        assert (step.step_name, step.status, step.error.message) == ("a", "failed", error[1])
        assert (await worker.poll(200)).task_id == ""  # nothing else begins


async def test_a_failure_lets_siblings_end_and_starts_nothing_more():
    async with served() as server:
        client, one, two = server.client(), await server.worker(), await server.worker()
        await client.submit("flow", "a", "b a", "c a", "d b c")
        execution = await client.begin("flow")
        await one.answer(await one.poll(), {"ok": 1})
        b, c = await asyncio.gather(one.poll(), two.poll())
        await one.answer(b, {"error": "no"})
        await two.answer(c, {"ok": 2})

        said = await client.ended(execution, Number.FAILED_EXECUTION)
        assert {step.step_name: step.status for step in said.completed_steps} == {
            "a": "completed", b.step_name: "failed", c.step_name: "completed"
        }  # fmt: skip


async def test_a_failed_execution_goes_on_with_what_is_missing_or_from_its_start():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), {"ok": 1})
        await worker.answer(await worker.poll(), {"error": "no"})
        await client.ended(execution, Number.FAILED_EXECUTION)

        resumed = await client.call("ResumeExecution", execution_id=execution, skip_completed_steps=True)
        again = await client.call("ResumeExecution", execution_id=execution, skip_completed_steps=True)
        task = await worker.poll()
        assert (resumed.status, again.status, task.step_name) == ("resumed", "already_running", "b")
        await worker.answer(task, {"error": "no"})
        await client.call("ResumeExecution", execution_id=execution)
        await worker.answer(await worker.poll(), {"ok": 2})
        await worker.answer(await worker.poll(), {"ok": 3})

        said = await client.ended(execution)
        assert plain(said.step_outputs["a"]) == {"ok": 2}
        done = await client.call("ResumeExecution", execution_id=execution)
        assert done.status == "failed_to_resume"


# workers that vanish


@pytest.fixture
def polled(monkeypatch):
    """The workers whose polls have come to the server."""
    came, poll = set(), dispatch.Dispatcher.poll

    def noted(self, worker, *more):
        came.add(worker)
        return poll(self, worker, *more)

    monkeypatch.setattr(dispatch.Dispatcher, "poll", noted)
    return came


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_step_whose_poll_was_dropped_goes_to_the_next_worker(polled):
    async with served() as server:
        client, gone, here = server.client(), await server.worker(), await server.worker()
        await client.submit("flow", "a")
        waiting = asyncio.ensure_future(gone.poll())
        await until(lambda: gone.name in polled)
        waiting.cancel()
        await gone.close()
        await client.begin("flow")

        assert (await here.poll()).step_name == "a"


async def test_a_step_whose_worker_closed_its_connection_goes_to_the_next_and_the_late_answer_is_refused():
    async with served() as server:
        client, gone, here = server.client(), await server.worker(), await server.worker()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        old = await gone.poll()
        await gone.close()

        new = await here.poll(30_000)
        late = await here.call("SubmitResult", task_id=old.task_id, worker_id=gone.name, status=Number.SUCCESS)
        assert (late.success, late.message) == (False, f"Task not found: {old.task_id}")
        stolen = await client.call("SubmitResult", task_id=new.task_id, worker_id="x", status=Number.SUCCESS)
        assert not stolen.success
        await here.answer(new, {"ok": 1})
        await client.ended(execution)
        assert [line for line in server.said if "is gone while it had step 'a'" in line]


async def test_a_worker_that_leaves_gives_back_what_it_holds():
    async with served() as server:
        client, leaves, here = server.client(), await server.worker(), await server.worker()
        await client.submit("flow", "a")
        await client.begin("flow")
        await leaves.poll()
        await leaves.call("Unregister", worker_id=leaves.name, reason="shutdown")

        assert (await here.poll()).step_name == "a"


async def test_a_worker_that_is_silent_for_too_long_has_lost_its_step_and_one_that_beats_has_not():
    async with served(lease_s=2.0) as server:
        client, silent, here = server.client(), await server.worker(), await server.worker()
        await client.submit("flow", "a")
        await client.begin("flow")
        await silent.poll()
        waiting = asyncio.ensure_future(here.poll())
        for _ in range(12):  # longer than the lease
            await asyncio.sleep(0.25)
            beat = await silent.call("Heartbeat", worker_id=silent.name, status=Number.IDLE)
            assert beat.acknowledged
        assert not waiting.done()

        assert (await waiting).step_name == "a"


async def test_a_worker_that_died_while_it_had_nothing_to_do_is_no_worker(monkeypatch, polled):
    monkeypatch.setattr(dispatch, "AWAY_S", 0.3)
    async with served() as server:
        client, gone, here = server.client(), await server.worker("a"), await server.worker("b")
        waiting, other = asyncio.ensure_future(gone.poll()), asyncio.ensure_future(here.poll(20_000))
        await until(lambda: gone.name in polled)
        waiting.cancel()
        await gone.close()
        await client.submit("flow", "a")
        await client.begin("flow")

        await said(server, "step 'a' of workflow 'flow' waits: the worker here does not offer it")
        other.cancel()


async def said(server, line):
    await until(lambda: line in server.said)


async def test_a_step_that_three_workers_were_lost_with_has_failed():
    async with served() as server:
        client = server.client()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        for _ in range(dispatch.LOST_MOST):
            worker = await server.worker()
            await worker.poll()
            await worker.call("Unregister", worker_id=worker.name)

        said = await client.ended(execution, Number.FAILED_EXECUTION)
        assert said.error.kind == "worker_lost"
        assert (
            said.error.message
            == f"3 workers were lost while they had step 'a'; the last one, '{worker.name}', has left"
        )


async def test_a_worker_of_the_sdk_that_asks_for_more_without_an_answer_could_not_send_it():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        await worker.poll()
        await worker.poll(100)

        assert (await client.ended(execution, Number.FAILED_EXECUTION)).error.kind == "no_answer"


async def test_workers_in_other_languages_may_hold_several_steps():
    async with served() as server:
        client, worker = server.client(), await server.worker(language="kotlin")
        await client.submit("flow", "a")
        first, second = await client.begin("flow"), await client.begin("flow")
        tasks = [await worker.poll(), await worker.poll()]
        for task in tasks:
            await worker.answer(task, {"ok": 1})
        await client.ended(first)
        await client.ended(second)


async def test_a_worker_that_this_core_does_not_know_is_told_to_register():
    async with served() as server:
        worker = await server.worker()
        worker.name = "of an earlier Core"
        with pytest.raises(grpc.aio.AioRpcError, match="is not registered here: register it first"):
            await worker.poll()


async def test_a_known_name_registers_again():
    async with served() as server:
        worker = await server.worker()
        assert (await worker.call("Register", worker_id=worker.name)).success
        assert not (await worker.call("Register")).success


async def test_executions_take_turns():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("wide", "root", *(f"s{n} root" for n in range(6)))
        await client.submit("small", "only")
        wide = await client.begin("wide")
        await worker.answer(await worker.poll(), {"ok": 1})
        small = await client.begin("small")
        names = []
        for _ in range(2):
            task = await worker.poll()
            names.append(task.step_name)
            await worker.answer(task, {"ok": 1})
        assert "only" in names, names
        assert (await client.status(small)).status == Number.COMPLETED
        assert (await client.status(wide)).status == Number.RUNNING


# what is too much


async def test_a_result_that_cannot_be_read_fails_its_step_at_once():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        task = await worker.poll()
        sent = schema().TaskResult(task_id=task.task_id, worker_id=worker.name, status=Number.SUCCESS)
        at = sent.result
        for _ in range(60):
            at = at.fields["x"].struct_value
        with pytest.raises(grpc.aio.AioRpcError, match="cannot be read"):
            await worker.send("SubmitResult", sent.SerializeToString())

        said = await client.ended(execution, Number.FAILED_EXECUTION)
        assert "nested too deeply" in said.error.message


async def test_inputs_that_the_sdk_cannot_take_fail_the_step_before_a_worker_has_it():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), {"ok": "x" * (5 << 20)})
        assert (await worker.poll(100)).task_id == ""

        said = await client.ended(execution, Number.FAILED_EXECUTION)
        assert said.error.message.startswith("what step 'b' gets is 5.0 MiB; workers of the SDK take at most 4 MiB.")
        left_out = {"left_out": "5242899 bytes, too much for this answer, of which clients take 4 MiB"}
        assert plain(said.step_outputs["a"]) == left_out
        assert said.ByteSize() < 4 << 20


async def test_an_output_that_fits_into_an_answer_once_is_told_once():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), {"ok": "x" * (2 << 20)})
        await worker.answer(await worker.poll(), {"ok": "small"})

        said = await client.ended(execution)
        assert (len(plain(said.step_outputs["a"])["ok"]), plain(said.step_outputs["b"])) == (2 << 20, {"ok": "small"})
        assert [plain(step.output) for step in said.completed_steps] == [{}, {"ok": "small"}]
        assert said.ByteSize() < 4 << 20


async def test_inputs_with_nan_are_refused():
    async with served() as server:
        client = server.client()
        await client.submit("flow", "a")
        with pytest.raises(grpc.aio.AioRpcError, match="the inputs hold NaN or infinity"):
            await client.begin("flow", {"x": float("inf")})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.lists(
        st.tuples(st.sampled_from(sorted(set(METHODS) - {"PollForTask"})), st.binary(max_size=80)), max_size=8
    )
)
async def test_whatever_is_sent_the_server_answers_or_refuses_and_lives(data):
    async with served() as server:
        client = server.client()
        for method, message in data:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await client.send(method, message)
        assert (await client.submit("flow", "a")).valid


# pauses


async def test_a_step_that_sleeps_gives_what_it_handed_over_and_its_worker_is_free():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        execution = await client.begin("flow")
        asked = {"duration_ms": 700, "data": struct({"at": 1})}
        await worker.answer(await worker.poll(), status=Number.SLEEP, sleep_request=asked)

        sleeping = await client.status(execution)
        assert (sleeping.status, sleeping.sleep_info.duration_ms, sleeping.current_step_name) == (4, 700, "a")
        assert 0 < sleeping.sleep_info.remaining_ms <= 700
        assert plain((await worker.poll()).step_inputs)["a"] == {"at": 1}


@pytest.mark.parametrize("approved", [True, False])
async def test_a_step_that_waits_goes_on_when_somebody_says_so(approved):
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        execution = await client.begin("flow")
        request = {"approval_type": "manual", "data": struct({"sum": 5})}
        await worker.answer(await worker.poll(), status=Number.APPROVAL, approval_request=request)
        asking = await client.ended(execution, Number.WAITING)
        assert (asking.approval_info.approval_type, plain(asking.approval_info.data)) == ("manual", {"sum": 5})

        url = f"127.0.0.1:{server.port}"
        with pytest.raises(ExecutorError, match=f"execution {execution} waits for a, not for step 'x'"):
            await asyncio.to_thread(decide, url, execution, "x", approved=True)
        said = await asyncio.to_thread(decide, url, execution, "", approved=approved, value=[1, 2], reason="too dear")

        assert said == "a"
        if approved:
            assert plain((await worker.poll()).step_inputs)["a"] == [1, 2]
        else:
            failed = await client.ended(execution, Number.FAILED_EXECUTION)
            assert (failed.error.kind, failed.error.message) == ("approval_rejected", "too dear")


async def test_an_approval_that_nobody_gives_in_time_fails():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        execution = await client.begin("flow")
        await worker.answer(await worker.poll(), status=Number.APPROVAL, approval_request={"timeout_ms": 200})

        said = await client.ended(execution, Number.FAILED_EXECUTION)
        assert said.error.message == "nobody approved step 'a' within 0.2 s"


# clients

WRONG = [
    ("flow", [], "the timeline of workflow 'flow' is empty"),
    ("flow", ["a", "a"], "step 'a' is in the timeline of workflow 'flow' twice"),
    ("flow", ["a x"], "step 'a' needs 'x', which workflow 'flow' does not have"),
    ("flow", ["b a", "a"], "step 'b' needs 'a', which does not come before it in the timeline"),
    ("flow", ["a a"], "step 'a' needs 'a', which does not come before it in the timeline"),
    ("", ["a"], "the blueprint has no workflow_module: give the workflow a name"),
]


@pytest.mark.parametrize(("name", "steps", "why"), WRONG)
async def test_a_blueprint_that_cannot_run_is_refused_with_the_reason(name, steps, why):
    async with served() as server:
        said = await server.client().submit(name, *steps)
        assert (said.valid, list(said.errors)) == (False, [why])


UNKNOWN = """\
workflow 'nowhere' is not known here: start a worker that registers it, or execute the workflow itself rather than its \
name"""
CHOOSES = {
    "branch_rules": [{"from_step": "a", "branches": [{"condition": "<lambda>==true", "target": "b"}]}],
    "diverge_rules": [{"from_step": "a", "patterns": [{"pattern": "x", "target": "b"}]}],
}


@pytest.mark.parametrize("rules", CHOOSES)
async def test_a_blueprint_that_chooses_is_refused_since_its_conditions_do_not_travel(rules):
    async with served() as server:
        client = server.client()
        await client.submit("flow", "a")  # as it was before
        definition = {"timeline": [{"name": "a"}, {"name": "b"}], rules: CHOOSES[rules]}
        said = await client.call("SubmitBlueprint", workflow_module="flow", definition=definition)
        await client.call("SubmitBlueprint", workflow_module="flow", definition=definition)  # as its worker does again

        (why,) = said.errors
        assert why.startswith(
            "workflow 'flow' cannot choose its way after 'a': of diverge and branch the SDK sends names"
        )
        assert server.said.count(f"refused: {why}") == 1
        handle = await client.call("ExecuteWorkflow", workflow_module="flow")
        assert (await client.status(handle.execution_id)).error.message == why

        await client.submit("flow", "a")
        await client.begin("flow")


async def test_an_unknown_workflow_gives_an_execution_that_has_failed_and_says_why():
    async with served() as server:
        client = server.client()
        handle = await client.call("ExecuteWorkflow", workflow_module="nowhere", inputs=struct({"n": 1}))
        assert (handle.status, handle.execution_id.startswith("error_")) == ("failed", True)

        said = await client.status(handle.execution_id)
        assert (said.status, said.workflow_name, plain(said.inputs)) == (Number.FAILED_EXECUTION, "nowhere", {"n": 1})
        assert (said.error.kind, said.error.message) == (
            "unknown_workflow",
            UNKNOWN,
        )
        resumed = await client.call("ResumeExecution", execution_id=handle.execution_id)
        assert (resumed.status, (await client.status(handle.execution_id)).status) == (
            "failed_to_resume", Number.FAILED_EXECUTION,
        )  # fmt: skip


async def test_an_unknown_execution_is_an_error_that_tells_what_this_core_remembers():
    async with served() as server:
        client = server.client()
        for method in ("GetExecutionStatus", "ResumeExecution"):
            with pytest.raises(
                grpc.aio.AioRpcError, match=r"no execution 'x' here: this Core began at 20\d\d-"
            ) as raised:
                await client.call(method, execution_id="x")
            assert raised.value.code() == grpc.StatusCode.NOT_FOUND


async def test_what_had_not_ended_is_told_when_the_server_ends():
    async with served() as server:
        client = server.client()
        await client.submit("flow", "a")
        await client.begin("flow")
    assert server.said[-1] == "executions that had not ended: 1. They were in memory, and are gone"


async def test_an_execution_may_bring_its_id_and_its_deadline():
    async with served() as server:
        client = server.client()
        await client.submit("flow", "a")
        assert await client.begin("flow", execution_id="mine") == "mine"
        assert await client.begin("flow", execution_id="mine") == "mine"
        assert (await client.call("ListExecutions")).total_count == 1
        late = await client.begin("flow", timeout_ms=150)
        said = await client.ended(late, Number.FAILED_EXECUTION)
        assert (said.error.kind, said.error.message) == ("timeout", "the execution took longer than 0.15 s")


async def test_executions_are_listed_newest_first_by_name_and_state_and_page():
    async with served() as server:
        client, worker = server.client(), await server.worker("a")
        await client.submit("one", "a")
        await client.submit("two", "b")
        done = await client.begin("one")
        await worker.answer(await worker.poll(), {"ok": 1})
        await client.ended(done)
        open_ = [await client.begin("two") for _ in range(3)]

        async def listed(**asked):
            said = await client.call("ListExecutions", **asked)
            return [e.execution_id for e in said.executions], said.total_count, said.has_more

        assert await listed(workflow_name="", status=0, limit=50) == ([*reversed(open_), done], 4, False)
        assert await listed(status=Number.COMPLETED) == ([done], 1, False)
        assert await listed(workflow_name="two", limit=2) == (open_[:0:-1], 3, True)
        assert await listed(workflow_name="two", limit=2, offset=2) == (open_[:1], 3, False)


async def test_a_status_tells_of_each_step_that_began():
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a", "b a")
        execution = await client.begin("flow", {"n": 1})
        await worker.answer(await worker.poll(), {"ok": "x"})
        await worker.poll()

        said = await client.status(execution)

        assert (said.workflow_name, said.current_step_index, said.total_steps, said.current_step_name) == (
            "flow",
            1,
            2,
            "b",
        )
        assert [(s.step_name, s.step_index, s.status) for s in said.completed_steps] == [
            ("a", 0, "completed"), ("b", 1, "running"),
        ]  # fmt: skip
        assert (plain(said.inputs), plain(said.completed_steps[0].output)) == ({"n": 1}, {"ok": "x"})
        assert not said.HasField("error")
        assert not said.HasField("completed_at")
        assert 0 <= time.time() - said.started_at.ToNanoseconds() / 1e9 < DEADLINE_S


async def test_what_is_over_long_ago_is_forgotten(monkeypatch):
    monkeypatch.setattr(dispatch, "KEPT", 2)
    async with served() as server:
        client, worker = server.client(), await server.worker()
        await client.submit("flow", "a")
        running = asyncio.ensure_future(worker.work(adds))
        ids = [await client.begin("flow") for _ in range(5)]
        async with asyncio.timeout(DEADLINE_S):
            while (await client.call("ListExecutions", status=Number.RUNNING)).total_count:
                await asyncio.sleep(0.01)
        assert {e.execution_id for e in (await client.call("ListExecutions")).executions} == set(ids[3:])
        running.cancel()


# where it listens


async def test_a_port_that_is_taken_is_told():
    async with served() as server:
        with pytest.raises(
            ExecutorError, match=f"port {server.port} of '127.0.0.1' cannot be opened: something else has"
        ):
            await serve_upstream(port=server.port)


@pytest.mark.parametrize("host", ["192.0.2.7", "no.such.host.invalid"])
async def test_a_host_that_is_not_this_one_is_told(host):
    with pytest.raises(
        ExecutorError, match=rf"port 0 of '{host}' cannot be opened: (Cannot assign|Name or service|\w)"
    ) as said:
        await serve_upstream(host, 0, force=True, say=lambda line: None)
    assert "something else has it" not in str(said.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
async def test_this_machine_alone_may_reach_it(host):
    assert check_host(host, force=False) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "example.org", ""])
async def test_others_may_only_where_somebody_says_so(host):
    with pytest.raises(ExecutorError, match="has no passwords and no encryption"):
        check_host(host, force=False)
    assert check_host(host, force=True).startswith("warning: ")
