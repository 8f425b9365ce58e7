"""An order in eight steps with one group in the middle; envelopes where the steps care, plain values where not."""

import asyncio

from cerebelum import Context, ExecutionError, step, workflow

PRICES = {"bread": 4.5, "roll": 0.5, "cake": 20.0}


@step
async def take_order(context: Context, inputs: dict):
    if not inputs.get("items"):
        return {"error": "the basket is empty"}
    return {"ok": {"items": inputs["items"], "member": inputs.get("member", False)}}


@step
async def check_items(context: Context, take_order: dict):
    unknown = [name for name in take_order["items"] if name not in PRICES]
    if unknown:
        raise LookupError(f"we do not bake {', '.join(unknown)}")
    return take_order["items"]


@step
async def price(context: Context, check_items: dict):
    await asyncio.sleep(0.01)
    return sum(PRICES[name] * count for name, count in check_items.items())


@step
async def reserve_oven(context: Context, check_items: dict):
    return {"ok": "oven 2" if "cake" in check_items else "oven 1"}


@step
async def discount(context: Context, take_order: dict):
    return 0.1 if take_order["member"] else 0.0


@step
async def total(context: Context, price: float, discount: float):
    return round(price * (1 - discount), 2)


@step
async def pay(context: Context, inputs: dict, total: float):
    if inputs.get("purse", 100.0) < total:
        return {"error": f"{total} is more than what is in the purse"}
    return {"ok": {"paid": total, "left": inputs.get("purse", 100.0) - total}}


@step
async def receipt(context: Context, pay: dict, reserve_oven: str):
    return f"{pay['paid']:.2f} paid, {pay['left']:.2f} left, from {reserve_oven}"


@workflow
def bakery(wf):
    wf.timeline(take_order >> check_items >> [price, reserve_oven, discount] >> total >> pay >> receipt)


async def main():
    baskets = [
        {"items": {"bread": 2, "cake": 1}, "member": True},
        {"items": {"roll": 3}, "purse": 5.0},
        {"items": {}},
        {"items": {"roll": 1, "sword": 1}},
        {"items": {"cake": 9}},
    ]
    for basket in baskets:
        try:
            result = await bakery.execute(basket)
            print(result.status, result.output)
        except ExecutionError as exc:
            print("no:", exc)


asyncio.run(main())
