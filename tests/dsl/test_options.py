"""What a step may ask for: checked where it is written, kept as data, and never silently ignored."""

import datetime as dt
import re
import warnings

import pytest

from cerebelum_nb import DefinitionError, NotActiveYet, step
from cerebelum_nb.model import options
from cerebelum_nb.model.options import ACTS, Backoff, StepOptions


def undo(context): ...


def made(**given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotActiveYet)
        return step(name="x", **given)(lambda context: 1)


@pytest.mark.parametrize(
    ("given", "kept", "text"),
    [
        ({}, StepOptions(), ""),
        ({"retries": 0}, StepOptions(), ""),
        ({"retries": 3, "timeout": 5}, StepOptions(retries=3, timeout=5.0), "retries=3, timeout=5s"),
        ({"timeout": dt.timedelta(minutes=2)}, StepOptions(timeout=120.0), "timeout=120s"),
        ({"timeout": None}, StepOptions(), ""),
        ({"queue_timeout": 0.5}, StepOptions(queue_timeout=0.5), "queue_timeout=0.5s"),
        ({"backoff": 2}, StepOptions(backoff=Backoff(2.0)), "backoff=2s"),
        ({"backoff": (1, 2, 60)}, StepOptions(backoff=Backoff(1.0, 2.0, 60.0)), "backoff=1s x2 up to 60s"),
        ({"retry_on": OSError}, StepOptions(retry_on=(OSError,)), "retry_on=OSError"),
        (
            {"retry_on": (OSError, KeyError)},
            StepOptions(retry_on=(OSError, KeyError)),
            "retry_on=OSError+KeyError",
        ),
        ({"cache": True, "idempotent": True}, StepOptions(cache=True, idempotent=True), "cache=True, idempotent=True"),
        ({"effects": "once"}, StepOptions(effects="once"), "effects=once"),
        ({"compensate": undo}, StepOptions(compensate=undo), "compensate=undo"),
        ({"labels": "pii"}, StepOptions(labels=("pii",)), "labels=pii"),
        ({"labels": {"b", "a"}}, StepOptions(labels=("a", "b")), "labels=a+b"),
        ({"cost": 0.25}, StepOptions(cost=0.25), "cost=0.25"),
        ({"resources": {"gpu": 1}}, StepOptions(resources={"gpu": 1.0}), "resources=1 gpu"),
        ({"fallback": ["gpu", "local"]}, StepOptions(fallback=("gpu", "local")), "fallback=gpu+local"),
        ({"fallback": "error"}, StepOptions(fallback=("error",)), "fallback=error"),
    ],
)
def test_an_option_is_kept_in_one_form_and_shown_in_short(given, kept, text):
    a = made(**given)

    assert (a.options, a.definition.options, str(a.options)) == (kept, kept, text)


NAN, INF = float("nan"), float("inf")
SECONDS = "it takes seconds as a number above 0 and at most a year, or a timedelta"
WRONG = {
    "retries": ([-1, 1.0, NAN, "3", True, None, 10**6], "it takes a whole number of further attempts, 0 to 1000"),
    "timeout": ([0, -1, NAN, INF, "5 parsecs", True, 10**9, dt.timedelta(0), [1]], SECONDS),
    "queue_timeout": ([0, "1"], SECONDS),
    "backoff": (
        [0, -1, "1", None, (1, 2), (1, 0.5, 60), (5, 2, 1), (1, NAN, 2), (1, 2, 3, 4)],
        "it takes seconds between attempts, a timedelta, or (first, factor, longest) as in (1, 2, 60)",
    ),
    "retry_on": ([int, "OSError", OSError(), (), (OSError, 1), None], "it takes an exception class like"),
    "cache": ([1, "yes", None], "it takes True or False"),
    "version": (["", 1.5, True, None, "x" * 81], "it takes a short text or a number"),
    "idempotent": ([1, None], "it takes True or False"),
    "effects": (["twice", True, 1], "it takes 'none' for a step that changes nothing outside, or 'once'"),
    "compensate": (["undo", 3, int], "it takes the function that undoes what the step did"),
    "compensate_retries": ([-1, "3"], "it takes a whole number of further attempts, 0 to 1000"),
    "compensate_timeout": ([0, "1"], SECONDS),
    "compensate_unknown": ([1, None], "it takes True or False"),
    "point_of_no_return": ([1, None], "it takes True or False"),
    "labels": ([3, [1], [""], ["a\u202eb"], "x" * 81], "it takes a word like 'pii', or a list of them"),
    "cost": ([-1, NAN, "1", True], "it takes what one run costs, a number from 0"),
    "resources": ([["gpu"], {"gpu": 0}, {"gpu": NAN}, {1: 1}, "gpu"], "it takes a dict of what a worker must have"),
    "fallback": ([[], 3, ["error", "local"], [1]], "it takes 'local', 'error', or a list of executors"),
    "max_queue": ([-1, 1.5, "3", True], "it takes how many steps may wait for its executor"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (values, _) in WRONG.items() for value in values])
def test_a_wrong_value_fails_where_it_is_written_with_what_is_allowed(name, value):
    with pytest.raises(DefinitionError) as refused:
        made(**{name: value})

    assert str(refused.value).startswith(f"step 'x': {name}={value!r:.60}")
    assert WRONG[name][1] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_value_that_cannot_be_shown_is_refused_too():
    class Hidden:
        def __repr__(self):
            raise RuntimeError

    with pytest.raises(DefinitionError, match="step 'x': retries=a Hidden: it takes"):
        made(retries=Hidden())


def test_every_option_is_in_the_table_and_checked():
    assert tuple(ACTS) == StepOptions.__struct_fields__ == tuple(options._CHECKS) == tuple(WRONG_ORDER)


WRONG_ORDER = sorted(WRONG, key=list(StepOptions.__struct_fields__).index)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"retries": 3}, "step 'x': retries is kept with the step and does nothing in this version"),
        (
            {"retries": 3, "timeout": 5},
            "step 'x': retries and timeout are kept with the step and do nothing in this version",
        ),
        (
            {"retries": 3, "timeout": 5, "cache": True},
            "step 'x': retries, timeout and cache are kept with the step and do nothing in this version",
        ),
    ],
)
def test_an_option_that_does_nothing_yet_says_so_once_at_its_line(given, told, monkeypatch):
    monkeypatch.setattr(options, "ACTS", dict.fromkeys(ACTS, False))

    with pytest.warns(NotActiveYet) as warned:
        step(name="x", **given)(lambda context: 1)

    assert [(str(w.message), w.filename) for w in warned] == [(told, __file__)]


def test_an_option_that_acts_says_nothing(monkeypatch):
    monkeypatch.setattr(options, "ACTS", dict.fromkeys(ACTS, True))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(name="x", retries=3)(lambda context: 1)
        step(name="x", retries=0)(lambda context: 1)


def test_what_undoes_a_step_may_be_said_later_and_stays_a_plain_function():
    one = made(compensate_retries=5)

    @one.compensate
    def back(context, result):
        return result

    assert back(None, 3) == 3
    assert one.options == StepOptions(compensate=back, compensate_retries=5)
    assert [p.name for p in one.definition.undo.parameters] == ["context", "result"]
    one.compensate(None)
    assert (one.options.compensate, one.definition.undo) == (None, None)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("undo", "step 'x': compensate='undo': it takes the function that undoes what the step did"),
        (
            lambda context, /: 1,
            "step 'x (compensate)': parameter 'context' stands before '/', and all is given by name",
        ),
    ],
)
def test_what_cannot_undo_a_step_is_refused_where_it_is_said(wrong, why):
    for say in (made().compensate, lambda wrong: made(compensate=wrong)):
        with pytest.raises(DefinitionError, match=re.escape(why)):
            say(wrong)


def test_a_step_that_may_come_from_the_cache_cannot_be_undone():
    with pytest.raises(DefinitionError, match="compensate says that it changes something outside; cache=True skips it"):
        made(cache=True).compensate(lambda context: 1)
