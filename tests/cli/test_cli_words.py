"""What a terminal says where something is wrong: a sentence, and no line of ours."""

import nbformat
import pytest


@pytest.mark.parametrize(
    "verb",
    [("replay", "x", "y"), ("replay", "x", "y", "--file", "orders.py"), ("worker",), ("runs",), ("run", "orders.py")],
)
def test_a_wrong_configuration_is_told_in_one_line_by_every_verb(cli, verb):
    cli.write("pyproject.toml", '[tool.cerebelum]\nworkers = "many"\n')
    del cli.env["CEREBELUM_HOME"]

    code, out, err = cli(*verb)

    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.endswith("workers in [tool.cerebelum] is not a number of worker processes from 1 to 256\n")
    assert err.count("\n") == 1


def test_what_does_nothing_yet_is_a_sentence_and_names_a_line_only_where_it_is_the_person_s(cli):
    cli.write("pyproject.toml", '[tool.cerebelum.pools.eu]\nslots = 1\nclearance = ["pii"]\n')
    cli.write(
        "flow.py",
        "from cerebelum_nb import step, workflow\n\n\n@step(cost=2)\ndef one(context):\n    return 1\n\n\n"
        "@workflow\ndef flow(wf):\n    wf.timeline(one)\n",
    )

    code, _, err = cli("run", "flow.py")

    assert code == 0
    mine, line, ours = err.splitlines()
    assert "flow.py:4: NotActiveYet: step 'one': cost" in mine
    assert line == "  @step(cost=2)"
    assert ours == "Warning: pools keep and show what does nothing in this version: eu (clearance)"


@pytest.mark.kernel
def test_what_does_nothing_yet_is_a_sentence_for_a_notebook_too(cli):
    cli.write("pyproject.toml", '[tool.cerebelum.pools.eu]\nslots = 1\nclearance = ["pii"]\n')
    cell = (
        "from cerebelum_nb import step, workflow\n\n\n@step\ndef one(context):\n    return 1\n\n\n"
        "@workflow\ndef flow(wf):\n    wf.timeline(one)"
    )
    cli.write("flow.ipynb", nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])))

    code, _, err = cli("run", "flow.ipynb")

    assert (code, err) == (0, "Warning: pools keep and show what does nothing in this version: eu (clearance)\n")
