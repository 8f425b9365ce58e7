"""The contract on the executors that there are; a new one is one more line in `PLACES`."""

from types import SimpleNamespace

import pytest
from contract import *  # noqa: F403  its tests are this file's
from contract import Place
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from cerebelum_nb import Session
from cerebelum_nb.config import Settings
from cerebelum_nb.notebook import shown

pytestmark = pytest.mark.timeout(120)
PLACES = {"local": False, "distributed": True, "processes": True}  # whether its steps run in processes of their own


@pytest.fixture(params=PLACES, scope="module")
def place(request, tmp_path_factory):
    """One executor, in a session that all its tests share: they must not harm each other."""
    made = Session(Settings(home=tmp_path_factory.mktemp("home"), workers=2, processes=2))
    yield Place(request.param, PLACES[request.param], made)
    made.close()


@pytest.fixture
def new_place(place, tmp_path):
    """Makes the same executor in a session of the test's own."""
    made = []

    def make():
        session = Session(Settings(home=tmp_path / "home", workers=1, processes=1))
        made.append(session)
        return Place(place.name, place.apart, session)

    yield make
    for session in made:
        session.close()


@pytest.fixture
def shell(monkeypatch):
    """A shell as a notebook has one, for what local steps display."""
    shell = InteractiveShell.instance()
    publisher = DisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    shown.install(SimpleNamespace(display_pub=publisher))
    yield shell
    InteractiveShell.clear_instance()
