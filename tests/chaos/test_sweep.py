"""The kernel is killed after every event of a hybrid run of twelve steps, and another one goes on from it.

All points with ``make chaos`` (CEREBELUM_CHAOS=all), every fifth else. CEREBELUM_SEED says where to begin.
"""

import concurrent.futures
import os
import queue
import random

import pytest
from sweep_program import ONCE, OUTPUT

from cerebelum_nb.store.journal import read, read_runs
from cerebelum_nb.testing.chaos import Kernels, Ledger, Point, broken
from cerebelum_nb.testing.chaos.checks import tale

ALL = os.environ.get("CEREBELUM_CHAOS") == "all"
SEED = int(os.environ.get("CEREBELUM_SEED") or random.randrange(1000))
BEHIND_S = 0.05
EVERY = 1 if ALL else 5


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """Two at a time."""
    folder, free = tmp_path_factory.mktemp("k"), queue.Queue()
    made = [Kernels("sweep_program", folder) for _ in range(2)]
    for each in made:
        free.put(each)
    yield free
    for each in made:
        each.close()


def in_one(kernels, *args, **more):
    each = kernels.get()
    try:
        return each.run(*args, **more)
    finally:
        kernels.put(each)


def points(count):
    """Every event, as the last on disk, as the first that is not, and with a run that goes on for a while unseen."""
    every = [
        Point(f"event {k}", on_disk, behind)
        for k in range(count)
        for on_disk, behind in ((False, 0.0), (True, 0.0), (False, BEHIND_S))
    ]
    return random.Random(SEED).sample(every, len(every) // EVERY)


def known(home):
    return [about.run for about, _ in read_runs(home / "journal.db")] if (home / "journal.db").exists() else []


def died_and_went_on(kernels, folder, point, fails):
    """What is wrong after a kernel has died at a point and another one has gone on; empty for nothing."""
    folder.mkdir()
    home, ledger = folder / "home", Ledger(folder / "ledger")
    died = in_one(kernels, "first", str(folder), fails, at=point)
    if died.signal != 9:
        return [f"it was not killed there: {died}"]
    at_death, runs = ledger.counts(), known(home)
    found = broken(home) + list(died.left)
    number = int(point.after.split()[1])
    if not runs:
        careful = [name for name in ("reserve", "pay") if at_death[name]]
        return [*found, *[f"{name} was done, and nobody knows of the run" for name in careful]] + (
            [] if number == 0 and not point.on_disk else ["the run is lost"]
        )
    on_disk = len(list(read(home / "journal.db", runs[0])))
    if on_disk != number + point.on_disk:
        found.append(f"{on_disk} events were on disk")
    then = tale(home, runs[0])
    found += lives_on(kernels, folder, fails, then, at_death) if not then.status else []
    return found + broken(home)


def lives_on(kernels, folder, fails, then, at_death):
    ledger = Ledger(folder / "ledger")
    second = in_one(kernels, "second", str(folder))
    said, now = second.said or {"status": second.error, "error": ""}, ledger.counts()
    new = now - at_death
    found = list(second.left)
    cut_off = "pay" in then.attempts and "pay" not in then.completed
    undoing_began = "end" in then.failed  # from there on the run is undone, and no step of it runs
    if said["status"] == "refused" and "end" in then.completed:
        return []  # all was done; only the last word was missing
    if said["status"] == "refused":
        wrong = [] if (cut_off or undoing_began) and "pay" in said["error"] else [f"refused: {said['error']}"]
        wrong += [f"{name} was done though it was refused" for name in new]
        return wrong + forced(kernels, folder, fails)
    found += ["pay was cut off and the run went on without a word"] if cut_off else []
    found += [f"pay was done {now['pay']} times"] if now["pay"] > 1 else []
    ends = "compensated" if fails else "succeeded"
    if (said["status"], said["output"]) != (ends, None if fails else OUTPUT):
        return [*found, f"it ended as {said}"]
    for name, times in ONCE.items():
        wanted = 0 if name in then.completed else times
        if new[name] != wanted and not undoing_began:
            found.append(f"{name} was done {new[name]} times more, not {wanted}")
    return found + undoing(ledger, fails)


def forced(kernels, folder, fails):
    """What was refused can be had by force, and then it ends."""
    third = in_one(kernels, "second", str(folder), True)
    said, paid = third.said or {"status": third.error}, Ledger(folder / "ledger").counts()["pay"]
    found = [*third.left, *undoing(Ledger(folder / "ledger"), fails)]
    if said["status"] != ("compensated" if fails else "succeeded"):
        found.append(f"by force it ended as {said}")
    return found + ([f"pay was done {paid} times"] if paid > 2 else [])


def undoing(ledger, undone):
    """What was reserved is released if and only if the run was undone."""
    deeds = [effect.step for effect in ledger.effects() if effect.step in ("reserve", "release")]
    if not undone:
        return ["something was undone"] if "release" in deeds else []
    return [] if deeds[-1] == "release" else [f"something is left: {deeds}"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails and is undone"])
def test_whenever_the_kernel_dies_the_next_one_goes_on_and_nothing_is_done_too_often(kernels, tmp_path, fails):
    (tmp_path / "whole").mkdir()
    whole = in_one(kernels, "first", str(tmp_path / "whole"), fails)
    assert whole.said is not None, whole
    chosen, wrong = points(whole.said["events"]), {}

    with concurrent.futures.ThreadPoolExecutor(2) as both:
        tried = {
            both.submit(died_and_went_on, kernels, tmp_path / f"p{i}", point, fails): point
            for i, point in enumerate(chosen)
        }
        for done in concurrent.futures.as_completed(tried):
            if found := done.result():
                wrong[str(tried[done])] = found

    assert len(chosen) >= 120 // EVERY
    assert not wrong, f"CEREBELUM_SEED={SEED}: " + "\n".join(f"{point}: {found}" for point, found in wrong.items())
