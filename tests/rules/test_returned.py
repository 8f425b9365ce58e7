"""What a step returned: envelopes as in files for the SDK, and what is of no use to others."""

import pytest

from cerebelum_nb import ExecutionError, step, workflow

DEADLINE = 20
NOTICE = "its result has the key 'ok', so steps that read it get only the value under that key\n"


def pair(value):
    one = step(name="one")(lambda context: value)
    two = step(name="two")(lambda context, one: [one])
    return workflow(name="w")(lambda wf: wf.timeline(one >> two))


@pytest.mark.parametrize(
    ("value", "read", "notice"),
    [
        (5, 5, ""),
        ({"a": 1}, {"a": 1}, ""),
        ({"ok": 5}, 5, ""),
        ({"ok": None}, None, ""),
        ({"ok": {"ok": 1}}, {"ok": 1}, ""),
        ({"ok": 1, "extra": 2}, 1, NOTICE),
        ({"ok": 1, "error": None}, 1, ""),
        ({"error": None}, {"error": None}, ""),
        ({"error": 0.25, "loss": 3}, {"error": 0.25, "loss": 3}, ""),
    ],
)
def test_other_steps_get_what_is_in_the_envelope(session, value, read, notice):
    run = session.run(pair(value))

    assert run.result(DEADLINE).outputs == {"one": read, "two": [read]}
    assert "".join(text for _, text in run.details("one").output) == notice


@pytest.mark.parametrize("value", [{"ok": 1, "extra": 2}, {"ok": 0}, {"ok": {}}])
def test_the_runs_answer_keeps_its_envelope(session, value):
    one = step(name="one")(lambda context: value)

    assert session.run(workflow(name="w")(lambda wf: wf.timeline(one))).result(DEADLINE).output == value


@pytest.mark.parametrize(
    ("value", "text"),
    [({"error": "no stock"}, "no stock"), ({"error": 404}, "404"), ({"ok": 1, "error": "both"}, "both")],
)
def test_an_error_in_the_envelope_fails_the_step(session, value, text):
    with pytest.raises(ExecutionError) as failed:
        session.run(pair(value)).result(DEADLINE)

    assert str(failed.value) == f"Execution failed at step 'one': Step 'one' returned error: {text}"


@pytest.mark.parametrize("executor", ["local", "distributed"])
def test_a_coroutine_that_nobody_awaited_fails_the_step(session, executor):
    async def work():
        pass

    one = step(name="one", executor=executor)(lambda context: work())

    with pytest.raises(ExecutionError) as failed:
        session.run(workflow(name="w")(lambda wf: wf.timeline(one))).result(60)

    assert failed.value.error == "step 'one' returned a coroutine: write async def, or await it"


def test_a_generator_is_passed_on_with_a_notice(session):
    run = session.run(pair(n for n in range(3)))
    run.result(DEADLINE)

    assert [text for _, text in run.details("one").output] == [
        "its result is a generator: whoever reads it first uses it up. Return a list instead.\n"
    ]
