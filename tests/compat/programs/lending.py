"""A chain of steps that read each other by name, one of them two at once."""

import asyncio

from cerebelum import step, workflow


@step
async def reader(context, inputs):
    return {"name": inputs["name"], "age": inputs["age"]}


@step
async def shelf(context, reader):
    return ["picture books"] if reader["age"] < 8 else ["novels", "atlases"]


@step
async def may_borrow(context, reader, shelf):
    return {"who": reader["name"], "yes": len(shelf) > 1, "from": shelf}


@step
async def card(context, may_borrow):
    return f"{may_borrow['who']}: {'any two' if may_borrow['yes'] else 'one'} of {', '.join(may_borrow['from'])}"


@workflow
def lending(wf):
    wf.timeline(reader >> shelf >> may_borrow >> card)


async def main():
    for name, age in (("Ida", 6), ("Max", 30)):
        result = await lending.execute({"name": name, "age": age})
        print(result.output["ok"])


asyncio.run(main())
