"""The executor `core` by itself; and failures of the contract are told as those of other tests are."""

import pytest
import pytest_asyncio
from remote_kit import until

from cerebelum_nb.executors.core import CoreExecutor

pytest.register_assert_rewrite("contract")


@pytest.fixture
def slots():
    """How many workers `core` has."""
    return 1


@pytest_asyncio.fixture
async def core(slots):
    """The executor by itself, and its workers are there."""
    core = CoreExecutor(slots=slots)
    await core.start()
    await until(lambda: core.workers == slots)
    yield core
    await core.close()
