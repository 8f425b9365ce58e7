import pytest

from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.seal import TAG_NBYTES, Address, key_to_workers, new_key, seal, unseal, worker_key

KEY = new_key()
ADDRESS = Address("run", 3, 1, "to worker", "json")


@pytest.mark.parametrize("body", [b"", b"x", b"y" * (1 << 16), b"z" * ((1 << 16) + 1)], ids=len)
def test_an_envelope_opens_for_its_address(body):
    assert bytes(unseal(KEY, ADDRESS, seal(KEY, ADDRESS, body))) == body


def test_any_flipped_byte_is_refused():
    envelope = seal(KEY, ADDRESS, b"some body")

    for place in range(len(envelope)):
        flipped = bytearray(envelope)
        flipped[place] ^= 1
        with pytest.raises(PayloadRejected, match="nothing in it was read"):
            unseal(KEY, ADDRESS, bytes(flipped))


@pytest.mark.parametrize(
    "other",
    [
        ADDRESS._replace(run="other"),
        ADDRESS._replace(task=4),
        ADDRESS._replace(attempt=2),
        ADDRESS._replace(direction="to kernel"),
        ADDRESS._replace(codec="pickle"),
        ADDRESS._replace(task=1, attempt=3),
        ADDRESS._replace(run="ru", codec="njson"),
        ADDRESS._replace(codec="jso"),
    ],
    ids=str,
)
def test_an_envelope_of_another_address_is_refused(other):
    with pytest.raises(PayloadRejected):
        unseal(KEY, other, seal(KEY, ADDRESS, b"body"))


def test_text_cannot_move_between_codec_and_body():
    with pytest.raises(PayloadRejected):
        unseal(KEY, ADDRESS._replace(codec="jso"), seal(KEY, ADDRESS, b"body")[:TAG_NBYTES] + b"nbody")


def test_another_key_and_too_short_envelopes_are_refused():
    for envelope in (seal(new_key(), ADDRESS, b"body"), b"", b"short", seal(KEY, ADDRESS, b"body")[: TAG_NBYTES - 1]):
        with pytest.raises(PayloadRejected):
            unseal(KEY, ADDRESS, envelope)


def test_what_opens_what_is_said_to_workers_does_not_seal_what_one_of_them_says():
    to_workers, said = key_to_workers(KEY), ADDRESS._replace(direction="to kernel")

    assert len({KEY, to_workers, worker_key(KEY, "worker 1"), worker_key(KEY, "worker 2")}) == 4
    for forged in (to_workers, worker_key(to_workers, "worker 1"), worker_key(KEY, "worker 2")):
        with pytest.raises(PayloadRejected):
            unseal(worker_key(KEY, "worker 1"), said, seal(forged, said, b"some body"))
