"""The SDK from PyPI, unmodified and in an environment of its own, works against our Core."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]  # slow, and wants the network
HERE = Path(__file__).parent
SHOP = HERE / "programs" / "shop.py"
DEADLINE_S = 40


class Programs:
    """What runs beside the test, each in its own process, its output in a file."""

    def __init__(self, python, folder):
        self._python, self._folder = python, folder
        self.running = []

    def start(self, name, *args):
        log = self._folder / f"{name}.log"
        # The SDK dials a public host unless this names one.
        env = {**os.environ, "CEREBELUM_ENGINE": "127.0.0.1:1", "CEREBELUM_URL": "127.0.0.1:1", "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as file:
            popen = subprocess.Popen(args, stdout=file, stderr=file, cwd=self._folder, env=env, start_new_session=True)
        self.running.append(popen)
        return popen, log

    def core(self, port=0):
        """Start a Core; its process and its address."""
        command = [sys.executable, "-m", "cerebelum_nb.cli", "core", "serve", "--upstream-port", str(port)]
        popen, log = self.start("core", *command)
        began = log.read_text().count("protocol on")
        until(lambda: log.read_text().count("protocol on") > began or popen.poll() is not None, log)
        assert popen.poll() is None, log.read_text()
        return popen, log.read_text().rpartition("protocol on ")[2].split()[0].rstrip(";")

    def sdk(self, name, *args):
        return self.start(name, self._python, SHOP, *args)

    def worker(self, url, name):
        popen, log = self.sdk(name, "work", url, name)
        until(lambda: "registered successfully" in log.read_text(), log)
        return popen, log

    def run(self, url, workflow, **inputs):
        done, log = self.sdk(f"run-{workflow}", "run", url, workflow, json.dumps(inputs))
        assert done.wait(DEADLINE_S) == 0, log.read_text()
        return json.loads(log.read_text().splitlines()[-1])

    def end(self):
        for popen in self.running:
            if popen.poll() is None:
                popen.kill()
            popen.wait(10)


def until(condition, log):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


@pytest.fixture
def programs(both_packages, tmp_path):
    made = Programs(both_packages, tmp_path)
    yield made
    made.end()


def test_two_workers_run_what_may_run_side_by_side_and_the_client_reads_the_results(programs, tmp_path):
    _, url = programs.core()
    programs.worker(url, "one")
    programs.worker(url, "two")

    said = programs.run(url, "diamond", n=3, folder=str(tmp_path))

    assert said == {
        "handle": "running",
        "status": "EXECUTION_COMPLETED",
        "outputs": {
            "load": {"ok": {"n": 3, "folder": str(tmp_path)}},
            "left": {"ok": 4},
            "right": {"ok": 6},
            "alone": {"ok": "alone"},
            "join": {"ok": [4, 6, None, {"deep": [True]}]},
        },
        "error": None,
        "progress": 100,
        "listed": [1, 1, False, True],
        "active": 0,
        "resumed": "failed_to_resume",
    }


def test_a_step_that_raises_fails_its_execution_which_can_be_resumed_and_the_workers_go_on(programs, tmp_path):
    _, url = programs.core()
    programs.worker(url, "one")
    programs.worker(url, "two")

    said = programs.run(url, "broken", n=3, folder=str(tmp_path))
    assert (said["status"], said["error"]["message"]) == ("EXECUTION_FAILED", "'k'")
    assert (said["resumed"], said["again"]) == ("resumed", "EXECUTION_FAILED")
    assert programs.run(url, "=diamond", n=3, folder=str(tmp_path))["status"] == "EXECUTION_COMPLETED"


def test_what_cannot_run_is_told_to_whoever_asks_for_it_in_one_line(programs, tmp_path):
    _, url = programs.core()
    _, log = programs.worker(url, "one")
    why = "workflow 'chooses' cannot choose its way after 'load': of diverge and branch the SDK sends names only"
    until(lambda: f"Workflow 'chooses' validation failed: {why}" in log.read_text(), log)

    done, log = programs.sdk("run", "run", url, "chooses", "{}")
    assert done.wait(DEADLINE_S) == 1
    assert log.read_text().splitlines()[-1].startswith(f"cerebelum.types.ValidationError: Validation failed: {why}")

    said = programs.run(url, "=chooses")
    assert (said["handle"], said["error"]["message"][: len(why)], said["resumed"]) == (
        "failed",
        why,
        "failed_to_resume",
    )
    said = programs.run(url, "=nowhere")
    assert said["error"]["message"].startswith("workflow 'nowhere' is not known here: start a worker that registers it")
    assert (tmp_path / "core.log").read_text().count(why) == 2  # refused once, and the execution that failed for it


def test_a_step_waits_for_approval_sleeps_and_one_that_returns_bytes_fails(programs):
    _, url = programs.core()
    programs.worker(url, "one")
    popen, log = programs.sdk("run", "run", url, "waiting", "{}")
    until(lambda: "waits" in log.read_text(), log)
    _, execution, data = log.read_text().split(maxsplit=2)
    assert data.strip() == "{'sum': 5.0}"

    decided = [
        sys.executable,
        "-m",
        "cerebelum_nb.cli",
        "core",
        "approve",
        execution,
        "--core",
        url,
        "--value",
        '"yes"',
    ]
    done = subprocess.run(decided, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.stdout, done.returncode) == ("asks approved.\n", 0), done.stderr

    assert popen.wait(DEADLINE_S) == 0
    said = json.loads(log.read_text().splitlines()[-1])
    assert said["outputs"] == {
        "asks": {"ok": "yes"}, "rests": {"ok": {"asked": "yes"}}, "last": {"ok": {"asked": "yes"}}
    }  # fmt: skip
    assert (said["status"], said["error"]["kind"]) == ("EXECUTION_FAILED", "ValueError")
    assert said["error"]["message"].startswith(
        "what step 'raw' returned cannot be sent (Unexpected type): return dicts"
    )


def test_a_step_whose_worker_was_killed_runs_on_another_one(programs, tmp_path):
    _, url = programs.core()
    one, _ = programs.worker(url, "one")
    two, _ = programs.worker(url, "two")

    said = programs.run(url, "deadly", folder=str(tmp_path))

    assert said["outputs"] == {"dies": {"ok": "survived"}}
    assert sorted([one.poll(), two.poll()], key=str) == [-signal.SIGKILL, None]


def test_workers_find_a_core_again_that_was_started_anew(programs, tmp_path):
    core, url = programs.core()
    programs.worker(url, "one")
    programs.worker(url, "two")
    core.kill()
    core.wait(10)
    _, again = programs.core(int(url.rpartition(":")[2]))

    assert again == url
    assert programs.run(url, "diamond", n=3, folder=str(tmp_path))["status"] == "EXECUTION_COMPLETED"


def test_a_workflow_that_serves_itself_runs_what_it_began_with(programs, tmp_path):
    _, url = programs.core()
    text = SHOP.read_text("utf-8").replace("@workflow\ndef deadly", f"@workflow(core_url={url!r})\ndef deadly")
    own = tmp_path / "own.py"
    own.write_text(text, "utf-8")
    (tmp_path / "died").touch()
    _, log = programs.start("own", programs._python, own, "serve", url, str(tmp_path))

    until(lambda: "Task completed: dies" in log.read_text(), log)
    core_log = tmp_path / "core.log"
    until(lambda: "completed" in core_log.read_text(), core_log)


BESIDE = """\
import asyncio, threading
from cerebelum import DistributedExecutor, ExecutionClient, step, workflow
from cerebelum.proto import worker_service_pb2 as theirs
from cerebelum_nb.upstream import serve_upstream
from cerebelum_nb.upstream.schema import METHODS, schema
from google.protobuf import descriptor_pb2

def layout(message):
    fields = [(f.number, f.name, f.type, f.is_repeated if hasattr(f, "is_repeated") else f.label == 3,
               f.message_type and f.message_type.full_name, f.has_presence) for f in message.fields]
    enums = [(f.name, [(v.name, v.number) for v in f.enum_type.values]) for f in message.fields if f.enum_type]
    return fields, enums

for name, message in theirs.DESCRIPTOR.message_types_by_name.items():
    assert layout(message) == layout(getattr(schema(), name).DESCRIPTOR), name
(service,) = theirs.DESCRIPTOR.services_by_name.values()
assert {m.name: (m.input_type.name, m.output_type.name) for m in service.methods} == METHODS

@step
async def only(context): return 1
@workflow
def flow(wf): wf.timeline(only)

ports, ready = [], threading.Event()
def serve(): asyncio.run(serve_upstream(port=0, ready=lambda port: (ports.append(port), ready.set())))
threading.Thread(target=serve, daemon=True).start()
assert ready.wait(20)

async def main():
    result = await DistributedExecutor(f"127.0.0.1:{ports[0]}").execute(flow, {})
    said = await ExecutionClient(f"127.0.0.1:{ports[0]}").get_execution_status(result.execution_id)
    print(said.workflow_name, said.status.name, said.total_steps)

asyncio.run(main())
"""


def test_both_live_in_one_process_and_have_the_same_messages(both_packages, tmp_path):
    file = tmp_path / "beside.py"
    file.write_text(BESIDE, "utf-8")
    ran = subprocess.run([both_packages, file], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (ran.stdout, ran.returncode) == ("flow RUNNING 1\n", 0), ran.stderr
