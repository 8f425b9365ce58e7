from cerebelum_nb.wire.ledger import NBYTES, Ledger


def test_a_ledger_knows_each_attempt_for_itself_in_any_order():
    data = bytearray(NBYTES)
    written = Ledger(data)
    for attempt in (1, 70, 4000):
        written.note(attempt)

    read = Ledger(bytes(data))
    assert [n for n in range(1, 4097) if read.has(n)] == [1, 70, 4000]


def test_what_a_later_attempt_has_written_over_may_have_begun():
    ledger = Ledger(bytearray(NBYTES))
    ledger.note(4096 + 5)

    assert [ledger.has(n) for n in (5, 4096 + 5, 2 * 4096 + 5, 6)] == [True, True, False, False]
