import os
import stat

import pytest

from cerebelum_nb.errors import PlanError
from cerebelum_nb.notebook.keeping import lines_for, with_strategy, write

BEFORE = """# mine
[project]
name = "x"   # spaces   stay

[tool.cerebelum]
workers = 4

[tool.cerebelum.strategy]  # where
load   =  "local"    # quick
# process = "no"

[tool.other]
text = \"\"\"
[tool.cerebelum.strategy]
\"\"\"
"""


def test_a_step_that_is_named_gets_another_value_and_nothing_else_changes():
    after = with_strategy(BEFORE, {"load": "distributed"})

    assert after == BEFORE.replace('load   =  "local"    # quick', 'load   =  "distributed"    # quick')


def test_a_new_step_goes_to_the_end_of_its_table():
    after = with_strategy(BEFORE, {"pay": "gpu"})

    assert after == BEFORE.replace('# process = "no"\n', '# process = "no"\npay = "gpu"\n')


@pytest.mark.parametrize("before", ["", "[project]\nname = 'x'", "[project]\r\nname = 'x'\r\n", "\ufeff"[:0]])
def test_a_table_that_is_not_there_is_added_at_the_end(before):
    after = with_strategy(before, {"pay": "local"})
    newline = "\r\n" if "\r\n" in before else "\n"

    assert after.startswith(before)
    assert after.endswith(f'[tool.cerebelum.strategy]{newline}pay = "local"{newline}')


def test_names_that_are_no_bare_keys_are_quoted():
    assert lines_for({"prepare/clean data": 'po"ol'}) == ['"prepare/clean data" = "po\\"ol"']
    after = with_strategy(with_strategy("", {"a.b/ü": "local"}), {"a.b/ü": "distributed"})

    assert after == '[tool.cerebelum.strategy]\n"a.b/ü" = "distributed"\n'


def test_an_environment_has_a_table_of_its_own():
    after = with_strategy(BEFORE, {"load": "distributed"}, "production")

    assert after == BEFORE + '\n[tool.cerebelum.environments.production.strategy]\nload = "distributed"\n'


@pytest.mark.parametrize(
    "before",
    [
        '[tool.cerebelum]\nstrategy = {load = "local"}\n',
        '[tool.cerebelum]\nstrategy.load = "local"\n',
        '[tool.cerebelum.strategy]\nload = """\nlocal"""\n',
    ],
)
def test_what_is_written_otherwise_is_left_to_its_person(before):
    with pytest.raises(PlanError, match='write there yourself: load = "distributed"'):
        with_strategy(before, {"load": "distributed"})


def test_a_file_that_is_no_toml_is_not_touched(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_bytes(b"[project\n")
    with pytest.raises(PlanError, match="cannot be read"):
        write(file, {"load": "local"})

    assert file.read_bytes() == b"[project\n"
    assert os.listdir(tmp_path) == ["pyproject.toml"]


def test_a_file_keeps_its_rights_and_a_link_stays_one(tmp_path):
    real = tmp_path / "real.toml"
    real.write_bytes(BEFORE.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    link = tmp_path / "pyproject.toml"
    link.symlink_to(real)
    write(link, {"load": "distributed"})

    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.read_bytes() == BEFORE.replace("\n", "\r\n").replace('"local"', '"distributed"', 1).encode()
