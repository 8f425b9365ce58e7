"""A hybrid run of twelve steps, to be killed at every event and resumed. Its functions run in kernels of their own."""

from pathlib import Path

from cerebelum_nb import PlanError, Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.testing.chaos import Ledger


def did(context, effect=""):
    Ledger(context.inputs["ledger"]).note(context, effect)


@step
async def read(context):
    did(context)
    return [1, 2, 3]


@step
def parse(context, read):
    did(context)
    return tuple(read)


@step(executor="distributed", idempotent=True)
def fetch(context, parse):
    did(context)
    return {"total": sum(parse)}


@step(retries=2)
async def flaky(context, fetch):
    did(context)
    if context.attempt == 1:
        raise OSError("torn")
    return fetch["total"] * 10


def release(context, result, inputs):
    did(context, "release")


@step(compensate=release)
async def reserve(context, flaky):
    did(context)
    return flaky + 1


@step
def price(context, flaky):
    did(context)
    return flaky + 2


@step
async def check(context, reserve, price):
    did(context)
    return "good"


@step
def pack(context, price):
    did(context)
    return f"packed at {price}"


@step(executor="distributed")
async def ship(context, pack):
    did(context)
    return f"{pack}, shipped"


@step
def scrap(context):
    did(context)
    return "scrapped"


@step(effects="once")
def pay(context, reserve):
    did(context)
    return reserve * 2


@step
async def end(context, pay, ship=None, scrap=None):
    did(context)
    if context.inputs["fails"]:
        raise ValueError("nobody was there")
    return pay, ship, scrap


@workflow
def sweep(wf):
    wf.timeline(read >> parse >> fetch >> flaky >> [reserve, price] >> check >> pay >> end)
    wf.diverge(check, {"good": pack >> ship, "_": scrap})


OUTPUT = [122, "packed at 62, shipped", None]
ONCE = dict.fromkeys(["read", "parse", "fetch", "reserve", "price", "check", "pack", "ship", "pay", "end"], 1) | {
    "flaky": 2
}


def opened(folder):
    return Session(Settings(home=Path(folder) / "home", workers=1))


def told(run):
    """How a run has ended."""
    if not run.wait(40, echo=False):
        return {"status": "hangs", "rows": [(row.step, row.status) for row in run.rows()]}
    failure = run.error()
    output = run.outputs.get("end")
    return {
        "run": run.id,
        "status": run.status,
        "output": output,
        "error": str(failure or ""),
        "events": len(run.events),
    }


def first(folder, fails=False):
    """Run it; killed somewhere, as a rule."""
    session = opened(folder)
    said = told(session.run(sweep, {"ledger": f"{folder}/ledger", "fails": fails}))
    session.close()
    return said


def second(folder, force=False):
    """Go on from the newest run that has not succeeded, in another kernel."""
    session = opened(folder)
    try:
        run = session.load(session.history.unfinished())
        return told(run.resume(force=force))
    except PlanError as refused:
        return {"status": "refused", "error": str(refused)}
    finally:
        session.close()
