"""Prints find their step, errors become plain text."""

import contextlib
import contextvars
import io
import sys
import threading

from cerebelum_nb.attempt import MESSAGE_LIMIT, describe, enter, enter_capture, leave_capture


@contextlib.contextmanager
def capturing_prints():
    enter_capture()
    try:
        yield
    finally:
        leave_capture()


def in_a_step(got, call):
    def step():
        enter(lambda: lambda stream, text: got.append((stream, text)))
        call()

    contextvars.copy_context().run(step)


def test_only_what_a_step_prints_goes_to_the_step():
    got, screen = [], io.StringIO()
    with contextlib.redirect_stdout(screen):
        with capturing_prints():
            print("before")
            in_a_step(got, lambda: print("inside", end=""))
            print("after")
        after = sys.stdout

    assert got == [("stdout", "inside")]
    assert screen.getvalue() == "before\nafter\n"
    assert after is screen


def test_capture_may_be_entered_twice_and_from_another_thread():
    got, screen = [], io.StringIO()
    with contextlib.redirect_stdout(screen), capturing_prints():
        thread = threading.Thread(target=lambda: in_a_step(got, lambda: sys.stderr.write("oops")))
        with capturing_prints():
            thread.start()
            thread.join(10)
        print("still here")

    assert got == [("stderr", "oops")]
    assert screen.getvalue() == "still here\n"


def test_a_write_that_somebody_puts_on_the_stream_meanwhile_does_not_call_itself():
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), capturing_prints():
        recorded, found = [], sys.stdout.write

        def tee(text):
            recorded.append(text)
            return found(text)

        sys.stdout.write = tee
        print("hello")
        sys.stdout.write = found
        print("!")

    assert (recorded, screen.getvalue()) == (["hello", "\n"], "hello\n!\n")


def raised(make):
    try:
        make()
    except BaseException as exc:
        return exc
    raise AssertionError


def test_an_error_shows_the_persons_lines_its_causes_and_groups():
    def inner():
        raise KeyError("x")

    def outer():
        try:
            inner()
        except KeyError as exc:
            raise ExceptionGroup("several", [ValueError("one"), exc]) from exc

    told = describe(raised(outer))

    assert (told.type, told.message) == ("ExceptionGroup", "several (2 sub-exceptions)")
    assert "ValueError: one" in told.traceback
    assert 'raise KeyError("x")' in told.traceback


def test_a_huge_message_and_lone_surrogates_are_made_safe():
    told = describe(ValueError("\ud800" + "x" * 10_000_000))

    assert len(told.message) < MESSAGE_LIMIT + 100
    told.message.encode("utf-8")
    told.traceback.encode("utf-8")


def test_an_error_that_is_its_own_cause_ends():
    exc = ValueError("round")
    exc.__cause__ = exc

    assert describe(exc).message == "round"


def test_a_deep_recursion_is_told_briefly():
    def deeper():
        deeper()

    told = describe(raised(deeper))

    assert told.type == "RecursionError"
    assert len(told.traceback) < 30_000
