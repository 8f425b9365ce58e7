"""What gets installed: the built front end, and the setting that keeps clicks alive while a cell runs."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTING = "share/jupyter/lab/settings/overrides.d/cerebelum_nb.json"
WANTED = {"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "perCommTarget"}}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this checkout, made where no node is on the path."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    (made,) = out.glob("*.whl")
    return zipfile.ZipFile(made)


def test_a_wheel_is_built_without_node_and_holds_the_front_end(wheel):
    names = set(wheel.namelist())

    assert {"cerebelum_nb/notebook/static/widget.js", "cerebelum_nb/notebook/static/widget.css"} <= names
    assert not [name for name in names if name.startswith(("tests/", "js/", "notebooks/"))]


def test_a_wheel_brings_the_setting_for_jupyterlab(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(SETTING)]

    assert json.loads(wheel.read(name)) == WANTED


def test_an_editable_install_brings_it_too():
    assert json.loads((Path(sys.prefix) / SETTING).read_text()) == WANTED
