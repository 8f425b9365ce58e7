"""What kernels do that are killed from outside, and a kernel whose workers are."""

import os
import random
import signal
import time
from pathlib import Path

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.executors import core_process
from cerebelum_nb.store.journal import read_runs
from cerebelum_nb.testing import chaos

DEADLINE = 30


@step
def large(context):
    print("x" * 10_000)
    return bytes(3_000_000)


@step
def busy(context, large):
    until = time.monotonic() + context.inputs["for_s"]
    while time.monotonic() < until:
        pass
    return len(large)


@step
def rests(context, large):
    time.sleep(context.inputs["for_s"])
    return len(large)


@workflow
def flow(wf):
    wf.timeline(large >> [busy, rests])


@step
def one(context):
    return 1


@workflow
def quick(wf):
    wf.timeline(one)


def session_in(folder, shared):
    core_process._MEMORY = Path(shared)
    return Session(Settings(home=Path(folder) / "home", workers=2))


def works_until_it_is_killed(folder, shared, after_s):
    kernel = os.getpid()
    if not os.fork():  # somebody else, so that it can strike at any moment
        time.sleep(after_s)
        os.kill(kernel, signal.SIGKILL)
        os._exit(0)
    session = session_in(folder, shared)
    while True:
        session.run(flow, {"for_s": 0.05}, strategy={"default": "distributed"}).wait(DEADLINE, echo=False)


def loses_workers(folder, shared, seed, times):
    """What does not hold, after so many workers were killed while their steps ran."""
    dice, session, found = random.Random(seed), session_in(folder, shared), []
    session.run(quick, strategy={"default": "distributed"}).wait(DEADLINE, echo=False)
    (core,) = chaos.cores()
    killed = n = 0
    while killed < times and len(found) < 10:
        n += 1
        run = session.run(flow, {"for_s": 0.15}, strategy={"default": "distributed"})
        time.sleep(dice.uniform(0.0, 0.2))
        victims = [worker.pid for worker in session.pools.workers() if worker.state == "busy"]
        if victims:
            chaos.kill(victim := dice.choice(victims))
            killed += 1
        run.wait(DEADLINE, echo=False)
        if run.status not in {"succeeded", "failed"}:
            found.append(f"{n}: the run is {run.status}")
        if run.status == "failed" and "WorkerLost" not in {e.type for e in errors_of(run)}:
            found.append(f"{n}: the run failed with {errors_of(run)}")
        until = time.monotonic() + DEADLINE
        while victims and victim in chaos.workers_of(core) and time.monotonic() < until:
            time.sleep(0.005)  # a poll, not a pause
        after = session.run(quick, strategy={"default": "distributed"})
        after.wait(DEADLINE, echo=False)
        if after.status != "succeeded":
            found.append(f"{n}: the next run {after.status}: {errors_of(after)}")
        if chaos.cores() != [core]:
            found.append(f"{n}: Core is another one")
            break
    runs = list(session.runs)
    session.close()
    ends = [status for _, status in read_runs(Path(folder) / "home" / "journal.db", 10_000)]
    if len(ends) != len(runs) or "" in ends:
        found.append(f"{len(runs)} runs, and in the journal {len(ends)} of which {ends.count('')} have not ended")
    return found


def errors_of(run):
    return list(run.state.errors.values())
