"""Two runs of a project beside each other, from its journal."""

TIMED = """\
import time

from cerebelum_nb import step, workflow


@step
def load(context, inputs):
    return inputs["wait"]


@step
def train(context, load):
    time.sleep(load)
    if load > 5:
        raise ValueError(load)
    return load


@workflow
def flow(wf):
    wf.timeline(load >> train)
"""


def runs_of(cli, *waits):
    cli.write("timed.py", TIMED)
    for wait in waits:
        assert cli("run", "timed.py", "--inputs", f'{{"wait": {wait}}}')[0] == 0
    return [line.split()[0] for line in reversed(cli("runs")[1].splitlines()[1:])]


def test_a_run_is_shown_beside_the_one_before_it_or_beside_a_named_one(cli):
    first, second, third = runs_of(cli, 0.6, 0.02, 0.02)

    code, out, err = cli("compare", second)
    title, _, _, load, train = out.splitlines()
    assert (code, err) == (0, "")
    assert title.startswith(f"{second} of flow beside {first}: ")
    assert (load.split()[0], train.split()[0]) == ("load", "train")
    assert train.split()[-2].startswith("-")
    assert cli("compare", third, first)[1].startswith(f"{third} of flow beside {first}: ")


def test_what_cannot_be_compared_is_said_and_nothing_else(cli):
    (only,) = runs_of(cli, 0)

    code, out, err = cli("compare", only)
    assert (code, out) == (2, "")
    assert f"{only} is the first run of flow" in err
    code, out, err = cli("compare", "nothing-like-it")
    assert (code, out) == (2, "")
    assert "nothing-like-it" in err
