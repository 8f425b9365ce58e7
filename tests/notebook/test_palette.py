"""The chart without a script looks as the widget does: one rule, written twice, held together here."""

import json
import re
from pathlib import Path

import pytest

from cerebelum_nb.notebook import chart, palette
from tests.notebook.test_chart import fixture

JS = Path(__file__).parents[2] / "js"
RULE = (JS / "src" / "palette.ts").read_text("utf-8")


def test_the_colours_are_those_of_the_widget():
    css = (JS / "src" / "css" / "base.css").read_text("utf-8")
    theirs = dict(re.findall(r"--cb-(local|dist|pool-\d|undo|bad|grey): (#[0-9a-f]{6});", css))

    assert theirs == palette.COLOURS


def test_the_patterns_are_those_of_the_widget():
    table = re.search(r"const LOOKS.*?= (\{.*?\n\});", RULE, re.DOTALL)
    entries = re.findall(r"(\w+): \{ size: (\d+), turn: (\d+), parts: (\[\[.*?\]\]) \}", table[1])
    theirs = {name: (int(size), int(turn), tuple(map(tuple, json.loads(parts)))) for name, size, turn, parts in entries}

    assert theirs == palette.LOOKS
    assert tuple(json.loads(re.search(r"POOL_LOOKS.*?= (\[.*?\]);", RULE)[1])) == palette.POOL_LOOKS
    assert re.findall(r"const (?:COLOURS|PATTERNS) = (\d+);", RULE) == [
        str(palette.POOL_COLOURS),
        str(len(palette.POOL_LOOKS)),
    ]


def test_a_pool_looks_as_in_the_widget_whatever_it_is_called():
    known = json.loads((JS / "fixtures" / "looks.json").read_text("utf-8"))  # js/test/filter.test.ts reads it too

    assert len(set(known.values())) > 8
    assert {name: palette.pool_paint(name) for name in known} == known


def test_three_pools_have_three_looks_in_the_picture_and_undoing_one_of_its_own():
    drawn = chart.svg(*fixture("pools"))
    undone = chart.svg(*fixture("undone"))

    used = set(re.findall(r'height="15"[^>]* fill="url\(#([\w-]+)\)"', drawn))
    assert {palette.pool_paint(name) for name in ("gpu-worker-pool", "cpu-eu", "spark")} <= used
    assert 'fill="url(#undo)"' in undone
    for made in (drawn, undone):
        assert set(re.findall(r"url\(#([\w-]+)\)", made)) <= set(re.findall(r'<pattern id="([\w-]+)"', made))


@pytest.mark.parametrize("found", ["dist", "undo", "grey", "badhatch", "pool-0-0", "pool-4-3"])
def test_what_is_not_in_the_kernel_has_a_pattern_of_its_colour(found):
    made = palette.patterns([found, "local", "bad"])

    assert made.count("<pattern ") == 1
    assert f'<pattern id="{found}"' in made
    assert f'fill="{palette.colour(found)}"' in made
