import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from kerneldriver import Kernel


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for the tests of a file; they use names of their own."""
    started = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path_factory.mktemp("home"))})
    yield started
    started.stop()


@pytest.fixture
def fresh_kernel(tmp_path):
    started = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path)})
    yield started
    started.stop()
