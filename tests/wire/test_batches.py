import msgspec
import pytest

from cerebelum_nb.errors import PayloadRejected
from cerebelum_nb.seal import TAG_NBYTES, Address, new_key, seal, unseal
from cerebelum_nb.wire import batches
from cerebelum_nb.wire.batches import End, Item
from cerebelum_nb.wire.frames import Batch
from cerebelum_nb.wire.gate import Left

KEY = new_key()
ITEMS = [Item(task, 1, f"s{task}", "f" if task else "g", "json", b"%d" % task) for task in range(3)]
ENDS = [End(task, 1, "json", b"%d" % task, 0.5, 0.25, 0.125, 1.0) for task in range(3)]


def ended(first=7, ends=ENDS):
    return batches.ended(KEY, first, "r", [batches.end_of(end) for end in ends], 2.5)


def test_attempts_travel_together_with_each_function_named_once():
    frame = batches.batch(KEY, 7, "r", ITEMS)

    assert (frame.id, frame.run, frame.count, frame.digests) == (7, "r", 3, ("g", "f"))
    assert batches.items_of(KEY, frame) == ITEMS


def test_one_of_a_batch_can_go_by_itself_as_if_it_had_come_so():
    submit = batches.single(KEY, 8, "r", ITEMS[1])

    address = Address("r", 1, 1, "to worker", "f json")
    assert (submit.id, submit.run, submit.task, submit.number, submit.step) == (8, "r", 1, 1, "s1")
    assert bytes(unseal(KEY, address, submit.sealed)) == b"1"


def test_ends_come_back_together_and_what_is_known_of_them_can_be_left_out():
    assert batches.ends_of(KEY, "r", ended()) == ENDS
    assert batches.without(KEY, "r", ended(), 2) == ended(9, ENDS[2:])


def test_what_a_worker_has_left_in_its_gate_is_what_it_would_have_sent():
    parts = [batches.end_of(end) for end in ENDS]

    assert batches.left(KEY, "r", Left(7, 3, b"".join(parts)), 2.5) == ended()


@pytest.mark.parametrize(
    "other", [{"id": 8}, {"run": "q"}, {"count": 2}, {"sealed": batches.batch(KEY, 7, "r", ITEMS[::-1]).sealed[:-1]}]
)
def test_a_batch_that_is_not_what_it_says_is_refused_unread(other):
    frame = msgspec.structs.replace(batches.batch(KEY, 7, "r", ITEMS), **other)

    with pytest.raises(PayloadRejected):
        batches.items_of(KEY, frame)
    with pytest.raises(PayloadRejected):
        batches.items_of(new_key(), batches.batch(KEY, 7, "r", ITEMS))


@pytest.mark.parametrize("other", [{"id": 8}, {"count": 2}, {"sealed": ended().sealed[:-1] + b"?"}])
def test_ends_that_are_not_what_they_say_are_refused_unread(other):
    with pytest.raises(PayloadRejected):
        batches.ends_of(KEY, "r", msgspec.structs.replace(ended(), **other))
    with pytest.raises(PayloadRejected):
        batches.ends_of(KEY, "another run", ended())


def test_ends_that_are_sealed_and_cannot_be_read_are_refused():
    frame = batches.left(KEY, "r", Left(7, 2, b"no msgpack of ours"))

    with pytest.raises(PayloadRejected, match="a batch of 2 attempts cannot be read"):
        batches.ends_of(KEY, "r", frame)


def test_a_batch_with_more_or_fewer_in_it_than_it_says_is_refused():
    body = batches.batch(KEY, 7, "r", ITEMS[:2]).sealed[TAG_NBYTES:]
    lies = seal(KEY, Address("r", 7, 3, "to worker", "batch"), body)

    with pytest.raises(PayloadRejected, match="a batch of 3 attempts has 2 in it"):
        batches.items_of(KEY, Batch(7, "r", 3, ("f",), lies))
