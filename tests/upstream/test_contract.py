"""What every executor keeps to, through a stand-in for a Core of Cerebelum's makers."""

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from cerebelum_nb import Session
from cerebelum_nb.config import Settings
from tests.upstream.stand_in import StandIn

sys.path.insert(0, str(Path(__file__).parents[1] / "executors"))  # its modules import each other by their bare names
from contract import *  # noqa: F403  its tests are this file's
from contract import Place
from test_contract import shell  # noqa: F401  a fixture

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def url():
    """A stand-in, in a thread of its own."""
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    core = asyncio.run_coroutine_threadsafe(StandIn().start(), loop).result(20)
    yield core.url
    asyncio.run_coroutine_threadsafe(core.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    serving.join(10)
    assert not core.crashes


@pytest.fixture(scope="module")
def place(url, tmp_path_factory):
    """A session whose distributed steps go through the stand-in."""
    made = Session(Settings(home=tmp_path_factory.mktemp("home"), workers=2, core_url=url))
    yield Place("distributed", True, made)
    made.close()


@pytest.fixture
def new_place(url, tmp_path):
    """Makes the same in a session of the test's own."""
    made = []

    def make():
        made.append(Session(Settings(home=tmp_path / "home", workers=1, core_url=url)))
        return Place("distributed", True, made[-1])

    yield make
    for session in made:
        session.close()
