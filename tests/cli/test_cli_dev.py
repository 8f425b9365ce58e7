"""`cerebelum dev`: live lines, the summary, and Ctrl-C."""

import re
import signal

import pytest


def test_a_step_that_takes_its_time_is_announced_before_it_ends(cli, line_of, tmp_path):
    gate = tmp_path / "open"
    with cli.start("dev", "gated.py", "--inputs", f'{{"gate": "{gate}"}}') as process:
        assert line_of(process, "gate [") == "  ⏳ gate [LOCAL] ...\n"
        assert process.poll() is None
        gate.touch()
        assert line_of(process, "gate [").startswith("  ✓ gate [LOCAL] ")
        assert process.wait(timeout=30) == 0


def test_the_summary_tells_the_total_and_both_shares(cli):
    inputs = '{"order": {"items": [{"price": 1}]}}'

    code, out, err = cli("dev", "--telemetry", "orders.py:order_workflow", "--inputs", inputs)

    assert (code, err) == (0, "")
    live, _, summary = out.partition("\n\n")
    assert live.index("  ⏳ check_inventory [DISTRIBUTED] ...\n") < live.index("  ✓ check_inventory [DISTRIBUTED] ")
    found = re.fullmatch(
        r"Summary:\n"
        r"  Total: \S+\n"
        r"  Local steps: 3 \(\S+, (\d+\.\d)%\)\n"
        r"  Distributed steps: 2 \(\S+, (\d+\.\d)%\)\n",
        summary,
    )
    assert found is not None, summary
    assert float(found[1]) + float(found[2]) == pytest.approx(100, abs=0.11)


def test_a_failed_run_names_what_failed_and_what_was_skipped(cli):
    code, out, err = cli("dev", "--telemetry", "orders.py", "--inputs", '{"order": {}}')

    assert code == 1
    assert out.endswith(
        "  Failed: validate_order\n  Skipped: check_inventory, calculate_tax, process_payment, finalize_order\n"
    )
    assert err.startswith("Error: step 'validate_order' failed")


def test_a_terminal_that_cannot_show_the_marks_gets_plain_ones(cli):
    code, out, _ = cli("dev", "orders.py", "--inputs", '{"order": {}}', PYTHONIOENCODING="ascii")

    assert code == 1
    assert "  x validate_order [LOCAL]" in out
    assert "  - finalize_order [LOCAL] skipped" in out
    assert out.isascii()


@pytest.mark.parametrize("executor", ["local", "distributed"])
def test_an_interrupt_cancels_the_run_in_one_line_and_exits_with_1(cli, line_of, tmp_path, executor):
    where = ("--strategy", f"gate={executor}")
    with cli.start("dev", "gated.py", "--inputs", f'{{"gate": "{tmp_path / "never"}"}}', *where) as process:
        line_of(process, "⏳ gate")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert out == ""
    cancelled, onward = err.splitlines(keepends=True)
    ran = "ran" if executor == "local" else "(ran|waited to run)"  # a worker may not have begun it yet
    assert re.fullmatch(
        rf"Cancelled: run 1 of gated was cancelled while gate {ran}; 1 of 2 steps had finished\n", cancelled
    )
    assert re.fullmatch(r"This is run (\S+); `cerebelum resume \S+ \1` goes on\n", onward)
