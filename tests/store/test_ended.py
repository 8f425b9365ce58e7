"""Large results of ended runs: how long they stay in shared memory, and which go first."""

import pytest

from cerebelum_nb.codec import Large
from cerebelum_nb.store.ended import Ended

MIB = 1 << 20


class Run:
    """The values of a run: those named in `on_disk` can be read from there."""

    def __init__(self, name, values, on_disk=()):
        self.run, self.values, self.on_disk = name, values, set(on_disk)
        self.gone = {}
        self.spilled = False

    def large(self):
        return {task: value for task, value in self.values.items() if task not in self.gone}

    def is_on_disk(self, task):
        return task in self.on_disk

    def let_go(self, task, why):
        self.gone[task] = why

    def spill(self):
        self.spilled = True


def value(mib=1):
    return Large("json", list, mib * MIB, None)


def ended(*runs, in_memory=20, mib=100, seconds=3600.0):
    made = Ended(in_memory, mib * MIB, seconds)
    for run in runs:
        made.add(run)
    return made


def test_the_oldest_go_first_those_on_disk_before_others_and_the_newest_runs_stay():
    runs = [Run("a", {0: value(4)}), Run("b", {0: value(4), 1: value(4)}, [1]), Run("c", {0: value(4)})]

    kept = ended(*runs, mib=8)

    assert [sorted(run.gone) for run in runs] == [[0], [1], []]
    assert runs[0].gone[0] == (
        "it is 4 MiB, which is too much to be kept, and results of newer runs take 8 MiB of memory (shared_mib)"
    )
    assert kept.nbytes() == 8 * MIB
    kept.add(Run("d", {0: value(40)}))
    assert kept.nbytes() == 40 * MIB


def test_a_value_that_a_newer_run_has_too_counts_once_and_goes_with_that_one():
    shared = value(4)
    runs = [Run("a", {0: shared}), Run("b", {0: value(4)}), Run("c", {5: shared})]

    kept = ended(*runs, mib=8)

    assert kept.nbytes() == 8 * MIB
    assert [sorted(run.gone) for run in runs] == [[], [], []]
    kept.add(Run("d", {0: value(1)}))
    assert [sorted(run.gone) for run in runs] == [[], [0], []]
    kept.add(Run("e", {0: value(4)}))
    assert [sorted(run.gone) for run in runs] == [[0], [0], [5]]


def test_what_is_on_disk_too_goes_after_a_while_and_nothing_else(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("cerebelum_nb.store.ended.monotonic", lambda: clock[0])
    both = value()
    old, new = Run("a", {0: value(), 1: value(), 2: both}, [0, 2]), Run("b", {0: value(), 1: both}, [0, 1])
    kept = ended(old, seconds=60)
    clock[0] += 50
    kept.add(new)
    kept.look()
    assert not old.gone

    clock[0] += 20
    kept.look()

    assert (sorted(old.gone), sorted(new.gone)) == ([0], [])
    clock[0] += 60
    kept.look()
    assert (sorted(old.gone), sorted(new.gone)) == ([0, 2], [0, 1])
    assert kept.lost_if_freed() == MIB


def test_where_there_is_no_room_only_what_is_on_disk_goes():
    run = Run("a", {0: value(2), 1: value(3)}, [0])
    kept = ended(run)

    assert kept.relieve() == 2 * MIB
    assert (sorted(run.gone), kept.lost_if_freed()) == ([0], 3 * MIB)


@pytest.mark.parametrize(("runs", "gone"), [(("a",), [[0], []]), (None, [[0], [0]]), ((), [[], []])])
def test_memory_is_freed_of_some_runs_or_of_all(runs, gone):
    held = [Run("a", {0: value(2)}), Run("b", {0: value(3)}, [0])]

    nbytes = ended(*held).free(runs)

    assert [sorted(run.gone) for run in held] == gone
    assert nbytes == sum(run.values[0].nbytes for run in held if run.gone)


def test_a_run_that_is_too_many_lets_go_of_all():
    runs = [Run("a", {}), Run("b", {}), Run("c", {})]

    ended(*runs, in_memory=2)

    assert [run.spilled for run in runs] == [True, False, False]
