"""Matplotlib on a worker: figures are shown where the step's output is, as in a notebook's cell."""

import pytest
import pytest_asyncio
from remote_kit import Heard, cell, run

from cerebelum_nb.executors.core import CoreExecutor

pytest.importorskip("matplotlib")
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

PLOTS = """
def shown():
    import matplotlib.pyplot as plt
    plt.plot([1, 2])
    plt.show()
    print("between")
    plt.plot([2, 1])

def given():
    from IPython.display import display
    from matplotlib.figure import Figure
    figure = Figure()
    figure.subplots().plot([1])
    display(figure)

def nothing():
    import matplotlib.pyplot as plt
    plt.figure()
    return plt.get_fignums()
"""


@pytest_asyncio.fixture
async def core():
    executor = CoreExecutor(slots=1)
    yield executor
    await executor.close()


async def test_figures_are_images_in_order_and_none_is_left_for_the_next_step(core):
    names, heard = cell(PLOTS), Heard()

    for name in ("shown", "given"):
        assert (await run(core, names[name], heard=heard)).kind == "ok"
    left = await run(core, names["nothing"])

    said = [(kind, what) for kind, what in heard.heard if kind != "started"]
    assert [kind for kind, _ in said] == ["displayed", "stdout", "displayed", "displayed"]
    for kind, bundle in said:
        assert kind == "stdout" or bundle["image/png"].startswith(b"\x89PNG")
    assert said[0][1]["text/plain"] == b"<Figure size 640x480 with 1 Axes>"
    assert left.value == [1]
