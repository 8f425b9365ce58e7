"""What an attempt prints, on its way into events and into its file."""

import errno
import os
import stat

from cerebelum_nb.runtime import output as outputs
from cerebelum_nb.runtime.output import FILE_FROM, SAMPLE, TOLD_MOST, Output
from cerebelum_nb.store.outputs import SHOWN_MOST, Folder

LIMIT = 3 << 20


def folder(tmp_path, limit=LIMIT):
    return Folder(tmp_path / "place", "run", limit)


def said(pieces):
    return "".join(text for stream, text in pieces if stream != "notice")


def test_a_short_output_is_told_as_it_is_and_makes_no_file(tmp_path):
    kept = folder(tmp_path)
    output = Output(kept, 3, 1)

    told = [
        *output.take("stdout", "one\n"),
        *output.take("stderr", "two\n"),
        *output.take("notice", "n\n"),
        *output.end(),
    ]

    assert told == [("stdout", "one\n"), ("stderr", "two\n"), ("notice", "n\n")]
    assert not (tmp_path / "place").exists()


def test_a_longer_one_is_in_a_file_from_its_first_character_on_while_it_is_written(tmp_path):
    kept = folder(tmp_path)
    output = Output(kept, 3, 1)
    line = "x" * 999 + "\n"

    for _ in range(FILE_FROM // 1000 + 1):
        output.take("stdout", line)
    live = kept.read(3, 1)
    output.take("stderr", "é\n")
    output.end()

    assert live == line * (FILE_FROM // 1000 + 1)
    assert kept.read(3, 1) == live + "é\n"
    path = kept.text_path(3, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (path.parent, path.parent.parent)} == {0o700}


def test_a_flood_is_told_at_its_beginning_now_and_then_and_at_its_end(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(outputs, "perf_counter", lambda: now[0])
    output, told = Output(folder(tmp_path), 0, 1), []
    lines = [f"{n:>99}\n" for n in range(40_000)]
    for n, line in enumerate(lines):
        now[0] = n / 10_000  # four seconds
        told += output.take("stdout", line)
    last = output.end()

    whole = "".join(lines)
    assert said(told).startswith(whole[:TOLD_MOST])
    assert len(said(told)) == TOLD_MOST + 2 * SAMPLE
    assert whole.endswith(said(last))
    assert 60_000 < len(said(last)) <= 1 << 16
    skipped = sum(int(t.split()[1].replace(",", "")) for s, t in (*told, *last) if s == "notice" and "left out" in t)
    assert skipped + len(said(told)) + len(said(last)) == len(whole)
    assert last[-1] == ("notice", f"… what it printed is in {tmp_path}/place/results/run/0-1.txt …\n")


def test_one_enormous_piece_is_treated_alike(tmp_path):
    kept = folder(tmp_path)
    output = Output(kept, 0, 1)
    text = "a" * (2 << 20) + "z"

    told = [*output.take("stdout", text), *output.end()]

    assert len(said(told)) == TOLD_MOST + (1 << 16)
    assert said(told).endswith("az")
    assert kept.read(0, 1) == text


def test_beyond_its_limit_a_file_has_the_beginning_how_much_is_missing_and_the_end(tmp_path):
    kept = folder(tmp_path, limit=2 << 20)
    output = Output(kept, 0, 1)
    output._told_at = float("inf")  # no samples
    for n in range(300):
        output.take("stdout", f"{n:>9999}\n")
    output.end()

    text = kept.read(0, 1)
    assert text.startswith(f"{0:>9999}\n{1:>9999}\n")
    assert f"… {300 * 10_000 - (2 << 20):,} bytes are not kept; it ended with …" in text
    assert text.endswith(f"{299:>9999}\n")
    assert len(text) < (2 << 20) + (1 << 16) + 200


def test_a_full_disk_stops_the_file_and_not_the_step(tmp_path, monkeypatch):
    output = Output(folder(tmp_path), 0, 1)
    for _ in range(2):
        output.take("stdout", "x" * FILE_FROM)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    told = [piece for _ in range(30) for piece in output.take("stdout", "y" * FILE_FROM)]
    told += output.end()

    assert said(told).endswith("yyy")
    assert told[-1] == ("notice", "… not all of it could be kept: [Errno 28] No space left on device …\n")


def test_a_display_is_a_file_and_a_number_and_its_text(tmp_path):
    kept = folder(tmp_path)
    output = Output(kept, 2, 5)
    bundle = {"text/plain": b"a plot", "image/png": b"\x89PNG"}

    told = [
        output.display(bundle),
        output.display({"text/plain": b"plain"}),
        output.display({}),
        output.display(bundle),
    ]

    assert told == [("a plot\n", 1), ("plain\n", 0), ("", -1), ("a plot\n", 2)]
    assert [kept.shown(2, 5, n) for n in (1, 2, 3)] == [bundle, bundle, {}]
    (path, *_) = sorted(kept.text_path(2, 5).parent.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_more_displays_than_anybody_looks_at_are_text(tmp_path):
    output = Output(folder(tmp_path), 0, 1)
    bundle = {"text/plain": b"x", "text/html": b"<b>"}

    numbers = [output.display(bundle)[1] for _ in range(SHOWN_MOST + 2)]

    assert numbers == [*range(1, SHOWN_MOST + 1), 0, 0]
