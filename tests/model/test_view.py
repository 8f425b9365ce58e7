"""What a person sees of a run, from events alone."""

import msgspec

from cerebelum_nb.model import view
from cerebelum_nb.model.critical import outlook
from cerebelum_nb.model.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    AttemptSubmitted,
    Placement,
    RunCompensating,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskLookedUp,
    TaskPaused,
    TaskResumed,
    TaskRetrying,
    decode_lines,
    encode_lines,
)
from cerebelum_nb.model.state import RunState

LOCAL = Placement("local", "local", "local", False, "session", "the default")


def fold(*events):
    state = RunState()
    for number, (kind, *args) in enumerate(events):
        state.apply(kind(number, *args[:-1], **args[-1]) if isinstance(args[-1], dict) else kind(number, *args))
    return state


def started(*names, needs=None, **more):
    return RunStarted, 10.0, "r", "w", names, needs or ((),) * len(names), (LOCAL,), (0,) * len(names), more


def shown(state, **more):
    return view.header(state, number=1, now=20.0, total=len(state.names), **more)


def test_a_paused_step_says_since_when():
    state = fold(
        started("a"), (AttemptStarted, 10.5, 0, 1, "kernel"), (TaskPaused, 12.0, 0, 1, "sleep", 15.0, "a while"),
    )  # fmt: skip
    paused = view.row(state, 0)
    state.apply(TaskResumed(3, 15.0, 0, 1))

    assert (paused.status, paused.since, paused.until) == ("sleeping", 2.0, 5.0)
    assert view.row(state, 0).since is None


def test_a_running_step_shows_the_last_line_that_it_printed():
    state = fold(
        started("a"),
        (AttemptStarted, 10.5, 0, 1, "kernel"),
        (AttemptOutput, 11.0, 0, 1, "stdout", "first\nsecond\n"),
        (AttemptOutput, 11.1, 0, 1, "stdout", "\n  \n"),
    )
    assert view.row(state, 0).said == "second"

    state.apply(AttemptOutput(4, 11.2, 0, 1, "stderr", " 10%|#   |\r 50%|## \x1b[31m |\x1b[0m"))
    assert view.row(state, 0).said == "50%|## |"

    state.apply(AttemptOutput(5, 11.3, 0, 1, "stdout", "x" * 1000))
    assert view.row(state, 0).said == "x" * 159 + "…"

    state.apply(AttemptFinished(6, 12.0, 0, 1, "ok"))
    assert view.row(state, 0).said == ""


def test_steps_are_counted_by_the_status_that_people_see():
    state = fold(
        started("a", "b", "c", "d", "e?", "f", decisions=(4,)),
        (TaskFinished, 10.0, 0, "succeeded", "reused", "of run 1"),
        (TaskLookedUp, 10.0, 1, 1, True, "as in run 1"),
        (TaskFinished, 10.0, 1, "succeeded", "cached"),
        (AttemptStarted, 10.5, 2, 1, "kernel"),
        (AttemptStarted, 10.5, 3, 1, "kernel"),
        (AttemptStarted, 10.5, 4, 1, "kernel"),
        (TaskPaused, 12.0, 3, 1, "approval", 0.0, "?"),
    )

    assert dict(shown(state).counts) == {"ready": 1, "running": 1, "reused": 1, "cached": 1, "approval": 1}
    assert sum(count for _, count in shown(state).counts) == 5


def test_undone_steps_are_counted_as_such_and_what_undoes_them_not_at_all():
    state = fold(
        started("a", "b", "undo a", needs=((), (0,), ()), undo=(0,)),
        (AttemptStarted, 10.1, 0, 1, "kernel"),
        (AttemptFinished, 10.2, 0, 1, "ok"),
        (TaskFinished, 10.2, 0, "succeeded"),
        (AttemptStarted, 10.3, 1, 1, "kernel"),
        (AttemptFinished, 10.4, 1, 1, "error"),
        (TaskFinished, 10.4, 1, "failed"),
        (RunCompensating, 10.5, "b failed", (2,), ((),), (LOCAL,)),
        (AttemptStarted, 10.6, 2, 1, "kernel"),
        (AttemptFinished, 10.7, 2, 1, "ok"),
        (TaskFinished, 10.7, 2, "succeeded"),
        (RunFinished, 10.8, "compensated"),
    )

    assert dict(shown(state).counts) == {"failed": 1, "undone": 1}
    assert view.row(state, 0).status == "undone"
    assert view.row(state, 2).needs == (0,)  # what undoes stands in line after what it undoes


def test_the_header_tells_what_holds_the_run_up():
    state = fold(
        started("a", "b", needs=((), (0,))),
        (AttemptStarted, 10.0, 0, 1, "kernel"),
        (AttemptFinished, 11.0, 0, 1, "ok"),
        (TaskFinished, 11.0, 0, "succeeded"),
        (AttemptStarted, 11.0, 1, 1, "kernel"),
    )
    header = shown(state, outlook=outlook(state, 12.0))

    assert (header.critical, header.slack, header.finish) == ((0, 1), (0.0, None), None)


CORE = Placement("core", "core", "distributed", True, "decorator", "the step says so")


def on_core(*attempt):
    """One attempt at Core, as its events say."""
    placed = RunStarted, 10.0, "r", "w", ("a",), ((),), (CORE,), (0,), {}
    return fold(placed, (AttemptSubmitted, 11.0, 0, 1), *attempt)


def test_a_remote_attempt_is_divided_into_queue_send_run_and_fetch_by_durations():
    state = on_core(
        (AttemptStarted, 13.9, 0, 1, "worker 1"), (AttemptFinished, 14.0, 0, 1, "ok", None, 1.5, (0.25, 0.5))
    )
    (segment,) = view.row(state, 0).segments

    assert (segment.queued, segment.start, segment.end) == (1.0, 2.0, 4.0)
    assert (segment.send, segment.fetch) == (0.25, 0.5)
    assert view.row(state, 0).ms == 1500.0


def test_durations_that_do_not_fit_between_the_kernels_times_are_cut_and_never_negative():
    for times in [(5.0, (5.0, 5.0)), (0.5, (9.0, 0.1)), (0.5, (0.1, 9.0)), (1e-9, (1.0, 0.0))]:
        for ended in (11.0, 11.3, 12.0):
            state = on_core(
                (AttemptStarted, 11.0, 0, 1, "w"), (AttemptFinished, ended, 0, 1, "error", None, *times)
            )  # fmt: skip
            (segment,) = view.row(state, 0).segments
            queue = segment.start - segment.send - segment.queued
            ran = segment.end - segment.fetch - segment.start

            assert min(queue, segment.send, ran, segment.fetch) >= -1e-9
            assert queue + segment.send + ran + segment.fetch <= ended - 11.0 + 1e-9


def test_an_earlier_attempt_keeps_its_ways():
    state = on_core(
        (AttemptStarted, 13.9, 0, 1, "worker 1"),
        (AttemptFinished, 14.0, 0, 1, "error", None, 1.5, (0.25, 0.5)),
        (TaskRetrying, 14.0, 0, 1, 14.0, "attempt 2"),
    )
    (segment,) = view.row(state, 0).segments

    assert (segment.queued, segment.start, segment.send, segment.fetch) == (1.0, 2.0, 0.25, 0.5)
    assert state.transfer_s == {}


def test_a_local_attempt_says_nothing_of_ways_not_even_in_what_is_saved():
    state = fold(started("a"), (AttemptStarted, 10.5, 0, 1, "kernel"), (AttemptFinished, 11.0, 0, 1, "ok"))
    (segment,) = view.row(state, 0).segments

    assert (segment.send, segment.fetch, state.transfer_s) == (0.0, 0.0, {})
    assert not {"send", "fetch"} & msgspec.to_builtins(segment).keys()


def test_a_journal_of_before_reads_and_a_new_one_folds_to_the_same():
    (old,) = decode_lines(b'["attempt.finished",3,14.0,0,1,"ok",null,1.5]')
    new = AttemptFinished(3, 14.0, 0, 1, "ok", None, 1.5, (0.25, 0.5))

    assert old == AttemptFinished(3, 14.0, 0, 1, "ok", None, 1.5)
    assert decode_lines(encode_lines([new])) == [new]
