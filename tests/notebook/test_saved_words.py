"""What a notebook keeps of what steps say: nothing."""

import json
import pathlib

from cerebelum_nb.notebook.widget import _without_words

FIXTURES = pathlib.Path(__file__).parents[2] / "js" / "fixtures"


def test_what_a_step_says_and_prints_while_it_runs_is_taken_out_of_what_is_saved():
    live = json.loads((FIXTURES / "pools.json").read_text("utf-8"))
    live["rows"][0]["doing"], live["rows"][1]["said"] = "canary-street", "canary-street"
    saved = _without_words(live)

    assert any(row["said"] for row in live["rows"][2:])  # what goes to the page still has it
    assert {(row["doing"], row["said"]) for row in saved["rows"]} == {("", "")}
    assert "canary-street" not in json.dumps(saved)
