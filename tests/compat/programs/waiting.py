"""Four workflows that take their time: one asks again, one tries again, one sleeps, one says how far it is."""

import asyncio
import time
from datetime import timedelta

from cerebelum import Context, ProgressReporter, poll, retry, sleep, step, workflow

seen = {"kiln": 0, "post": 0}


async def kiln_temperature():
    seen["kiln"] += 1
    return {"degrees": 300 * seen["kiln"]}


@step
async def heat(context: Context, inputs: dict):
    told = []
    hot = await poll(
        lambda: kiln_temperature(),  # noqa: PLW0108  it gives a coroutine, and is no coroutine function
        interval=10,
        max_attempts=10,
        success_condition=lambda answer: answer["degrees"] >= inputs["degrees"],
        on_attempt=lambda number, answer: told.append((number, answer["degrees"])),
    )
    return {"hot": hot["degrees"], "told": told}


async def post(parcel, *, express=False):
    seen["post"] += 1
    if seen["post"] < 3:
        raise ConnectionError(f"try {seen['post']}: nobody at the counter")
    return f"{parcel} is on its way{' fast' if express else ''}"


@step
async def send(context: Context, inputs: dict):
    told = []
    said = await retry(
        post,
        inputs["parcel"],
        express=True,
        max_attempts=5,
        delay=10,
        backoff=2.0,
        on_attempt=lambda number, error: told.append((number, str(error) if error else None)),
    )
    return {"said": said, "told": told}


@step
async def rise(context: Context, inputs: dict):
    begun = time.monotonic()
    await sleep(30)
    await sleep(timedelta(milliseconds=30))
    return time.monotonic() - begun >= 0.06


@step
async def knead(context: Context, inputs: dict):
    progress = ProgressReporter(context)
    for done in range(0, 101, 25):
        progress.update(done, f"{done} strokes")
        await asyncio.sleep(0)
    return "dough"


@step
async def shape(context: Context, inputs: dict, knead: str):
    await sleep(5)
    return f"{inputs['loaves']} loaves of {knead}"


@workflow
def pottery(wf):
    wf.timeline(heat)


@workflow
def parcels(wf):
    wf.timeline(send)


@workflow
def yeast(wf):
    wf.timeline(rise)


@workflow
def loaves(wf):
    wf.timeline(knead >> shape)


async def main():
    inputs = {"degrees": 900, "parcel": "a vase", "loaves": 3}
    for flow in (pottery, parcels, yeast, loaves):
        result = await flow.execute(inputs)
        print(flow.name, result.status, result.output["ok"])


asyncio.run(main())
