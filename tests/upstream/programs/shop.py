"""A program for the SDK: ``shop.py work URL NAME``, ``shop.py run URL WORKFLOW JSON``, ``shop.py serve URL``.

A workflow written ``=name`` is executed by its name alone, as somebody does who has not its code.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from cerebelum import (
    DistributedExecutor,
    ExecutionClient,
    ExecutionState,
    StepRegistry,
    Worker,
    sleep,
    step,
    wait_for_approval,
    workflow,
)


def meet(folder, me, other):
    """Both are here at the same time, or this takes too long; blocks the worker, as a careless step does."""
    Path(folder, me).touch()
    until = time.monotonic() + 15
    while not Path(folder, other).exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{other} did not come")
        time.sleep(0.01)


@step
async def load(context, inputs):
    return {"n": inputs["n"], "folder": inputs["folder"]}


@step
async def left(context, load):
    meet(load["folder"], "left", "right")
    return load["n"] + 1


@step
async def right(context, load, inputs=None):
    meet(load["folder"], "right", "left")
    return load["n"] + inputs["n"]


@step
async def alone(context):
    return "alone"


@step
async def join(context, left, right):
    return [left, right, None, {"deep": [True]}]


@step
async def breaks(context, join):
    raise KeyError("k")


@step
async def asks(context, inputs):
    await wait_for_approval(data={"sum": 5})


@step
async def rests(context, asks):
    await sleep(100, data={"asked": asks})


@step
async def last(context, rests):
    return rests


@step
async def raw(context, last):
    return b"bytes"


@step
async def dies(context, inputs):
    """The first worker that has it dies."""
    mark = Path(inputs["folder"], "died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return "survived"


@workflow
def diamond(wf):
    wf.timeline(load >> [left, right] >> alone >> join)


@workflow
def broken(wf):
    wf.timeline(load >> [left, right] >> join >> breaks)


@workflow
def waiting(wf):
    wf.timeline(asks >> rests >> last >> raw)


@workflow
def deadly(wf):
    wf.timeline(dies)


@workflow
def chooses(wf):
    wf.timeline(load >> alone)
    wf.branch(after=load, condition=lambda value: value["n"] > 1, when_true=alone, when_false=asks)


FLOWS = {"diamond": diamond, "broken": broken, "waiting": waiting, "deadly": deadly, "chooses": chooses}


async def work(url, name):
    worker = Worker(name, url, heartbeat_interval=0.2, reconnect_base_delay=0.2)
    for flow in FLOWS.values():
        flow._build()
        worker.register_workflow(flow._built_definition)
    for known, meta in StepRegistry.all().items():
        worker.register_step(known, meta.function)
    await worker.start()


async def run(url, name, inputs):
    by_name = name.startswith("=")
    name = name.removeprefix("=")
    result = await DistributedExecutor(url).execute(name if by_name else FLOWS[name], json.loads(inputs))
    client = ExecutionClient(url)
    said = await ended(client, result)
    listed, total, more = await client.list_executions(workflow_name=name)
    answer = {
        "handle": result.status,
        "status": said.status.value,
        "outputs": said.step_outputs,
        "error": said.error,
        "progress": said.progress_percentage,
        "listed": [len(listed), total, more, listed[0].execution_id == result.execution_id],
        "active": len(await client.list_active_workflows()),
        "resumed": await client.resume_execution(result.execution_id),
    }
    if answer["resumed"] == "resumed":
        answer["again"] = (await ended(client, result)).status.value
    print(json.dumps(answer, sort_keys=True))


async def ended(client, result):
    told, over = False, (ExecutionState.COMPLETED, ExecutionState.FAILED)
    while (said := await client.get_execution_status(result.execution_id)).status not in over:
        if said.status is ExecutionState.WAITING_FOR_APPROVAL and not told:
            told = True
            print("waits", result.execution_id, said.approval_info.data, flush=True)
        await asyncio.sleep(0.05)
    return said


if __name__ == "__main__":
    verb, url, *rest = sys.argv[1:]
    if verb == "serve":  # a worker that begins with an execution of its own
        asyncio.run(deadly.execute({"folder": rest[0]}, distributed=True))
    else:
        asyncio.run({"work": work, "run": run}[verb](url, *rest))
