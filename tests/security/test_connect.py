"""Whoever comes to a served Core without all that it takes is told why in one line, soon; nothing is run for them."""

import asyncio
import http.server
import os
import secrets
import socket
import threading
import time

import grpc
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from served_kit import Program, ServedForTest

from cerebelum_nb import __version__
from cerebelum_nb.core.agent import Agent
from cerebelum_nb.errors import ExecutorError, WireError
from cerebelum_nb.executors.core import CoreExecutor
from cerebelum_nb.wire import channel
from cerebelum_nb.wire.certificates import issue
from cerebelum_nb.wire.credentials import SERVER_NAME, host_and_port, read_pass, write_pass
from cerebelum_nb.wire.frames import Cancel, Place, Welcome, messages
from cerebelum_nb.wire.relay import Greeting, Line, Reception

from remote_kit import cell, run  # isort: skip  by served_kit

STEP = cell("def step(): return 1")["step"]


def refusal(core, url=None, path=None, runs=True):
    """What a kernel is told, in one line; within five seconds."""

    async def main():
        kernel = CoreExecutor(served=(url or core.url, path or core.path))
        began = time.monotonic()
        with pytest.raises(ExecutorError) as refused:
            await kernel.start()
        assert time.monotonic() - began < 20
        if runs:
            outcome = await run(kernel, STEP)
            assert (outcome.kind, outcome.error.type, outcome.delivered) == ("error", "ExecutorError", False)
        await kernel.close()
        return str(refused.value)

    text = asyncio.run(main())
    assert "\n" not in text
    return text


def with_token(core, path, token):
    write_pass(path, msgspec.structs.replace(read_pass(core.path), token=token))
    return path


@pytest.fixture
def port():
    """A port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def listener():
    """Somebody who takes connections and does with each what the test says."""
    sock = socket.create_server(("127.0.0.1", 0))
    does = []

    def main():
        while True:
            try:
                taken, _ = sock.accept()
            except OSError:
                return
            threading.Thread(target=does[0], args=(taken,), daemon=True).start()

    threading.Thread(target=main, daemon=True).start()
    yield does.append, f"tls://127.0.0.1:{sock.getsockname()[1]}"
    sock.close()


def test_a_port_where_nobody_listens(served, port):
    assert refusal(served, f"tls://127.0.0.1:{port}").startswith(f"nothing listens at tls://127.0.0.1:{port}: ")


def test_a_host_that_does_not_exist(served):
    assert "there is no host 'nowhere.invalid'" in refusal(served, "tls://nowhere.invalid:1")


@pytest.mark.parametrize("url", ["", "tls://", "tls://host", "host:port", "http://host:1"])
def test_what_is_no_address(served, url):
    with pytest.raises(WireError, match="is not the address of a Core: write it as tls://host:port"):
        host_and_port(url)


def test_a_port_that_cannot_be():
    with pytest.raises(WireError, match="^'host:70000' is not the address of a Core: ports end at 65535$"):
        host_and_port("host:70000")


def test_an_http_server(served):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"tls://127.0.0.1:{server.server_port}"
        assert refusal(served, url).startswith(f"an HTTP server answers at {url}, not a Core")
    finally:
        server.shutdown()
        server.server_close()


def test_somebody_without_tls(served, listener):
    does, url = listener
    does(lambda sock: (sock.recv(100), sock.sendall(b"220 mail.example ESMTP\r\n"), sock.close()))

    assert "does not speak TLS" in refusal(served, url)


def test_somebody_who_says_nothing(served, listener):
    does, url = listener
    does(lambda sock: threading.Event().wait(20) and sock.close())

    assert "says nothing" in refusal(served, url, runs=False)


def test_an_expired_certificate(tmp_path):
    core = ServedForTest(tmp_path, "--days", "0.000000001")
    try:
        assert "has expired: serve it again, and copy its new pass here" in refusal(core)
    finally:
        core.close()


def test_the_pass_of_another_core_or_of_an_earlier_one(served, tmp_path):
    issued, old = issue(), read_pass(served.path)
    given = msgspec.structs.replace(
        old, authority=issued.authority, certificate=issued.kernel.certificate, key=issued.kernel.key
    )
    write_pass(tmp_path / "old", given)

    assert "is not the Core of the pass" in refusal(served, path=tmp_path / "old")


def test_a_certificate_that_core_did_not_make(served, tmp_path):
    leaf = issue().kernel
    write_pass(
        tmp_path / "p", msgspec.structs.replace(read_pass(served.path), certificate=leaf.certificate, key=leaf.key)
    )

    assert "does not take the certificate in the pass" in refusal(served, path=tmp_path / "p")


@pytest.mark.parametrize("token", ["x", "wrong" * 10])
def test_a_wrong_token(served, tmp_path, token):
    assert "does not take the token in" in refusal(served, path=with_token(served, tmp_path / "p", token))


def test_a_pass_that_is_only_for_workers(served):
    assert "this pass is for workers only" in refusal(served, path=served.workers_path)


def test_a_pass_that_is_not_there(served, tmp_path):
    assert "cannot be read (No such file or directory)" in refusal(served, path=tmp_path / "none")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_pass_that_others_can_read(served, tmp_path, mode):
    path = with_token(served, tmp_path / "p", "t")
    path.chmod(mode)

    assert f"is open to other users (mode {mode:03o}), so it is not used: chmod 600" in refusal(served, path=path)


@pytest.mark.parametrize("cut", [0, 50, 300, -30])
def test_a_pass_that_is_damaged(served, tmp_path, cut):
    path = tmp_path / "p"
    write_pass(path, read_pass(served.path))
    path.write_bytes(served.path.read_bytes()[:cut])

    assert "is not a pass, or not all of it" in refusal(served, path=path)


def test_passes_are_written_for_their_owner_only_whatever_the_umask(tmp_path, served):
    assert served.path.stat().st_mode & 0o777 == served.workers_path.stat().st_mode & 0o777 == 0o600
    before = os.umask(0)
    try:
        write_pass(tmp_path / "new" / "p", read_pass(served.path))
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "p").stat().st_mode & 0o777 == 0o600
    assert read_pass(tmp_path / "new" / "p") == read_pass(served.path)
    assert read_pass(served.path).token not in repr(read_pass(served.path))


def test_the_command_says_the_same_in_one_line(served, tmp_path, port):
    for args in (("--core", f"127.0.0.1:{port}"), ("--pass", tmp_path / "none")):
        program = Program("worker", *(() if "--pass" in args else ("--pass", served.workers_path)), *args)
        assert program.process.wait(20) == 2
        assert program.said().startswith("Error: ")
        assert program.said().count("\n") == 1


def test_an_address_that_is_taken_is_said_so(served, tmp_path):
    program = Program("core", "serve", "--listen", f"127.0.0.1:{served.port}", "--pass", tmp_path / "p")

    assert program.process.wait(20) == 2
    assert program.said() == f"Error: Core cannot listen at {served.url}: Address already in use\n"
    assert not (tmp_path / "p").exists()


# past the looks: straight to gRPC -----------------------------------------------------------------------------------


def raw(served, *, client=True):
    """A gRPC channel like ours, with or without a certificate of our own."""
    known = read_pass(served.path)
    pem = [known.authority.encode(), *((known.key.encode(), known.certificate.encode()) if client else ())]
    options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.enable_http_proxy", 0)]
    return grpc.secure_channel(f"127.0.0.1:{served.port}", grpc.ssl_channel_credentials(*pem), options)


def say(made, method, messages, token):
    """All answers to messages on a method; the status where it ends badly."""
    metadata = ((channel.TOKEN, token),) if token is not None else ()
    open_stream = made.unary_unary if method == channel.HELLO else made.stream_stream
    call = open_stream(f"/{channel.SERVICE}/{method}")
    try:
        if method == channel.HELLO:
            return [call(messages[0], metadata=metadata, timeout=30)], None
        return list(call(iter(messages), metadata=metadata, timeout=30)), None
    except grpc.RpcError as exc:
        return [], exc.code()


METHODS = [channel.METHOD, channel.JOIN, channel.HELLO]


@pytest.mark.parametrize("method", METHODS)
def test_nobody_gets_past_the_token(served, method):
    worker = read_pass(served.workers_path).token
    with raw(served) as made:
        for token in (None, "", "x", "\u00e4".encode().decode("latin-1").encode("ascii", "replace").decode()):
            assert say(made, method, [b""], token) == ([], grpc.StatusCode.UNAUTHENTICATED)
        expected = grpc.StatusCode.INVALID_ARGUMENT if method == channel.JOIN else grpc.StatusCode.PERMISSION_DENIED
        assert say(made, method, [b""], worker) == ([], expected)


@pytest.mark.parametrize("method", METHODS)
def test_nobody_gets_past_tls_without_a_certificate(served, method):
    with raw(served, client=False) as made:
        assert say(made, method, [b""], read_pass(served.path).token) == ([], grpc.StatusCode.UNAVAILABLE)
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as made:
        assert say(made, method, [b""], read_pass(served.path).token) == ([], grpc.StatusCode.UNAVAILABLE)


GREETINGS = st.builds(
    Greeting,
    version=st.just(__version__) | st.text(max_size=9),
    environment=st.dictionaries(
        st.text(max_size=5), st.none() | st.text(max_size=5) | st.integers(-(2**63), 2**63), max_size=3
    ),
    slots=st.integers(-(2**63), 2**63),
    agent=st.text(max_size=70),
    got=st.integers(-(2**63), 2**63),
)
HELLO = messages([Welcome(b"k" * 32, Place((), b"/")), Cancel(1)])
OURS = [msgspec.msgpack.encode((1, 0, [Line(0, m)])) for m in (*messages([Cancel(1)]), *HELLO, b"", b"\x91")]
NOISE = st.one_of(st.binary(max_size=200), st.sampled_from(OURS), GREETINGS.map(msgspec.msgpack.encode))


def both_ways(noise):
    return st.sampled_from([noise, begun(noise)])


def begun(noise):
    """The same from a kernel that was let in."""
    return [msgspec.msgpack.encode(Greeting(__version__, agent=secrets.token_hex(16))), *noise]


@settings(max_examples=60, deadline=None)
@given(method=st.sampled_from(METHODS), noise=st.lists(NOISE, min_size=1, max_size=3).flatmap(both_ways))
@example(method=channel.METHOD, noise=begun([OURS[1], b""]))  # in mid-write
@example(method=channel.METHOD, noise=begun([OURS[0]]))
def test_noise_is_refused_and_core_goes_on(served, method, noise):
    with raw(served) as made:
        answers, code = say(made, method, noise, read_pass(served.path).token)

    assert code in {None, grpc.StatusCode.INVALID_ARGUMENT}
    for answer in answers:  # one that happens to be polite is welcome, and gets nothing for it
        assert msgspec.msgpack.decode(answer, type=Reception | tuple[int, int, list])
    assert served.program.process.poll() is None


def test_after_all_that_a_step_runs(served):
    async def main():
        kernel = served.kernel()
        try:
            return await run(kernel, STEP)
        finally:
            await kernel.close()

    assert asyncio.run(main()).value == 1
    assert "Traceback" not in served.program.said()
    assert "ssl_transport" not in served.program.said()  # gRPC's own words about each of them


def test_an_agent_is_not_told_twice_what_no_waiting_mends(served, tmp_path):
    async def main():
        agent = Agent(served.url, with_token(served, tmp_path / "p", "x"), "core", 1, print)
        with pytest.raises(WireError, match="does not take the token"):
            async with asyncio.timeout(10):
                await agent.run()

    asyncio.run(main())
