"""What a step returned, looked at before others get it: envelopes are opened, what nobody can use is refused. Pure.

Steps written for the SDK may return ``{"ok": value}`` and ``{"error": text}``; there any dict with one of these keys
counts. Here a dict with an "error" that is None, or no text among other keys, is plain data: an error rate is no
failure.
"""

import io
import socket
import sqlite3
import threading
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, NamedTuple

from cerebelum_nb.model.events import ErrorInfo

_STAYS: Final = {  # what cannot leave the process, as people call it
    io.TextIOWrapper: "an open file",
    io.BufferedReader: "an open file",
    io.BufferedWriter: "an open file",
    io.BufferedRandom: "an open file",
    socket.socket: "a socket",
    sqlite3.Connection: "a database connection",
    type(threading.Lock()): "a lock",
    type(threading.RLock()): "a lock",
}
LOOK_AT: Final = frozenset({dict, CoroutineType, GeneratorType, AsyncGeneratorType, *_STAYS})  # all else passes


class Returned(NamedTuple):
    """What becomes of a step's result.

    Attributes:
        value: What other steps get.
        error: How the step failed, if its result says so.
        notice: What the person should know.
    """

    value: Any
    error: ErrorInfo | None = None
    notice: str = ""


def looked_at(step: str, value: Any) -> Returned:
    """What becomes of a result whose type is in `LOOK_AT`."""
    if type(value) is dict:
        return _opened(value)
    if type(value) is CoroutineType:
        value.close()  # else Python complains that nobody awaited it
        text = f"step {step!r} returned a coroutine: write async def, or await it"
        return Returned(None, ErrorInfo("UnserializableResult", text))
    if type(value) in _STAYS:
        kind = _STAYS[type(value)]
        return Returned(value, notice=f"its result is {kind}, which stays in this process: no worker can have it.\n")
    return Returned(
        value, notice="its result is a generator: whoever reads it first uses it up. Return a list instead.\n"
    )


def _opened(value: dict[Any, Any]) -> Returned:
    error = value.get("error")
    if error is not None and (len(value) == 1 or isinstance(error, str)):
        return Returned(None, ErrorInfo("StepError", str(error)))
    if "ok" not in value:
        return Returned(value)
    more = "its result has the key 'ok', so steps that read it get only the value under that key\n"
    return Returned(value["ok"], notice=more if len(value) > 1 and error is None and "error" not in value else "")
