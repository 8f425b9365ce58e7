"""What is kept of functions that were sent, and made again beside those that are here."""

import enum

from cerebelum_nb.capture import Shipped, ship
from cerebelum_nb.capture.kept import Apart, Codes, Payloads
from cerebelum_nb.codec import pickled
from tests.executors.remote_kit import cell

CELL = """
import enum
FACTOR = 2

class Box:
    def __init__(self, held): self.held = held
    def times(self): return self.held * FACTOR

class Kind(enum.Enum):
    GOOD = 1

def step(box, kind):
    return isinstance(box, Box), kind is Kind.GOOD, box.times(), FACTOR
"""


def shipped(digest, nbytes):
    return Shipped(bytes(nbytes), digest)


def held(kind):
    """What a class holds, but for what pickle notes in it."""
    return {name: value for name, value in vars(kind).items() if name != "__slotnames__"}


def test_the_oldest_payloads_go_first_and_equal_ones_are_kept_once():
    payloads = Payloads(100)
    codes = Codes(payloads)
    for task, (digest, nbytes) in enumerate([("a", 40), ("a", 40), ("b", 40), ("c", 30)]):
        codes.note(task, 1, shipped(digest, nbytes))

    assert [codes.of(task, 1) for task in range(4)] == [None, None, bytes(40), bytes(30)]
    assert (codes.was_sent(0, 1), codes.was_sent(0, 2), codes.of(0, 2)) == (True, False, None)
    codes.note(9, 1, shipped("huge", 1000))
    assert codes.of(9, 1) is None, "what is larger than all that may be kept is not"


def test_what_is_made_again_is_as_it_was_sent_and_leaves_the_persons_classes_alone():
    names = cell(CELL)
    sent = ship(names["step"])
    box, kind = names["Box"](3), names["Kind"].GOOD
    names["FACTOR"] = 100
    names["Box"].times = lambda self: "another"
    before = held(names["Box"])
    apart = Apart()
    function, changed = apart.function(sent.payload)
    taken = apart.value([box, kind], "its input")

    assert function(*taken) == (True, True, 6, 2)
    assert changed == ()
    assert held(names["Box"]) == before
    assert type(taken[0]) is not names["Box"]
    assert taken[0].held == 3
    assert isinstance(taken[1], enum.Enum)
    assert box.times() == "another"


def test_what_was_made_again_can_be_sent_again():
    names = cell(CELL)
    first = Apart()
    function, _ = first.function(ship(names["step"]).payload)
    taken = first.value([names["Box"](3), names["Kind"].GOOD], "its input")
    second = Apart()
    again, _ = second.function(ship(function, "step").payload)

    assert again(*second.value(taken, "its input")) == (True, True, 6, 2)
    assert pickled(function)


def test_a_value_is_another_object_all_the_way_down():
    rows = [[1], {"a": (2, [3])}]
    taken = Apart().value(rows, "its input")
    taken[0].append(9)
    taken[1]["a"][1].append(9)

    assert rows == [[1], {"a": (2, [3])}]


def test_a_function_of_a_module_is_that_of_this_process():
    function, changed = Apart().function(ship(shipped).payload)

    assert function is shipped
    assert changed == ()


def test_a_local_module_that_was_edited_since_is_named(tmp_path, monkeypatch):
    (tmp_path / "helper_of_mine.py").write_text("def helped(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = cell("import helper_of_mine\ndef step(x):\n    return helper_of_mine.helped(x)\n")
    sent = ship(names["step"])
    before, _ = Apart().function(sent.payload)
    (tmp_path / "helper_of_mine.py").write_text("def helped(x):\n    return x + 1000\n")
    function, changed = Apart().function(sent.payload)

    assert (before(1), function(1)) == (2, 2), "modules stay as they are loaded here"
    assert changed == ("helper_of_mine",)
