"""A Core that somebody serves, as the kernel sees it: reached with a pass, and left alone when the kernel ends."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.capture import environment
from cerebelum_nb.errors import ExecutorError, WireError
from cerebelum_nb.executors.core_process import place
from cerebelum_nb.seal import new_key
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.credentials import host_and_port, read_pass, secure_channel, url_of
from cerebelum_nb.wire.frames import AnyFrame, Place, Welcome
from cerebelum_nb.wire.probe import probe
from cerebelum_nb.wire.relay import Greeting, Reception
from cerebelum_nb.wire.storage import STORED_NBYTES, Storage

HELLO_S: Final = 10.0


class ServedCore:
    """Stands where a `CoreProcess` does; the process is somebody else's.

    Args:
        url: ``tls://host:port``.
        path: Of its pass.
        pool: Whose workers are to take the steps.
        limit_nbytes: Of a value that goes there or comes from there.
        worker_silent_s: A worker that neither answers nor does anything for so long is ended.
    """

    pid = 0
    next_one = "The next attempt connects again."
    _grace_s = 0.0  # as Core says
    last_words = ""
    segments: tuple[Path, ...] = ()  # its workers may be anywhere
    storage: Storage | None = None  # which its workers reach too
    large_nbytes = STORED_NBYTES

    def __init__(self, url: str, path: Path, pool: str, limit_nbytes: int, worker_silent_s: float) -> None:
        """Read the pass.

        Raises:
            ExecutorError: The address or the pass is of no use.
        """
        try:
            self.url = url_of(*host_and_port(url))
            self._pass = read_pass(path)
        except WireError as exc:
            raise ExecutorError(str(exc)) from None
        self.key = new_key()
        self.token = self._pass.token
        self._path, self._pool = path, pool
        self.limit_nbytes, self._worker_silent_s = limit_nbytes, worker_silent_s

    def __str__(self) -> str:
        """As sentences begin with it."""
        return f"Core {self.url}"

    where = property(lambda self: self.url, doc="Where it is reached.")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is said before anything else."""
        return ((channel.TOKEN, self.token),)

    @property
    def opening(self) -> tuple[AnyFrame, ...]:
        """The first frames: the key that this kernel's envelopes are sealed with."""
        path, cwd = place()
        where = Place(tuple(map(os.fsencode, path)), os.fsencode(cwd))
        return (Welcome(self.key, where, b"", self.limit_nbytes, self._worker_silent_s),)

    def channel(self) -> Any:
        """What stands for a channel to it, and outlives several."""
        from cerebelum_nb.executors.lasting import LastingChannel  # noqa: PLC0415  as below

        self._channel = LastingChannel(
            lambda: secure_channel(self.url, self._pass), self._greeting, self._grace_s, self._renewed
        )
        return self._channel

    def _renewed(self) -> bool:
        """Whether the pass is another one now, which is written where Core is served again."""
        try:
            return read_pass(self._path) != self._pass
        except WireError:
            return False

    def notices(self, say: Callable[[str], object]) -> None:
        """Say from now on when the line breaks, and when it is back."""
        tried = f"it is tried again for {self._grace_s:g} s, and steps go on meanwhile"

        def changed(there: bool) -> None:  # noqa: FBT001  from the line
            say(f"{self} is reached again\n" if there else f"the connection to {self} broke: {tried}\n")

        self._channel.on_change(changed)

    def wait_ready(self) -> None:
        """See that it is there and takes us. Blocks.

        Raises:
            ExecutorError: It does not; says in one line who is there instead, or what differs, as a table.
        """
        try:
            probe(self.url, self._path, self._pass)
            mine = environment.here()
            self._greeting = Greeting(mine.packages["cerebelum-nb"], self._pool)
            reception = self._reception()
        except WireError as exc:
            end = "" if str(exc).endswith("?") else "."
            raise ExecutorError(f"{exc}{end} Steps can run locally meanwhile.") from None
        if reception.refused:
            raise ExecutorError(reception.refused)
        self._grace_s = reception.grace_s
        theirs = msgspec.convert(reception.environment, environment.Environment)
        environment.check_fits(mine, theirs, str(self))

    def _reception(self) -> Reception:
        """Core's answer to our greeting.

        Raises:
            WireError: It refuses us, or does not answer.
        """
        import grpc  # noqa: PLC0415  an embedded Core must be started before it is loaded

        greeting = msgspec.msgpack.encode(self._greeting)
        with secure_channel(self.url, self._pass, blocking=True) as made:
            ask = made.unary_unary(f"/{channel.SERVICE}/{channel.HELLO}")
            try:
                return msgspec.msgpack.decode(ask(greeting, metadata=self.metadata, timeout=HELLO_S), type=Reception)
            except grpc.RpcError as exc:
                raise WireError(_refusal(exc, self.url, self._path)) from None
            except msgspec.DecodeError:
                raise WireError(f"{self} is of another version: use one version everywhere") from None

    def had(self, attempt: int) -> bool:
        """Whether a worker may have begun it: nobody can say more of what has left us before the connection broke."""
        return attempt not in self._channel.never_left

    def how_it_ended(self, _wait_s: float = 0.0) -> str:
        """As a process says it."""
        return self._channel.how

    def stop(self, _workers: tuple[int, ...] = (), *, at_once: bool = False) -> None:
        """Nothing: it ends what we had it do when the connection ends, and serves others."""

    def log_tail(self, _nbytes: int = 0) -> str:
        """Its words are heard where it is served."""
        return ""


def _refusal(exc: Any, url: str, path: Path) -> str:
    name, details = exc.code().name, exc.details() or ""
    if name == "UNAUTHENTICATED":
        return f"Core {url} does not take the token in {str(path)!r}: copy its pass again from where it is served"
    if name == "PERMISSION_DENIED":
        return f"Core {url}: {details}"
    if name == "UNIMPLEMENTED":
        return f"Core {url} is of another version: use one version everywhere"
    return f"Core {url} did not answer ({details or name})"
