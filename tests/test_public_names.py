"""The front page shows what it says it shows, and stays light."""

import subprocess
import sys

import cerebelum_nb

HEAVY = ("grpc", "IPython", "anywidget", "ipywidgets", "cloudpickle", "numpy", "asyncio", "sqlite3")


def test_every_public_name_can_be_had_and_the_list_is_sorted():
    assert cerebelum_nb.__all__ == sorted(cerebelum_nb.__all__)
    assert all(hasattr(cerebelum_nb, name) for name in cerebelum_nb.__all__)


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, cerebelum_nb; print([m for m in {HEAVY!r} if m in sys.modules])"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert told.stdout.strip() == "[]"


def test_defining_steps_and_workflows_loads_nothing_heavy():
    code = f"import sys; from cerebelum_nb import step, workflow\nprint([m for m in {HEAVY!r} if m in sys.modules])"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert told.stdout.strip() == "[]"
