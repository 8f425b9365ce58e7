"""The frames that kernel, Core and workers exchange. Core reads the fields, never the sealed bytes.

Kernel -> Core -> worker: Place, Code, Forget, Submit, Cancel, Reply; Core adds Welcome. Withdraw, Ping, Resize, Drain
and Look end at Core.
A Submit may follow another one, whose result it reads: it goes to the same worker, or that Finished goes before it.
Light attempts go together in a Batch, and what they gave comes back in an Ended, in place of Submit and Finished.
Both ways: Piece, before the Submit or the Finished that it belongs to.
Worker -> Core -> kernel: Printed, Displayed, Progress, Paused, Resumed, Waits, Finished; Core adds Started, Joined,
Left, Lost, Ping and Seats; Ready ends at Core.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from cerebelum_nb.errors import WireError
from cerebelum_nb.model.events import ErrorInfo, PauseKind, Stream


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all frames; positional on the wire."""


class Place(Frame, frozen=True, tag=1, array_like=True, gc=False):
    """Where the kernel looks for modules and files now; as the file system names them, which need not be UTF-8."""

    path: tuple[bytes, ...]
    cwd: bytes


class Code(Frame, frozen=True, tag=2, array_like=True, gc=False):
    """A step's function; sent once to each process that does not have it."""

    digest: str
    sealed: bytes


class Forget(Frame, frozen=True, tag=3, array_like=True, gc=False):
    """A function that the sender will not name again. Only the sender decides, so both ends always agree."""

    digest: str


class Submit(Frame, frozen=True, tag=4, array_like=True, gc=False):
    """One attempt. ``sealed`` holds args, kwargs and the context's fields."""

    id: int  # unique on this connection
    run: str
    task: int
    number: int
    step: str
    digest: str  # of its Code
    codec: str
    sealed: bytes
    after: int = 0  # the attempt whose result it reads, and which may not have ended; 0 where it has all it needs
    followed: bool = False  # another one may come that reads its result


class Batch(Frame, frozen=True, tag=40, array_like=True, gc=False):
    """Light attempts of one run, numbered one after the other, that may go to one worker together; see `batches`."""

    id: int  # of the first
    run: str
    count: int
    digests: tuple[str, ...]  # of all their Codes
    sealed: bytes
    line: bool = False  # each reads the result of the one before it, and another one may come that reads the last one's
    after: int = 0  # the attempt whose result the first one of a line reads


class Cancel(Frame, frozen=True, tag=5, array_like=True, gc=False):
    """Nobody waits for this attempt any more: stop it."""

    id: int


class Welcome(Frame, frozen=True, tag=6, array_like=True, gc=False):
    """A worker's first frame, and a kernel's where Core is served."""

    key: bytes  # of what the kernel seals
    place: Place
    own: bytes = b""  # of what this worker seals; empty for the same
    limit_nbytes: int = 1 << 30  # of one result
    silent_s: float = 60.0  # a worker that neither answers nor does anything for so long is ended


class Reply(Frame, frozen=True, tag=7, array_like=True, gc=False):
    """What somebody said to a step that waits for it. ``sealed`` holds the value; its seal covers the other fields."""

    id: int
    pause: int  # which of the attempt's pauses: a late answer must not be taken for the next question's
    approved: bool
    reason: str
    codec: str
    sealed: bytes

    @property
    def about(self) -> str:
        """What the seal says beside the attempt."""
        return f"reply {self.pause} {self.approved} {self.codec} {self.reason}"


class Withdraw(Frame, frozen=True, tag=8, array_like=True, gc=False):
    """Take this attempt back if no worker has it yet; Core then says `Lost`, and nothing otherwise."""

    id: int


class Ping(Frame, frozen=True, tag=9, array_like=True, gc=False):
    """Core sends it back: it lives."""


class Ready(Frame, frozen=True, tag=10, array_like=True, gc=False):
    """A worker has started and takes attempts. What it was sent before this frame has not begun."""


class Started(Frame, frozen=True, tag=11, array_like=True, gc=False):
    """The step's code begins to run."""

    id: int
    worker: str
    got: float = 0.0  # when Core had the attempt, by Core's clock
    held_s: float = 0.0  # how long it waited there


class Printed(Frame, frozen=True, tag=12, array_like=True, gc=False):
    """The step printed something."""

    id: int
    stream: Stream
    text: str


STOPS, GOES_ON, GIVEN_BACK = range(3)  # followers do not run; the worker goes on with them; they may run anywhere


class Finished(Frame, frozen=True, tag=13, array_like=True, gc=False):
    """How an attempt ended on its worker. The codec says what is sealed: a value, ``error`` or ``cancelled``."""

    id: int
    codec: str
    sealed: bytes
    run_s: float
    decode_s: float = 0.0  # before the step's code: its inputs and its function were read
    encode_s: float = 0.0  # after it: the result was made ready to be sent
    then: int = STOPS  # what becomes of those that follow it


class Ended(Frame, frozen=True, tag=41, array_like=True, gc=False):
    """How attempts of a batch ended, some that are numbered one after the other; see `batches`."""

    id: int  # of the first
    count: int
    sealed: bytes
    busy_s: float  # so long the worker was busy with them
    worker: str = ""  # Core's to say, as in `Started`
    got: float = 0.0
    held_s: float = 0.0


class Lost(Frame, frozen=True, tag=14, array_like=True, gc=False):
    """Core's word on an attempt whose worker died, or that no worker got."""

    id: int
    error: ErrorInfo
    begun: bool = True  # a worker may have begun it


class Joined(Frame, frozen=True, tag=15, array_like=True, gc=False):
    """A worker process was started in a slot; an earlier one in that slot is gone."""

    slot: int
    pid: int


class Left(Frame, frozen=True, tag=16, array_like=True, gc=False):
    """A slot was closed; its worker process is gone."""

    slot: int


class Progress(Frame, frozen=True, tag=17, array_like=True, gc=False):
    """The step says how far it is."""

    id: int
    done: float  # 0 to 1
    text: str


class Paused(Frame, frozen=True, tag=18, array_like=True, gc=False):
    """The step sleeps, or waits for a `Reply`. ``sealed`` holds what it asks about; empty for None."""

    id: int
    pause: int  # counts the attempt's pauses
    kind: PauseKind
    seconds: float | None  # None: for ever
    text: str
    codec: str = ""
    sealed: bytes = b""

    @property
    def about(self) -> str:
        """What the seal says beside the attempt."""
        return f"paused {self.pause} {self.codec}"


class Resumed(Frame, frozen=True, tag=19, array_like=True, gc=False):
    """The step goes on."""

    id: int


class Displayed(Frame, frozen=True, tag=20, array_like=True, gc=False):
    """The step displays something, see `rich`; without content it takes back what it has shown."""

    id: int
    bundle: dict[str, bytes]


class Piece(Frame, frozen=True, tag=21, array_like=True, gc=False):
    """A piece of a body that is too long for one message; it comes before its frame. See `pieces`."""

    id: int
    of: tuple[str, int, int]  # run, task and number of its attempt
    number: int  # from 0
    nbytes: int  # of the whole body
    sealed: bytes


class Waits(Frame, frozen=True, tag=22, array_like=True, gc=False):
    """There is no room for the step's result, says the text; without one, it has found some."""

    id: int
    text: str


class Resize(Frame, frozen=True, tag=30, array_like=True, gc=False):
    """From now on so many slots, and workers with this in their environment: others end after their step."""

    slots: int
    env: dict[str, str]


class Drain(Frame, frozen=True, tag=31, array_like=True, gc=False):
    """A slot's worker ends after its step. ``again``: another one takes its place; else there is one slot less."""

    slot: int
    again: bool


class Look(Frame, frozen=True, tag=32, array_like=True, gc=False):
    """Who does what? Core answers with `Seats`."""


class Seat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A slot as Core sees it."""

    slot: int
    state: str  # starting, idle, busy, paused
    attempt: int  # by its id; 0 for none
    done: int  # attempts that ended in its worker
    leaves: str = ""  # draining: another one follows; leaving: none does


class Seats(Frame, frozen=True, tag=33, array_like=True, gc=False):
    """Who does what, and how many attempts wait."""

    seats: tuple[Seat, ...]
    waiting: int
    could: int = 0  # where Core is served: workers that take the kernel's steps, whoever has them now


_ToWorker = Place | Code | Forget | Submit | Cancel | Welcome | Reply | Withdraw | Ping | Resize | Drain | Look
_ToKernel = (
    Ready | Started | Printed | Displayed | Finished | Lost | Joined | Left | Progress | Paused | Resumed | Seats
)
AnyFrame = _ToWorker | _ToKernel | Piece | Waits | Batch | Ended

SOFT_NBYTES = 1 << 20  # frames are joined into one message up to about this size
MAX_BODY_NBYTES = 64 << 20  # one function, one attempt's arguments, one result
MAX_MESSAGE_NBYTES = MAX_BODY_NBYTES + (2 << 20)  # what both ends accept: the body and what is around it

_WITH_BODY = frozenset({Submit, Finished, Code, Paused, Reply, Piece, Batch, Ended})
encoded: Callable[[Sequence[AnyFrame]], bytes] = (
    msgspec.msgpack.Encoder().encode
)  # whatever it comes to; see `messages`
_A_FRAME = 4  # so many attempts in a batch are the work of one
_decode = msgspec.msgpack.Decoder(list[AnyFrame]).decode


def messages(frames: Iterable[AnyFrame]) -> Iterator[bytes]:
    """Join frames, in order, into few messages; none is larger than both ends accept."""
    joined: list[AnyFrame] = []
    nbytes = 0
    for frame in frames:
        size = _rough_nbytes(frame)
        if joined and nbytes + size > SOFT_NBYTES:
            yield _message(joined, nbytes)
            joined, nbytes = [], 0
        joined.append(frame)
        nbytes += size
    if joined:
        yield _message(joined, nbytes)


def _message(frames: list[AnyFrame], nbytes: int) -> bytes:
    if nbytes > SOFT_NBYTES:
        bytes(
            2 * nbytes
        )  # costs nothing; without memory this raises MemoryError, where msgspec would crash the process
    return encoded(frames)


def weight(frames: Sequence[AnyFrame]) -> int:
    """As how many frames some count: what is in a batch is less work than what comes by itself."""
    count = len(frames)
    for frame in frames:
        if isinstance(frame, Ended) or (isinstance(frame, Batch) and not frame.line):
            count += frame.count // _A_FRAME
    return count


def _rough_nbytes(frame: AnyFrame) -> int:
    kind = type(frame)
    if kind in _WITH_BODY:
        return len(frame.sealed) + 500  # type: ignore[union-attr]  # those that have one
    if kind is Displayed:
        return 500 + sum(map(len, frame.bundle.values()))  # type: ignore[union-attr, arg-type]
    return 4 * len(frame.text) if kind is Printed else 500  # type: ignore[union-attr]


def frames_of(message: bytes) -> list[AnyFrame]:
    """The frames of a message.

    Raises:
        WireError: It is not a list of frames.
    """
    try:
        return _decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise WireError(f"a message of {len(message)} bytes is not ours: {exc}. Use one version everywhere.") from exc


def check_size(what: str, nbytes: int, limit: int = MAX_BODY_NBYTES, option: str = "") -> None:
    """Refuse what would not fit, before it is sent.

    Args:
        option: The setting, in MiB, that raises the limit; empty for none.

    Raises:
        WireError: Names the thing, its size and the limit.
    """
    if nbytes > limit:
        more = f" ({option} = {-(-nbytes // 2**20)} in [tool.cerebelum] lets it pass)" if option else ""
        raise WireError(
            f"{what} is {nbytes / 2**20:.1f} MiB when encoded; at most {limit / 2**20:.0f} MiB can be sent to or from "
            f"a worker{more}. Write large data to a file and hand over its path, or run the step locally."
        )
