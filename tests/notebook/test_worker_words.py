"""What `%cerebelum workers` says of pools that have no workers yet, without starting anything."""

import asyncio

import pytest

from cerebelum_nb.config import Settings
from cerebelum_nb.errors import PlanError
from cerebelum_nb.executors.crew import Crew
from cerebelum_nb.model.pools import Pool
from cerebelum_nb.notebook import manual, workers
from cerebelum_nb.notebook.arguments import Arguments

POOLS = {
    "one": 1,
    "empty": 0,
    "vault": {"slots": 2, "trust": "untrusted"},
    "far": {"core": "tls://host:7801", "pass": "my team.pass"},
}
FAR = "cerebelum worker --core host:7801 --pass 'my team.pass' --pool far"


@pytest.fixture
def crew(tmp_path):
    loop = asyncio.new_event_loop()
    yield Crew(Settings(home=tmp_path, workers=3, processes=2, pools=POOLS), loop, lambda: None)
    loop.close()


def test_each_pool_says_how_many_workers_it_has_and_what_its_steps_may_give(crew):
    assert str(workers.workers(Arguments(), crew)).splitlines() == [
        "distributed: 3 workers, not started before the first step there",
        "processes: 2 workers, not started before the first step there",
        "one: 1 worker, not started before the first step there",
        "empty: no worker; to add one: %cerebelum workers add --pool empty --slots 1",
        "vault: 2 workers, not started before the first step there",
        "far: not connected to tls://host:7801; %cerebelum core says whether it can be reached",
        "vault: untrusted, so a step there may give plain values and arrays, 16 MiB at most, and nothing else",
    ]


def test_workers_of_a_served_core_are_added_by_a_line_that_works_in_a_terminal(crew):
    with pytest.raises(PlanError) as caught:
        crew.add("far")

    assert f"add some in a terminal, `{FAR}`, and end them there" in str(caught.value)
    assert Pool("far", 0, core="tls://host:7801").joined_by == "cerebelum worker --core host:7801 --pool far"


def test_the_overview_has_a_short_line_for_each_verb_and_says_where_there_is_more():
    lines = manual.overview().splitlines()
    verbs = [line for line in lines if line.startswith("  %cerebelum ")]

    assert [line.split()[1] for line in verbs] == list(manual.VERBS)
    assert max(map(len, verbs)) <= 125
    assert "`%cerebelum help VERB` has the options of one, and an example." in lines
