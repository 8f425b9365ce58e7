"""The command line as a person calls it: another process, its own folder, a deadline."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ORDERS = '''\
"""Orders, as in the specification's first example."""

import asyncio

from cerebelum_nb import step, workflow


@step(executor="local")
async def validate_order(context, inputs):
    if not inputs["order"].get("items"):
        raise ValueError("Empty order")
    print("valid")
    return inputs["order"]


@step(executor="distributed")
async def check_inventory(context, validate_order):
    print("looking")
    await asyncio.sleep(0.02)
    return {"available": True}


@step(executor="local")
async def calculate_tax(context, validate_order):
    return sum(item["price"] for item in validate_order["items"]) * 1.5


@step(executor="distributed")
async def process_payment(context, calculate_tax):
    return {"paid": calculate_tax}


@step(executor="local")
async def finalize_order(context, process_payment, check_inventory):
    return process_payment | check_inventory


@workflow
def order_workflow(wf):
    wf.timeline(validate_order >> [check_inventory, calculate_tax] >> process_payment >> finalize_order)
'''

GATED = """\
import pathlib
import time

from cerebelum_nb import step, workflow


@step
def first(context):
    return 1


@step
def gate(context, first, inputs):
    while not pathlib.Path(inputs["gate"]).exists():
        time.sleep(0.01)
    return first + 1


@workflow
def gated(wf):
    wf.timeline(first >> gate)
"""


class Cli:
    """Calls the command line in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.env = os.environ | {"CEREBELUM_HOME": str(folder / "home"), "PYTHONIOENCODING": "utf-8"}

    def write(self, name, text):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, "utf-8")
        return name

    def start(self, *args, **env):
        return subprocess.Popen(
            [sys.executable, "-m", "cerebelum_nb.cli", *args],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def __call__(self, *args, **env):
        """The exit code, what it printed, and what it printed as an error."""
        with self.start(*args, **env) as process:
            out, err = process.communicate(timeout=90)
            return process.returncode, out, err


@pytest.fixture
def cli(tmp_path):
    made = Cli(tmp_path)
    made.write("orders.py", ORDERS)
    made.write("gated.py", GATED)
    return made


@pytest.fixture
def line_of():
    """Reads a process's output up to a line that holds a text; the process is killed when that takes too long."""

    def read(process, text, seconds=60):
        guard = threading.Timer(seconds, process.kill)
        guard.start()
        seen = []
        try:
            for line in process.stdout:
                seen.append(line)
                if text in line:
                    return line
        finally:
            guard.cancel()
        raise AssertionError(f"{text!r} never came:\n{''.join(seen)}{process.stderr.read()}")

    return read
