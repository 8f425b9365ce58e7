"""What raises, what says that it failed, and what begins with a list."""

import asyncio

from cerebelum import ExecutionError, step, workflow


@step
async def broken_lamp(context, inputs):
    raise ValueError(f"no light in room {inputs['room']}")


@step
async def empty_shelf(context, inputs):
    return {"error": f"nothing in room {inputs['room']}"}


@step
async def clock(context, inputs):
    return 12


@step
async def chair(context, inputs):
    return {"ok": {"legs": 4}}


@step
async def tour(context, clock, chair):
    return f"at {clock} on {chair['legs']} legs"


@step
async def in_the_dark(context, clock, broken_lamp):
    raise AssertionError("nobody reads a failed step")


@workflow
def nothing_wrong(wf):
    wf.timeline([clock, chair] >> tour)


@workflow
def lamp_breaks(wf):
    wf.timeline(broken_lamp)


@workflow
def says_so(wf):
    wf.timeline(empty_shelf)


@workflow
def one_of_two(wf):
    wf.timeline([clock, broken_lamp] >> in_the_dark)


async def main():
    for flow in (nothing_wrong, lamp_breaks, says_so, one_of_two):
        try:
            result = await flow.execute({"room": 7})
            print(flow.name, "went well:", result.output["ok"])
        except ExecutionError as exc:
            print(flow.name, "failed:", exc, "|", exc.step_name, "|", exc.message)


asyncio.run(main())
