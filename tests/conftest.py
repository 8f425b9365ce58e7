"""What tests share: a session of their own, and where files go."""

import signal

import pytest

from cerebelum_nb import Session
from cerebelum_nb.config import Settings

# Whoever runs the tests in the background may have had interrupts ignored for all that comes of it; a test that
# interrupts a program means it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def session(tmp_path):
    """A session with its journal in the test's own folder, closed afterwards."""
    made = Session(Settings(home=tmp_path / "home"))
    yield made
    made.close()
