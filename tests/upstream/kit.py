"""A server of the SDK's protocol, and clients that speak it without the SDK."""

import asyncio
import contextlib
import itertools
from typing import Any

import grpc
import grpc.aio

from cerebelum_nb.upstream import serve_upstream
from cerebelum_nb.upstream.schema import METHODS, SERVICE, Number, schema

DEADLINE_S = 20.0
_names = itertools.count(1)


class Client:
    """One connection: somebody who calls the protocol's methods."""

    def __init__(self, port: int) -> None:
        # else gRPC shares one connection between the clients of a process
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)

    async def send(self, method: str, data: bytes) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self._channel.unary_unary(f"/{SERVICE}/{method}")(data)

    async def call(self, method: str, **fields: Any) -> Any:
        asked, answered = (getattr(schema(), name) for name in METHODS[method])
        return answered.FromString(await self.send(method, asked(**fields).SerializeToString()))

    async def close(self) -> None:
        await self._channel.close(None)

    # as a client

    async def submit(self, name: str, *steps: str) -> Any:
        """``"c a b"`` is a step c that depends on a and b."""
        listed = [{"name": names[0], "depends_on": names[1:]} for names in map(str.split, steps)]
        return await self.call(
            "SubmitBlueprint", workflow_module=name, language="python", definition={"timeline": listed}
        )

    async def begin(self, name: str, inputs: dict[str, Any] | None = None, **options: Any) -> str:
        handle = await self.call("ExecuteWorkflow", workflow_module=name, inputs=struct(inputs or {}), options=options)
        assert handle.status == "running"
        return handle.execution_id

    async def status(self, execution: str) -> Any:
        return await self.call("GetExecutionStatus", execution_id=execution)

    async def ended(self, execution: str, state: int = Number.COMPLETED) -> Any:
        async with asyncio.timeout(DEADLINE_S):
            while (said := await self.status(execution)).status != state:
                assert said.status not in {Number.COMPLETED, Number.FAILED_EXECUTION}, said
                await asyncio.sleep(0.01)
        return said


class Worker(Client):
    """As the SDK's: one step at a time."""

    async def register(self, *steps: str, name: str = "", language: str = "python") -> "Worker":
        self.name = name or f"worker-{next(_names)}"
        await self.call("Register", worker_id=self.name, capabilities=steps, language=language)
        return self

    async def poll(self, timeout_ms: int = 10_000) -> Any:
        return await self.call("PollForTask", worker_id=self.name, timeout_ms=timeout_ms)

    async def answer(self, task: Any, output: Any = None, status: int = Number.SUCCESS, **more: Any) -> Any:
        return await self.call(
            "SubmitResult",
            task_id=task.task_id,
            execution_id=task.execution_id,
            worker_id=self.name,
            status=status,
            result=struct(output or {}),
            **more,
        )

    async def work(self, does: Any, order: list[str] | None = None) -> None:
        """Answer tasks until cancelled; `does` is called with the step and its inputs."""
        while True:
            task = await self.poll()
            if task.task_id:
                if order is not None:
                    order.append(task.step_name)
                await self.answer(task, does(task.step_name, plain(task.step_inputs)))


class Server:
    """A running server: its port, what it said, and those who are connected."""

    def __init__(self, port: int, said: list[str]) -> None:
        self.port, self.said = port, said
        self._open: list[Client] = []

    def client(self) -> Client:
        self._open.append(Client(self.port))
        return self._open[-1]

    async def worker(self, *steps: str, **more: Any) -> Worker:
        worker = Worker(self.port)
        self._open.append(worker)
        return await worker.register(*steps, **more)

    async def close(self) -> None:
        for one in self._open:
            await one.close()


@contextlib.asynccontextmanager
async def served(**options: Any):
    said: list[str] = []
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve_upstream(port=0, say=said.append, ready=port.set_result, **options))
    await asyncio.wait({serving, port}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    server = Server(port.result(), said)
    try:
        yield server
    finally:
        await server.close()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def struct(values: dict[str, Any]) -> Any:
    made = schema().Struct()
    made.update(values)
    return made


def plain(message: Any) -> Any:
    """A Struct as a dict."""
    return {key: _plain(value) for key, value in message.fields.items()}


def _plain(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "null_value" | None:
            return None
        case kind:
            return getattr(value, kind)
