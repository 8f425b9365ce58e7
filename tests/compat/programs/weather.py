"""One step, three beside each other, one that reads all three; and the same order said in two calls."""

import asyncio

from cerebelum import step, workflow


@step
async def readings(context, inputs):
    return inputs["readings"]


@step
async def coldest(context, readings):
    await asyncio.sleep(0.02)
    return min(readings)


@step
async def warmest(context, readings):
    return max(readings)


@step
async def mean(context, readings):
    await asyncio.sleep(0.01)
    return sum(readings) / len(readings)


@step
async def bulletin(context, coldest, warmest, mean):
    return {"from": coldest, "to": warmest, "mean": mean}


@workflow
def weather(wf):
    wf.timeline(readings >> [coldest, warmest, mean] >> bulletin)


@workflow
def in_two_calls(wf):
    wf.timeline(readings >> [coldest, warmest, mean])
    wf.timeline(bulletin)


@workflow
def ends_in_a_group(wf):
    wf.timeline(readings >> [coldest, warmest])


@workflow
def a_flat_list(wf):
    wf.timeline([readings, warmest])


async def main():
    for flow in (weather, in_two_calls, ends_in_a_group, a_flat_list):
        result = await flow.execute({"readings": [3, -1, 10]})
        print(flow.name, result.output["ok"])


asyncio.run(main())
