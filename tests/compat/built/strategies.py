"""Built with the SDK, run by our executors: order, groups, places, errors."""

import asyncio
import contextlib
import functools
import os
import re
import subprocess
import sys

import cerebelum
from cerebelum import poll, sleep, step, workflow

import cerebelum_nb
from cerebelum_nb import DistributedExecutor, DSLLocalExecutor, HybridExecutor

HERE = os.getpid()


def doubled(function):
    """A decorator of the person's own, between the step and its function."""

    @functools.wraps(function)
    async def twice(*args, **kwargs):
        return 2 * await function(*args, **kwargs)

    return twice


def place():
    return "here" if os.getpid() == HERE else "there"


async def rest():
    await sleep(5)


async def rest_a_while(times):
    if times:
        await rest()
        await rest_a_while(times - 1)


@step
async def load(context, inputs):
    await rest_a_while(2)
    return {"n": inputs["n"], "at": place()}


@step
@doubled
async def left(context, load):
    return [load["n"]]


@step
async def right(context, load):
    return {"ok": await poll(place, interval=5)}


@step
async def join(context, inputs, left, right, load):
    return {"left": left, "right": right, "load": load["at"], "join": place(), "step": context.step_name}


@workflow
def diamond(wf):
    wf.timeline(load >> [left, right] >> join)


@step
async def broken(context, inputs):
    raise KeyError("k")


@workflow
def breaks(wf):
    wf.timeline(broken)


@step
async def sleeper(context, inputs):
    await cerebelum.sleep(10)


@workflow
def sleeps_by_another_way(wf):
    wf.timeline(sleeper)


@workflow
def chooses(wf):
    wf.timeline(load)
    wf.branch(after=load, condition=lambda value: True, when_true=left, when_false=right)


@contextlib.contextmanager
def elsewhere():
    """A Core that speaks the SDK's protocol."""
    command = [sys.executable, "-m", "cerebelum_nb.cli", "core", "serve", "--upstream-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as core:
        try:
            yield re.search(r"127\.0\.0\.1:\d+", core.stdout.readline())[0]
        finally:
            core.kill()


async def main():
    with elsewhere() as core_url, DistributedExecutor(core_url=core_url) as executor:
        result = await diamond.execute({"n": 3}, executor=executor)
        print("elsewhere", result.status, result.output, len({place.label for place in result.run.plan.places}))
    for executor in (
        DSLLocalExecutor(),
        DistributedExecutor(),
        HybridExecutor(),
        HybridExecutor(strategy={"default": "distributed", "load": "local"}),
        HybridExecutor(strategy={"right": "distributed"}),
    ):
        result = await diamond.execute({"n": 3}, executor=executor)
        print(type(executor).__name__, result.status, result.output)
    run = result.run
    print(run.plan.names, run.plan.needs)
    for flow in (breaks, sleeps_by_another_way):
        for where in ("local", "distributed"):
            try:
                await flow.execute({}, executor=HybridExecutor(strategy={"default": where}))
            except cerebelum.ExecutionError as exc:
                print(isinstance(exc, cerebelum_nb.ExecutionError), exc.told)
                print(str(exc).partition(" error")[0])
    for flow, strategy in ((chooses, {}), (diamond, {"lefd": "local"})):
        try:
            await flow.execute({"n": 1}, executor=HybridExecutor(strategy=strategy))
        except cerebelum_nb.PlanError as exc:
            print(exc)
    print((await HybridExecutor().execute(diamond, {"n": 1})).output["ok"]["left"])


asyncio.run(main())
