"""A small disk for tests of what happens where there is no room."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cerebelum_nb.testing import chaos


@contextlib.contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    """A disk of some MiB, where this machine lets us have one."""
    with chaos.small_disk(mib) as disk:
        if not disk.mounted:
            pytest.skip("only root may mount a small disk, and not in every container")
        yield disk.path
