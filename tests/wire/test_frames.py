import pytest

from cerebelum_nb.errors import WireError
from cerebelum_nb.model.events import ErrorInfo
from cerebelum_nb.wire.frames import (
    MAX_MESSAGE_NBYTES,
    SOFT_NBYTES,
    Cancel,
    Code,
    Finished,
    Forget,
    Joined,
    Left,
    Lost,
    Paused,
    Place,
    Printed,
    Progress,
    Ready,
    Reply,
    Resumed,
    Started,
    Submit,
    Welcome,
    check_size,
    frames_of,
    messages,
)
from cerebelum_nb.wire.line import Splitter, packed

ALL = [
    Place((b"/a", b"/b\xff"), b"/c"),
    Code("d1", b"\x00\xff"),
    Forget("d1"),
    Submit(1, "r", 2, 1, "step é", "d1", "json", b"sealed"),
    Cancel(1),
    Welcome(b"key", Place((), b"/")),
    Ready(),
    Started(1, "worker 1", 4711.5, 0.125),
    Printed(1, "stdout", "text\n"),
    Finished(1, "json", b"sealed", 0.25, 0.125, 0.5),
    Lost(1, ErrorInfo("WorkerLost", "m", "t")),
    Joined(1, 4711),
    Left(1),
    Progress(1, 0.5, "half é"),
    Paused(1, 1, "sleep", 0.5, ""),
    Paused(1, 2, "approval", None, "go?", "json", b"sealed"),
    Resumed(1),
    Reply(1, 2, True, "", "json", b"sealed"),
]


def test_every_frame_comes_back_equal_in_one_message():
    (message,) = messages(ALL)

    assert frames_of(message) == ALL


def test_large_frames_do_not_share_a_message():
    big = [Finished(n, "json", bytes(SOFT_NBYTES), 0.0) for n in range(3)]

    joined = list(messages([*ALL, *big, *ALL]))

    assert [len(frames_of(m)) for m in joined] == [len(ALL), 1, 1, 1, len(ALL)]


def test_no_frames_make_no_message():
    assert list(messages([])) == []


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"\x91", b"{}", b"\x91\x92\x63\x01", b"\x91\x93\x05\x01\xc1"])
def test_what_is_not_ours_is_refused(garbage):
    with pytest.raises(WireError, match="is not ours"):
        frames_of(garbage)


@pytest.mark.parametrize("step", [1, 2, 7, 100_000])
def test_frames_are_cut_from_a_stream_however_it_is_split(step):
    data = packed(ALL) + packed([Code("big", bytes(50_000))]) + packed(ALL)
    splitter = Splitter()

    frames = [f for start in range(0, len(data), step) for f in splitter.feed(data[start : start + step])]

    assert frames == [*ALL, Code("big", bytes(50_000)), *ALL]


def test_a_message_that_announces_too_much_is_refused_before_it_is_read():
    with pytest.raises(WireError, match="the limit is"):
        Splitter().feed((MAX_MESSAGE_NBYTES + 1).to_bytes(4, "big"))


def test_sizes_are_checked_in_words():
    check_size("it", 64 << 20)

    with pytest.raises(
        WireError, match=r"^the result of step 'a' is 64\.0 MiB when encoded; at most 64 MiB can be sent"
    ):
        check_size("the result of step 'a'", (64 << 20) + 1)
