"""Another user of the machine gets nothing, and reads no secret anywhere."""

import asyncio
import contextlib
import os
import pickle
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import cloudpickle
import psutil
import pytest
from served_kit import ServedForTest

from cerebelum_nb import Session
from cerebelum_nb.config import Settings
from cerebelum_nb.errors import WireError
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.wire.credentials import read_pass

from remote_kit import begin, cell, pid_in, run, sleeper  # isort: skip  by served_kit

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


LOOK = """
import encodings.idna, os, sys, cloudpickle  # sockets want idna, which nobody could not read any more
look, uid, gid = cloudpickle.load(sys.stdin.buffer)
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
try:
    said = look()
except BaseException as exc:
    said = f"{type(exc).__name__}: {exc}"
sys.stdout.buffer.write(cloudpickle.dumps(said))
"""


def as_nobody(look):
    """What a function says that another user calls, in a process of its own, which gives up all rights first.

    Not in a forked child: this process has threads of gRPC, which a fork does not survive.
    """
    nobody = pwd.getpwnam("nobody")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the other process does not have this module
    try:
        asked = cloudpickle.dumps((look, nobody.pw_uid, nobody.pw_gid))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ended = subprocess.run(
        [sys.executable, "-c", LOOK],
        input=asked,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=True,
    )
    return pickle.loads(ended.stdout)  # it is our own program


def denied(path):
    """How an attempt to get at a file ends, whichever way it is made."""

    def tried(way):
        try:
            way()
        except OSError as exc:
            return type(exc).__name__
        return "it worked"

    def connect():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))

    return {
        tried(way) for way in (connect, lambda: open(path, "rb"), lambda: open(path, "r+b"), lambda: os.unlink(path))
    }


@as_root
def test_another_user_gets_neither_at_the_socket_nor_at_any_file_of_a_core(tmp_path):
    async def main():
        core = CoreExecutor(slots=1)
        try:
            step = cell("def step(x): return x")["step"]
            await run(core, step, bytes(8_000_000))
            running, _ = await begin(core, sleeper(), str(tmp_path / "pid"))
            pid = await pid_in(tmp_path / "pid")
            process = core._link.process
            folders = [process.directory, *map(Path, process.segments)]
            files = [path for folder in folders for path in [folder, *folder.rglob("*")] if path.exists()]

            found = as_nobody(lambda: {str(path): sorted(denied(path)) for path in files})
            pids = (process.pid, pid)
            listed = as_nobody(
                lambda: [sorted(denied(f"/proc/{p}/{name}")) for p in pids for name in ("environ", "mem")]
            )
            shot = as_nobody(lambda: os.kill(pid, 9))

            assert process.socket in files
            for path, how in found.items():
                assert set(how) <= {"PermissionError", "NotADirectoryError", "IsADirectoryError"}, path
                assert "PermissionError" in how, path
            assert all("PermissionError" in how and "it worked" not in how for how in listed)
            assert shot.startswith("PermissionError")
            assert not running.done()
        finally:
            await core.close()

    asyncio.run(main())


@as_root
def test_another_user_gets_neither_a_pass_nor_past_tls_without_one(tmp_path):
    core = ServedForTest(tmp_path, slots=1)
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:
        above.chmod(0o755)
    path, port = core.path, core.port
    try:

        def read():
            try:
                read_pass(path)
            except WireError as exc:
                return str(exc)
            return "it worked"

        def speak():
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
                sock.settimeout(5)
                return sock.recv(100).hex()

        said = as_nobody(read)
        answer = bytes.fromhex(as_nobody(speak))
    finally:
        core.close()

    assert said.startswith(f"the pass {str(core.path)!r} cannot be read (Permission denied): ")
    assert "\n" not in said
    assert answer[:1] in {b"", b"\x15"}  # hung up, or a TLS alert: no word of HTTP/2


def test_no_secret_of_a_served_core_is_in_a_command_line_an_environment_a_log_or_the_journal(tmp_path):
    core = ServedForTest(tmp_path, slots=1)
    agent = core.worker("--pool", "big")
    pools = {"big": {"core": core.url, "pass": str(core.path)}}
    session = Session(Settings(home=tmp_path / "home", core_url=core.url, core_pass=str(core.path), pools=pools))
    try:
        source = "from cerebelum_nb import step, workflow\n@step\ndef a(): print('x'); return 1\n@step\ndef b(): raise ValueError\n"
        space = cell(f"{source}@workflow\ndef flow(wf):\n    wf.timeline(a, b)\n")
        with contextlib.suppress(Exception):
            session.run(space["flow"], strategy={"a": "big", "b": "distributed"}).result()
        links = [made.link for made in session.pools.made.values() if getattr(made, "link", None) is not None]
        assert len(links) == 2
        passes = [read_pass(path) for path in (core.path, core.workers_path)]
        keys = [link.process.key for link in links]
        secrets = [each.token.encode() for each in passes] + [
            line.encode() for each in passes for line in each.key.split("\n")[1:-2]
        ]
        secrets += [*keys, *(key.hex().encode() for key in keys)]
        programs = [psutil.Process(pid) for pid in (core.program.pid, agent.pid, os.getpid())]
        pids = {process.pid for above in programs for process in (above, *above.children(recursive=True))}
        texts = []
        for pid in pids:
            with contextlib.suppress(OSError):
                texts += [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    finally:
        session.close()
        core.close()
    texts += [program.said().encode() for program in core.programs]
    texts += [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]

    assert len(pids) >= 5
    assert len(secrets) >= 10
    assert not [secret[:6] for secret in secrets if any(secret in text for text in texts)]
