"""What a worker says when it is asked what it is. Sent there and run like any step."""

import hashlib
import os
import socket
from typing import Any

import msgspec

from cerebelum_nb.capture.environment import Environment, here


def about(salt: str) -> dict[str, Any]:
    """The process it is called in, as plain data.

    Args:
        salt: Makes digests of variables' values comparable for this one question only: the values stay where they are.
    """
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "environment": msgspec.to_builtins(here()),
        "values": {name: _digest(salt, value) for name, value in os.environ.items()},
    }


def environment_in(told: dict[str, Any]) -> Environment:
    """What `about` said of its process."""
    return msgspec.convert(told["environment"], Environment)


def _digest(salt: str, value: str) -> str:
    return hashlib.blake2b(value.encode("utf-8", "surrogateescape"), digest_size=8, key=salt.encode()).hexdigest()
