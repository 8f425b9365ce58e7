"""The tests of what strangers, other users and hostile workers get: nothing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from served_kit import ServedForTest


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """One served Core with a worker of its own, for tests that leave it as it was."""
    core = ServedForTest(tmp_path_factory.mktemp("served"), slots=1)
    yield core
    core.close()
