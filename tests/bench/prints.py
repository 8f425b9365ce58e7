"""What it costs a remote step to print 100 MB, beside the same step with its prints to nowhere."""

import statistics
from typing import Any

from table import line

from cerebelum_nb import Session, step, workflow

LINES = 1_000_000
PRINTS = """
import os, time
def talks(context, inputs):
    out = open(os.devnull, "w") if inputs["null"] else None
    line, began = "x" * 99, time.perf_counter()
    for _ in range({LINES}):
        print(line, file=out)
    return time.perf_counter() - began
"""


def print_rows(session: Session) -> None:
    """Seconds of the step's own time, of the whole attempt, and what the events hold of it."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(PRINTS.replace("{LINES}", str(LINES)), space)
    talks = workflow(name="talks")(lambda wf: wf.timeline(step(executor="distributed")(space["talks"])))

    def ran(null: bool) -> tuple[float, float, int]:
        run = session.run(talks, {"null": null})
        run.wait(echo=False)
        own = run.outputs["talks"]
        told = sum(len(text) for _, _, text in run.printed()[1])
        return own, run.state.ended_at - run.state.started_at, told

    ran(True)
    quiet, loud = [ran(True) for _ in range(3)], [ran(False) for _ in range(3)]
    own, whole = (statistics.median(each[i] for each in loud) for i in (0, 1))
    null, null_whole = (statistics.median(each[i] for each in quiet) for i in (0, 1))
    line(
        "100 MB of prints on a worker, in the step", own, "s", f"to {null:.2f} s with prints to nowhere: at most twice"
    )
    line("  until its result is here", whole, "s", f"to {null_whole:.2f} s")
    line("  characters that events and browser get", loud[-1][2] / 2**20, "MiB", "")
