"""The help texts of the magics: usage, what it does, one example each."""

from typing import Final

_MAGICS: Final = {
    "step": (
        (
            "%%cerebelum_step [NAME] [--executor E] [--depends A,B] [--run] [--inputs EXPR] [--force] "
            "[--retries N] [--timeout S] [--effects none|once] [--fallback E,E] [--cache] [--version TEXT] [--label L] "
            "[--compensates STEP]"
        ),
        """\
Make a step of this cell.

The cell holds functions: the last one is the step, the others are helpers. What it reads are its parameters:
`context`, `inputs`, and the names of other steps.
Or the cell holds plain statements, and NAME says how the step is called: the names of steps it uses become what it
depends on, `inputs` and `context` are given, and its value is the last expression, or what it returns. `await` works.
--cache uses an earlier result again where code, values and inputs are the same; --version, any text, makes it others.
--run runs the step at once on the latest results of what it needs, and its value is the cell's. --effects once says
that it must never run twice; --run --force runs it all the same. Running the cell again replaces the step; without the
step, the cell takes it away.
--compensates STEP makes no step of it: what the cell says undoes STEP when a run fails after it. There `result` is what
STEP gave, and `outcome` "completed", or "unknown" where nobody knows.
""",
        """\
%%cerebelum_step total --executor distributed
prices = [item["price"] for item in load_order["items"]]
sum(prices)""",
    ),
    "workflow": (
        "%%cerebelum_workflow NAME [--executor E] [--strategy step=E,default=E] [--fallback E,E]",
        """\
Make a workflow of this cell: the cell is the timeline. --fallback names the executors, in order, for steps whose own
does not take them.

`>>`, a comma and a new line mean "then"; a list runs side by side. The timeline is looked up again for every run.
""",
        """\
%%cerebelum_workflow order_workflow
validate_order >> [check_inventory, calculate_tax]
process_payment""",
    ),
    "run": (
        (
            "%cerebelum_run NAME [inputs] [--strategy step=E,default=E] [--from STEP] [--until STEP] [--fresh] "
            "[--on-failure compensate|stop] [--detach]"
        ),
        """\
Run a workflow and wait for it.

The inputs are pairs like who="Ann" n=3, or a Python expression; an expression may also stand in the cell, with %%.
--from reuses the latest run's results for everything that is not STEP or below it; --until runs STEP and what it
needs; --fresh takes nothing from the cache; --on-failure stop leaves what steps did where the run fails, instead of
undoing it as they say; --detach returns at once.
""",
        '%cerebelum_run order_workflow {"order": order} --strategy default=distributed',
    ),
}
VERBS: Final = {
    "status": (
        "%cerebelum status",
        """\
What runs now, and what is stale. For each workflow: which steps changed since its latest run, they or the helpers and
globals they use, and what a re-run would run and reuse.""",
        "%cerebelum status",
    ),
    "steps": (
        "%cerebelum steps [NAME]",
        """\
The steps that are known, where they want to run, what they need, and which cell they come from. With NAME: what that
step closes over (helpers, modules, globals), how large it is, and whether it changed since the step last ran.""",
        "%cerebelum steps total",
    ),
    "workflows": (
        "%cerebelum workflows",
        "The workflows that are known, with their timelines.",
        "%cerebelum workflows",
    ),
    "runs": (
        "%cerebelum runs",
        "The runs of this session, newest last, and the latest ones of earlier kernels in this folder.",
        "%cerebelum runs",
    ),
    "resume": (
        "%cerebelum resume RUN [--changed run|keep] [--force STEP,STEP]",
        """\
Go on with a run that failed, was cancelled, or was cut off by the end of its kernel: what has succeeded is not run
again. Run the cells that define its steps first. RUN is a number or an id from `%cerebelum runs`, a part of an id,
`last`, or a workflow's name for its newest run that did not succeed. Where steps were edited since, it asks:
--changed run runs them again, --changed keep does not. --force names steps with effects="once" that have begun
before and run again all the same.""",
        "%cerebelum resume last",
    ),
    "compensate": (
        "%cerebelum compensate RUN",
        """\
Undo what a run did, as far as its steps say how (`@step(compensate=...)`): one that failed with --on-failure stop, was
cut off by the end of its kernel, or could not be undone completely. No step runs, and what is undone already is not
undone again. RUN is a number or an id from `%cerebelum runs`, a part of an id, or `last`.""",
        "%cerebelum compensate last",
    ),
    "rerun": (
        "%cerebelum rerun RUN [STEP] [--executor E] [--force]",
        """\
Run a step of an earlier run again, with what depends on it; the other results are reused. Without STEP: all that did
not succeed. RUN is a number from `%cerebelum runs`, or `last`. --force runs also steps with effects="once" again.""",
        "%cerebelum rerun last process_payment --executor local",
    ),
    "replay": (
        "%cerebelum replay [RUN] STEP [--attempt N] [--executor E] [--force]",
        """\
Run one attempt of a step again in this kernel, for `%debug`. It gets what it was given, and its code is as it was sent
to its worker; nothing of the run changes. What is other here than on the worker (versions, folders, variables) is
told. An attempt that succeeded is run again too, and the results are compared; --executor does it elsewhere. Without
--attempt: the last one. RUN is a number or an id from `%cerebelum runs`, a part of an id, or `last`; left out, the
newest that has the step. Sleeps are cut to a second, and approvals are answered as they were. --force replays also a
step that changes something outside.""",
        "%cerebelum replay last score",
    ),
    "compare": (
        "%cerebelum compare RUN [RUN]",
        """\
A run beside an earlier one: for each step where it ran, how long it took in both, and the difference. Without the
second RUN: the run that it was started from, else the one before it of the same workflow. RUN is a number or an id from
`%cerebelum runs`, a part of an id, or `last`.""",
        "%cerebelum compare last",
    ),
    "purge": (
        "%cerebelum purge RUN ... | --older DAYS | --all | --cache | --memory [--yes]",
        """\
Remove runs from this folder for good, with their results and prints. It says first how many; --yes does it. Runs older
than 30 days go by themselves (`keep_days` and `keep_mib` in the configuration). --cache empties the cache instead.
--memory removes no run: it frees the memory that large results of ended runs share with workers. Those that are kept
are read from disk from then on.""",
        "%cerebelum purge --older 7 --yes",
    ),
    "approve": (
        "%cerebelum approve RUN STEP [VALUE]",
        "Let a step go on that waits for an approval. VALUE, a Python expression, is what its wait gives back.",
        "%cerebelum approve last publish",
    ),
    "reject": (
        "%cerebelum reject RUN STEP [REASON]",
        "Refuse an approval that a step waits for; the step fails with the reason.",
        "%cerebelum reject last publish the numbers are old",
    ),
    "workers": (
        "%cerebelum workers [add|remove|drain] [--pool NAME] [--slots N] [--slot N] [--env K=V]",
        """\
The worker processes of this kernel: what each does, since when, its memory and how many steps have ended in it. `add`
starts --slots more in a pool, which is made where there is none of this name; steps that wait for it go on. --env gives
the pool's workers a variable, and stands several times for several. `remove` ends --slots of them, or the one with the
number --slot; `drain` has all of them, or that one, replaced by new ones. A worker ends after its step, never in it.
Without --pool, the list is of all pools, and the rest about `distributed`.""",
        """\
%cerebelum workers add --pool gpu-worker-pool --slots 2 --env CUDA_VISIBLE_DEVICES=0
%cerebelum workers drain --pool gpu-worker-pool --slot 1
%cerebelum workers""",
    ),
    "core": (
        "%cerebelum core [status|start|stop|restart|logs] [--pool NAME] [--force]",
        """\
Each pool's Core, the process that hands steps to its workers and starts and ends these: its pid, since when it runs,
what its workers do, how many steps wait and were sent, whether it takes work, and where its socket is. It starts with
the first step of the pool; `start` does not wait for that. `stop` and `restart` leave alone what runs or waits there,
unless --force cancels it; without --pool they are about all that run. `restart` also ends a Core that does not answer:
what no worker had begun goes to the new one. `logs` is the end of what Core and its workers have said.""",
        """\
%cerebelum core restart --pool gpu-worker-pool
%cerebelum core logs --pool gpu-worker-pool
%cerebelum core""",
    ),
    "help": ("%cerebelum help [VERB]", "This text, or one verb's.", "%cerebelum help rerun"),
}
ACTIONS: Final = {
    "workers": ("add", "remove", "drain"),
    "core": ("status", "start", "stop", "restart", "logs"),
}  # of the verbs that have some
LATER: Final = (
    *("show", "explain", "whatif", "trace", "report", "export"),
    *("doctor", "config"),
)


def usage(magic: str) -> str:
    """How a magic is called, in one line."""
    return f"Usage: {_MAGICS[magic][0]}"


def text(magic: str) -> str:
    """All about one magic."""
    line, what, example = _MAGICS[magic]
    return f"{line}\n\n{what}\nExample:\n\n{_indented(example)}\n"


def hint(magic: str) -> str:
    """What to write into an empty cell."""
    return f"This cell is empty. For example:\n\n{_indented(_MAGICS[magic][2])}"


def verb(name: str) -> str:
    """All about one verb of ``%cerebelum``."""
    line, what, example = VERBS[name]
    return f"{line}\n\n{what}\n\nExample:\n\n{_indented(example)}"


def overview() -> str:
    """All verbs and magics, one line each."""
    width = max(map(len, VERBS))
    verbs = [f"  %cerebelum {name:<{width}}  {_gist(what)}" for name, (_, what, _) in VERBS.items()]
    magics = [f"  {line}" for line, _, _ in _MAGICS.values()]
    more = "`%cerebelum help VERB` has the options of one, and an example."
    return "\n".join(["Look at steps, workflows, runs and workers.", "", *verbs, "", more, "", "In cells:", *magics])


def magic_names() -> tuple[str, ...]:
    """Magics that have a text."""
    return tuple(_MAGICS)


def _gist(what: str) -> str:
    """The beginning of a text, up to the first details."""
    first = " ".join(what.split()).partition(". ")[0].partition(":")[0]
    return f"{first.removesuffix('.')}."


def _indented(example: str) -> str:
    return "\n".join(f"    {line}" for line in example.splitlines())
