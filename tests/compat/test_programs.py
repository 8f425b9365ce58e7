"""Files written for the SDK run here after nothing but their import was changed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAMS = sorted(path.stem for path in (HERE / "programs").glob("*.py"))
DEADLINE_S = 60


def ours(program):
    """A program with its import changed."""
    text = (HERE / "programs" / f"{program}.py").read_text("utf-8")
    return re.sub(r"^from cerebelum\b", "from cerebelum_nb", text, flags=re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_written_for_the_sdk_runs_when_only_its_import_is_changed(program, tmp_path):
    file = tmp_path / f"{program}.py"
    file.write_text(ours(program), "utf-8")

    ran = subprocess.run(
        [sys.executable, file], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )

    assert (ran.stdout, ran.returncode) == ((HERE / "expected" / f"{program}.txt").read_text("utf-8"), 0), ran.stderr
