"""`%load_ext cerebelum_nb`: registers magics, how runs are shown, how errors look, and what Tab completes.

Nothing heavy is imported here: sessions, gRPC and widgets come with the first cell that needs them.
"""

from typing import Any

from cerebelum_nb.dsl.registry import registry
from cerebelum_nb.dsl.runs import runs
from cerebelum_nb.notebook import completion, failures, shown
from cerebelum_nb.notebook.claims import Claims
from cerebelum_nb.notebook.magics import CerebelumMagics
from cerebelum_nb.notebook.stale import Seen


def load(ip: Any) -> None:
    """Make a notebook ready; a second time changes nothing.

    Args:
        ip: The running IPython shell.
    """
    magics = ip.magics_manager.registry.get(CerebelumMagics.__name__)
    if magics is not None:
        return
    claims, seen = Claims(ip, registry), Seen()
    claims.install()
    ip.events.register("post_run_cell", seen.look)
    magics = CerebelumMagics(ip, claims, seen)
    ip.register_magics(magics)
    failures.install(ip)
    completion.install(ip)
    shown.install(ip)
    ip.user_ns.setdefault("runs", runs)  # the lines that a panel shows name their run by it
    ip.display_formatter.ipython_display_formatter.for_type_by_name("cerebelum_nb.runtime.run", "Run", magics.show)
