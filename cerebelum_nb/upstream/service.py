"""`cerebelum.worker.WorkerService` over gRPC: each message to a call of the dispatcher, and its answer to a message.

Messages are read here and not by gRPC, so that one that cannot be read is answered in a line that says why.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from cerebelum_nb.upstream import blueprints, deciding, status, values
from cerebelum_nb.upstream.dispatch import KEPT, Dispatcher
from cerebelum_nb.upstream.executions import Error, Execution
from cerebelum_nb.upstream.leases import Refused, UnknownExecution, UnknownWorker
from cerebelum_nb.upstream.schema import METHODS, SERVICE, schema

HEARTBEAT_MS: Final = 10_000
HOLD_MOST_S, HOLD_LEAST_S = 60.0, 0.1  # a poll is never answered at once with nothing: the SDK would spin
LISTED_MOST: Final = 100
REGISTERED: Final = "registered with cerebelum_nb"

_Context = Any  # grpc.aio.ServicerContext, which has no types


class Service:
    """The ten methods of the protocol, and one of ours."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._schema = schema()
        self._began = time.time()

    def handlers(self) -> list[Any]:
        """What a server serves."""
        answers: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
            "Register": self._register,
            "Heartbeat": self._heartbeat,
            "Unregister": self._unregister,
            "PollForTask": self._poll,
            "SubmitResult": self._result,
            "SubmitBlueprint": self._blueprint,
            "ExecuteWorkflow": self._execute,
            "GetExecutionStatus": self._status,
            "ListExecutions": self._list,
            "ResumeExecution": self._resume,
        }
        ours = {deciding.METHOD: grpc.unary_unary_rpc_method_handler(self._decide)}
        served = {name: self._handler(name, answers[name]) for name in METHODS}
        return [
            grpc.method_handlers_generic_handler(SERVICE, served),
            grpc.method_handlers_generic_handler(deciding.SERVICE, ours),
        ]

    def _handler(self, name: str, answer: Callable[[Any, str], Awaitable[Any]]) -> Any:
        kind = getattr(self._schema, METHODS[name][0])

        async def handle(data: bytes, context: _Context) -> bytes:
            peer = context.peer()
            try:
                message = kind.FromString(data)
            except Exception as exc:  # noqa: BLE001  its class depends on protobuf's implementation
                self._unreadable(name, peer, len(data))
                said = f"the {kind.DESCRIPTOR.name} of {len(data)} bytes cannot be read: {' '.join(str(exc).split())}"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, said[:500])
            try:
                return bytes((await answer(message, peer)).SerializeToString())
            except (UnknownWorker, UnknownExecution) as exc:
                await context.abort(grpc.StatusCode.NOT_FOUND, str(exc))
            except Refused as exc:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(exc))
            raise AssertionError  # `abort` raises

        return grpc.unary_unary_rpc_method_handler(handle)

    def _unreadable(self, name: str, peer: str, nbytes: int) -> None:
        """A result that cannot be read is one all the same: its step must not wait for ever."""
        if name == "SubmitResult":
            for lease in self._dispatcher.held_by(peer):
                text = (
                    f"the result of step {lease.step!r} ({nbytes} bytes) cannot be read: it is damaged or nested too "
                    "deeply (about 30 dicts or 45 lists in each other). Return a flatter value"
                )
                self._dispatcher.fail_lease(lease, Error("unreadable", text))

    # workers -------------------------------------------------------------------------------------------------------

    async def _register(self, request: Any, _peer: str) -> Any:
        if not request.worker_id:
            return self._schema.RegisterResponse(success=False, message="a worker needs a worker_id")
        self._dispatcher.register(request.worker_id, list(request.capabilities), request.language)
        return self._schema.RegisterResponse(success=True, message=REGISTERED, heartbeat_interval_ms=HEARTBEAT_MS)

    async def _heartbeat(self, request: Any, _peer: str) -> Any:
        self._dispatcher.seen(request.worker_id)
        return self._schema.HeartbeatResponse(acknowledged=self._dispatcher.knows(request.worker_id))

    async def _unregister(self, request: Any, peer: str) -> Any:
        self._dispatcher.unregister(request.worker_id, peer)
        return self._schema.Empty()

    async def _poll(self, request: Any, peer: str) -> Any:
        hold_s = min(max(request.timeout_ms / 1000, HOLD_LEAST_S), HOLD_MOST_S)
        return await self._dispatcher.poll(request.worker_id, peer, hold_s) or self._schema.Task()

    async def _result(self, request: Any, _peer: str) -> Any:
        refused = self._dispatcher.answer(request)
        return self._schema.Ack(success=not refused, message=refused or "ok")

    # clients -------------------------------------------------------------------------------------------------------

    async def _blueprint(self, request: Any, _peer: str) -> Any:
        read, wrong = blueprints.read(request)
        if read is None:
            self._dispatcher.refuses(request.workflow_module, "; ".join(wrong))
        else:
            self._dispatcher.takes(read)
        return self._schema.BlueprintValidation(valid=read is not None, errors=wrong, workflow_hash=request.version)

    async def _execute(self, request: Any, _peer: str) -> Any:
        blueprint = self._dispatcher.blueprints.get(request.workflow_module)
        if blueprint is None:  # the SDK expects no exception here
            return self._handle(self._dispatcher.begin_nothing(request.workflow_module, request.inputs), "failed")
        if values.not_finite(request.inputs):
            raise Refused("the inputs hold NaN or infinity, which workers cannot read: send None or a text instead")
        options = request.options
        timeout_s = options.timeout_ms / 1000
        return self._handle(
            self._dispatcher.begin(blueprint, request.inputs, options.execution_id, timeout_s), "running"
        )

    async def _status(self, request: Any, _peer: str) -> Any:
        return status.report(self._execution(request.execution_id))

    async def _list(self, request: Any, _peer: str) -> Any:
        found = [
            execution
            for execution in reversed(self._dispatcher.executions.values())
            if request.workflow_name in {"", execution.blueprint.name}  # the SDK says "" and 0 for any
            and request.status in {0, status.STATES[execution.state]}
        ]
        begin = max(0, request.offset)
        limit = min(request.limit, LISTED_MOST) if request.limit > 0 else LISTED_MOST // 2
        page = found[begin : begin + limit]
        return self._schema.ListExecutionsResponse(
            executions=[status.report(execution, room=status.ROOM_NBYTES // limit) for execution in page],
            total_count=len(found),
            has_more=begin + limit < len(found),
        )

    async def _resume(self, request: Any, _peer: str) -> Any:
        execution = self._execution(request.execution_id)
        if execution.state == "completed" or not execution.steps:
            return self._handle(execution, "failed_to_resume")
        if execution.error is None:
            return self._handle(execution, "already_running")
        self._dispatcher.resume(execution, keep=request.skip_completed_steps)
        return self._handle(execution, "resumed")

    def _execution(self, execution_id: str) -> Execution:
        try:
            return self._dispatcher.executions[execution_id]
        except KeyError:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._began))
            raise UnknownExecution(
                f"there is no execution {execution_id!r} here: this Core began at {since}, and has in memory what was "
                f"started since then, of what has ended the last {KEPT}"
            ) from None

    def _handle(self, execution: Execution, said: str) -> Any:
        started_at = values.timestamp(execution.began)
        return self._schema.ExecutionHandle(execution_id=execution.id, status=said, started_at=started_at)

    # our own -------------------------------------------------------------------------------------------------------

    async def _decide(self, data: bytes, context: _Context) -> bytes:
        """Say yes or no to a step that waits: JSON in, the step's name out."""
        try:
            said = json.loads(data)
            struct = self._schema.Struct()
            struct.update(said["value"] if isinstance(said["value"], dict) else {"ok": said["value"]})
            step = self._dispatcher.decide(
                said["execution"], said["step"], struct, approved=said["approved"] is True, reason=said["reason"]
            )
        except Refused as exc:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(exc))
        except (ValueError, TypeError, KeyError) as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not an answer to a step: {exc!r:.200}")
        return step.encode()
