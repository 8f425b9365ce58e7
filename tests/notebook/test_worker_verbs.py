"""`%cerebelum workers` and `%cerebelum core` in a real kernel."""

import os
import re

import pytest

from cerebelum_nb.notebook.workers import Table

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def nb(kernel):
    kernel("import os\nfrom cerebelum_nb import step, workflow")
    return kernel


def test_a_pool_is_made_by_a_line_and_its_workers_have_the_environment(nb):
    lone = "%%cerebelum_step lone --executor gpu\nos.getpid(), os.environ.get('KIND')"
    refused = nb.run(lone).evalue
    assert "there is no executor 'gpu'" in refused
    assert "`%cerebelum workers add --pool gpu --slots 1`" in refused

    said = nb("%cerebelum workers add --pool gpu --slots 2 --env KIND=a,b --env OTHER=1").out

    assert said == "pool gpu has 2 workers, with KIND, OTHER in their environment\n"
    nb(lone)
    nb("%%cerebelum_workflow wf_lone\nlone")
    nb("%cerebelum_run wf_lone")
    assert nb("runs[-1].outputs['lone'][1]").value == "'a,b'"


def test_workers_are_a_table_in_a_notebook_and_in_a_terminal(nb):
    nb("t = %cerebelum workers")
    text = nb("print(t)").out
    page = nb("t._repr_html_()").value

    head, *rows = text.splitlines()
    assert head.split() == ["pool", "slot", "pid", "state", "step", "since", "memory", "done"]
    gpu = [re.split(r"\s{2,}", row) for row in rows if row.startswith("gpu ")]
    assert [(row[0], row[1]) for row in gpu] == [("gpu", "1"), ("gpu", "2")]
    assert {row[3] for row in gpu} <= {"idle", "starting"}
    assert all(os.path.exists(f"/proc/{row[2]}") for row in gpu)
    waiting = re.compile(r"distributed: \d+ workers?, not started before the first step there")
    assert any(waiting.fullmatch(row) for row in rows)
    assert "<table>" in page


def test_what_people_named_is_escaped_in_a_notebook():
    assert "<b>" not in Table(("a",), [("<b>x",)], ["<b>y"])._repr_html_()


def test_a_core_that_is_stopped_is_named_rather_than_its_workers_and_restart_helps(nb):
    started = nb("%cerebelum core start --pool gpu").out
    pid = re.search(r"Core \(pid (\d+)\)", started).group(1)
    nb(f"import signal\nos.kill({pid}, signal.SIGSTOP)")

    said = nb("t = %cerebelum workers --pool gpu\nprint(t)").out
    status = nb("t = %cerebelum core status --pool gpu\nprint(t)").out
    again = nb("%cerebelum core restart --pool gpu").out

    told = (
        f"gpu: Core (pid {pid}) does not answer: its process is stopped, by a signal or a debugger, so nobody knows "
        "what its workers do; %cerebelum core restart --pool gpu ends it and starts another one"
    )
    assert told in said
    assert told in status
    assert said.count("not known") == 2
    assert re.search(r"gpu: Core \(pid \d+\) runs since", again)
    assert not os.path.exists(f"/proc/{pid}")
    assert "not known" not in nb("t = %cerebelum workers --pool gpu\nprint(t)").out


def test_tab_offers_the_workers_of_the_pool_that_the_line_names(nb):
    def offered(line):
        return nb.reply(nb.client.complete(line, len(line)))["content"]["matches"]

    assert "gpu" in offered("%cerebelum workers drain --pool ")
    assert offered("%cerebelum workers drain --pool gpu --slot ") == ["1", "2"]
    assert offered("%cerebelum workers remove --pool=gpu --slot ") == ["1", "2"]


def test_a_pool_without_workers_says_what_is_missing_and_counts_as_no_work(nb):
    nb("%cerebelum workers add --pool later\n%cerebelum workers remove --pool later")
    nb("@step(executor='later', queue_timeout=0.3)\ndef waits(context): return 1")
    nb("%%cerebelum_workflow wf_waits\nwaits")

    failed = nb.run("%cerebelum_run wf_waits")

    assert "NoWorker: no worker in pool 'later' (0 registered): nobody took it within 0.3 s" in failed.traceback
    number = nb("runs[-1].number").value
    assert (
        failed.traceback.splitlines()[-1]
        == f"This is runs[{number}]; with a worker there, runs[{number}].rerun() goes on."
    )
    assert nb("runs[-1].header().remote_ms").value == "0.0"


def test_a_drained_worker_is_another_one_and_a_removed_one_is_gone(nb):
    said = nb("%cerebelum workers drain --pool gpu --slot 1").out
    assert said == "pool gpu: worker 1 ends after the step of now, and another one takes its place\n"
    assert nb("%cerebelum workers remove --pool gpu --slot 2").out == (
        "pool gpu has 1 worker, with KIND, OTHER in its environment\n"
    )


def test_core_tells_of_itself_restarts_and_stops(nb):
    head, *rows = nb("c = %cerebelum core\nprint(c)").out.splitlines()
    started = nb("%cerebelum core start --pool gpu").out
    pid = re.search(r"gpu: Core \(pid (\d+)\) runs since \d\d:\d\d:\d\d, 1 worker\n", started).group(1)

    assert head.split()[:4] == ["pool", "Core", "since", "workers"]
    (row,) = [re.split(r"\s{2,}", row) for row in rows if row.startswith("gpu ")]
    assert row[:2] == ["gpu", pid]
    assert row[6:8] == ["yes", "env KIND, OTHER"]
    assert "worker 2 is to end after its step, and none follows" in nb("%cerebelum core logs --pool gpu").out
    again = nb("%cerebelum core restart --pool gpu").out
    assert "runs since" in again
    assert pid not in again
    assert "is stopped; the next step there starts it again" in nb("%cerebelum core stop --pool gpu").out
    assert not os.path.exists(f"/proc/{pid}")
    nb("%cerebelum core stop")
    assert nb("%cerebelum core stop").out == "No Core runs now.\n"
    assert nb("%cerebelum core logs").out == "distributed: nothing was said there yet\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("workers ad", "workers does not know 'ad'. Did you mean 'add'?"),
        ("workers add gpu", "workers add does not know what to do with 'gpu'; a pool is --pool gpu."),
        ("workers add --slots two", "--slots is a whole number"),
        ("workers add --slot 1", "--slot is not for `workers add`"),
        ("workers add --slots 0", "how many workers to add is a whole number from 1, not 0"),
        ("workers add --pool gpu --env KIND", "--env takes pairs like OMP_NUM_THREADS=1, not 'KIND'"),
        ("workers add --pool local", "a pool cannot be called 'local'"),
        ("workers remove --slots 1 --slot 1", "--slots says how many, --slot which one"),
        ("workers remove --pool nowhere", "there is no pool 'nowhere'"),
        ("workers drain --pool distributed", "no worker of pool 'distributed' runs now"),
        ("core stat", "core does not know 'stat'. Did you mean 'start'?"),
        ("core logs --force", "--force is for stop and restart"),
    ],
)
def test_a_line_that_cannot_be_meant_is_answered_in_a_few_words(nb, line, said):
    answer = nb.run(f"%cerebelum {line}")

    assert said in answer.evalue
    assert len(answer.traceback.splitlines()) <= 2


def test_core_is_not_stopped_under_a_step_without_force(nb):
    nb("%%cerebelum_step slow --executor gpu\nimport time\ntime.sleep(60)")
    nb("%%cerebelum_workflow wf_slow\nslow")
    nb("run = %cerebelum_run wf_slow --detach")
    nb(
        "import time\nuntil = time.monotonic() + 20\nwhile run.rows()[0].status != 'running' and time.monotonic() < until: time.sleep(0.01)"
    )

    refused = nb.run("%cerebelum core stop").evalue
    nb("%cerebelum core stop --force")

    assert "gpu: 1 step runs or waits there (slow). Wait for the end, or stop it all the same with --force" in refused
    assert nb("run.wait(10, echo=False)\nrun.status").value == "'failed'"


def test_tab_offers_what_may_follow(nb):
    def offered(line):
        return nb.reply(nb.client.complete(line, len(line)))["content"]["matches"]

    assert offered("%cerebelum workers ") == ["add", "remove", "drain"]
    assert offered("%cerebelum core ") == ["status", "start", "stop", "restart", "logs"]
    assert offered("%cerebelum workers add --") == ["--pool", "--slots", "--slot", "--env"]
    assert "gpu" in offered("%cerebelum workers add --pool ")
    assert "processes" in offered("%%cerebelum_step x --executor ")
