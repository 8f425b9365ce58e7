"""How a way is divided into there and back by clocks that do not agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebelum_nb.executors.skew import DRIFT, Skew

times = st.floats(-1e9, 1e9)
lengths = st.floats(0, 1e4)


def test_as_long_as_nothing_is_known_both_ways_take_as_long():
    assert Skew().before(100.0, 5000.0, 0.5) == 0.25


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -1e6])
def test_what_a_quick_attempt_taught_tells_the_ways_of_a_slow_one_apart(ahead):
    skew = Skew()
    skew.before(100.0, 100.0 + 0.001 + ahead, 0.002)

    assert skew.before(101.0, 101.0 + 0.01 + ahead, 0.5) == pytest.approx(0.01, abs=0.001)  # large results
    assert skew.before(102.0, 102.0 + 0.4 + ahead, 0.5) == pytest.approx(0.4, abs=0.001)  # large inputs


def test_a_clock_that_was_set_is_noticed_and_learned_anew():
    skew = Skew()
    skew.before(100.0, 100.001, 0.002)

    assert skew.before(101.0, 7101.01, 0.5) == 0.25
    assert skew.before(102.0, 7102.001, 0.002) == pytest.approx(0.001)
    assert skew.before(103.0, 7103.4, 0.5) == pytest.approx(0.4, abs=0.001)


def test_old_knowledge_gives_way_to_new_when_clocks_may_have_run_apart():
    skew = Skew()
    skew.before(0.0, 0.001, 0.002)
    later = 0.01 / DRIFT  # by now they may differ by 0.01 s

    skew.before(later, later + 0.008 + 0.005, 0.01)

    assert skew.before(later + 1, later + 1 + 0.008 + 0.1, 0.5) == pytest.approx(0.1, abs=0.005)


@given(st.lists(st.tuples(times, times, lengths), min_size=1, max_size=20))
def test_a_part_of_a_way_is_never_negative_nor_longer_than_it_whatever_the_clocks_say(said):
    skew = Skew()

    for sent, got, way_s in said:
        assert 0 <= skew.before(sent, got, way_s) <= way_s
