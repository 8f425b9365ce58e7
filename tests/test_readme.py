"""What the README says about places, workers and replay is done as it stands there; every command in it is understood."""

import ast
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from cerebelum_nb.cli.__main__ import cerebelum
from cerebelum_nb.config import Settings, from_environment
from cerebelum_nb.notebook.arguments import read_line
from cerebelum_nb.notebook.magics import RUN_OPTIONS, STEP_OPTIONS, WORKFLOW_OPTIONS
from cerebelum_nb.notebook.verbs import _DO

sys.path.insert(0, str(Path(__file__).parent / "notebook"))

from kerneldriver import Kernel

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAGICS = {"%cerebelum_run": RUN_OPTIONS, "%%cerebelum_step": STEP_OPTIONS, "%%cerebelum_workflow": WORKFLOW_OPTIONS}
INPUTS = '{"order": {"items": [{"price": 2}]}}'
NETWORK = "10.0.0.5:7801"  # where the README's Core listens


def section(title):
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(title, language):
    return [text for found, text in FENCE.findall(section(title)) if found == language]


def cells(text):
    """The lines of a block, each as a cell of its own, without remarks."""
    return [line.partition("  #")[0].rstrip() for line in text.splitlines() if line.strip()]


def in_a_line(text):
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(FENCE, "", text))


def commands(begin):
    """All that the README has people type, in blocks and in sentences, that begins so."""
    now = README.partition("\n## Not there yet\n")[0]
    typed = [line for _, block in FENCE.findall(now) for line in cells(block)] + in_a_line(now)
    return sorted({" ".join(line.split()) for line in typed if re.match(begin, line)})


# -- every command is understood


@pytest.mark.parametrize("line", commands(r"%cerebelum "))
def test_a_verb_in_the_readme_is_one_and_takes_what_stands_there(line):
    verb, _, rest = line.removeprefix("%cerebelum ").partition(" ")
    _, options, most = _DO[verb]

    assert len(read_line(rest, options, "").words) <= most


@pytest.mark.parametrize("line", commands(r"(\w+ = )?%%?cerebelum_"))
def test_a_magic_in_the_readme_is_one_and_takes_what_stands_there(line):
    magic, _, rest = re.sub(r"^\w+ = ", "", line).partition(" ")

    read_line(rest, MAGICS[magic], "")


@pytest.mark.parametrize("line", commands(r"cerebelum [a-z]"))
def test_a_command_in_the_readme_is_one_and_takes_what_stands_there(line):
    command, words = cerebelum, shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]

    if words:  # a name alone in a sentence is that
        command.make_context("cerebelum", words)


@pytest.mark.parametrize("table", [text for found, text in FENCE.findall(README) if found == "toml"])
def test_a_table_of_the_readme_is_understood(table, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(table, "utf-8")
    monkeypatch.chdir(tmp_path)

    assert from_environment() != Settings()


def test_there_are_commands_to_look_at():
    assert [len(commands(begin)) > 2 for begin in ("%cerebelum ", "%%?cerebelum_", "cerebelum ")] == [True] * 3


# -- and what is said of places is done


@pytest.fixture
def kernel(tmp_path):
    started = []

    def start():
        made = Kernel(env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home")}, load=False)
        started.append(made)
        made(f"%cd -q {tmp_path}")
        return made

    yield start
    for made in started:
        made.stop()


def ran(kernel, lines):
    """Each line as a cell; what the last one gives."""
    for line in lines:
        answer = kernel(line.replace("{...}", INPUTS))
    return answer


@pytest.mark.kernel
def test_the_first_cells_and_the_lines_of_python_below_them(kernel):
    nb = kernel()
    first, second = [text for language, text in FENCE.findall(README) if language == "python"][:2]

    run = nb(f"{first}\nrun.outputs")
    assert ast.literal_eval(run.value) == {
        "validate_order": {"items": ["pencil", "notebook"]},
        "check_inventory": {"items": 2, "available": True},
    }
    ran(nb, cells(second))
    assert nb("runs[-1].wait(30), runs[-1].status").value == "(True, 'succeeded')"
    assert 'runs[4].rerun("check_inventory", executor="local")' in README
    moved = nb('again = runs[1].rerun("check_inventory", executor="local")\nagain.wait()\nagain.rows()[1].where')
    assert moved.value == "'local'"


@pytest.mark.kernel
def test_pools_are_as_declared_and_change_by_the_lines(kernel, tmp_path):
    (table,) = blocks("Pools", "toml")
    (lines,) = blocks("Pools", "python")
    (tmp_path / "pyproject.toml").write_text(table, "utf-8")
    nb = kernel()
    nb("%load_ext cerebelum_nb")
    nb("%%cerebelum_step here --executor gpu-worker-pool\nimport os\nos.environ['CUDA_VISIBLE_DEVICES'], os.getpid()")
    nb("%%cerebelum_step there --executor local-cpu-intensive\nimport os\nos.getpid()")
    nb("%%cerebelum_workflow both\n[here, there]")

    device = nb("run = %cerebelum_run both\nrun.outputs['here'][0], len({*run.outputs.values()})").value
    said = [nb(line) for line in cells(lines)]
    python = [line for line in in_a_line(section("Pools")) if "current" in line]

    assert device == "('0', 2)"
    assert said[0].out == "pool gpu-worker-pool has 3 workers, with CUDA_VISIBLE_DEVICES in their environment\n"
    assert [line.split()[0] for line in said[1].value.splitlines()].count("gpu-worker-pool") == 3
    assert said[2].out == "pool gpu-worker-pool has 2 workers, with CUDA_VISIBLE_DEVICES in their environment\n"
    assert re.fullmatch(r"gpu-worker-pool: Core \(pid \d+\) runs since [\d:]+, 2 workers\n", said[3].out)
    assert len(python) == 2
    more = [line.replace("{...}", "{'CARD': '7'}") for line in reversed(python)]
    assert "slots=4" in ran(nb, more).value
    ran(nb, cells("%cerebelum core stop"))


@pytest.mark.kernel
def test_what_a_step_displays_is_shown_by_the_lines(kernel):
    pytest.importorskip("matplotlib")
    nb = kernel()
    (lines,) = blocks("What steps print and show", "python")
    nb("%load_ext cerebelum_nb")
    nb(
        "%%cerebelum_step plot --executor distributed\nimport matplotlib.pyplot as plt\nprint('drawn')\nplt.plot([1, 2])\n1"
    )
    nb("%%cerebelum_workflow plots\nplot")

    told = nb("run = %cerebelum_run plots")
    shown, raw, printed = (nb(line) for line in cells(lines))

    assert told.out.splitlines()[-1].endswith("show it in a cell: runs[1].displayed('plot')")
    assert shown.value.startswith("<Figure")
    assert raw.value.startswith(r"b'\x89PNG")
    assert printed.value == r"'drawn\n<Figure size 640x480 with 1 Axes>\n'"


class Program:
    """A command of the README's, with our own Python, until the end of a test."""

    def __init__(self, line, folder):
        words = [sys.executable, "-m", "cerebelum_nb.cli", *shlex.split(line)[1:]]
        env = {**os.environ, "CEREBELUM_HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1"}
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self._process = subprocess.Popen(words, cwd=folder, env=env, **pipe)
        self._guard = threading.Timer(60, self._process.kill)
        self._guard.start()

    def wait_for(self, text):
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} never came: {''.join(seen)}")

    def end(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=30)
        self._guard.cancel()


@pytest.fixture
def program(tmp_path):
    started = []

    def start(line):
        started.append(Program(line, tmp_path))
        return started[-1]

    yield start
    for one in reversed(started):
        one.end()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.mark.kernel
def test_a_served_core_and_a_worker_that_joins_it_run_a_pools_steps(kernel, program, tmp_path):
    (shell,) = blocks("Workers on other machines", "")
    (table,) = blocks("Workers on other machines", "toml")
    here = f"127.0.0.1:{free_port()}"
    serve, join = (line.replace(NETWORK, here) for line in cells(shell))
    assert NETWORK in table
    (tmp_path / "pyproject.toml").write_text(table.replace(NETWORK, here), "utf-8")

    core = program(serve)
    core.wait_for(f"Core listens at tls://{here} with 4 workers of its own")
    workers = program(join)
    workers.wait_for("with 2 workers for pool 'gpu-worker-pool'")
    nb = kernel()
    nb("%load_ext cerebelum_nb")
    nb("%%cerebelum_step there --executor gpu-worker-pool\nimport os\nos.getppid()")
    nb("%%cerebelum_workflow alone\nthere")
    ran(nb, ["run = %cerebelum_run alone"])
    listed = nb("t = %cerebelum workers\nprint(t)").out
    workers.end()
    core.end()

    assert len([line for line in listed.splitlines() if line.startswith("gpu-worker-pool ")]) == 6
    assert not (tmp_path / "team.pass").exists()


def test_cerebelums_own_protocol_is_served_by_the_line(program):
    (line,) = [line for line in commands("cerebelum core serve") if "--upstream-port 9090" in line]
    port = free_port()

    program(line.replace("9090", str(port))).wait_for(f"Cerebelum's own protocol on 127.0.0.1:{port}")


@pytest.mark.kernel
def test_a_failed_step_is_replayed_by_the_lines(kernel, tmp_path):
    text = section("When a step fails").partition("**Replay.**")[2].partition("**Never twice.**")[0]
    lines = in_a_line(text)
    nb = kernel()
    nb("%load_ext cerebelum_nb")
    nb("ready = False")
    nb("%%cerebelum_step fetch --executor distributed\nif not ready: raise ConnectionError('refused')\n1")
    nb("%%cerebelum_workflow fetching\nfetch")

    nb.run("%cerebelum_run fetching")
    run = nb("run = runs[-1]\nprint(run.id)").out.strip()
    raised = [nb.run(line) for line in ("%cerebelum replay last fetch", 'run.replay("fetch")')]
    words = "cerebelum replay RUN fetch".replace("RUN", run).split()[1:]
    shell = subprocess.run(
        [sys.executable, "-m", "cerebelum_nb.cli", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "CEREBELUM_HOME": str(tmp_path / "home")}, check=False,
    )  # fmt: skip
    nb("ready = True")
    nb("run = %cerebelum_run fetching")
    compared = nb('run.replay("fetch", executor="local")').value

    assert {"%cerebelum replay last fetch", 'run.replay("fetch")', "cerebelum replay RUN fetch"} < set(lines)
    assert 'run.replay("fetch", executor="local")' in lines
    assert [(answer.ename, answer.evalue.splitlines()[0]) for answer in raised] == [("ConnectionError", "refused")] * 2
    assert (shell.returncode, "ConnectionError: refused" in shell.stderr) == (1, True)
    assert "the same result" in compared


@pytest.mark.kernel
def test_a_step_goes_to_its_fallback_as_in_the_block(kernel):
    (block,) = blocks("When workers are not there", "python")
    declared = textwrap.dedent(block).replace("...", "return texts").replace("queue_timeout=30", "queue_timeout=0.5")
    nb = kernel()
    nb("%load_ext cerebelum_nb\nfrom cerebelum_nb import step, workflow")
    nb("%cerebelum workers add --pool none --slots 1")
    nb("%cerebelum workers remove --pool none")
    nb("@step\ndef texts(context):\n    return ['a']")
    nb(declared.replace('executor="distributed"', 'executor="none"'))
    nb("%%cerebelum_workflow embedding\ntexts >> embed")

    run = nb("run = %cerebelum_run embedding\nrun.outputs['embed'], run.rows()[1].where")

    assert run.value == "(['a'], 'local')"
