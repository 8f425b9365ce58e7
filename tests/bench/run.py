"""What the product costs on this machine, beside the floors measured in the same run.

    make bench

Read the ratios: absolute times move with the machine and its neighbours.
"""

import asyncio
import compileall
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import big_values
import contenders
import live
import prints
from table import line

import cerebelum_nb
from cerebelum_nb import Session, StepMetadata, Workflow, step, workflow
from cerebelum_nb.config import Settings

CRITICAL_MS = 5 + 200 + 300 + 3
CHAIN = 10_000
HITS = 2_000
HIT_LIMIT_US = 10.0
LINKS = 200
ROUNDS = 3


def order_steps() -> Workflow:
    """The specification's order workflow: 5, 200, 2, 300 and 3 ms."""

    def sleeper(name: str, executor: str, ms: float, *reads: str) -> StepMetadata:
        space: dict[str, object] = {"asyncio": asyncio}
        exec(
            f"async def {name}(context, {', '.join(reads)}):\n    await asyncio.sleep({ms / 1e3})\n    return {ms}",
            space,
        )
        return step(name=name, executor=executor)(space[name])  # type: ignore[arg-type]

    validate = sleeper("validate_order", "local", 5, "inputs")
    check = sleeper("check_inventory", "distributed", 200, "validate_order")
    tax = sleeper("calculate_tax", "local", 2, "validate_order")
    pay = sleeper("process_payment", "distributed", 300, "calculate_tax")
    final = sleeper("finalize_order", "local", 3, "process_payment", "check_inventory")
    return workflow(name="order")(lambda wf: wf.timeline(validate >> [check, tax] >> pay >> final))


def chain(n: int, of: str = "s", gives: str = "None", *, kind: str = "async def", **options: Any) -> Workflow:
    """Steps that do nothing, one after the other, each reading the one before."""
    steps = []
    for i in range(n):
        space: dict[str, object] = {"__name__": "__main__"}
        exec(f"{kind} {of}{i}({f'{of}{i - 1}' if i else ''}): return {gives}", space)
        steps.append(step(**options)(space[f"{of}{i}"]))  # type: ignore[arg-type]
    return workflow(name=f"chain of {n} {of}")(lambda wf: wf.timeline(*steps))


def timed(call: Callable[[], object]) -> float:
    """Seconds a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


async def task_floor(n: int) -> float:
    """Seconds an asyncio task takes that does nothing."""

    async def nothing() -> None: ...

    began = time.perf_counter()
    for _ in range(n):
        await asyncio.create_task(nothing())
    return (time.perf_counter() - began) / n


def local_rows(session: Session) -> None:
    """Microseconds for a local step that does nothing; events, journal and a live view on."""
    long = chain(CHAIN)
    costs, floors, plans, wholes = [], [], [], []
    for _ in range(5):
        floors.append(asyncio.run(task_floor(CHAIN)))
        began = time.perf_counter()
        run = session.run(long, {})
        plans.append(time.perf_counter() - began)
        run.watch(lambda _, run=run: run.rows(run.take_dirty()[:2000]))  # type: ignore[misc]
        run.wait()
        wholes.append(time.perf_counter() - began)
        costs.append((run.state.ended_at - run.state.started_at) / CHAIN)
    cost, floor = statistics.median(costs), statistics.median(floors)
    line(
        "local no-op step, in a chain of 10,000",
        cost * 1e6,
        "us",
        f"{cost / floor:.2f} x an asyncio task ({floor * 1e6:.1f} us)",
    )
    line("  planning and starting them", statistics.median(plans) / CHAIN * 1e6, "us a step", "")
    whole = statistics.median(wholes)
    beside = f"{whole / floor / CHAIN:.1f} x as many asyncio tasks ({floor * CHAIN * 1e3:.0f} ms); lowest {min(wholes) * 1e3:.0f}"
    line("  the 10,000 planned, run and on disk", whole * 1e3, "ms", beside)


def cache_rows(session: Session) -> None:
    """Microseconds that a hit adds to a local step that does nothing: its key, its result, what is told of it."""
    made, cached = chain(HITS, "plain", "1"), chain(HITS, "cached", "1", cache=True)

    def each(work: Workflow) -> float:
        run = session.run(work, {})
        run.wait()
        return (run.state.ended_at - run.state.started_at) / HITS

    missed = each(cached)
    pairs = [(each(made), each(cached)) for _ in range(15)]
    assert {row.status for row in session.runs[-1].rows()} == {"cached"}
    plain, hit = (statistics.median(side) for side in zip(*pairs, strict=True))
    cost = statistics.median(hit - plain for plain, hit in pairs)
    beside = f"at most {HIT_LIMIT_US:g}; a step served {hit * 1e6:.1f}, the same one run {plain * 1e6:.1f}"
    line("cache hit, small value", cost * 1e6, "us", beside)
    line("  a first miss, looked up and kept", (missed - plain) * 1e6, "us", "")


def remote_rows() -> None:
    """Steps that do nothing in another process, beside others who offer that: each time all in turn, fresh processes."""
    rounds: list[dict[str, dict[str, float] | None]] = [
        {name: contenders.measure(name) for name in contenders.ALL} for _ in range(ROUNDS)
    ]
    print(f"\n{f'lowest of {ROUNDS} rounds; in brackets, times the echo':<46}", *(f"{n:>20}" for n in contenders.ALL))
    for what, key, best in (
        ("no-op step in another process, warm, p50, ms", "p50", min),
        ("  p95, ms", "p95", min),
        ("  as a run of its own, journal on disk, ms", "whole", min),
        ("fan-out of 2,000, steps a second", "fan", max),
        ("  processor time in all processes, us a step", "cpu", min),
        ("fresh process to its first result, ms", "first", min),
        ("import, ms", "import", min),
    ):
        cells = []
        for name in contenders.ALL:
            found = [told[key] for each in rounds if (told := each[name]) is not None and key in told]
            pairs = [
                told[key] / floor[key]
                for each in rounds
                if (told := each[name]) is not None and (floor := each["grpc.aio echo"]) is not None
                if key in told and key in floor
            ]
            ratio = f" ({statistics.median(pairs):.2f})" if pairs else ""
            missing = "not installed" if rounds[0][name] is None else "-"
            cells.append(f"{best(found):,.2f}{ratio}" if found else missing)
        print(f"{what:<46}", *(f"{cell:>20}" for cell in cells))
    print("targets: p50 0.55, p95 0.8, fan-out 20,000, first result 350, import 50")


def chain_rows(session: Session) -> None:
    """Microseconds for a link of a remote chain whose steps read the one before: in segments, by Core, in its turn."""

    def each(count: int, gives: str = "1", **options: Any) -> list[float]:
        work, took = chain(count, "link", gives, kind="def", executor="distributed", **options), []
        for _ in range(13):
            run = session.run(work, {})
            run.wait()
            took.append((run.state.ended_at - run.state.started_at) / count * 1e6)
        return took[3:]  # Core keeps segments whole once it has seen that steps are short

    def row(what: str, took: list[float], limit: str) -> None:
        line(what, statistics.median(took), "us", f"{limit}; lowest {min(took):.1f}")

    row("link of a remote chain of 1,000, in segments", each(1000), "at most 30")
    row(f"link of a remote chain of {LINKS}, in segments", each(LINKS), "starts and ends included")
    row("the same where Core advances it", each(LINKS, "'x' * 5000"), "at most 150")  # too long for a segment
    row("the same where the kernel does", each(LINKS, retries=1), "no limit")  # what may be tried again waits


def order_rows(session: Session) -> None:
    """The order workflow, hybrid, cold and warm."""
    order = order_steps()
    warm = [timed(lambda: session.run(order, {"order": {}}).wait()) * 1e3 for _ in range(20)]
    median = statistics.median(warm)
    line(
        "order workflow, hybrid, warm, median of 20",
        median,
        "ms",
        f"{median - CRITICAL_MS:+.1f} ms over its critical path of {CRITICAL_MS} ms",
    )
    line("  lowest and highest", min(warm), "ms", f"to {max(warm):.1f} ms")


RESUME = """
import sys, time
from pathlib import Path
import cerebelum_nb
from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings

home, steps, again = Path(sys.argv[1]), [], len(sys.argv) > 2
for i in range(1000):
    space = {}
    exec(f"def s{i}(context{f', s{i - 1}' if i else ''}): return [{i}, 'x' * 100]", space)
    steps.append(step(name=f"s{i}")(space[f"s{i}"]))

@step
def last(context, s999):
    if not again:
        raise OSError("not yet")
    return time.perf_counter()

w = workflow(name="thousand")(lambda wf: wf.timeline(*steps, last))
session = Session(Settings(home=home))
began = time.perf_counter()
run = session.load(session.history.unfinished()).resume() if again else session.run(w)
run.wait()
if again:
    assert [row.status for row in run.rows()].count("reused") == 1000
    print(run.outputs["last"] - began)
session.close()
"""


def resume_rows() -> None:
    """Seconds from looking for a run of 1,000 completed steps to the first attempt after it, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="cerebelum-bench-") as home:
        for more in ([], ["again"]):
            told = subprocess.run(
                [sys.executable, "-c", RESUME, home, *more], capture_output=True, text=True, check=True
            )
    line("resume of 1,000 completed steps", float(told.stdout), "s", "at most 2")


def careful_rows(session: Session) -> None:
    """Microseconds that a step costs more whose beginning and end are on disk at once."""
    links = chain(LINKS, "once", effects="once")

    def each(work: Workflow) -> float:
        run = session.run(work, {})
        run.wait()
        return (run.state.ended_at - run.state.started_at) / LINKS

    cost = statistics.median(each(links) for _ in range(5))
    line("local step that runs once, on disk before it begins", cost * 1e6, "us", "")


def main() -> None:
    """Print the table."""
    compileall.compile_dir(
        str(Path(cerebelum_nb.__file__).parent), quiet=1
    )  # as pip does, also where it is told not to
    home = Path(tempfile.mkdtemp(prefix="cerebelum-bench-"))
    session = Session(Settings(home=home))
    print(f"{platform.node()}: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    once = step(name="first", executor="distributed")(lambda context: None)
    cold = timed(lambda: session.run(workflow(name="first")(lambda wf: wf.timeline(once)), {}).wait())
    line("first remote result of a session", cold * 1e3, "ms", "Core and workers start")
    order_rows(session)
    local_rows(session)
    cache_rows(session)
    careful_rows(session)
    resume_rows()
    remote_rows()
    chain_rows(session)
    prints.print_rows(session)
    session.close()
    shutil.rmtree(home)
    big_values.rows()
    live.kernel_rows()
    live.browser_rows()


if __name__ == "__main__":
    main()
