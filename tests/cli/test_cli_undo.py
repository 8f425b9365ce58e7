"""Undoing from the command line: what is told, the exit codes, and an interrupt."""

import signal

import pytest

PROGRAM = """\
import time
from pathlib import Path

from cerebelum_nb import step, workflow


def refund(context, result, inputs):
    print("refunding")
    time.sleep(inputs.get("slow", 0))
    if not Path("open").exists() and inputs.get("bank"):
        raise TypeError("the bank is closed")


@step(compensate=refund)
def charge(context):
    return "c1"


@step(compensate=lambda context: None)
def reserve(context, charge):
    return "r1"


@step
def ship(context, reserve, inputs):
    print("shipping")
    time.sleep(inputs.get("slow", 0))
    raise ValueError("no ship")


@workflow
def orders(wf):
    wf.timeline(charge >> reserve >> ship)
"""


@pytest.fixture
def program(cli):
    return cli.write("orders.py", PROGRAM)


def test_what_is_undone_is_told_line_by_line_and_the_exit_code_is_1(cli, program):
    code, out, err = cli("dev", "--telemetry", program)

    lines = [line.split(" [")[0].strip() for line in out.splitlines() if "|" not in line]
    at = lines.index("Undoing (ship failed):")
    assert lines[at + 1 : at + 3] == ["↶ undo reserve", "↶ undo charge"]
    assert "Undone: charge, reserve" in out
    run = cli("runs")[1].splitlines()[1].split()[0]
    onward = f"This is run {run}; `cerebelum resume orders.py:orders {run}` goes on"
    assert (code, err.splitlines()[-2:]) == (1, ["Undone: reserve, charge", onward])


def test_what_is_left_over_is_named_and_compensate_undoes_it(cli, program, tmp_path):
    code, _, err = cli("run", program, "--inputs", '{"bank": true}')
    key = next(line for line in err.splitlines() if line.startswith("  charge (idempotency key"))
    run = cli("runs")[1].splitlines()[1].split()[0]
    again = f"`cerebelum compensate orders.py:orders {run}` tries again"
    assert (code, "step 'ship' failed" in err, "runs[" in err) == (1, True, False)
    assert err.splitlines()[-2:] == ["Undone: reserve", f"This is run {run}; {again}"]
    assert key.endswith("): TypeError: the bank is closed")
    assert "compensation_failed" in cli("runs")[1]

    again, _, told = cli("compensate", program)
    assert (again, key in told, "step 'ship'" in told) == (1, True, False)

    (tmp_path / "open").touch()
    code, out, err = cli("compensate", program)
    assert (code, err) == (0, "")
    assert "↶ undo charge" in out
    assert "undo reserve" not in out
    assert cli("compensate", program)[0::2] == (2, "Error: no run of 'orders' is left to be undone\n")


def test_a_run_that_is_to_stop_is_left_and_can_be_undone(cli, program):
    code, out, err = cli("run", program, "--on-failure", "stop")
    assert (code, "undo" in out, "Not undone, as on_failure='stop' says: charge, reserve" in err) == (1, False, True)

    assert cli("compensate", program)[0] == 0


def interrupted(cli, program, line_of, times):
    process = cli.start("dev", program, "--inputs", '{"slow": 2}')
    line_of(process, "shipping")
    process.send_signal(signal.SIGINT)
    told = [process.stderr.readline()]
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
    told += process.communicate(timeout=30)[1].splitlines(keepends=True)
    return process.returncode, "".join(told)


def test_an_interrupt_undoes_before_the_program_ends(cli, program, line_of):
    code, err = interrupted(cli, program, line_of, 1)

    assert (code, err.splitlines()[:-1]) == (
        1,
        [
            "Stopping, and undoing what it did; a further interrupt stops that too.",
            "Cancelled: run 1 of orders was cancelled; 2 of 3 steps had finished",
            "Undone: reserve, charge",
        ],
    )
    assert "compensated" in cli("runs")[1]


def test_a_second_interrupt_ends_it_and_the_rest_can_be_undone_later(cli, program, line_of):
    code, _ = interrupted(cli, program, line_of, 2)

    assert code == 1
    assert "compensated" not in cli("runs")[1]
    assert cli("compensate", program)[0] == 0
