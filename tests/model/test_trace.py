import itertools
import json
import pathlib
from collections import defaultdict

import msgspec

from cerebelum_nb.model.trace import trace
from cerebelum_nb.model.view import Header, Row, Segment

FIXTURES = pathlib.Path(__file__).parents[2] / "js" / "fixtures"


def fixture(name):
    snapshot = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return msgspec.convert(snapshot["header"], Header), msgspec.convert(snapshot["rows"], list[Row])


def row(number, step, begin, end, *, needs=(), worker="", where="local", remote=False, queued=None):
    segment = Segment(1, where, remote, begin if queued is None else queued, begin, end, "ok")
    return Row(
        id=number, step=step, status="succeeded", where=where, remote=remote, attempt=1, worker=worker, reason="why",
        note="", needs=needs, segments=(segment,), prints=0, ms=(end - begin) * 1e3,
    )  # fmt: skip


def events(made, phase):
    return [e for e in made["traceEvents"] if e["ph"] == phase]


def test_every_attempt_is_a_slice_with_its_own_times():
    header, rows = fixture("failed")
    made = trace(header, rows)

    begun = [(r.step, round(s.start * 1e6)) for r in rows for s in r.segments if s.start is not None]
    assert sorted((e["name"], e["ts"]) for e in events(made, "X")) == sorted(begun)
    assert json.loads(json.dumps(made)) == made
    assert made["otherData"]["workflow"] == "order_workflow"


def test_slices_of_one_thread_never_overlap():
    rows = [row(i, f"s{i}", begin, begin + 3.0) for i, begin in enumerate((0.0, 1.0, 2.0, 3.0, 4.5, 9.0))]
    made = trace(fixture("finished")[0], rows)

    threads = defaultdict(list)
    for e in events(made, "X"):
        threads[e["pid"], e["tid"]].append((e["ts"], e["ts"] + e["dur"]))
    assert len(threads) == 3
    for slices in threads.values():
        ordered = sorted(slices)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ordered))


def test_workers_have_lanes_of_their_own_and_executors_processes():
    rows = [
        row(0, "a", 0, 1),
        row(1, "b", 1, 2, where="distributed", remote=True, worker="worker 1"),
        row(2, "c", 2, 3, where="distributed", remote=True, worker="2"),
    ]
    made = trace(fixture("finished")[0], rows)

    named = {(e["name"], e["args"].get("name")) for e in events(made, "M") if "name" in e["args"]}
    assert named == {
        ("process_name", "local"), ("process_name", "distributed"),
        ("thread_name", "lane"), ("thread_name", "worker 1"), ("thread_name", "worker 2"),
    }  # fmt: skip
    assert len({(e["pid"], e["tid"]) for e in events(made, "X")}) == 3


def test_a_flow_leads_from_within_a_slice_to_the_beginning_of_what_needs_it():
    made = trace(fixture("finished")[0], [row(0, "a", 0.0, 1.0), row(1, "b", 1.5, 2.0, needs=(0,))])
    (start,), (finish,) = events(made, "s"), events(made, "f")
    slices = {e["name"]: e for e in events(made, "X")}

    assert (start["id"], start["tid"]) == (finish["id"], slices["a"]["tid"])
    assert slices["a"]["ts"] <= start["ts"] < slices["a"]["ts"] + slices["a"]["dur"]
    assert (finish["ts"], finish["bp"]) == (slices["b"]["ts"], "e")


def test_a_wait_for_a_worker_is_a_span_beside_the_slices():
    made = trace(fixture("finished")[0], [row(0, "a", 2.0, 3.0, queued=0.5)])

    assert [(e["name"], e["ts"]) for e in (*events(made, "b"), *events(made, "e"))] == [
        ("a (queue)", 500_000),
        ("a (queue)", 2_000_000),
    ]


def test_the_ways_there_and_back_are_spans_beside_a_slice_that_is_the_work_alone():
    header, rows = fixture("pools")
    (aggregate,) = [r for r in rows if r.step == "aggregate"]
    made = trace(header, [aggregate])

    spans = [(e["name"], e["ph"], e["ts"]) for e in made["traceEvents"] if e["ph"] in "be"]
    assert spans == [
        ("aggregate (queue)", "b", 3_120_000), ("aggregate (queue)", "e", 4_600_000),
        ("aggregate (send)", "b", 4_600_000), ("aggregate (send)", "e", 5_500_000),
        ("aggregate (fetch)", "b", 10_000_000), ("aggregate (fetch)", "e", 11_600_000),
    ]  # fmt: skip
    (work,) = events(made, "X")
    assert (work["ts"], work["dur"]) == (5_500_000, 4_500_000)
