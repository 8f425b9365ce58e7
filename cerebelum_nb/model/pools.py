"""`Pool`: workers under a name of their own, that steps and strategies may use like any executor."""

import ipaddress
import re
import shlex
from collections.abc import Callable, Container, Mapping
from typing import Any, Final, Literal

import msgspec

from cerebelum_nb.errors import PlanError
from cerebelum_nb.model.typed import nearest

MOST_SLOTS: Final = 256
RESERVED: Final = frozenset({"local", "core", "distributed", "auto", "threads", "processes", "default", "error"})
_FIELDS: Final = {"pass": "credentials"}  # key of a table to field, where Python has the word for itself
_KEYS: Final = {"credentials": "pass"}
_NAME_MOST: Final = 50
_NAME: Final = re.compile(r"\w[\w.-]{0,63}")  # it stands in lines, in files and in strategies

UPSTREAM: Final = ("grpc://", "grpcs://")
_UPSTREAM_URL: Final = re.compile(r"(grpcs?)://(?:\[([0-9a-fA-F:.]+)\]|([^\s\[\]:/@]+)):([0-9]{1,5})")

Trust = Literal["trusted", "untrusted"]


class Pool(msgspec.Struct, frozen=True):
    """Workers under one name.

    Attributes:
        name: What steps and strategies call it.
        slots: Attempts that run at once, each in a worker process of its own. 0: steps wait until workers are added.
        env: What its workers have in their environment beside the kernel's.
        clearance: Kinds of data that its workers may see. Kept and shown; it keeps no step away yet.
        price: What a slot costs an hour, in any money: runs tell what they cost. Nothing is chosen by it yet.
        trust: Whether what its workers send back is taken as if the kernel had made it.
        core: URL of a Core that somebody started by hand, ``tls://host:port``; empty for one that this process starts.
            ``grpc://host:port`` is one of Cerebelum's makers: it says when steps begin, and workers here run them;
            ``grpcs://host:port`` the same with TLS.
        credentials: File with the pass of that Core, ``pass`` in a table; empty for core.pass in the home folder. For
            ``grpcs://`` the certificate of who signed that Core's, as a file, or a folder with it as ``ca.crt`` and
            what shows who this is as ``client.crt`` and ``client.key``; empty for those that this system trusts.
    """

    name: str
    slots: int
    env: Mapping[str, str] = {}
    clearance: tuple[str, ...] = ()
    price: float = 0.0
    trust: Trust = "trusted"
    core: str = ""
    credentials: str = ""

    @property
    def is_upstream(self) -> bool:
        """Its Core is one of Cerebelum's makers; its workers are this process's own all the same."""
        return self.core.startswith(UPSTREAM)

    @property
    def is_served(self) -> bool:
        """Its Core and its workers were started by somebody."""
        return bool(self.core) and not self.is_upstream

    @property
    def joined_by(self) -> str:
        """What adds a worker to a Core that is served, in a terminal."""
        file = f" --pass {shlex.quote(self.credentials)}" if self.credentials else ""
        return f"cerebelum worker --core {self.core.partition('://')[2]}{file} --pool {self.name}"


def pool_of(name: str, value: Any, where: str) -> Pool:
    """A pool from what somebody wrote: a number of slots, a table, or a pool.

    Args:
        where: How errors begin: the file and the key, or the call.

    Raises:
        PlanError: It cannot be a pool; says what is wrong and what to write.
    """
    check_name(name, where)
    if isinstance(value, Pool):
        value = {_KEYS.get(key, key): kept for key, kept in msgspec.structs.asdict(value).items() if key != "name"}
    if not isinstance(value, Mapping):
        return Pool(name, _slots(value, f"{where}: {name} = {value!r:.40}"))
    found: dict[str, Any] = {}
    for key, given in value.items():
        if key not in _CHECKS:
            known = ", ".join(_CHECKS)
            raise PlanError(f"{where}: {key} of pool {name!r} is not known.{nearest(key, _CHECKS)} There are: {known}.")
        found[_FIELDS.get(str(key), str(key))] = _CHECKS[key](given, f"{where}: {key} = {given!r:.40} of pool {name!r}")
    if "slots" not in found and (not found.get("core") or found["core"].startswith(UPSTREAM)):
        raise PlanError(
            f"{where}: pool {name!r} needs its number of workers: slots = 1, or 0 where they are added later"
        )
    made = Pool(name, **{"slots": 0, **found})
    if made.env and made.is_served:
        raise PlanError(
            f"{where}: env of pool {name!r} does not reach its workers, which are started elsewhere: set it there, "
            f"like {next(iter(made.env))}=... {made.joined_by}"
        )
    if made.slots and made.is_served:
        raise PlanError(
            f"{where}: slots of pool {name!r} do nothing, since its workers are started elsewhere: leave them out, "
            f"and add workers there with {made.joined_by} --slots {made.slots}"
        )
    return made


def core_url(given: str, where: str) -> str:
    """The address of a Core elsewhere as a pool has it; ``host:port`` alone is one of Cerebelum's makers.

    Raises:
        PlanError: It is no such address.
    """
    if not isinstance(given, str):
        raise PlanError(f"{where} is text like 'localhost:9090'")
    url = given if "://" in given else f"{UPSTREAM[0]}{given}"
    if not url.startswith((*UPSTREAM, "tls://")):
        raise PlanError(
            f"{where}: a Core is written host:port or grpc://host:port, grpcs:// with TLS; one that is served by "
            "`cerebelum core serve --listen` is tls://host:port"
        )
    return _core(url, where)


def pool_at(url: str, slots: int, taken: Container[str]) -> Pool:
    """A pool for a Core elsewhere that nobody has given a name.

    Args:
        slots: Its workers, where they are this process's own.
        taken: Names of other pools.
    """
    name = re.sub(r"[^\w.-]+", "-", url.partition("://")[2]).strip("-.")[:_NAME_MOST]
    while name in taken or name in RESERVED:
        name += "_"
    return Pool(name, slots if url.startswith(UPSTREAM) else 0, core=url)


def plain_to(url: str) -> str:
    """What others can do on the way to a Core of Cerebelum's makers, as a warning; empty where nobody can.

    It is said, not refused: such a Core gets names only and is not trusted anyway, so that whoever listens on the way
    learns no more than it, and can do no more.
    """
    if not url.startswith(UPSTREAM[0]):
        return ""
    host, _ = upstream_at(url, "core")
    if host == "localhost":
        return ""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return ""
    except ValueError:
        pass
    return (
        f"{url} is reached without encryption: whoever is on the way can read the names of steps, and hold them up or "
        f"let them begin. Write grpcs://{url.partition('://')[2]} where that Core has TLS, or go there by a tunnel, "
        "like ssh -L 9090:localhost:9090"
    )


def does_nothing(pool: Pool) -> list[str]:
    """What is said of a pool and does nothing in this version."""
    return ["clearance"] if pool.clearance else []


def check_name(name: Any, where: str) -> str:
    """A pool's name; refuses what a pool cannot be called.

    Raises:
        PlanError: It is no text, means something else already, or could not be written in a strategy.
    """
    if not isinstance(name, str) or not name or name in RESERVED:
        why = " That name is taken." if name in RESERVED else ""
        raise PlanError(f"{where}: a pool cannot be called {name!r:.60}.{why}")
    if not _NAME.fullmatch(name):
        raise PlanError(
            f"{where}: a pool cannot be called {name!r:.60}: its name has letters, digits, '.', '_' and '-' only, at "
            "most 64, and begins with one of the first two or '_'"
        )
    return name


def _slots(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_SLOTS:
        raise PlanError(f"{where} is not a number of worker processes from 0 to {MOST_SLOTS}")
    return value


def _env(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise PlanError(f"{where} is not a table of names to text")
    for key, text in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise PlanError(f"{where}: a variable cannot be called {key!r:.40}")
        if not isinstance(text, str) or "\0" in text:
            raise PlanError(f"{where}: {key} is text, not {text!r:.40}")
    return dict(value)


def _clearance(value: Any, where: str) -> tuple[str, ...]:
    if (
        isinstance(value, str)
        or not isinstance(value, list | tuple)
        or not all(isinstance(v, str) and v for v in value)
    ):
        raise PlanError(f"{where} is not a list of words, like ['public', 'pii']")
    return tuple(value)


def _price(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise PlanError(f"{where} is not a price: a number, 0 or more")
    return float(value)


def _trust(value: Any, where: str) -> str:
    if value not in ("trusted", "untrusted"):
        raise PlanError(f"{where} is neither 'trusted' nor 'untrusted'")
    return str(value)


def _pass(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{where} is not the path of a pass")
    return value


def _core(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{where} is not the address of a Core")
    if value.startswith(UPSTREAM):
        upstream_at(value, where)
    return value


def upstream_at(url: str, where: str) -> tuple[str, str]:
    """Host and port of a Core of Cerebelum's makers.

    Raises:
        PlanError: It is no such address.
    """
    found = _UPSTREAM_URL.fullmatch(url)
    if found is None or not 0 < int(found[4]) < 1 << 16:
        raise PlanError(f"{where}: a Core of Cerebelum's makers is written grpc://host:port, or grpcs:// with TLS")
    return found[2] or found[3], found[4]


_CHECKS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "slots": _slots,
    "env": _env,
    "clearance": _clearance,
    "price": _price,
    "trust": _trust,
    "core": _core,
    "pass": _pass,
}
