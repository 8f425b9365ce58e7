"""What two environments do not have in common, and what of it matters."""

import os

import msgspec
import pytest

from cerebelum_nb import __version__
from cerebelum_nb.capture.environment import (
    Difference,
    Environment,
    as_table,
    check_fits,
    differences,
    distributions_of,
    here,
)
from cerebelum_nb.errors import ExecutorError

OURS = Environment(
    "CPython 3.12.4",
    "Linux x86_64",
    {"cerebelum-nb": "0.2.0", "cloudpickle": "3.1.2", "numpy": "2.4.6", "rich": "13.0"},
    "/opt/a",
    ("/opt/a", "/lib"),
    ("HOME", "PATH"),
)


def but(**changes):
    packages = {**OURS.packages, **changes.pop("packages", {})}
    return msgspec.structs.replace(OURS, packages={k: v for k, v in packages.items() if v}, **changes)


def test_this_process_fits_itself_and_says_no_values_of_variables(monkeypatch):
    monkeypatch.setenv("SECRET_OF_MINE", "xyzzy")
    mine = here()
    assert differences(mine, here()) == ()
    assert (mine.packages["cerebelum-nb"], mine.cwd) == (__version__, os.getcwd())
    assert "SECRET_OF_MINE" in mine.variables
    assert "xyzzy" not in repr(mine)


@pytest.mark.parametrize(
    ("theirs", "imports", "expected"),
    [
        (but(python="CPython 3.12.9"), (), Difference("python", "CPython 3.12.4", "CPython 3.12.9", False)),
        (but(python="CPython 3.11.4"), (), Difference("python", "CPython 3.12.4", "CPython 3.11.4", True)),
        (but(python="PyPy 3.12.4"), (), Difference("python", "CPython 3.12.4", "PyPy 3.12.4", True)),
        (but(platform="Linux aarch64"), (), Difference("platform", "Linux x86_64", "Linux aarch64", False)),
        (but(packages={"cerebelum-nb": "0.2.1"}), (), Difference("cerebelum-nb", "0.2.0", "0.2.1", True)),
        (but(packages={"cloudpickle": "3.0.0"}), (), Difference("cloudpickle", "3.1.2", "3.0.0", False)),
        (but(packages={"cloudpickle": "4.0.0"}), (), Difference("cloudpickle", "3.1.2", "4.0.0", True)),
        (but(packages={"numpy": "1.26.0"}), (), Difference("numpy", "2.4.6", "1.26.0", False)),
        (but(packages={"numpy": "1.26.0"}), ("numpy",), Difference("numpy", "2.4.6", "1.26.0", True)),
        (but(packages={"numpy": "2.0.0"}), ("numpy",), Difference("numpy", "2.4.6", "2.0.0", False)),
        (but(packages={"rich": ""}), ("numpy",), Difference("rich", "13.0", "-", False)),
        (but(packages={"rich": ""}), ("Rich",), Difference("rich", "13.0", "-", True)),
        (but(packages={"extra": "1"}), ("extra",), Difference("extra", "-", "1", False)),
        (but(cwd="/srv"), (), Difference("cwd", "/opt/a", "/srv", False)),
        (but(path=("/opt/a",)), (), Difference("path /lib", "yes", "-", False)),
        (but(variables=("HOME", "PATH", "TERM")), (), Difference("variable TERM", "-", "yes", False)),
    ],
)
def test_each_difference_is_named_and_judged(theirs, imports, expected):
    assert differences(OURS, theirs, imports) == (expected,)


def test_a_worker_that_cannot_read_steps_is_refused_with_all_differences_what_matters_first():
    theirs = but(python="CPython 3.9.1", packages={"numpy": "1.26.0"}, cwd="/srv")
    check_fits(OURS, but(cwd="/srv"), "worker 3")
    with pytest.raises(ExecutorError) as caught:
        check_fits(OURS, theirs, "worker 3 (pid 71)", ["numpy"])
    first, *table = str(caught.value).splitlines()
    assert first.startswith(
        "worker 3 (pid 71) cannot take steps of this notebook: it has python CPython 3.9.1, here CPython 3.12.4; "
        "numpy 1.26.0, here 2.4.6. "
    )
    assert table == [
        "   what    notebook        worker",
        "*  python  CPython 3.12.4  CPython 3.9.1",
        "*  numpy   2.4.6           1.26.0",
        "   cwd     /opt/a          /srv",
    ]
    assert table == as_table(differences(OURS, theirs, ["numpy"]))


def test_modules_are_found_by_the_distribution_they_come_from():
    installed = {"PIL": ["pillow"], "google": ["Google_Auth", "protobuf"]}
    assert distributions_of(["PIL.Image", "google", "mine"], installed) == {"pillow", "google-auth", "protobuf", "mine"}
    assert distributions_of(["msgspec"]) == {"msgspec"}
