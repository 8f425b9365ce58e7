"""`%cerebelum workers` and `%cerebelum core`: who does what, more or fewer of them, and the Cores they belong to."""

import html
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cerebelum_nb.errors import ExecutorError
from cerebelum_nb.executors.crew import Crew
from cerebelum_nb.executors.distrust import RESULT_NBYTES
from cerebelum_nb.executors.roster import Core, Worker
from cerebelum_nb.model.lines import columns
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.model.typed import counted, nearest
from cerebelum_nb.notebook import listing, manual, memory
from cerebelum_nb.notebook.arguments import Arguments, UsageError, whole

T = TypeVar("T")
_NEXT_PAIR: Final = re.compile(r",(?=[^\W\d]\w*=)")  # a value may hold commas
_LOG_LINES: Final = 40
_WORKER_HEAD: Final = ("pool", "slot", "pid", "state", "step", "since", "memory", "done", "")
_CORE_HEAD: Final = ("pool", "Core", "since", "workers", "waiting", "sent", "takes work", "about it", "directory")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for a person: text in a terminal, a table in a notebook."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([*(columns(self.head, self.rows) if self.rows else ()), *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same for a notebook. All that comes from people's names is escaped."""
        cell = "text-align:left;padding:2px 14px 2px 0"

        def line(tag: str, cells: Sequence[str]) -> str:
            made = "".join(f'<{tag} style="{cell}">{html.escape(text)}</{tag}>' for text in cells)
            return f"<tr>{made}</tr>"

        body = "".join(line("td", row) for row in self.rows)
        table = f"<table><thead>{line('th', self.head)}</thead><tbody>{body}</tbody></table>" if self.rows else ""
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes)
        return f'<div class="cerebelum-workers">{table}{notes}</div>'


def workers(args: Arguments, crew: Crew) -> Table | None:
    """Show, add, remove or drain workers.

    Raises:
        UsageError: A line that cannot be meant.
        CerebelumError: What the session says of it.
    """
    do, takes = _chosen("workers", args, _WORKERS)
    usage = f"Usage: {manual.VERBS['workers'][0]}"
    if extra := sorted(args.text.keys() - takes):
        raise UsageError(f"{extra[0]} is not for `{' '.join(('workers', *args.words))}`.\n{usage}")
    return do(args, crew, usage)


def _show(args: Arguments, crew: Crew, _usage: str) -> Table:
    cores = crew.cores(args.text.get("--pool"))
    rows = [_worker_row(worker) for core in cores for worker in core.workers]
    notes = [*_troubles(cores), *(_without(core) for core in cores if not core.workers)]
    return Table(_WORKER_HEAD, rows, [*notes, *(_bounds(core.pool) for core in cores if core.pool.trust != "trusted")])


def _add(args: Arguments, crew: Crew, usage: str) -> None:
    slots = whole("--slots", args.text.get("--slots"), usage)
    pool = crew.add(_pool(args), 1 if slots is None else slots, env=_env(args.text.get("--env"), usage))
    print(_has(pool))  # noqa: T201  a magic answers in its cell


def _remove(args: Arguments, crew: Crew, usage: str) -> None:
    slots, slot = (whole(name, args.text.get(name), usage) for name in ("--slots", "--slot"))
    if slots is not None and slot is not None:
        raise UsageError(f"--slots says how many, --slot which one: give one of them.\n{usage}")
    print(_has(crew.remove(_pool(args), 1 if slots is None else slots, slot=slot)))  # noqa: T201


def _drain(args: Arguments, crew: Crew, usage: str) -> None:
    pool = _pool(args)
    slots = crew.drain(pool, whole("--slot", args.text.get("--slot"), usage))
    which = f"worker {slots[0]} ends" if len(slots) == 1 else f"{len(slots)} workers end"
    another = "another one takes its place" if len(slots) == 1 else "others take their places"
    print(f"pool {pool}: {which} after the step of now, and {another}")  # noqa: T201


def core(args: Arguments, crew: Crew) -> Table | None:
    """Start, stop or look at Cores.

    Raises:
        UsageError: A line that cannot be meant.
        CerebelumError: What the session says of it.
    """
    do = _chosen("core", args, _CORE)
    if "--force" in args.flags and do not in (_stop, _restart):
        raise UsageError(f"--force is for stop and restart.\nUsage: {manual.VERBS['core'][0]}")
    return do(args, crew)


def _status(args: Arguments, crew: Crew) -> Table:
    cores = crew.cores(args.text.get("--pool"))
    why = {core.pool.name: crew.unreachable(core.pool) for core in cores if core.pool.core}
    rows = [_core_row(core, "not reached" if core.pool.is_served and why[core.pool.name] else "") for core in cores]
    notes = [f"{name}: {text}" for name, text in why.items() if text]
    return Table(_CORE_HEAD, rows, [*_troubles(cores), *notes, *memory.held(crew)])


def _start(args: Arguments, crew: Crew) -> None:
    if (pool := crew.known(_pool(args))).is_served:
        crew.start(pool.name)
        print(_others(pool, "it runs, and this kernel is connected to it"))  # noqa: T201
        return
    print(_runs(crew.start(_pool(args))))  # noqa: T201


def _stop(args: Arguments, crew: Crew) -> None:
    name = args.text.get("--pool")
    if name is not None and (pool := crew.known(name)).is_served:
        print(_others(pool, "end it where `cerebelum core serve` runs"))  # noqa: T201
        return
    stopped = _as_told(lambda: crew.stop(name, force="--force" in args.flags))
    for core in stopped:
        print(f"{core.pool.name}: Core (pid {core.pid}) is stopped; the next step there starts it again")  # noqa: T201
    if not stopped:
        print("No Core runs now.")  # noqa: T201


def _restart(args: Arguments, crew: Crew) -> None:
    name = args.text.get("--pool")
    if name is not None and (pool := crew.known(name)).is_served:
        print(_others(pool, "start it again where `cerebelum core serve` runs"))  # noqa: T201
        return
    for core in _as_told(lambda: crew.restart(name, force="--force" in args.flags)):
        print(_runs(core))  # noqa: T201


def _logs(args: Arguments, crew: Crew) -> None:
    if (pool := crew.known(_pool(args))).is_served:
        print(_others(pool, "what it says is where `cerebelum core serve` runs"))  # noqa: T201
        return
    lines = crew.log(_pool(args)).splitlines()[-_LOG_LINES:]
    print("\n".join(lines) if lines else f"{_pool(args)}: nothing was said there yet")  # noqa: T201


# -- lines ------------------------------------------------------------------------------------------------------------


def _worker_row(worker: Worker) -> tuple[str, ...]:
    memory = listing.human(worker.nbytes) if worker.nbytes else "-"
    about = ["its place is lent to another"] if worker.aside else []
    if worker.others:
        about.append(f"{worker.others} process{'es' if worker.others > 1 else ''} of its steps, which end with it")
    pid = str(worker.pid) if worker.pid else "-"
    return (
        *(worker.pool, str(worker.slot), pid, worker.state, worker.step or "-"),
        *(_clock(worker.since), memory, str(worker.done), "; ".join(about)),
    )


def _troubles(cores: Sequence[Core]) -> list[str]:
    """What is wrong with a Core, and what to type then."""
    return [
        f"{core.pool.name}: Core (pid {core.pid}) {core.trouble}, so nobody knows what its workers do; "
        f"%cerebelum core restart --pool {core.pool.name} ends it and starts another one"
        for core in cores
        if core.trouble
    ]


def _without(core: Core) -> str:
    slots = core.pool.slots
    if core.pool.is_served:
        if core.could:
            has = f"Core {core.pool.core} has {counted(core.could, 'worker')} for its steps"
            return f"{core.pool.name}: no worker now, and {has}; for more, in a terminal: {core.pool.joined_by}"
        if core.directory:
            return f"{core.pool.name}: no worker; to add one, in a terminal: {core.pool.joined_by}"
        return f"{core.pool.name}: not connected to {core.pool.core}; %cerebelum core says whether it can be reached"
    if not slots:
        return f"{core.pool.name}: no worker; to add one: %cerebelum workers add --pool {core.pool.name} --slots 1"
    if core.pid:
        return f"{core.pool.name}: {counted(slots, 'worker')} starting"
    return f"{core.pool.name}: {counted(slots, 'worker')}, not started before the first step there"


def _bounds(pool: Pool) -> str:
    most = listing.human(RESULT_NBYTES).replace(".0", "")
    return f"{pool.name}: untrusted, so a step there may give plain values and arrays, {most} at most, and nothing else"


def _others(pool: Pool, what: str) -> str:
    return f"{pool.name}: Core {pool.core} is not this kernel's: {what}"


def _core_row(core: Core, instead: str) -> tuple[str, ...]:
    states = Counter(worker.state for worker in core.workers)
    busy = ", ".join(f"{states[state]} {state}" for state in sorted(states))
    slots = f"{core.pool.slots}: {busy}" if busy else str(core.pool.slots)
    running = instead or (f"{core.pid}, silent" if core.trouble else str(core.pid) if core.pid else "-")
    if core.pool.is_served:
        slots, running = busy or "-", instead or "served"
    return (
        *(core.pool.name, running, _clock(core.since), slots, str(core.waiting), str(core.sent)),
        *("yes" if core.breaker == "there" else core.breaker, _about(core.pool), core.directory or "-"),
    )


def _about(pool: Pool) -> str:
    """What is said of a pool beside its slots. No values of variables: they may be secrets."""
    said = [
        pool.trust if pool.trust != "trusted" else "",
        f"env {', '.join(pool.env)}" if pool.env else "",
        f"clearance {', '.join(pool.clearance)}" if pool.clearance else "",
        f"price {pool.price:g}" if pool.price else "",
        pool.core,
    ]
    return "; ".join(filter(None, said)) or "-"


def _has(pool: Pool) -> str:
    whose = "its" if pool.slots == 1 else "their"
    env = f", with {', '.join(pool.env)} in {whose} environment" if pool.env else ""
    return f"pool {pool.name} has {counted(pool.slots, 'worker')}{env}"


def _runs(core: Core) -> str:
    return (
        f"{core.pool.name}: Core (pid {core.pid}) runs since {_clock(core.since)}, {counted(core.pool.slots, 'worker')}"
    )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) if at else "-"


# -- words ------------------------------------------------------------------------------------------------------------


def _chosen(verb: str, args: Arguments, known: Mapping[str, T]) -> T:
    usage = f"Usage: {manual.VERBS[verb][0]}"
    name = args.words[0] if args.words else ""
    if name not in known:
        names = list(filter(None, known))
        raise UsageError(
            f"{verb} does not know {name!r:.40}.{nearest(name, names)} It takes: {', '.join(names)}.\n{usage}"
        )
    if len(args.words) > 1:
        word = args.words[1]
        raise UsageError(
            f"{verb} {name} does not know what to do with {word!r:.40}; a pool is --pool {word:.40}.\n{usage}"
        )
    return known[name]


def _pool(args: Arguments) -> str:
    return args.text.get("--pool", "distributed")


def _env(text: str | None, usage: str) -> dict[str, str]:
    found = {}
    for pair in _NEXT_PAIR.split(text) if text else ():
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--env takes pairs like OMP_NUM_THREADS=1, not {pair!r:.60}.\n{usage}")
        found[name] = value
    return found


def _as_told(doing: Callable[[], Any]) -> Any:
    try:
        return doing()
    except ExecutorError as exc:
        raise ExecutorError(str(exc).replace("with force=True", "with --force")) from None


_Workers = Callable[[Arguments, Crew, str], Table | None]
_Core = Callable[[Arguments, Crew], Table | None]
_WORKERS: Final[dict[str, tuple[_Workers, set[str]]]] = {  # and the options that it takes
    "": (_show, {"--pool"}),
    "add": (_add, {"--pool", "--slots", "--env"}),
    "remove": (_remove, {"--pool", "--slots", "--slot"}),
    "drain": (_drain, {"--pool", "--slot"}),
}
_CORE: Final[dict[str, _Core]] = {
    "": _status, "status": _status, "start": _start, "stop": _stop, "restart": _restart, "logs": _logs,
}  # fmt: skip
