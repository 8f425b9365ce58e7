"""What tests of a served Core share."""

import pytest_asyncio
from served_kit import ServedForTest


@pytest_asyncio.fixture
async def serving(tmp_path):
    """Make served Cores, and kernels of them; all ended afterwards."""
    made, kernels = [], []

    def serve(*options, **more):
        made.append(ServedForTest(tmp_path, *options, **more))
        return made[-1]

    def kernel(core, *args, **more):
        kernels.append(core.kernel(*args, **more))
        return kernels[-1]

    serve.kernel = kernel
    yield serve
    for each in kernels:
        await each.close()
    for each in made:
        each.close()
