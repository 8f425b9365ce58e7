"""What a worker gathers of its attempt's output, and how little of it costs a print anything."""

import io

import pytest

from cerebelum_nb.wire.frames import Displayed, Finished, Printed, Submit
from cerebelum_nb.worker import report as reports
from cerebelum_nb.worker.report import LAST, NEWEST, PIECE, Report
from cerebelum_nb.worker.streams import Stray

FINISHED = Finished(7, "none", b"", 0.0)


class Sender:
    """As much of a `Reporter` as a stream needs."""

    forked = False

    def __init__(self):
        self.woken = []
        self.report = Report(Submit(7, "r", 0, 1, "s", "d", "c", b""), (b"", b""), self.woken.append)


@pytest.fixture
def sender():
    return Sender()


def test_a_print_wakes_the_sender_once_and_those_that_follow_are_one_call_of_c_code(sender):
    out = Stray(sender, "stdout")

    out.write("one\n")
    quick = out.write
    written = quick("two\n")
    print("three", file=out)

    assert sender.woken == [False]
    assert type(quick) is type(io.StringIO().write)
    assert written == 4
    assert sender.report.last_frames(FINISHED) == [Printed(7, "stdout", "one\ntwo\nthree\n"), FINISHED]


def test_what_goes_to_different_streams_stays_in_order_and_a_display_between(sender):
    out, err = Stray(sender, "stdout"), Stray(sender, "stderr")

    print("a", file=out)
    print("b", file=out)
    print("c", file=err)
    print("d", file=out)
    sender.report.displayed({"text/plain": b"e"})
    print("f", file=out)

    assert sender.report.last_frames(FINISHED) == [
        Printed(7, "stdout", "a\nb\n"),
        Printed(7, "stderr", "c\n"),
        Printed(7, "stdout", "d\n"),
        Displayed(7, {"text/plain": b"e"}),
        Printed(7, "stdout", "f\n"),
        FINISHED,
    ]


def test_a_thread_that_was_held_up_in_its_print_is_not_lost(sender):
    out = Stray(sender, "stdout")
    out.write("a\n")
    held_up = out.write

    sender.report.quiet()
    first = sender.report.frames()
    held_up("late\n")
    out.write("b\n")

    assert [first, sender.report.last_frames(FINISHED)[:-1]] == [
        [Printed(7, "stdout", "a\n")],
        [Printed(7, "stdout", "late\nb\n")],
    ]


def test_only_text_can_be_written_and_bytes_go_to_the_buffer(sender):
    out = Stray(sender, "stdout")

    for write in (out.write, out.write):
        with pytest.raises(TypeError):
            write(b"bytes")
        out.write("")
    out.write("text ")
    with pytest.raises(TypeError):
        out.write(b"bytes")
    out.buffer.write("é\n".encode())

    assert sender.report.last_frames(FINISHED)[:-1] == [Printed(7, "stdout", "text é\n")]


def test_a_long_text_is_several_frames(sender):
    sender.report("stdout", "x" * (2 * PIECE + 1))

    assert [len(frame.text) for frame in sender.report.frames()] == [PIECE, PIECE, 1]


def test_beyond_the_limit_only_the_newest_is_sent_and_it_is_said_how_much_is_not(sender, monkeypatch):
    monkeypatch.setattr(reports, "OUTPUT_LIMIT", 1000)
    report = Report(Submit(7, "r", 0, 1, "s", "d", "c", b""), (b"", b""), lambda _now: None)

    report("stdout", "a" * 999)
    first = report.frames()
    report("stdout", "b" * (NEWEST + 11))
    second = report.frames()
    report("stdout", "c" * NEWEST)
    third = report.frames()
    report("stdout", "d" * (LAST + 5))
    last = report.last_frames(FINISHED)

    assert first == [Printed(7, "stdout", "a" * 999)]
    assert second == [
        Printed(7, "stdout", "b"),
        Printed(7, "notice", "\n… after 1,000 characters only the newest of what it prints come here …\n"),
        Printed(7, "stdout", "b" * NEWEST),
    ]
    assert third == [Printed(7, "stdout", "c" * NEWEST)]
    assert last == [
        Printed(7, "stdout", "d" * LAST),
        Printed(7, "notice", "… 15 characters did not come here …\n"),
        FINISHED,
    ]


def test_what_was_shown_is_taken_back_at_once_or_when_something_follows(sender):
    sender.report("stdout", "a\n")
    sender.report.clear(wait=True)
    held = sender.report.frames()
    sender.report("stdout", "b\n")
    sender.report.clear(wait=False)
    sender.report.clear(wait=True)

    assert held == [Printed(7, "stdout", "a\n")]
    assert sender.report.last_frames(FINISHED) == [
        Displayed(7, {}),
        Printed(7, "stdout", "b\n"),
        Displayed(7, {}),
        FINISHED,
    ]


def test_more_than_enough_that_is_displayed_is_text(sender, monkeypatch):
    sender.report._display_room = 10
    sender.report.displayed({"text/plain": b"one", "image/png": b"1234"})
    sender.report.displayed({"text/plain": b"two", "image/png": b"1234"})

    assert sender.report.frames() == [
        Displayed(7, {"text/plain": b"one", "image/png": b"1234"}),
        Printed(7, "stdout", "two\n"),
    ]


def test_a_flush_waits_for_the_sender_a_moment_and_not_again_and_again(sender, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reports, "perf_counter", lambda: now[0])
    monkeypatch.setattr(reports, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    out = Stray(sender, "stdout")
    sender.report._began = 0.0

    for _ in range(1000):
        print("x", file=out, flush=True)

    assert sender.woken.count(True) == 1  # that one waits as long as any may, as nobody sends
    assert 1 <= now[0] < 1.01
