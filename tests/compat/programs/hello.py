"""One step, an input with a default, and every field of the result."""

import asyncio
from datetime import datetime

from cerebelum import Context, step, workflow


@step
async def greet(context: Context, inputs: dict) -> str:
    who = inputs.get("who", "nobody")
    return f"Good morning, {who}, says {context.workflow_name}/{context.step_name} ({context.attempt})"


@workflow
def morning(wf):
    wf.timeline(greet)


async def main():
    for inputs in ({"who": "Ada"}, {}):
        result = await morning.execute(inputs)
        print(result.status, result.output["ok"], result.error)
        print(bool(result.execution_id), type(result.execution_id).__name__)
        begun, ended = map(datetime.fromisoformat, (result.started_at, result.completed_at))
        print(begun <= ended, begun.tzinfo, ended.tzinfo)


asyncio.run(main())
