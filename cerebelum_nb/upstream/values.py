"""What travels: Structs, looked at without unpacking them, since a long list takes Python longer than the network."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from cerebelum_nb.upstream.schema import schema

_MAYBE_NOT_FINITE: Final = re.compile(rb"\x11.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)  # a number with all exponent bits


def not_finite(struct: Any) -> bool:
    """Whether NaN or infinity is in it: JSON has no word for them, and a worker that gets one fails to read it."""
    if not _MAYBE_NOT_FINITE.search(struct.SerializeToString()):
        return False
    waiting = list(struct.fields.values())
    while waiting:
        value = waiting.pop()
        match value.WhichOneof("kind"):
            case "number_value":
                if not -float("inf") < value.number_value < float("inf"):
                    return True
            case "struct_value":
                waiting += value.struct_value.fields.values()
            case "list_value":
                waiting += value.list_value.values
    return False


def has(struct: Any, key: str) -> bool:
    """Whether a Struct has a key at its top."""
    return key in struct.fields


def as_text(value: Any) -> str:
    """A Value as a person reads it."""
    match value.WhichOneof("kind"):
        case "string_value":
            return str(value.string_value)
        case "null_value" | None:
            return "None"
        case kind:
            return " ".join(str(getattr(value, kind)).split())


def put(struct: Any, key: str, output: Any) -> None:
    """Put a step's output into another's inputs: what is in its ``ok``, else all of it."""
    if "ok" in output.fields:
        struct.fields[key].CopyFrom(output.fields["ok"])
    else:
        struct.fields[key].struct_value.CopyFrom(output)


def ok(data: Any) -> Any:
    """An output that says what a sleep or an approval gave; nothing becomes None."""
    if "ok" in data.fields:
        return data
    output = schema().Struct()
    if data.fields:
        output.fields["ok"].struct_value.CopyFrom(data)
    else:
        output.fields["ok"].null_value = 0
    return output


def timestamp(seconds: float) -> Any:
    """A point in time, from seconds since 1970."""
    made = schema().Timestamp()
    made.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return made
