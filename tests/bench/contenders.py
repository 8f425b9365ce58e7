"""Who is set beside the product where steps run in other processes. ``python contenders.py NAME`` measures one of them.

Each comes in a fresh process, with two workers, and says JSON lines: what its import took; that the first result is
there, which the caller times from the process's start; and then what it takes when warm.
"""

# ruff: noqa: PLC0415  each imports what it measures, and nothing before that

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

CALLS, FAN, FANS, LINKS = 400, 2_000, 3, 200
ECHO = [("grpc.http2.bdp_probe", 0), ("grpc.enable_http_proxy", 0)]  # as the product's own options
PEERS = Path(__file__).parents[2] / "build" / "peers" / "bin" / "python"  # where the Makefile has put them
Measures = Generator[dict[str, Any] | None]


def nothing() -> None:
    """What workers are asked to do."""


def summed_up(calls: list[float], fans: list[float]) -> dict[str, Any]:
    """Milliseconds of one call, and calls a second where many are under way."""
    calls.sort()
    p50, p95 = calls[len(calls) // 2], calls[int(len(calls) * 0.95)]
    return {"p50": p50 * 1e3, "p95": p95 * 1e3, "fan": FAN / statistics.median(fans)}


def cpu_s() -> float:
    """Processor seconds of this process and all that it has started, so far."""
    import psutil

    me, total = psutil.Process(), 0.0
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


def fanned_out(fan: Callable[[], float]) -> tuple[list[float], float]:
    """How long each fan-out took; and the processor's microseconds for each of its calls, in all processes."""
    began = cpu_s()
    fans = [fan() for _ in range(FANS)]
    return fans, (cpu_s() - began) / FAN / FANS * 1e6


def taken(call: Callable[[], object]) -> float:
    """Seconds a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def cerebelum_nb() -> Measures:
    """The product, all of it: scheduler, events, journal, results on disk, seals."""
    import cerebelum_nb  # noqa: F401  what `import cerebelum_nb` takes

    yield None
    from cerebelum_nb import Session, step, workflow
    from cerebelum_nb.config import Settings

    home = Path(tempfile.mkdtemp(prefix="cerebelum-bench-"))
    session = Session(Settings(home=home, workers=2))
    alone = step(name="alone", executor="distributed")(nothing)
    once = workflow(name="once")(lambda wf: wf.timeline(alone))
    session.run(once, {}).wait()
    yield None
    steps = [step(name=f"s{i}", executor="distributed")(nothing) for i in range(FAN)]
    first = step(name="first")(nothing)
    # What may be tried again waits for its turn: so each of these goes there and back.
    links = [step(name=f"l{i}", executor="distributed", retries=1)(nothing) for i in range(LINKS)]
    chain = workflow(name="chain")(lambda wf: wf.timeline(*links))
    fan = workflow(name="fan")(lambda wf: wf.timeline(first >> steps))

    def run(work: Any) -> Any:
        run = session.run(work, {})
        run.wait()
        assert run.status == "succeeded", run.status
        return run

    calls: list[float] = []
    run(chain)
    for _ in range(CALLS // LINKS + 1):
        calls += [row.segments[0].end - row.segments[0].queued for row in run(chain).rows()]
    run(fan)
    fans, cpu = fanned_out(lambda: (state := run(fan).state).ended_at - state.started_at)
    whole = [taken(lambda: run(once)) for _ in range(CALLS // 2)]
    session.close()
    shutil.rmtree(home)
    yield {**summed_up(calls, fans), "cpu": cpu, "whole": statistics.median(whole) * 1e3}


def grpc_echo() -> Measures:
    """The floor: bytes there and back on a stream of grpc.aio, over a unix socket, to one process that echoes them."""
    import grpc
    import grpc.aio

    yield None
    path = tempfile.mktemp(prefix="cerebelum-bench-")
    server = subprocess.Popen([sys.executable, __file__, "--echo", path], stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()
    body = bytes(250)

    async def client(say: Callable[[], object]) -> tuple[list[float], list[float]]:
        channel = grpc.aio.insecure_channel(f"unix:{path}", options=ECHO)
        stream = channel.stream_stream("/bench/Echo")()

        async def call() -> float:
            began = time.perf_counter()
            await stream.write(body)
            await stream.read()
            return time.perf_counter() - began

        async def fan() -> float:
            began = time.perf_counter()

            async def write() -> None:
                for _ in range(FAN):
                    await stream.write(body)

            writing = asyncio.ensure_future(write())
            for _ in range(FAN):
                await stream.read()
            await writing
            return time.perf_counter() - began

        await call()
        say()
        calls, fans = [await call() for _ in range(CALLS)], [await fan() for _ in range(FANS)]
        stream.cancel()
        await channel.close()
        return calls[CALLS // 10 :], fans

    loop, there = asyncio.new_event_loop(), asyncio.Event()
    measured = loop.create_task(client(there.set))
    loop.run_until_complete(there.wait())
    yield None
    calls, fans = loop.run_until_complete(measured)
    server.kill()
    server.wait()
    Path(path).unlink()
    yield summed_up(calls, fans)


def echo(path: str) -> None:
    """Serve `grpc_echo`."""
    import grpc
    import grpc.aio

    async def back(_: Any, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    async def main() -> None:
        server = grpc.aio.server(options=ECHO)
        handlers = {"Echo": grpc.stream_stream_rpc_method_handler(back)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", handlers),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        print("ready", flush=True)
        await server.wait_for_termination()

    asyncio.run(main())


def pool() -> Measures:
    """The standard library's process pool; spawned, as it must be beside gRPC and threads."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, wait

    yield None
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        executor.submit(nothing).result()
        yield None
        calls = [taken(lambda: executor.submit(nothing).result()) for _ in range(CALLS)]
        fans, cpu = fanned_out(lambda: taken(lambda: wait([executor.submit(nothing) for _ in range(FAN)])))
        yield {**summed_up(calls, fans), "cpu": cpu}


def dask() -> Measures:
    """dask.distributed, two worker processes of one thread."""
    from dask.distributed import Client, LocalCluster, wait

    yield None
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.submit(nothing, pure=False).result()
        yield None
        calls = [taken(lambda: client.submit(nothing, pure=False).result()) for _ in range(CALLS // 4)]
        fans, cpu = fanned_out(
            lambda: taken(lambda: wait([client.submit(nothing, pure=False) for _ in range(FAN)])),
        )
        yield {**summed_up(calls, fans), "cpu": cpu}


def ray() -> Measures:
    """Ray, two actors."""
    import ray as framework

    yield None
    framework.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    remote = framework.remote(type("Worker", (), {"nothing": lambda _: None}))
    actors = [remote.remote() for _ in range(2)]
    framework.get(actors[0].nothing.remote())
    yield None
    framework.get(actors[1].nothing.remote())
    calls = [taken(lambda: framework.get(actors[0].nothing.remote())) for _ in range(CALLS)]
    fans, cpu = fanned_out(
        lambda: taken(lambda: framework.get([actors[i % 2].nothing.remote() for i in range(FAN)])),
    )
    framework.shutdown()
    yield {**summed_up(calls, fans), "cpu": cpu}


ALL: dict[str, tuple[Callable[[], Measures], str]] = {
    "cerebelum_nb": (cerebelum_nb, "cerebelum_nb"),
    "grpc.aio echo": (grpc_echo, "grpc"),
    "ProcessPoolExecutor": (pool, "concurrent.futures"),
    "Dask": (dask, "distributed"),
    "Ray": (ray, "ray"),
}


def measure(name: str) -> dict[str, float] | None:
    """Milliseconds of everything, from a fresh process; None where it is not installed."""
    python = str(PEERS if name in ("Dask", "Ray") and PEERS.exists() else sys.executable)
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({ALL[name][1]!r}) is None)"
    if subprocess.run([python, "-c", look], check=False).returncode:
        return None
    began = time.perf_counter()
    child = subprocess.Popen([python, __file__, name], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told: dict[str, float] = {}
    for line in child.stdout:
        if line.startswith("{"):
            told |= json.loads(line)
            told.setdefault("first", (time.perf_counter() - began) * 1e3)
            if told.pop("imported", 0):
                del told["first"]
    if child.wait():
        raise RuntimeError(f"{name} ended with {child.returncode}")
    return told


def main() -> None:
    """One of them, measured."""
    if sys.argv[1] == "--echo":
        echo(sys.argv[2])
    began = time.perf_counter()
    measures = ALL[sys.argv[1]][0]()
    next(measures)
    print(json.dumps({"import": (time.perf_counter() - began) * 1e3, "imported": 1}), flush=True)
    next(measures)
    print(json.dumps({}), flush=True)
    print(json.dumps(next(measures)), flush=True)
    measures.close()  # and what it started with it: that would hold our output open
    os._exit(0)


if __name__ == "__main__":
    main()
