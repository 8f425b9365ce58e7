"""The cache from a terminal: what a line says, ``--fresh``, and ``purge --cache``."""

SLOW = """\
from cerebelum_nb import step, workflow

RATE = 2


@step(cache=True)
def slow(inputs):
    return inputs["n"] * RATE


@workflow
def work(wf):
    wf.timeline(slow)
"""


def test_a_terminal_says_what_came_from_the_cache_and_fresh_ignores_it(cli):
    slow, inputs = cli.write("slow.py", SLOW), ("--inputs", '{"n": 3}')

    def line(*args):
        code, out, _ = cli(*args, slow, *inputs)
        assert code == 0
        return next(line for line in out.splitlines() if "slow [LOCAL]" in line)

    assert line("run").endswith(", miss: first time")
    assert line("run").startswith("  ↺ slow [LOCAL] hit: same code, values and inputs as in run ")
    assert line("dev").startswith("  ↺ slow [LOCAL] hit: ")
    assert line("run", "--fresh").endswith(", not looked up: --fresh")
    assert line("dev", "--fresh").endswith(", not looked up: --fresh")
    cli.write("slow.py", SLOW.replace("RATE = 2", "RATE = 3"))
    assert line("run").endswith(", miss: global 'RATE' and module 'slow' changed")


def test_purge_empties_the_cache_and_asks_first(cli):
    slow = cli.write("slow.py", SLOW)
    cli("run", slow, "--inputs", '{"n": 3}')

    assert cli("purge", "--cache")[0] == 1  # nobody is there to say yes
    code, out, _ = cli("purge", "--cache", "--yes")
    assert (code, out) == (0, "1 result (0.0 MiB) removed.\n")
    assert cli("purge", "--cache")[1] == "no result removed.\n"
    assert "miss: first time" in cli("run", slow, "--inputs", '{"n": 3}')[1]
    code, _, err = cli("purge", "--cache", "--all")
    assert code == 2
    assert "--cache empties the cache" in err
