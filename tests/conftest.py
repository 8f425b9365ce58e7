"""What tests share: a session of their own, and where files go."""

import pytest

from cerebelum_nb import Session
from cerebelum_nb.config import Settings


@pytest.fixture
def session(tmp_path):
    """A session with its journal in the test's own folder, closed afterwards."""
    made = Session(Settings(home=tmp_path / "home"))
    yield made
    made.close()
