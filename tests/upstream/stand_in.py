"""Stands for a real Core of Cerebelum's makers, with its faults: what matters to who runs single steps on it.

It drops inputs, hands any task to any poll, also to one whose client is gone; starts to listen for an answer only after
it has handed the task out; answers `ExecuteWorkflow` at the end; loses its patience with a step and begins the workflow
again under another id; falls over SLEEP, TIMEOUT and CANCELLED the same way; loses what waits when its router falls;
cannot say how an execution is.
"""

import asyncio
import contextlib
import re
import uuid
from typing import Any

import grpc
import grpc.aio

from cerebelum_nb.upstream.schema import METHODS, SERVICE, Number, schema


class StandIn:
    """One Core.

    Args:
        patience_s: A real one has 300.
        deaf_s: An answer that comes so soon after its task is lost.
    """

    def __init__(self, patience_s: float = 300.0, deaf_s: float = 0.001) -> None:
        self.patience_s, self.deaf_s = patience_s, deaf_s
        self.port = 0
        self.heard: list[bytes] = []  # all that was ever sent to it
        self.workers: dict[str, Any] = {}
        self.blueprints: dict[str, Any] = {}
        self.executions: list[tuple[str, str]] = []  # id and how it ended
        self.results: list[tuple[str, int, str]] = []  # step, status, kind of error
        self.crashes: list[str] = []
        self.holds = False  # it hands nothing out
        self.robbed = False  # a stranger takes every task, and fails
        self.disorderly = False  # what waited last is handed out first: across executions no order is kept
        self.forgets = 0  # so many times it is started anew between a blueprint and its execution
        self.queue: list[Any] = []
        self._parked: list[asyncio.Future[Any]] = []
        self._handed: dict[str, float] = {}  # tasks, and when
        self._awaited: dict[str, asyncio.Future[Any]] = {}
        self._server: Any = None

    async def start(self, port: int = 0, credentials: Any = None) -> "StandIn":
        self._server = grpc.aio.server()
        does = {name: self._handler(name) for name in METHODS}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, does),))
        at, self._scheme = f"127.0.0.1:{port}", "grpcs" if credentials else "grpc"
        secure = self._server.add_secure_port
        self.port = secure(at, credentials) if credentials else self._server.add_insecure_port(at)
        await self._server.start()
        return self

    async def stop(self) -> None:
        await self._server.stop(None)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def polls(self) -> int:
        return sum(not parked.done() for parked in self._parked)

    def _handler(self, name: str) -> Any:
        kind, method = getattr(schema(), METHODS[name][0]), getattr(self, re.sub("([A-Z])", r"_\1", name).lower())

        async def handle(data: bytes, _context: Any) -> bytes:
            self.heard.append(data)
            # As there, what it does goes on when the client is gone.
            answer = await asyncio.shield(asyncio.ensure_future(method(kind.FromString(data))))
            return bytes(answer.SerializeToString())

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _register(self, request: Any) -> Any:
        known = request.worker_id in self.workers
        self.workers.setdefault(request.worker_id, request)
        said = "Worker already registered" if known else "ok"
        return schema().RegisterResponse(success=not known, message=said, heartbeat_interval_ms=10_000)

    async def _heartbeat(self, _request: Any) -> Any:
        return schema().HeartbeatResponse(acknowledged=True)

    async def _unregister(self, request: Any) -> Any:
        self.workers.pop(request.worker_id, None)
        return schema().Empty()

    async def _poll_for_task(self, request: Any) -> Any:
        if request.timeout_ms < 0:
            self.crashes.append("router")
        if self.queue and not self.holds:
            return self._give(self.queue.pop(-1 if self.disorderly else 0))
        parked = asyncio.get_running_loop().create_future()
        self._parked.append(parked)
        with contextlib.suppress(TimeoutError):
            return self._give(await asyncio.wait_for(parked, min(request.timeout_ms, 30_000) / 1000))
        return schema().Task()

    def _give(self, task: Any) -> Any:
        self._handed[task.task_id] = asyncio.get_running_loop().time()
        return task

    def _put(self, task: Any) -> None:
        self._parked = [parked for parked in self._parked if not parked.done()]
        if self.robbed:
            failed = schema().TaskResult(task_id=task.task_id, status=Number.FAILED)
            self._awaited.pop(task.task_id).set_result(failed)
        elif self._parked and not self.holds:
            self._parked.pop(0).set_result(task)
        else:
            self.queue.append(task)

    def lose_all(self) -> None:
        """Its router falls: what waited there, tasks and polls, is gone."""
        self.crashes.append("router")
        self.queue.clear()
        for parked in self._parked:
            if not parked.done():
                parked.set_exception(RuntimeError("router"))

    def release(self) -> None:
        self.holds = False
        queue, self.queue = self.queue, []
        for task in queue:
            self._put(task)

    async def _submit_result(self, request: Any) -> Any:
        awaited = self._awaited.pop(request.task_id, None)
        if awaited is None or request.task_id not in self._handed:
            return schema().Ack(success=False, message=f"Task not found: {request.task_id}")
        self.results.append((awaited.step, request.status, request.error.kind))
        late = asyncio.get_running_loop().time() - self._handed[request.task_id] >= self.deaf_s
        if late and not awaited.done():
            awaited.set_result(request)
        return schema().Ack(success=True)

    async def _submit_blueprint(self, request: Any) -> Any:
        self.blueprints[request.workflow_module] = request
        return schema().BlueprintValidation(valid=bool(request.definition.timeline), workflow_hash=request.version)

    async def _execute_workflow(self, request: Any) -> Any:
        if self.forgets:
            self.forgets -= 1
            self.blueprints.clear()
        blueprint = self.blueprints.get(request.workflow_module)
        if blueprint is None:
            return schema().ExecutionHandle(execution_id=f"error_{len(self.executions)}", status="failed")
        (step,) = blueprint.definition.timeline
        while True:
            execution = str(uuid.uuid4())
            task = schema().Task(
                task_id=f"task_{uuid.uuid4().hex}",
                execution_id=execution,
                workflow_module=request.workflow_module,
                step_name=step.name,
            )
            task.step_inputs.update({"previous_results": []})
            awaited = self._awaited[task.task_id] = Awaited(request.workflow_module)
            self._put(task)
            try:
                result = await asyncio.wait_for(awaited, self.patience_s)
            except TimeoutError:
                self.crashes.append(f"task_timeout {request.workflow_module}")
                continue  # from its first step, under another id
            if result.status not in {Number.SUCCESS, Number.FAILED, Number.APPROVAL}:
                self.crashes.append(f"status {result.status}")
                continue
            self.executions.append((execution, "completed" if result.status == Number.SUCCESS else "failed"))
            return schema().ExecutionHandle(execution_id=execution, status="running")

    async def _get_execution_status(self, _request: Any) -> Any:
        raise KeyError("step_index")

    _list_executions = _get_execution_status

    async def _resume_execution(self, request: Any) -> Any:
        return schema().ExecutionHandle(execution_id=request.execution_id, status="already_running")


class Awaited(asyncio.Future):
    """An answer that is awaited, and for what."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step = step
