"""What a function does, without where it stands: compared, and as a digest that is the same in every process. Pure."""

import hashlib
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

import msgspec

from cerebelum_nb.errors import InternalError


def is_edited(new: Callable[..., Any], old: Callable[..., Any]) -> bool:
    """Whether two definitions of a step differ; comments, empty lines and its place in the cell do not count."""
    if new is old:
        return False
    if isinstance(old, PastCode):
        return bool(old.digest) and code_digest(new) != old.digest
    text, before = _code(new), _code(old)
    if text is None or before is None:
        return True
    return not same_inputs(text, before)


def _code(function: Callable[..., Any]) -> tuple[Any, ...] | None:
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    return None if code is None else (bare(code), plain.__defaults__, plain.__kwdefaults__)


class PastCode(msgspec.Struct, frozen=True):
    """Stands for a function of which only this is known: a run of an earlier session."""

    digest: bytes  # empty where nothing is known

    def __call__(self, *_args: Any) -> None:
        """Nobody calls it: the run has ended."""
        raise InternalError("a function of an earlier session was called")


def code_digest(function: Callable[..., Any]) -> bytes:
    """What a function does, as 16 bytes that are the same in every process; empty for what has no code.

    Defaults count where they are plain values: others have no text that stays.
    """
    if isinstance(function, PastCode):
        return function.digest
    known = _code(function)
    if known is None:
        return b""
    code, defaults, named = known
    given = [d for d in (*(defaults or ()), *sorted((named or {}).items())) if _is_plain(d)]
    return hashlib.blake2b(repr((code, given)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in {bool, int, float, complex, str, bytes}


def bare(code: CodeType) -> tuple[Any, ...]:
    """What a function's code does, without where it stands."""
    given = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_code, code.co_exceptiontable, given, names, tuple(map(_bare_constant, code.co_consts)))


def _bare_constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return bare(value)
    if isinstance(value, tuple):
        return tuple(map(_bare_constant, value))
    if isinstance(value, frozenset):
        return tuple(sorted(map(repr, value)))
    return type(value).__name__, repr(value)  # 1, 1.0, True and -0.0 are different constants


def same_inputs(one: Any, other: Any) -> bool:
    """Whether two values are surely equal; those that cannot be compared are not."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  arrays and tables give no single answer; a person's __eq__ may do anything
        return False
