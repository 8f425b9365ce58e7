"""Envelopes in all their forms, errors by their class, and what the package says of a workflow that is wrong."""

import asyncio

from cerebelum import CerebelumError, ExecutionError, StepRegistry, step, workflow
from cerebelum.dsl import DependencyError, DSLError, StepMetadata, WorkflowDefinitionError


def returns(name, value):
    async def given(context, inputs):
        return value() if callable(value) else value

    given.__name__ = given.__qualname__ = name
    return step(given)


def fails(exc):
    raise exc


@step
async def extra(context, inputs):
    return {"ok": 1, "extra": 2}


@step
async def nested(context, inputs):
    return {"ok": {"ok": 5}}


@step
async def nothing(context, inputs):
    return None


@step
async def sees(context, extra, nested, nothing):
    return [extra, nested, nothing]


@workflow
def envelopes(wf):
    wf.timeline(extra >> nested >> nothing >> sees)


@step
async def late(context, inputs):
    return 1


@step
async def early(context, late):
    return late


@workflow
def backwards(wf):
    wf.timeline(early >> late)


@workflow
def empty(wf):
    pass


async def attempt(flow):
    try:
        result = await flow.execute({"a": 1})
        print(flow.name, result.output, result.status)
    except WorkflowDefinitionError as exc:
        print(flow.name, "wrong", isinstance(exc, DSLError), flow.name in str(exc))
    except DependencyError as exc:
        print(flow.name, "wrong", isinstance(exc, DSLError), flow.name in str(exc))
    except ExecutionError as exc:
        print(flow.name, type(exc).__name__, isinstance(exc, CerebelumError), str(exc), exc.message, exc.step_name)


def alone(name, value):
    made = returns(name, value)

    def flow(wf):
        wf.timeline(made)

    flow.__name__ = f"flow_{name}"
    return workflow(flow)


async def main():
    print(isinstance(extra, StepMetadata), isinstance(StepRegistry, type), extra.name, sees.dependencies)
    print(extra.has_context, extra.has_inputs, sees.has_inputs)
    await attempt(envelopes)
    await attempt(empty)
    await attempt(alone("only_extra", {"ok": 1, "extra": 2}))
    await attempt(alone("nested_ok", {"ok": {"ok": 5}}))
    await attempt(alone("plain_dict", {"a": 1}))
    await attempt(alone("none", None))
    await attempt(alone("a_list", [1, 2]))
    await attempt(alone("error_text", {"error": "because"}))
    await attempt(alone("error_and_more", {"error": "because", "code": 4}))
    await attempt(alone("error_number", {"error": 7}))
    await attempt(alone("key_error", lambda: fails(KeyError("k"))))
    await attempt(alone("two_arguments", lambda: fails(OSError(2, "gone"))))
    try:
        await backwards.execute({})
    except DSLError as exc:
        print("backwards", "early" in str(exc), "late" in str(exc), isinstance(exc, DependencyError))
    try:
        empty.validate()
    except DSLError as exc:
        print("empty", isinstance(exc, WorkflowDefinitionError))
    print(envelopes.validate().errors)


asyncio.run(main())
