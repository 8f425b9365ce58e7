from cerebelum_nb.core.pace import AHEAD_S, SPINS_IN_VAIN, SPINS_LEFT_OUT, WINDOW_MOST, Pace, Spins


def windows(pace, *seconds):
    seen = []
    for each in seconds:
        pace.took(each)
        seen.append(pace.window)
    return seen


def test_nothing_is_sent_ahead_before_several_attempts_were_short():
    pace = Pace()

    assert pace.window == 1
    assert windows(pace, *[0.0] * 3) == [1, 1, 1]
    assert windows(pace, *[0.0] * 60)[-1] == WINDOW_MOST


def test_what_is_sent_ahead_is_a_short_time_of_work():
    pace = Pace()

    assert windows(pace, *[AHEAD_S / 4] * 60)[-1] == 3


def test_one_long_attempt_ends_it_however_long_it_was_and_as_many_short_ones_bring_it_back():
    pace, other = Pace(), Pace()
    windows(pace, *[0.0] * 60)
    windows(other, *[0.0] * 60)

    assert windows(pace, AHEAD_S) == windows(other, 3600.0) == [1]
    assert windows(pace, *[0.0] * 20) == windows(other, *[0.0] * 20)


def test_who_waits_in_vain_several_times_does_not_wait_for_a_while():
    spins = Spins()
    for _ in range(SPINS_IN_VAIN - 1):
        spins.ended(answered=False)
    spins.ended(answered=True)
    for _ in range(SPINS_IN_VAIN):
        assert spins.worth_it()
        spins.ended(answered=False)

    assert [spins.worth_it() for _ in range(SPINS_LEFT_OUT + 2)] == [False] * SPINS_LEFT_OUT + [True, True]
