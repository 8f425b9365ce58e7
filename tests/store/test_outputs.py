"""Long outputs and displays of runs: read by later sessions, removed with their run."""

import time

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.store.outputs import Folder

WHOLE = "".join(f"{n:>99}\n" for n in range(2000))


@step
def floods(context):
    for n in range(2000):
        print(f"{n:>99}")


@step
def talks(context, floods):
    print("short")


@workflow
def flow(wf):
    wf.timeline(floods >> talks)


def test_a_later_session_reads_all_that_was_printed_until_the_run_is_purged(tmp_path):
    first = Session(Settings(home=tmp_path))
    run = first.run(flow, {})
    assert run.wait(30, echo=False)
    first.close()

    second = Session(Settings(home=tmp_path))
    past = second.load(run.id)
    read = past.output("floods"), past.output("talks")
    sizes = second._archive.sizes()
    second.history.purge([run.id])
    second.close()

    assert read == (WHOLE, "short\n")
    assert sizes[run.id] >= len(WHOLE)
    assert not (tmp_path / "results" / run.id).exists()


def test_what_takes_too_much_room_goes_with_the_oldest_runs(tmp_path):
    session = Session(Settings(home=tmp_path))
    runs = [session.run(flow, {}) for _ in range(3)]
    for run in runs:
        assert run.wait(30, echo=False)
    session.close()

    old = session.history.outdated(1, 2 * len(WHOLE) + 5000, time.time())

    assert old == [runs[0].id]


def test_nothing_is_read_from_a_file_that_is_none(tmp_path):
    folder = Folder(tmp_path, "run", 100)
    folder.show(0, 1, 1, {"text/plain": b"x"})
    (path,) = (tmp_path / "results" / "run").iterdir()
    path.write_bytes(b"\xff\x00 rubbish")

    assert (folder.shown(0, 1, 1), folder.shown(0, 1, 2), folder.read(0, 1)) == ({}, {}, None)
