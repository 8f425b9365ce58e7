"""Whatever kind of function a step is made of, it runs, here and on a worker."""

import functools

import pytest

from cerebelum_nb import DefinitionError, step, workflow
from cerebelum_nb.dsl import ValidationReport, WorkflowDefinitionError

DEADLINE = 30


class Thing:
    def method(self, context, inputs):
        return inputs["n"]

    @classmethod
    def of_the_class(cls, context):
        return cls.__name__

    async def __call__(self, context, inputs):
        return -inputs["n"]

    @staticmethod
    @step
    def outside(context):
        return "outside"

    @step
    @staticmethod
    def inside(context):
        return "inside"


def times(context, load, scale):
    return load * scale


@step
async def by_place(context, inputs, load, /):
    return load


@step
def by_name(*, context, load, extra=None):
    return [context.step_name, load, extra]


@step
def with_stars(context, *args, load=0, missing=7, **more):
    return [list(args), load, missing, more]


load = step(name="load")(Thing().method)
beside = [
    step(name="class_method")(Thing.of_the_class),
    step(name="object")(Thing()),
    step(name="partial")(functools.partial(times, scale=3)),
    step(name="lambda")(lambda context, inputs: sorted(inputs)),
    Thing.outside,
    Thing.inside,
    by_place,
    by_name,
    with_stars,
    step(name="obj")(lambda: [1, 2]),
]
count = step(len)  # its parameter is called obj


@workflow
def kinds(wf):
    wf.timeline(load >> beside >> count)


@pytest.mark.parametrize("where", ["local", "distributed"])
def test_each_kind_of_function_runs(session, where):
    result = session.run(kinds, {"n": 5}, strategy={"default": where}).result(DEADLINE)

    assert dict(result.outputs) == {
        "load": 5,
        "class_method": "Thing",
        "object": -5,
        "partial": 15,
        "lambda": ["n"],
        "outside": "outside",
        "inside": "inside",
        "by_place": 5,
        "by_name": ["by_name", 5, None],
        "with_stars": [[], 5, 7, {}],
        "obj": [1, 2],
        "len": 2,
    }


def test_a_workflow_can_be_checked_without_running_it():
    @workflow
    def empty(wf): ...

    assert kinds.validate() == ValidationReport(errors=[], warnings=[])
    with pytest.raises(WorkflowDefinitionError, match="'empty' has no steps"):
        empty.validate()


def test_a_cores_address_is_kept_for_files_written_for_the_sdk():
    @workflow(core_url="localhost:9090")
    def flow(wf): ...

    assert (flow.core_url, kinds.core_url) == ("localhost:9090", None)
    with pytest.raises(DefinitionError, match="@workflow: core_url is text like 'localhost:9090', not 9090"):
        workflow(core_url=9090)
