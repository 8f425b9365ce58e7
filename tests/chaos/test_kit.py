"""The kit itself: what it breaks is broken, and what it should notice it notices."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from kit_program import steps

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import CerebelumError
from cerebelum_nb.model.events import RunFinished
from cerebelum_nb.store.journal import Journal, read, read_runs
from cerebelum_nb.testing import chaos

DEADLINE = 20


def settled(condition, deadline_s=DEADLINE):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < deadline_s, f"not within {deadline_s} s"
        time.sleep(0.005)  # a poll, not a pause


# points and kernels -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    with chaos.Kernels("kit_program", tmp_path_factory.mktemp("k")) as made:
        yield made


def on_disk(folder):
    (found,) = read_runs(folder / "home" / "journal.db")
    return [type(event).__struct_config__.tag for event in read(folder / "home" / "journal.db", found[0].run)]


def test_a_kernel_says_what_its_function_returned_or_raised(kernels, tmp_path):
    fine, failed = kernels.run("run", str(tmp_path)), kernels.run("fails")

    assert fine == chaos.Ended(fine.pid, 0, "succeeded")
    assert failed.said is None
    assert failed.error.endswith("ValueError: on purpose\n")
    assert "exit code 3" in kernels.run("says_nothing").error


@pytest.mark.parametrize(
    ("after", "last"),
    [
        ("event 1", "attempt.started"),
        ("attempt.finished of two", "attempt.finished"),
        ("task.finished #2", "task.finished"),
        ("run.finished", "run.finished"),
    ],
)
def test_a_kernel_dies_at_the_point_and_the_disk_has_the_event_or_has_it_not(kernels, tmp_path, after, last):
    there, not_there = tmp_path / "there", tmp_path / "not"
    there.mkdir()
    not_there.mkdir()

    died = [
        kernels.run("run", str(there), at=chaos.Point(after, on_disk=True)),
        kernels.run("run", str(not_there), at=chaos.Point(after)),
    ]

    assert [(one.signal, one.left) for one in died] == [(9, ()), (9, ())]
    assert on_disk(there)[-1] == last
    assert on_disk(not_there) == on_disk(there)[:-1]


def test_a_run_that_goes_on_unseen_has_effects_of_which_the_disk_knows_nothing(kernels, tmp_path):
    kernels.run("run", str(tmp_path), at=chaos.Point("attempt.started of one", behind_s=0.5))

    assert on_disk(tmp_path) == ["run.started"]
    assert chaos.Ledger(tmp_path / "ledger").counts() == {"one": 1, "two": 1}


def test_a_kernel_that_hangs_is_ended_and_says_where_it_stood(kernels, monkeypatch):
    ended = kernels.run("hangs", timeout_s=0.2)

    assert ended.signal == 9
    assert "did not end within 0.2 s" in ended.error
    assert "in hangs" in ended.error


def test_what_a_kernel_leaves_is_named(kernels):
    ended = kernels.run("leaves_a_process_and_a_directory")
    shutil.rmtree(kernels.temporary / "cerebelum-left")
    again = kernels.run("fails")
    os.kill(ended.said, signal.SIGKILL)

    assert ended.left == (str(kernels.temporary / "cerebelum-left"),)
    assert again.left == (f"process {ended.said}",)
    settled(lambda: kernels.run("fails").left == ())


@pytest.mark.parametrize("bad", ["event", "event x", "attempt.gone", "attempt.started of", "#2", ""])
def test_a_point_that_nobody_can_come_to_is_refused(bad):
    with pytest.raises(ValueError, match="it is 'event 17', or one of attempt.finished"):
        chaos.Point(bad)


def test_what_happens_at_a_point_happens_once_and_the_run_goes_on(session, tmp_path):
    seen = []

    with chaos.at(chaos.Point("task.finished", on_disk=True), lambda: seen.append("here")):
        runs = [session.run(steps, {"ledger": str(tmp_path / "ledger")}) for _ in range(2)]
        assert all(run.wait(DEADLINE, echo=False) for run in runs)

    assert seen == ["here"]
    assert [run.status for run in runs] == ["succeeded"] * 2
    chaos.check(tmp_path / "home", began=[run.id for run in runs], live=runs)


# the line -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["unix", "tcp"])
def line(request, tmp_path):
    """A proxy before a server that says everything back; and a client of it."""
    unix = request.param == "unix"
    server = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    server.bind(str(tmp_path / "s") if unix else ("127.0.0.1", 0))
    server.listen()

    def echo(there):
        with there:
            try:
                while data := there.recv(1000):
                    there.sendall(data)
            except OSError:
                pass

    def serve():
        try:
            while True:
                threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    target = tmp_path / "s" if unix else server.getsockname()
    with chaos.Proxy(target, tmp_path / "p" if unix else None) as proxy:
        proxy.client = lambda: connected(proxy.address)
        yield proxy
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def connected(address):
    client = socket.socket(socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET)
    client.settimeout(DEADLINE)
    client.connect(str(address) if isinstance(address, Path) else address)
    return client


def said(client, data=b"hello", timeout=DEADLINE):
    """What comes back; None for nothing in time."""
    client.settimeout(timeout)
    try:
        if data:
            client.sendall(data)
        return client.recv(1000)
    except TimeoutError:
        return None


def test_a_line_passes_on_what_is_said(line):
    with line.client() as client:
        assert said(client) == b"hello"


@pytest.mark.parametrize("directions", [(), ("to server",), ("to client",)])
def test_a_cut_line_is_silent_until_it_is_healed_and_loses_nothing(line, directions):
    with line.client() as client:
        assert said(client) == b"hello"
        line.cut(*directions)
        assert said(client, b"more", 0.2) is None

        line.heal()

        assert said(client, b"", DEADLINE) == b"more"


def test_a_lost_connection_stays_silent_and_a_new_one_works(line):
    with line.client() as old:
        assert said(old) == b"hello"
        line.lose()
        line.heal()
        assert said(old, b"more", 0.2) is None
        with line.client() as new:
            assert said(new) == b"hello"


def test_a_reset_breaks_the_connection_at_once(line):
    with line.client() as client:
        assert said(client) == b"hello"
        line.reset()
        with contextlib.suppress(ConnectionResetError):
            assert said(client, b"") == b""


def test_a_slow_line_takes_its_time(line):
    with line.client() as client:
        line.delay_s = 0.2
        began = time.monotonic()
        assert said(client) == b"hello"
        assert time.monotonic() - began >= 0.4
        line.delay_s, line.drip = 0.0, 100
        client.sendall(b"x" * 20)
        began = time.monotonic()
        got = b""
        while len(got) < 20:
            got += client.recv(100)
        assert time.monotonic() - began >= 0.15


def test_core_is_talked_to_through_a_proxy_and_a_cut_line_holds_up_its_steps(tmp_path):
    with chaos.proxied() as lines:
        session = Session(Settings(home=tmp_path / "home", workers=1))
        run = session.run(steps, {"ledger": str(tmp_path / "ledger")}, strategy={"default": "distributed"})
        assert run.wait(DEADLINE, echo=False)
        (line,) = lines
        line.cut()
        held = session.run(steps, {"ledger": str(tmp_path / "ledger")}, strategy={"default": "distributed"})
        assert not held.wait(0.3, echo=False)
        line.heal()
        assert held.wait(DEADLINE, echo=False)
        session.close()

    assert (run.status, held.status) == ("succeeded", "succeeded")


# processes, disk, clock, results ------------------------------------------------------------------------------------


def test_a_frozen_process_stands_still_and_goes_on():
    with subprocess.Popen(
        [sys.executable, "-c", "print('ready', flush=True); input(); print('done')"], stdin=-1, stdout=-1, text=True
    ) as process:
        process.stdout.readline()
        with chaos.frozen(process.pid):
            settled(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T")
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.stdout.readline() == "done\n"


def test_a_small_disk_is_full_until_it_is_freed():
    with chaos.small_disk(1) as disk:
        if not disk.mounted:
            pytest.skip("this process may not mount a disk")
        (disk.path / "file").write_bytes(b"x")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "file").write_bytes(b"x" * 10_000)
        disk.free()
        (disk.path / "file").write_bytes(b"x" * 10_000)

    assert not disk.path.exists()


def test_without_a_mount_no_file_grows_until_the_disk_is_freed(kernels, tmp_path):
    assert kernels.run("writes_on_a_full_disk", str(tmp_path)).said == ["", "OSError", ""]
    with chaos.small_disk(1, mount=False) as disk:
        assert not disk.mounted


def test_the_clock_moves_and_what_only_counts_does_not():
    before, counted = time.time(), time.monotonic()

    with chaos.clock_moved(-3600):
        assert time.time() == pytest.approx(before - 3600, abs=60)
        assert time.mktime(time.localtime()) == pytest.approx(before - 3600, abs=60)
        assert time.monotonic() - counted < 60

    assert time.time() >= before


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("nbytes", [100, 400_000], ids=["in the database", "in a file"])
def test_a_damaged_result_is_never_taken_for_one(tmp_path, how, nbytes):
    big = step(name="big")(lambda context: bytes(nbytes))
    made = workflow(name="damaged")(lambda wf: wf.timeline(big))
    first = Session(Settings(home=tmp_path))
    run = first.run(made)
    run.result(DEADLINE)
    first.close()

    assert chaos.corrupt(tmp_path, run.id, 0, how)

    second = Session(Settings(home=tmp_path))
    try:
        found = second.load(run.id).outputs
    except CerebelumError:
        found = {}
    finally:
        second.close()
    assert found == {}
    assert not chaos.corrupt(tmp_path, run.id, 7, how)


# what must hold -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ran(tmp_path):
    session = Session(Settings(home=tmp_path / "home"))
    run = session.run(steps, {"ledger": str(tmp_path / "ledger")})
    run.result(DEADLINE)
    session.close()
    return run


def journal_of(tmp_path):
    return sqlite3.connect(tmp_path / "home" / "journal.db", isolation_level=None)


def test_all_is_well_after_a_run_that_was_not_hindered(ran, tmp_path):
    chaos.check(
        tmp_path / "home",
        began=[ran.id],
        live=[ran],
        ledger=chaos.Ledger(tmp_path / "ledger"),
        most={"one": 1, "two": 1},
    )


def test_what_does_not_hold_is_named(ran, tmp_path):
    ledger = chaos.Ledger(tmp_path / "ledger")
    with pytest.raises(chaos.Broken) as told:
        chaos.check(tmp_path / "home", began=["r0"], ledger=ledger, most={"one": 0})

    assert str(told.value) == (
        "run r0 is lost: it began, and the journal does not know it\n'one' happened 1 times, at most 0 are allowed"
    )


def test_a_second_end_a_wrong_event_and_a_state_that_is_not_the_fold_are_noticed(ran, tmp_path):
    home = tmp_path / "home"
    journal, last = Journal(home / "journal.db"), len(ran.events)
    journal.write(ran.id, [RunFinished(last, ran.events[-1].at, "failed")])
    journal.close()
    assert chaos.broken(home) == [f"run {ran.id} has 2 terminal events: [{last - 1}, {last}]"]

    with journal_of(tmp_path) as db:
        db.execute("delete from journal")
    bad = [*ran.events[:3], *(msgspec.structs.replace(event, seq=event.seq + 1) for event in ran.events[2:])]
    journal = Journal(home / "journal.db")
    journal.write(ran.id, bad)
    journal.close()
    assert chaos.broken(home) == [f"run {ran.id} cannot be folded: attempt 1 of task 0 ended while not running"]

    with journal_of(tmp_path) as db:
        db.execute("delete from journal")
    journal = Journal(home / "journal.db")
    journal.write(ran.id, ran.events[:-1])
    journal.close()
    ran.scheduler.state.names = ("one", "three")
    found = chaos.broken(home, live=[ran])
    assert f"run {ran.id}: the fold of its events is not its live state" in found
    assert f"run {ran.id}: the journal has {last - 1} events, it has {last}" in found
    assert len(found) == 2


def test_a_run_that_has_a_name_and_no_events_is_lost(ran, tmp_path):
    with journal_of(tmp_path) as db:
        db.execute("delete from journal")

    assert chaos.broken(tmp_path / "home") == [f"run {ran.id} is lost: the journal has its name and none of its events"]


def test_what_is_left_behind_is_named(tmp_path):
    watch = chaos.Watch(tmp_path)
    (tmp_path / "cerebelum-x").mkdir()
    file = (tmp_path / "open").open("w")
    memory = Path("/dev/shm") / f"chaos-{os.getpid()}"
    memory.touch()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    found = watch.left(0.1)
    child.kill()
    child.wait()
    memory.unlink()
    file.close()
    (tmp_path / "cerebelum-x").rmdir()

    assert [text.split()[2] for text in found] == ["process", "directory", "descriptor", "shared"]
    assert watch.left() == []


def test_effects_of_several_processes_never_mix(tmp_path):
    code = (
        "import sys; from cerebelum_nb.context import Context; from cerebelum_nb.testing.chaos import Ledger\n"
        "for n in range(500): Ledger(sys.argv[1]).note(Context({}, 'r', 'w', 'step', n))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "ledger")]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]

    effects = chaos.Ledger(tmp_path / "ledger").effects()

    assert len(effects) == 1000
    assert {msgspec.structs.replace(effect, attempt=0) for effect in effects} == {
        msgspec.structs.replace(effects[0], attempt=0)
    }


# all of it ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_whatever_goes_wrong_in_twenty_runs_by_dice_nothing_is_lost():
    seed = int(os.environ.get("CEREBELUM_SEED") or time.time_ns() % 10**6)
    ran = subprocess.run(
        [sys.executable, "-m", "cerebelum_nb.testing.chaos", "--runs", "20", "--seed", str(seed)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ran.returncode == 0, f"seed {seed}: {ran.stdout} {ran.stderr}"
    assert ran.stdout.splitlines()[-1].startswith(f"20 runs from seed {seed}: 0 broken (")
