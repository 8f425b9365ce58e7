"""Plain IPython: no chart, so a line says what pauses and what to type."""

import subprocess
import sys

CODE = '''
import sys, threading
from IPython.core.interactiveshell import InteractiveShell

told = threading.Event()

class Terminal:
    """What a person sees, heard as it is written."""
    encoding = "utf-8"
    def write(self, text):
        if "waits for approval" in text:
            told.set()
        return sys.__stdout__.write(text)
    def flush(self):
        sys.__stdout__.flush()

STEPS = """
from cerebelum_nb import step, workflow
from cerebelum_nb.helpers import wait_for_approval

@step
async def ship(context):
    return await wait_for_approval("charge the card")

@workflow
def flow(wf): wf.timeline(ship)
"""
sys.stdout = Terminal()
ip = InteractiveShell.instance()
for cell in ("%load_ext cerebelum_nb", STEPS, "run = %cerebelum_run flow --detach"):
    assert ip.run_cell(cell, store_history=True).success
assert told.wait(20)
ip.user_ns["run"].approve("ship")
ip.user_ns["run"].wait(20)
'''


def test_a_question_is_a_line_with_its_answer(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True, encoding="utf-8", timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip

    line = "  ⏸ ship [LOCAL] waits for approval: charge the card - %cerebelum approve 1 ship"
    assert done.stdout.splitlines().count(line) == 1, done.stdout + done.stderr
