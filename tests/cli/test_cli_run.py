"""`cerebelum run FILE:WORKFLOW`: what it prints and how it exits."""

import re

import pytest

ORDER = '{"order": {"items": [{"price": 10}, {"price": 4}]}}'


def without_times(text):
    return re.sub(r"\d+(\.\d+)?(ms|s)\b", "TIME", text)


def test_a_hybrid_run_prints_a_line_for_each_step_its_prints_and_the_value_last(cli):
    code, out, err = cli("run", "orders.py:order_workflow", "--inputs", ORDER)

    assert (code, err) == (0, "")
    lines = without_times(out).splitlines()
    assert lines[0] == "Executing workflow: order_workflow"
    assert lines[-1] == "{'paid': 21.0, 'available': True}"
    assert sorted(lines[1:-1]) == sorted(
        [
            "validate_order | valid",
            "  ✓ validate_order [LOCAL] TIME",
            "check_inventory | looking",
            "  ✓ check_inventory [DISTRIBUTED] TIME",
            "  ✓ calculate_tax [LOCAL] TIME",
            "  ✓ process_payment [DISTRIBUTED] TIME",
            "  ✓ finalize_order [LOCAL] TIME",
        ]
    )
    assert lines.index("check_inventory | looking") < lines.index("  ✓ check_inventory [DISTRIBUTED] TIME")


def test_the_only_workflow_of_a_file_needs_no_name_and_runs_where_the_strategy_says(cli):
    strategy = "check_inventory=local,process_payment=local"

    code, out, _ = cli("run", "orders.py", "--inputs", ORDER, "--strategy", strategy)

    assert code == 0
    assert "DISTRIBUTED" not in out


def test_until_runs_a_step_and_what_it_needs_and_prints_its_value(cli):
    code, out, _ = cli("run", "orders.py", "--inputs", ORDER, "--until", "calculate_tax")

    assert code == 0
    assert out.splitlines()[-1] == "21.0"
    assert "process_payment" not in out


def test_a_failed_step_is_told_with_its_own_line_and_exits_with_1(cli):
    code, out, err = cli("run", "orders.py", "--inputs", '{"order": {}}')

    assert code == 1
    assert "✗ validate_order [LOCAL]" in out
    assert "ValueError: Empty order" in out
    assert "- finalize_order [LOCAL] skipped: validate_order did not succeed" in out
    assert err.splitlines()[0] == "Error: step 'validate_order' failed (local, attempt 1): ValueError: Empty order"
    assert 'orders.py", line 11, in validate_order' in err
    assert "cerebelum_nb" not in err


def test_what_a_step_prints_as_an_error_goes_to_standard_error(cli):
    cli.write(
        "noisy.py",
        "import sys\nfrom cerebelum_nb import step, workflow\n"
        "@step\ndef shout(context):\n    print('two\\nlines', file=sys.stderr)\n"
        "@workflow\ndef noisy(wf):\n    wf.timeline(shout)\n",
    )

    code, out, err = cli("run", "noisy.py")

    assert (code, err) == (0, "shout | two\nshout | lines\n")
    assert out.splitlines()[-1] == "None"


def test_inputs_may_stand_in_a_file(cli):
    cli.write("order.json", ORDER)

    code, out, _ = cli("run", "orders.py", "--inputs", "@order.json", "--until", "calculate_tax")

    assert (code, out.splitlines()[-1]) == (0, "21.0")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["order.py:order_workflow"], "there is no file order.py. Did you mean 'orders.py'?"),
        (["elsewhere/orders.py:w"], "there is no file elsewhere/orders.py. There is no folder elsewhere either."),
        (["orders:order_workflow"], "names no .py or .ipynb file: write FILE:WORKFLOW"),
        (
            ["orders.py:order_workflo"],
            "orders.py has no workflow 'order_workflo'. Did you mean 'order_workflow'? Workflows in orders.py: order_workflow.",
        ),
        (
            ["orders.py", "--inputs", "{'order': 1}"],
            "Expecting property name enclosed in double quotes at character 2\n",
        ),
        (["orders.py", "--inputs", '{"order": }'], "Expecting value at character 11\n"),
        (["orders.py", "--inputs", '{"a": 1,\n "b"}'], "at line 2, character 5\n"),
        (["orders.py", "--inputs", "[1, 2]"], '--inputs is a JSON object like {"order": ...}, not an array: [1, 2]'),
        (["orders.py", "--inputs", "@none.json"], "--inputs @none.json: the file cannot be read"),
        (
            ["orders.py", "--strategy", "local"],
            "--strategy takes pairs like step=local,default=distributed, not 'local'",
        ),
        (["orders.py", "--strategy", "calculate_tax=lokal"], "there is no executor 'lokal'"),
        (["orders.py", "--strategy", "calculate_tx=local"], "Did you mean 'calculate_tax'?"),
        (
            ["orders.py", "--until", "finalise_order"],
            "has no step 'finalise_order' to stop at. Did you mean 'finalize_order'?",
        ),
        (["orders.py", "--input", "{}"], "No such option"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_runs_and_exits_with_2(cli, args, said):
    code, out, err = cli("run", *args)

    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_file_with_several_workflows_asks_which(cli):
    cli.write("two.py", "from cerebelum_nb import workflow\n@workflow\ndef a(wf): ...\n@workflow\ndef b(wf): ...\n")

    assert cli("run", "two.py") == (2, "", "Error: which workflow? Workflows in two.py: a, b. Write two.py:a\n")


def test_a_file_without_a_workflow_says_so(cli):
    cli.write("none.py", "")

    code, _, err = cli("run", "none.py:w")

    assert code == 2
    assert "none.py has no workflow" in err


def test_an_error_in_the_file_shows_the_files_own_lines(cli):
    cli.write("broken.py", "import orders\n\n\ndef load():\n    return 1 / 0\n\n\nload()\n")

    code, _, err = cli("run", "broken.py")

    assert code == 2
    assert err.startswith("Error: broken.py cannot be loaded.\n")
    assert 'broken.py", line 8, in <module>\n    load()\n' in err
    assert 'broken.py", line 5, in load\n    return 1 / 0\n' in err
    assert "importlib" not in err
    assert "cerebelum_nb" not in err


def test_a_syntax_error_shows_its_line(cli):
    cli.write("wrong.py", "x = 1\nx = = 2\n")

    code, _, err = cli("run", "wrong.py")

    assert code == 2
    assert 'wrong.py", line 2\n    x = = 2\n' in err
    assert err.rstrip().endswith("SyntaxError: invalid syntax")


def test_a_step_written_wrongly_is_told_in_one_line_with_its_place(cli):
    cli.write("bad.py", "from cerebelum_nb import step\n\n\n@step(executr='local')\ndef a(context): ...\n")

    code, _, err = cli("run", "bad.py")

    assert code == 2
    assert err.startswith("Error: bad.py, line 4: @step has no option 'executr'.")
    assert err.count("\n") == 1


def test_a_file_that_exits_while_it_loads_says_what_to_do(cli):
    cli.write("script.py", "import sys\nsys.exit(3)\n")

    code, _, err = cli("run", "script.py")

    assert (code, err.count("\n")) == (2, 1)
    assert "sys.exit(3)" in err
    assert "__main__" in err


def test_neighbours_of_the_file_can_be_imported_here_and_on_workers(cli):
    cli.write("flows/shop_prices.py", "FACTOR = 3\n")
    cli.write(
        "flows/pricing.py",
        "import shop_prices\nfrom cerebelum_nb import step, workflow\n"
        "@step(executor='distributed')\ndef price(context, inputs):\n    return inputs['n'] * shop_prices.FACTOR\n"
        "@workflow\ndef pricing(wf):\n    wf.timeline(price)\n",
    )

    code, out, err = cli("run", "flows/pricing.py:pricing", "--inputs", '{"n": 7}')

    assert (code, err, out.splitlines()[-1]) == (0, "", "21")


def test_a_file_called_like_a_module_of_python_runs_here_and_on_workers(cli):
    cli.write(
        "statistics.py",
        "from cerebelum_nb import step, workflow\nFACTOR = 2\n"
        "def double(n):\n    return n * FACTOR\n"
        "@step(executor='distributed')\ndef there(context, inputs):\n    return double(inputs['n'])\n"
        "@workflow\ndef flow(wf):\n    wf.timeline(there)\n",
    )

    code, out, err = cli("run", "statistics.py", "--inputs", '{"n": 7}')

    assert (code, err, out.splitlines()[-1]) == (0, "", "14")


def test_a_file_in_a_package_may_import_relatively(cli):
    cli.write("shop/__init__.py", "")
    cli.write("shop/rates.py", "RATE = 5\n")
    cli.write(
        "shop/flow.py",
        "from cerebelum_nb import step, workflow\nfrom .rates import RATE\n"
        "@step(executor='distributed')\ndef rate(context):\n    return RATE\n"
        "@workflow\ndef rated(wf):\n    wf.timeline(rate)\n",
    )

    code, out, err = cli("run", "shop/flow.py:rated")

    assert (code, err, out.splitlines()[-1]) == (0, "", "5")


def test_help_and_version_tell_what_there_is(cli):
    code, out, _ = cli("--help")
    assert code == 0
    assert "run " in out
    assert "dev " in out

    code, out, _ = cli("run", "--help")
    assert code == 0
    for word in ("--inputs", "--strategy", "--until", "defining cells are run", "Exit codes"):
        assert word in out

    assert cli("--version")[:2] == (0, "cerebelum, version 0.2.0\n")


def test_a_verb_nobody_knows_gets_the_nearest(cli):
    code, _, err = cli("rum", "orders.py")

    assert code == 2
    assert "run" in err
