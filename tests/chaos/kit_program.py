"""What kernels of these tests do."""

import os
import subprocess
import sys
import time
from pathlib import Path

from cerebelum_nb import Session, step, workflow
from cerebelum_nb.config import Settings
from cerebelum_nb.testing.chaos import Disk, Ledger


@step
async def one(context):
    Ledger(context.inputs["ledger"]).note(context)
    return 1


@step
def two(context, one):
    Ledger(context.inputs["ledger"]).note(context)
    return one + 1


@workflow
def steps(wf):
    wf.timeline(one >> two)


def run(folder):
    session = Session(Settings(home=Path(folder) / "home"))
    made = session.run(steps, {"ledger": f"{folder}/ledger"})
    made.wait(20, echo=False)
    session.close()
    return made.status


def fails():
    raise ValueError("on purpose")


def says_nothing():
    os._exit(3)


def hangs():
    time.sleep(600)


def leaves_a_process_and_a_directory():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    left = Path(os.environ["TMPDIR"], "cerebelum-left")
    left.mkdir()
    (left / "something").touch()  # the next Core removes empty ones, after a while
    return child.pid


def writes_on_a_full_disk(folder):
    """What came of writing before, while and after a disk without a mount of its own is full."""
    disk, said = Disk(Path(folder), mounted=False), []
    for act in (lambda: None, disk.fill, disk.free):
        act()
        try:
            Path(folder, "file").write_bytes(b"x" * 100)
            said.append("")
        except OSError as exc:
            said.append(type(exc).__name__)
    return said
