"""Every example of the help texts is run, where somebody would run it."""

import textwrap

import pytest

from cerebelum_nb.notebook import manual

pytestmark = pytest.mark.kernel

STEPS = """
from cerebelum_nb import step, wait_for_approval, workflow

order, fails = {"order": {"items": [{"price": 2}]}}["order"], [True]

@step
def load_order(context, inputs): return inputs["order"]

@step
def validate_order(context, inputs): return inputs["order"]

@step
def check_inventory(context, validate_order): return True

@step
def calculate_tax(context, validate_order): return 1

@step(executor="distributed")
def process_payment(context, calculate_tax): return calculate_tax

@step(executor="distributed")
def score(context): return 1 / 0

@step
def mended(context):
    if fails.pop(): raise ValueError("not yet")
    return 1

@step(compensate=lambda context, result: None)
def reserve(context): return 1

@step
def refuse(context, reserve): raise ValueError("no")

@step
async def publish(context): return await wait_for_approval("publish")

@workflow
def scoring(wf): wf.timeline(score)

@workflow
def mending(wf): wf.timeline(mended)

@workflow
def reserving(wf): wf.timeline(reserve >> refuse)

@workflow
def publishing(wf): wf.timeline(publish)

fails.append(False)
fails.reverse()
"""
PUBLISH = "%cerebelum_run publishing --detach\nwhile not runs[-1].approvals: __import__('time').sleep(0.01)"
BEFORE = {  # verb: what somebody has done before
    "rerun": '%cerebelum_run order_workflow {"order": order}',
    "compare": '%cerebelum_run order_workflow {"order": order}',
    "replay": "%cerebelum_run scoring",
    "resume": "%cerebelum_run mending",
    "compensate": "%cerebelum_run reserving --on-failure stop",
    "approve": PUBLISH,
    "reject": PUBLISH,
    "core": "%cerebelum workers add --pool gpu-worker-pool",
}


@pytest.fixture(scope="module")
def nb(kernel):
    kernel(STEPS)
    for magic in ("step", "workflow", "run"):  # its own examples, in this order
        kernel(manual.text(magic).partition("Example:\n\n")[2].replace("\n    ", "\n").strip())
    return kernel


def example(verb):
    return textwrap.dedent(manual.verb(verb).partition("Example:\n\n")[2])


@pytest.mark.parametrize("verb", manual.VERBS)
def test_the_example_of_a_verb_runs_where_it_is_meant_for(nb, verb):
    if verb in BEFORE:
        nb.run(BEFORE[verb])

    answer = nb.run(example(verb))

    if verb == "replay":
        assert (answer.ename, answer.evalue.splitlines()[0]) == ("ZeroDivisionError", "division by zero")
    else:
        assert (answer.status, answer.ename) == ("ok", ""), answer.evalue
        assert answer.out or answer.shown or answer.value
