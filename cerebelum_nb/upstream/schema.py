"""The messages of ``cerebelum.worker.WorkerService``, made at run time in a descriptor pool of our own.

In the common pool they would clash with those of the SDK, which can so be imported in the same process. And nothing
here is generated code, which works with one major version of protobuf only.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from cerebelum_nb.errors import ExecutorError

PACKAGE: Final = "cerebelum.worker"
SERVICE: Final = f"{PACKAGE}.WorkerService"

# Fields are numbered from 1 in the order they stand here. `*` repeated, `?` says whether it is there, `{}` a map from
# text.
_MESSAGES: Final = {
    "RegisterRequest": "worker_id:string language:string capabilities:string* metadata:string{} version:string",
    "RegisterResponse": "success:bool message:string heartbeat_interval_ms:int32",
    "HeartbeatRequest": "worker_id:string status:WorkerStatus",
    "HeartbeatResponse": "acknowledged:bool commands:string*",
    "UnregisterRequest": "worker_id:string reason:string",
    "PollRequest": "worker_id:string timeout_ms:int32",
    "Task": (
        "task_id:string execution_id:string workflow_module:string step_name:string step_inputs:Struct context:Struct "
        "created_at:Timestamp"
    ),
    "TaskResult": (
        "task_id:string execution_id:string worker_id:string status:TaskStatus result:Struct error:ErrorInfo "
        "completed_at:Timestamp sleep_request:SleepRequest approval_request:ApprovalRequest"
    ),
    "SleepRequest": "duration_ms:int64 data:Struct",
    "ApprovalRequest": "approval_type:string data:Struct timeout_ms:int64",
    "ErrorInfo": "kind:string message:string stacktrace:string",
    "Ack": "success:bool message:string",
    "Blueprint": (
        "workflow_module:string language:string source_code:string definition:WorkflowDefinition version:string"
    ),
    "WorkflowDefinition": (
        "timeline:Step* diverge_rules:DivergeRule* branch_rules:BranchRule* inputs:InputDefinition{}"
    ),
    "Step": "name:string depends_on:string*",
    "DivergeRule": "from_step:string patterns:PatternMatch*",
    "BranchRule": "from_step:string branches:ConditionBranch*",
    "PatternMatch": "pattern:string target:string",
    "ConditionBranch": "condition:string target:string",
    "InputDefinition": "type:string required:bool default_value:Struct",
    "BlueprintValidation": "valid:bool errors:string* warnings:string* workflow_hash:string",
    "ExecuteRequest": "workflow_module:string inputs:Struct options:ExecutionOptions",
    "ExecutionOptions": "execution_id:string correlation_id:string tags:string* timeout_ms:int32",
    "ExecutionHandle": "execution_id:string status:string started_at:Timestamp",
    "GetExecutionStatusRequest": "execution_id:string",
    "ExecutionStatus": (
        "execution_id:string workflow_name:string status:ExecutionState started_at:Timestamp completed_at:Timestamp "
        "current_step_index:int32 total_steps:int32 current_step_name:string completed_steps:StepStatus* "
        "inputs:Struct step_outputs:Struct{} error:ErrorInfo sleep_info:SleepInfo approval_info:ApprovalInfo"
    ),
    "StepStatus": (
        "step_name:string step_index:int32 status:string started_at:Timestamp completed_at:Timestamp "
        "duration_seconds:int32 output:Struct error:ErrorInfo"
    ),
    "SleepInfo": "duration_ms:int64 sleep_started_at:Timestamp remaining_ms:int64 data:Struct",
    "ApprovalInfo": (
        "approval_type:string data:Struct timeout_ms:int64 requested_at:Timestamp remaining_timeout_ms:int64"
    ),
    "ListExecutionsRequest": "workflow_name:string? status:ExecutionState? limit:int32 offset:int32",
    "ListExecutionsResponse": "executions:ExecutionStatus* total_count:int32 has_more:bool",
    "ResumeExecutionRequest": "execution_id:string skip_completed_steps:bool",
}
_ENUMS: Final = {
    "WorkerStatus": "WORKER_STATUS_UNSPECIFIED IDLE BUSY DRAINING",
    "TaskStatus": "TASK_STATUS_UNSPECIFIED SUCCESS FAILED TIMEOUT CANCELLED SLEEP APPROVAL",
    "ExecutionState": (
        "EXECUTION_STATE_UNSPECIFIED EXECUTION_RUNNING EXECUTION_COMPLETED EXECUTION_FAILED EXECUTION_SLEEPING "
        "EXECUTION_WAITING_FOR_APPROVAL EXECUTION_PAUSED"
    ),
}
METHODS: Final = {
    "Register": ("RegisterRequest", "RegisterResponse"),
    "Heartbeat": ("HeartbeatRequest", "HeartbeatResponse"),
    "Unregister": ("UnregisterRequest", "Empty"),
    "PollForTask": ("PollRequest", "Task"),
    "SubmitResult": ("TaskResult", "Ack"),
    "SubmitBlueprint": ("Blueprint", "BlueprintValidation"),
    "ExecuteWorkflow": ("ExecuteRequest", "ExecutionHandle"),
    "GetExecutionStatus": ("GetExecutionStatusRequest", "ExecutionStatus"),
    "ListExecutions": ("ListExecutionsRequest", "ListExecutionsResponse"),
    "ResumeExecution": ("ResumeExecutionRequest", "ExecutionHandle"),
}
_WELL_KNOWN: Final = {"Struct": "struct", "Value": "struct", "Timestamp": "timestamp", "Empty": "empty"}


class Number:
    """The enums' numbers, by the names that the protocol gives them."""

    IDLE: Final = 1
    SUCCESS, FAILED, TIMEOUT, CANCELLED, SLEEP, APPROVAL = range(1, 7)
    RUNNING, COMPLETED, FAILED_EXECUTION, SLEEPING, WAITING = range(1, 6)


class Schema:
    """The message classes, by name: ``schema().Task(task_id="1")``."""

    def __init__(self) -> None:
        """Build all classes.

        Raises:
            ExecutorError: There is no protobuf here, or one that is too old.
        """
        try:
            from google.protobuf import (  # noqa: PLC0415  an extra: only who speaks this protocol needs it
                descriptor_pb2,
                descriptor_pool,
                empty_pb2,
                message_factory,
                struct_pb2,
                timestamp_pb2,
            )

            make = message_factory.GetMessageClass
        except (ImportError, AttributeError) as exc:
            raise ExecutorError(
                "Cerebelum's gRPC protocol needs protobuf 4.25 or newer: pip install 'cerebelum_nb[upstream]'"
            ) from exc
        pool = descriptor_pool.DescriptorPool()
        for known in (struct_pb2, timestamp_pb2, empty_pb2):
            pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        pool.AddSerializedFile(_file(descriptor_pb2).SerializeToString())
        names = [*_MESSAGES, *_WELL_KNOWN]
        self._classes = {name: make(pool.FindMessageTypeByName(_full(name)[1:])) for name in names}

    def __getattr__(self, name: str) -> Any:
        """A message class."""
        try:
            return self._classes[name]
        except KeyError:
            raise AttributeError(name) from None


@cache
def schema() -> Schema:
    """The message classes of this process.

    Raises:
        ExecutorError: There is no protobuf here, or one that is too old.
    """
    return Schema()


class _Field(NamedTuple):
    name: str
    kind: str
    mark: str  # "", "*", "?" or "{}"


def _fields(text: str) -> Iterator[_Field]:
    for word in text.split():
        name, _, kind = word.partition(":")
        bare = kind.rstrip("*?{}")
        yield _Field(name, bare, kind[len(bare) :])


def _full(name: str) -> str:
    return f".google.protobuf.{name}" if name in _WELL_KNOWN else f".{PACKAGE}.{name}"


def _file(pb: Any) -> Any:
    file = pb.FileDescriptorProto(name="cerebelum_nb/upstream.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend(f"google/protobuf/{name}.proto" for name in sorted(set(_WELL_KNOWN.values())))
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(_fields(fields), start=1):
            _add(pb, message, number, field)
    return file


def _add(pb: Any, message: Any, number: int, field: _Field) -> None:
    kinds = pb.FieldDescriptorProto
    added = message.field.add(name=field.name, number=number)
    added.label = kinds.LABEL_REPEATED if field.mark in {"*", "{}"} else kinds.LABEL_OPTIONAL
    if field.mark == "{}":
        entry = message.nested_type.add(name=f"{field.name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(pb, entry, 1, _Field("key", "string", ""))
        _add(pb, entry, 2, _Field("value", field.kind, ""))
        added.type, added.type_name = kinds.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{entry.name}"
    elif field.kind in _ENUMS:
        added.type, added.type_name = kinds.TYPE_ENUM, _full(field.kind)
    elif field.kind in _MESSAGES or field.kind in _WELL_KNOWN:
        added.type, added.type_name = kinds.TYPE_MESSAGE, _full(field.kind)
    else:
        added.type = getattr(kinds, f"TYPE_{field.kind.upper()}")
    if field.mark == "?":
        added.proto3_optional, added.oneof_index = True, len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{field.name}")
