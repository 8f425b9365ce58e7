"""One run's dealings with the cache: looks a result up before an attempt runs, and hands one in after it.

Called where the attempt is run, outside the scheduler's lock. Whatever goes wrong here is a miss: a run never fails
because of its cache.
"""

import concurrent.futures
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cerebelum_nb import codec
from cerebelum_nb.identity.cachekey import (
    Carried,
    NotCached,
    Parts,
    difference,
    input_parts,
    key_of,
    token,
)
from cerebelum_nb.identity.content import ROOM_NBYTES, NotComparable, pack
from cerebelum_nb.model.events import AnyEvent, AttemptFinished
from cerebelum_nb.model.plan import CONTEXT
from cerebelum_nb.protocols import Outcome
from cerebelum_nb.rules.kept import Steps, listed_steps
from cerebelum_nb.runtime.following import Ticket
from cerebelum_nb.runtime.job import Job
from cerebelum_nb.store.cache import LARGEST_NBYTES, Broken, Cache, Made
from cerebelum_nb.store.memory import Found
from cerebelum_nb.store.sizes import rough_nbytes

_log = logging.getLogger(__name__)
LIGHT_NBYTES: Final = 1 << 14  # read while others wait for the loop; more is read in a thread
FRESH: Final = "not looked up: --fresh"
AGAIN: Final = "not looked up: it was asked to run again"


class _Looked:
    """What an attempt's result will be kept under."""

    __slots__ = ("carried", "key", "parts", "text")

    def __init__(self, key: bytes, carried: Carried, parts: Parts, text: str) -> None:
        self.key, self.carried, self.parts, self.text = key, carried, parts, text


class Lookups:
    """The cache as one run uses it.

    Args:
        fresh: Look nothing up; what is made is kept anew.
        again: Steps that were asked to run again.
    """

    def __init__(self, cache: Cache, job: Job, *, fresh: bool = False, again: Steps | None = None) -> None:
        self._cache, self._job = cache, job
        names, said = job.plan.names, listed_steps(again)
        self._unasked = {t: FRESH if fresh else AGAIN for t in job.plan.cached if fresh or names[t] in said}
        self._looked: dict[tuple[int, int], _Looked] = {}
        self._made: dict[tuple[int, int], Made] = {}
        self._last: dict[int, Parts] = {}  # what a task was last made with in this run

    @property
    def threads(self) -> concurrent.futures.Executor:
        """Where `look` is called for those who hold a loop."""
        return self._cache.threads

    def at_once(self, ticket: Ticket) -> Outcome | None:
        """A result that can be had without holding anybody up; None where `look` knows more."""
        task = ticket.task
        if self._unasked and task in self._unasked:
            return None
        try:  # what `_look` does, without its calls: this is what a hit costs
            job, plan = self._job, self._job.plan
            step, version = plan.names[task], plan.options[task].version
            carried = self._cache.carrier.carried(plan.functions[task], step, plan.workflow, version, LIGHT_NBYTES)
            call, values = plan.calls[task], job.scheduler.values
            if call.keywords or carried.reads_inputs:
                tokens = self._tokens(task, carried, LIGHT_NBYTES)
            else:
                inputs = plan.inputs
                tokens = [token(values[n] if n >= 0 else inputs, LIGHT_NBYTES) for n in call.positional if n != CONTEXT]
            found = self._cache.at_once(key_of(carried.base, tokens))
        except Exception:  # noqa: BLE001  `look` says what it is
            return None
        if found is None:
            return None
        job.scheduler.looked_up(task, ticket.attempt, found.text, hit=True)
        return found.outcome

    def look(self, ticket: Ticket) -> Outcome | None:
        """A result, or None for a miss, which is told with its reason. May read files."""
        try:
            return self._look(ticket)
        except Exception:  # noqa: BLE001  a bug of ours must not cost anybody a run
            _log.exception("step %r could not be looked up in the cache", self._job.plan.names[ticket.task])
            return None

    def _look(self, ticket: Ticket) -> Outcome | None:
        task = ticket.task
        try:
            carried = self._carried(task, ROOM_NBYTES)
            tokens = self._tokens(task, carried, ROOM_NBYTES)
        except (NotCached, NotComparable) as exc:
            self._tell(ticket, f"not cached: {exc}")
            return None
        key, text, found = key_of(carried.base, tokens), self._unasked.get(task, ""), None
        if not text:
            try:
                found = self._cache.find(key)
            except Broken as exc:
                text = f"miss: {exc}"
            if found is not None:
                return self._hit(ticket, found)
        parts = self._parts(task, carried)
        if not text:
            before = self._last.get(task) or self._cache.newest(self._job.plan.names[task])
            text = f"miss: {'first time' if before is None else difference(before, parts)}"
        self._looked[task, ticket.attempt] = _Looked(key, carried, parts, text)
        self._tell(ticket, text)
        return None

    def _hit(self, ticket: Ticket, found: Found) -> Outcome:
        self._job.scheduler.looked_up(ticket.task, ticket.attempt, found.text, hit=True)
        return found.outcome

    def _tell(self, ticket: Ticket, text: str) -> None:
        self._job.scheduler.looked_up(ticket.task, ticket.attempt, text, hit=False)

    # -- what decides a result

    def _carried(self, task: int, room: int) -> Carried:
        plan = self._job.plan
        step, version = plan.names[task], plan.options[task].version
        return self._cache.carrier.carried(plan.functions[task], step, plan.workflow, version, room)

    def _arguments(self, task: int, carried: Carried) -> list[tuple[str, Any]]:
        """What it is given, by the names of its parameters."""
        job = self._job
        call, values, inputs = job.plan.calls[task], job.scheduler.values, job.plan.inputs
        pairs = [*zip(carried.parameters, call.positional, strict=False), *job.given(call)]
        return [(name, values[n] if n >= 0 else inputs) for name, n in pairs if n != CONTEXT]

    def _tokens(self, task: int, carried: Carried, room: int) -> list[bytes]:
        """All that it is given, in order.

        Raises:
            NotComparable: Names what cannot be compared.
        """
        job = self._job
        call, values, inputs = job.plan.calls[task], job.scheduler.values, job.plan.inputs
        try:
            tokens = [token(values[n] if n >= 0 else inputs, room) for n in call.positional if n != CONTEXT]
            for name, n in job.given(call) if call.keywords else ():
                if n != CONTEXT:
                    tokens += pack(name), token(values[n] if n >= 0 else inputs, room)
            if carried.reads_inputs:
                tokens.append(token(job.inputs(task), room))
        except NotComparable:
            if room == ROOM_NBYTES:
                self._name_it(task, carried)
            raise
        return tokens

    def _name_it(self, task: int, carried: Carried) -> None:
        for name, value in [*self._arguments(task, carried), ("inputs", self._job.inputs(task))]:
            try:
                token(value)
            except NotComparable as exc:
                raise NotComparable(f"argument {name!r} cannot be compared ({exc})") from None

    def _parts(self, task: int, carried: Carried) -> Parts:
        """The same as people know it."""
        parts = list(carried.parts)
        if carried.reads_inputs:
            parts += input_parts(self._job.inputs(task))
        for name, value in self._arguments(task, carried):
            parts += input_parts(value) if name == "inputs" else ((f"argument {name!r}", token(value)),)
        return tuple(parts)

    # -- what becomes of a result

    def made(self, ticket: Ticket, value: Any) -> None:
        """An attempt returned this. Called before anybody else can see it."""
        looked = self._looked.pop((ticket.task, ticket.attempt), None)
        if looked is None:
            return
        try:
            why = self._taken(ticket, looked, value)
        except Exception:  # noqa: BLE001  a bug of ours must not cost anybody a run
            _log.exception("the result of step %r could not be cached", self._job.plan.names[ticket.task])
            return
        if why:
            self._tell(ticket, f"{looked.text}; not kept: {why}")

    def _taken(self, ticket: Ticket, looked: _Looked, value: Any) -> str:
        try:
            now = self._carried(ticket.task, ROOM_NBYTES)
        except (NotCached, NotComparable) as exc:
            return str(exc)
        if now.base != looked.carried.base:  # nobody can say which of the two it was made with
            return f"{difference(looked.carried.parts, now.parts)} while it ran"
        nbytes = rough_nbytes(value)
        if nbytes <= LARGEST_NBYTES:
            try:
                encoded = codec.encode(value, "its result")
            except Exception as exc:  # noqa: BLE001  a person's __reduce__ may do anything
                return f"its result cannot be written down ({codec.one_line(exc.__cause__ or exc)})"
            nbytes = encoded.nbytes
        if nbytes > LARGEST_NBYTES:
            return f"its result is {nbytes / 2**20:.0f} MiB; at most {LARGEST_NBYTES >> 20} are cached"
        step = self._job.plan.names[ticket.task]
        self._last[ticket.task] = looked.parts
        self._made[ticket.task, ticket.attempt] = Made(
            looked.key, step, self._job.run, encoded.codec, bytes(encoded.data), looked.parts
        )
        return ""

    # -- called by the pump

    def keep(self, batch: Sequence[AnyEvent]) -> None:
        """Keep the results of attempts that these events say have succeeded."""
        if not self._made:
            return
        with _guarded("results could not be kept in the cache"):
            ended = [(e, self._made.pop((e.task, e.attempt), None)) for e in batch if type(e) is AttemptFinished]
            if kept := [made for e, made in ended if made is not None and e.outcome == "ok"]:
                self._cache.store(kept)

    def tidy(self) -> None:
        """The run is over and everybody knows."""
        with _guarded("the cache could not be tidied"):
            self._looked.clear()
            self._made.clear()
            self._cache.tidy()


@contextlib.contextmanager
def _guarded(what: str) -> Iterator[None]:
    """A bug of ours must not cost anybody a run."""
    try:
        yield
    except Exception:  # noqa: BLE001  see above
        _log.exception(what)
