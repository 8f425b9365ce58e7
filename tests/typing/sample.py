"""Read by type checkers, never run: what they must see of a decorated step is in the comments."""

import datetime as dt
from collections.abc import Mapping
from typing import reveal_type

from cerebelum_nb import Context, StepMetadata, step, workflow
from cerebelum_nb.dsl import step as sdk_step


@step
async def load(context: Context, inputs: dict[str, int], limit: int = 3) -> list[str]:
    return [str(limit)]


@step(executor="distributed", name="count it", timeout=dt.timedelta(seconds=5), retries=2, depends_on=[load])
def count(context: Context, load: list[str]) -> int:
    return len(load)


@sdk_step
def same(context: Context) -> str:
    return ""


def plain(made: StepMetadata, strategy: Mapping[str, str]) -> None:
    reveal_type(made.name)  # str


async def use(context: Context) -> None:
    reveal_type(load)  # StepMetadata of what it takes and gives
    reveal_type(count)
    reveal_type(await load(context, {"n": 1}))  # list[str]
    reveal_type(count(context, load=["a"]))  # int
    reveal_type(same(context))  # str
    count(context, load=3)  # wrong: not a list
    load(context)  # wrong: no inputs
    load(context, {"n": 1}, limit="x")  # wrong: not a number
    load.head()  # wrong: a step is not its value
    plain(count, {"default": "distributed"})


@step(retries="3")  # wrong: not a number
def wrong_option(context: Context) -> int:
    return 1


@workflow
def flow(wf):  # type: ignore[no-untyped-def]
    wf.timeline(load >> [count, same])


@workflow(executor="gpu-worker-pool", execution_strategy={"load": "local"}, core_url="localhost:9090")
def placed(wf):  # type: ignore[no-untyped-def]
    wf.timeline(load)


async def run() -> None:
    flow.run({"n": 1})
    await placed.execute({"n": 1}, execution_strategy={"default": "distributed"}, distributed=False)
    reveal_type(flow.name)  # str
