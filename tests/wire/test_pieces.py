"""Long bodies in pieces: each is checked when it comes, and belongs to one place of one attempt's body."""

import pytest

from cerebelum_nb.codec import Encoded
from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.wire.frames import SOFT_NBYTES, Submit, messages
from cerebelum_nb.wire.pieces import PIECE_NBYTES, Gathered, cut, described, fits

KEY = bytes(32)
SUBMIT = Submit(7, "run", 3, 1, "step", "digest", "pieces", b"")
BODY = Encoded("parts", bytes(range(256)) * 10_000 + b"end")
SAID = described(BODY).data


def pieces(submit=SUBMIT, direction="to worker", body=BODY, key=KEY):
    return list(cut(key, submit, direction, body))


def gathered(found, limit=1 << 30):
    to = Gathered(KEY, "to worker", limit)
    for piece in found:
        to.take(piece)
    codec, body = to.body("run", 3, 1, SAID)
    return codec, bytes(body)


@pytest.mark.parametrize("nbytes", [1, PIECE_NBYTES, PIECE_NBYTES + 1, 3 * PIECE_NBYTES])
def test_a_body_arrives_as_it_was_in_messages_of_the_usual_size(nbytes):
    body = Encoded("json", bytes(nbytes - 1) + b"!")
    found, to = pieces(body=body), Gathered(KEY, "to worker")
    for piece in found:
        to.take(piece)

    codec, got = to.body("run", 3, 1, described(body).data)

    assert (codec, bytes(got)) == ("json", body.data)
    assert all(len(message) <= SOFT_NBYTES for message in messages(found))
    assert fits(len(found), nbytes)
    assert not fits(len(found) + 1, nbytes)


WRONG = {
    "one is missing": lambda: pieces()[:-1],
    "the first is missing": lambda: pieces()[1:],
    "two are swapped": lambda: [pieces()[n] for n in (1, 0, 2)],
    "one comes twice": lambda: [pieces()[n] for n in (0, 0, 1, 2)],
    "one more than all": lambda: [*pieces(), pieces()[-1]],
    "one is another attempt's": lambda: [*pieces()[:2], pieces(Submit(7, "run", 3, 2, "s", "d", "c", b""))[2]],
    "all are another attempt's": lambda: pieces(Submit(7, "run", 4, 1, "s", "d", "c", b"")),
    "one is a longer body's": lambda: [pieces(body=Encoded("parts", BODY.data + b"x"))[0], *pieces()[1:]],
    "they go the other way": lambda: pieces(direction="to kernel"),
    "somebody else has made them": lambda: pieces(key=b"x" * 32),
    "there are none": list,
}


@pytest.mark.parametrize("found", WRONG.values(), ids=WRONG)
def test_what_is_not_all_of_this_attempts_body_in_order_is_refused(found):
    with pytest.raises(PayloadRejected, match="a long value of task 3, attempt 1 of run 'run' is not here: "):
        gathered(found())


def test_a_flipped_bit_is_found_and_what_had_come_is_let_go():
    found = pieces()
    changed = bytearray(found[1].sealed)
    changed[len(changed) // 2] ^= 1
    to = Gathered(KEY, "to worker")
    to.take(found[0])
    to.take(type(found[1])(7, ("run", 3, 1), 1, BODY.nbytes, bytes(changed)))

    assert not to._body
    with pytest.raises(PayloadRejected, match="has no valid seal"):
        to.body("run", 3, 1, SAID)


def test_a_body_above_the_limit_takes_no_room():
    with pytest.raises(PayloadRejected, match="is not the one that was to come"):
        gathered(pieces(), limit=BODY.nbytes - 1)
    assert gathered(pieces(), limit=BODY.nbytes) == ("parts", BODY.data)
