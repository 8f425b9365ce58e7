"""`%cerebelum VERB`: what is there, what has run, run a part of it again. The command line has the same verbs."""

import datetime as dt
import sys
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.errors import CerebelumError, NotYet, PlanError
from cerebelum_nb.model.compare import Comparison
from cerebelum_nb.model.lines import columns
from cerebelum_nb.model.typed import listed, nearest
from cerebelum_nb.notebook import listing, manual, memory, workers
from cerebelum_nb.notebook.arguments import Arguments, Option, UsageError, read_line, whole
from cerebelum_nb.notebook.options import OF_VERBS
from cerebelum_nb.notebook.stale import report
from cerebelum_nb.notebook.work import Notebook
from cerebelum_nb.rules.kept import as_options
from cerebelum_nb.runtime.onward import as_typed
from cerebelum_nb.runtime.replay import Replay
from cerebelum_nb.runtime.run import Run


def answer(line: str, notebook: Notebook) -> Any:
    """Do what a line of ``%cerebelum`` says; a run is returned, all else is printed.

    Raises:
        UsageError: An unknown verb or option; names the nearest.
        NotYet: A verb of a later version.
    """
    verb, _, rest = line.strip().partition(" ")
    verb = verb or "help"
    if verb in manual.LATER:
        raise NotYet(
            f"%cerebelum {verb} comes with a later version of cerebelum_nb; `%cerebelum help` lists what is there"
        )
    if verb not in _DO:
        hint = nearest(verb, [*_DO, *manual.LATER])
        raise UsageError(f"unknown verb {verb!r}.{hint} There are: {', '.join(_DO)}.")
    do, options, most = _DO[verb]
    usage = f"Usage: {manual.VERBS[verb][0]}"
    args = read_line(rest, options, usage)
    if len(args.words) > most:
        raise UsageError(f"{verb} does not know what to do with {args.words[most]!r}.\n{usage}")
    return do(args, notebook)


def _status(_args: Arguments, notebook: Notebook) -> None:
    session = notebook.session
    live = [run for run in session.runs if not run.done]
    lines = [f"executors: {', '.join(session.executors)}; steps: {len(registry.steps)}; runs: {len(session.runs)}"]
    for run in live:
        lines.append(f"{run!r}".strip("<>"))
        for waiting in run.approvals:
            how = f"%cerebelum approve {run.number} {waiting.step}"
            lines.append(f"  {waiting.step} waits for approval: {waiting.type} - {how}")
    numbers = {run.id: run.number for run in session.runs}
    left = session.left_behind
    for run_id, step in left:
        of = f"run {numbers[run_id]}" if run_id in numbers else f"run {run_id}"
        lines.append(f"step {step!r} of {of} did not stop: it runs until it ends, or the kernel is restarted")
    lines += [f"  {breaker}" for breaker in session.breakers.values() if breaker.state != "closed"]
    lines += [] if live or left else ["nothing runs now"]
    lines += report(session, notebook.seen, registry, notebook.names)
    print("\n".join(lines))  # noqa: T201  a magic answers in its cell


def _steps(args: Arguments, notebook: Notebook) -> None:
    known = registry.steps
    if not known:
        print("There is no step yet: make one with %%cerebelum_step.")  # noqa: T201
        return
    if not args.words:
        print("\n".join(listing.steps(list(known.values()), notebook.claims)))  # noqa: T201
        return
    name = args.words[0]
    if name not in known:
        hint = nearest(name, known) or f" Steps: {listed(list(known))}."
        raise UsageError(f"there is no step {name!r}.{hint}")
    print("\n".join(listing.one(known[name], notebook.claims, notebook.seen)))  # noqa: T201


def _workflows(_args: Arguments, _notebook: Notebook) -> None:
    rows = []
    for workflow in registry.workflows.values():
        try:
            rows.append((workflow.name, str(len(workflow.define().steps)), workflow.timeline()))
        except CerebelumError as exc:  # a step may have gone since; the others are still worth seeing
            rows.append((workflow.name, "-", str(exc).splitlines()[0]))
    _table(("workflow", "steps", ""), rows, "There is no workflow yet: make one with %%cerebelum_workflow NAME.")


def _runs(_args: Arguments, notebook: Notebook) -> None:
    session = notebook.session
    entries = session.history.entries(sys.maxsize)
    kept = {entry.run for entry in entries}
    rows = []
    for run in session.runs:
        header = run.header()
        origin = f"from run {header.reused_from}" if header.reused_from else run.id if run.is_recalled else ""
        if run.done and run.id not in kept:
            origin = "; ".join(filter(None, (origin, "not kept on disk; here until this kernel ends")))
        seconds = f"{header.now:.2f} s"
        rows.append((str(run.number), run.workflow, run.status, f"{header.done}/{header.total}", seconds, origin))
    _table(("run", "workflow", "status", "steps", "time", ""), rows, "Nothing has run yet in this session.")
    mine = {run.id for run in session.runs}
    earlier = [entry for entry in entries if entry.run not in mine][:_EARLIER]
    if earlier:
        print("\nOf other kernels (`%cerebelum resume RUN` goes on, `runs.load(RUN)` looks at one):")  # noqa: T201
        _table(
            ("run", "workflow", "status", "started"),
            [(e.run, e.workflow, e.status, _local_time(e.at)) for e in earlier],
            "",
        )


def _local_time(at: float) -> str:
    return dt.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _past(verb: str, args: Arguments, notebook: Notebook) -> Run:
    """The run that a line names, also one of an earlier kernel."""
    usage = f"Usage: {manual.VERBS[verb][0]}"
    session = notebook.session
    if not args.words:
        raise UsageError(f"which run? `%cerebelum runs` lists them.\n{usage}")
    name = args.words[0]
    to_be = "undone" if verb == "compensate" else "resumed"
    if name == "last" and not session.runs:
        name = session.history.unfinished(to_be=to_be)
    if name in registry.workflows:
        name = session.history.unfinished(name, to_be=to_be)
    numbered = name == "last" or any(name in (str(run.number), run.id) for run in session.runs)
    return _find(name, session.runs) if numbered else session.load(name)


def _compensate(args: Arguments, notebook: Notebook) -> Run:
    made = _past("compensate", args, notebook).compensate()
    notebook.show(made)
    return made


def _resume(args: Arguments, notebook: Notebook) -> Run:
    run = _past("resume", args, notebook)
    changed: Any = args.text.get("--changed", "ask")
    try:
        made = run.resume(changed=changed, force=args.names.get("--force", ()))
    except PlanError as exc:
        raise PlanError(as_options(str(exc))) from None
    if made.undoes_only:
        print(f"Run {run.number} was cut off while it was undone: that goes on, as run {made.number}.")  # noqa: T201
    notebook.show(made)
    return made


def _purge(args: Arguments, notebook: Notebook) -> None:
    usage = f"Usage: {manual.VERBS['purge'][0]}"
    history = notebook.session.history
    if "--cache" in args.flags:
        _purge_cache(args, notebook, usage)
        return
    if "--memory" in args.flags:
        print(memory.free(args, notebook.session, usage))  # noqa: T201
        return
    entries = {entry.run: entry for entry in history.entries(sys.maxsize)}
    live = {run.id for run in notebook.session.runs if not run.done}
    live |= {entry.run for entry in entries.values() if entry.status == "running"}  # also in other kernels
    if "--all" in args.flags:
        chosen = [run for run in entries if run not in live]
    elif "--older" in args.text:
        days = whole("--older", args.text["--older"], usage) or 0
        chosen = [run for run in history.outdated(days, sys.maxsize, time.time()) if run not in live]
    elif args.words:
        chosen = list(dict.fromkeys(_kept(name, notebook, entries) for name in args.words))
    else:
        raise UsageError(f"which runs? `%cerebelum runs` lists them.\n{usage}")
    if wrong := live.intersection(chosen):
        raise PlanError(f"run {_named(min(wrong), notebook)} still runs: cancel it first, or wait for its end")
    count = f"{len(chosen)} run{'s' if len(chosen) != 1 else ''}"
    stay = f" {_that_run(len(live))}" if live and not args.words else ""
    if not chosen:
        print(f"There is no run to remove.{stay}")  # noqa: T201
        return
    if "--yes" not in args.flags:
        rows = [(_named(run, notebook), entries[run].workflow, entries[run].status, _local_time(entries[run].at))
                for run in chosen[:_LISTED] if run in entries]  # fmt: skip
        print("\n".join(columns(("run", "workflow", "status", "started"), rows)))  # noqa: T201
        more = f"and {len(chosen) - _LISTED} more\n" if len(chosen) > _LISTED else ""
        print(f"{more}This removes {count}, with results and prints, for good. Add --yes to do it.{stay}")  # noqa: T201
        return
    nbytes = notebook.session.purge(*chosen)
    print(f"{count} removed.{memory.freed(nbytes)}{stay}")  # noqa: T201


def _kept(name: str, notebook: Notebook, entries: Container[str]) -> str:
    """The id of a kept run, by what `%cerebelum runs` calls it: its number, its id, a part of it, or `last`."""
    if not _is_number(name) and name != "last":
        return notebook.session.history.find(name)
    run = _find(name, notebook.session.runs)
    if run.done and run.id not in entries:
        raise PlanError(f"run {run.number} is not kept on disk any more; this kernel has it until it ends")
    return run.id


def _named(run: str, notebook: Notebook) -> str:
    """A run by its number where it has one here, else by its id."""
    return next((str(known.number) for known in notebook.session.runs if known.id == run), run)


def _that_run(count: int) -> str:
    return "1 run still runs and stays." if count == 1 else f"{count} runs still run and stay."


def _purge_cache(args: Arguments, notebook: Notebook, usage: str) -> None:
    if args.words or args.text or "--all" in args.flags:
        raise UsageError(f"--cache empties the cache; runs are removed on a line of their own.\n{usage}")
    kept = notebook.session.cache
    held = kept.held() or "no result"
    if "--yes" not in args.flags:
        print(f"This removes {held} from the cache. Add --yes to do it.")  # noqa: T201
        return
    kept.purge()
    print(f"{held} removed.")  # noqa: T201


def _rerun(args: Arguments, notebook: Notebook) -> Run:
    usage = f"Usage: {manual.VERBS['rerun'][0]}"
    if not args.words:
        raise UsageError(f"which run?\n{usage}")
    run = _find(args.words[0], notebook.session.runs)
    step = args.words[1] if len(args.words) > 1 else None
    executor = args.text.get("--executor")
    if executor is not None and step is None:
        raise UsageError(f"--executor needs a step to move.\n{usage}")
    try:
        made = run.rerun(step, executor=executor, force="--force" in args.flags)
    except PlanError as exc:
        raise PlanError(as_options(str(exc))) from None
    if made.left_over:
        print(made.left_over)  # noqa: T201
    notebook.show(made)
    return made


def _replay(args: Arguments, notebook: Notebook) -> Replay:
    usage = f"Usage: {manual.VERBS['replay'][0]}"
    if not args.words:
        raise UsageError(f"which step?\n{usage}")
    session, (step, *rest) = notebook.session, reversed(args.words)
    name = rest[0] if rest else _newest_with(step, session.runs)
    run = _find(name, session.runs) if _is_number(name) else session.load(name)
    number = whole("--attempt", args.text.get("--attempt"), usage)
    try:
        ready = run.prepared_replay(step, number, args.text.get("--executor"), force="--force" in args.flags)
    except PlanError as exc:
        raise PlanError(as_typed(str(exc), f"%cerebelum replay {run.number}")) from None
    print(ready.told)  # noqa: T201
    return ready.go()


def _newest_with(step: str, runs: Sequence[Run]) -> str:
    return next((str(run.number) for run in reversed(runs) if step in run.plan.names), "last")


def _is_number(name: str) -> bool:
    """A number is never meant as a part of an id, which "9" mostly is."""
    return name.isdecimal() and len(name) <= _DIGITS


def _compare(args: Arguments, notebook: Notebook) -> Comparison:
    usage = f"Usage: {manual.VERBS['compare'][0]}"
    if not args.words:
        raise UsageError(f"which run? `%cerebelum runs` lists them.\n{usage}")
    session = notebook.session
    this, *others = (_find(name, session.runs) if _is_number(name) else session.load(name) for name in args.words)
    return this.compare(*others)


def _find(number: str, runs: Sequence[Run]) -> Run:
    if not runs:
        raise PlanError("nothing has run yet in this session")
    if number == "last":
        return runs[-1]
    for run in runs:
        if number in (str(run.number), run.id):
            return run
    raise PlanError(f"there is no run {number!r}. Runs: 1 to {runs[-1].number}, or last.")


def _workers(args: Arguments, notebook: Notebook) -> Any:
    return workers.workers(args, notebook.session.pools)


def _core(args: Arguments, notebook: Notebook) -> Any:
    return workers.core(args, notebook.session.pools)


def _help(args: Arguments, _notebook: Notebook) -> None:
    if not args.words:
        print(manual.overview())  # noqa: T201
        return
    name = args.words[0].lstrip("%").removeprefix("cerebelum_")
    if name in manual.LATER:
        raise NotYet(f"%cerebelum {name} comes with a later version of cerebelum_nb")
    if name in manual.VERBS:
        print(manual.verb(name))  # noqa: T201
    elif name in manual.magic_names():
        print(manual.text(name))  # noqa: T201
    else:
        known = [*manual.VERBS, *manual.magic_names()]
        raise UsageError(f"no help on {name!r}.{nearest(name, known)} There is help on: {', '.join(known)}.")


def _approve(args: Arguments, notebook: Notebook) -> None:
    run, step, rest = _asked("approve", args, notebook)
    value = True if not rest else notebook.inputs_of_line(f"the approval of {step}", rest)
    run.approve(step, value)
    print(f"run {run.number}: {step} is approved{'' if value is True else f' with {value!r:.60}'}")  # noqa: T201


def _reject(args: Arguments, notebook: Notebook) -> None:
    run, step, reason = _asked("reject", args, notebook)
    if len(reason) > 1 and reason[0] == reason[-1] and reason[0] in "'\"":
        reason = reason[1:-1]
    run.reject(step, reason)
    print(f"run {run.number}: {step} is rejected{f': {reason}' if reason else ''}")  # noqa: T201


def _asked(verb: str, args: Arguments, notebook: Notebook) -> tuple[Any, str, str]:
    """The run, the step, and what else stands on the line."""
    usage = f"Usage: {manual.VERBS[verb][0]}"
    if len(args.words) < 2:
        raise UsageError(f"{'which run, and ' if not args.words else ''}which step?\n{usage}")
    name, step = args.words[:2]
    try:
        return _find(name, notebook.session.runs), step, " ".join(args.words[2:])
    except PlanError:
        if any(name in entry.run and entry.status == "running" for entry in notebook.session.history.entries()):
            how = f"in a terminal in this folder: cerebelum {verb} {name} {step}"
            raise PlanError(f"run {name} is another kernel's: answer it there, or {how}") from None
        raise


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    print("\n".join(columns(head, rows)) if rows else nothing)  # noqa: T201


_ANY: Final = 1_000  # words
_DIGITS: Final = 5  # of a run's number; an id's date has more
_LISTED: Final = 20  # runs that are to be removed
_EARLIER: Final = 10  # runs of earlier kernels that are listed
_Do = Callable[[Arguments, Notebook], Any]
_DO: Final[dict[str, tuple[_Do, tuple[Option, ...], int]]] = {  # verb: function, options, most words
    "status": (_status, (), 0),
    "steps": (_steps, (), 1),
    "workflows": (_workflows, (), 0),
    "runs": (_runs, (), 0),
    "resume": (_resume, OF_VERBS["resume"], 1),
    "compensate": (_compensate, (), 1),
    "rerun": (_rerun, OF_VERBS["rerun"], 2),
    "replay": (_replay, OF_VERBS["replay"], 2),
    "compare": (_compare, (), 2),
    "purge": (_purge, OF_VERBS["purge"], _ANY),
    "approve": (_approve, (), _ANY),
    "reject": (_reject, (), _ANY),
    "workers": (_workers, OF_VERBS["workers"], 2),
    "core": (_core, OF_VERBS["core"], 2),
    "help": (_help, (), 1),
}
