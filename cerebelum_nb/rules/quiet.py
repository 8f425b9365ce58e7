"""Make many objects that stay without the garbage collector looking at all of them over and over."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """No collection meanwhile. For short work that makes no garbage: half of what a plan of 10,000 steps costs."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
