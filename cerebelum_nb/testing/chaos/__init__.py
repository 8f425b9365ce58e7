"""Break things on purpose, and see that nothing is lost. For tests; POSIX only.

    from cerebelum_nb.testing import chaos

    ledger = chaos.Ledger(folder / "effects")      # steps write a line for each effect: ledger.note(context)
    with chaos.Kernels("my_program", folder) as kernels:
        died = kernels.run("first", str(folder), at=chaos.Point("attempt.started of pay", on_disk=True))
        went_on = kernels.run("second", str(folder))
    chaos.check(folder / ".cerebelum", ledger=ledger, most={"pay": 1})

Where: `Point`. Whom: `kill` and `frozen` (a worker, Core), `Kernels` (the kernel itself). The line between kernel and
Core: `Proxy` and `proxied`. The disk: `small_disk`. The clock: `clock_moved`. What was kept: `corrupt`. What must hold
after all of it: `check`, and `Watch` for what must not be left behind.

``python -m cerebelum_nb.testing.chaos --runs 500`` throws dice for all of it.

Nothing of this is in the product's way: the points are put into `Log` and `Journal` while a test asks for them.
"""

from cerebelum_nb.testing.chaos.checks import Broken, Watch, broken, check
from cerebelum_nb.testing.chaos.faults import Disk, clock_moved, cores, corrupt, frozen, kill, small_disk, workers_of
from cerebelum_nb.testing.chaos.kernels import Ended, Kernels
from cerebelum_nb.testing.chaos.ledger import Effect, Ledger
from cerebelum_nb.testing.chaos.points import Point, at
from cerebelum_nb.testing.chaos.proxy import Proxy, proxied

__all__ = [
    "Broken",
    "Disk",
    "Effect",
    "Ended",
    "Kernels",
    "Ledger",
    "Point",
    "Proxy",
    "Watch",
    "at",
    "broken",
    "check",
    "clock_moved",
    "cores",
    "corrupt",
    "frozen",
    "kill",
    "proxied",
    "small_disk",
    "workers_of",
]
