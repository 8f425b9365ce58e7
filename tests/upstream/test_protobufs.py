"""Each major version of protobuf that people have: the messages are made, and a server serves with them."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]  # slow, and wants the network
PROGRAM = """\
import asyncio, google.protobuf, grpc.aio
from cerebelum_nb.upstream import serve_upstream
from cerebelum_nb.upstream.schema import SERVICE, schema

async def main():
    port = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve_upstream(port=0, ready=port.set_result, say=lambda line: None))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await port}") as channel:
        async def call(method, answer, **fields):
            asked = {"Register": "RegisterRequest", "SubmitBlueprint": "Blueprint", "ExecuteWorkflow": "ExecuteRequest",
                     "PollForTask": "PollRequest", "SubmitResult": "TaskResult",
                     "GetExecutionStatus": "GetExecutionStatusRequest"}[method]
            message = getattr(schema(), asked)(**fields).SerializeToString()
            return getattr(schema(), answer).FromString(await channel.unary_unary(f"/{SERVICE}/{method}")(message))
        inputs, output = schema().Struct(), schema().Struct()
        inputs.update({"n": [1, {"x": None}]})
        output.update({"ok": 5})
        await call("Register", "RegisterResponse", worker_id="w", capabilities=["a"], language="python")
        await call("SubmitBlueprint", "BlueprintValidation", workflow_module="f", definition={"timeline": [{"name": "a"}]})
        handle = await call("ExecuteWorkflow", "ExecutionHandle", workflow_module="f", inputs=inputs)
        task = await call("PollForTask", "Task", worker_id="w", timeout_ms=5000)
        assert task.step_inputs.fields["inputs"].struct_value == inputs
        await call("SubmitResult", "Ack", task_id=task.task_id, worker_id="w", status=1, result=output)
        said = await call("GetExecutionStatus", "ExecutionStatus", execution_id=handle.execution_id)
        assert said.step_outputs["a"] == output and said.status == 2
    serving.cancel()
    print(google.protobuf.__version__)

asyncio.run(main())
"""


@pytest.mark.parametrize("version", ["4.25.8", "5.29.5", "6.33.5", "7.36.2"])
def test_each_major_version_of_protobuf_does(version, tmp_path):
    place = tmp_path / "other"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", place]
    done = subprocess.run([*pip, f"protobuf=={version}"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr

    env = {**os.environ, "PYTHONPATH": str(place)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert (ran.stdout, ran.returncode) == (f"{version}\n", 0), ran.stderr


def test_without_protobuf_the_message_says_what_to_install(tmp_path):
    hide = "import sys; sys.modules['google.protobuf'] = None\n"
    program = "import asyncio; from cerebelum_nb.upstream import serve_upstream; asyncio.run(serve_upstream(port=0))"
    ran = subprocess.run(
        [sys.executable, "-c", hide + program], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )

    assert ran.stderr.endswith(
        "Cerebelum's gRPC protocol needs protobuf 4.25 or newer: pip install 'cerebelum_nb[upstream]'\n"
    )
