"""What tests share: a session of their own, and where files go."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cerebelum_nb import Session
from cerebelum_nb.config import Settings

ROOT = Path(__file__).parents[1]
INSTALL_S = 300

# Whoever runs the tests in the background may have had interrupts ignored for all that comes of it; a test that
# interrupts a program means it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def session(tmp_path):
    """A session with its journal in the test's own folder, closed afterwards."""
    made = Session(Settings(home=tmp_path / "home", workers=2, processes=1))
    yield made
    made.close()


@pytest.fixture(scope="session")
def both_packages(tmp_path_factory):
    """A Python that has the real SDK from PyPI beside ours."""
    home = tmp_path_factory.mktemp("both") / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True, timeout=INSTALL_S)
    pip = [home / "bin" / "python", "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check"]
    wanted = ["--no-compile", "cerebelum-sdk==0.3.1", str(ROOT)]
    done = subprocess.run([*pip, *wanted], capture_output=True, text=True, timeout=INSTALL_S, check=False)
    assert done.returncode == 0, done.stderr
    return home / "bin" / "python"
